"""Both directions with MuJoCo Playground itself, where it is installed; `test_foreign_adapter` has a stand-in."""

import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.adapters.foreign import Foreign
from envs.adapters.sources import load_source, quietly
from envs.cartpole import CartPole
from envs.wrappers import TimeLimit
from jaxvlm.errors import ConfigError

try:
    with quietly():
        import mujoco_playground
except ImportError:
    mujoco_playground = None
installed = pytest.mark.skipif(mujoco_playground is None, reason="MuJoCo Playground is not installed")
ADAPTER = "envs.adapters.playground"


def test_without_playground_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco_playground._src.mjx_env", None)
    monkeypatch.delitem(sys.modules, ADAPTER, raising=False)
    with pytest.raises(ConfigError, match=r"run pip install 'jaxvlm\[playground\]'"):
        importlib.import_module(ADAPTER)


@installed
def test_ours_under_playgrounds_wrapper():
    from envs.adapters.playground import PlaygroundEnv

    made = PlaygroundEnv(TimeLimit(CartPole(), 9))
    assert (made.action_size, made.observation_size) == (2, 4)
    with pytest.raises(ConfigError, match="cartpole is no MuJoCo environment"):
        _ = made.mjx_model
    env = mujoco_playground.wrapper.wrap_for_brax_training(made, episode_length=3)
    state = jax.jit(env.reset)(jax.random.split(jax.random.PRNGKey(0), 2))
    step, rows = jax.jit(env.step), []
    for _ in range(4):
        state = step(state, jnp.ones((2, 2)))
        rows.append(
            (float(state.done[0]), float(state.info["truncation"][0]), float(state.metrics["success"][0]))
        )
    assert rows == [(0, 0, 1), (0, 0, 1), (1, 1, 1), (0, 0, 1)]


@installed
@pytest.mark.slow
@pytest.mark.parametrize("name", ["CartpoleBalance", "ReacherEasy"])
def test_theirs_step_as_in_playground(name):
    env = Foreign("playground", name, pool_size=2)
    source, params = env.source, env.default_params
    key = jax.random.split(jax.random.PRNGKey(0), 2)[1]
    size = env.action_space(params).shape
    actions = jax.random.uniform(jax.random.key(2), (10, *size), minval=-1.0, maxval=1.0)

    def theirs(key):
        def step(state, action):
            state = source.env.step(state, action)
            return state, (state.obs, state.reward, state.done > 0)

        return jax.lax.scan(step, source.env.reset(key), actions)[1]

    def ours(params):
        def step(state, action):
            observation, state, reward, terminated, *_ = env.step(key, state, action, params)
            return state, (observation, reward, terminated)

        return jax.lax.scan(step, jax.tree.map(lambda leaf: leaf[1], params.pool)[1], actions)[1]

    with quietly(), jax.default_matmul_precision("highest"):
        pairs = zip(jax.jit(theirs)(key), jax.jit(ours)(params), strict=True)
    for expected, found in pairs:
        np.testing.assert_allclose(expected, found, rtol=1e-4, atol=1e-4)


@installed
def test_robots_of_meshes_are_not_downloaded():
    with pytest.raises(ConfigError, match="is made of meshes, which it would download"):
        load_source("playground", "Go1JoystickFlatTerrain")
