"""Whole episodes of trained agents, from fresh starts."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxvlm.rl.returns import first_episode
from jaxvlm.rl.rollout import Rows, collect, env_keys, init_rollout

# What is drawn from a seed beside its training, which has streams 0 to 2.
EVALUATION = 3  # episodes that count: `jaxvlm evaluate`, and whatever shows or keeps the same ones
MINING = 4  # episodes of which the states are looked at and learned from


def play_episodes(
    env: Any,
    env_params: Any,
    act: Callable[..., jax.Array],
    agents: Any,
    seeds: jax.Array,
    *,
    step: jax.Array | int,
    deterministic: bool | jax.Array,
    episodes: int,
    length: int,
    first: jax.Array | int = 0,
    stream: int = EVALUATION,
) -> tuple[Rows, jax.Array]:
    """Plays episodes with the agent of every seed; pure, for the caller to jit.

    Args:
      env: environment with its time limit.
      env_params: its numeric parameters.
      act: `(agent, observation, key, step, deterministic=False) -> action`, of one seed's agent.
      agents: agent states, leading axis seed.
      seeds: i32[seed], from which episode starts and actions are drawn.
      step: environment steps that the agents have behind them.
      deterministic: greedy or mean actions instead of sampled ones; an array makes one program for both.
      episodes: of each seed, static.
      length: rows of an episode, static.
      first: index of the first episode. Episode i of a seed is the same in any call that holds it, so many episodes
        can be played in several calls.
      stream: `EVALUATION` or `MINING`, whose episodes differ.

    Returns:
      The rows [seed, time, episode, ...] with their scenes, and which of them belong to the episode, bool[seed, time,
      episode]: no row after its end, and none in which the physics diverged.
    """
    step = jnp.asarray(step, jnp.int32)

    def one_seed(agent: Any, seed: jax.Array) -> Rows:
        key_start, key_act = jax.random.split(jax.random.fold_in(jax.random.key(seed), stream))

        def policy(observation: jax.Array, key: jax.Array) -> jax.Array:
            action = partial(act, agent, observation, key, step)
            if isinstance(deterministic, bool):
                return action(deterministic=deterministic)
            return jnp.where(deterministic, action(deterministic=True), action(deterministic=False))

        start = init_rollout(env, env_params, env_keys(key_start, episodes, first))
        return collect(env, env_params, policy, start, key_act, length, first_env_index=first)[1]

    with jax.default_matmul_precision("highest"):
        rows = jax.vmap(one_seed)(agents, seeds)
    return rows, jax.vmap(first_episode)(rows.done) & rows.valid
