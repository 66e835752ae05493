"""`jaxvlm evaluate RUN`: ground truth of a run's policy, and a GIF of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from jaxvlm.cli.common import parse


@dataclass(frozen=True)
class Evaluate:
    """Ground truth of a run's policy, acting deterministically and as it explored, and a GIF of it."""

    run: tyro.conf.Positional[str]
    """Run directory, or its name."""
    checkpoint: Literal["best", "last", "random", "zero"] = "best"
    """`best` earned the most reward in training, of each seed; `last` is the newest; `random` and `zero` are controls:
    uniform actions, and none."""
    episodes: int | None = None
    """Episodes of each seed; the default is the number after training."""
    runs_dir: Path = Path("runs")
    """Folder of the run directories."""


def run(arguments: Sequence[str]) -> None:
    """Evaluates and draws."""
    evaluate = parse(Evaluate, arguments, prog="jaxvlm evaluate")
    from jaxvlm.cli.session import evaluate_run

    evaluate_run(
        evaluate.run, runs_dir=evaluate.runs_dir, episodes=evaluate.episodes, checkpoint=evaluate.checkpoint
    )
