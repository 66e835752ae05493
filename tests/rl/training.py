"""A small training loop on the diagnostic problems, all of them in one program."""

from functools import partial

import jax
import jax.numpy as jnp
from rl.diagnostic_envs import Params

from jaxvlm.rl import collect, env_keys, init_rollout, make_replay_buffer, random_policy, replay_spec

NUM_ENVS, LENGTH, CAPACITY, BATCH = 8, 8, 256, 64


def train(agent, env, kind, hyper, key, iterations, updates=4, explore=False):
    """Trains on problem `kind`; returns the agent's state. `explore` draws actions uniformly instead."""
    params = Params(jnp.asarray(kind, jnp.int32))
    spaces = env.observation_space(params), env.action_space(params)
    buffer = make_replay_buffer(CAPACITY, NUM_ENVS, replay_spec(*spaces))
    init_key, rollout_key, run_key = jax.random.split(key, 3)

    def iteration(carry, time):
        state, rollout, replay = carry
        collect_key, update_key = jax.random.split(jax.random.fold_in(run_key, time))
        policy = random_policy(spaces[1]) if explore else partial(agent.act, state, step=time)
        rollout, rows = collect(env, params, policy, rollout, collect_key, LENGTH, scenes=False)
        replay = buffer.add(replay, rows, rollout.observation)

        def update(state, key):
            sample_key, key = jax.random.split(key)
            state, _ = agent.update(state, buffer.sample(replay, sample_key, BATCH), key)
            return state, None

        state, _ = jax.lax.scan(update, state, jax.random.split(update_key, updates))
        return (state, rollout, replay), None

    start = (
        agent.init(init_key, hyper),
        init_rollout(env, params, env_keys(rollout_key, NUM_ENVS)),
        buffer.init(),
    )
    (state, _, _), _ = jax.lax.scan(iteration, start, jnp.arange(iterations))
    return state
