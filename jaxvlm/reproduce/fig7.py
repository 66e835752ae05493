"""Figure 7: rewards of goal states and of other states, for models of several sizes."""

from typing import Any

from jaxvlm.reproduce.draw import two_histograms
from jaxvlm.reproduce.figure import Block, Compared, Figure, Picture, Place, Row, Section, caution
from jaxvlm.reproduce.material import Material, read_json
from jaxvlm.reproduce.report import shown
from jaxvlm.reproduce.scaling import Model, choose, epic_file, epic_rows, full, judge_of, measured

GOAL, ALPHA = "kneeling", 0.0


def rows(place: Place) -> list[Row]:
    """The distances of figure 4, whose file holds the histograms as well."""
    return epic_rows(place)


def section(found: Material) -> Section:
    """A histogram a model."""
    lines = measured(found)
    compared, blocks = [], list[Block]()
    for model in full(found.place):
        line = choose(lines, model=model, goal=GOAL, alpha=ALPHA)
        compared.append(
            Compared(
                f"{model.label}: AUROC of goal states against others",
                "grows with size",
                line.auc if line else None,
                "1 CLIP" if line else "",
            )
        )
        counts = _counts(found, model)
        if line is None or counts is None:
            continue
        goal, other = sum(counts["goal_counts"]), sum(counts["other_counts"])
        blocks.append(
            Picture(
                two_histograms(
                    counts["edges"],
                    counts["goal_counts"],
                    counts["other_counts"],
                    (counts["goal_mean"], counts["other_mean"]),
                    title=f"{model.label}, {line.parameters:,} parameters",
                ),
                says=f"rewards of kneeling states and of others for {model.label}: AUROC {shown(line.auc)}",
                caption=f"{model.label}: rewards of {goal:,} states that are kneeling and {other:,} others, dotted "
                f"lines at their means. EPIC distance {shown(line.epic)}, AUROC {shown(line.auc)}.",
                seeds=f"One CLIP, {line.states:,} states of {line.groups:,} episodes",
                interval="In brackets: 95 % bootstrap that draws whole episodes",
            )
        )
    return Section(
        found="Rewards of states that a person called kneeling and of all others lie the further apart, the larger the "
        "model: RN50's overlap almost wholly, bigG-14's hardly.",
        compared=tuple(compared),
        blocks=tuple(blocks),
        caution=f"{caution(found.place, all_clips=True)} Which states are goal states is told by "
        f"{judge_of(found.place)}.",
    )


def _counts(found: Material, model: Model) -> dict[str, Any] | None:
    """The histogram of a model in the file of `jaxvlm epic`."""
    path = found.file(epic_file(found.place))
    written = read_json(path) if path else None
    for entry in written.get("histograms", []) if isinstance(written, dict) else []:
        if entry["goal"] == GOAL and entry["alpha"] == ALPHA and model.known_as(str(entry["model"])):
            return entry
    return None


FIGURE = Figure("fig7", "Figure 7: rewards of goal states and of others", rows, section)
