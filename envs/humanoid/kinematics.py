"""Forward kinematics of the humanoid alone: joint angles to poses of geoms, without compiling MJX.

Data for the embedded CLIP needs nothing but poses. This is MuJoCo's `mj_kinematics` for a tree of hinges under one free
joint, and agrees with it to 1e-5.
"""

from dataclasses import replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.render import RayScene

from .measures import MASS
from .model import load_model

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


class Skeleton(NamedTuple):
    """The tree of hinges; frame 0 is the torso's, frame k + 1 is what hinge k carries. All float32.

    Rotations are quaternions wxyz; lengths in m, angles in rad.
    """

    parent: np.ndarray  # i32[17], frame that a hinge hangs on
    pos: np.ndarray  # [17, 3], of the hinge's body in the parent frame, at zero angles
    quat: np.ndarray  # [17, 4]
    axis: np.ndarray  # [17, 3], in the hinge's body, of length one
    anchor: np.ndarray  # [17, 3], in the hinge's body
    low: np.ndarray  # [17], limits
    high: np.ndarray  # [17]
    geom_frame: np.ndarray  # i32[17], frame of a geom; the floor is left out
    geom_pos: np.ndarray  # [17, 3], in the frame
    geom_quat: np.ndarray  # [17, 4]


@cache
def skeleton() -> Skeleton:
    """Read from the compiled model, once."""
    import mujoco as mujoco_package

    mujoco: Any = mujoco_package  # pyright sees little of its compiled part
    model = load_model()
    data = mujoco.MjData(model)
    data.qpos[:] = 0.0
    data.qpos[3] = 1.0
    mujoco.mj_kinematics(model, data)
    hinges = range(1, model.njnt)

    def frame_of(body: int) -> int:
        """The last hinge that moves a body, plus one; 0 where only the free joint does."""
        while body > 1 and model.body_jntnum[body] == 0:
            body = int(model.body_parentid[body])
        return int(model.body_jntadr[body] + model.body_jntnum[body] - 1) if body > 1 else 0

    def parent_of(joint: int) -> int:
        body = int(model.jnt_bodyid[joint])
        first = joint == model.body_jntadr[body]
        return frame_of(int(model.body_parentid[body])) if first else joint - 1

    def relative(frame: int, pos: np.ndarray, quat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A pose of the world in a frame, both at zero angles, where a frame is that of its body."""
        body = int(model.jnt_bodyid[frame]) if frame else 1
        back, zero = np.zeros(4), np.zeros(3)
        mujoco.mju_negPose(zero, back, data.xpos[body], data.xquat[body])
        out_pos, out_quat = np.zeros(3), np.zeros(4)
        mujoco.mju_mulPose(out_pos, out_quat, zero, back, pos, quat)
        return out_pos, out_quat

    parent = [parent_of(joint) for joint in hinges]
    bodies = [int(model.jnt_bodyid[joint]) for joint in hinges]
    links = [relative(up, data.xpos[b], data.xquat[b]) for up, b in zip(parent, bodies, strict=True)]
    geoms, geom_frame = [], []
    for geom in range(1, model.ngeom):
        geom_frame.append(frame_of(int(model.geom_bodyid[geom])))
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, data.geom_xmat[geom])
        geoms.append(relative(geom_frame[-1], data.geom_xpos[geom], quat))

    def single(values: object) -> np.ndarray:
        return np.asarray(values, np.float32)

    return Skeleton(
        parent=np.asarray(parent, np.int32),
        pos=single([pos for pos, _ in links]),
        quat=single([quat for _, quat in links]),
        axis=single(model.jnt_axis[1:]),
        anchor=single(model.jnt_pos[1:]),
        low=single(model.jnt_range[1:, 0]),
        high=single(model.jnt_range[1:, 1]),
        geom_frame=np.asarray(geom_frame, np.int32),
        geom_pos=single([pos for pos, _ in geoms]),
        geom_quat=single([quat for _, quat in geoms]),
    )


@partial(jax.jit, inline=True)
def pose_scene(qpos: Float[Array, "... 24"]) -> RayScene:
    """Where the geoms are at joint positions; works on one state or any batch.

    Args:
      qpos: position of the torso in m, its orientation wxyz (normalised here), 17 joint angles in rad.

    Returns:
      The scene, without the model's own cameras and with the lights at rest: for free cameras.
    """
    body, batch = skeleton(), qpos.shape[:-1]
    columns = qpos.reshape(
        -1, qpos.shape[-1]
    ).T  # (24, n): components first, so that arithmetic runs along states
    root = jnp.concatenate([columns[:3], columns[3:7] / jnp.sqrt(jnp.sum(columns[3:7] ** 2, axis=0))])
    half = 0.5 * columns[7:]  # (17, n)
    turn = jnp.concatenate([jnp.cos(half)[:, None], jnp.sin(half)[:, None] * body.axis[..., None]], axis=1)
    anchor, quat = body.anchor[..., None], body.quat[..., None]
    local_pos = body.pos[..., None] + _rotate(quat, anchor - _rotate(turn, anchor))
    local = jnp.concatenate([local_pos, _multiply(quat, turn)], axis=1)  # (17, 7, n)

    # A loop, not 17 copies of its body: XLA would fuse those into one expression that grows with every generation.
    def hang(frames: Array, hinge: tuple[Array, Array, Array]) -> tuple[Array, None]:
        index, parent, local = hinge
        return frames.at[index].set(_compose(frames[parent], local)), None

    count = len(body.parent)
    frames = jnp.zeros((count + 1, *root.shape), root.dtype).at[0].set(root)
    frames, _ = jax.lax.scan(hang, frames, (jnp.arange(1, count + 1), jnp.asarray(body.parent), local))

    offset = np.concatenate([body.geom_pos, body.geom_quat], axis=1)[..., None]
    geoms = _compose(frames[body.geom_frame], jnp.asarray(offset))  # (17, 7, n)
    floor = jnp.zeros((1, *geoms.shape[1:]), geoms.dtype).at[:, 3].set(1.0)
    geoms = jnp.moveaxis(jnp.concatenate([floor, geoms]), -1, 0).reshape(*batch, -1, 7)
    nothing = jnp.zeros((*batch, 0, 3), geoms.dtype)
    return RayScene(
        geom_pos=geoms[..., :3],
        geom_quat=geoms[..., 3:],
        camera_pos=nothing,
        camera_quat=jnp.zeros((*batch, 0, 4), geoms.dtype),
        light_pos=nothing,
        light_dir=nothing,
    )


@struct.dataclass
class Pose:
    """Where everything is: all that predicates and pictures need."""

    scene: RayScene  # poses of the geoms and of the tracking camera
    com: Leaf  # f32[3], m, centre of mass of the whole body


def locate(qpos: Float[Array, "24"]) -> Pose:
    """Forward kinematics of one state, the centre of mass and the model's tracking camera with it."""
    return with_camera(pose_scene(qpos))


def with_camera(scene: RayScene) -> Pose:
    """The centre of mass of one state's geoms, and the scene with the model's tracking camera, which follows it."""
    tracking = track()
    # Bodies get their inertia from their geoms, whose centres of mass are where the geoms are.
    com = tracking.weights @ scene.geom_pos
    scene = replace(
        scene, camera_pos=(com + tracking.offset)[None], camera_quat=jnp.asarray(tracking.quat)[None]
    )
    return Pose(scene=scene, com=com)


class Track(NamedTuple):
    """What the camera that follows the centre of mass is computed from; float32."""

    weights: np.ndarray  # [18], share of a geom in the body's mass; the floor has none
    offset: np.ndarray  # [3], m, of the camera from the centre of mass
    quat: np.ndarray  # [4], wxyz


@cache
def track() -> Track:
    """Read from the compiled model, once."""
    import mujoco as mujoco_package

    mujoco: Any = mujoco_package
    model = load_model()
    camera = model.camera("track").id
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, model.cam_mat0[camera])
    return Track(
        weights=MASS / MASS.sum(),
        offset=np.asarray(model.cam_poscom0[camera], np.float32),
        quat=np.asarray(quat, np.float32),
    )


def _compose(a: Array, b: Array) -> Array:
    """Poses (..., 7, n), position and quaternion: `b` in the frame `a`."""
    quat = a[..., 3:, :]
    position = a[..., :3, :] + _rotate(quat, b[..., :3, :])
    return jnp.concatenate([position, _multiply(quat, b[..., 3:, :])], axis=-2)


def _multiply(a: Array | np.ndarray, b: Array | np.ndarray) -> Array:
    """Product of quaternions (..., 4, n): first `b`, then `a`."""
    (w, x, y, z), (u, i, j, k) = ([q[..., n, :] for n in range(4)] for q in (a, b))
    parts = (
        w * u - x * i - y * j - z * k,
        w * i + x * u + y * k - z * j,
        w * j - x * k + y * u + z * i,
        w * k + x * j - y * i + z * u,
    )
    return jnp.stack(parts, axis=-2)


def _rotate(quat: Array | np.ndarray, vector: Array | np.ndarray) -> Array:
    """Vectors (..., 3, n) turned by unit quaternions (..., 4, n)."""
    axis = quat[..., 1:, :]
    cross = _cross(axis, vector)
    return jnp.asarray(vector) + 2.0 * (quat[..., :1, :] * cross + _cross(axis, cross))


def _cross(a: Array | np.ndarray, b: Array | np.ndarray) -> Array:
    (a0, a1, a2), (b0, b1, b2) = ([v[..., n, :] for n in range(3)] for v in (a, b))
    return jnp.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=-2)
