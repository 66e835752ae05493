import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rl.diagnostic_envs import Counter

from jaxvlm.errors import ConfigError
from jaxvlm.rl import collect, env_keys, init_rollout, random_policy
from jaxvlm.spaces import Discrete


def noisy_policy(observation, key):
    return jax.random.randint(key, observation.shape[:1], 0, 1_000)


def roll(env, length, num_envs=2, policy=noisy_policy, first=0, state=None, seed=1, **options):
    if state is None:
        state = jax.jit(lambda key: init_rollout(env, None, env_keys(key, num_envs, first)))(
            jax.random.key(0)
        )
    # One program for each length and shape instead of dozens of small ones.
    run = jax.jit(lambda state, key: collect(env, None, policy, state, key, length, first, **options))
    return run(state, jax.random.key(seed))


def test_the_row_after_an_end_is_a_reset_row_holding_the_true_final_observation():
    env = Counter(terminate_at=2)
    state, rows = roll(env, 7)
    time = np.asarray(rows.observation[:, 0, 1])
    np.testing.assert_array_equal(time, [0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(rows.terminated[:, 0], [0, 1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(rows.valid[:, 0], [1, 1, 0, 1, 1, 0, 1])
    np.testing.assert_array_equal(rows.reward[:, 0], [1, 2, 0, 1, 2, 0, 1])
    np.testing.assert_array_equal(rows.success[:, 0], [0, 1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(rows.scene["time"][:, 0], [1, 2, 0, 1, 2, 0, 1])
    assert not rows.truncated.any()
    # Each row's next observation is the one below it; the state holds the last.
    np.testing.assert_array_equal(state.observation[:, 1], [1, 1])
    np.testing.assert_array_equal(rows.done, rows.terminated)


def test_truncation_stays_apart_from_termination():
    _, rows = roll(Counter(truncate_at=2), 4)
    np.testing.assert_array_equal(rows.truncated[:, 0], [0, 1, 0, 0])
    np.testing.assert_array_equal(rows.valid[:, 0], [1, 1, 0, 1])
    assert not rows.terminated.any()


def test_a_step_whose_physics_diverged_ends_its_episode_and_is_not_valid():
    _, rows = roll(Counter(terminate_at=3, diverge_at=2), 6)
    np.testing.assert_array_equal(rows.diverged[:, 0], [0, 1, 0, 0, 1, 0])
    np.testing.assert_array_equal(rows.valid[:, 0], [1, 0, 0, 1, 0, 0])  # the row after is its reset row
    np.testing.assert_array_equal(rows.truncated[:, 0], rows.diverged[:, 0])
    np.testing.assert_array_equal(rows.reward[:, 0], [1, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(rows.observation[:, 0, 1], [0, 1, 2, 0, 1, 2])
    assert not rows.terminated.any()
    assert not rows.success.any()
    assert not roll(Counter(terminate_at=3), 6)[1].diverged.any()


def test_each_reset_draws_a_new_state_and_environments_differ():
    _, rows = roll(Counter(terminate_at=1), 6, num_envs=4)
    starts = np.asarray(rows.observation[::2, :, 0])
    assert len(np.unique(starts)) == starts.size


@pytest.mark.slow
def test_a_rollout_goes_on_where_the_last_one_stopped():
    env = Counter(terminate_at=3)
    state, first = roll(env, 4)
    _, second = roll(env, 3, state=state, seed=2)
    np.testing.assert_array_equal(first.observation[:, 0, 1], [0, 1, 2, 3])
    np.testing.assert_array_equal(first.valid[:, 0], [1, 1, 1, 0])
    np.testing.assert_array_equal(second.observation[:, 0, 1], [0, 1, 2])

    # An episode that ends with the last row resets in the first row of the next rollout.
    state, _ = roll(env, 3)
    assert state.done.all()
    _, second = roll(env, 2, state=state, seed=2)
    np.testing.assert_array_equal(second.observation[:, 0, 1], [3, 0])
    np.testing.assert_array_equal(second.valid[:, 0], [0, 1])


@pytest.mark.slow
def test_any_partition_of_the_environments_draws_the_same_numbers():
    env = Counter(terminate_at=2)
    _, whole = roll(env, 5, num_envs=4)
    parts = [roll(env, 5, num_envs=2, first=first)[1] for first in (0, 2)]
    joined = jax.tree.map(lambda *x: jnp.concatenate(x, axis=1), *parts)
    jax.tree.map(np.testing.assert_array_equal, whole, joined)
    assert len(np.unique(np.asarray(whole.action))) > 15


@pytest.mark.slow
def test_a_lasting_key_lasts_and_changes_at_other_rows_in_each_environment():
    def policy(observation, key, lasting_key):
        return 1000 * jax.random.randint(lasting_key, (1,), 0, 10**6) + jax.random.randint(key, (1,), 0, 1000)

    _, rows = roll(Counter(terminate_at=50), 12, num_envs=3, policy=policy, hold=4)
    lasting, fresh = np.divmod(np.asarray(rows.action), 1000)
    for env in range(3):
        changes = 1 + np.flatnonzero(np.diff(lasting[:, env]))
        np.testing.assert_array_equal(changes, [k for k in range(1, 12) if (k + env) % 4 == 0])
        assert len(np.unique(fresh[:, env])) > 9
    assert len(np.unique(lasting)) == 3 + 4 + 4
    parts = [roll(Counter(terminate_at=50), 12, 1, policy, first, hold=4)[1] for first in range(3)]
    np.testing.assert_array_equal(np.concatenate([part.action for part in parts], axis=1), rows.action)


def test_scenes_are_left_out_on_request():
    _, rows = roll(Counter(terminate_at=2), 2, scenes=False)
    assert rows.scene is None


def test_random_policy_draws_from_the_space():
    _, rows = roll(Counter(terminate_at=5), 50, policy=random_policy(Discrete(3)))
    assert rows.action.dtype == jnp.int32
    np.testing.assert_array_equal(np.unique(np.asarray(rows.action)), [0, 1, 2])


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="length is 0"):
        roll(Counter(), 0)
    with pytest.raises(ConfigError, match="hold is 0"):
        roll(Counter(), 1, hold=0)
    with pytest.raises(ValueError, match="first axis"):
        roll(Counter(), 1, policy=lambda observation, key: jnp.zeros(2))
