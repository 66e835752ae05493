"""A task of two phases from two sentences and a clock, and what goes without either."""

import numpy as np

from jaxvlm.evaluation import Interval, bootstrap
from jaxvlm.evaluation.parting import smooth
from jaxvlm.reproduce.draw import bands, success_bars
from jaxvlm.reproduce.figure import Block, Figure, Picture, Place, Row, Section, Table, Text
from jaxvlm.reproduce.material import Material, Trained
from jaxvlm.reproduce.poses import drawn, lines_of, seeds_of
from jaxvlm.reproduce.report import shown

TASK = "humanoid-stand-then-kneel"
ROWS_OF_SHEET = 4  # episodes in a run's contact sheet
STEPS = "450000"  # each phase has half of them; a pose alone has 300,000
ROWS = (
    ("", (), "two sentences, a clock"),
    ("-no-clock", ("--variant", "no-clock"), "two sentences, no clock"),
    (
        "-one-sentence",
        ("--prompt", "a humanoid robot standing up, then kneeling", "--then"),
        "one sentence, a clock",
    ),
)


def rows(place: Place) -> list[Row]:
    """The sequence and its two controls."""
    more = ("--steps", STEPS) if place.budget.name == "laptop" else ()
    longer = place.budget.minutes * (1.5 if more else 1.0)
    return [
        place.train(place.named(TASK + suffix), TASK, *more, *flags, minutes=longer)
        for suffix, flags, _ in ROWS
    ]


def section(found: Material) -> Section:
    """Success of each phase, and how the goals come and go within an episode."""
    runs = [(words, found.run(found.place.named(TASK + suffix))) for suffix, _, words in ROWS]
    done = [(words, run) for words, run in runs if run]
    blocks: list[Block] = [Text(WORDS)]
    if done:
        blocks += [_success(done), _table(done)]
        timed = [(words, run) for words, run in done if "success_by_step" in run.evaluation["per_seed"]]
        if timed:
            blocks.append(_timeline(timed))
        first = runs[0][1]
        if first:
            blocks.append(_training(first))
        for words, run in done:
            sheet = run.path / "videos" / "best.png"
            if sheet.exists():
                blocks.append(
                    Picture(
                        sheet,
                        says=f"{words}: ten moments of an episode in each row, time from left to right",
                        caption=f"{words}: ten moments of an episode a row, from top to bottom of seeds "
                        f"{', '.join(str(row % run.seeds) for row in range(ROWS_OF_SHEET))}; the second phase begins "
                        "in the middle.",
                        seeds=seeds_of([run]),
                        interval=f"success of all seeds {shown(run.success)}, {drawn(run.seeds)}",
                        wide=True,
                    )
                )
    return Section(
        found="The paper leaves tasks of more than one picture open: its reward sees one frame.",
        blocks=tuple(blocks),
        caution="The schedule is given and not read from the sentence. Success counts a phase's goal in at least half "
        "of its steps, without the first 20 (0.3 s) of each phase, which is what a body takes to fall from standing "
        "to its knees. A policy that sees no clock may still use its body as one, by swaying or sinking slowly: where "
        "the control without a clock does as well as the task, a clock is not what these seeds needed. Standing counts "
        "from about step 8 on, as Gymnasium's body starts above the floor.",
    )


WORDS = (
    "The first 50 steps of an episode are scored by 'a humanoid robot standing up', the others by 'a humanoid robot "
    "kneeling'. Which sentence counts when is data: a schedule that reward, predicate and evaluation read. The policy "
    "sees the phase of its next step and the share of the episode that is over.\n\n"
    "A reward that sees one frame can say which state is wanted now. It cannot say what came before: no frame shows "
    "'standing up, then kneeling', so as one sentence it rewards at best something between the two, or one of them. "
    "And a schedule is a clock: without one in what the policy sees, the same state is to be kept at step 49 and to be "
    "left at step 51.\n\n"
    "Out of reach, with any schedule: tasks whose single frames look alike and differ in their order only, such as "
    "waving, or turning to the left and not to the right. They need a reward that sees several frames."
)


def phase_shares(run: Trained) -> list[Interval]:
    """Share of a phase's steps that meet its goal, over seeds and episodes, for each phase."""
    table = run.table or []
    names = sorted(name for name in (table[0] if table else {}) if name.startswith("phase_"))
    groups = np.asarray([row["seed"] for row in table])
    mean = lambda values: float(np.mean(values))  # noqa: E731
    whole = groups if run.seeds > 1 else None
    return [bootstrap(mean, [np.asarray([row[name] for row in table])], groups=whole) for name in names]


def _success(done: list[tuple[str, Trained]]) -> Picture:
    return Picture(
        success_bars([words for words, _ in done], [run.success for _, run in done], [run.rates for _, run in done]),
        says="success: " + ", ".join(f"{words} {run.success.value:.2f}" for words, run in done),
        caption="Success: both phases' goals hold, each in at least half of its steps that count.",
        seeds=f"{seeds_of([run for _, run in done])} of {done[0][1].episodes} episodes",
        interval=lines_of([run for _, run in done]),
    )  # fmt: skip


def _table(done: list[tuple[str, Trained]]) -> Table:
    lines = []
    for words, run in done:
        shares = [*phase_shares(run), None, None][:2]
        by_step = run.evaluation["per_seed"].get("success_by_step")
        last = ", ".join(f"{steps[-1]:.0%}" for steps in by_step) if by_step else None
        lines.append((words, run.success, *shares, last, seeds_of([run])))
    return Table(
        header=(
            "what is given",
            "success",
            "standing in phase 1",
            "kneeling in phase 2",
            "in the last step, each seed",
            "seeds",
        ),
        rows=tuple(lines),
        caption="Share of the steps that count of each phase, by predicate, and of the episodes that kneel in their "
        f"last step; intervals {drawn(max(run.seeds for _, run in done))}.",
    )


def _timeline(done: list[tuple[str, Trained]]) -> Picture:
    """Which share of the episodes meets its phase's goal, step by step."""
    series = {}
    for words, run in done:
        by_step = np.asarray(run.evaluation["per_seed"]["success_by_step"], np.float64)  # [seed, step]
        series[words] = _band(by_step.T)
    length = len(next(iter(series.values()))[0])
    return Picture(
        bands(
            np.arange(1, length + 1), series, xlabel="step of the episode",
            ylabel="share of episodes at their goal", goal=(50.5, length), ramp=False,
        ),
        says="share of episodes that meet the goal of their phase, by step: "
        + ", ".join(f"{words} at the end {lines[0][-1]:.2f}" for words, lines in series.items()),
        caption="The goal is standing up to step 50 and kneeling from then on (shaded).",
        seeds=seeds_of([run for _, run in done]),
        interval="bands: from the lowest to the highest seed",
    )  # fmt: skip


def _training(run: Trained) -> Picture:
    """Success of both phases over training."""
    rows = run.training
    steps = smooth(np.asarray([row["step"] for row in rows], np.float64)) / 1000
    series = {}
    for phase, goal in ((1, "standing, phase 1"), (2, "kneeling, phase 2")):
        values = np.asarray([row[f"success_phase_{phase}"] for row in rows], np.float64)
        lines = np.stack([smooth(values[:, k]) for k in range(values.shape[1])], axis=1)
        series[goal] = _band(lines)
    return Picture(
        bands(
            steps, series, xlabel="thousand steps of a seed", ylabel="share of steps at the goal", ramp=False
        ),
        says="success of each phase over training, in the end "
        + ", ".join(f"{goal} {lines[0][-1]:.2f}" for goal, lines in series.items()),
        caption="Two sentences and a clock: share of the rollouts' steps of each phase that meet its goal, all steps "
        "counted; running means of 5 rollouts.",
        seeds=seeds_of([run]),
        interval="bands: from the lowest to the highest seed",
    )


def _band(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean over seeds of f64[place, seed], and the band from the lowest to the highest of them."""
    return values.mean(1), values.min(1), values.max(1)


FIGURE = Figure("sequence", "Sequences: stand, then kneel", rows, section)
