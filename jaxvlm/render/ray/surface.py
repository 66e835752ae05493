"""What a pixel sees of the geom that it hits: point, normal, paint and texture."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.render.ray.assets import KINDS, RayAssets, RaySpec
from jaxvlm.render.ray.cameras import Rays
from jaxvlm.render.ray.mapping import texture_colour
from jaxvlm.render.ray.scene import RayScene
from jaxvlm.render.ray.tables import by_slot, choose
from jaxvlm.render.ray.vectors import (
    Vec,
    along,
    each,
    keep,
    keep_vector,
    normalized,
    rotate,
    rotate_back,
    scale,
    settle,
    sub,
)


class Surface(NamedTuple):
    """Surfaces as pixels see them, f32[p] each."""

    point: Vec
    normal: Vec
    slot: jax.Array  # i32[p]; the number of slots for the sky
    rgb: Vec  # of the paint
    emission: jax.Array
    specular: jax.Array
    shininess: jax.Array
    texture: Vec  # what light is multiplied by, and the sky's colour


def surface_at(
    scene: RayScene,
    assets: RayAssets,
    rays: Rays,
    distance: jax.Array,
    slot: jax.Array,
    sky: bool = True,
    dim: jax.Array | float = 1.0,
) -> Surface:
    """Reads what is needed to shade from the geoms that rays hit.

    Args:
      scene: poses.
      assets: of the model.
      rays: one a pixel.
      distance: f32[p], to the geom.
      slot: i32[p], of the geom; the number of slots for none.
      sky: whether rays that hit nothing see the sky; else black.
      dim: what the paint's colour is multiplied by, as reflections are.
    """
    spec = assets.spec
    count = len(spec.geoms)
    hit = slot < count
    index = np.array(spec.geoms)
    record = jnp.concatenate(
        [scene.geom_pos[index], scene.geom_quat[index], assets.size], axis=1
    )  # [slots, 10]
    (row,) = settle((jnp.minimum(slot, count - 1),), assets.one)
    cx, cy, cz, qw, qx, qy, qz, sx, sy, sz = (
        keep(column, assets.one)
        for column in (record[:, i].at[row].get(mode="promise_in_bounds") for i in range(10))
    )
    quaternion = (qw, (qx, qy, qz))
    size = (sx, sy, sz)
    distance = jnp.where(hit, distance, 1.0)
    point = along(rays.origin, rays.direction, distance)
    local = keep_vector(rotate_back(quaternion, sub(point, (cx, cy, cz))), assets.one)
    kind = by_slot(slot, [KINDS.index(k) for k in spec.kinds], 0)
    local_normal = keep_vector(_normal(spec, kind, local, size), assets.one)
    normal = keep_vector(rotate(quaternion, local_normal), assets.one)
    paint = by_slot(slot, spec.paints, 0)
    red, green, blue = (choose(paint, assets.rgb[:, i] * dim) for i in range(3))
    emission, specular, shininess = (choose(paint, assets.finish[:, i]) for i in range(3))
    texture = texture_colour(
        spec, assets, rays, distance, slot, paint, kind, local, local_normal, quaternion, size, sky
    )
    return Surface(point, normal, slot, (red, green, blue), emission, specular, shininess, texture)


def _normal(spec: RaySpec, kind: jax.Array, local: Vec, size: Vec) -> Vec:
    """Unit normals in the frame of the geom."""
    normal: Vec = (jnp.zeros_like(local[0]), jnp.zeros_like(local[0]), jnp.ones_like(local[0]))
    for name, _, _ in spec.groups():
        if name == "plane":
            continue
        if name == "round":
            axial = local[2] - jnp.clip(local[2], -size[2], size[2])
            here = scale((local[0], local[1], axial), 1.0 / size[0])
        elif name == "ellipsoid":
            here = normalized(each(lambda x, s: x / (s * s), local, size))
        elif name == "cylinder":
            radius = jnp.sqrt(local[0] * local[0] + local[1] * local[1])
            cap = jnp.abs(local[2]) - size[2] > radius - size[0]
            here = (
                jnp.where(cap, 0.0, local[0] / radius),
                jnp.where(cap, 0.0, local[1] / radius),
                jnp.where(cap, jnp.sign(local[2]), 0.0),
            )
        else:
            out = each(lambda x, s: jnp.abs(x) - s, local, size)
            top = jnp.maximum(jnp.maximum(out[0], out[1]), out[2])
            here = each(lambda o, x, top=top: jnp.where(o >= top, jnp.sign(x), 0.0), out, local)
        mine = kind == KINDS.index(name)
        normal = each(lambda h, n, mine=mine: jnp.where(mine, h, n), here, normal)
    return normal
