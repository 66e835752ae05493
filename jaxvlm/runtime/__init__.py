"""Run directories, checkpoints, metrics, progress, video and plots: all that happens between iterations."""

from jaxvlm.runtime.cache import CacheCounter as CacheCounter
from jaxvlm.runtime.cache import enable_compilation_cache as enable_compilation_cache
from jaxvlm.runtime.cache import prompt_cache_folder as prompt_cache_folder
from jaxvlm.runtime.checkpoint import Checkpoints as Checkpoints
from jaxvlm.runtime.metrics import MetricsWriter as MetricsWriter
from jaxvlm.runtime.metrics import read_rows as read_rows
from jaxvlm.runtime.progress import Progress as Progress
from jaxvlm.runtime.run import Run as Run
from jaxvlm.runtime.signals import StopFlag as StopFlag
from jaxvlm.runtime.signals import stop_flag as stop_flag
from jaxvlm.runtime.sinks import make_sinks as make_sinks
from jaxvlm.runtime.video import save_contact_sheet as save_contact_sheet
from jaxvlm.runtime.video import save_gif as save_gif
from jaxvlm.runtime.video import save_mp4 as save_mp4
from jaxvlm.runtime.video import save_video as save_video
from jaxvlm.runtime.video import tile as tile
