"""Optional homes of metrics, imported only when asked for: TensorBoard and Weights & Biases."""

import importlib.util
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxvlm.errors import ConfigError
from jaxvlm.runtime.files import reason, write_atomic
from jaxvlm.runtime.metrics import EVALUATION, Sink

if TYPE_CHECKING:
    from jaxvlm.runtime.run import Run

NAMES = ("tensorboard", "wandb")


def check_sinks(names: Sequence[str]) -> None:
    """Raises `ConfigError` for an unknown sink or one whose extra is not installed, before anything is written."""
    for name in names:
        if name not in NAMES:
            raise ConfigError(f"unknown metric sink {name!r}: choose of {', '.join(NAMES)}")
        if importlib.util.find_spec(name) is None:
            raise _missing(name)


def make_sinks(names: Sequence[str], run: "Run", first_step: int = 0) -> list[Sink]:
    """Opens the sinks named, for `MetricsWriter`.

    Args:
        names: of `NAMES`.
        run: whose directory, name and configuration the sinks show.
        first_step: environment steps of the checkpoint a run is resumed from. Later points that a killed run
            left are drawn once: the run writes the same numbers again.

    Raises:
        ConfigError: an unknown name, one whose extra is not installed, or one that cannot be started.
    """
    check_sinks(names)
    makers = {"tensorboard": TensorBoardSink, "wandb": WandbSink}
    return [makers[name](run, first_step) for name in names]


class TensorBoardSink:
    """Event files under `runs/<name>/tensorboard`, written without TensorFlow or PyTorch."""

    def __init__(self, run: "Run", first_step: int = 0):
        try:
            from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore
            from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore
            from tensorboard.summary.writer.event_file_writer import EventFileWriter  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise _missing("tensorboard") from error
        self._event, self._summary = Event, Summary
        self.path: Path = run.path / "tensorboard"
        self._writer = EventFileWriter(str(self.path))
        # TensorBoard drops what earlier files hold from this step on, also of a run that begins anew.
        start = SessionLog(status=SessionLog.START)
        event = Event(wall_time=time.time(), step=first_step + 1, session_log=start)
        self._writer.add_event(event)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Adds one point to every curve."""
        values = [self._summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items()]
        summary = self._summary(value=values)
        self._writer.add_event(self._event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()

    def close(self) -> None:
        """Closes the event file."""
        self._writer.close()


class WandbSink:
    """A Weights & Biases run with the name and configuration of the run directory.

    Where the points go is for wandb's own environment variables to say (`WANDB_MODE`, `WANDB_ENTITY`, ...); the
    project is `WANDB_PROJECT`, or jaxvlm without it.
    """

    def __init__(self, run: "Run", first_step: int = 0):
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise _missing("wandb") from error
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT") or "jaxvlm",  # an argument wins over wandb's variable
                name=run.name,
                config=run.config,
                dir=str(run.path),
                id=_identifier(run.path / "wandb_id.txt"),
                resume="allow",
                reinit="create_new",  # several tasks of one program are runs of their own
            )
        except wandb.Error as error:
            raise ConfigError(
                f"the metric sink wandb cannot be started: {reason(error).rstrip('.')}; "
                "log in with 'wandb login' or set WANDB_MODE=offline"
            ) from error
        self._run.define_metric("*", step_metric="env_steps")
        self._next_step: int = self._run.step  # past the points of earlier sessions

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Logs one row against `env_steps`; one that an earlier session logged stays, as wandb takes no point back."""
        # wandb takes one row a step, and an evaluation comes after the last of training.
        place = step + any(name.startswith(EVALUATION) for name in scalars)
        if place >= self._next_step:
            # With a step of ours, wandb would hold the row back until the next one.
            self._run.log({"env_steps": step, **scalars}, step=place, commit=True)

    def close(self) -> None:
        """Finishes the run."""
        self._run.finish()


def _identifier(path: Path) -> str:
    """A random identifier that stays with the run directory, so that resuming continues the same curves."""
    if not path.exists():
        write_atomic(path, secrets.token_hex(6) + "\n")
    return path.read_text(encoding="utf-8").strip()


def _missing(extra: str) -> ConfigError:
    return ConfigError(
        f"the metric sink {extra} is not installed: pip install 'jaxvlm[{extra}]', or leave it out"
    )
