"""What a frame is drawn from: the poses of geoms, cameras and lights, a few hundred bytes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxvlm.render.ray.model import TARGETBODY, TARGETBODYCOM, TRACK, TRACKCOM, lights_move
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


def scene_from_data(data: Any, model: Any = None) -> RayScene:
    """The scene of a state whose kinematics are done; pure, and vmappable for `mjx.Data`.

    Args:
      data: `mujoco.MjData` after `mj_forward` (or kinematics, centres of mass and `mj_camlight`), or `mjx.Data` after
        `mjx.kinematics`, `mjx.com_pos` and `mjx.camlight`.
      model: the `mujoco.MjModel` of `mjx.Data`, which knows no poses of lights: they are worked out where any moves.

    Returns:
      The scene. For `mjx.Data` without a model, or where no light moves, `light_pos` and `light_dir` have no rows, and
      lights stand still where `make_ray_assets` found them.
    """
    cameras, geoms = data.cam_xpos.shape[0], data.geom_xpos.shape[0]
    geom_matrix = jnp.asarray(data.geom_xmat, jnp.float32).reshape(geoms, 3, 3)
    camera_matrix = jnp.asarray(data.cam_xmat, jnp.float32).reshape(cameras, 3, 3)
    light_pos = light_dir = np.zeros((0, 3), np.float32)
    if getattr(data, "light_xpos", None) is not None:
        light_pos, light_dir = data.light_xpos, data.light_xdir
    elif model is not None and lights_move(model).any():
        light_pos, light_dir = _light_poses(data, model)
    return RayScene(
        geom_pos=jnp.asarray(data.geom_xpos, jnp.float32),
        geom_quat=quaternion_of(geom_matrix),
        camera_pos=jnp.asarray(data.cam_xpos, jnp.float32),
        camera_quat=quaternion_of(camera_matrix),
        light_pos=jnp.asarray(light_pos, jnp.float32),
        light_dir=jnp.asarray(light_dir, jnp.float32),
    )


def _light_poses(data: Any, model: Any) -> tuple[jax.Array, jax.Array]:
    """Where lights are, f32[lights, 3], m, and where they shine, f32[lights, 3]: what MuJoCo's `mj_camlight` does."""
    mode, body, target = model.light_mode[:, None], model.light_bodyid, model.light_targetbodyid
    turn = data.xmat.reshape(-1, 3, 3)[body]
    # Sums instead of matrix products, which accelerators round.
    pos = data.xpos[body] + jnp.sum(turn * model.light_pos[:, None, :], axis=-1)
    pos = jnp.where(mode == TRACK, data.xpos[body] + model.light_pos0, pos)
    pos = jnp.where(mode == TRACKCOM, data.subtree_com[body] + model.light_poscom0, pos)
    direction = jnp.sum(turn * model.light_dir[:, None, :], axis=-1)
    direction = jnp.where((mode == TRACK) | (mode == TRACKCOM), model.light_dir0, direction)
    aims = target[:, None] >= 0  # else the light is fixed, whatever its mode says
    direction = jnp.where((mode == TARGETBODY) & aims, data.xpos[target] - pos, direction)
    direction = jnp.where((mode == TARGETBODYCOM) & aims, data.subtree_com[target] - pos, direction)
    length = jnp.sqrt(jnp.sum(direction**2, axis=-1, keepdims=True))
    return pos, direction / jnp.maximum(length, 1e-12)
