"""Observation and action spaces, shared by environments and algorithms."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Discrete:
    """The integers 0 .. n-1 as an int32 scalar."""

    n: int

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.int32)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws a uniform element, i32[]."""
        return jax.random.randint(key, (), 0, self.n, dtype=jnp.int32)

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether `x` lies in the space, bool[]."""
        return (x >= 0) & (x < self.n)


@dataclass(frozen=True)
class Box:
    """Float arrays of `shape` with element-wise bounds; a scalar bound holds for every element."""

    low: float | tuple[float, ...]
    high: float | tuple[float, ...]
    shape: tuple[int, ...]
    dtype: np.dtype = field(default=np.dtype(np.float32))

    def low_array(self) -> np.ndarray:
        """Lower bounds, dtype[shape]."""
        return np.broadcast_to(np.asarray(self.low, self.dtype), self.shape)

    def high_array(self) -> np.ndarray:
        """Upper bounds, dtype[shape]."""
        return np.broadcast_to(np.asarray(self.high, self.dtype), self.shape)

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws uniformly between the bounds, dtype[shape]; the bounds have to be finite."""
        return jax.random.uniform(key, self.shape, self.dtype, self.low_array(), self.high_array())

    def contains(self, x: jax.Array) -> jax.Array:
        """Whether `x` lies in the space, bool[]."""
        return jnp.all((x >= self.low_array()) & (x <= self.high_array()))


Space = Discrete | Box
