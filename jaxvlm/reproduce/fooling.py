"""What fools a reward: the rows that look for it, and how the report shows it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxvlm.clip.naming import label_of
from jaxvlm.evaluation import Interval
from jaxvlm.reproduce.figure import Picture, Place, Row
from jaxvlm.reproduce.material import Trained, read_json
from jaxvlm.reproduce.poses import drawn, seeds_of

SHOWN = 6  # states of a picture


def fooled(agents: Row, place: Place, clip: str | None = None) -> Row:
    """What fools the reward of a run, or on its states that of another checkpoint."""
    run = agents.name
    more = ("--clip", str(place.folder / "clips" / clip)) if clip else ()
    return Row(
        name=f"{run}-fooled" + (f"-{clip}" if clip else ""),
        arguments=(
            "evaluate",
            str(place.folder / "runs" / run),
            "--fooled",
            str(SHOWN if not clip else 1),
            *more,
        ),
        product=f"runs/{run}/{fooled_file(place.folder, clip)}",
        # The agents play from what was published of them; the CLIP that they learned from has to be there.
        needs=(run, *((f"clip-{clip}",) if clip else agents.needs)),
        minutes=2.0,
    )


def fooled_file(folder: Path, clip: str | None) -> str:
    """What `jaxvlm evaluate --fooled` leaves in a run's folder; of another checkpoint, one of the report's folder."""
    return f"fooled-{label_of(str(folder / 'clips' / clip))}.json" if clip else "fooled.json"


def known_columns(
    header: tuple[str, ...], rows: Sequence[tuple[str | Interval | None, ...]]
) -> tuple[tuple[str, ...], tuple[tuple[str | Interval | None, ...], ...]]:
    """A table without the columns of which nothing is known yet."""
    held = [column for column in range(len(header)) if any(row[column] is not None for row in rows)]
    return tuple(header[column] for column in held), tuple(
        tuple(row[column] for column in held) for row in rows
    )


def figures_of(run: Trained, clip: str | None = None) -> dict[str, Any]:
    """`fooled.json` of a run; empty where there is none."""
    return read_json(run.path / fooled_file(run.path.parents[1], clip)) or {}


def interval_of(figures: dict[str, Any], key: str) -> Interval | None:
    """A figure with its ends; None where it is not known, as the AUC of agents that never meet their goal."""
    value, *ends = figures.get(key) or (None,)
    return None if value is None else Interval(value, *(math.nan if end is None else end for end in ends))


def fooling(run: Trained, title: str) -> Picture | None:
    """The states that fool a run's reward."""
    path, figures = run.path / "plots" / "fooled.png", figures_of(run)
    share = interval_of(figures, "clearly_fooled_share") or interval_of(figures, "fooled_share")
    if not path.exists() or not figures.get("shown"):
        return None
    first = figures["shown"][0]
    return Picture(
        path,
        says=f"{title}: states at play with the most reward that miss the goal; the first earns {first['reward']:.2f} "
        f"and misses {', '.join(first['missed']) or 'the goal'}",
        caption=f"{title}: most reward without the goal, from the reward's view and below it from the side.",
        seeds=f"{seeds_of([run])}, {figures['episodes']} episodes each",
        interval=f"share of states that fool clearly: {share}, "
        + (drawn(run.seeds) if run.seeds > 1 else "95 % bootstrap that draws episodes")
        if share
        else "share not known",
    )
