from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.rl import REPLAY_AXES, Rows, buffer_bytes, check_memory, make_replay_buffer, replay_spec
from jaxvlm.rl.buffer import container_memory
from jaxvlm.spaces import Box, Discrete

NUM_ENVS = 2
SPEC = replay_spec(Box(0.0, 1.0, (2,)), Discrete(3))


def make_rows(start, length, num_envs=NUM_ENVS):
    """Rows whose every entry says which (time, environment) it belongs to, and the final observation."""
    time, env = np.meshgrid(np.arange(start, start + length + 1), np.arange(num_envs), indexing="ij")
    observation = np.stack([time, env], axis=-1).astype(np.float32)
    time, env = time[:-1], env[:-1]
    rows = Rows(
        observation=observation[:-1],
        action=((time + env) % 3).astype(np.int32),
        reward=(time * 10 + env).astype(np.float32),
        terminated=time % 5 == 1,
        truncated=time % 7 == 2,
        valid=time % 4 != 3,
        success=np.zeros(time.shape, bool),
        scene=None,
    )
    return rows, observation[-1]


def assert_right(batch, newest, size, num_envs=NUM_ENVS):
    """Compares sampled transitions with what NumPy says the last `size` rows before `newest` hold."""
    time, env = np.asarray(batch.observation).T
    assert time.min() >= newest - size
    assert time.max() < newest
    np.testing.assert_array_equal(batch.next_observation, np.stack([time + 1, env], axis=-1))
    np.testing.assert_array_equal(batch.action, (time + env) % 3)
    np.testing.assert_array_equal(batch.reward, time * 10 + env)
    np.testing.assert_array_equal(batch.terminated, time % 5 == 1)
    np.testing.assert_array_equal(batch.truncated, time % 7 == 2)
    np.testing.assert_array_equal(batch.valid, time % 4 != 3)
    # All stored transitions turn up, about equally often.
    _, counts = np.unique(time * num_envs + env, return_counts=True)
    assert len(counts) == size * num_envs
    expected = len(time) / len(counts)
    assert np.abs(counts - expected).max() < 6 * np.sqrt(expected)


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [3, 7])
def test_random_schedules_against_a_numpy_oracle(capacity):
    rng = np.random.default_rng(capacity)
    buffer = make_replay_buffer(capacity, NUM_ENVS, SPEC)
    state, newest = buffer.init(), 0
    assert not buffer.can_sample(state)
    add, sample = jax.jit(buffer.add), jax.jit(buffer.sample, static_argnums=2)
    for turn in range(20):
        length = int(rng.choice([1, 2, 3]))
        state = add(state, *make_rows(newest, length))
        newest += length
        size = min(newest, capacity)
        assert int(state.size) == size
        assert buffer.can_sample(state)
        assert_right(sample(state, jax.random.key(turn), 2_000), newest, size)


def test_a_rollout_may_fill_the_whole_ring_again_and_again():
    buffer = make_replay_buffer(4, NUM_ENVS, SPEC)
    state = buffer.init()
    add, sample = jax.jit(buffer.add), jax.jit(buffer.sample, static_argnums=2)
    for turn in range(4):
        state = add(state, *make_rows(4 * turn, 4))
        assert_right(sample(state, jax.random.key(turn), 1_000), 4 * turn + 4, 4)


def test_an_empty_buffer_gives_rows_that_weigh_nothing():
    buffer = make_replay_buffer(4, NUM_ENVS, SPEC)
    assert not buffer.sample(buffer.init(), jax.random.key(0), 8).valid.any()


def test_dtypes_are_kept():
    spec = replay_spec(Box(0, 255, (4, 3), np.dtype(np.uint8)), Box(-1.0, 1.0, (2,)))
    data = make_replay_buffer(3, NUM_ENVS, spec).init().data
    assert data.observation.dtype == jnp.uint8
    assert data.observation.shape == (4, NUM_ENVS, 4, 3)
    assert data.action.dtype == jnp.float32
    assert data.terminated.dtype == jnp.bool_


def test_bytes_are_known_before_allocation():
    state = make_replay_buffer(10, 3, SPEC).init()
    assert buffer_bytes(10, 3, SPEC) == sum(leaf.nbytes for leaf in jax.tree.leaves(state.data))
    # 11 slots of 3 environments: observation 8, action 4, reward 4, three flags
    assert buffer_bytes(10, 3, SPEC) == 11 * 3 * (8 + 4 + 4 + 3)


def test_seeds_share_the_counters():
    seeds = 3
    buffer = make_replay_buffer(5, NUM_ENVS, SPEC, num_seeds=seeds)
    add = jax.jit(jax.vmap(buffer.add, in_axes=(REPLAY_AXES, 0, 0), out_axes=REPLAY_AXES))
    sample = jax.jit(jax.vmap(lambda s, k: buffer.sample(s, k, 1_000), in_axes=(REPLAY_AXES, 0)))
    state = buffer.init_seeds(seeds)
    newest = 0
    for length in (3, 3, 3):
        # Seeds differ in the rows' reward only, so the oracle still reads the rest.
        rows, final = make_rows(newest, length)
        stacked = jax.tree.map(lambda x: np.stack([x] * seeds), rows)
        rewards = stacked.reward + np.float32(1_000) * np.arange(seeds, dtype=np.float32)[:, None, None]
        state = add(state, replace(stacked, reward=rewards), np.stack([final] * seeds))
        newest += length
    assert state.cursor.shape == () == state.size.shape
    batches = sample(state, jax.random.split(jax.random.key(0), seeds))
    for seed in range(seeds):
        batch = jax.tree.map(lambda x, seed=seed: x[seed], batches)
        assert_right(replace(batch, reward=batch.reward - 1_000 * seed), newest, 5)


@pytest.mark.parametrize("seeds", [None, 3])
def test_add_writes_in_place(seeds):
    capacity, length = 2_000, 8
    buffer = make_replay_buffer(capacity, NUM_ENVS, SPEC)
    rows = make_rows(0, length)
    add, state, size = buffer.add, jax.eval_shape(buffer.init), buffer_bytes(capacity, NUM_ENVS, SPEC)
    if seeds is not None:
        add = jax.vmap(add, in_axes=(REPLAY_AXES, 0, 0), out_axes=REPLAY_AXES)
        rows = jax.tree.map(lambda x: np.stack([x] * seeds), rows)
        state, size = jax.eval_shape(lambda: buffer.init_seeds(seeds)), size * seeds

    def repeated(state, rows, final):
        return jax.lax.fori_loop(0, 3, lambda _, s: add(s, rows, final), state)

    for function in (add, repeated):
        compiled = jax.jit(function, donate_argnums=0).lower(state, *rows).compile()
        memory = compiled.memory_analysis()
        assert memory.alias_size_in_bytes >= size
        # The smallest array that could be copied whole is a ring of flags, a byte a row.
        assert memory.temp_size_in_bytes < min(size, (seeds or 1) * capacity * NUM_ENVS)


def as_jax(arrays):
    return jax.tree.map(jnp.asarray, arrays)


def test_bad_sizes_and_shapes_are_named():
    for arguments, name in (((0, 1), "capacity"), ((1, 0), "num_envs"), ((1, 1, SPEC, 0), "num_seeds")):
        with pytest.raises(ConfigError, match=f"{name} is 0"):
            make_replay_buffer(*(arguments if len(arguments) > 2 else (*arguments, SPEC)))
    buffer = make_replay_buffer(3, NUM_ENVS, SPEC)
    with pytest.raises(ConfigError, match="rollout of 4 rows"):
        buffer.add(buffer.init(), *as_jax(make_rows(0, 4)))
    with pytest.raises(ConfigError, match=r"observation is float32\[2, 3, 2\]"):
        buffer.add(buffer.init(), *as_jax(make_rows(0, 2, num_envs=3)))
    rows, final = as_jax(make_rows(0, 2))
    with pytest.raises(ConfigError, match="action is float32"):
        buffer.add(buffer.init(), replace(rows, action=rows.action.astype(jnp.float32)), final)
    with pytest.raises(ConfigError, match="batch size is 0"):
        buffer.sample(buffer.init(), jax.random.key(0), 0)


def test_what_does_not_fit_is_refused_before_it_is_allocated():
    with pytest.raises(ConfigError, match=r"needs 19000\d*\.\d GB .* lower the buffer size") as error:
        make_replay_buffer(10**12, 1, SPEC)
    assert "\n" not in str(error.value)
    check_memory(1)


def test_a_containers_limit_counts_as_memory(tmp_path):
    assert container_memory(tmp_path) == []
    second, first = tmp_path / "second", tmp_path / "first" / "memory"
    second.mkdir()
    first.mkdir(parents=True)
    for folder, names, files in (
        (second, ("memory.max", "memory.current"), "inactive_file"),
        (first, ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
    ):
        for name, number in zip(names, (1000, 700), strict=True):
            (folder / name).write_text(f"{number}\n")
        (folder / "memory.stat").write_text(f"anon 600\n{files} 50\n")
    assert container_memory(second) == container_memory(tmp_path / "first") == [350]
    (second / "memory.max").write_text("max\n")  # no limit
    assert container_memory(second) == []
