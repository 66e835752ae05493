import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.rl import discounted_returns, finished_mean, first_episode, running_returns

T, N, DISCOUNT = 40, 3, 0.9


def rollout(seed=0):
    """Random rewards, with reset rows (reward 99, never to be counted) after random ends."""
    rng = np.random.default_rng(seed)
    reward = rng.normal(size=(T, N)).astype(np.float32)
    done, valid = np.zeros((T, N), bool), np.ones((T, N), bool)
    for env in range(N):
        for time in range(T):
            if time and done[time - 1, env]:
                valid[time, env], reward[time, env] = False, 99.0
            else:
                done[time, env] = rng.random() < 0.2
    return jnp.asarray(reward), jnp.asarray(done), jnp.asarray(valid)


@pytest.mark.parametrize("jit", [False, True])
def test_running_returns_match_a_loop_and_carry_over_rollouts(jit):
    arrays = rollout()
    reward, done, valid = map(np.asarray, arrays)
    expected, total = np.zeros((T, N)), np.zeros(N)
    for time in range(T):
        total += np.where(valid[time], reward[time], 0.0)
        expected[time] = total
        total = np.where(done[time], 0.0, total)
    function = jax.jit(running_returns) if jit else running_returns
    totals, carried = function(*arrays, jnp.zeros(N))
    np.testing.assert_allclose(totals, expected, atol=1e-5)
    np.testing.assert_allclose(carried, total, atol=1e-5)
    half = T // 2
    first, carried = function(*(x[:half] for x in arrays), jnp.zeros(N))
    second, _ = function(*(x[half:] for x in arrays), carried)
    np.testing.assert_allclose(np.concatenate([first, second]), expected, atol=1e-5)


@pytest.mark.parametrize("next_value", [None, np.array([1.0, -2.0, 3.0], np.float32)])
def test_discounted_returns_match_a_loop(next_value):
    arrays = rollout(1)
    reward, done, valid = map(np.asarray, arrays)
    expected = np.zeros((T, N))
    for env in range(N):
        for time in range(T):
            if not valid[time, env]:
                continue
            weight, end = 1.0, time
            while True:
                expected[time, env] += weight * reward[end, env]
                weight *= DISCOUNT
                if done[end, env]:
                    break
                end += 1
                if end == T:
                    expected[time, env] += 0.0 if next_value is None else weight * next_value[env]
                    break
    next_value = None if next_value is None else jnp.asarray(next_value)
    np.testing.assert_allclose(discounted_returns(*arrays, DISCOUNT, next_value), expected, atol=1e-5)


def test_first_episode_ends_with_its_done_row():
    done = jnp.array([[0, 0], [1, 0], [0, 0], [1, 0]], bool)
    np.testing.assert_array_equal(first_episode(done), [[1, 1], [1, 1], [0, 1], [0, 1]])


def test_mean_over_finished_episodes():
    values = jnp.array([[1.0, 2.0], [3.0, 100.0]])
    assert finished_mean(values, jnp.array([[1, 0], [1, 0]], bool)) == 2.0
    assert jnp.isnan(finished_mean(values, jnp.zeros((2, 2), bool)))
