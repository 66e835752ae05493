"""The benchmark's Pendulum against gymnasium's."""

import importlib.util
from pathlib import Path

import gymnasium
import jax
import numpy as np

PATH = Path(__file__).parents[2] / "benchmarks" / "pendulum.py"


def load():
    spec = importlib.util.spec_from_file_location("pendulum", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_hundred_steps_equal_gymnasiums():
    pendulum = load()
    env = pendulum.Pendulum()
    params = env.default_params
    reference = gymnasium.make("Pendulum-v1").unwrapped
    step = jax.jit(env.step)
    rng = np.random.default_rng(0)
    observation, _ = reference.reset(seed=1)
    state = pendulum.PendulumState(*np.asarray(reference.state, np.float32))
    for _ in range(200):
        action = rng.uniform(-3, 3, 1).astype(np.float32)  # beyond the bounds at times
        # From the same state each time, so that rounding does not pile up.
        state = pendulum.PendulumState(*np.asarray(reference.state, np.float32))
        observation, reward, terminated, _, _ = reference.step(action)
        got, state, got_reward, got_terminated, got_truncated, _ = step(None, state, action, params)
        np.testing.assert_allclose(got, observation, atol=1e-4)
        np.testing.assert_allclose(got_reward, reward, rtol=1e-4, atol=1e-3)
        assert not any((terminated, got_terminated, got_truncated))


def test_resets_fill_gymnasiums_range():
    pendulum = load()
    env = pendulum.Pendulum()
    keys = jax.random.split(jax.random.key(0), 2_000)
    _, state = jax.jit(jax.vmap(env.reset, in_axes=(0, None)))(keys, env.default_params)
    assert abs(np.abs(state.theta).max() - np.pi) < 0.05
    assert abs(np.abs(state.theta_dot).max() - 1.0) < 0.02
    assert abs(np.mean(state.theta)) < 0.15
