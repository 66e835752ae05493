"""`jaxvlm rate RUN`: people judge episodes by eye, in the browser, blind to the run they come from."""

import os
import sys
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from jaxvlm.cli.common import find_task
from jaxvlm.errors import ConfigError

if TYPE_CHECKING:
    from envs.registry import Task
    from jaxvlm.rating.material import Drawing, Item, Material
    from jaxvlm.rating.session import Session

EPISODES = 25  # of each seed; four seeds make the paper's 100
SIZE = 224  # pixels a side of a view
PORT = 8642  # the browser keeps the rater's name by address, so it stays the same where it can
SMOOTH = 128  # frames of a loop at most, unless two steps between frames are too many


@dataclass(frozen=True)
class Rate:
    """Judge episodes by eye, in the browser: for how much of the time does the agent what it should?"""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run directories, or their names; episodes of several are mixed. Or one set of states, made by `jaxvlm dataset
    make`, whose frames are labelled."""
    report: bool = False
    """Print success, agreement between raters and agreement with the predicate, and write them beside the answers."""
    export: Path | None = None
    """Write the answers to this CSV file: a row an answer; of a set of states, what `jaxvlm dataset label` reads."""
    episodes: int | None = None
    """Episodes of each seed; the default is what is recorded already, or 25."""
    frames: int = 0
    """Ask for single frames, goal or not: this many of each episode, drawn at random (of a set of states, in all)."""
    output: Path | None = None
    """Folder for pictures and answers; the default is `rating` in each run."""
    size: int | None = None
    """Pixels a side of a picture; the default is what is recorded already, or 224."""
    camera: tuple[str, ...] = ()
    """Views, side by side; the default is what is recorded already, or the task's."""
    look: str | None = None
    """How the scene is drawn; the default is what is recorded already, or the task's."""
    port: int | None = None
    """Port of the page; the default is 8642, or a free one where that is taken."""
    browser: bool = True
    """Open the browser."""
    runs_dir: Path = field(default=Path("runs"))
    """Folder of the run directories."""


def run(arguments: Sequence[str]) -> None:
    """Records what is missing, then serves the page or reports."""
    options = tyro.cli(
        Rate,
        prog="jaxvlm rate",
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    if not options.runs:
        raise ConfigError("no run is given: jaxvlm rate RUN [RUN ...]")
    for name in ("episodes", "size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it has to be at least 1")
    if options.frames < 0:
        raise ConfigError(f"frames is {options.frames}; it cannot be negative, and 0 asks for whole episodes")
    only_read = options.report or options.export is not None
    if not only_read:
        from jaxvlm.rating.server import require_packages

        require_packages()
    from jaxvlm.rating.session import Session

    session = Session(gather(options, only_read), "frame" if options.frames else "share")
    if only_read:
        give_account(session, options)
    else:
        open_page(session, options)


def gather(options: Rate, only_read: bool) -> list[tuple["Material", "Sequence[Item]"]]:
    """The material of every run, recorded and drawn where that is missing, and what of it is judged.

    Raises:
      ConfigError: two runs would share a folder, or, with `only_read`, nothing has been recorded yet.
      RunError: a run cannot be read, or its folder not be written.
    """
    from jaxvlm.rating.material import Material
    from jaxvlm.runtime import Run

    runs = [Run.open(path, runs_dir=options.runs_dir) for path in options.runs]
    folders = [options.output / run.name if options.output else run.path / "rating" for run in runs]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ConfigError(
            f"two of {', '.join(options.runs)} would share a folder: name each run once, or leave --output out"
        )
    found = {folder: Material.open(folder) for folder in folders if Material.exists(folder)}
    shown = []
    for run, folder in zip(runs, folders, strict=True):
        if only_read:
            if folder not in found:
                raise ConfigError(f"{run.path} has not been rated: jaxvlm rate {run.path}")
            material = found[folder]
        else:
            material = _complete(run, folder, list(found.values()), options)
        shown.append((material, _picked(material, options)))
    return shown


def _picked(material: "Material", options: Rate) -> "Sequence[Item]":
    if options.frames:
        items = material.picked_frames(options.frames)
    else:
        items = material.trajectories
    return [item for item in items if options.episodes is None or item.episode < options.episodes]


def _complete(run: Any, folder: Path, known: "list[Material]", options: Rate) -> "Material":
    """Records and draws what is missing of one run."""
    from jaxvlm.rating.material import Material, draw_missing, missing
    from jaxvlm.runtime import Progress

    task = find_task(run.config["task"], run.config.get("variant"))
    drawing = _drawing(options, task, [material.drawing for material in known])
    trained = max((row["step"] for row in run.rows()), default=0)
    material = Material.open(folder) if Material.exists(folder) else None
    recorded = 1 + max((item.episode for item in material.trajectories), default=-1) if material else 0
    wanted = options.episodes or recorded or EPISODES
    if material is None or wanted > recorded:
        material = _record(run, task, folder, drawing, trained, max(wanted, recorded), material)
    elif material.trained != trained:
        print(
            f"note: {run.path} has been trained since, from {material.trained:,} to {trained:,} steps, and is shown as "
            f"it was; for its agents of today use another --output",
            flush=True,
        )
    if material.drawing != drawing:
        for item in (*material.trajectories, *material.frames):
            material.picture(item).unlink(missing_ok=True)
        material = replace(material, drawing=drawing)
        material.save()
    if options.frames:
        material = material.with_frames(options.frames)
        material.save()
    items = _picked(material, options)
    undrawn = len(missing(material, items))
    if undrawn:
        print(f"drawing {undrawn} pictures of {material.source} ...", flush=True)
        scenes, draw = _drawer(material, task)
        with Progress(undrawn, unit="pictures") as progress:
            draw_missing(material, items, scenes, draw, progress.update)
    return material


def _drawing(options: Rate, task: "Task", known: "list[Drawing]") -> "Drawing":
    """How pictures are drawn: alike for all runs, as a rater would learn to tell other sizes or views apart."""
    from jaxvlm.rating.material import Drawing

    def agreed(name: str, default: Any) -> Any:
        values = {getattr(drawing, name) for drawing in known}
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
    size = options.size or agreed("size", SIZE)
    return Drawing(look=look, cameras=cameras, size=size, every=every, fps=2 * task.gif_fps / every)


def _record(
    run: Any,
    task: "Task",
    folder: Path,
    drawing: "Drawing",
    trained: int,
    episodes: int,
    before: "Material | None",
) -> "Material":
    """Plays a run's best agents and keeps every step's pose and predicate; items recorded before keep their names."""
    import jax
    import numpy as np

    from jaxvlm.rating.criteria import criterion
    from jaxvlm.rating.material import Goal, Item, Material, new_id, share_of
    from jaxvlm.rating.record import record
    from jaxvlm.runtime import Progress, enable_compilation_cache
    from jaxvlm.vlmrm import TrainConfig, build
    from jaxvlm.vlmrm.train import abstract_state, seeds_of

    enable_compilation_cache()
    settings = {name: value for name, value in run.config.items() if name != "sinks"}
    config = TrainConfig.from_dict(settings)
    # Nothing is scored, so the run's CLIP need not be there.
    config = replace(config, reward=replace(config.reward, reward="ground-truth"))
    built = build(config, task.env, task.params, domain=task.domain)
    agent = run.checkpoints.restore_best(abstract_state(built).best)[0].agent
    print(f"playing {episodes} episodes of each of {config.seeds} seeds of {run.name} ...", flush=True)
    with Progress(episodes, unit="episodes") as progress:
        played = record(
            built.program,
            built.inputs,
            agent,
            seeds_of(built),
            episodes=episodes,
            length=task.episode_length,
            progress=progress.update,
        )
    names = {(item.seed, item.episode): item.id for item in before.trajectories} if before else {}
    items = []
    for place in range(config.seeds):
        for episode in range(episodes):
            steps = int(played.steps[place, episode])
            if steps:  # an episode whose physics broke down in its first step has nothing to show
                seed = config.seed + place
                share = share_of(played.holds[place, episode], steps)
                items.append(Item(names.get((seed, episode), new_id()), seed, episode, -1, steps, share))
    places = np.array([item.seed - config.seed for item in items])
    numbers = np.array([item.episode for item in items])
    sentence = " + ".join(task.goal_prompts or config.reward.prompt)
    material = Material(
        folder=folder,
        source=run.name,
        task=config.task,
        goal=Goal(sentence, criterion(task.concept, config.task)),
        drawing=before.drawing if before else drawing,
        trained=trained,
        trajectories=tuple(items),
        frames=before.frames if before else (),
    )
    material.write_episodes(
        played.holds[places, numbers], [leaf[places, numbers] for leaf in jax.tree.leaves(played.scene)]
    )
    material.save()
    return material


def _drawer(material: "Material", task: "Task") -> tuple[Any, Any]:
    """What `draw_missing` takes: poses of an item's frames, and their pictures."""
    import jax
    import numpy as np

    from jaxvlm.rating.record import make_drawer
    from jaxvlm.runtime import enable_compilation_cache

    enable_compilation_cache()
    env, drawing = task.env, material.drawing

    def scene(key: jax.Array, params: Any) -> Any:
        return env.scene(env.reset(key, params)[1], params)

    shape = jax.tree.structure(jax.eval_shape(scene, jax.random.key(0), task.params))
    leaves = material.read_scenes()
    row = {(item.seed, item.episode): number for number, item in enumerate(material.trajectories)}
    cameras = [env.cameras[name] for name in drawing.cameras]
    draw = make_drawer(env.render, env.assets(drawing.look), cameras, drawing.size)

    def scenes(item: "Item", steps: np.ndarray) -> Any:
        number = row[item.seed, item.episode]
        return jax.tree.unflatten(shape, [leaf[number, steps] for leaf in leaves])

    return scenes, draw


def give_account(session: "Session", options: Rate) -> None:
    """Writes the table and, with --report, the figures and the histograms beside the first run's answers."""
    from jaxvlm.rating.report import Ratings, histograms, lines, summarise, table
    from jaxvlm.runtime.files import write_atomic, write_json

    ratings = Ratings.of(session)
    session.close()
    if options.export is not None:
        write_atomic(options.export, table(ratings))
        print(f"answers  {options.export}")
    if options.report:
        summary = summarise(ratings)
        folder = options.output or ratings.sources[0].folder
        stem = f"report-{session.mode}"
        write_json(folder / f"{stem}.json", summary)
        print("\n".join(lines(summary)))
        print()
        print(f"  figures    {folder / f'{stem}.json'}")
        print(f"  picture    {histograms(folder / f'{stem}.png', summary)}")


def open_page(session: "Session", options: Rate) -> None:
    """Serves the page until Ctrl-C."""
    from jaxvlm.rating.server import bind, serve

    listener = bind(PORT if options.port is None else options.port, fixed=options.port is not None)

    def ready(address: str) -> None:
        print(f"{len(session.items)} to rate at {address}  (Ctrl-C ends; every answer is saved)", flush=True)
        if options.browser and (sys.platform in ("darwin", "win32") or _has_display()):
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serve(session, listener, ready)
    again = " ".join(("jaxvlm rate", *options.runs))
    print(f"stopped; go on with:\n  {again}\nor see the figures with:\n  {again} --report")


def _has_display() -> bool:
    """Whether a browser would get a window; without one Python may start a text browser in this terminal."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
