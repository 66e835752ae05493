"""VLM-RM: reinforcement learning from a sentence, as one program."""

from jaxvlm.vlmrm.build import Built as Built
from jaxvlm.vlmrm.build import Tower as Tower
from jaxvlm.vlmrm.build import build as build
from jaxvlm.vlmrm.build import load_tower as load_tower
from jaxvlm.vlmrm.config import DQNSettings as DQNSettings
from jaxvlm.vlmrm.config import RewardSettings as RewardSettings
from jaxvlm.vlmrm.config import SACSettings as SACSettings
from jaxvlm.vlmrm.config import TrainConfig as TrainConfig
from jaxvlm.vlmrm.evaluate import Episodes as Episodes
from jaxvlm.vlmrm.evaluate import episode_table as episode_table
from jaxvlm.vlmrm.evaluate import join_episodes as join_episodes
from jaxvlm.vlmrm.evaluate import run_episodes as run_episodes
from jaxvlm.vlmrm.evaluate import summarise as summarise
from jaxvlm.vlmrm.joint import Joint as Joint
from jaxvlm.vlmrm.joint import join as join
from jaxvlm.vlmrm.policies import load_policy as load_policy
from jaxvlm.vlmrm.presets import PRESETS as PRESETS
from jaxvlm.vlmrm.presets import preset as preset
from jaxvlm.vlmrm.program import Inputs as Inputs
from jaxvlm.vlmrm.program import Program as Program
from jaxvlm.vlmrm.program import TrainState as TrainState
