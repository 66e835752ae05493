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
    return Section(
        found="A person put each of 100 episodes of the chosen agent into one of five classes, by how much of it the "
        "agent held the pose: 0, 25, 50, 75 or 100 %. The five learned tasks lie at the right end, standing on one leg "
        "and crossed arms at the left.",
        compared=tuple(
            Compared(
                f"{pose.words}: mean share of steps in the goal state",
                "see the success in table 1",
                run.share if run else None,
                str(run.seeds) if run else "",
            )
            for pose, run in runs
        ),
        blocks=tuple(histograms(found, named)),
        caution=caution(found.place)
        + " A predicate also judges what no eye would: every step counts by itself, so the first tenth "
        "of an episode, in which the body goes to its pose, keeps most shares below 100 %. Ratings by people stand "
        "beside "
        "it where a run was rated (`jaxvlm rate`).".replace("`", ""),
    )


FIGURE = Figure("fig5", "Figure 5: time in the goal state, by task", rows, section)
