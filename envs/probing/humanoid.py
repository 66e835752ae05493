"""The humanoid's search space: joint angles and the orientation of the torso, dropped on the floor."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..captions.humanoid_facts import PosedHumanoid, describe
from ..humanoid.kinematics import pose_scene, skeleton
from ..humanoid.model import load_model
from ..humanoid.poses import make_library, sample_qpos
from ..humanoid.postures import drop
from ..humanoid.predicates import CONDITIONS, condition_margins
from .space import SearchSpace, Shortfall, no_context

TURN, BEND = 0.2, 0.35  # first spreads: of the quaternion's components, and rad of a joint
HOLD = 0.5  # s that the motors hold a pose
STIFFNESS, DAMPING = 10.0, 0.5  # torques of the hold, in largest torques of a motor per rad and per rad/s


def pose_of(vectors: Float[Array, "n 21"]) -> Float[Array, "n 24"]:
    """qpos of vectors: a quaternion of any length, then 17 joint angles in rad; the lowest point is on the floor."""
    return drop(jnp.concatenate([jnp.zeros((vectors.shape[0], 3)), canonical(vectors)], axis=1))


def canonical(vectors: Float[Array, "n 21"]) -> Float[Array, "n 21"]:
    """Vectors with a quaternion of length one and a first component that is not negative: one for each pose."""
    quat = vectors[:, :4]
    length = jnp.linalg.norm(quat, axis=-1, keepdims=True)
    quat = jnp.where(length > 1e-3, quat / jnp.maximum(length, 1e-3), jnp.asarray([1.0, 0.0, 0.0, 0.0]))
    quat = jnp.where(quat[:, :1] < 0, -quat, quat)
    return jnp.concatenate([quat, vectors[:, 4:]], axis=1)


def vector_of(qpos: Float[Array, "n 24"]) -> Float[Array, "n 21"]:
    """The vectors that stand for poses; their place on the floor and above it is lost."""
    body = skeleton()
    return jnp.concatenate([qpos[:, 3:7], jnp.clip(qpos[:, 7:], body.low, body.high)], axis=1)


def shortfalls(concept: str, states: PosedHumanoid) -> list[list[Shortfall]]:
    """Conditions of a goal that states miss, those missed by most tolerances first; none for other concepts."""
    count = states.measures.torso_tilt.shape[0]
    if concept not in CONDITIONS:
        return [[] for _ in range(count)]
    conditions = CONDITIONS[concept]
    margins = np.asarray(condition_margins(concept, states.measures))
    rows = []
    for row in range(count):
        missed = [k for k in np.argsort(margins[row]) if margins[row, k] <= 0]
        found = []
        for condition in (conditions[k] for k in missed):
            sides = np.atleast_1d(np.asarray(getattr(states.measures, condition.measure))[row])
            # Of the two sides of the body the one that is further from what is asked for.
            above = sides - (np.inf if condition.high is None else condition.high)
            below = (-np.inf if condition.low is None else condition.low) - sides
            worst = sides[int(np.argmax(np.maximum(above, below)))]
            found.append(
                Shortfall(condition.measure, float(worst), condition.low, condition.high, condition.unit)
            )
        rows.append(found)
    return rows


def hold_poses(vectors: Float[Any, "n 21"], seconds: float = HOLD) -> PosedHumanoid:
    """Where bodies are after `seconds` in which the motors, with their own limits, hold the joints as they are.

    MuJoCo on the host, some milliseconds a body; the floor is the only thing a body touches, as in training. Nothing
    balances: what stands on its feet with its weight beside them falls.
    """
    import mujoco as mujoco_package

    mujoco: Any = mujoco_package  # its compiled names are unknown to type checkers
    model = load_model()
    joints = model.actuator_trnid[:, 0]
    places, speeds = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
    largest = model.actuator_ctrlrange[:, 1]  # of the control; its gear is in the torque
    data, ends = mujoco.MjData(model), []
    for pose in np.asarray(_pose_of(jnp.asarray(vectors)), np.float64):
        mujoco.mj_resetData(model, data)
        data.qpos[:] = pose
        for _ in range(round(seconds / model.opt.timestep)):
            error = pose[places] - data.qpos[places]
            wanted = STIFFNESS * error - DAMPING * data.qvel[speeds]
            data.ctrl[:] = largest * np.clip(wanted, -1.0, 1.0)
            mujoco.mj_step(model, data)
        finite = np.isfinite(data.qpos).all()
        ends.append(data.qpos.copy() if finite else pose)
    qpos = np.asarray(ends, np.float32)
    qpos[:, 3:7] /= np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)
    return _describe(jnp.asarray(qpos))


# Jitted for the host's sake: operation by operation they take seconds.
_pose_of = jax.jit(pose_of)
_describe = jax.jit(lambda qpos: describe(pose_scene(qpos)))


def humanoid_search() -> SearchSpace:
    """Any pose within the joints' limits, any way round, its lowest point on the floor."""
    body = skeleton()
    joints = load_model()
    names = tuple(f"{joints.joint(k).name} (rad)" for k in range(1, joints.njnt))

    def starts(key: jax.Array, count: int) -> Float[Array, "n 21"]:
        return vector_of(jax.jit(sample_qpos, static_argnums=1)(key, count, make_library()))

    def states(vectors: Float[Array, "n 21"], context: Any) -> PosedHumanoid:
        del context
        return describe(pose_scene(pose_of(vectors)))

    return SearchSpace(
        names=("quat_w", "quat_x", "quat_y", "quat_z", *names),
        low=np.concatenate([np.full(4, -1.0), body.low]).astype(np.float32),
        high=np.concatenate([np.ones(4), body.high]).astype(np.float32),
        scale=np.concatenate([np.full(4, TURN), np.full(17, BEND)]).astype(np.float32),
        starts=starts,
        states=states,
        shortfalls=shortfalls,
        contexts=no_context,
        canonical=canonical,
        quaternion=True,
        hold=hold_poses,
        hold_seconds=HOLD,
        free="poses are not physics: a body may not be able to hold them, or reach them",
    )
