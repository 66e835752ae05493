"""How good is a reward? Intervals, sets of states, and what is measured on them."""

from jaxvlm.evaluation.intervals import Interval as Interval
from jaxvlm.evaluation.intervals import bootstrap as bootstrap
from jaxvlm.evaluation.intervals import mean_interval as mean_interval
from jaxvlm.evaluation.intervals import rate_interval as rate_interval
from jaxvlm.evaluation.states import StateDataset as StateDataset
