"""What a frame is drawn from: the poses of geoms, cameras and lights, a few hundred bytes."""

from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxvlm.render.ray.vectors import quaternion_of

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class RayScene:
    """World poses of a model's geoms, cameras and lights."""

    geom_pos: Leaf  # f32[geoms, 3], m
    geom_quat: Leaf  # f32[geoms, 4], wxyz
    camera_pos: Leaf  # f32[cameras, 3], m; of the model's own cameras
    camera_quat: Leaf  # f32[cameras, 4], wxyz
    light_pos: Leaf  # f32[lights, 3], m; no rows: the lights stand where the assets say
    light_dir: Leaf  # f32[lights, 3], where they shine, of length one


def scene_from_data(data: Any) -> RayScene:
    """The scene of a state whose kinematics are done; pure, and vmappable for `mjx.Data`.

    Args:
      data: `mujoco.MjData` after `mj_forward` (or kinematics, centres of mass and `mj_camlight`), or `mjx.Data` after
        `mjx.kinematics`, `mjx.com_pos` and `mjx.camlight`.

    Returns:
      The scene. `mjx.Data` knows no poses of lights: there `light_pos` and `light_dir` have no rows, and lights stand
      still where `make_ray_assets` found them.
    """
    cameras, geoms = data.cam_xpos.shape[0], data.geom_xpos.shape[0]
    geom_matrix = jnp.asarray(data.geom_xmat, jnp.float32).reshape(geoms, 3, 3)
    camera_matrix = jnp.asarray(data.cam_xmat, jnp.float32).reshape(cameras, 3, 3)
    lights = getattr(data, "light_xpos", None)
    light_pos = np.zeros((0, 3), np.float32) if lights is None else lights
    light_dir = np.zeros((0, 3), np.float32) if lights is None else data.light_xdir
    return RayScene(
        geom_pos=jnp.asarray(data.geom_xpos, jnp.float32),
        geom_quat=quaternion_of(geom_matrix),
        camera_pos=jnp.asarray(data.cam_xpos, jnp.float32),
        camera_quat=quaternion_of(camera_matrix),
        light_pos=jnp.asarray(light_pos, jnp.float32),
        light_dir=jnp.asarray(light_dir, jnp.float32),
    )


def without_cameras(scene: RayScene) -> RayScene:
    """The scene without the model's own cameras.

    With a free camera, what the camera alone decides (rays, sky, the floor's texture) is then computed once for a
    batch of scenes instead of once for each.
    """
    nothing = jnp.zeros((*scene.camera_pos.shape[:-2], 0, 3), jnp.float32)
    return replace(
        scene, camera_pos=nothing, camera_quat=jnp.zeros((*scene.camera_quat.shape[:-2], 0, 4), jnp.float32)
    )
