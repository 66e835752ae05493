"""Cameras: free ones as MuJoCo's viewer has them, and those of a model."""

from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxvlm.errors import ConfigError
from jaxvlm.render.ray.scene import RayScene
from jaxvlm.render.ray.vectors import Vec, columns_of, quaternion_of, split

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class RayCamera:
    """A view: one of the model's own cameras or a pose in the world; all kinds stack as one pytree.

    The frame is MuJoCo's: x to the right of the picture, y up, looking along -z.
    """

    index: Leaf  # i32[], the model's camera whose pose in the scene is used; -1: the pose below
    pos: Leaf  # f32[3], m
    quat: Leaf  # f32[4], wxyz
    fovy: Leaf  # f32[], vertical field of view, degrees


def free_camera(
    lookat: Any, distance: float, azimuth: float, elevation: float, fovy: float = 45.0
) -> RayCamera:
    """MuJoCo's free camera: it looks at a point from a distance.

    Args:
      lookat: the point, [3], m.
      distance: from the point, m.
      azimuth: heading of the line of sight, degrees from +x towards +y.
      elevation: its rise above the horizon, degrees; negative looks down.
      fovy: vertical field of view, degrees.

    Raises:
      ConfigError: numbers that give no view.
    """
    point = np.asarray(lookat, np.float64)
    numbers = np.array([*point.ravel(), distance, azimuth, elevation, fovy])
    if point.shape != (3,) or not np.isfinite(numbers).all():
        raise ConfigError(
            f"camera: lookat {lookat!r}, distance {distance!r}, azimuth {azimuth!r}, elevation {elevation!r} and "
            f"fovy {fovy!r} have to be finite numbers, lookat three of them"
        )
    if distance <= 0 or not 0 < fovy < 180:
        raise ConfigError(
            f"camera: distance {distance:g} has to be above 0 and fovy {fovy:g} between 0 and 180 degrees"
        )
    a, e = np.deg2rad(azimuth), np.deg2rad(elevation)
    forward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([np.sin(a), -np.cos(a), 0.0])
    matrix = np.stack([right, np.cross(right, forward), -forward], axis=1)
    return RayCamera(
        index=jnp.int32(-1),
        pos=jnp.asarray(point - distance * forward, jnp.float32),
        quat=quaternion_of(jnp.asarray(matrix, jnp.float32)),
        fovy=jnp.float32(fovy),
    )


def model_cameras(model: Any) -> dict[str, RayCamera]:
    """A model's own cameras by name, whatever they track; one without a name is called `camera<index>`.

    Args:
      model: `mujoco.MjModel` or `mjx.Model`.

    Raises:
      ConfigError: an orthographic camera, or one with intrinsics.
    """
    names, address = model.names, np.asarray(model.name_camadr)
    cameras = {}
    for index in range(int(model.ncam)):
        start = int(address[index])
        name = names[start : names.index(b"\0", start)].decode() or f"camera{index}"
        projection = np.asarray(getattr(model, "cam_projection", np.zeros(model.ncam)))[index]
        if int(projection) != 0 or float(np.asarray(model.cam_sensorsize)[index, 0]) != 0.0:
            raise ConfigError(
                f"camera {name!r} is orthographic or has a sensor size; only cameras with a fovy can be drawn from"
            )
        cameras[name] = RayCamera(
            index=jnp.int32(index),
            pos=jnp.zeros(3, jnp.float32),
            quat=jnp.array([1.0, 0.0, 0.0, 0.0], jnp.float32),
            fovy=jnp.float32(float(np.asarray(model.cam_fovy)[index])),
        )
    return cameras


class Rays(NamedTuple):
    """One ray a sample, and how rays change from a pixel to its neighbours."""

    origin: Vec  # f32[] each
    direction: Vec  # f32[p] each, of length one
    depth: jax.Array  # f32[p], metres along the camera's axis for a metre along the ray
    forward: Vec  # f32[] each, the camera's axis
    right: Vec  # f32[] each: the step to the next pixel at depth one, m
    down: Vec  # f32[] each


def check_camera(scene: RayScene, camera: RayCamera) -> None:
    """Raises `ConfigError` for a model's camera where the scene has none; not where a program is given the camera."""
    if scene.camera_pos.shape[0] or isinstance(camera.index, jax.core.Tracer):
        return
    if np.asarray(camera.index) >= 0:
        raise ConfigError(
            f"the view is the model's camera number {camera.index}, and the scene has no cameras; take a free camera "
            "or a scene with the model's own"
        )


def camera_pose(scene: RayScene, camera: RayCamera) -> tuple[jax.Array, jax.Array]:
    """Position f32[3] and quaternion f32[4] of a camera in a scene; errors as `check_camera`."""
    check_camera(scene, camera)
    if scene.camera_pos.shape[0] == 0:
        return camera.pos, camera.quat
    own, index = camera.index >= 0, jnp.maximum(camera.index, 0)
    return (
        jnp.where(own, scene.camera_pos[index], camera.pos),
        jnp.where(own, scene.camera_quat[index], camera.quat),
    )


def camera_rays(scene: RayScene, camera: RayCamera, size: int, supersample: int = 1) -> Rays:
    """Rays through the middles of `supersample`^2 parts of the pixels of a square picture, row by row from the top."""
    position, quaternion = camera_pose(scene, camera)
    x_axis, y_axis, z_axis = (
        tuple(component[0] for component in axis) for axis in columns_of(quaternion[None])
    )
    half = jnp.tan(jnp.deg2rad(0.5 * camera.fovy))
    side = size * supersample
    steps = ((jnp.arange(side, dtype=jnp.float32) + 0.5) * (2.0 / side) - 1.0) * half
    x = jnp.tile(steps, side)
    y = jnp.repeat(-steps, side)
    depth = jax.lax.rsqrt(1.0 + x * x + y * y)
    direction = tuple((x * r + y * u - b) * depth for r, u, b in zip(x_axis, y_axis, z_axis, strict=True))
    pixel = 2.0 * half / size
    return Rays(
        origin=split(position),
        direction=(direction[0], direction[1], direction[2]),
        depth=depth,
        forward=(-z_axis[0], -z_axis[1], -z_axis[2]),
        right=(x_axis[0] * pixel, x_axis[1] * pixel, x_axis[2] * pixel),
        down=(-y_axis[0] * pixel, -y_axis[1] * pixel, -y_axis[2] * pixel),
    )
