"""Rays against MuJoCo's primitive shapes: where a ray enters one, and whether one blocks the light.

Functions broadcast quantities of pixels against those of geoms, [p, 1] against [g] or [p] against one geom;
`over_geoms` reduces the results over geoms, so that XLA never stores a [p, g] array. Spheres are capsules of length
zero.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxvlm.render.ray.vectors import Vec, add, along, cross, dot, scale, sub

MISS = 1e30  # distance of what is not hit, m
Pixels = Any  # a pytree of arrays


class Shapes(NamedTuple):
    """Geoms of one kind, in the world."""

    center: Vec  # f32[g] each, m
    axes: tuple[Vec, Vec, Vec]  # f32[g] each, the geom's x, y and z axis
    size: (
        Vec  # f32[g] each, m; (radius, radius, half length), semi-axes or half sides; 0 for an endless plane
    )


def over_geoms(
    better: Callable[[jax.Array, jax.Array], jax.Array],
    best: jax.Array,
    value: Callable[[Pixels, Shapes, jax.Array], jax.Array],
    pixels: Pixels,
    shapes: Shapes,
    start: int,
) -> jax.Array:
    """The best value that geoms of a group have for each pixel.

    A CPU takes one geom after the other, with pixels in its vector lanes: 17 geoms would fill them badly. Elsewhere
    all of them feed one reduction, so that no array of all pairs is stored.

    Args:
      better: `jnp.minimum` or `jnp.maximum`.
      best: [p], of the groups before.
      value: of pixels, shapes and their slots, whose arrays broadcast against each other.
      pixels: [p] each, or scalars.
      shapes: of the group.
      start: slot of its first geom.
    """
    count = shapes.size[0].shape[0]

    def in_turn(best: jax.Array, pixels: Pixels, shapes: Shapes) -> jax.Array:
        def next_geom(index: jax.Array, best: jax.Array) -> jax.Array:
            one = jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, index, keepdims=False), shapes)
            return better(best, value(pixels, one, start + index))

        return jax.lax.fori_loop(0, count, next_geom, best)

    def at_once(best: jax.Array, pixels: Pixels, shapes: Shapes) -> jax.Array:
        wide = jax.tree.map(lambda a: a[..., None], pixels)
        values = value(wide, shapes, jnp.arange(start, start + count))
        return better(best, (jnp.min if better is jnp.minimum else jnp.max)(values, axis=-1))

    return jax.lax.platform_dependent(best, pixels, shapes, cpu=in_turn, default=at_once)


def to_local(shapes: Shapes, a: Vec) -> Vec:
    """Components of a world vector along the axes of geoms."""
    return dot(a, shapes.axes[0]), dot(a, shapes.axes[1]), dot(a, shapes.axes[2])


def enter_plane(origin: Vec, direction: Vec, shapes: Shapes) -> jax.Array:
    """Distance to rectangles seen from the side that their z axis points to."""
    offset = to_local(shapes, sub(origin, shapes.center))
    slope = dot(direction, shapes.axes[2])
    distance = -offset[2] / jnp.where(slope < 0.0, slope, -1e-9)
    inside = (slope < 0.0) & (offset[2] > 0.0)
    for i in range(2):
        place = offset[i] + distance * dot(direction, shapes.axes[i])
        inside &= (shapes.size[i] <= 0.0) | (jnp.abs(place) <= shapes.size[i])
    return jnp.where(inside, distance, MISS)


def enter_round(origin: Vec, direction: Vec, shapes: Shapes) -> jax.Array:
    """Distance to capsules: to the sphere around the axis point where the ray enters the endless cylinder.

    With every length measured from the ray there is no difference of large squares, so float32 is enough.
    """
    axis = shapes.axes[2]
    offset = sub(origin, shapes.center)
    start = dot(offset, axis)
    side = cross(axis, offset)
    e, f, s = dot(direction, axis), dot(direction, offset), dot(direction, side)
    radius2 = shapes.size[0] * shapes.size[0]
    a = jnp.maximum(1.0 - e * e, 1e-7)
    b = f - start * e
    inverse = 1.0 / a
    entry = (-b - jnp.sqrt(jnp.maximum(a * radius2 - s * s, 0.0))) * inverse
    on_axis = jnp.clip(start + entry * e, -shapes.size[2], shapes.size[2])
    q = a * (on_axis - start) + b * e
    half2 = radius2 - (s * s + q * q) * inverse
    # To a thousandth of a radian along the axis that quotient is rounding, and the ray is as far away as its start.
    half2 = jnp.where(a < 1e-6, radius2 - dot(side, side), half2)
    distance = on_axis * e - f - jnp.sqrt(jnp.maximum(half2, 0.0))
    return jnp.where((half2 > 0.0) & (distance > 0.0), distance, MISS)


def _slab(origin: jax.Array, direction: jax.Array, half: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where a ray enters and leaves |x| < half."""
    inverse = 1.0 / jnp.where(jnp.abs(direction) > 1e-9, direction, 1e-9)
    middle, reach = -origin * inverse, jnp.abs(half * inverse)
    return middle - reach, middle + reach


def _box_interval(origin: Vec, direction: Vec, size: Vec) -> tuple[jax.Array, jax.Array]:
    slabs = [_slab(o, d, s) for o, d, s in zip(origin, direction, size, strict=True)]
    near = jnp.maximum(jnp.maximum(slabs[0][0], slabs[1][0]), slabs[2][0])
    far = jnp.minimum(jnp.minimum(slabs[0][1], slabs[1][1]), slabs[2][1])
    return near, far


def _cylinder_interval(origin: Vec, direction: Vec, size: Vec) -> tuple[jax.Array, jax.Array]:
    a = jnp.maximum(direction[0] * direction[0] + direction[1] * direction[1], 1e-12)
    b = origin[0] * direction[0] + origin[1] * direction[1]
    s = origin[0] * direction[1] - origin[1] * direction[0]
    half2 = a * size[0] * size[0] - s * s
    half = jnp.sqrt(jnp.maximum(half2, 0.0))
    near, far = _slab(origin[2], direction[2], size[2])
    near = jnp.maximum(near, (-b - half) / a)
    # Along the axis s says nothing: a ray that starts beside the cylinder stays there.
    beside = (a <= 1e-12) & (origin[0] * origin[0] + origin[1] * origin[1] >= size[0] * size[0])
    far = jnp.where((half2 > 0.0) & ~beside, jnp.minimum(far, (half - b) / a), -MISS)
    return near, far


def _ellipsoid_interval(origin: Vec, direction: Vec, size: Vec) -> tuple[jax.Array, jax.Array]:
    """In units of the semi-axes the ellipsoid is the unit sphere."""
    o = (origin[0] / size[0], origin[1] / size[1], origin[2] / size[2])
    d = (direction[0] / size[0], direction[1] / size[1], direction[2] / size[2])
    inverse = 1.0 / dot(d, d)
    middle = -dot(o, d) * inverse
    closest = along(o, d, middle)
    half2 = 1.0 - dot(closest, closest)
    reach = jnp.sqrt(jnp.maximum(half2, 0.0) * inverse)
    return middle - reach, jnp.where(half2 > 0.0, middle + reach, -MISS)


INTERVALS = {"box": _box_interval, "cylinder": _cylinder_interval, "ellipsoid": _ellipsoid_interval}


def enter(kind: str, origin: Vec, direction: Vec, shapes: Shapes) -> jax.Array:
    """Distance along unit `direction` at which a ray enters geoms of one kind, `MISS` where it does not.

    A ray that starts inside a geom misses it, as OpenGL culls faces seen from behind.
    """
    if kind == "plane":
        return enter_plane(origin, direction, shapes)
    if kind == "round":
        return enter_round(origin, direction, shapes)
    near, far = INTERVALS[kind](
        to_local(shapes, sub(origin, shapes.center)), to_local(shapes, direction), shapes.size
    )
    return jnp.where((near < far) & (near > 0.0), near, MISS)


def _blocked_round(point: Vec, light: Vec, shapes: Shapes, below: jax.Array) -> jax.Array:
    """As `blocked`, for capsules: in the plane across the light a capsule is a line segment with a radius."""
    axis = shapes.axes[2]
    # Two unit vectors across the light, made without a branch at the poles (Duff et al. 2017).
    sign = jnp.where(light[2] >= 0.0, 1.0, -1.0)
    a = -1.0 / (sign + light[2])
    b = light[0] * light[1] * a
    across = (1.0 + sign * light[0] * light[0] * a, sign * b, -sign * light[0])
    up = (b, sign + light[1] * light[1] * a, -light[1])
    u1, u2, u3 = dot(axis, across), dot(axis, up), dot(axis, light)
    inverse = 1.0 / jnp.maximum(u1 * u1 + u2 * u2, 1e-12)
    v1 = dot(point, across) - dot(shapes.center, across)
    v2 = dot(point, up) - dot(shapes.center, up)
    on_axis = jnp.clip((v1 * u1 + v2 * u2) * inverse, -shapes.size[2], shapes.size[2])
    x, y = v1 - on_axis * u1, v2 - on_axis * u2
    middle = dot(shapes.center, light) - dot(point, light) + on_axis * u3
    half2 = shapes.size[0] * shapes.size[0] - x * x - y * y
    # A convex geom around a point outside lies ahead of it as a whole or behind it as a whole.
    clear = below - middle + jnp.sqrt(jnp.maximum(half2, 0.0))
    return jnp.minimum(jnp.minimum(half2, middle), clear)


def blocked(kind: str, point: Vec, light: Vec, shapes: Shapes, below: jax.Array) -> jax.Array:
    """Above 0 where geoms stand between points outside them and a distant light.

    Args:
      kind: of the geoms.
      point: f32[p] each, or f32[p, 1], on surfaces.
      light: f32[] each, unit vector towards the light.
      shapes: the geoms.
      below: as one of `point`, how far the light's own plane is from the points; only what is entered before it counts.
    """
    if kind == "round":
        return _blocked_round(point, light, shapes, below)
    if kind == "plane":
        offset = to_local(shapes, sub(point, shapes.center))
        slope = dot(light, shapes.axes[2])
        distance = -offset[2] / jnp.where(jnp.abs(slope) > 1e-9, slope, 1e-9)
        inside = (distance > 1e-4) & (distance < below)
        for i in range(2):
            place = offset[i] + distance * dot(light, shapes.axes[i])
            inside &= (shapes.size[i] <= 0.0) | (jnp.abs(place) <= shapes.size[i])
        return jnp.where(inside, 1.0, -1.0)
    near, far = INTERVALS[kind](
        to_local(shapes, sub(point, shapes.center)), to_local(shapes, light), shapes.size
    )
    return jnp.minimum(jnp.minimum(far - near, far), below - near)


def mirrored(a: Vec, center: Vec, normal: Vec) -> Vec:
    """A point on the other side of the plane through `center`."""
    return sub(a, scale(normal, 2.0 * dot(sub(a, center), normal)))


def mirrored_direction(a: Vec, normal: Vec) -> Vec:
    """A direction as seen in a mirror."""
    return add(a, scale(normal, -2.0 * dot(a, normal)))
