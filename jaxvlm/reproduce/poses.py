"""The humanoid's eight tasks, and the rows that several figures share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxvlm.reproduce.draw import step_histogram
from jaxvlm.reproduce.figure import Picture, Place, Row
from jaxvlm.reproduce.material import FEW_SEEDS, Material, Trained


@dataclass(frozen=True)
class Pose:
    """A task of table 1."""

    name: str
    words: str
    paper: float  # success of table 1 of arXiv 2310.12921: ViT-bigG-14, best of 4 seeds, rated by a person

    @property
    def task(self) -> str:
        """As `jaxvlm train` calls it."""
        return f"humanoid-{self.name}"


POSES = (
    Pose("kneeling", "kneeling", 1.0),
    Pose("lotus", "lotus position", 1.0),
    Pose("standing", "standing up", 1.0),
    Pose("arms-raised", "arms raised", 1.0),
    Pose("splits", "doing splits", 1.0),
    Pose("hands-on-hips", "hands on hips", 0.64),
    Pose("one-leg", "standing on one leg", 0.0),
    Pose("arms-crossed", "arms crossed", 0.0),
)
FAILING = ("arms-crossed", "hands-on-hips", "one-leg")  # in the paper; figure 8 is on them


def name_of(pose: str, alpha: float, place: Place) -> str:
    """Name of a pose's row."""
    return place.named(f"humanoid-{pose}-a{alpha:g}")


def pose_row(pose: str, alpha: float, place: Place) -> Row:
    """Training of a pose from its sentence."""
    flags = ("--alpha", f"{alpha:g}") if alpha else ()
    return place.train(name_of(pose, alpha, place), f"humanoid-{pose}", *flags)


def seeds_of(runs: Sequence[Trained]) -> str:
    """`3 seeds`, or `3 to 4 seeds` where runs differ."""
    counts = sorted({run.seeds for run in runs})
    if not counts:
        return "no seed yet"
    word = "seed" if counts == [1] else "seeds"
    return f"{counts[0]} {word}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]} {word}"


def histogram(run: Trained, title: str, rated: Sequence[np.ndarray] | None = None) -> Picture | None:
    """How long a run's episodes were in the goal state; None where the run keeps no table of episodes.

    `rated` has people's ratings by seed, see `Material.ratings`.
    """
    if run.shares is None:
        return None
    means = ", ".join(f"{share.mean():.2f}" for share in run.shares)
    beside, interval = "", f"Lines: {drawn(len(run.shares))}"
    if rated is not None:
        seeds = f"{len(rated)} seed{'s' if len(rated) > 1 else ''}"
        beside = f" Beside them {sum(map(len, rated))} ratings by people of {seeds}."
        if drawn(len(rated)) != drawn(len(run.shares)):
            interval += f", of ratings {drawn(len(rated))}"
    return Picture(
        step_histogram(run.shares, title=title, rated=rated, chosen=run.chosen if run.seeds > 1 else None),
        says=f"{title}: histogram of the share of an episode's steps in the goal state; means by seed {means}",
        caption=f"Mean share by seed: {means}.{beside}",
        seeds=f"{seeds_of([run])} of {len(run.shares[0])} episodes; rings are the seeds"
        + (", filled the one chosen by its reward" if run.seeds > 1 else ""),
        interval=interval + (f"; the run is {run.origin}'s" if run.origin else ""),
    )


def drawn(seeds: int) -> str:
    """What the interval of success over so many seeds is, see `over_seeds`."""
    if seeds == 1:
        return "95 % interval of Wilson's over episodes"
    if seeds <= FEW_SEEDS:
        return "from the lowest to the highest seed"
    return "95 % bootstrap that draws whole seeds"


def lines_of(runs: Sequence[Trained]) -> str:
    """The same below a picture of several runs."""
    return f"Lines: {drawn(max((run.seeds for run in runs), default=1))}"


def histograms(found: Material, rows: Sequence[tuple[str, str]]) -> list[Picture]:
    """Histograms of those of (row, title) that are finished."""
    pictures = []
    for name, title in rows:
        run = found.run(name)
        picture = histogram(run, title, found.ratings(run)) if run else None
        if picture:
            pictures.append(picture)
    return pictures
