"""Figure 5: how much of their episodes agents spend in the goal state, task by task."""

from jaxvlm.reproduce.figure import Compared, Figure, Place, Row, Section, caution
from jaxvlm.reproduce.material import Material
from jaxvlm.reproduce.poses import POSES, histograms, name_of, pose_row


def rows(place: Place) -> list[Row]:
    """Table 1's trainings and their episodes."""
    trained = [pose_row(pose.name, 0.0, place) for pose in POSES]
    return [*trained, *(place.episodes(row.name) for row in trained)]


def section(found: Material) -> Section:
    """A histogram a task."""
    named = [(name_of(pose.name, 0.0, found.place), pose.words) for pose in POSES]
    runs = [(pose, found.run(name)) for pose, (name, _) in zip(POSES, named, strict=True)]
    rated = any(run and found.ratings(run) for _, run in runs)
    return Section(
        found="A person put each of 100 episodes of the chosen agent into one of five classes, by how much of it the "
        "agent held the pose: 0, 25, 50, 75 or 100 %. By table 1 every episode of the five learned tasks lies in the "
        "classes from 50 % on, and none of standing on one leg and crossed arms.",
        compared=tuple(
            Compared(
                f"{pose.words}: mean share of steps in the goal state"
                + (
                    f"; of the chosen agent {run.shares[run.chosen].mean():.2f}" if run and run.shares else ""
                ),
                f"50 % or more in {pose.paper:.0%} of episodes, one agent",
                run.share if run else None,
                str(run.seeds) if run else "",
            )
            for pose, run in runs
        ),
        blocks=tuple(histograms(found, named)),
        caution=caution(found.place)
        + " Bars are over all seeds; the paper rated one agent, whose place the filled dots take here. A predicate "
        "judges every step by itself: the first steps count, in which the body goes to its pose (standing counts from "
        "about step 8 on: as Gymnasium has it, the body starts above the floor), and so do those after a pose is lost. "
        "Ratings by people stand beside it where a run was rated (jaxvlm rate)"
        + ("." if rated else "; none was so far."),
    )


FIGURE = Figure("fig5", "Figure 5: time in the goal state, by task", rows, section)
