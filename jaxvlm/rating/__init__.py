"""People as judges: episodes or frames shown in the browser, answers kept, agreement measured.

VLM-RM (arXiv 2310.12921), appendix B: one person watched 100 episodes of an agent and said how much of each met the
criterion of the task's table 2. Here several people may, blind to the run, and what they say is compared with one
another and with the predicates.
"""

from jaxvlm.rating.agreement import cohen_kappa as cohen_kappa
from jaxvlm.rating.agreement import krippendorff_alpha as krippendorff_alpha
from jaxvlm.rating.criteria import criterion as criterion
from jaxvlm.rating.material import Drawing as Drawing
from jaxvlm.rating.material import Goal as Goal
from jaxvlm.rating.material import Item as Item
from jaxvlm.rating.material import Material as Material
from jaxvlm.rating.material import Rule as Rule
from jaxvlm.rating.session import Session as Session
from jaxvlm.rating.store import Answer as Answer
from jaxvlm.rating.store import Store as Store
