"""The haze at the horizon of an endless plane: a wide cone of mist, as MuJoCo draws it before the sky."""

import jax
import jax.numpy as jnp

from jaxvlm.render.ray.assets import RayAssets
from jaxvlm.render.ray.cameras import Rays
from jaxvlm.render.ray.scene import RayScene
from jaxvlm.render.ray.vectors import Vec, columns_of, dot, each, split, sub

SKY_SHARE = 0.7  # of the farthest depth drawn is the distance of the sky


def with_haze(colour: Vec, scene: RayScene, assets: RayAssets, rays: Rays, distance: jax.Array) -> Vec:
    """Blends the haze over colours f32[p] each.

    The cone rises from the plane at (1 - depth) of the sky's distance to the camera's height at the sky; from bottom to
    top it grows opaque up to a height at which its slope seems to change, and clear again.

    Args:
      colour: of the pixels.
      scene: poses.
      assets: of the model, with an endless plane.
      rays: one a pixel.
      distance: f32[p], to the geom of each pixel.
    """
    slot = assets.spec.haze
    assert slot is not None
    geom = assets.spec.geoms[slot]
    axis = columns_of(scene.geom_quat[geom][None])[2]
    up = axis[0][0], axis[1][0], axis[2][0]
    sky = SKY_SHARE * assets.reach[1]
    elevation = dot(sub(rays.origin, split(scene.geom_pos[geom])), up) / sky
    depth = assets.haze[3]
    down = -dot(rays.direction, up)
    level = jnp.sqrt(jnp.maximum(1.0 - down * down, 0.0))
    denominator = elevation * level + depth * down
    share = down / jnp.maximum(denominator, 1e-9)  # 1 on the plane, 0 at the camera's height
    here = sky * elevation / jnp.maximum(denominator, 1e-9)
    angle = jnp.arctan2(1.0, depth)
    middle = jnp.sqrt(0.5) * depth * jnp.sin(angle) / jnp.sin(0.75 * jnp.pi - angle)
    height = 1.0 - share
    alpha = jnp.where(height < middle, height / middle, (1.0 - height) / (1.0 - middle))
    seen = (elevation > 0.0) & (down > 0.0) & (share <= 1.0) & (here < distance)
    alpha = jnp.where(seen, jnp.clip(alpha, 0.0, 1.0), 0.0)
    mist = assets.haze[0], assets.haze[1], assets.haze[2]
    return each(lambda c, m: c + alpha * (m - c), colour, mist)
