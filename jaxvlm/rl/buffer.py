"""A replay buffer on the device: a ring over time, [time, env, ...], each observation stored once.

The ring has one slot more than its capacity. Slot `cursor` holds only an observation, the one the newest row
led to; so every stored row has its next observation in the slot after it, the newest included, and no stored
row has a successor that was overwritten.

Seeds: every array gets a leading seed axis while cursor and size stay shared scalars, which keeps the write
a slice update in place instead of a scatter. `vmap` over seeds with `REPLAY_AXES`:

    state = jax.vmap(lambda _: buffer.init(), out_axes=REPLAY_AXES, axis_size=seeds)(None)    # or init_seeds
    add = jax.vmap(buffer.add, in_axes=(REPLAY_AXES, 0, 0), out_axes=REPLAY_AXES)
    sample = jax.vmap(buffer.sample, in_axes=(REPLAY_AXES, 0, None))
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct

from jaxvlm.errors import ConfigError
from jaxvlm.rl.rollout import Rows
from jaxvlm.rl.types import Leaf
from jaxvlm.spaces import Space


@dataclass(frozen=True)
class ReplaySpec:
    """Shape and dtype of one observation and one action."""

    observation: jax.ShapeDtypeStruct
    action: jax.ShapeDtypeStruct


@struct.dataclass
class Transitions:
    """Stored rows, [time, env, ...]."""

    observation: Leaf  # [time, env, ...]
    action: Leaf  # [time, env, ...], in the environment's units
    reward: Leaf  # f32[time, env]
    terminated: Leaf  # bool[time, env]
    truncated: Leaf  # bool[time, env]
    valid: Leaf  # bool[time, env], False in reset rows


@struct.dataclass
class ReplayState:
    """The ring and where it stands."""

    data: Any  # Transitions of capacity + 1 slots
    cursor: Leaf  # i32[], slot the next row goes to; its observation is already there
    size: Leaf  # i32[], rows that can be sampled, for each environment


# How a ReplayState is laid out when seeds are vmapped: arrays batched, counters shared.
REPLAY_AXES: Any = ReplayState(data=0, cursor=None, size=None)  # pyright: ignore


@struct.dataclass
class Batch:
    """Sampled transitions."""

    observation: Leaf  # [B, ...]
    action: Leaf  # [B, ...], in the environment's units
    reward: Leaf  # f32[B]
    next_observation: Leaf  # [B, ...]
    terminated: Leaf  # bool[B]
    truncated: Leaf  # bool[B]
    valid: Leaf  # bool[B], False for reset rows: losses leave them out


@dataclass(frozen=True)
class ReplayBuffer:
    """Pure functions over a `ReplayState`.

    init() -> ReplayState: an empty ring.
    init_seeds(num_seeds) -> ReplayState: arrays with a leading seed axis, laid out as REPLAY_AXES says.
    add(state, rows, final_observation) -> ReplayState: appends rows [T, N, ...]. `final_observation` [N,
    ...] is what
      the last of them led to. Rollouts have to follow each other: the first row's observation is the last
      call's final one.
    sample(state, key, batch_size) -> Batch: uniform over the stored (time, env) rows, with replacement.
    can_sample(state) -> bool[]: whether anything is stored.
    """

    capacity: int  # rows for each environment
    num_envs: int
    spec: ReplaySpec
    init: Callable[[], ReplayState]
    init_seeds: Callable[[int], ReplayState]
    add: Callable[[ReplayState, Rows, jax.Array], ReplayState]
    sample: Callable[[ReplayState, jax.Array, int], Batch]
    can_sample: Callable[[ReplayState], jax.Array]


def replay_spec(observation_space: Space, action_space: Space) -> ReplaySpec:
    """What a buffer has to know of an environment's spaces."""
    return ReplaySpec(
        jax.ShapeDtypeStruct(observation_space.shape, observation_space.dtype),
        jax.ShapeDtypeStruct(action_space.shape, action_space.dtype),
    )


def make_replay_buffer(
    capacity_rows: int, num_envs: int, spec: ReplaySpec, num_seeds: int = 1, check: bool = True
) -> ReplayBuffer:
    """Makes the functions of a ring of `capacity_rows` rows for each of `num_envs` environments.

    Args:
      capacity_rows: rows kept for each environment, reset rows included.
      num_envs: environments of one seed.
      spec: see `replay_spec`.
      num_seeds: how many such rings will be held at once; only the check of memory asks.
      check: whether to check that they fit; False where the functions are wanted and no ring is held.

    Raises:
      ConfigError: a size is not positive, or the rings are larger than the memory that is free.
    """
    validate_replay_buffer(capacity_rows, num_envs, num_seeds)
    if check:
        check_memory(num_seeds * buffer_bytes(capacity_rows, num_envs, spec))
    slots = capacity_rows + 1

    def init() -> ReplayState:
        return ReplayState(
            data=jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), _storage(capacity_rows, num_envs, spec)),
            cursor=jnp.zeros((), jnp.int32),
            size=jnp.zeros((), jnp.int32),
        )

    def init_seeds(num_seeds: int) -> ReplayState:
        return jax.vmap(lambda _: init(), in_axes=0, out_axes=REPLAY_AXES)(jnp.arange(num_seeds))

    def add(state: ReplayState, rows: Rows, final_observation: jax.Array) -> ReplayState:
        length = validate_rows(rows, final_observation, capacity_rows, num_envs, spec)
        new = Transitions(
            observation=jnp.concatenate([rows.observation, final_observation[None]]),
            action=rows.action,
            reward=rows.reward.astype(jnp.float32),
            terminated=rows.terminated,
            truncated=rows.truncated,
            valid=rows.valid,
        )
        return ReplayState(
            data=jax.tree.map(lambda ring, block: _write(ring, block, state.cursor), state.data, new),
            cursor=(state.cursor + length) % slots,
            size=jnp.minimum(state.size + length, capacity_rows),
        )

    def sample(state: ReplayState, key: jax.Array, batch_size: int) -> Batch:
        if batch_size < 1:
            raise ConfigError(f"batch size is {batch_size}; sample at least one transition")
        time_key, env_key = jax.random.split(key)
        # An empty ring yields slot `cursor - 1`, whose valid flag is False: its batch weighs nothing.
        age = jax.random.randint(time_key, (batch_size,), 1, jnp.maximum(state.size, 1) + 1)
        env = jax.random.randint(env_key, (batch_size,), 0, num_envs)
        slot = (state.cursor - age) % slots
        data = state.data
        return Batch(
            observation=data.observation[slot, env],
            action=data.action[slot, env],
            reward=data.reward[slot, env],
            next_observation=data.observation[(slot + 1) % slots, env],
            terminated=data.terminated[slot, env],
            truncated=data.truncated[slot, env],
            valid=data.valid[slot, env],
        )

    def can_sample(state: ReplayState) -> jax.Array:
        return state.size > 0

    return ReplayBuffer(capacity_rows, num_envs, spec, init, init_seeds, add, sample, can_sample)


def _storage(capacity_rows: int, num_envs: int, spec: ReplaySpec) -> Any:
    """Shapes and dtypes of the ring, a Transitions of ShapeDtypeStruct."""

    def ring(shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((capacity_rows + 1, num_envs, *shape), dtype)

    leaves: Any = (
        ring(spec.observation.shape, spec.observation.dtype),
        ring(spec.action.shape, spec.action.dtype),
        ring((), jnp.float32),
        *(ring((), jnp.bool_) for _ in range(3)),
    )
    return Transitions(*leaves)


def _write(ring: jax.Array, block: jax.Array, cursor: jax.Array) -> jax.Array:
    """Puts `block` [L, ...] into `ring` [R, ...] from slot `cursor` on, wrapping around; L <= R.

    A slice update cannot wrap, and its start is clamped. So the block is rotated by the overhang and written
    twice, at the end of the ring and at its start, each time keeping what is not new. Both are slice updates
    of L rows, in place.
    """
    length, slots = block.shape[0], ring.shape[0]
    start = jnp.minimum(cursor, slots - length)
    overhang = cursor - start  # 0 without a wrap
    rotated = jnp.roll(block, overhang, axis=0)
    is_head = (jnp.arange(length) >= overhang).reshape((length,) + (1,) * (ring.ndim - 1))
    # Without a wrap the second update rewrites what is there, so one program serves both cases.
    end = jax.lax.dynamic_slice_in_dim(ring, start, length)
    ring = jax.lax.dynamic_update_slice_in_dim(ring, jnp.where(is_head, rotated, end), start, 0)
    return jax.lax.dynamic_update_slice_in_dim(ring, jnp.where(is_head, ring[:length], rotated), 0, 0)


def buffer_bytes(capacity_rows: int, num_envs: int, spec: ReplaySpec) -> int:
    """Bytes of one ring, before anything is allocated."""
    leaves = jax.tree.leaves(_storage(capacity_rows, num_envs, spec))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)


def free_memory(device: Any = None) -> int | None:
    """Bytes that can still be allocated on `device` (the default device if None); None where nobody tells."""
    device = jax.devices()[0] if device is None else device
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else None
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        # MemAvailable counts the page cache that the kernel would give back; sysconf's free pages do not.
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        if "MemAvailable" in fields:
            available = int(fields["MemAvailable"].split()[0]) * 1024
            return min([available, *container_memory()])
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def container_memory(root: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """Bytes that a container's limit leaves, by control groups of either version; nothing where there is no limit."""
    left = []
    for limit, usage, statistics, cache in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        try:
            most, used = int((root / limit).read_text()), int((root / usage).read_text())
            counted = dict(line.split() for line in (root / statistics).read_text().splitlines())
        except (OSError, ValueError):  # no such file, or "max"
            continue
        # Files that were read count as used and are given back.
        left.append(max(0, most - used + int(counted.get(cache, 0))))
    return left


def check_memory(num_bytes: int, device: Any = None) -> None:
    """Raises ConfigError, with the sizes and what to lower, if `num_bytes` do not fit into `device`."""
    free = free_memory(device)
    if free is not None and num_bytes > free:
        raise ConfigError(
            f"the replay buffer needs {num_bytes / 1e9:.1f} GB and {free / 1e9:.1f} GB of memory are free; "
            "lower the buffer size, the number of seeds or the number of environments"
        )


def validate_replay_buffer(capacity_rows: int, num_envs: int, num_seeds: int) -> None:
    """Raises ConfigError unless all sizes are positive."""
    for name, value in (("capacity", capacity_rows), ("num_envs", num_envs), ("num_seeds", num_seeds)):
        if value < 1:
            raise ConfigError(f"replay buffer {name} is {value}; it has to be at least 1")


def validate_rows(
    rows: Rows, final_observation: jax.Array, capacity_rows: int, num_envs: int, spec: ReplaySpec
) -> int:
    """Checks shapes and dtypes of what is added and returns its number of rows; raises ConfigError."""
    length = rows.reward.shape[0]
    if length > capacity_rows:
        raise ConfigError(
            f"a rollout of {length} rows does not fit a buffer of {capacity_rows} rows for each environment; "
            "enlarge the buffer or shorten the rollout"
        )
    batch = (length, num_envs)
    wanted = {
        "observation": (rows.observation, (*batch, *spec.observation.shape), spec.observation.dtype),
        "final observation": (final_observation, (num_envs, *spec.observation.shape), spec.observation.dtype),
        "action": (rows.action, (*batch, *spec.action.shape), spec.action.dtype),
        "reward": (rows.reward, batch, rows.reward.dtype),
        "terminated": (rows.terminated, batch, jnp.bool_),
        "truncated": (rows.truncated, batch, jnp.bool_),
        "valid": (rows.valid, batch, jnp.bool_),
    }
    for name, (array, shape, dtype) in wanted.items():
        if array.shape != shape or array.dtype != dtype:
            raise ConfigError(
                f"{name} is {array.dtype}{list(array.shape)} and {jnp.dtype(dtype)}{list(shape)} was wanted; "
                "make the buffer from the spaces of this environment"
            )
    return length
