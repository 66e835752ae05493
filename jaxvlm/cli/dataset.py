"""`jaxvlm dataset make SOURCE...`: states of runs, of random actions, of a sampler or of a grid, with labels."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

from jaxvlm.cli.common import (
    Output,
    domain_called,
    domains,
    find_dataset,
    find_task,
    has_captions,
    import_ours,
    label_of,
    parse,
)
from jaxvlm.names import short_name

if TYPE_CHECKING:
    import numpy as np

    from envs.registry import Task
    from jaxvlm.clip.captions import CaptionedDataset
    from jaxvlm.evaluation.states import StateDataset

MOST = 30  # times the episodes that would do if they were whole, for random actions that end them early
BLOCK = 32  # episodes of a seed in one call, so that progress is shown and memory stays bounded
PER_EPISODE = (
    25  # states of an episode of random actions, on average: those of one episode resemble each other
)
GRIDS = ("cartpole", "mountain_car")  # where the paper took a uniform grid of states

USAGE = """usage: jaxvlm dataset make SOURCE... [--name NAME] [--states N] [...]

Keep states with their labels, to measure rewards on: poses, never pixels. A source is
  a run directory, or a run's name   states of episodes that its agents play (see --checkpoint and --actions)
  random:TASK                        states of random actions, such as random:humanoid-kneeling
  sampler:DOMAIN                     states that the embedded CLIP's captions are drawn from, such as sampler:humanoid
  grid:DOMAIN                        an even grid, of cartpole or mountain_car
All have to be of one domain. `jaxvlm dataset make --help` lists every flag."""


@dataclass(frozen=True)
class Make:
    """Keep states of runs, of random actions, of a sampler or of a grid, with their labels."""

    sources: tyro.conf.Positional[tuple[str, ...]]
    """Run directories or names, random:TASK, sampler:DOMAIN or grid:DOMAIN."""
    name: str | None = None
    """Name of the dataset; the default is its domain, with a number where that is taken."""
    states: int = 5000
    """States in all, the same number of each source and checkpoint as far as they have them; 0 keeps all of runs."""
    checkpoint: tuple[Literal["best", "last", "all"], ...] = ("best",)
    """Which agents of a run play: those that earned the most; the newest; or `all`, the best and those that it kept
    evenly along its whole training (`jaxvlm train --keep-policies`), or its two newest where it has none."""
    actions: Literal["deterministic", "sampled", "both"] = "deterministic"
    """How they act; deterministic episodes are those of `jaxvlm evaluate`."""
    episodes: int = 16
    """Episodes of each agent."""
    seed: int = 0
    """Of every draw that is not an agent's; later sources of a kind derive theirs from it."""
    runs_dir: Path = Path("runs")
    """Folder of the run directories."""
    output: Path = Path("runs/datasets")
    """Folder of the datasets."""


def run(arguments: Sequence[str]) -> None:
    """Collects, labels and writes."""
    if not arguments:
        print(USAGE)
        raise SystemExit(2)
    options = parse(Make, arguments, prog="jaxvlm dataset make")

    from jaxvlm.errors import ConfigError
    from jaxvlm.evaluation.states import join
    from jaxvlm.runtime import enable_compilation_cache

    if not options.sources:
        raise ConfigError("no source is given: name a run, random:TASK, sampler:DOMAIN or grid:DOMAIN")
    if options.states < 0 or options.episodes < 1 or not 0 <= options.seed < 2**31:
        raise ConfigError(
            f"states is {options.states}, episodes {options.episodes} and seed {options.seed}; give at least 0 states, "
            f"1 episode and a seed from 0 to {2**31 - 1}"
        )
    if options.name and (options.output / options.name).exists():
        raise ConfigError(f"{options.output / options.name} exists already: choose another --name")
    enable_compilation_cache()
    plans = _plans(options)
    Output(options.output).prepare()  # before minutes are spent on states that could not be saved
    parts = _collect(plans, options)
    dataset = _labelled(join(parts), shlex.join(["jaxvlm", "dataset", "make", *arguments]))
    folder = dataset.save(_free(options, dataset.domain))
    _report(dataset, folder)


@dataclass(frozen=True)
class Plan:
    """One source, before anything is played."""

    domain: str
    source: dict[str, Any]  # what `sources` of the dataset says of it
    count: int | None  # states wanted, None for all
    task: "Task | None" = None
    run: Any = None
    built: Any = None


def _plans(options: Make) -> list[Plan]:
    """Reads what each source is; raises for the first that cannot be used, before anything is computed."""
    import numpy as np

    from jaxvlm.errors import ConfigError

    plans: list[Plan] = []

    def seed_of(kind: str) -> int:
        """The first source of a kind draws with --seed, each later one with a seed of its own, for other episodes."""
        place = sum(plan.source["kind"] == kind for plan in plans)
        if not place:
            return options.seed
        return int(np.random.SeedSequence((options.seed, place)).generate_state(1)[0] >> 1)

    for name in options.sources:
        kind, _, rest = name.partition(":")
        if kind == "random":
            task = find_task(rest)
            source = {"kind": "random", "task": task.name, "seed": seed_of(kind)}
            plans.append(Plan(task.domain, source, None, task=task))
        elif kind in ("sampler", "grid"):
            known = domains() if kind == "sampler" else GRIDS
            rest = domain_called(rest)
            if rest not in known and not (kind == "sampler" and has_captions(rest)):
                raise ConfigError(
                    f"{name!r}: there is no {kind} of {rest!r}; choose one of {', '.join(known)}"
                )
            source = {"kind": kind} if kind == "grid" else {"kind": kind, "seed": seed_of(kind)}
            plans.append(Plan(rest, source, None))
        else:
            plans += _run_plans(name, options)
    found = {plan.domain for plan in plans}
    if len(found) > 1:
        raise ConfigError(
            f"sources are of several domains, {', '.join(sorted(found))}; make a dataset of each"
        )
    if not options.states:
        bad = [plan.source["kind"] for plan in plans if plan.run is None]
        if bad:
            raise ConfigError(
                f"--states 0 keeps all states of runs, but a {bad[0]} has no end; give a number"
            )
        return plans
    if options.states < len(plans):
        raise ConfigError(
            f"states is {options.states}, less than one for each of {len(plans)} sources; raise --states"
        )
    share, more = divmod(options.states, len(plans))
    return [replace(plan, count=share + (place < more)) for place, plan in enumerate(plans)]


def _run_plans(name: str, options: Make) -> list[Plan]:
    """A plan for each checkpoint and way to act of a run."""
    from jaxvlm.errors import RunError
    from jaxvlm.runtime import Run
    from jaxvlm.vlmrm import TrainConfig, build
    from jaxvlm.vlmrm.config import rewarded_by
    from jaxvlm.vlmrm.policies import best_step, is_whole, steps_along

    run = Run.open(name, runs_dir=options.runs_dir)
    config = TrainConfig.from_dict({key: value for key, value in run.config.items() if key != "sinks"})
    task = find_task(config.task, config.variant)
    best = best_step(run)
    kept = ([] if best is None else [("best", best)]) + [("step", step) for step in steps_along(run)]
    chosen: dict[tuple[str, int], None] = {}
    for wanted in options.checkpoint:
        match = {
            "best": [entry for entry in kept if entry[0] == "best"],
            "last": [entry for entry in kept if entry[0] == "step"][-1:],
            "all": kept,
        }[wanted]
        if not match:
            has = ", ".join(f"{kind} {step}" for kind, step in kept)
            way = f"(kept: {has}); choose another --checkpoint" if kept else "and no other: leave it out"
            raise RunError(f"run {run.path} has no {wanted} checkpoint {way}")
        chosen |= dict.fromkeys(match)
    # Agents act the same whatever they were rewarded by, and a large CLIP would be loaded for nothing.
    blind = replace(config, reward=rewarded_by(config.reward, "ground-truth"))
    whole = any(kind == "step" and is_whole(run, step) for kind, step in chosen)
    built = build(blind, task.env, task.params, domain=task.domain, holds_buffer=whole)
    ways = ("deterministic", "sampled") if options.actions == "both" else (options.actions,)
    return [
        Plan(
            task.domain,
            {
                "kind": "run",
                "run": run.name,
                "task": config.task,
                "checkpoint": kind,
                "step": step,
                "actions": way,
                "episodes": options.episodes,
            },
            None,
            task=task,
            run=run,
            built=built,
        )
        for kind, step in chosen
        for way in ways
    ]


def _collect(plans: list[Plan], options: Make) -> list["StateDataset"]:
    """The states of every plan, with the success of those that were played as their only label."""
    import numpy as np

    from jaxvlm.runtime import Progress

    players = Players(plans)
    generator = np.random.default_rng(options.seed)
    total = sum(_episodes(plan, options) for plan in plans)
    parts = []
    with Progress(total, unit="episodes") as progress:
        done = 0
        for plan in plans:
            if plan.task is None:
                progress.announce(f"drawing {plan.count:,} states of the {plan.source['kind']} ...")
                parts.append(_drawn(plan, plan.source.get("seed", options.seed)))
                continue
            parts.append(players.play(plan, options, generator, progress, done))
            done += _episodes(plan, options)
            if plan.count is not None and len(parts[-1]) < plan.count:
                progress.announce(
                    f"note: {_title(plan.source, plan.domain)} gave {len(parts[-1])} states of the "
                    f"{plan.count} wanted" + ("" if plan.run is None else "; raise --episodes")
                )
    return parts


def _episodes(plan: Plan, options: Make) -> int:
    """Episodes that a plan plays, of all its agents."""
    if plan.task is None:
        return 0
    if plan.run is not None:
        return options.episodes * plan.built.program.config.seeds
    assert plan.count is not None
    return max(8, -(-plan.count // PER_EPISODE))


class Players:
    """Compiled programs that play, shared by runs whose networks and environments are alike."""

    def __init__(self, plans: list[Plan]) -> None:
        from jaxvlm.errors import ConfigError

        # Variants of a task bear its name and have environments of their own.
        tasks = {(plan.task.name, plan.task.env): plan.task for plan in plans if plan.task is not None}
        self._compiled: dict[Any, Any] = {}
        self._joint: dict[Any, tuple[Any, Any]] = {}  # of a task -> environment for all of them, parameters
        try:
            # Compiling the humanoid takes half a minute; one environment for all goals is compiled once.
            env, params = (
                import_ours("envs.registry").one_environment(list(tasks.values())) if tasks else (None, [])
            )
            self._joint = {name: (env, own) for name, own in zip(tasks, params, strict=True)}
        except ConfigError:
            self._joint = {}  # they differ: each has its own

    def play(
        self, plan: Plan, options: Make, generator: "np.random.Generator", progress: Any, done: int
    ) -> "StateDataset":
        """Plays the episodes of a plan and keeps its states."""
        import jax.numpy as jnp
        import numpy as np

        from jaxvlm.evaluation.collect import choose_rows, make_player
        from jaxvlm.evaluation.states import StateDataset
        from jaxvlm.rl import make_control
        from jaxvlm.vlmrm.policies import agent_after, best_agent
        from jaxvlm.vlmrm.train import seeds_of

        assert plan.task is not None
        task = plan.task
        env, env_params = self._joint.get((task.name, task.env)) or (task.env, task.params)
        if plan.run is not None and task.starts:
            env_params = plan.built.inputs.env_params  # with the run's own schedule
        if plan.run is None:
            act, algorithm = make_control("random", task.env.action_space(env_params)).act, "random"
            seeds, step, episodes = jnp.asarray([plan.source["seed"]], jnp.int32), 0, _episodes(plan, options)
            agent = seeds
        else:
            config = plan.built.program.config
            act, algorithm = plan.built.program.agent.act, repr(config.algorithm)
            seeds, step, episodes = seeds_of(plan.built), config.steps, options.episodes
            if plan.source["checkpoint"] == "best":
                agent = best_agent(plan.run, plan.built)
            else:
                agent = agent_after(plan.run, plan.built, plan.source["step"])
        block = min(BLOCK, episodes)
        key = (env, algorithm, block)
        if key not in self._compiled:
            progress.announce(f"compiling {task.name} (once; the next start finds it in the cache) ...")
            self._compiled[key] = make_player(env, act, episodes=block, length=task.episode_length)
        blocks = []
        first, have = 0, 0
        # Of random actions as many states as are wanted, though episodes may end early and give few each.
        wanted = plan.count if plan.count is not None and plan.run is None else 0
        most = MOST * episodes if wanted else episodes
        while first < episodes or (first < most and have < wanted):
            played = self._compiled[key](
                env_params,
                agent,
                seeds,
                jnp.int32(first),
                jnp.asarray(plan.source.get("actions") != "sampled"),
                jnp.int32(step),
            )
            inside = first + jnp.arange(block) < (episodes if first < episodes else most)
            blocks.append(
                choose_rows(replace(played, counted=played.counted & inside), np.asarray(seeds), first)
            )
            have += len(blocks[-1][1])
            first += block
            progress.update(done + min(first, episodes) * len(seeds))
        scenes, success, index = (
            {name: np.concatenate([block[0][name] for block in blocks]) for name in blocks[0][0]},
            np.concatenate([block[1] for block in blocks]),
            {name: np.concatenate([block[2][name] for block in blocks]) for name in blocks[0][2]},
        )
        dataset = StateDataset(
            domain=plan.domain,
            scenes=scenes,
            labels={label_of(task): success},
            index={"source": np.zeros(len(success), np.int32), **index},
            sources=(plan.source,),
        )
        if plan.count is None or plan.count >= len(dataset):
            return dataset
        return dataset.rows(np.sort(generator.choice(len(dataset), plan.count, replace=False)))


def _drawn(plan: Plan, seed: int) -> "StateDataset":
    """States of a sampler or a grid; each is an episode of its own."""
    import jax
    import numpy as np

    from jaxvlm.evaluation.states import StateDataset, scene_fields

    captions = find_dataset(plan.domain)
    assert plan.count is not None
    if plan.source["kind"] == "grid":
        states = even_grid(captions, plan.count)
    else:
        states = jax.jit(captions.sample_states, static_argnums=1)(jax.random.key(seed), plan.count)
    scenes = scene_fields(jax.jit(captions.scenes)(states))
    count = len(next(iter(scenes.values())))
    zeros = np.zeros(count, np.int32)
    return StateDataset(
        domain=plan.domain,
        scenes=scenes,
        labels={
            goal.concept: np.asarray(jax.jit(captions.concept(goal.concept).holds)(states))
            for goal in captions.goals
        },
        index={
            "source": zeros,
            "seed": np.full(count, seed, np.int32),
            "episode": np.arange(count, dtype=np.int32),
            "step": zeros,
        },
        sources=(plan.source,),
    )


def even_grid(captions: "CaptionedDataset", count: int) -> Any:
    """About `count` states in the middle of equal cells over a dataset's sweep and its contexts."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    def middles(ends: Sequence[float], cells: int) -> np.ndarray:
        low, high = min(ends), max(ends)
        return low + (np.arange(cells) + 0.5) * (high - low) / cells

    sweep = captions.sweep
    lines = len(sweep.contexts)
    if lines > 1:
        lines = max(lines, round((count * lines / len(sweep.values)) ** 0.5))
    values = jnp.asarray(middles(sweep.values, max(2, count // lines)), jnp.float32)
    states = [sweep.states(values, float(context)) for context in middles(sweep.contexts, lines)]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *states)


def _labelled(dataset: "StateDataset", command: str) -> "StateDataset":
    """With the truth of every goal of the domain, as far as the scenes tell it."""
    import numpy as np

    from jaxvlm.errors import ConfigError
    from jaxvlm.evaluation.states import made_by

    ours = import_ours("envs.captions.scenes")
    meta = made_by([command])
    scenes = dataset.scene(ours.scene_type(dataset.domain))
    truth = ours.goal_truth(dataset.domain, scenes)
    if truth is None:
        if not dataset.labels:
            raise ConfigError(
                f"no goal of {dataset.domain} is labelled by all sources; make a dataset of each"
            )
        return replace(dataset, meta=meta)
    graded = {goal: np.asarray(values, np.float32) for goal, values in truth.items()}
    return replace(
        dataset, meta=meta, graded=graded, labels={goal: values > 0 for goal, values in graded.items()}
    )


def _free(options: Make, domain: str) -> Path:
    """Where the dataset goes."""
    if options.name:
        return options.output / options.name
    name = short_name(domain)
    folder, number = options.output / name, 1
    while folder.exists():
        number += 1
        folder = options.output / f"{name}-{number}"
    return folder


def _title(source: dict[str, Any], domain: str) -> str:
    """A source in a few words."""
    if source["kind"] != "run":
        return f"{source['kind']}:{source['task']}" if "task" in source else f"{source['kind']}:{domain}"
    step = f" {source['step']}" if source["checkpoint"] == "step" else ""
    return f"{source['run']} ({source['checkpoint']}{step}, {source['actions']})"


def _report(dataset: "StateDataset", folder: Path) -> None:
    """What was kept, in figures."""
    import numpy as np

    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"{len(dataset):,} states of {dataset.domain} in {len(np.unique(dataset.groups)):,} episodes")
    for place, source in enumerate(dataset.sources):
        print(
            f"  {int((dataset.index['source'] == place).sum()):>7,}  {_title(dict(source), dataset.domain)}"
        )
    print("goal states:")
    for goal, label in dataset.labels.items():
        print(f"  {int(label.sum()):>7,}  {label.mean():>6.1%}  {goal}")
    print(f"dataset  {folder} ({size:.1f} MB)")
