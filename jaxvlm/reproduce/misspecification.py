"""Where reward and success part: over training, in the states that fool a reward, and with what helps against it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Drawing

from jaxvlm.clip.naming import label_of
from jaxvlm.evaluation import Interval, bootstrap, mean_interval
from jaxvlm.evaluation.parting import WINDOW, Parting, parting, smooth
from jaxvlm.reproduce.draw import success_bars
from jaxvlm.reproduce.figure import Block, Figure, Picture, Place, Row, Section, Table, Text
from jaxvlm.reproduce.material import Material, Trained, read_json
from jaxvlm.reproduce.poses import FAILING, POSES, drawn, lines_of, name_of, pose_row, seeds_of
from jaxvlm.reproduce.report import shown
from jaxvlm.reproduce.scaling import SHARED, SIZES, agent_name, agent_rows, clip_rows, full
from jaxvlm.runtime.plots import BLUE, VERMILION, new_figure

SHOWN = 6  # states of a picture
LEARNED = 0.1  # share of a rollout's steps at the goal, without which nothing is told of what came after it
ALPHAS = (0.2, 0.4, 0.6)  # of the remedy, as in figure 8
ALPHA = 0.4  # of the remedy on kneeling, with the small CLIP of the other remedies
CAMERAS = ("--camera", "default", "side")  # of another
SMALL = "s"  # the size of the CLIPs that the remedies are tried with


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
    if not place.clips:
        return [*found, *_remedies(place)]
    # These two ask for no CLIP of their own; a third, to learn from what fooled it, is no matter for a checkpoint.
    given = [pose_row("kneeling", ALPHA, place), _two_cameras(place)]
    return [*found, *given, *(fooled(row, place) for row in given)]


def _two_cameras(place: Place) -> Row:
    """Kneeling from what a checkpoint that was given makes of two views."""
    return place.train(
        place.named("humanoid-kneeling-cameras"), "humanoid-kneeling", *CAMERAS, minutes=place.budget.minutes * 1.6
    )  # fmt: skip


def _remedies(place: Place) -> list[Row]:
    """Alpha, a second camera, and a CLIP that has learned from what fooled the one before; with CLIPs of one size.

    That last one is one round: states are mined once, a CLIP is trained anew with them, its agents are measured.
    """
    size = next(size for size in SIZES if size.name == SMALL)
    first = next(model for model in full(place) if model.size == SMALL)
    base = [row for row in clip_rows(place) if row.name == first.row]
    agents = next(row for row in agent_rows(place) if row.name == agent_name(first, place))
    recipe = ("--steps", str(first.steps), "--seed", "0", *SHARED, *size.flags)
    sides = place.clip_train("s-1500-sides", "humanoid", *recipe, *CAMERAS, minutes=size.minutes * 1.6)
    states = str(place.folder / "runs" / agents.name / "fooled.npz")
    mined = place.clip_train("s-1500-mined", "humanoid", *recipe, "--states", states, minutes=size.minutes)
    mined = replace(mined, needs=(f"{agents.name}-fooled",))
    clips = place.folder / "clips"
    with_alpha = place.train(
        f"{agents.name}-a{ALPHA:g}", "humanoid-kneeling", "--clip", first.clip, "--alpha", f"{ALPHA:g}",
        needs=(first.row,) if first.row else (),
    )  # fmt: skip
    with_sides = place.train(
        "humanoid-kneeling-s-sides", "humanoid-kneeling", "--clip", str(clips / "s-1500-sides"),
        *CAMERAS, needs=(sides.name,), minutes=place.budget.minutes * 1.6,
    )  # fmt: skip
    with_mined = place.train(
        "humanoid-kneeling-s-mined", "humanoid-kneeling", "--clip", str(clips / "s-1500-mined"), needs=(mined.name,)
    )  # fmt: skip
    return [
        *base,
        agents, fooled(agents, place),
        with_alpha, fooled(with_alpha, place),
        sides, with_sides, fooled(with_sides, place),
        mined, fooled(agents, place, clip="s-1500-mined"), with_mined, fooled(with_mined, place),
    ]  # fmt: skip


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
        product=f"runs/{run}/{_fooled_file(place.folder, clip)}",
        # The agents play from what was published of them; the CLIP that they learned from has to be there.
        needs=(run, *((f"clip-{clip}",) if clip else agents.needs)),
        minutes=2.0,
    )


def _fooled_file(folder: Path, clip: str | None) -> str:
    """What `jaxvlm evaluate --fooled` leaves in a run's folder; of another checkpoint, one of the report's folder."""
    return f"fooled-{label_of(str(folder / 'clips' / clip))}.json" if clip else "fooled.json"


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
        blocks += [
            picture for name, run in done if (picture := _fooling(found, run, f"humanoid-{name}")) is not None
        ]
    games = _games(found)
    blocks += games
    blocks += _by_hand(found)
    blocks += _helped(found)
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
        figures = _figures(run)
        lines.append(
            (
                name,
                *(told(column) for column in columns),
                *(_interval(figures, key) for key in ("auc", "fooled_share", "clearly_fooled_share")),
            )
        )
    ends = drawn(max(run.seeds for _, run in done))
    header, rows = _known(
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
            if any(_figures(run) for _, run in done)
            else " What fools the agents was not looked for yet."
        ),
    )


def _known(
    header: tuple[str, ...], rows: Sequence[tuple[str | Interval | None, ...]]
) -> tuple[tuple[str, ...], tuple[tuple[str | Interval | None, ...], ...]]:
    """A table without the columns of which nothing is known yet."""
    held = [column for column in range(len(header)) if any(row[column] is not None for row in rows)]
    return tuple(header[column] for column in held), tuple(
        tuple(row[column] for column in held) for row in rows
    )


def _figures(run: Trained, clip: str | None = None) -> dict[str, Any]:
    """`fooled.json` of a run; empty where there is none."""
    return read_json(run.path / _fooled_file(run.path.parents[1], clip)) or {}


def _interval(figures: dict[str, Any], key: str) -> Interval | None:
    """A figure with its ends; None where it is not known, as the AUC of agents that never meet their goal."""
    value, *ends = figures.get(key) or (None,)
    return None if value is None else Interval(value, *(math.nan if end is None else end for end in ends))


def _fooling(found: Material, run: Trained, title: str) -> Picture | None:
    """The states that fool a run's reward."""
    path, figures = run.path / "plots" / "fooled.png", _figures(run)
    share = _interval(figures, "clearly_fooled_share") or _interval(figures, "fooled_share")
    if not path.exists() or not figures.get("shown"):
        return None
    first = figures["shown"][0]
    return Picture(
        path,
        says=f"{title}: states at play with the most reward that miss the goal; the first earns {first['reward']:.2f} "
        f"and misses {', '.join(first['missed']) or 'the goal'}",
        caption=f"{title}: most reward without the goal, from the reward's view and below it from the side.",
        seeds=f"{seeds_of([run])}, {figures['episodes']} episodes each",
        interval=f"share of states that fool clearly: {share}" if share else "share not known",
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
    return [*blocks, *(p for game, run in done if (p := _fooling(found, run, f'"{game.sentence}"')))]


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
    picture = _fooling(found, run, "kneeling by hand")
    alone = [("by hand", run)]
    return [
        *blocks,
        _panels(alone, "a reward by hand"),
        *([picture] if picture else []),
        _table(alone, "reward"),
    ]


def _helped(found: Material) -> list[Block]:
    """What the remedies do."""
    tried: list[tuple[str, Trained | None, str | None]] = [
        (f"{pose}, alpha {alpha:g}", found.run(name_of(pose, alpha, found.place)), None)
        for pose in FAILING
        for alpha in (0.0, *ALPHAS)
    ]
    plain = found.run("humanoid-kneeling-s")
    small = [
        ("kneeling, small CLIP, front", plain, None),
        (f"the same with alpha {ALPHA:g}", found.run(f"humanoid-kneeling-s-a{ALPHA:g}"), None),
        ("the agents of alpha 0, judged by the CLIP that has learned from them", plain, "s-1500-mined"),
        ("agents of that CLIP", found.run("humanoid-kneeling-s-mined"), None),
        (
            "agents of a small CLIP of two cameras, front and side",
            found.run("humanoid-kneeling-s-sides"),
            None,
        ),
    ]
    lines, most = [], 1
    given = [
        ("kneeling, front", found.run(name_of("kneeling", 0.0, found.place)), None),
        (f"the same with alpha {ALPHA:g}", found.run(name_of("kneeling", ALPHA, found.place)), None),
        ("agents of two cameras, front and side", found.run(_two_cameras(found.place).name), None),
    ]
    # What stands in the folder from before is not of the checkpoints that were given.
    for words, run, clip in [*tried, *(given if found.place.clips else small)]:
        if run and (clip is None or _figures(run, clip)):
            figures, most = _figures(run, clip), max(most, run.seeds)
            lines.append(
                (
                    words,
                    None if clip else run.success,
                    *(_interval(figures, key) for key in ("auc", "fooled_share", "clearly_fooled_share")),
                    seeds_of([run]),
                )
            )
    if not lines:
        return []
    header, rows = _known(("remedy", "success", "AUC at play", "states that fool", "clearly", "seeds"), lines)
    runs = [
        (pose, alpha, found.run(name_of(pose, alpha, found.place))) for pose in FAILING for alpha in ALPHAS
    ]
    return [
        Text(
            "Remedies: goal-baseline regularisation on the poses that the paper did not learn, beside alpha 0"
            + _on_kneeling(found.place, plain)
        ),
        Table(
            header=header,
            rows=rows,
            caption="Success of deterministic actions; at play they are sampled. "
            f"{drawn(most)[0].upper()}{drawn(most)[1:]}.",
        ),
        *(
            picture
            for pose, alpha, run in runs
            if run and (picture := _fooling(found, run, f"humanoid-{pose}, alpha {alpha:g}")) is not None
        ),
    ]


def _on_kneeling(place: Place, plain: Trained | None) -> str:
    """What the text says of the remedies on kneeling; `plain` are the agents of the small CLIP."""
    both = "; on kneeling the same, and a second camera that sees what the first does not"
    if place.clips:
        return f"{both}."
    if plain is None:
        return "."
    return (
        f"{both}, and a CLIP that has learned from the states that fooled it. That is one round: states are mined once "
        "from the agents of the first CLIP, a CLIP is trained anew with them, and agents that learn from it are "
        "measured; nothing was mined from these again. The small CLIPs are trained alike, for 1,500 steps; the figures "
        "at play of the one that has learned from states are of episodes that it has not learned from."
    )


FIGURE = Figure("misspecification", "Where reward and success part", rows, section)
