"""The ray caster: which geom a pixel sees, its surface there, light, texture and sky.

Per frame: one reduction over geoms finds the nearest one of each pixel, one look-up its pose, then every pixel is
shaded once. Distance and slot of a geom share 32 bits, since a minimum of integers is far cheaper than an argmin.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxvlm.errors import ConfigError
from jaxvlm.render.ray.assets import RayAssets
from jaxvlm.render.ray.cameras import RayCamera, Rays, camera_rays, check_camera
from jaxvlm.render.ray.haze import with_haze
from jaxvlm.render.ray.lighting import Light, lit, model_lights
from jaxvlm.render.ray.primitives import (
    MISS,
    Shapes,
    enter,
    mirrored,
    mirrored_direction,
    over_geoms,
)
from jaxvlm.render.ray.scene import RayScene
from jaxvlm.render.ray.surface import surface_at
from jaxvlm.render.ray.vectors import Vec, columns_of, each, keep, keep_vector, settle, split


def shapes_of(scene: RayScene, assets: RayAssets) -> list[tuple[str, int, Shapes]]:
    """Kind, first slot and shapes of each group of geoms."""
    groups = []
    for kind, start, stop in assets.spec.groups():
        index = np.array(assets.spec.geoms[start:stop])
        groups.append(
            (
                kind,
                start,
                Shapes(
                    center=split(scene.geom_pos[index]),
                    axes=columns_of(scene.geom_quat[index]),
                    size=split(assets.size[start:stop]),
                ),
            )
        )
    return groups


def id_bits(num_slots: int) -> int:
    """Bits of a distance that hold the slot of a geom; 5 of them cost 4e-6 of the distance."""
    return max(5, num_slots.bit_length())


def nearest(
    groups: list[tuple[str, int, Shapes]],
    origin: Vec,
    direction: Vec,
    num_slots: int,
    one: jax.Array,
    beyond: jax.Array | None = None,
    skip: int | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Distance f32[p] to the nearest geom along each ray and its slot i32[p]; `MISS` and `num_slots` for none.

    Args:
      groups: of geoms.
      origin: f32[] each.
      direction: f32[p] each, of length one.
      num_slots: how many geoms there are.
      one: of `keep`.
      beyond: f32[p], only what is entered farther than this counts.
      skip: slot of a geom that is not looked at.
    """
    mask = (1 << id_bits(num_slots)) - 1
    none = int(np.float32(MISS).view(np.int32)) & ~mask | num_slots
    best = jnp.full(direction[0].shape, none, jnp.int32)

    def key(kind: str, pixels: tuple[Vec, Vec, jax.Array], shapes: Shapes, slots: jax.Array) -> jax.Array:
        origin, direction, beyond = pixels
        distance = enter(kind, origin, direction, shapes)
        distance = jnp.where(distance > beyond, distance, MISS)
        if skip is not None:
            distance = jnp.where(slots == skip, MISS, distance)
        packed = (jax.lax.bitcast_convert_type(distance, jnp.int32) & ~mask) | slots
        return jnp.where(distance < MISS, packed, none)

    pixels = (origin, direction, jnp.zeros(()) if beyond is None else beyond)
    for kind, start, shapes in groups:
        best = over_geoms(jnp.minimum, best, partial(key, kind), pixels, shapes, start)
    distance = jax.lax.bitcast_convert_type(best & ~mask, jnp.float32)
    return keep(distance, one), keep(best & mask, one)


def render_ray(
    scene: RayScene, assets: RayAssets, camera: RayCamera, size: int, *, supersample: int = 1
) -> Float[Array, "size size 3"]:
    """Draws a scene as MuJoCo's own renderer does.

    Args:
      scene: poses.
      assets: of the scene's model, from `make_ray_assets`.
      camera: the view.
      size: side of the picture in pixels.
      supersample: a pixel is the mean of supersample^2 rays.

    Returns:
      Colours in [0, 1].

    Raises:
      ConfigError: a scene of another model; a size or supersample below 1.
    """
    colour, _, _ = _draw(scene, assets, camera, size, supersample)
    return colour


def render_buffers(
    scene: RayScene, assets: RayAssets, camera: RayCamera, size: int
) -> tuple[Float[Array, "size size 3"], Float[Array, "size size"], Int[Array, "size size"]]:
    """Colour, depth and segmentation from the same pass, one ray a pixel.

    Returns:
      Colours in [0, 1]; depth along the camera's axis as MuJoCo's depth rendering gives it, m, infinite for the
      sky; the model's geom of each pixel, -1 for the sky.

    Raises:
      ConfigError: as `render_ray`.
    """
    colour, distance, slot = _draw(scene, assets, camera, size, 1)
    rays = camera_rays(scene, camera, size)
    depth = jnp.where(slot < len(assets.spec.geoms), distance * rays.depth, jnp.inf)
    geom = jnp.array([*assets.spec.geoms, -1], jnp.int32)[slot]
    return colour, depth.reshape(size, size), geom.reshape(size, size)


def _check(scene: RayScene, assets: RayAssets, size: int, supersample: int) -> None:
    spec = assets.spec
    if size < 1 or supersample < 1:
        raise ConfigError(f"size {size} and supersample {supersample} have to be at least 1")
    if scene.geom_pos.shape[-2] != spec.num_geoms:
        raise ConfigError(
            f"the scene has {scene.geom_pos.shape[-2]} geoms and the assets were made from a model of {spec.num_geoms}"
        )
    if scene.light_pos.shape[-2] == 0 and any(light.moves for light in spec.lights):
        raise ConfigError(
            "a light moves with a body, and the scene has no poses of lights (mjx.Data keeps none); give "
            "`scene_from_data` the MjModel too"
        )


def _draw(
    scene: RayScene, assets: RayAssets, camera: RayCamera, size: int, supersample: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Colour, distance and slot; looks at the camera's numbers, where they are numbers yet, before they are traced."""
    _check(scene, assets, size, supersample)
    check_camera(scene, camera)
    return _cast(scene, assets, camera, size, supersample)


# Inlined into the caller's program; the `jit` keeps the trace for the next one.
@partial(jax.jit, static_argnums=(3, 4), inline=True)
def _cast(
    scene: RayScene, assets: RayAssets, camera: RayCamera, size: int, supersample: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    spec = assets.spec
    groups = shapes_of(scene, assets)
    rays = camera_rays(scene, camera, size, supersample)
    rays = rays._replace(direction=keep_vector(rays.direction, assets.one))
    distance, slot = nearest(groups, rays.origin, rays.direction, len(spec.geoms), assets.one)
    far = distance * rays.depth > assets.reach[1]
    slot = jnp.where(far, len(spec.geoms), slot)
    lights = model_lights(scene, assets, rays.forward)
    surface = surface_at(scene, assets, rays, distance, slot)
    first, later = lit(assets, groups, surface, rays.direction, lights)
    if spec.reflector is not None:
        mirror = _reflection(scene, assets, groups, rays, distance, lights)
        on_mirror = slot == spec.reflector
        first = each(lambda c, m: jnp.minimum(c + jnp.where(on_mirror, m, 0.0), 1.0), first, mirror)
    total = each(lambda a, b: jnp.minimum(a + b, 1.0), first, later)
    if spec.haze is not None:
        total = with_haze(total, scene, assets, rays, distance)
    picture = jnp.stack(settle(total, assets.one), axis=-1).reshape(size, supersample, size, supersample, 3)
    side = size * supersample
    picture = picture.reshape(side, side, 3) if supersample == 1 else jnp.mean(picture, axis=(1, 3))
    return picture, distance, slot


def _reflection(
    scene: RayScene,
    assets: RayAssets,
    groups: list[tuple[str, int, Shapes]],
    rays: Rays,
    distance: jax.Array,
    lights: list[Light],
) -> Vec:
    """What the reflecting plane shows: the scene from behind the mirror, in every light and without shadows."""
    spec = assets.spec
    slot = spec.reflector
    assert slot is not None
    geom = spec.geoms[slot]
    center = split(scene.geom_pos[geom])
    normal_row = columns_of(scene.geom_quat[geom][None])[2]
    normal = (normal_row[0][0], normal_row[1][0], normal_row[2][0])
    behind = rays._replace(
        origin=mirrored(rays.origin, center, normal),
        direction=keep_vector(mirrored_direction(rays.direction, normal), assets.one),
        right=mirrored_direction(rays.right, normal),
        down=mirrored_direction(rays.down, normal),
        forward=mirrored_direction(rays.forward, normal),
    )
    far, seen = nearest(
        groups, behind.origin, behind.direction, len(spec.geoms), assets.one, beyond=distance, skip=slot
    )
    surface = surface_at(scene, assets, behind, far, seen, sky=False, dim=assets.finish[spec.paints[slot], 3])
    first, _ = lit(assets, groups, surface, behind.direction, lights, one_pass=True)
    return first
