"""What is looked at before hours are spent: size of the preset, views of the cameras, signal of sentence and reward."""

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.cli.common import find_dataset, has_captions
from jaxvlm.clip.captions import CaptionedDataset
from jaxvlm.clip.card import CONCEPTS
from jaxvlm.clip.checkpoint import resolve
from jaxvlm.compiler import compiler_options
from jaxvlm.render import RayAssets, validate_camera
from jaxvlm.reward import auc
from jaxvlm.reward.label import encode_scenes, in_phase, phases_of, score
from jaxvlm.vlmrm import Built, TrainConfig
from jaxvlm.vlmrm.presets import is_humanoid
from jaxvlm.vlmrm.program import RewardStats

if TYPE_CHECKING:
    from envs.registry import Task

SIGNAL = 0.6  # AUC below which a sentence is said to tell nothing; chance is 0.5
CANDIDATES = 8192  # random states whose truth is asked, which costs little; a few goals hold in one of 50
NO_GOAL = ("healthy_fraction", "finite_fraction")  # what stands for success where no predicate is known
MANY_ENVIRONMENTS = 512  # of the humanoid on a CPU, where each costs time


def preflight(config: TrainConfig, task: "Task", built: Built) -> list[str]:
    """Notes for the user, most important last.

    Raises:
      ConfigError: a camera that is inside a geom or sees nothing of the scene.
    """
    notes = []
    large = config.preset == "default" or config.num_envs > MANY_ENVIRONMENTS
    if is_humanoid(config.task) and jax.default_backend() == "cpu" and large:
        notes.append(
            f"{config.num_envs} environments suit an accelerator; on this CPU `--preset laptop` is the one to use"
        )
    rows = task.episode_length + 1  # and the reset's
    if config.rollout_length % rows:
        notes.append(
            f"--rollout-length {config.rollout_length} is no whole number of episodes of {rows} rows (steps and a "
            "reset): rollouts show different parts of them, and the best agent, that of the rollout which earned the "
            f"most, may owe it to its part; a multiple of {rows} makes rollouts comparable"
        )
    if built.inputs.reward is None:
        return notes
    check_cameras(config, task, built)
    if task.metric in NO_GOAL:
        notes.append(
            f"no predicate is known for this sentence: success is the {task.metric.replace('_', ' ')} of the "
            "environment itself, whatever the sentence asks for; judge by the video, or with `jaxvlm rate`"
        )
    if task.starts and not config.reward.then:
        notes.append(
            "one sentence is scored in all phases of this task; give each later phase its own with --then"
        )
    signals = [signal_note(config, task, built, phase) for phase in range(phases_of(built.inputs.reward))]
    return [*notes, *(note for note in (views_note(config, task), *signals) if note)]


def check_cameras(config: TrainConfig, task: "Task", built: Built) -> None:
    """Refuses views of a ray-cast scene that show nothing of it."""
    reward = built.inputs.reward
    assert reward is not None
    if not isinstance(reward.assets, RayAssets):
        return
    params = built.inputs.env_params
    _, state = jax.jit(task.env.reset)(jax.random.key(config.seed), params)
    scene = task.env.scene(state, params)
    for name in config.reward.camera:
        validate_camera(scene, reward.assets, task.env.cameras[name], name)


def views_note(config: TrainConfig, task: "Task") -> str | None:
    """A remark where an embedded CLIP has learned from views that rewards leave out."""
    name = config.reward.clip
    if name.startswith("untrained"):
        return None
    path = resolve(f"tiny:{task.domain}" if name == "tiny" else name) / CONCEPTS
    if not path.is_file():
        return None
    cameras = json.loads(path.read_text(encoding="utf-8")).get("cameras", [])
    if len(cameras) < 2 or set(cameras) <= set(config.reward.camera):
        return None
    return (
        f"{name} has learned to score the mean of the views {', '.join(cameras)}, and rewards come from "
        f"{', '.join(config.reward.camera)} alone; `--camera {' '.join(cameras)}` takes them all"
    )


def signal_note(config: TrainConfig, task: "Task", built: Built, phase: int = 0) -> str | None:
    """A warning where the sentence ranks random states no better than chance, or than the task's opposite sentence.

    None where it does, or nobody knows. Half of the states that are scored are at the goal and half are not, as far as
    there are so many: of a goal that holds in one state of 50, the AUC of 64 as they come would say little. The truth
    is that of the caption which says the same, or of the task's goal for the task's own prompt, which alone has an
    opposite. Of a task of several phases it is said of the sentence of one of them.
    """
    if not has_captions(task.domain):
        return None
    dataset = find_dataset(task.domain)
    prompts = (config.reward.prompt, *((sentence,) for sentence in config.reward.then))[phase]
    concept = concept_of(dataset, task, prompts)
    if concept is None:
        return None
    program = built.program
    assert built.inputs.reward is not None
    reward = in_phase(built.inputs.reward, phase)
    assert program.encode is not None
    sentence = " + ".join(map(repr, prompts))
    count = 512 if program.frame_size <= 96 else 64  # some seconds of a CPU, most of them compilation
    states = jax.jit(dataset.sample_states, static_argnums=1)(jax.random.key(config.seed), CANDIDATES)
    truth = np.asarray(jax.jit(dataset.concept(concept).holds)(states))
    if truth.all() or not truth.any():
        return (
            f"whether this CLIP tells the goal of {sentence} is not known: {'all' if truth.all() else 'none'} of "
            f"{CANDIDATES} random states are at it; look at what it ranks highest with `jaxvlm probe`"
        )
    chosen = balanced(truth, count, config.seed)
    states, truth = jax.tree.map(lambda leaf: leaf[chosen], states), truth[chosen]
    scenes: Any = jax.jit(dataset.scenes)(states)

    goals = [reward.goal]
    if built.opposite is not None and tuple(prompts) == tuple(task.goal_prompts):
        goals.append(built.opposite)

    @partial(jax.jit, compiler_options=compiler_options())
    def rewards(reward: Any, goals: jax.Array, scenes: Any) -> jax.Array:
        embeddings = encode_scenes(
            reward,
            scenes,
            encode=program.encode,  # pyright: ignore[reportArgumentType]
            render=task.env.render,
            size=program.frame_size,
            chunk=program.chunk,
        )
        return jax.vmap(lambda goal: score(replace(reward, goal=goal), embeddings).mean(-1))(goals)

    area, *opposite = [auc(row, truth) for row in np.asarray(rewards(reward, jnp.stack(goals), scenes))]
    measured = f"on {truth.sum()} states at the goal and {(~truth).sum()} others, chance is 0.5"
    if np.isnan(area):
        return (
            f"this CLIP's scores of {sentence} are not finite, so nothing can be learned from them; see `jaxvlm clip "
            "check`"
        )
    if area < SIGNAL:
        return (
            f"with this CLIP {sentence} does not tell goal frames from others (AUC {area:.2f} {measured}), so training "
            "on it is unlikely to work; see `jaxvlm clip check`"
        )
    if opposite and opposite[0] >= area:
        return (
            f"with this CLIP {' + '.join(map(repr, task.opposite_prompts))} ranks goal frames as high (AUC "
            f"{opposite[0]:.2f}) as {sentence} does ({area:.2f} {measured}): it does not read the difference, so do "
            "not trust its reward; see `jaxvlm clip check`"
        )
    return None


def balanced(truth: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Indices of `count` items, half of them true and half false as far as there are so many, in a random order.

    Args:
      truth: bool[n], with n of at least `count`.
      count: how many are taken.
      seed: of the choice.
    """
    order = np.random.default_rng(seed).permutation(truth.size)
    true, false = order[truth[order]], order[~truth[order]]
    at_goal = min(true.size, max(count // 2, count - false.size))
    return np.concatenate([true[:at_goal], false[: count - at_goal]])


def flat_note(config: TrainConfig, stats: RewardStats) -> str | None:
    """A remark where CLIP's rewards were all alike until learning starts, with what was seen of them by then."""
    count, mean, m2 = (np.asarray(leaf, np.float64) for leaf in (stats.count, stats.mean, stats.m2))
    if config.reward.reward != "clip" or not count.all() or not np.isfinite([mean, m2]).all():
        return None
    deviation = np.sqrt(m2 / count)
    if (deviation > 1e-5 * np.abs(mean)).any():  # more than rounding makes
        return None
    return (
        f"all {int(count.sum()):,} frames of random actions earned the same reward, {mean.mean():.4g}: there is "
        "nothing to learn from until a frame earns another; does the picture show what actions change?"
    )


def goal_of(dataset: CaptionedDataset, task: "Task", prompts: tuple[str, ...]) -> str | None:
    """The concept that prompts are judged by: a task's one goal whatever they say, else what they are known to say."""
    if task.goal_prompts and not task.starts:
        return task.concept or dataset.goal
    return concept_of(dataset, task, prompts)


def concept_of(dataset: CaptionedDataset, task: "Task", prompts: tuple[str, ...]) -> str | None:
    """The concept whose truth prompts speak of, if it is known."""
    if tuple(prompts) == tuple(task.goal_prompts):
        return task.concept or dataset.goal
    for sentence, goal in zip(task.then_prompts, task.then_concepts, strict=True):
        if tuple(prompts) == (sentence,):
            return goal
    for concept in dataset.concepts:
        if set(prompts) <= set(concept.wordings):
            return concept.name
    return None
