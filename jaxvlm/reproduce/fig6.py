"""Figure 6: time in the goal state of agents that learned from models of several sizes."""

from dataclasses import replace

from jaxvlm.reproduce.figure import Compared, Figure, Place, Row, Section, caution
from jaxvlm.reproduce.material import Material
from jaxvlm.reproduce.poses import histograms
from jaxvlm.reproduce.scaling import (
    agent_name,
    agent_rows,
    agents,
    clip_rows,
    learned_from,
    seeds_and_clips,
)


def rows(place: Place) -> list[Row]:
    """Kneeling learned from every size, and its episodes."""
    trained = agent_rows(place)
    needed = {name for row in trained for name in row.needs}
    return [
        *(row for row in clip_rows(place) if row.name in needed),
        *trained,
        *(place.episodes(row.name) for row in trained),
    ]


def section(found: Material) -> Section:
    """A histogram a size."""
    trained = agents(found)
    pictures = histograms(
        found, [(agent_name(model, found.place), f"kneeling, CLIP {model.label}") for model, _ in trained]
    )
    clips = learned_from(found.place)
    return Section(
        found="On kneeling the agent of ViT-bigG-14 holds the pose in most of every episode, those of RN50, L-14 "
        "and H-14 in none: the step from H-14 to bigG-14 is a sharp one.",
        compared=tuple(
            Compared(
                f"{model.label}: mean share of steps kneeling",
                "near 0 below the largest model",
                run.share if run else None,
                seeds_and_clips(run, found.place),
            )
            for model, run in trained
        ),
        blocks=tuple(
            replace(picture, caption=f"{picture.caption} {clips}" if clips else picture.caption)
            for picture in pictures
        ),
        caution=caution(found.place, all_clips=True),
    )


FIGURE = Figure("fig6", "Figure 6: time in the goal state, by size of the model", rows, section)
