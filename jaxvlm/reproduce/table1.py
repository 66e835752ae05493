"""Table 1: eight poses of the humanoid, the agent with the most CLIP reward of several seeds, and controls."""

import io
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from jaxvlm.evaluation import Interval, rate_interval
from jaxvlm.reproduce.draw import success_bars
from jaxvlm.reproduce.figure import Block, Compared, Figure, Picture, Place, Row, Section, Table, caution
from jaxvlm.reproduce.material import Material, Trained, read_json
from jaxvlm.reproduce.poses import POSES, drawn, lines_of, name_of, pose_row, seeds_of
from jaxvlm.reproduce.report import short, shown
from jaxvlm.runtime.files import replace_file

CELL, LABEL = 96, 170  # pixels: a side of a moment, and the words before it
ROWS = 4  # episodes in a run's contact sheet


def rows(place: Place) -> list[Row]:
    """A training for each pose, and controls: of all poses on a GPU, random actions only elsewhere."""
    trained = [pose_row(pose.name, 0.0, place) for pose in POSES]
    controls = [place.control(row.name, "random") for row in trained]
    if place.budget.together:
        controls += [place.control(row.name, "zero") for row in trained]
        untrained = f"untrained:{place.clip}" if place.clip else "untrained"
        trained += [
            place.train(place.named(f"{pose.task}-untrained"), pose.task, "--clip", untrained)
            for pose in POSES
        ]
        trained += [
            place.train(f"{pose.task}-predicate", pose.task, "--reward", "ground-truth") for pose in POSES
        ]
    return [*trained, *controls]


def section(found: Material) -> Section:
    """Best of n by CLIP reward beside the paper, all seeds, controls, and what agents do."""
    runs = {pose: found.run(name_of(pose.name, 0.0, found.place)) for pose in POSES}
    done = {pose: run for pose, run in runs.items() if run}
    compared = tuple(
        Compared(
            f"{pose.words}: success of the agent with the most CLIP reward",
            f"{pose.paper:.0%}, best of 4",
            run.best if run else None,
            f"best of {run.seeds}" if run else "",
        )
        for pose, run in runs.items()
    )
    blocks = list[Block]()
    if done:
        blocks.append(
            Picture(
                success_bars(
                    [pose.words for pose in done],
                    [run.success for run in done.values()],
                    [run.rates for run in done.values()],
                    [pose.paper for pose in done],
                ),
                says="success by pose: "
                + ", ".join(f"{p.words} {r.success.value:.2f}" for p, r in done.items()),
                caption="Success by the predicates, over all seeds; the paper's diamonds are of its best seed, by eye.",
                seeds=f"{seeds_of(list(done.values()))} of {next(iter(done.values())).episodes} episodes",
                interval=lines_of(list(done.values())),
            )
        )
        blocks.append(_table(found))
        blocks += _agents(found)
    blocks += _beside(found)
    return Section(
        found="Five of eight poses were learned from one sentence each: kneeling, the lotus position, standing, raised "
        "arms and the splits in 100 % of 100 episodes, hands on hips in 64 %, standing on one leg and crossed arms in "
        "none. ViT-bigG-14, 10 million steps, the agent with the most CLIP reward of four seeds, judged by one person: "
        "an episode succeeds if the pose is held in at least half of its steps.",
        compared=compared,
        blocks=tuple(blocks),
        caution=caution(found.place),
    )


def _table(found: Material) -> Table:
    """A line a pose: every seed, the share of steps, and the controls there are."""
    lines, runs = [], list[Trained]()
    for pose in POSES:
        name = name_of(pose.name, 0.0, found.place)
        run = found.run(name)
        runs += [run] if run else []
        untrained = found.run(found.place.named(f"{pose.task}-untrained"))
        predicate = found.run(f"{pose.task}-predicate")
        lines.append(
            (
                pose.words,
                run.success if run else None,
                _each(run),
                run.sampled if run else None,
                run.share if run else None,
                _control(found, name, "random"),
                _control(found, name, "zero"),
                _each(untrained),
                _each(predicate),
            )
        )
    header = ("pose", "success, all seeds", "each seed", "of sampled actions", "share of steps", "random actions",
              "no action", "CLIP untrained", "predicate as reward")  # fmt: skip
    held = [column for column in range(len(header)) if any(line[column] is not None for line in lines)]
    ends = drawn(max(run.seeds for run in runs))
    return Table(
        header=tuple(header[column] for column in held),
        rows=tuple(tuple(line[column] for column in held) for line in lines),
        caption="A star marks the seed that is chosen, the one with the most CLIP reward in training. Beside success "
        "of deterministic actions that of actions sampled from the policy, as the paper's are, all seeds. Controls: "
        "success with random actions, and where they were run with no action, of agents that learn from a CLIP of "
        f"random weights, and from the predicate itself. {seeds_of(runs)}; intervals: {ends}, with random or no "
        "actions Wilson's 95 % over all episodes.",
    )


def _each(run: Trained | None) -> str | None:
    """Success of every seed, the chosen one with a star."""
    if run is None:
        return None
    return ", ".join(f"{rate:.0%}{'*' if seed == run.chosen else ''}" for seed, rate in enumerate(run.rates))


def _control(found: Material, name: str, which: str) -> Interval | None:
    path = found.file(f"runs/{name}/evaluation-{which}-100.json")
    result = read_json(path) if path else None
    if not result:
        return None
    # No agent learned here: every episode of every seed is drawn alike.
    rates, episodes = result["per_seed"]["success_rate"], result["episodes"]
    return rate_interval(sum(round(rate * episodes) for rate in rates), episodes * len(rates))


def _learned_from(run: Trained) -> str:
    """What a run's agents learned from, in words."""
    reward = run.config.get("reward", {})
    graded = ", graded" if run.config.get("variant") == "graded" else ""
    kind = reward.get("reward")
    if kind == "ground-truth":
        return f"ground truth as reward{graded}"
    what = f"CLIP {short(run.clip)}, views {' + '.join(reward.get('camera', []))}, alpha {reward.get('alpha', 0):g}"
    if reward.get("look") != "textured":
        what += f", look {reward.get('look')}"
    if kind == "mix":
        return (
            f"{reward.get('truth_weight', 0):g} times the ground truth{graded} and {reward.get('clip_weight', 1):g} "
            f"times {what}"
        )
    return f"a reward of its own beside {what}" if kind == "own" else what


def _beside(found: Material) -> list[Block]:
    """Runs of other folders on the same poses, a column for each kind of them."""
    kinds: dict[str, dict[str, Trained]] = {}
    for pose in POSES:
        for run in found.runs_of(pose.task):
            kinds.setdefault(f"{run.path.parent}: {_learned_from(run)}", {}).setdefault(pose.name, run)
    blocks = list[Block]()
    for kind, runs in kinds.items():
        steps = sorted({int(run.config.get("steps", 0)) for run in runs.values()})
        blocks.append(
            Table(
                header=("pose", "paper", "best by its reward", "all seeds", "each seed"),
                rows=tuple(
                    (pose.words, f"{pose.paper:.0%}", run.best, run.success, _each(run))
                    for pose in POSES
                    if (run := runs.get(pose.name))
                ),
                caption=f"Beside them, {kind}; {' or '.join(f'{step:,}' for step in steps)} steps of each of "
                f"{seeds_of(list(runs.values()))}; best: Wilson's 95 % interval, all: "
                f"{drawn(max(run.seeds for run in runs.values()))}.",
            )
        )
    return blocks


def _agents(found: Material) -> list[Block]:
    """Ten moments of an episode of each pose's chosen agent, from the runs' contact sheets."""
    strips, labels, words = [], [], []
    for pose in POSES:
        run = found.run(name_of(pose.name, 0.0, found.place))
        sheet = run.path / "videos" / "best.png" if run else None
        if run is None or sheet is None or not sheet.exists():
            continue
        picture = Image.open(sheet).convert("RGB")
        row = run.chosen  # a row of the sheet is an episode of a seed, in turn
        if row >= ROWS:
            continue  # the agent is not on it
        height = picture.height / ROWS
        strip = picture.crop((0, round(row * height), picture.width, round((row + 1) * height)))
        strips.append(strip.resize((10 * CELL, CELL), Image.Resampling.LANCZOS))
        labels.append(f"{pose.words}\n{run.best.value:.0%}")
        words.append(f"{pose.words} (seed {row}, {shown(run.best)})")
    if not strips:
        return []
    joined = Image.new("RGB", (LABEL + 10 * CELL, CELL * len(strips)), "white")
    draw = ImageDraw.Draw(joined)
    font = ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 14)
    for place, (strip, label) in enumerate(zip(strips, labels, strict=True)):
        joined.paste(strip, (LABEL, place * CELL))
        draw.text((4, place * CELL + CELL // 2 - 18), label, fill="black", font=font)
    path = found.place.folder / "report" / "agents.jpg"
    replace_file(path, lambda draft: Path(draft).write_bytes(_jpeg(joined)))
    return [
        Picture(
            path,
            says="moments of an episode of each pose's agent",
            caption="Ten moments of one episode of the chosen agent, from top to bottom: "
            + "; ".join(words)
            + ".",
            seeds="One seed each",
            interval="In brackets: success of that agent with Wilson's 95 % interval over its episodes",
            wide=True,
        )
    ]


def _jpeg(picture: Image.Image) -> bytes:
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=82, optimize=True)
    return written.getvalue()


FIGURE = Figure("table1", "Table 1: eight poses from eight sentences", rows, section)
