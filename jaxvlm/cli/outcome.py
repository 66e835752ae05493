"""What an evaluation plays, says and draws; `session.finish` puts it together."""

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.compiler import compiler_options
from jaxvlm.render import draw_batch
from jaxvlm.runtime import Progress
from jaxvlm.vlmrm import Built, Episodes, TrainConfig, join_episodes, run_episodes
from jaxvlm.vlmrm.train import seeds_of

if TYPE_CHECKING:
    from envs.registry import Task

EVALUATION_BLOCK = 20  # episodes of a seed in one call, so that progress is shown and memory stays bounded
GIF_SIZE = 160  # pixels a side of one episode
GIF_EVERY = 2  # steps between frames


def schedule(config: TrainConfig, task: "Task") -> dict[str, Any]:
    """What `evaluation.json` says of the phases of a task of several: goal, sentence and first step of each."""
    if not task.starts:
        return {}
    goals = [task.concept, *task.then_concepts]
    # One sentence without a later one is scored in every phase.
    spoken = [" + ".join(config.reward.prompt), *(config.reward.then or ())]
    starts = [0, *(config.at or task.starts)]
    return {
        "phases": [
            {"goal": goal, "prompt": spoken[min(k, len(spoken) - 1)], "after_step": start}
            for k, (goal, start) in enumerate(zip(goals, starts, strict=True))
        ],
        "transition": getattr(task.env, "transition", 0),
    }


def weights(config: TrainConfig) -> dict[str, float]:
    """What `evaluation.json` says of a mix of rewards."""
    reward = config.reward
    if reward.reward != "mix":
        return {}
    return {"clip_weight": reward.clip_weight, "truth_weight": reward.truth_weight}


def play(
    built: Built, task: "Task", agent: Any, progress: Progress, *, actor: Any = None
) -> tuple[Episodes, Episodes]:
    """Plays the config's number of episodes of every seed twice: deterministically, scored by CLIP, and sampled."""
    config = built.program.config
    block = min(EVALUATION_BLOCK, config.episodes)

    # One program for both: compiling the humanoid's takes half a minute.
    @partial(jax.jit, compiler_options=compiler_options())
    def play_block(
        inputs: Any, agent: Any, seeds: jax.Array, first: jax.Array, deterministic: jax.Array
    ) -> Episodes:
        return run_episodes(
            built.program,
            inputs,
            agent,
            seeds,
            episodes=block,
            length=task.episode_length,
            window=task.window,
            threshold=task.threshold,
            deterministic=deterministic,
            score=deterministic,
            first=first,
            actor=actor,
        )

    def all_blocks(deterministic: bool, done: int) -> Episodes:
        blocks = []
        for first in range(0, config.episodes, block):
            played = play_block(
                built.inputs, agent, seeds_of(built), jnp.int32(first), jnp.asarray(deterministic)
            )
            blocks.append(jax.device_get(played))
            progress.update(done + min(first + block, config.episodes) * config.seeds)
        return join_episodes(blocks, config.episodes)

    return all_blocks(True, 0), all_blocks(False, config.episodes * config.seeds)


def report(result: dict[str, Any], metric: str) -> str:
    """The result in words and figures, a line each."""
    seeds = result["seeds"]
    over = f"{result['episodes']} episodes" + (f" of each of {len(seeds)} seeds" if len(seeds) > 1 else "")
    lines = [
        f"{result['task']} over {over}, by ground truth:",
        f"  success    {result['success_rate']:.1%} of the episodes"
        + (
            f" (by seed {', '.join(f'{rate:.0%}' for rate in result['per_seed']['success_rate'])})"
            if len(seeds) > 1
            else ""
        ),
        f"  {metric.replace('_', ' ')} {result[metric]:.3f}, mean return {result['mean_ground_truth_return']:.1f}"
        + (
            f", mean CLIP reward {result['mean_clip_reward']:.3f}"
            if result["mean_clip_reward"] is not None
            else ""
        ),
        *(
            f"  phase {k + 1}    {phase['goal']}: {share:.1%} of its steps from number "
            f"{phase['after_step'] + result['transition'] + 1} on"
            for k, (phase, share) in enumerate(
                zip(result.get("phases", ()), result.get("phase_fraction", ()), strict=True)
            )
        ),
        f"  exploring  {result['stochastic']['success_rate']:.1%} of the episodes when actions are sampled",
    ]
    return "\n".join(lines)


def draw_episodes(built: Built, task: "Task", episodes: Episodes) -> np.ndarray:
    """Up to four episodes of as many seeds as there are, u8[time, episode, size, size, 3].

    One that ended early holds its last frame.
    """
    look = built.program.config.reward.look
    assets, camera = task.env.assets(look), task.env.cameras[built.program.config.reward.camera[0]]
    view = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], camera)

    def pick(leaf: np.ndarray) -> np.ndarray:  # [seed, time, shown, ...] -> [time, video, ...]
        seeds, time, shown = leaf.shape[:3]
        last = np.maximum(episodes.length[:, :shown] - 1, 0)  # an episode may diverge in its first step
        times = np.minimum(np.arange(0, time, GIF_EVERY)[:, None, None], last.T)  # [time, shown, seed]
        by_time = leaf[np.arange(seeds), times, np.arange(shown)[:, None]]  # [time, shown, seed, ...]
        return by_time.reshape(len(times), shown * seeds, *leaf.shape[3:])[:, :4]

    scenes = jax.tree.map(pick, episodes.scene)

    @partial(jax.jit, compiler_options=compiler_options())
    def draw(scenes: Any, assets: Any, view: Any) -> jax.Array:
        with jax.default_matmul_precision("highest"):
            row = lambda scenes: draw_batch(task.env.render, scenes, assets, view, GIF_SIZE)[:, 0]  # noqa: E731
            return jax.lax.map(row, scenes)

    return np.asarray(draw(scenes, assets, view))
