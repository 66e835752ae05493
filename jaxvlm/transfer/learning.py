"""Many tasks learned side by side, from any start: the bank's policies, and the fine-tuning of every arm.

One program: `vmap` over runs (task, start, seed), a scan over updates, and after every update an evaluation that the
caller gives: exact, or of episodes whose draws are the same every time, so that curves have no noise from one update to
the next.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from jaxvlm.rl import collect, env_keys, init_rollout
from jaxvlm.transfer.learners import LearnConfig, Learner

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis
# (`Learner.policy` of some parameters, what the task is evaluated with) -> f32[], its return
Evaluate = Callable[[Callable[[jax.Array], jax.Array], Any], jax.Array]


@struct.dataclass
class Learned:
    """What came of K runs. Curves have an entry before the first update and one after each, or the last one alone."""

    params: Any  # policies, critics included, [K, ...]
    value: Leaf  # f32[K, updates + 1], or f32[K, 1], return
    steps: Leaf  # i32[K, updates + 1], or i32[K, 1], environment steps taken


def learn(
    config: LearnConfig,
    env: Any,
    learner: Learner,
    env_params: Any,
    start: Any,
    evaluate: Evaluate,
    evaluation: Any,
    keys: jax.Array,
    *,
    curve: bool = True,
) -> Learned:
    """Trains K runs; pure, for the caller to jit.

    Args:
      config: numbers of all runs.
      env: environment with its time limit.
      learner: of `make_learner`, with the same config.
      env_params: parameters of the task of each run, leaves [K, ...].
      start: policies to start from, leaves [K, ...], as `learner.init(key)`.
      evaluate: return of a policy, see `Evaluate`.
      evaluation: its second argument, leaves [K, ...].
      keys: key[K], of everything a run draws.
      curve: whether to evaluate before the first update and after each; else after the last one alone.
    """

    def one(task: Any, params: Any, table: Any, key: jax.Array) -> Learned:
        key_rollout, key_run = jax.random.split(key)

        def worth(params: Any) -> jax.Array:
            return evaluate(partial(learner.policy, params), table)

        def update(carry: tuple[Any, Any], key: jax.Array) -> tuple[tuple[Any, Any], tuple[Leaf, Array]]:
            state, rollout = carry
            key_collect, key_update = jax.random.split(key)
            rollout, rows = collect(
                env,
                task,
                partial(learner.act, state),
                rollout,
                key_collect,
                config.rollout_length,
                scenes=False,
            )
            state = learner.update(state, rows, rollout.observation, key_update)
            value = worth(learner.params(state)) if curve else None
            return (state, rollout), (value, jnp.sum(rows.valid))

        state = learner.begin(params, key_run)
        rollout = init_rollout(env, task, env_keys(key_rollout, config.num_envs))
        (state, _), (value, steps) = jax.lax.scan(
            update, (state, rollout), jax.random.split(key_run, config.updates)
        )
        taken = jnp.cumsum(steps).astype(jnp.int32)
        learned = learner.params(state)
        if not curve:
            return Learned(params=learned, value=worth(learned)[None], steps=taken[-1:])
        return Learned(
            params=learned,
            value=jnp.concatenate([worth(params)[None], value]),
            steps=jnp.concatenate([jnp.zeros(1, jnp.int32), taken]),
        )

    return jax.vmap(one)(env_params, start, evaluation, keys)


def steps_to_threshold(
    value: Float[Array, " *runs time"], steps: Int[Array, " *runs time"], threshold: Float[Array, " *runs"]
) -> tuple[Int[Array, " *runs"], jax.Array]:
    """Steps until the value first reaches the threshold, and whether it ever did.

    Runs that never do count with all their steps, a lower bound: they are censored.
    """
    reached = value >= threshold[..., None]
    ever = jnp.any(reached, axis=-1)
    first = jnp.argmax(reached, axis=-1)
    counted = jnp.where(ever, first, value.shape[-1] - 1)
    return jnp.take_along_axis(steps, counted[..., None], axis=-1)[..., 0], ever


def episode_starts(env: Any, task: Any, key: jax.Array, episodes: int) -> tuple[jax.Array, Any]:
    """Observations [n, ...] and states [n, ...] in which the episodes of `episodes_return` start."""
    key_reset, _ = jax.random.split(key)
    return jax.vmap(env.reset, in_axes=(0, None))(env_keys(key_reset, episodes), task)


def episodes_return(
    env: Any,
    task: Any,
    policy: Callable[[jax.Array], jax.Array],
    key: jax.Array,
    *,
    episodes: int,
    horizon: int,
    discount: float,
    discrete: bool,
) -> Float[Array, ""]:
    """Mean discounted return of a policy over episodes from the starts that `key` draws, `horizon` steps each.

    For worlds too large for exact values. The same key draws the same starts, and the same random numbers for actions
    that are sampled, so that two policies are compared in pairs.

    Args:
      env: environment, its time limit not needed.
      task: its parameters.
      policy: of a `Learner`: probabilities of discrete actions, which are sampled, or continuous actions, which are
        taken as they are.
      key: of starts and samples.
      episodes: how many.
      horizon: steps of an episode.
      discount: a step.
      discrete: whether actions are.
    """
    observation, state = episode_starts(env, task, key, episodes)
    _, key_run = jax.random.split(key)

    def step(carry: Any, time: jax.Array) -> tuple[Any, jax.Array]:
        state, observation, alive = carry
        key_act, key_step = jax.random.split(jax.random.fold_in(key_run, time))
        action = policy(observation)
        if discrete:
            action = jax.random.categorical(key_act, jnp.log(action))
        observation, state, reward, terminated, truncated, _ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            env_keys(key_step, episodes), state, action, task
        )
        earned = discount**time * jnp.mean(jnp.where(alive, reward, 0.0))
        return (state, observation, alive & ~(terminated | truncated)), earned

    start = (state, observation, jnp.ones(episodes, bool))
    return jnp.sum(jax.lax.scan(step, start, jnp.arange(horizon))[1])
