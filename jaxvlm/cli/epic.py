"""`jaxvlm epic DATASET`: how far rewards are from labels, by model, goal and alpha."""

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from jaxvlm.cli.common import Output, has_captions, import_ours, label_of, parse, tasks_of
from jaxvlm.names import plain_name

if TYPE_CHECKING:
    import numpy as np

    from jaxvlm.evaluation.scoring import Prompts, Views
    from jaxvlm.evaluation.states import StateDataset

SHOWN, SHOWN_SIZE = 16, 128  # states in a block of a sheet, pixels a side of each
FEW = 10  # goal states below which an interval promises little


@dataclass(frozen=True)
class Epic:
    """How far CLIP rewards are from the labels of a dataset: EPIC distance and AUROC by model, goal and alpha."""

    dataset: tyro.conf.Positional[str]
    """Folder of a state dataset, or its name; make one with `jaxvlm dataset make`."""
    clip: tuple[str, ...] = ("tiny",)
    """CLIP checkpoints: `tiny`, `untrained`, `untrained:DIRECTORY`, directories or hub names."""
    clip_size: int = 0
    """Side of the frames in pixels, a multiple of the patch of a ViT; 0 is each checkpoint's own."""
    goal: tuple[str, ...] = ()
    """Goals; the default is all that the dataset has states of."""
    prompt: tuple[str, ...] = ()
    """Goal prompts in place of the goal's own, for a single --goal; their embeddings are averaged."""
    baseline: tuple[str, ...] = ()
    """Baseline prompts in place of the domain's own; their embeddings are averaged."""
    alphas: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Strengths of goal-baseline regularisation."""
    look: str | None = None
    """How the states are drawn; the default is the task's."""
    camera: tuple[str, ...] = ("default",)
    """Views; rewards average over them."""
    each_camera: bool = False
    """Besides the mean over several views, rows of each one alone."""
    labels: Literal["predicate", "human"] = "predicate"
    """Whose word is the truth: the simulator's predicates, or people's (see `jaxvlm dataset label`)."""
    resamples: int = 1000
    """Of the bootstrap, which draws whole episodes."""
    pictures: bool = False
    """Draw, for every goal and model, the highest-scoring other states and the lowest-scoring goal states."""
    seed: int = 0
    """Of the bootstrap."""
    name: str | None = None
    """First part of the names of the files; the default is the dataset's, and `-human` for people's labels."""
    output: Path = Path("runs/epic")
    """Folder for the tables and pictures."""
    datasets_dir: Path = Path("runs/datasets")
    """Folder of the datasets."""


def run(arguments: Sequence[str]) -> None:
    """Draws and scores the states by every model, measures and plots."""
    options = parse(Epic, spelt_out(arguments), prog="jaxvlm epic")

    from jaxvlm.errors import ConfigError
    from jaxvlm.evaluation.scoring import embed_scenes, histogram, measure, parameters_of, score_embeddings
    from jaxvlm.evaluation.states import StateDataset, find_dataset_folder, made_by
    from jaxvlm.reward import validate_alpha
    from jaxvlm.runtime import Progress, enable_compilation_cache
    from jaxvlm.runtime.files import write_atomic, write_json
    from jaxvlm.vlmrm.build import find_tower, load_tower

    enable_compilation_cache()
    started = time.monotonic()
    alphas = [validate_alpha(alpha) for alpha in dict.fromkeys(options.alphas)]
    if not alphas or not options.clip or options.resamples < 1:
        raise ConfigError(
            f"alphas are {options.alphas}, checkpoints {options.clip} and resamples {options.resamples}; "
            "give at least one of each"
        )
    folder = find_dataset_folder(options.dataset, options.datasets_dir)
    dataset = StateDataset.load(folder)
    views, known = scenery(dataset.domain, options.look, options.camera)
    views.validate()
    chosen, notes = choose_goals(dataset, options, known, max(alphas))
    names = short_names(options.clip)
    # A name that means nothing is refused before the first is scored; weights are loaded one model after the other.
    for name in options.clip:
        notes += unknown_words(*find_tower(name, dataset.domain, options.clip_size), chosen)
    print(
        f"{len(dataset):,} states of {dataset.domain}, {', '.join(chosen)}; {len(names)} models", flush=True
    )
    for note in dict.fromkeys(notes):
        print(f"note: {note}", flush=True)

    directory = Output(options.output).prepare()
    scenes = dataset.scene(import_ours("envs.captions.scenes").scene_type(dataset.domain))
    rows, histograms, scores, models = [], [], {}, []
    with Progress(len(dataset) * len(names), unit="states") as progress:
        for place, name in enumerate(names):
            tower = load_tower(options.clip[place], dataset.domain, options.clip_size)
            begun = time.monotonic()
            embeddings = embed_scenes(tower, scenes, views, progress, place * len(dataset))
            facts = {"model": options.clip[place], "label": name, "parameters": parameters_of(tower)}
            progress.announce(f"measuring {name} with {options.resamples:,} resamples ...")
            models.append({**facts, "size": tower.size, "digest": tower.digest})
            for goal, prompts in chosen.items():
                scores[goal, name] = score_embeddings(tower, embeddings, prompts, alphas)
                measured = measure(
                    dataset,
                    goal,
                    scores[goal, name],
                    alphas=alphas,
                    cameras=options.camera,
                    labels=options.labels,
                    each_camera=options.each_camera,
                    resamples=options.resamples,
                    seed=options.seed,
                )
                rows += [{**facts, **row} for row in measured]
                holds, known_rows = dataset.truth(goal, options.labels)
                for alpha, values in zip(alphas, scores[goal, name].mean(-1), strict=True):
                    histograms.append(
                        {
                            **facts,
                            "goal": goal,
                            "alpha": alpha,
                            **histogram(values[known_rows], holds[known_rows]),
                        }
                    )
            models[-1]["seconds"] = round(time.monotonic() - begun, 1)
            del tower  # its weights go before the next ones come

    stem = options.name or folder.resolve().name + ("-human" if options.labels == "human" else "")
    result = {
        "format": 1,
        "dataset": dataset.meta.get("command", []),
        "dataset_name": folder.resolve().name,
        "domain": dataset.domain,
        "states": len(dataset),
        "labels": options.labels,
        "look": views.look,
        "cameras": list(options.camera),
        "alphas": alphas,
        "resamples": options.resamples,
        "prompts": {goal: {"goal": list(p.goal), "baseline": list(p.baseline)} for goal, p in chosen.items()},
        "notes": list(dict.fromkeys(notes)),
        "models": models,
        **made_by(["jaxvlm", "epic", *arguments]),
        "rows": rows,
        "histograms": histograms,
    }
    print(table(rows))
    write_json(directory / f"{stem}.json", result)
    write_atomic(directory / f"{stem}.csv", to_csv(rows))
    print(f"figures   {directory / f'{stem}.json'}")
    print(f"table     {directory / f'{stem}.csv'}")
    for picture in draw_figures(directory, stem, dataset, rows, scores, alphas, options, views, scenes):
        print(f"picture{'s' * picture.is_dir():<3}{picture}")
    print(f"done in {time.monotonic() - started:.0f} s")


def spelt_out(
    arguments: Sequence[str], switches: Sequence[str] = ("--pictures", "--each-camera")
) -> list[str]:
    """The arguments with `True` after switches that are given without a value."""
    after = [*arguments, "--"][1:]
    return [
        word
        for argument, following in zip(arguments, after, strict=True)
        for word in (
            (argument, "True") if argument in switches and following.startswith("-") else (argument,)
        )
    ]


def scenery(domain: str, look: str | None, cameras: Sequence[str]) -> tuple["Views", dict[str, "Prompts"]]:
    """How the states of a domain are drawn, and the prompts of its goals, from the tasks that have them.

    Raises:
      ConfigError: no task is of this domain.
    """
    from jaxvlm.evaluation.scoring import Prompts, Views

    tasks = sorted(tasks_of(domain), key=lambda task: not task.goal_prompts)
    prompts = {}
    for task in tasks:
        if task.goal_prompts:
            prompts.setdefault(label_of(task), Prompts(task.goal_prompts, task.baseline_prompts))
    return Views(tasks[0].env, tasks[0].look if look is None else look, tuple(cameras)), prompts


def choose_goals(
    dataset: "StateDataset", options: Epic, known: Mapping[str, "Prompts"], alpha: float
) -> tuple[dict[str, "Prompts"], list[str]]:
    """The goals to measure with their prompts, and what to say of those that are left out or have few states.

    Raises:
      ConfigError: a goal that the dataset does not label, prompts that fit no single goal, or none with both kinds of
        states.
    """
    from jaxvlm.errors import ConfigError
    from jaxvlm.evaluation.scoring import Prompts
    from jaxvlm.reward import validate_prompts

    labelled = dataset.human if options.labels == "human" else dataset.labels
    if not labelled:
        raise ConfigError(
            f"the dataset has no {options.labels} labels"
            + ("; add them with `jaxvlm dataset label`" if options.labels == "human" else "")
        )
    for goal in options.goal:
        if goal not in labelled:
            raise ConfigError(
                f"the dataset has no {options.labels} labels of {goal!r}; it has those of {', '.join(labelled)}"
            )
    wanted, notes, chosen = options.goal or tuple(labelled), [], {}
    if options.prompt and len(wanted) != 1:
        raise ConfigError(
            f"--prompt is for one goal, and this is about {', '.join(wanted)}; choose one of them with --goal"
        )
    for goal in wanted:
        holds, labels_known = dataset.truth(goal, options.labels)
        positives, count = int((holds & labels_known).sum()), int(labels_known.sum())
        if positives in (0, count):
            notes.append(f"{goal} is left out: {positives} of {count} labelled states are goal states")
            continue
        if min(positives, count - positives) < FEW:
            notes.append(f"{goal} has {positives} goal states of {count}: its figures are uncertain")
        default = known.get(goal)
        if default is None and not options.prompt:
            raise ConfigError(f"goal {goal!r} has no prompt of its own; give one with --prompt")
        chosen[goal] = Prompts(
            options.prompt or (default.goal if default else ()),
            options.baseline or (default.baseline if default else ()),
        )
        validate_prompts(chosen[goal].goal, chosen[goal].baseline, (), alpha)
    if not chosen:
        raise ConfigError(
            f"of {', '.join(wanted)} the dataset has no goal states, or no others: add sources that reach them"
            + (f", such as sampler:{dataset.domain}" if has_captions(dataset.domain) else "")
        )
    return chosen, notes


def unknown_words(name: str, tokenizer: Any, chosen: Mapping[str, "Prompts"]) -> list[str]:
    """A note for each prompt with words that a checkpoint never saw."""
    notes = []
    for prompts in chosen.values():
        for prompt in (*prompts.goal, *prompts.baseline):
            unknown = tokenizer.unknown_words(prompt)
            if unknown:
                notes.append(f"{name} has never seen {', '.join(map(repr, unknown))} of {prompt!r}")
    return notes


def short_names(checkpoints: Sequence[str]) -> list[str]:
    """Names of models for tables and legends: the last part of a path where that tells them apart."""
    short = [
        f"{name.partition(':')[0]}:{Path(name.partition(':')[2]).name}"
        if name.startswith("untrained:")
        else Path(name).name
        for name in checkpoints
    ]
    return [name if short.count(name) == 1 else full for name, full in zip(short, checkpoints, strict=True)]


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows in words and figures."""
    width = max(len("model"), *(len(row["label"]) for row in rows))
    views = len({row["camera"] for row in rows}) > 1
    goal_width = max(len("goal"), *(len(row["goal"]) for row in rows)) + 2
    lines = [
        f"{'model':<{width + 2}}{'goal':<{goal_width}}"
        + (f"{'camera':<16}" if views else "")
        + f"{'alpha':>6}  {'EPIC distance':<22}{'AUROC':<22}{'goal states':>14}{'episodes':>10}"
    ]
    for row in rows:
        figures = [
            f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
            for name in ("epic", "auc")
        ]
        lines.append(
            f"{row['label']:<{width + 2}}{row['goal']:<{goal_width}}"
            + (f"{row['camera']:<16}" if views else "")
            + f"{row['alpha']:>6g}  {figures[0]:<22}{figures[1]:<22}"
            + f"{row['positives']:>6} of {row['n']:<5}{row['groups']:>9}"
        )
    return "\n".join(lines)


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()}
        for row in rows
    )
    return text.getvalue()


def draw_figures(
    directory: Path,
    stem: str,
    dataset: "StateDataset",
    rows: Sequence[Mapping[str, Any]],
    scores: Mapping[tuple[str, str], "np.ndarray"],
    alphas: Sequence[float],
    options: Epic,
    views: "Views",
    scenes: Any,
) -> list[Path]:
    """Figures 4a, 4b and 7, and with `--pictures` a sheet of a goal's states that each model gets most wrong."""
    from jaxvlm.clip.naming import label_of
    from jaxvlm.evaluation import plots

    mean = [row for row in rows if row["camera"] == "+".join(options.camera)]
    judge = "people" if options.labels == "human" else "predicate"
    title = f"{len(dataset):,} states of {plain_name(dataset.domain)}, labelled by {judge}"
    made = []
    if len(alphas) > 1:
        made.append(plots.distance_by_alpha(directory / f"{stem}-alpha.png", mean, title=title))
    if len({row["parameters"] for row in mean}) > 1:
        made.append(plots.distance_by_size(directory / f"{stem}-size.png", mean, title=title))
    shown: dict[str, dict[str, tuple[Any, Any]]] = {}
    notes = {
        (row["goal"], row["label"]): f"D {row['epic']:.3f}, AUROC {row['auc']:.3f}"
        for row in mean
        if row["alpha"] == alphas[0]
    }
    for (goal, model), values in scores.items():
        holds, known = dataset.truth(goal, options.labels)
        shown.setdefault(goal, {})[model] = (values[0, known].mean(-1), holds[known])
    made.append(
        plots.reward_histograms(
            directory / f"{stem}-histograms.png", shown, title=f"{title}, α = {alphas[0]:g}", notes=notes
        )
    )
    if options.pictures:
        draw = views.drawer(SHOWN_SIZE)
        for (goal, model), values in scores.items():
            file = directory / f"{stem}-pictures" / f"{goal}-{label_of(model)}.png"
            draw_sheet(file, dataset, goal, model, values[0].mean(-1), options, draw, scenes)
        made.append(directory / f"{stem}-pictures")
    return made


def draw_sheet(
    file: Path,
    dataset: "StateDataset",
    goal: str,
    model: str,
    scores: "np.ndarray",
    options: Epic,
    draw: "Callable[[Any], np.ndarray]",
    scenes: Any,
) -> Path:
    """What fools a reward: the highest-scoring states that are no goal states, and the lowest-scoring that are."""
    import jax
    import numpy as np

    from jaxvlm.evaluation import plots

    holds, known = dataset.truth(goal, options.labels)
    order = np.argsort(-scores, kind="stable")
    median = np.median(scores[holds & known])
    top = one_an_episode(order[(known & ~holds)[order]], dataset.groups)
    low = one_an_episode(order[::-1][(known & holds)[order[::-1]]], dataset.groups)
    above = int((scores[known & ~holds] > median).sum())
    rows = np.concatenate([top, low])
    wanted = np.resize(rows, 2 * SHOWN)  # one program for all sheets
    frames = draw(jax.tree.map(lambda leaf: np.asarray(leaf)[wanted], scenes))[: len(rows)]
    captions = [f"{scores[row]:.3f}  #{row}" for row in rows]
    return plots.state_sheet(
        file,
        [
            (
                f"Highest-scoring states that are not {goal} ({above} of {int((known & ~holds).sum()):,} score above "
                f"the median of {goal}, {median:.3f})",
                frames[: len(top)],
                captions[: len(top)],
            ),
            (f"Lowest-scoring states that are {goal}", frames[len(top) :], captions[len(top) :]),
        ],
        title=f"{goal}, CLIP {model}, α = {options.alphas[0]:g}",
        columns=max(2, 8 // len(options.camera)),
    )


def one_an_episode(rows: "np.ndarray", groups: "np.ndarray") -> "np.ndarray":
    """The first few of the rows, no two of one episode: states in a row look alike."""
    import numpy as np

    _, first = np.unique(groups[rows], return_index=True)
    return rows[np.sort(first)][:SHOWN]
