"""Facts about a humanoid's pose as graded truth: log-odds that `humanoid.py` puts into words."""

import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.render import RayScene

from ..humanoid.measures import INDEX, Measures, measure


@struct.dataclass
class PosedHumanoid:
    """A humanoid standing still in a frame."""

    scene: RayScene
    measures: Measures


def describe(scene: RayScene) -> PosedHumanoid:
    """States of scenes, one or any batch."""
    return PosedHumanoid(scene=scene, measures=measure(scene))


def within(
    value: Float[Array, "..."], low: float | None = None, high: float | None = None, unit: float = 1.0
) -> Float[Array, "..."]:
    """Value between two bounds; `unit` is one unit of log-odds, levelling at -4 and 2.5."""
    parts = []
    if low is not None:
        parts.append((value - low) / unit)
    if high is not None:
        parts.append((high - value) / unit)
    return jnp.clip(parts[0] if len(parts) == 1 else jnp.minimum(*parts), -4.0, 2.5)


def all_of(*log_odds: Float[Array, "..."]) -> Float[Array, "..."]:
    """A conjunction: as true as its least true part, so that its sign is exact however many there are."""
    return jnp.min(jnp.stack(jnp.broadcast_arrays(*log_odds)), axis=0)


def sides(log_odds: Float[Array, "... 2"]) -> Float[Array, "..."]:
    """True of the right and of the left."""
    return jnp.min(log_odds, axis=-1)


def torso(state: PosedHumanoid) -> Float[Array, "... 3"]:
    return state.scene.geom_pos[..., INDEX["torso1"], :]


def head_from_torso(state: PosedHumanoid) -> Float[Array, "... 3"]:
    """Unit vector up the body, in the world's frame; in the default view y is to the right and x towards the camera."""
    line = state.scene.geom_pos[..., INDEX["head"], :] - torso(state)
    return line / jnp.linalg.norm(line, axis=-1, keepdims=True)


def belly_up(state: PosedHumanoid) -> Float[Array, "..."]:
    """Vertical part of the direction the chest points in: 1 on the back, -1 on the front."""
    w, x, y, z = jnp.moveaxis(state.scene.geom_quat[..., INDEX["torso1"], :], -1, 0)
    return 2.0 * (x * z - w * y)  # the torso's capsule keeps the body's x axis


def facing_off(state: PosedHumanoid, direction: float) -> Float[Array, "..."]:
    """Degrees between where the humanoid faces and a direction: 0 towards the camera, 90 to the picture's right."""
    return jnp.abs(jnp.mod(state.measures.torso_facing - direction + 180.0, 360.0) - 180.0)


def lying(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    return all_of(within(m.torso_tilt, low=60.0, unit=15.0), within(m.torso_clearance, high=0.3, unit=0.12))


def sitting(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    return all_of(
        within(m.pelvis_clearance, high=0.22, unit=0.07),
        within(m.torso_tilt, high=50.0, unit=12.0),
        within(m.lowest, high=0.05, unit=0.05),
    )


def crouching(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    return all_of(
        within(m.pelvis_clearance, low=0.15, high=0.58, unit=0.06),
        within(jnp.min(m.knee_clearance, axis=-1), low=0.14, unit=0.05),
        within(m.lower_foot_clearance, high=0.06, unit=0.05),
        within(m.torso_tilt, high=55.0, unit=12.0),
        sides(within(m.knee_flexion, low=50.0, unit=15.0)),
    )


def on_one_knee(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    return all_of(
        within(jnp.min(m.knee_clearance, axis=-1), high=0.08, unit=0.06),
        within(jnp.max(m.knee_clearance, axis=-1), low=0.22, unit=0.06),
        within(m.torso_tilt, high=45.0, unit=12.0),
        within(m.lowest, high=0.05, unit=0.05),
    )


def falling(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    tipping = jnp.maximum(within(m.torso_tilt, low=35.0, unit=10.0), within(m.lean, low=27.0, unit=8.0))
    return all_of(
        tipping, within(m.pelvis_clearance, low=0.35, unit=0.1), within(m.torso_clearance, low=0.35, unit=0.1)
    )


def bowing(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    return all_of(
        within(m.torso_tilt, low=32.0, high=110.0, unit=10.0),
        within(-belly_up(state), low=0.45, unit=0.2),
        within(m.pelvis_clearance, low=0.5, unit=0.08),
        within(m.lower_foot_clearance, high=0.06, unit=0.05),
        within(m.lean, high=25.0, unit=8.0),
    )


def arms_down(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    return all_of(
        sides(within(m.hand_up, high=-0.3, unit=0.08)),
        sides(within(m.hand_out, low=0.1, high=0.5, unit=0.08)),
        sides(within(m.elbow_beyond_hand, high=0.04, unit=0.05)),
        sides(within(m.hand_forward, low=-0.25, high=0.25, unit=0.08)),
    )


def arms_sideways(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    return all_of(
        sides(within(m.hand_out, low=0.5, unit=0.08)), sides(within(m.hand_up, low=-0.2, high=0.3, unit=0.08))
    )


def arms_forward(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    return all_of(
        sides(within(m.hand_forward, low=0.4, unit=0.06)),
        sides(within(m.hand_up, low=-0.25, high=0.3, unit=0.08)),
        sides(within(m.hand_out, low=-0.05, high=0.45, unit=0.06)),
    )


def arms_behind(state: PosedHumanoid) -> Float[Array, "..."]:
    return sides(within(state.measures.hand_forward, high=-0.1, unit=0.06))


def one_arm_raised(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    return all_of(
        within(jnp.max(m.hand_over_head, axis=-1), low=0.04, unit=0.08),
        within(jnp.min(m.hand_over_head, axis=-1), high=-0.15, unit=0.08),
        within(m.torso_tilt, high=60.0, unit=15.0),
    )


def before_face(state: PosedHumanoid) -> Float[Array, "..."]:
    m = state.measures
    return all_of(
        sides(within(m.hand_up, low=0.05, high=0.4, unit=0.06)),
        sides(within(m.hand_out, high=0.12, unit=0.05)),
        sides(within(m.hand_forward, low=0.03, high=0.4, unit=0.06)),
    )
