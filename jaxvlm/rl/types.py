"""Annotations that the files of this package share."""

from typing import TYPE_CHECKING, Any

import jax
from jax.typing import ArrayLike as ArrayLike

if TYPE_CHECKING:
    Leaf = jax.Array
    Number = float | jax.Array
else:
    # A field of a struct holds an array, but while jax maps over the struct also an axis, a shape or a
    # sentinel, which a run-time check of types would refuse.
    Leaf = Number = Any

Params = Any  # nested dict of arrays, as flax.linen makes them
