"""`jaxvlm evaluate RUN`: ground truth of a run's policy, and a GIF of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jaxvlm.cli.common import parse
from jaxvlm.errors import ConfigError

CHECKPOINTS = ("best", "last", "random", "zero")


@dataclass(frozen=True)
class Evaluate:
    """Ground truth of a run's policy, acting deterministically and as it explored, and a GIF of it."""

    run: tyro.conf.Positional[str]
    """Run directory, or its name."""
    checkpoint: Annotated[str, tyro.conf.arg(metavar="{best,last,STEP,random,zero}")] = "best"
    """`best` earned the most reward in training, of each seed; `last` is the newest; a number of steps is the agent as
    it was then, one of those that training kept (`runs/NAME/policies`); `random` and `zero` are controls: uniform
    actions, and none."""
    episodes: int | None = None
    """Episodes of each seed; the default is the number after training."""
    fooled: int = 0
    """Shows, in place of an evaluation, so many states of the best agents' play that earn most while ground truth says
    no, and saves states for `jaxvlm clip train --states`."""
    clip: str | None = None
    """With `--fooled`: the checkpoint that scores, and not what the run learned from."""
    runs_dir: Path = Path("runs")
    """Folder of the run directories."""


def run(arguments: Sequence[str]) -> None:
    """Evaluates and draws."""
    evaluate = parse(Evaluate, arguments, prog="jaxvlm evaluate")
    if evaluate.checkpoint not in CHECKPOINTS and not evaluate.checkpoint.isdecimal():
        raise ConfigError(
            f"checkpoint is {evaluate.checkpoint!r}; choose {', '.join(CHECKPOINTS)} or a number of steps"
        )
    if evaluate.fooled:
        if evaluate.checkpoint != "best" or evaluate.episodes is not None:
            given = "--checkpoint" if evaluate.checkpoint != "best" else "--episodes"
            raise ConfigError(
                f"--fooled plays the best agents for a number of episodes of its own; leave {given} out"
            )
        from jaxvlm.cli.fooled import show_fooled

        show_fooled(evaluate.run, runs_dir=evaluate.runs_dir, count=evaluate.fooled, clip=evaluate.clip)
        return
    if evaluate.clip is not None:
        raise ConfigError("--clip scores the states of --fooled; give --fooled 12 as well, or leave it out")
    from jaxvlm.cli.session import evaluate_run

    evaluate_run(
        evaluate.run, runs_dir=evaluate.runs_dir, episodes=evaluate.episodes, checkpoint=evaluate.checkpoint
    )
