"""Where reward and success part: over training, in the states that fool a reward, and with what helps against it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from jaxvlm.evaluation import Interval, bootstrap, mean_interval
from jaxvlm.evaluation.parting import WINDOW, Parting, parting, smooth
from jaxvlm.reproduce.draw import success_bars
from jaxvlm.reproduce.figure import Block, Figure, Picture, Place, Row, Section, Table, Text
from jaxvlm.reproduce.fooling import figures_of, fooled, fooling, interval_of, known_columns
from jaxvlm.reproduce.material import Material, Trained
from jaxvlm.reproduce.poses import FAILING, POSES, drawn, lines_of, name_of, pose_row, seeds_of
from jaxvlm.reproduce.remedies import ALPHAS, helped, remedy_rows
from jaxvlm.reproduce.report import shown
from jaxvlm.runtime.plots import BLUE, VERMILION, new_figure

LEARNED = 0.1  # share of a rollout's steps at the goal, without which nothing is told of what came after it


@dataclass(frozen=True)
class Gamed:
    """A sentence that names something easily had in place of what is wanted."""

    row: str
    wanted: str  # pose whose predicate judges
    sentence: str
    hope: str  # of the one who wrote it
    proxy: str  # what it says in fact


GAMED = (
    Gamed(
        "humanoid-kneeling-gamed",
        "kneeling",
        "a humanoid robot with bent knees",
        "who kneels has bent knees",
        "so has a body that sits, squats or lies with its legs drawn up",
    ),
    Gamed(
        "humanoid-standing-gamed",
        "standing",
        "a humanoid robot with straight legs",
        "who stands has straight legs",
        "so has a body that lies stretched out, and that asks for no balance",
    ),
)


def rows(place: Place) -> list[Row]:
    """The eight poses, two gamed sentences, a reward by hand, and the remedies; and what fools each of them."""
    poses = [pose_row(pose.name, 0.0, place) for pose in POSES]
    gamed = [
        place.train(place.named(game.row), f"humanoid-{game.wanted}", "--prompt", game.sentence)
        for game in GAMED
    ]
    by_hand = place.train(
        "humanoid-kneeling-handwritten", "humanoid-kneeling", "--reward", "ground-truth", "--variant", "handwritten"
    )  # fmt: skip
    alphas = [pose_row(pose, alpha, place) for pose in FAILING for alpha in ALPHAS]
    trained = [*poses, *gamed, by_hand, *alphas]
    found = [*trained, *(fooled(row, place) for row in trained)]
    return [*found, *remedy_rows(place)]


def section(found: Material) -> Section:
    """Curves, figures and pictures of what is there."""
    poses = [(pose.name, found.run(name_of(pose.name, 0.0, found.place))) for pose in POSES]
    done = [(name, run) for name, run in poses if run]
    blocks: list[Block] = []
    if done:
        blocks += [
            Text(
                "Agents are chosen by the reward, and the reward is what they are trained to raise. Where they learn "
                "the pose, reward and success rise together; but the reward also rises where the pose is never "
                "learned, and may go on once success is as high as it gets."
            ),
            _curves(done),
            _table(done, "pose"),
        ]
        blocks += [picture for name, run in done if (picture := fooling(run, f"humanoid-{name}")) is not None]
    games = _games(found)
    blocks += games
    blocks += _by_hand(found)
    blocks += helped(found)
    words = []
    if not found.place.clips:
        words.append(
            "The captions of the embedded CLIP grade by the predicates that success is judged by, so what is seen here "
            "are mistakes of a small tower and not of a sentence that means something else"
            + (", except in the two gamed ones." if games else ".")
        )
    if any(isinstance(block, Picture) and isinstance(block.drawn, Path) for block in blocks):
        words.append("A state that misses by less than a tolerance is left out of the pictures of states.")
    return Section(found="", blocks=tuple(blocks), caution=" ".join(words))


def partings(run: Trained) -> list[Parting]:
    """How far reward and success part in the training of each seed; rollouts before learning are left out."""
    reward, success = _training(run)
    found = [parting(reward[:, k], success[:, k]) for k in range(reward.shape[1])]
    # The highest of a success that is never more than chance tells of no time after it.
    learned = [smooth(success[:, k]).max() >= LEARNED for k in range(reward.shape[1])]
    return [
        each if knows else each._replace(gain_after=math.nan)
        for each, knows in zip(found, learned, strict=True)
    ]


def _training(run: Trained) -> tuple[np.ndarray, np.ndarray]:
    """Reward and success of every rollout with a policy, f64[rollout, seed]."""
    return (
        np.asarray([row["reward"] for row in run.learned], np.float64),
        np.asarray([row["success"] for row in run.learned], np.float64),
    )


def over_seeds(values: Sequence[float]) -> Interval | None:
    """Mean over those seeds of which it can be told; a bootstrap, which stays in the range of what is bounded."""
    known = np.asarray([value for value in values if math.isfinite(value)])
    if len(known) < 2:
        return Interval(float(known[0]), math.nan, math.nan) if len(known) else None
    return bootstrap(lambda drawn: float(np.mean(drawn)), [known])


def told(values: Sequence[float]) -> str | Interval | None:
    """The same as a cell of a table, which says of how many seeds it is where that is not all of them."""
    interval, known = over_seeds(values), sum(map(math.isfinite, values))
    if interval is None or known == len(values):
        return interval
    return f"{shown(interval)} ({known} of {len(values)} seeds)"


def _curves(done: Sequence[tuple[str, Trained]]) -> Picture:
    """Reward and success over training, a panel for each pose."""
    drawing = new_figure(4.6, 0.5 + 1.35 * ((len(done) + 1) // 2))
    grid = drawing.subplots((len(done) + 1) // 2, 2, squeeze=False, sharey=True)
    for axes in grid.flat[len(done) :]:
        axes.set_axis_off()
    for axes, (name, run) in zip(grid.flat, done, strict=False):
        draw_training(axes, run)
        axes.set_title(name, fontsize=8)
    _axes_of(grid)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return Picture(
        drawing,
        says="reward and success over training for "
        + ", ".join(f"{name} (success in the end {_training(run)[1][-1].mean():.2f})" for name, run in done),
        caption="Mean reward of the rollouts, from its least (0) to its most (1) in the training, and the share of "
        "their steps that meet the predicate, over thousands of steps; running means of "
        f"{WINDOW} rollouts.",
        seeds=seeds_of([run for _, run in done]),
        interval="bands: 95 %, Student's over seeds",
    )


def _axes_of(grid: np.ndarray) -> None:
    """What panels have on their outer axes."""
    for axes in grid[-1]:
        axes.set_xlabel("thousand steps of a seed", fontsize=7)
    for axes in grid[:, 0]:
        axes.set_ylabel("reward, share of steps", fontsize=7)


def draw_training(axes: Any, run: Trained) -> None:
    """Reward, rescaled, and success of a training, each with a band over seeds."""
    reward, success = _training(run)
    steps = np.asarray([row["step"] for row in run.learned], np.float64)
    least, most = reward.min(0), reward.max(0)
    both = (
        ((reward - least) / np.maximum(most - least, 1e-9), BLUE, "reward, rescaled"),
        (success, VERMILION, "success"),
    )
    for values, colour, label in both:
        lines = np.stack([smooth(values[:, k]) for k in range(values.shape[1])], axis=1)
        x = smooth(steps) / 1000
        parts = [mean_interval(line) for line in lines]
        middle = np.asarray([part.value for part in parts])
        low = np.clip([part.low if math.isfinite(part.low) else part.value for part in parts], 0, 1)
        high = np.clip([part.high if math.isfinite(part.high) else part.value for part in parts], 0, 1)
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
        axes.plot(x, lines, color=colour, linewidth=0.5, alpha=0.5)
        axes.plot(x, middle, color=colour, linewidth=1.6, label=label)
    axes.set_ylim(-0.03, 1.03)
    axes.tick_params(labelsize=7)


def _table(done: Sequence[tuple[str, Trained]], what: str) -> Table:
    """How far they part, a row a training."""
    lines = []
    for name, run in done:
        columns = list(zip(*partings(run), strict=True))
        figures = figures_of(run)
        lines.append(
            (
                name,
                *(told(column) for column in columns),
                *(interval_of(figures, key) for key in ("auc", "fooled_share", "clearly_fooled_share")),
            )
        )
    ends = drawn(max(run.seeds for _, run in done))
    header, rows = known_columns(
        (
            what,
            "rank correlation, first half",
            "second half",
            "share of the reward's rise after success is highest",
            "success lost by choosing by reward",
            "AUC at play",
            "states that fool",
            "clearly",
        ),
        lines,
    )
    return Table(
        header=header,
        rows=rows,
        caption="Correlation of reward and success over the rollouts of a training, whose actions are sampled; share "
        f"of the reward's whole rise that came after success was highest (running means of {WINDOW} rollouts; not told "
        f"where success was never above {LEARNED:g}); highest success less success where the reward is highest, which "
        f"choosing by the reward costs. Means over {seeds_of([run for _, run in done])}, {ends}; "
        "where fewer tell, a cell says how many, and it is empty where none does."
        + (
            " At play: states of the best agents, actions sampled; a state fools where it earns more than the median "
            f"held-out state of the goal and misses the predicate, clearly by more than a tolerance; {ends}."
            if any(figures_of(run) for _, run in done)
            else " What fools these agents was not looked for yet."
        ),
    )


def _games(found: Material) -> list[Block]:
    """Sentences that were written to be gamed."""
    done = [(game, run) for game in GAMED if (run := found.run(found.place.named(game.row)))]
    if not done:
        return []
    blocks: list[Block] = [
        Text("Two sentences that look as if they meant what is wanted, and name something easier:"),
        Table(
            header=("wanted", "sentence", "hope", "what else meets it", "success of what is wanted"),
            rows=tuple(
                (game.wanted, f'"{game.sentence}"', game.hope, game.proxy, run.success) for game, run in done
            ),
            caption=f"Success by the predicate of what was wanted, {seeds_of([run for _, run in done])}, "
            f"{drawn(max(run.seeds for _, run in done))}.",
        ),
        _panels([(game.sentence.removeprefix("a humanoid robot "), run) for game, run in done]),
        _table([(f'"{game.sentence}"', run) for game, run in done], "sentence"),
    ]
    return [*blocks, *(p for game, run in done if (p := fooling(run, f'"{game.sentence}"')))]


def _panels(done: Sequence[tuple[str, Trained]], of: str = "gamed sentences") -> Picture:
    """Reward and success over training of rewards that do not say what is wanted."""
    drawing: Drawing = new_figure(4.6, 2.0)
    grid = drawing.subplots(1, max(2, len(done)), squeeze=False, sharey=True)
    for axes in grid.flat[len(done) :]:
        axes.set_axis_off()
    for axes, (words, run) in zip(grid.flat, done, strict=False):
        draw_training(axes, run)
        axes.set_title(words, fontsize=8)
    _axes_of(grid)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return Picture(
        drawing,
        says=f"reward and success of {of}: "
        + ", ".join(f"{words}: success {run.success.value:.2f}" for words, run in done),
        caption="Mean reward of the rollouts, rescaled, and success by the predicate of what was wanted, which the "
        f"reward does not ask for; over thousands of steps, running means of {WINDOW} rollouts.",
        seeds=seeds_of([run for _, run in done]),
        interval="bands: 95 %, Student's over seeds",
    )


def _by_hand(found: Material) -> list[Block]:
    """A reward that was written by hand beside that of the sentence, on kneeling."""
    run = found.run("humanoid-kneeling-handwritten")
    sentence = found.run(name_of("kneeling", 0.0, found.place))
    if not run:
        return []
    blocks: list[Block] = [
        Text(
            "Kneeling from a reward as an engineer writes it in ten minutes: 0.5 exp(-((h - 0.41 m) / 0.10 m)^2) + "
            "0.4 exp(-(tilt / 30 degrees)^2) + 0.1 exp(-(speed / 0.5 m/s)^2), with the clearance h of the pelvis, the "
            "torso's tilt from vertical and its speed. It says nothing of knees, shins and feet."
        )
    ]
    beside = [("by hand", run), *([("sentence", sentence)] if sentence else [])]
    blocks.append(
        Picture(
            success_bars(
                [name for name, _ in beside], [r.success for _, r in beside], [r.rates for _, r in beside]
            ),
            says="success of kneeling: " + ", ".join(f"{name} {r.success.value:.2f}" for name, r in beside),
            caption="Kneeling by the predicate.",
            seeds=f"{seeds_of([r for _, r in beside])} of {run.episodes} episodes",
            interval=lines_of([r for _, r in beside]),
        )
    )
    picture = fooling(run, "kneeling by hand")
    alone = [("by hand", run)]
    return [
        *blocks,
        _panels(alone, "a reward by hand"),
        *([picture] if picture else []),
        _table(alone, "reward"),
    ]


FIGURE = Figure("misspecification", "Where reward and success part", rows, section)
