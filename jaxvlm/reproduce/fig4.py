"""Figure 4: the reward over the size of the model, by EPIC distance and by the success of agents."""

from collections.abc import Iterable, Sequence

import numpy as np

from jaxvlm.evaluation import Interval, mean_interval
from jaxvlm.reproduce.draw import curves, rates_over
from jaxvlm.reproduce.figure import (
    Block,
    Compared,
    Figure,
    Picture,
    Place,
    Row,
    Section,
    Table,
    Text,
    caution,
)
from jaxvlm.reproduce.material import Material, Trained
from jaxvlm.reproduce.poses import POSES, lines_of, seeds_of
from jaxvlm.reproduce.report import shown
from jaxvlm.reproduce.scaling import (
    ALPHAS,
    STEPS,
    Measured,
    Model,
    agent_rows,
    agents,
    choose,
    epic_rows,
    full,
    judge_of,
    learned_from,
    measured,
    models,
    parameters_of,
    seeds_and_clips,
    trained_alike,
)

PICTURES = 64  # a step of a CLIP's training
CLIPS_INTERVAL = (
    "Lines: Student's 95 % interval over CLIPs where there are several, else a bootstrap over episodes of "
    "states"
)


def rows(place: Place) -> list[Row]:
    """CLIPs, states, distances, and agents of every size."""
    found = [*epic_rows(place), *agent_rows(place)]
    return list(
        {row.name: row for row in found}.values()
    )  # the last checkpoint given has agents among the states'


def section(found: Material) -> Section:
    """4a, 4b, 4c, and the grid of alpha, size and task."""
    lines, trained = measured(found), agents(found)
    own = not found.place.clips
    blocks = list[Block]()
    if lines:
        blocks += [_over_alpha(found, lines), _over_parameters(found, lines)]
        if own:
            blocks.append(_over_samples(found, lines))
    done = [
        (model, run, count)
        for model, run in trained
        if run and (count := parameters_of(model, lines)) is not None
    ]
    if done:
        blocks.append(
            Picture(
                rates_over(
                    [count for _, _, count in done],
                    [run.success for _, run, _ in done],
                    [run.rates for _, run, _ in done],
                    xlabel="parameters",
                    names=[model.label for model, _, _ in done],
                    title="4c: success on kneeling",
                ),
                says="success on kneeling over the model's parameters: "
                + ", ".join(f"{model.label} {run.success.value:.2f}" for model, run, _ in done),
                caption=" ".join(
                    filter(
                        None,
                        ("4c. Success of agents that learned from each model.", learned_from(found.place)),
                    )
                ),
                seeds=f"{seeds_of([run for _, run, _ in done])} of {done[0][1].episodes} episodes; rings are the seeds",
                interval=lines_of([run for _, run, _ in done]),
            )
        )
    if lines:
        blocks += _grid(found, lines)
    return Section(
        found="On kneeling, the EPIC distance between CLIP's reward and a person's labels falls close to "
        "log-linearly in the number of parameters, from RN50 over ViT-L-14 and H-14 to bigG-14, and goal-baseline "
        "regularisation lowers it at every size, most for small models. Agents do not follow so smoothly: with "
        "bigG-14 all episodes succeed, with every smaller model none.",
        compared=_compared(found, lines, trained),
        blocks=tuple(blocks),
        caution=caution(found.place, all_clips=True)
        + (
            " The sizes are 0.1 to 10 million parameters, trained alike on pictures of the humanoid, where the paper's "
            "have 0.1 to 2.5 billion and were trained on photographs."
            if own
            else ""
        )
        + f" Distances are to {judge_of(found.place)}, on states of our own agents and of random actions.",
    )


def _compared(
    found: Material, lines: Sequence[Measured], trained: Sequence[tuple[Model, Trained | None]]
) -> tuple[Compared, ...]:
    compared = []
    for model in full(found.place):
        chosen = _chosen(lines, _alike(found, lines, model), goal="kneeling", alpha=0.0)
        compared.append(
            Compared(
                f"{model.label}: EPIC distance on kneeling, α = 0",
                "falls with size",
                _over_seeds(chosen),
                f"{len(chosen)} CLIP{'s' if len(chosen) > 1 else ''}" if chosen else "",
            )
        )
    for model, run in trained:
        compared.append(
            Compared(
                f"{model.label}: success on kneeling",
                "0 % below the largest, 100 % with it",
                run.success if run else None,
                seeds_and_clips(run, found.place),
            )
        )
    return tuple(compared)


def _over_alpha(found: Material, lines: Sequence[Measured]) -> Picture:
    sizes = full(found.place)
    alike = {model: _alike(found, lines, model) for model in sizes}
    series = {
        model.label: [
            _over_seeds(_chosen(lines, alike[model], goal="kneeling", alpha=alpha)) for alpha in ALPHAS
        ]
        for model in sizes
    }
    return Picture(
        curves(
            ALPHAS,
            series,
            xlabel="α",
            ylabel="EPIC distance",
            title="4a: distance over α, kneeling",
            ramp=True,
        ),
        says="EPIC distance over alpha, a line for each size of the model",
        caption="4a. Distance over the strength of goal-baseline regularisation.",
        seeds=f"{_clips_of(alike.values())}, {lines[0].states:,} states",
        interval=CLIPS_INTERVAL,
    )


def _over_parameters(found: Material, lines: Sequence[Measured]) -> Picture:
    alike = [ours for model in full(found.place) if (ours := _alike(found, lines, model))]
    counts, series = [], {"α = 0": [], "α = 0.4": []}
    for ours in alike:
        counts.append(parameters_of(ours[0], lines))
        for name, alpha in (("α = 0", 0.0), ("α = 0.4", 0.4)):
            series[name].append(_over_seeds(_chosen(lines, ours, goal="kneeling", alpha=alpha)))
    return Picture(
        curves(counts, series, xlabel="parameters", ylabel="EPIC distance", title="4b: distance over size, kneeling",
               log=True),
        says="EPIC distance over the number of parameters",
        caption="4b. Distance over the size of the model.",
        seeds=_clips_of(alike),
        interval=CLIPS_INTERVAL,
    )  # fmt: skip


def _over_samples(found: Material, lines: Sequence[Measured]) -> Picture:
    series = {}
    for model in full(found.place):
        row = []
        for steps in STEPS:
            each = [
                line
                for other in models(found.place)
                if other.size == model.size and other.steps == steps
                if (line := choose(lines, model=other, goal="kneeling", alpha=0.0))
            ]
            row.append(_over_seeds(each))
        series[model.label] = row
    return Picture(
        curves([PICTURES * steps for steps in STEPS], series, xlabel="pictures in training", ylabel="EPIC distance",
               title="distance over training, kneeling, α = 0", log=True, ramp=True),
        says="EPIC distance over the number of pictures a model was trained on, a line for each size",
        caption="Distance over the length of the CLIP's training, which the paper could not vary.",
        seeds=f"{_clips_of([_alike(found, lines, model) for model in full(found.place)])} at the last point, "
        "one at those before",
        interval=CLIPS_INTERVAL,
    )  # fmt: skip


def _grid(found: Material, lines: Sequence[Measured]) -> list[Block]:
    """When does alpha help? Every size and task."""
    goals = [pose for pose in POSES if any(line.goal == pose.name for line in lines)]
    sizes = full(found.place)
    alike = {model: _alike(found, lines, model) for model in sizes}

    def distances(model: Model, goal: str, alpha: float) -> list[float]:
        return [line.epic.value for line in _chosen(lines, alike[model], goal=goal, alpha=alpha)]

    series: dict[str, list[Interval | None]] = {}
    for model in sizes:
        changes = []
        for alpha in ALPHAS:
            pairs = [(distances(model, pose.name, alpha), distances(model, pose.name, 0.0)) for pose in goals]
            each = [float(np.mean(here) - np.mean(base)) for here, base in pairs if here and base]
            changes.append(mean_interval(each) if each else None)
        series[model.label] = changes
    table = []
    for pose in goals:
        cells: list[str | None] = [pose.words]
        for model in sizes:
            by_alpha = {
                alpha: interval
                for alpha in ALPHAS
                if (interval := _over_seeds(_chosen(lines, alike[model], goal=pose.name, alpha=alpha)))
            }
            if 0.0 not in by_alpha:
                cells.append(None)
                continue
            base = by_alpha[0.0]
            best = min(by_alpha, key=lambda alpha: by_alpha[alpha].value)
            clear = by_alpha[best].high < base.low
            where = (
                f"α {best:g}: {shown(by_alpha[best])}" + (" *" if clear else "") if best else "α 0 is best"
            )
            cells.append(f"{shown(base)}; {where}")
        table.append(tuple(cells))
    return [
        Text(
            "When does α help? The change of the distance against α = 0, for every size and all tasks; below 0 is "
            "nearer to the labels. The paper left this open, as each of its points took a person's labels."
        ),
        Picture(
            curves(
                ALPHAS,
                series,
                xlabel="α",
                ylabel="change of the EPIC distance",
                title="mean over tasks",
                ramp=True,
            ),
            says="change of the EPIC distance against alpha 0, mean over tasks, a line for each size",
            caption=f"Mean over {len(goals)} tasks, and over a size's CLIPs where there are several.",
            seeds=_clips_of(alike.values()),
            interval="Lines: Student's 95 % interval over tasks",
        ),
        Table(
            header=("task", *(model.label for model in sizes)),
            rows=tuple(table),
            caption="EPIC distance at α = 0 and at the best α, with Student's 95 % interval over CLIPs where there are "
            "several and else a bootstrap over episodes of states; a star where these do not meet. "
            f"{_clips_of(alike.values())}.",
        ),
    ]


def _alike(found: Material, lines: Sequence[Measured], model: Model) -> list[Model]:
    """The measured CLIPs that differ from a model in their seed at most, itself among them."""
    measured_ones = {line.model for line in lines}
    return [other for other in trained_alike(model, found.place) if other in measured_ones]


def _chosen(lines: Sequence[Measured], alike: Sequence[Model], *, goal: str, alpha: float) -> list[Measured]:
    """What was measured of CLIPs that are alike, a line each."""
    found = [choose(lines, model=model, goal=goal, alpha=alpha) for model in alike]
    return [line for line in found if line]


def _clips_of(alike: Iterable[Sequence[Model]]) -> str:
    """`One CLIP a size`, or `1 to 3 CLIPs a size (3 of xs and s, 1 of m and l)` where sizes differ."""
    sizes = [models for models in alike if models]
    counts = sorted({len(models) for models in sizes})
    if counts in ([], [1]):
        return "One CLIP a size"
    if len(counts) == 1:
        return f"{counts[0]} CLIPs a size"
    each = [
        f"{count} of {' and '.join(models[0].label for models in sizes if len(models) == count)}"
        for count in reversed(counts)
    ]
    return f"{counts[0]} to {counts[-1]} CLIPs a size ({', '.join(each)})"


def _over_seeds(lines: Sequence[Measured]) -> Interval | None:
    """Mean over CLIPs that differ in their seed; a single one with its own interval."""
    if not lines:
        return None
    return lines[0].epic if len(lines) == 1 else mean_interval([line.epic.value for line in lines])


FIGURE = Figure("fig4", "Figure 4: size of the model, distance and success", rows, section)
