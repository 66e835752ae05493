"""`jaxvlm resume RUN`: go on with a run that was stopped."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from jaxvlm.cli.common import parse


@dataclass(frozen=True)
class Resume:
    """Go on with a run from its newest checkpoint, to the same numbers as if it had never stopped.

    One that was trained in a program with others goes on alone, where numbers may differ in their last digits. With
    `--steps` a finished or stopped run is trained longer.
    """

    run: tyro.conf.Positional[str]
    """Run directory, or its name."""
    runs_dir: Path = Path("runs")
    """Folder of the run directories."""
    steps: int | None = None
    """Environment steps of each seed in all, those that are done included; the run's own where left out. Learning rate
    and epsilon fall as they were to and then stay."""


def run(arguments: Sequence[str]) -> None:
    """Resumes, evaluates and draws."""
    resume = parse(Resume, arguments, prog="jaxvlm resume")
    from jaxvlm.cli.session import train_on

    train_on(resume.run, runs_dir=resume.runs_dir, steps=resume.steps)
