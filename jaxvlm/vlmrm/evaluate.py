"""Ground truth of trained policies: whole episodes from fresh starts, all of them at once."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxvlm.rl import play_episodes
from jaxvlm.vlmrm.program import Inputs, Program


@struct.dataclass
class Episodes:
    """Outcomes of evaluation episodes."""

    success: jax.Array  # bool[seed, episode]
    fraction: jax.Array  # f32[seed, episode], share of successful steps in the task's window
    ground_truth_return: jax.Array  # f32[seed, episode]
    clip_reward: jax.Array | None  # f32[seed, episode], mean over steps; None without a CLIP reward
    scene: Any  # [seed, time, shown, ...], of the first few episodes
    length: jax.Array  # i32[seed, episode], steps
    phase_fraction: jax.Array | None = None  # f32[seed, episode, phase], of a task of several
    step_success: jax.Array | None = (
        None  # bool[seed, episode, time], of such a task: its phase's goal at each step
    )


def run_episodes(
    program: Program,
    inputs: Inputs,
    agent: Any,
    seed: jax.Array,
    *,
    episodes: int,
    length: int,
    window: int,
    threshold: float,
    deterministic: bool | jax.Array,
    score: bool | jax.Array,
    shown: int = 4,
    first: jax.Array | int = 0,
    actor: Any = None,
) -> Episodes:
    """Plays `episodes` episodes with every seed's agent; pure, for the caller to jit.

    Args:
      program: environment, agent and towers.
      inputs: environment and reward parameters.
      agent: agent states, leading axis seed.
      seed: i32[seed], from which episode starts and actions are drawn.
      episodes: episodes per seed.
      length: steps an episode may take.
      window: the last steps of an episode over which the share of success is taken. Steps that an episode misses of
        it because it terminated count as failures; it is judged by the steps there are where its physics diverged.
      threshold: least share that makes the episode a success.
      deterministic: greedy or mean actions instead of sampled ones; an array makes one program for both.
      score: whether to draw and score the frames with CLIP. An array decides when the program runs, and rewards are
        then 0 where it says no.
      shown: how many episodes' scenes to return.
      first: index of the first episode. Episode i is the same in any call that holds it, so many episodes can be
        played in several calls.
      actor: whose `act` is called, with `agent` as its state; None for the program's own algorithm.

    Returns:
      `Episodes`. In a task of several phases the share of success is taken over each phase without the steps that its
      transition may take, and the least of these shares is the episode's: it succeeds where every phase does.
    """

    rows, counted = play_episodes(
        program.env,
        inputs.env_params,
        (actor or program.agent).act,
        agent,
        seed,
        step=program.config.steps,
        deterministic=deterministic,
        episodes=episodes,
        length=length,
        first=first,
    )
    steps = counted.sum(1)
    success, fraction, by_phase = judge(
        program.env,
        rows.success,
        counted,
        rows.terminated,
        rows.phase,
        window=window,
        threshold=threshold,
        starts=None if rows.phase is None else inputs.env_params.starts,
    )
    clip_reward = None
    if score is not False and inputs.reward is not None:
        rewards = jax.lax.cond(
            score,
            lambda: program.rewards(inputs, rows)[1],
            lambda: jnp.zeros(counted.shape, jnp.float32),
        )
        # An episode that diverges in its first step has none that count.
        clip_reward = jnp.sum(rewards * counted, axis=1) / jnp.maximum(steps, 1)
    return Episodes(
        success=success,
        fraction=fraction,
        ground_truth_return=jnp.sum(rows.reward * counted, axis=1),
        clip_reward=clip_reward,
        scene=jax.tree.map(lambda leaf: leaf[:, :, :shown], rows.scene),
        length=steps,
        phase_fraction=by_phase,
        step_success=None if by_phase is None else (rows.success & counted).swapaxes(1, 2),
    )


def judge(
    env: Any,
    success: jax.Array,
    counted: jax.Array,
    terminated: jax.Array,
    phase: jax.Array | None,
    *,
    window: int,
    threshold: float,
    starts: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Which episodes succeed; pure.

    Args:
      env: environment, which knows its phases and their transition.
      success: bool[seed, time, episode], the goal holds in the step.
      counted: bool[seed, time, episode], the step belongs to the episode.
      terminated: bool[seed, time, episode], the step led to a terminal state.
      phase: i32[seed, time, episode] of a task of several phases, else None.
      window: see `run_episodes`.
      threshold: see `run_episodes`.
      starts: i32[phases - 1], steps after which the later phases begin; for a task of several.

    Returns:
      Success, bool[seed, episode]; the share it is judged by, f32[seed, episode]; and the share of each phase,
      f32[seed, episode, phase], None without phases.
    """
    length = counted.shape[1]
    in_window = counted & (jnp.arange(length)[None, :, None] >= (counted.sum(1) - window)[:, None, :])
    # An end is no way out: who falls at once has not stood for the whole window.
    ended = (terminated & counted).any(1)
    judged = jnp.where(ended, min(window, length), jnp.maximum(in_window.sum(1), 1))
    fraction = (success & in_window).sum(1) / judged
    by_phase = _phase_fractions(env, success, counted, phase, ended, starts)
    if by_phase is not None:
        fraction = jnp.min(by_phase, axis=-1)
    # The share is a ratio of small integers; the slack, far below a step, keeps 180/200 >= 0.9 in float32.
    return fraction >= threshold - 1e-6, fraction.astype(jnp.float32), by_phase


def _phase_fractions(
    env: Any,
    success: jax.Array,
    counted: jax.Array,
    phase: jax.Array | None,
    ended: jax.Array,
    starts: jax.Array | None,
) -> jax.Array | None:
    """Share of successful steps of each phase after its transition, f32[seed, episode, phase]; None without phases.

    `success` and `counted` are bool[seed, time, episode], `phase` i32 of the same shape. Of an episode that `ended`,
    bool[seed, episode], for good, the steps that it misses count as failures; `starts` say how many a phase has.
    """
    if phase is None:
        return None
    assert starts is not None  # a task of several phases has a schedule
    length = success.shape[1]
    edges = jnp.concatenate(
        [jnp.zeros(1, jnp.int32), jnp.asarray(starts, jnp.int32), jnp.full(1, length, jnp.int32)]
    )
    shares = []
    for index in range(env.phases):
        here = counted & (phase == index)
        settled = here & (jnp.cumsum(here, axis=1) > env.transition)
        whole = jnp.maximum(edges[index + 1] - edges[index] - env.transition, 1)
        judged = jnp.where(ended, whole, jnp.maximum(settled.sum(1), 1))
        shares.append((success & settled).sum(1) / judged)
    return jnp.stack(shares, axis=-1).astype(jnp.float32)


def join_episodes(blocks: Sequence[Episodes], episodes: int) -> Episodes:
    """The first `episodes` episodes of several calls of `run_episodes`, on the host; scenes are the first call's."""
    scene = blocks[0].scene
    joined = jax.tree.map(
        lambda *leaves: np.concatenate(leaves, axis=1)[:, :episodes],
        *(replace(block, scene=None) for block in blocks),
    )
    return replace(joined, scene=scene)


def summarise(episodes: Episodes, metric: str) -> dict[str, Any]:
    """Plain numbers for `evaluation.json`: means over seeds and episodes, and per seed."""
    success = np.asarray(episodes.success, np.float64)
    fraction = np.asarray(episodes.fraction, np.float64)
    returns = np.asarray(episodes.ground_truth_return, np.float64)
    summary: dict[str, Any] = {
        "success_rate": float(success.mean()),
        metric: float(fraction.mean()),
        "mean_ground_truth_return": float(returns.mean()),
        "mean_clip_reward": None,
        "per_seed": {
            "success_rate": success.mean(1).tolist(),
            metric: fraction.mean(1).tolist(),
            "mean_ground_truth_return": returns.mean(1).tolist(),
        },
    }
    if episodes.clip_reward is not None:
        rewards = np.asarray(episodes.clip_reward, np.float64)
        summary["mean_clip_reward"] = float(rewards.mean())
        summary["per_seed"]["mean_clip_reward"] = rewards.mean(1).tolist()
    if episodes.phase_fraction is not None:
        shares = np.asarray(episodes.phase_fraction, np.float64)  # [seed, episode, phase]
        summary["phase_fraction"] = shares.mean((0, 1)).tolist()
        summary["per_seed"]["phase_fraction"] = shares.mean(1).tolist()
        # How the goals come and go: the share of a seed's episodes that meet their phase's goal, by step.
        by_step = np.asarray(episodes.step_success, np.float64).mean(1)
        summary["per_seed"]["success_by_step"] = np.round(by_step, 4).tolist()
    return summary


def episode_table(episodes: Episodes, metric: str, seeds: Sequence[int]) -> str:
    """CSV with a row for every deterministic episode: seed, episode, success, share of steps, returns, length.

    A task of several phases has the share of each behind them.
    """
    scored = episodes.clip_reward is not None
    shares = None if episodes.phase_fraction is None else np.asarray(episodes.phase_fraction)
    more = "" if shares is None else "".join(f",phase_{k + 1}" for k in range(shares.shape[-1]))
    lines = [
        f"seed,episode,success,{metric},ground_truth_return,{'clip_reward,' if scored else ''}length{more}",
    ]
    columns = [episodes.success, episodes.fraction, episodes.ground_truth_return, episodes.length]
    if episodes.clip_reward is not None:
        columns.insert(3, episodes.clip_reward)
    arrays = [np.asarray(column) for column in columns]
    for place, seed in enumerate(seeds):
        for episode in range(arrays[0].shape[1]):
            success, *numbers, length = (array[place, episode] for array in arrays)
            values = ",".join(f"{number:.6g}" for number in numbers)
            last = "" if shares is None else "".join(f",{share:.6g}" for share in shares[place, episode])
            lines.append(f"{seed},{episode},{int(success)},{values},{int(length)}{last}")
    return "\n".join(lines) + "\n"
