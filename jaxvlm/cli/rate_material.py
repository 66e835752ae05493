"""What `jaxvlm rate` shows: episodes of runs and states of a set, recorded and drawn where they are missing."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxvlm.cli.common import find_task, tasks_of
from jaxvlm.errors import ConfigError, RunError
from jaxvlm.rating.criteria import criterion
from jaxvlm.rating.material import (
    Drawing,
    Goal,
    Item,
    Material,
    Rule,
    draw_missing,
    missing,
    new_id,
    share_of,
)
from jaxvlm.runtime import Progress, Run
from jaxvlm.runtime.files import expand

if TYPE_CHECKING:
    from envs.registry import Task
    from jaxvlm.cli.rate import Rate
    from jaxvlm.evaluation.states import StateDataset

EPISODES = 25  # of each seed; four seeds make the paper's 100
STATES = 500  # of a set
SIZE = 224  # pixels a side of a view
SMOOTH = 128  # frames of a loop at most, unless two steps between frames are too many

Shown = tuple[Material, Sequence[Item]]  # a folder, and what of it is judged


def dataset_folder(name: str, runs_dir: Path) -> Path | None:
    """The folder of a set of states, given by path or by its name among those of `jaxvlm dataset make`."""
    for folder in (expand(name), expand(runs_dir) / "datasets" / name):
        if (folder / "dataset.json").is_file():
            return folder
    return None


def gather(options: "Rate", *, only_read: bool) -> list[Shown]:
    """The material of every run, or of a set of states, and what of it is judged.

    Raises:
      ConfigError: the combination cannot work, or, with `only_read`, nothing has been recorded yet.
      RunError: a run cannot be read, or its folder not be written.
    """
    sets = [folder for name in options.runs if (folder := dataset_folder(name, options.runs_dir))]
    if sets:
        if len(options.runs) > 1:
            raise ConfigError("a set of states is labelled alone: name it and nothing else")
        if options.actions != "deterministic":
            raise ConfigError("--actions says how agents of runs act; the states of a set are there already")
        return [_states(sets[0], options, only_read)]
    if options.goal is not None:
        raise ConfigError("--goal says what states of a set are labelled for; a run's goal is its task's")
    runs = [Run.open(path, runs_dir=options.runs_dir) for path in options.runs]
    own = "rating" if options.actions == "deterministic" else "rating-sampled"
    folders = [options.output / run.name if options.output else run.path / own for run in runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(
            f"two of {', '.join(options.runs)} would share a folder: name each run once, or leave --output out"
        )
    found = [Material.open(folder) if Material.exists(folder) else None for folder in folders]
    for material in filter(None, found):
        if material.actions != options.actions:
            raise RunError(
                f"{material.folder} holds episodes whose actions are {material.actions}: give --actions "
                f"{material.actions} to go on with them, or choose another --output"
            )
    shown = []
    for run, folder, material in zip(runs, folders, found, strict=True):
        if not only_read:
            known = [each for each in found if each is not None]
            material = _run(run, folder, material, known, options)
        elif material is None:
            raise ConfigError(f"nothing of {run.path} has been shown to anyone yet: {options.command()}")
        # Where it lies now, and not where it lay when it was recorded.
        material = replace(material, origin=str(run.path.resolve()))
        shown.append((material, _picked(material, options)))
    return shown


def _picked(material: Material, options: "Rate") -> list[Item]:
    items = material.picked_frames(options.frames) if options.frames else material.trajectories
    return [item for item in items if options.episodes is None or item.episode < options.episodes]


def _run(
    run: Run, folder: Path, material: Material | None, known: list[Material], options: "Rate"
) -> Material:
    """Records and draws what is missing of one run."""
    task = find_task(run.config["task"], run.config.get("variant"))
    drawing = _drawing(options, task, known)
    trained = max((row["step"] for row in run.rows()), default=0)
    recorded = 1 + max((item.episode for item in material.trajectories), default=-1) if material else 0
    wanted = max(options.episodes or recorded or EPISODES, recorded)
    if material is not None and wanted > recorded and material.trained != trained:
        raise RunError(
            f"{run.path} has been trained from {material.trained:,} to {trained:,} steps since its {recorded} episodes "
            "were recorded, and further ones would be of other agents: choose another --output, or leave --episodes out"
        )
    if material is None or wanted > recorded:
        numbers = range(recorded, wanted)
        material = _record(run, task, folder, drawing, trained, numbers, material, options.actions)
    elif material.trained != trained:
        print(
            f"note: {run.path} has been trained from {material.trained:,} to {trained:,} steps since its episodes were "
            "recorded, and is shown as it was; for its agents of today use another --output",
            flush=True,
        )
    if material.rule is None:  # as earlier versions recorded it
        material = replace(material, rule=_rule(task))
        material.save()
    if options.frames:
        material = material.with_frames(options.frames)
        material.save()
    rows = {(item.seed, item.episode): number for number, item in enumerate(material.trajectories)}

    def scenes() -> Callable[[Item, np.ndarray], Mapping[str, np.ndarray]]:
        arrays = material.read_scenes()
        return lambda item, steps: {
            name: array[rows[item.seed, item.episode], steps] for name, array in arrays.items()
        }

    return _drawn(material, drawing, task, lambda each: _picked(each, options), scenes)


def _drawn(
    material: Material,
    drawing: Drawing,
    task: "Task",
    pick: Callable[[Material], Sequence[Item]],
    scenes: Callable[[], Callable[[Item, np.ndarray], Mapping[str, np.ndarray]]],
) -> Material:
    """With every picked item's picture there, drawn as it is asked for."""
    if material.drawing != drawing:
        # Pictures first: cut off between the two, the next call finds pictures missing and not pictures of two kinds.
        for item in (*material.trajectories, *material.frames):
            material.picture(item).unlink(missing_ok=True)
        material = replace(material, drawing=drawing)
        material.save()
    undrawn = len(missing(material, pick(material)))
    if undrawn:
        print(f"drawing {undrawn} pictures of {material.source} ...", flush=True)
        poses, draw = scenes(), _drawer(task, drawing)
        with Progress(undrawn, unit="pictures") as progress:
            draw_missing(material, pick(material), poses, draw, progress.update)
    return material


def _drawing(options: "Rate", task: "Task", known: Sequence[Material]) -> Drawing:
    """How pictures are drawn: alike for all runs, as a rater would learn to tell other sizes or views apart.

    Looks and cameras are those of a domain, so other environments' have no say in them.
    """
    akin = [each for each in known if find_task(each.task, None).domain == task.domain]

    def agreed(name: str, default: Any, among: Sequence[Material] = akin) -> Any:
        values = {getattr(material.drawing, name) for material in among}
        return values.pop() if len(values) == 1 else default

    look = options.look or agreed("look", task.look)
    cameras = options.camera or agreed("cameras", task.cameras)
    if look not in task.env.looks:
        raise ConfigError(f"unknown look {look!r}; this task can be drawn as {', '.join(task.env.looks)}")
    for name in cameras:
        if name not in task.env.cameras:
            raise ConfigError(
                f"unknown camera {name!r}; this task can be seen from {', '.join(task.env.cameras)}"
            )
    every = 1 if task.episode_length <= SMOOTH else 2
    size = options.size or agreed("size", SIZE, known)
    return Drawing(look=look, cameras=cameras, size=size, every=every, fps=2 * task.gif_fps / every)


def _drawer(task: "Task", drawing: Drawing) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """What draws poses, given as fields of scenes [frames, ...]."""
    import jax

    from jaxvlm.evaluation.drawing import make_drawer
    from jaxvlm.runtime import enable_compilation_cache

    enable_compilation_cache()
    env = task.env

    def scene(key: jax.Array, params: Any) -> Any:
        return env.scene(env.reset(key, params)[1], params)

    scene_type = type(jax.eval_shape(scene, jax.random.key(0), task.params))
    cameras = [env.cameras[name] for name in drawing.cameras]
    draw = make_drawer(env.render, env.assets(drawing.look), cameras, drawing.size)
    return lambda scenes: draw(scene_type(**scenes))


def _goal(task: "Task", prompts: Sequence[str], at: Sequence[int] = ()) -> Goal:
    """The task's sentence and criterion; where the task has no sentence, as any pose of the humanoid, the run's.

    `at` are the steps at which later phases begin; none: the task's own.
    """
    sentence = " + ".join(task.goal_prompts or prompts)
    if not task.then_prompts:
        # A concept of somebody else's may be called as one of ours and mean something else.
        concept = None if ":" in task.name else task.concept
        return Goal(sentence, task.criterion or criterion(concept, task.name))
    parts = [criterion(concept) for concept in (task.concept, *task.then_concepts)]
    ends = [f"Up to {start / task.episode_length:.0%} of the episode:" for start in at or task.starts]
    words = [f"{when} {part}" for when, part in zip([*ends, "From then on:"], parts, strict=True)]
    return Goal(", then ".join((sentence, *task.then_prompts)), " ".join(words))


def _rule(task: "Task") -> Rule:
    """What `jaxvlm evaluate` calls a success of the task."""
    return Rule(task.episode_length, task.window, task.threshold, getattr(task.env, "phases", 1))


def _record(
    run: Run,
    task: "Task",
    folder: Path,
    drawing: Drawing,
    trained: int,
    episodes: range,
    before: Material | None,
    actions: str,
) -> Material:
    """Plays a run's best agents and keeps every step's pose and predicate, behind those of the episodes before.

    Of each episode it is kept whether it is a success to `jaxvlm evaluate`.
    """
    from jaxvlm.rating.record import record
    from jaxvlm.runtime import enable_compilation_cache
    from jaxvlm.vlmrm import TrainConfig, build
    from jaxvlm.vlmrm.config import rewarded_by
    from jaxvlm.vlmrm.policies import best_agent
    from jaxvlm.vlmrm.train import seeds_of

    enable_compilation_cache()
    config = TrainConfig.from_dict({name: value for name, value in run.config.items() if name != "sinks"})
    # Nothing is scored, so the run's CLIP need not be there.
    blind = replace(config, reward=rewarded_by(config.reward, "ground-truth"))
    built = build(blind, task.env, task.params, domain=task.domain, holds_buffer=False)
    agent = best_agent(run, built)
    rule = _rule(task)
    print(f"playing {len(episodes)} episodes of each of {config.seeds} seeds of {run.name} ...", flush=True)
    with Progress(len(episodes), unit="episodes") as progress:
        played = record(
            task.env,
            built.program.agent.act,
            built.inputs.env_params,  # with the run's own schedule of phases
            agent,
            seeds_of(built),
            step=config.steps,
            episodes=episodes,
            rule=rule,
            deterministic=actions == "deterministic",
            progress=progress.update,
        )
    # An episode whose physics broke down in its first step has nothing to show.
    places, numbers = np.nonzero(played.steps)
    items = []
    for place, number in zip(places.tolist(), numbers.tolist(), strict=True):
        steps = int(played.steps[place, number])
        share = share_of(played.holds[place, number], steps)
        success = bool(played.success[place, number])
        items.append(Item(new_id(), config.seed + place, episodes[number], -1, steps, share, success=success))
    holds = played.holds[places, numbers]
    scenes = {name: array[places, numbers] for name, array in played.scenes.items()}
    if before:
        # Rows that answers were given to stay where they are, also if this is cut off before the items are written.
        earlier, count = before.read_scenes(), len(before.trajectories)
        holds = np.concatenate([before.read_holds()[:count], holds])
        scenes = {name: np.concatenate([earlier[name][:count], array]) for name, array in scenes.items()}
    material = Material(
        folder=folder,
        source=run.name,
        task=config.task,
        goal=_goal(task, config.reward.prompt, config.at),
        drawing=before.drawing if before else drawing,
        trained=trained,
        actions=actions,
        origin=str(run.path.resolve()),
        rule=rule,
        trajectories=(*(before.trajectories if before else ()), *items),
        frames=before.frames if before else (),
    )
    material.write_episodes(holds, scenes)
    material.save()
    return material


def _states(path: Path, options: "Rate", only_read: bool) -> Shown:
    """States of a set, drawn one by one; answers lie beside the set, which is replaced when labels are added."""
    from jaxvlm.evaluation.states import StateDataset

    dataset = StateDataset.load(path)
    task, goal, asked = _goal_of(dataset, options.goal)
    base = options.output or path.resolve().with_name(f"{path.resolve().name}-rating")
    folder = base / re.sub(r"[^\w-]+", "-", goal)
    material = Material.open(folder) if Material.exists(folder) else None
    if material is not None and material.goal.prompt != asked.prompt:
        raise RunError(
            f"{folder} holds answers to {material.goal.prompt!r} and not to {asked.prompt!r}: choose another --output"
        )
    if material is not None:  # earlier versions did not note the sources
        known = dataset.index["source"]
        noted = (
            replace(item, source=int(known[item.state]) if item.state < len(dataset) else 0)
            for item in material.frames
        )
        material = replace(material, frames=tuple(noted))
    if only_read:
        if material is None:
            raise ConfigError(f"no state of {path} has been shown to anyone yet: {options.command()}")
        material = replace(material, origin=str(path.resolve()))
        return material, material.frames[: options.frames or None]
    digest = hashlib.sha256(b"".join(dataset.scenes[name].tobytes() for name in sorted(dataset.scenes)))
    drawing = replace(_drawing(options, task, [material] if material else []), every=1)
    if material is None:
        origin, named = str(path.resolve()), path.resolve().name
        material = Material(
            folder, named, task.name, asked, drawing, digest=digest.hexdigest(), origin=origin
        )
    elif material.digest != digest.hexdigest():
        raise RunError(f"{folder} belongs to other states than those in {path}: choose another --output")
    count = options.frames or len(material.frames) or STATES
    # One order of all states: who asks for more gets the earlier ones too.
    order = np.random.default_rng(0).permutation(len(dataset))[:count]
    index = dataset.index
    for state in map(int, order[len(material.frames) :]):
        place = (int(index[name][state]) for name in ("seed", "episode", "step"))
        holds = float(dataset.labels[goal][state]) if goal in dataset.labels else None
        item = Item(new_id(), *place, steps=1, share=holds, state=state, source=int(index["source"][state]))
        material = replace(material, frames=(*material.frames, item))
    material.save()

    def scenes() -> Callable[[Item, np.ndarray], Mapping[str, np.ndarray]]:
        return lambda item, steps: {
            name: array[item.state : item.state + 1] for name, array in dataset.scenes.items()
        }

    material = _drawn(material, drawing, task, lambda each: each.frames[:count], scenes)
    return material, material.frames[:count]


def _goal_of(dataset: "StateDataset", goal: str | None) -> tuple["Task", str, Goal]:
    """A task that draws the states, the goal that they are labelled for, and what the page says of it.

    A goal that no predicate knows is asked for by its name, as people may label what nobody can compute.

    Raises:
      ConfigError: the set has several goals and none is named, or no task is of its domain.
    """
    if goal is None:
        if len(dataset.goals) != 1:
            raise ConfigError(f"which goal is it about? Choose --goal from {', '.join(dataset.goals)}")
        goal = dataset.goals[0]
    tasks = tasks_of(dataset.domain)
    if goal not in dataset.labels:
        print(f"note: no predicate knows {goal!r}, so the page asks for it in these words", flush=True)
        return tasks[0], goal, Goal(goal, criterion(None))
    task = next((task for task in tasks if task.concept == goal), None)
    task = task or next((task for task in tasks if task.concept is None), tasks[0])
    return task, goal, _goal(task, (goal,))
