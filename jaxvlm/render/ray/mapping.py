"""Where on a texture a pixel looks, and how much of it the pixel covers.

OpenGL generates coordinates from places on a unit shape: `s = repeat x / 2`, `t = -repeat y / 2` for 2-D textures, the
place itself for cubes. The offset of half a texture in MuJoCo's source does not show in its pictures, which the parity
test holds to.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.render.ray.assets import KINDS, RayAssets, RaySpec
from jaxvlm.render.ray.cameras import Rays
from jaxvlm.render.ray.tables import choose
from jaxvlm.render.ray.textures import fetch, mip_level, unpack
from jaxvlm.render.ray.vectors import Vec, dot, each, keep, rotate_back, scale, sub


def texture_colour(
    spec: RaySpec,
    assets: RayAssets,
    rays: Rays,
    distance: jax.Array,
    slot: jax.Array,
    paint: jax.Array,
    kind: jax.Array,
    local: Vec,
    local_normal: Vec,
    quaternion: tuple[jax.Array, Vec],
    size: Vec,
    sky: bool,
) -> Vec:
    """The colour of the texture at each pixel: white without one; of the sky where nothing is hit."""
    ones = jnp.ones_like(distance)
    hit = slot < len(spec.geoms)
    show_sky = sky and spec.sky is not None
    which = [p.texture for p in spec.paint]
    if not show_sky and all(t is None for t in which):
        blank = jnp.where(hit, ones, 0.0)
        return blank, blank, blank
    # Which texture, by its number among those in use; paints without one keep white.
    sky_paint = len(spec.paint)
    paint = jnp.where(hit, paint, sky_paint)
    used = [-1 if t is None else t for t in (*which, spec.sky if show_sky else None)]
    texture = choose(paint, np.array(used, np.int32))
    tables = {
        name: choose(texture, np.array([getattr(t, name) for t in spec.textures], np.int32))
        for name in ("base", "width", "height", "levels")
    }
    cube_of = np.array([t.faces == 6 for t in spec.textures])
    cube = choose(texture, cube_of)
    # Where a pixel and its neighbours lie on the surface, in the geom's frame (of the sky: its direction).
    depth = distance * rays.depth
    here = rotate_back(quaternion, rays.direction)
    slope = dot(here, local_normal)
    slope = jnp.where(jnp.abs(slope) > 1e-6, slope, -1e-6)
    steps = []
    for step in (rays.right, rays.down):
        turned = rotate_back(quaternion, step)
        slide = dot(turned, local_normal) / slope
        moved = scale(sub(turned, scale(here, slide)), depth)
        steps.append(moved)
    # Texture coordinates: OpenGL takes those of a unit shape, scaled by the geom's size where they are uniform.
    uniform = choose(paint, np.array([*(p.uniform for p in spec.paint), True]))
    unit, gain = _unit(spec, kind, local, size)
    factor = each(lambda s: jnp.where(uniform, s, 1.0), gain[0])
    place = each(jnp.multiply, unit, factor)
    rate = each(jnp.multiply, gain[1], factor)
    steps = [each(jnp.multiply, step, rate) for step in steps]
    if show_sky:
        unbent = 1.0 / rays.depth
        ahead = _sky_axes(scale(rays.direction, unbent))
        place = each(lambda p, a: jnp.where(hit, p, a), place, ahead)
        steps = [
            each(lambda s, a: jnp.where(hit, s, a), step, _sky_axes(side))
            for step, side in zip(steps, (rays.right, rays.down), strict=True)
        ]
    u, v, du, dv, face = _coordinates(spec, assets, paint, cube, cube_of, place, steps)
    width, height = tables["width"], tables["height"]
    wf, hf = width.astype(jnp.float32), height.astype(jnp.float32)
    u, v = keep(u, assets.one), keep(v, assets.one)
    footprint2 = jnp.maximum((du[0] * wf) ** 2 + (dv[0] * hf) ** 2, (du[1] * wf) ** 2 + (dv[1] * hf) ** 2)
    level = keep(mip_level(footprint2, tables["levels"]), assets.one)
    base = keep(tables["base"] + face * height * (width + (width >> 1)), assets.one)
    packed = fetch(assets.texels, base, (width, height), u, v, level, ~cube, assets.one)
    colour = unpack(keep(packed.astype(jnp.int32), assets.one))
    if -1 not in used:
        return colour
    plain = choose(paint, np.array([t < 0 for t in used]))
    blank = jnp.where(hit, 1.0, 0.0)
    return each(lambda c: jnp.where(plain, blank, c), colour)


def _sky_axes(a: Vec) -> Vec:
    """MuJoCo's sky has its own up."""
    return a[0], a[2], -a[1]


def _unit(spec: RaySpec, kind: jax.Array, local: Vec, size: Vec) -> tuple[Vec, tuple[Vec, Vec]]:
    """Coordinates on the unit shape that OpenGL scales into a geom, the scale, and their change with metres."""
    is_round = kind == KINDS.index("round") if "round" in spec.kinds else jnp.zeros(kind.shape, bool)
    capsule = is_round & (size[2] > 0.0)
    half = jnp.where(is_round & ~capsule, size[0], size[2])
    scales = each(lambda s: jnp.where(s > 0.0, s, 1.0), (size[0], size[1], half))
    inverse = each(lambda s: 1.0 / s, scales)
    unit = each(jnp.multiply, local, inverse)
    # The caps of a capsule are stretched by its half length.
    beyond = jnp.abs(local[2]) - size[2]
    cap = jnp.sign(local[2]) * (1.0 + beyond * inverse[0])
    unit = (unit[0], unit[1], jnp.where(capsule & (beyond > 0.0), cap, unit[2]))
    return unit, (scales, inverse)


def _coordinates(
    spec: RaySpec,
    assets: RayAssets,
    paint: jax.Array,
    cube: jax.Array,
    cube_of: np.ndarray,
    place: Vec,
    steps: list[Vec],
) -> tuple[jax.Array, jax.Array, list[jax.Array], list[jax.Array], jax.Array]:
    """Place in the picture, its change to the next pixels, and the face of a cube."""
    u = v = face = jnp.zeros_like(place[0])
    du = dv = [u, u]
    if cube_of.any():
        a, b, c = (jnp.abs(x) for x in place)
        on_x, on_y = (a >= b) & (a >= c), (b > a) & (b >= c)

        def pick(x: jax.Array, y: jax.Array, z: jax.Array) -> jax.Array:
            return jnp.where(on_x, x, jnp.where(on_y, y, z))

        major = pick(*place)
        sign = jnp.where(major >= 0.0, 1.0, -1.0)
        inverse = 1.0 / jnp.maximum(jnp.abs(major), 1e-12)

        def across(q: Vec) -> tuple[jax.Array, jax.Array, jax.Array]:
            """Components to the right, down and outwards on the face."""
            right = pick(-sign * q[2], q[0], sign * q[0])
            down = pick(-q[1], sign * q[2], -q[1])
            return right, down, sign * pick(*q)

        right, down, _ = across(place)
        s, t = right * inverse, down * inverse
        u, v = 0.5 * s + 0.5, 0.5 * t + 0.5
        du, dv = [], []
        for step in steps:
            dr, dd, dm = across(step)
            du.append(0.5 * (dr - s * dm) * inverse)
            dv.append(0.5 * (dd - t * dm) * inverse)
        face = pick(jnp.where(sign > 0, 0, 1), jnp.where(sign > 0, 2, 3), jnp.where(sign > 0, 4, 5))
    else:
        face = jnp.zeros(place[0].shape, jnp.int32)
    if not cube_of.all():
        # Paints of cubes and the sky take any number here.
        repeat = [choose(jnp.minimum(paint, len(spec.paint) - 1), assets.repeat[:, i]) for i in range(2)]
        flat = (0.5 * repeat[0] * place[0], -0.5 * repeat[1] * place[1])
        u, v = jnp.where(cube, u, flat[0]), jnp.where(cube, v, flat[1])
        du = [jnp.where(cube, d, 0.5 * repeat[0] * s[0]) for d, s in zip(du, steps, strict=True)]
        dv = [jnp.where(cube, d, 0.5 * repeat[1] * s[1]) for d, s in zip(dv, steps, strict=True)]
        face = jnp.where(cube, face, 0)
    return u, v, du, dv, face
