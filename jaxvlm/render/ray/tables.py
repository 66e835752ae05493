"""Short tables looked up at every pixel: by comparisons where they are very short, as gathers are dear."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

FEW = 6  # alternatives that are chosen between by comparisons


def runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """Value and end of each run of equal values."""
    ends = []
    for index, value in enumerate(values):
        if ends and ends[-1][0] == value:
            ends[-1] = (value, index + 1)
        else:
            ends.append((value, index + 1))
    return ends


def by_slot(slot: jax.Array, values: Sequence[int], otherwise: int) -> jax.Array:
    """A static value of each slot, `otherwise` for the sky; compared with where runs end, as gathers are dear."""
    ends = runs(list(values))
    if len(ends) > FEW:
        return jnp.array([*values, otherwise], jnp.int32)[slot]
    result = jnp.full(slot.shape, otherwise, jnp.int32)
    for value, end in reversed(ends):
        result = jnp.where(slot < end, value, result)
    return result


def choose(index: jax.Array, values: jax.Array | np.ndarray) -> jax.Array:
    """values[index] of a short table [n], by comparisons where it is very short."""
    count = values.shape[0]
    if count > FEW:
        return jnp.asarray(values)[index]
    result = jnp.broadcast_to(jnp.asarray(values[count - 1]), index.shape)
    for i in reversed(range(count - 1)):
        result = jnp.where(index == i, values[i], result)
    return result
