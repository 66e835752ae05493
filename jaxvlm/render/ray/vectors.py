"""Vectors as triples of arrays: no array here ends in an axis of three, which would waste vector lanes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Vec = tuple[jax.Array, jax.Array, jax.Array]


def each(function: Callable[..., jax.Array], *vectors: Vec) -> Vec:
    """A function of components, component by component."""
    x, y, z = (function(*components) for components in zip(*vectors, strict=True))
    return x, y, z


def dot(a: Vec, b: Vec) -> jax.Array:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def cross(a: Vec, b: Vec) -> Vec:
    """Vector product."""
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def add(a: Vec, b: Vec) -> Vec:
    """Sum."""
    return a[0] + b[0], a[1] + b[1], a[2] + b[2]


def sub(a: Vec, b: Vec) -> Vec:
    """Difference."""
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


def scale(a: Vec, factor: jax.Array | float) -> Vec:
    """Product with a number."""
    return a[0] * factor, a[1] * factor, a[2] * factor


def along(origin: Vec, direction: Vec, distance: jax.Array) -> Vec:
    """The point at `distance` on a ray."""
    return add(origin, scale(direction, distance))


def normalized(a: Vec) -> Vec:
    """The same direction with length one."""
    return scale(a, jax.lax.rsqrt(jnp.maximum(dot(a, a), 1e-30)))


def split(a: Float[Array, "*batch 3"]) -> Vec:
    """An array that ends in three, as a triple."""
    return a[..., 0], a[..., 1], a[..., 2]


def rotate(quaternion: tuple[jax.Array, Vec], a: Vec) -> Vec:
    """Turns by a unit quaternion (w, xyz): v + 2 w (q x v) + 2 q x (q x v)."""
    w, axis = quaternion
    once = scale(cross(axis, a), 2.0)
    return add(add(a, scale(once, w)), cross(axis, once))


def rotate_back(quaternion: tuple[jax.Array, Vec], a: Vec) -> Vec:
    """Turns by the inverse of a unit quaternion."""
    return rotate((-quaternion[0], quaternion[1]), a)


def columns_of(quaternion: Float[Array, "n 4"]) -> tuple[Vec, Vec, Vec]:
    """The three axes of the frames of unit quaternions wxyz: columns of their rotation matrices."""
    w, x, y, z = (quaternion[:, i] for i in range(4))
    return (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y)),
        (2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x)),
        (2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)),
    )


def quaternion_of(matrix: Float[Array, "*batch 3 3"]) -> Float[Array, "*batch 4"]:
    """Unit quaternion wxyz of rotation matrices, accurate for every angle.

    Every row of the symmetric 4 x 4 matrix q q^T, whose entries are sums of the rotation's, is the quaternion times
    one of its entries; the row with the largest diagonal is the one to divide by.
    """
    m = matrix
    trace = m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]
    diagonal = [trace, m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]]
    ww, xx, yy, zz = (
        1.0 + trace,
        *(1.0 + 2.0 * d - trace for d in diagonal[1:]),
    )
    wx, wy, wz = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    xy, xz, yz = (
        m[..., 0, 1] + m[..., 1, 0],
        m[..., 0, 2] + m[..., 2, 0],
        m[..., 1, 2] + m[..., 2, 1],
    )
    rows = jnp.stack(
        [
            jnp.stack(row, axis=-1)
            for row in ([ww, wx, wy, wz], [wx, xx, xy, xz], [wy, xy, yy, yz], [wz, xz, yz, zz])
        ],
        axis=-2,
    )
    best = jnp.argmax(jnp.stack([ww, xx, yy, zz], axis=-1), axis=-1)
    row = jnp.take_along_axis(rows, best[..., None, None], axis=-2)[..., 0, :]
    return row / jnp.linalg.norm(row, axis=-1, keepdims=True)


def keep(a: jax.Array, one: jax.Array) -> jax.Array:
    """The same numbers, stored: XLA on CPU repeats what is cheap in every loop that needs it, but not a quotient.

    Args:
      a: floats, or integers below 2^24.
      one: f32[], a 1 that the compiler does not know.
    """
    if jnp.issubdtype(a.dtype, jnp.integer):
        return (a.astype(jnp.float32) / one).astype(a.dtype)
    return a / one


def keep_vector(a: Vec, one: jax.Array) -> Vec:
    """`keep` of three."""
    return keep(a[0], one), keep(a[1], one), keep(a[2], one)


@jax.custom_jvp
def settle(values: tuple[jax.Array, ...], one: jax.Array) -> tuple[jax.Array, ...]:
    """The same values, computed one by one before anything that needs them, where XLA would rather not.

    On CPU a loop that never runs, which the compiler cannot know, takes them as its state; elsewhere nothing happens.
    """

    def never(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        return jax.lax.while_loop(lambda _: one > 2.0, lambda s: tuple(-x for x in s), state)

    return jax.lax.platform_dependent(values, cpu=never, default=lambda state: state)


@settle.defjvp
def _settle_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    """Derivatives pass as if nothing were there; through the loop there would be none in reverse mode."""
    return settle(*primals), tangents[0]
