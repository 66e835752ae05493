"""Acting in code of one's own: all algorithms are called alike, and what does not fit is named."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.rl import DQNConfig, PPOConfig, SACConfig, make_control, make_dqn, make_ppo, make_sac
from jaxvlm.spaces import Box, Discrete

OBSERVATIONS, TURNS, FORCES = Box(-2.0, 2.0, (2, 3)), Discrete(3), Box(-1.0, 1.0, (2,))
AGENTS = {
    "dqn": make_dqn(DQNConfig(hidden_sizes=(4,)), OBSERVATIONS, TURNS),
    "sac": make_sac(SACConfig(actor_hidden_sizes=(4,), critic_hidden_sizes=(4,)), OBSERVATIONS, FORCES),
    "ppo": make_ppo(PPOConfig(hidden_sizes=(4,)), OBSERVATIONS, TURNS),
    "ppo, continuous": make_ppo(PPOConfig(hidden_sizes=(4,)), OBSERVATIONS, FORCES),
}


@pytest.mark.parametrize("name", AGENTS)
def test_deterministic_acting_takes_neither_key_nor_step(name):
    agent = AGENTS[name]
    state = jax.eval_shape(agent.init, jax.random.key(0))
    act = partial(jax.eval_shape, partial(agent.act, deterministic=True))
    one, many = act(state, jnp.zeros((2, 3))), act(state, jnp.zeros((5, 2, 3)))
    assert many.shape == (5, *one.shape)
    with pytest.raises(ConfigError, match=r"act needs a key.* unless deterministic=True"):
        jax.eval_shape(agent.act, state, jnp.zeros((2, 3)))


@pytest.mark.parametrize("name", AGENTS)
def test_what_does_not_fit_the_agent_is_named(name):
    agent = AGENTS[name]
    choose = partial(agent.act, deterministic=True)
    act = partial(jax.eval_shape, choose)
    state = jax.eval_shape(agent.init, jax.random.key(0))
    for shape in ((2, 4), (3,), (), (4, 3)):
        with pytest.raises(
            ConfigError, match=r"the observation has shape .* but this agent was made for"
        ) as error:
            act(state, jnp.zeros(shape))
        assert f"{shape}" in str(error.value)
        assert "(2, 3)" in str(error.value)
    seeds = jax.eval_shape(jax.vmap(agent.init), jax.random.split(jax.random.key(0), 7))
    with pytest.raises(ConfigError, match="7 agents are given at once: take one"):
        act(seeds, jnp.zeros((2, 3)))
    assert jax.eval_shape(jax.vmap(choose, in_axes=(0, None)), seeds, jnp.zeros((2, 3))).shape[0] == 7


def test_random_actions_need_a_key_and_no_actions_none():
    assert make_control("zero", FORCES).act(None, jnp.zeros((4, 2, 3))).shape == (4, 2)
    with pytest.raises(ConfigError, match="random actions need a key"):
        make_control("random", FORCES).act(None, jnp.zeros((4, 2, 3)))
