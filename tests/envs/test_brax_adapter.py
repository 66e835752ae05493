"""Our environments under brax's own wrappers, against stepping them directly."""

import importlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from products import EXACT, Products

from envs.adapters import brax as adapter
from envs.adapters.brax import BraxEnv, scaled_action
from envs.adapters.sources import quietly
from envs.cartpole import CartPole
from envs.gridworld.cells import cell
from envs.gridworld.env import GridWorld
from envs.gridworld.room import ObjectRoom
from envs.humanoid.env import Humanoid
from envs.mountain_car import MountainCar
from envs.phases import Phased
from envs.wrappers import TimeLimit
from jaxvlm.errors import ConfigError
from jaxvlm.spaces import Box, Discrete

with quietly():
    from brax.envs import training

KEYS = jax.random.split(jax.random.PRNGKey(3), 2)  # raw, as brax's wrappers ask


def play(env, actions):
    """States of brax's wrapped environment, stacked over time."""

    def step(state, action):
        # Its wrappers change dicts of the state in place.
        state = env.step(jax.tree.map(lambda leaf: leaf, state), action)
        return state, state

    return jax.jit(lambda actions: jax.lax.scan(step, env.reset(KEYS), actions)[1])(actions)


def by_hand(env, params, actions):
    """The same by our own interface, without ends: observations, rewards and ends."""

    def one(key, actions):
        key, reset_key = jax.random.split(key)
        _, state = env.reset(reset_key, params)

        def step(carry, action):
            key, state = carry
            key, step_key = jax.random.split(key)
            observation, state, reward, terminated, truncated, info = env.step(
                step_key, state, action, params
            )
            return (key, state), (observation, reward, terminated | truncated, info["success"])

        return jax.lax.scan(step, (key, state), actions)[1]

    return jax.jit(jax.vmap(one, in_axes=(0, 1), out_axes=1))(KEYS, actions)


@pytest.mark.slow
def test_cartpole_under_brax_equals_direct_stepping_and_time_limits_are_truncations():
    env = CartPole()
    choices = jax.random.randint(jax.random.key(1), (6, 2), 0, 2)
    scores = jax.nn.one_hot(choices, 2) - 0.5
    state = play(training.wrap(BraxEnv(TimeLimit(env, 4)), episode_length=6), scores)
    observation, reward, done, success = by_hand(env, env.default_params, choices)
    np.testing.assert_allclose(state.obs[:5], observation[:5], atol=1e-6)
    np.testing.assert_allclose(state.reward, reward, atol=1e-6)
    np.testing.assert_array_equal(state.metrics["success"], success)
    assert not done.any()
    # Our limit of 4 is off, brax's of 6 ends the episode and resets it.
    np.testing.assert_array_equal(state.done[:, 0], [0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(state.info["truncation"], state.done)
    np.testing.assert_allclose(state.obs[5], state.info["first_obs"][5])


def test_a_terminated_episode_is_no_truncation():
    env = CartPole(early_termination=True)
    falling = jnp.broadcast_to(jnp.array([-1.0, 1.0]), (60, 2, 2))
    state = play(training.wrap(BraxEnv(env), episode_length=100), falling)
    assert state.done.sum() >= 2
    assert not state.info["truncation"].any()


def test_phases_go_by_their_clock_and_its_end_is_a_truncation():
    room = ObjectRoom()
    goals = (cell("ball", "red"), cell("key", "blue"))
    env = BraxEnv(Phased(TimeLimit(room, 3), goals=goals, starts=(1,)))
    state = play(training.wrap(env, episode_length=3), jnp.ones((4, 2, env.action_size)))
    np.testing.assert_array_equal(state.metrics["phase"][:, 0], [0, 1, 1, 0])
    np.testing.assert_array_equal(state.done[:, 0], [0, 0, 1, 0])
    np.testing.assert_array_equal(state.info["truncation"], state.done)


@pytest.mark.slow
def test_the_humanoid_under_brax_equals_direct_stepping():
    env = Humanoid(pool_size=4)
    params = env.default_params
    made = BraxEnv(TimeLimit(env, 100), params)
    assert (made.observation_size, made.action_size, made.backend) == (45, 17, "jaxvlm")
    wrapped = training.AutoResetWrapper(training.VmapWrapper(made))

    @jax.jit  # one program: what both ways have in common is compiled once
    def step(actions):
        first = wrapped.reset(KEYS)
        direct = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            KEYS, first.pipeline_state, 0.4 * actions, params
        )
        return wrapped.step(first, actions), direct

    state, (observation, ours, reward, _, _, info) = step(
        jax.random.uniform(jax.random.key(1), (2, 17), minval=-1.0, maxval=1.0)
    )
    np.testing.assert_allclose(state.obs, observation, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(state.pipeline_state.motion.qpos, ours.motion.qpos, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(state.reward, reward, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(state.metrics["success"], info["success"])
    assert not state.metrics["diverged"].any()


def test_products_are_exact():
    """Accelerators round them by default, and training does not let them."""
    env = Products()
    play(training.wrap(BraxEnv(env), episode_length=3), jnp.ones((2, 2, 2)))
    assert env.seen == {"reset": {EXACT}, "step": {EXACT}}


@pytest.mark.slow
def test_observations_of_several_axes_are_flattened():
    grid = GridWorld(5, 5, control="turn", observation="view")
    env = BraxEnv(grid)
    state = jax.jit(env.reset)(KEYS[0])
    assert env.observation_size == 7 * 7 * 2
    assert state.obs.shape == (98,)
    np.testing.assert_array_equal(state.obs, grid.observe(state.pipeline_state).reshape(-1))
    after = jax.jit(env.step)(state, jnp.ones(env.action_size))
    np.testing.assert_array_equal(after.obs, grid.observe(after.pipeline_state).reshape(-1))
    assert after.obs.shape == state.obs.shape


def test_actions_are_scaled_by_hand():
    box = Box((0.0, -0.4), (2.0, 0.4), (2,))
    np.testing.assert_allclose(scaled_action(box, jnp.array([-1.0, 0.5])), [0.0, 0.2], atol=1e-6)
    np.testing.assert_allclose(scaled_action(box, jnp.array([3.0, -9.0])), [2.0, -0.4], atol=1e-6)
    assert int(scaled_action(Discrete(3), jnp.array([0.1, -1.0, 0.4]))) == 2
    assert BraxEnv(MountainCar()).action_size == 1


def test_without_brax_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "brax.envs.base", None)
    monkeypatch.delitem(sys.modules, adapter.__name__)
    with pytest.raises(ConfigError, match="run pip install brax"):
        importlib.import_module(adapter.__name__)
