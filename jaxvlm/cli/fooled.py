"""`jaxvlm evaluate RUN --fooled N`: where a run's agents earn most while ground truth says no.

Agents play and their states are scored. Half of the episodes are measured and shown; states of the other half are
saved, to be learned from: `jaxvlm clip train humanoid --states RUN/fooled.npz`. So a CLIP that has learned from them
can be measured on states that it has not seen, with `--fooled N --clip CHECKPOINT` on the same run.
"""

import math
import textwrap
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.cli.common import find_dataset, find_task, has_captions, import_ours
from jaxvlm.cli.provenance import other_weights
from jaxvlm.cli.session import build_shown, read_config
from jaxvlm.clip.naming import label_of
from jaxvlm.compiler import compiler_options
from jaxvlm.errors import ConfigError
from jaxvlm.evaluation import bootstrap
from jaxvlm.names import plain_name
from jaxvlm.render import draw_batch
from jaxvlm.reward import auc, in_phase, label
from jaxvlm.rl import MINING, play_episodes
from jaxvlm.runtime import Run, enable_compilation_cache
from jaxvlm.runtime.environment import describe_environment
from jaxvlm.runtime.files import replace_file, write_json
from jaxvlm.runtime.plots import new_figure, save_figure
from jaxvlm.vlmrm import Built
from jaxvlm.vlmrm.config import rewarded_by
from jaxvlm.vlmrm.policies import best_agent
from jaxvlm.vlmrm.train import seeds_of

if TYPE_CHECKING:
    from envs.registry import Task

EPISODES = 32  # of each seed; the first half is saved from, the second measured
HELD_OUT = 2000  # states of the captions that say what a state of the goal usually earns
LEAST = 20  # goal states without which a median says little
SAVED = 800  # states to train on: half of them drawn evenly, half those that fool most
CLEAR = 1.0  # tolerances by which a pose is missed in the pictures: nearer misses are matters of opinion
SIZE = 144  # pixels a side of a picture


INDEX = ("observation", "reward", "success", "phase", "seed", "episode", "step", "margin")


@dataclass(frozen=True)
class Played:
    """States that agents reached, one a row."""

    observation: np.ndarray  # f32[n, obs]
    scene: Any  # pytree [n, ...]
    reward: np.ndarray  # f32[n]
    success: np.ndarray  # bool[n]
    phase: np.ndarray  # i32[n]
    seed: np.ndarray  # i32[n]
    episode: np.ndarray  # i32[n]
    step: np.ndarray  # i32[n], steps taken
    margin: (
        np.ndarray
    )  # f32[n], of a pose's predicate in tolerances, negative where it is missed; NaN of other goals

    @property
    def groups(self) -> np.ndarray:
        """A number for each episode of each seed, i64[n]."""
        return self.seed.astype(np.int64) * 100_000 + self.episode

    def where(self, rows: np.ndarray) -> "Played":
        """Some of the states, by a mask or by their places."""
        picked = {name: getattr(self, name)[rows] for name in INDEX}
        return replace(self, scene=jax.tree.map(lambda leaf: leaf[rows], self.scene), **picked)


def show_fooled(path: str, *, runs_dir: Path, count: int, clip: str | None) -> dict[str, Any]:
    """Plays the best agents of a run, and shows and saves what fools their reward.

    Args:
      path: run directory or its name.
      runs_dir: folder of the run directories.
      count: states to show.
      clip: scores with this checkpoint and not with what the run learned from.
    """
    if count < 1:
        raise ConfigError(f"fooled is {count}; show at least one state")
    enable_compilation_cache()
    run = Run.open(path, runs_dir=runs_dir)
    config, _ = read_config(run)
    if clip is not None:
        config = replace(config, reward=rewarded_by(config.reward, "clip", clip=clip, chunk=0))
    task = find_task(config.task, config.variant)
    built = build_shown(config, task, holds_buffer=False)
    if clip is None and (other := other_weights(run, built)) is not None:
        print(f"note: the CLIP is not the one that they learned from (digest {other[0]}, now {other[1]})")
    agent = best_agent(run, built)
    print(f"playing {EPISODES} episodes of each seed's best agent, actions sampled ...", flush=True)
    played = play(built, task, agent)
    states = played.where(played.episode >= EPISODES // 2)
    usual, source = usual_reward(built, task, states)
    figures = measure(states, usual)
    order = ranked(states)
    environment = describe_environment()
    result = {
        "task": config.task,
        "reward": config.reward.reward,
        "clip": config.reward.clip if config.reward.scores_pictures else None,
        "clip_digest": built.clip_digest,
        "prompt": list(config.reward.prompt),
        "seeds": config.seeds,
        "episodes": EPISODES - EPISODES // 2,
        **figures,
        "usual_reward": usual,
        "usual_reward_from": source,
        "shown": [describe(states, int(row), task) for row in order[:count]],
        "versions": environment["versions"],
        "devices": environment["devices"],
    }
    suffix = "" if clip is None else f"-{label_of(clip)}"
    picture = run.plots / f"fooled{suffix}.png"
    picture.unlink(missing_ok=True)  # one of before would be of other states
    draw(picture, built, task, states, order[:count], result)
    saved = run.path / f"fooled{suffix}.npz"
    save(saved, task, played.where(played.episode < EPISODES // 2))
    write_json(run.path / f"fooled{suffix}.json", result)  # the sign that all of it is there
    print(report(result))
    for name, written in (
        ("figures", run.path / f"fooled{suffix}.json"),
        ("picture", picture),
        ("states", saved),
    ):
        if written.exists():
            print(f"  {name:<10} {written}")
    return result


def play(built: Built, task: "Task", agent: Any) -> Played:
    """What the agents do when actions are sampled, every step that counts."""
    program = built.program

    @partial(jax.jit, compiler_options=compiler_options())
    def rows_of(inputs: Any, agent: Any, seeds: jax.Array) -> Any:
        rows, counted = play_episodes(
            program.env,
            inputs.env_params,
            program.agent.act,
            agent,
            seeds,
            step=program.config.steps,
            deterministic=False,
            episodes=EPISODES,
            length=task.episode_length + 1,  # an observation is that of the row above
            stream=MINING,
        )
        # What is fooled is the CLIP, also where it is one part of what was learned from.
        learned, clip = program.rewards(inputs, rows)
        return replace(rows, valid=counted), learned if clip is None else clip

    rows, rewards = jax.device_get(rows_of(built.inputs, agent, seeds_of(built)))
    # An observation is seen before the action, so that of a row's state is in the row below.
    valid = rows.valid[:, :-1]
    seed, step, episode = np.nonzero(valid)
    pick = lambda leaf: np.asarray(leaf)[:, :-1][valid]  # noqa: E731
    scene, phase = (
        jax.tree.map(pick, rows.scene),
        pick(rows.phase) if rows.phase is not None else np.zeros(len(seed), np.int32),
    )
    return Played(
        observation=rows.observation[:, 1:][valid],
        scene=scene,
        reward=pick(rewards),
        success=pick(rows.success),
        phase=phase,
        margin=margins(scene, phase, task),
        seed=(built.program.config.seed + seed).astype(np.int32),
        episode=episode.astype(np.int32),
        step=(step + 1).astype(np.int32),
    )


def margins(scene: Any, phase: np.ndarray, task: "Task") -> np.ndarray:
    """How clearly a pose holds in each state, in tolerances of its conditions, f32[n]; NaN of goals of other kinds."""
    found = np.full(len(phase), np.nan, np.float32)
    if task.domain == "humanoid":
        of = jax.jit(import_ours("envs.humanoid.predicates").margin, static_argnums=0)
        for index, goal in enumerate((task.concept, *task.then_concepts)):
            if goal is not None:
                with jax.default_matmul_precision("highest"):  # as where the predicates judge at play
                    found = np.where(phase == index, np.asarray(of(goal, scene)), found)
    return found


def usual_reward(built: Built, task: "Task", states: Played) -> tuple[float, str]:
    """The median reward of states that meet the goal, and where these come from; NaN where there are too few.

    Of a CLIP reward it is the median over the held-out states of its captions, which do not depend on the agents.
    """
    reward, program = built.inputs.reward, built.program
    single = reward is not None and not task.starts and has_captions(task.domain)
    if single and task.concept is not None:
        dataset = find_dataset(task.domain)
        drawn = jax.jit(dataset.sample_states, static_argnums=1)(jax.random.key(1), HELD_OUT)
        true = np.asarray(jax.jit(dataset.concept(task.concept).holds)(drawn))
        if true.sum() >= LEAST:
            scenes = jax.jit(dataset.scenes)(drawn)
            scenes = jax.tree.map(lambda leaf: leaf[np.flatnonzero(true)], scenes)

            @partial(jax.jit, compiler_options=compiler_options())
            def rewards(reward: Any, scenes: Any) -> jax.Array:
                assert program.encode is not None
                return label(
                    in_phase(reward, 0),
                    scenes,
                    encode=program.encode,
                    render=task.env.render,
                    size=program.frame_size,
                    chunk=program.chunk,
                    batch_ndim=1,
                )

            return float(np.median(rewards(reward, scenes))), "held-out states of the captions"
    if states.success.sum() >= LEAST:
        return float(np.median(states.reward[states.success])), "states of the goal at play"
    return math.nan, "nothing: too few states of the goal"


def measure(states: Played, usual: float) -> dict[str, Any]:
    """AUC and shares with 95 % intervals that draw whole seeds, or whole episodes where there is one seed.

    Of two or three seeds they are from the lowest to the highest.
    """
    # Episodes of one agent resemble each other; agents that learned from other seeds are what a reward is judged by.
    groups = states.seed if len(np.unique(states.seed)) > 1 else states.groups
    fooled = ~states.success & (states.reward > usual)

    def interval(statistic: Any, *arrays: np.ndarray) -> list[float]:
        return [float(end) for end in bootstrap(statistic, arrays, groups=groups, resamples=200)]

    share = lambda hits: float(np.mean(hits))  # noqa: E731
    return {
        "states": len(states.reward),
        "goal_share": interval(share, states.success),
        "auc": interval(auc, states.reward, states.success),
        "fooled_share": interval(share, fooled) if math.isfinite(usual) else None,
        # Of these the ones that no other tolerance of the predicate would have let pass.
        "clearly_fooled_share": interval(share, fooled & (states.margin <= -CLEAR))
        if math.isfinite(usual) and np.isfinite(states.margin).all()
        else None,
    }


def ranked(states: Played) -> np.ndarray:
    """States that miss the goal, most reward first, the best of each episode before all others, i64[k].

    Of a pose they are those that miss it clearly.
    """
    missed = np.flatnonzero(~states.success & ~(states.margin > -CLEAR))
    missed = missed[np.argsort(-states.reward[missed], kind="stable")]
    _, first = np.unique(states.groups[missed], return_index=True)
    leading = np.zeros(len(missed), bool)
    leading[first] = True
    return np.concatenate([missed[leading], missed[~leading]])


def describe(states: Played, row: int, task: "Task") -> dict[str, Any]:
    """A state in figures, and for a pose the conditions that it misses, the worst first."""
    margin = float(states.margin[row])
    return {
        "seed": int(states.seed[row]),
        "episode": int(states.episode[row]),
        "step": int(states.step[row]),
        "reward": float(states.reward[row]),
        "margin": margin if math.isfinite(margin) else None,
        "missed": missed_conditions(states, row, task),
    }


def missed_conditions(states: Played, row: int, task: "Task") -> list[str]:
    """Names of a pose's conditions that a state misses, the one missed by most tolerances first."""
    goals = (task.concept, *task.then_concepts)
    goal = goals[min(int(states.phase[row]), len(goals) - 1)]
    if task.domain != "humanoid" or goal is None:
        return []
    predicates = import_ours("envs.humanoid.predicates")
    measures = import_ours("envs.humanoid.measures").measure(
        jax.tree.map(lambda leaf: leaf[row], states.scene)
    )
    margins = np.asarray(predicates.condition_margins(goal, measures))
    names = [condition.measure.replace("_", " ") for condition in predicates.CONDITIONS[goal]]
    return [names[k] for k in np.argsort(margins) if margins[k] <= 0]


def draw(
    path: Path, built: Built, task: "Task", states: Played, rows: np.ndarray, result: dict[str, Any]
) -> None:
    """The states as the reward sees them, below each other from its views and for a humanoid from the side as well."""
    if not len(rows):
        return
    config = built.program.config.reward
    cameras = [*config.camera]
    if "side" in task.env.cameras and "side" not in cameras:
        cameras.append("side")
    views = jax.tree.map(
        lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]),
        *(task.env.cameras[name] for name in cameras),
    )
    scenes = jax.tree.map(lambda leaf: leaf[rows], states.scene)

    @partial(jax.jit, compiler_options=compiler_options())
    def frames_of(scenes: Any, assets: Any, views: Any) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            return draw_batch(task.env.render, scenes, assets, views, SIZE)

    frames = np.asarray(frames_of(scenes, task.env.assets(config.look), views))  # [k, view, size, size, 3]
    columns = min(6, len(rows))
    lines = -(-len(rows) // columns)
    figure = new_figure(1.7 * columns, 0.7 + lines * (1.45 * len(cameras) + 0.65))
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, axes, shown in zip(range(len(rows)), grid.flat, result["shown"], strict=False):
        axes.imshow(np.concatenate(frames[place], axis=0))
        missed = ", ".join(shown["missed"][:2])
        words = f"{shown['reward']:.2f}, step {shown['step']}" + (f"\nmisses {missed}" if missed else "")
        axes.set_title(textwrap.fill(words, 26, replace_whitespace=False), fontsize=6.5)
    variant = built.program.config.variant
    sentence = " + ".join(result["prompt"]) if result["clip"] else f"its own reward ({variant})"
    usual = result["usual_reward"]
    known = f"; the goal usually earns {usual:.2f}" if math.isfinite(usual) else ""
    figure.suptitle(
        textwrap.fill(f"{plain_name(result['task'])}, {sentence}: most reward without the goal{known}", 90),
        fontsize=9,
    )
    save_figure(figure, path)


def save(path: Path, task: "Task", states: Played) -> None:
    """Half of `SAVED` states drawn evenly, half those that earn most without the goal; with `qpos` of a humanoid."""
    generator = np.random.default_rng(0)
    missed = np.flatnonzero(~states.success)
    most = missed[np.argsort(-states.reward[missed], kind="stable")][: SAVED // 2]
    even = generator.choice(len(states.reward), min(SAVED - len(most), len(states.reward)), replace=False)
    kept = states.where(np.concatenate([most, even]))
    arrays = {name: getattr(kept, name) for name in INDEX}
    if task.domain == "humanoid":
        arrays["qpos"] = import_ours("envs.humanoid.rollouts").qpos_of(kept.observation, kept.scene)

    def write(draft: str) -> None:
        with open(draft, "wb") as file:  # a name would get a suffix of its own
            np.savez_compressed(file, **arrays)

    replace_file(path, write)


def report(result: dict[str, Any]) -> str:
    """The figures in words."""

    def spelled(values: list[float] | None) -> str:
        if values is None or not math.isfinite(values[0]):
            return "unknown"
        return f"{values[0]:.3f} [{values[1]:.3f}, {values[2]:.3f}]"

    usual, clear = result["usual_reward"], result["clearly_fooled_share"]
    of = f"; {usual:.3f} is the median of {result['usual_reward_from']}" if math.isfinite(usual) else ""
    lines = [
        "",
        f"{result['task']}, {result['states']:,} states of {result['seeds']} seeds at play:",
        f"  goal       holds in {spelled(result['goal_share'])} of them",
        f"  AUC        {spelled(result['auc'])}, of the reward that ranks goal states above others",
        f"  fooled     {spelled(result['fooled_share'])} earn more than a goal state usually does and are none{of}",
        *(
            [f"  clearly    {spelled(clear)}: of these, by more than a tolerance of the pose"]
            if clear
            else []
        ),
    ]
    if not result["shown"]:
        every = result["goal_share"][0] == 1.0
        near = "those that miss the goal miss it by less than a tolerance of the pose"
        lines.append(f"  picture    none: {'every state at play meets the goal' if every else near}")
    else:
        first = result["shown"][0]
        missed = f", misses {', '.join(first['missed'])}" if first["missed"] else ""
        lines.append(f"  best       {first['reward']:.3f} without the goal{missed}")
    return "\n".join(lines)
