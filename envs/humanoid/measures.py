"""Named quantities of the humanoid's posture, computed from where its geoms are and from nothing else.

Every function works on one state or on any batch: leading axes are written `...`. Heights are clearances, the gap
between the floor and the surface of a geom; lengths are in metres, angles in degrees.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from .model import ARMS, LEGS, limb_pairs

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis

# Geoms in the order of humanoid.xml: radius in m, half length along the local z axis in m (0: a sphere), mass in kg.
GEOMS: dict[str, tuple[float, float, float]] = {
    "floor": (0.0, 0.0, 0.0),
    "torso1": (0.07, 0.07, 3.591886),
    "head": (0.09, 0.0, 3.053628),
    "uwaist": (0.06, 0.06, 2.261947),
    "lwaist": (0.06, 0.06, 2.261947),
    "butt": (0.09, 0.07, 6.616194),
    "right_thigh1": (0.06, 0.1700735, 4.751751),
    "right_shin1": (0.049, 0.15, 2.755696),
    "right_foot": (0.075, 0.0, 1.767146),
    "left_thigh1": (0.06, 0.1700735, 4.751751),
    "left_shin1": (0.049, 0.15, 2.755696),
    "left_foot": (0.075, 0.0, 1.767146),
    "right_uarm1": (0.04, 0.1385641, 1.661080),
    "right_larm": (0.031, 0.1385641, 0.961457),
    "right_hand": (0.04, 0.0, 0.268083),
    "left_uarm1": (0.04, 0.1385641, 1.661080),
    "left_larm": (0.031, 0.1385641, 0.961457),
    "left_hand": (0.04, 0.0, 0.268083),
}
INDEX = {name: index for index, name in enumerate(GEOMS)}
RADIUS, HALF_LENGTH, MASS = (np.asarray(column, np.float32) for column in zip(*GEOMS.values(), strict=True))

# Right, then left, as in the model.
THIGHS, SHINS, FEET = (np.asarray([INDEX[leg[k]] for leg in LEGS], np.int64) for k in range(3))
UPPER_ARMS, FOREARMS, HANDS = (np.asarray([INDEX[arm[k]] for arm in ARMS]) for k in range(3))
SIDE = np.asarray([-1.0, 1.0], np.float32)  # of the body's y axis, which points left

ARM_PAIRS = np.asarray(
    [(INDEX[a], INDEX[b]) for a, b in limb_pairs() if a.endswith(("uarm1", "larm", "hand"))], np.int32
)
# The limits of hips and knees keep a leg out of its own pelvis and lower waist, give or take 3 cm.
LEG_PAIRS = np.asarray(
    [(INDEX[a], INDEX[b]) for a, b in limb_pairs() if a.endswith(("thigh1", "shin1", "foot"))]
    + [(INDEX[a], INDEX[b]) for leg in LEGS for a in leg for b in ("torso1", "head", "uwaist")],
    np.int32,
)


@struct.dataclass
class Measures:
    """What the predicates look at. Quantities of a limb have a last axis of two: right, left."""

    torso_tilt: Leaf  # f32[...], degrees from vertical
    torso_facing: Leaf  # f32[...], degrees about the vertical, 0 along x, positive to the left
    lean: Leaf  # f32[...], degrees from vertical of the line from the supporting feet to the centre of mass
    lowest: Leaf  # f32[...], m, clearance of the lowest point of the body; negative: in the floor
    head_clearance: Leaf  # f32[...], m
    torso_clearance: Leaf  # f32[...], m
    pelvis_clearance: Leaf  # f32[...], m
    lower_foot_clearance: Leaf  # f32[...], m
    higher_foot_clearance: Leaf  # f32[...], m
    foot_clearance: Leaf  # f32[..., 2], m
    knee_clearance: Leaf  # f32[..., 2], m, of the ends of thigh and shin that meet
    trunk_clearance: Leaf  # f32[...], m, lowest of head, torso, waist, pelvis, thighs and arms
    knee_flexion: Leaf  # f32[..., 2], degrees, 0 for a straight leg
    shin_angle: Leaf  # f32[..., 2], degrees from hanging straight down
    thigh_spread: Leaf  # f32[...], degrees between the thighs
    leg_spread: Leaf  # f32[...], degrees between the lines from hip to foot
    hip_over_knee: Leaf  # f32[..., 2], m, how much higher than its knee a hip is
    foot_out: Leaf  # f32[..., 2], m from the pelvis to the foot's own side
    foot_behind_knee: Leaf  # f32[..., 2], m, level, along the pelvis's facing
    foot_to_pelvis: Leaf  # f32[..., 2], m, level
    hand_over_head: Leaf  # f32[..., 2], m from the top of the head up to the centre of the hand
    hand_forward: Leaf  # f32[..., 2], m, in the torso's frame
    hand_out: (
        Leaf  # f32[..., 2], m to the hand's own side, in the torso's frame; negative: across the midline
    )
    hand_up: Leaf  # f32[..., 2], m, in the torso's frame; the shoulders are at 0.06
    elbow_up: Leaf  # f32[..., 2], m, as `hand_up`
    elbow_beyond_hand: Leaf  # f32[..., 2], m that the elbow is further out than the hand
    hand_to_hip: Leaf  # f32[..., 2], m between the surfaces of the hand and of pelvis or lower waist
    hand_to_other_forearm: (
        Leaf  # f32[..., 2], m between the surfaces of the hand and of the other arm's forearm
    )
    arm_penetration: (
        Leaf  # f32[...], m, deepest overlap of an arm with trunk, legs or the other arm; negative: a gap
    )
    leg_penetration: (
        Leaf  # f32[...], m, deepest overlap of a leg with the other leg or the trunk; negative: a gap
    )


def measure(scene: Any) -> Measures:
    """All measures of one state or of a batch.

    Args:
      scene: anything with `geom_pos` f32[..., 18, 3] in m and `geom_quat` f32[..., 18, 4] (wxyz) in the world's frame,
        geoms in the order of `GEOMS`; the floor is the plane z = 0.
    """
    return _measures(jnp.asarray(scene.geom_pos), jnp.asarray(scene.geom_quat))


@partial(jax.jit, inline=True)  # every program that asks copies one trace
def _measures(position: Float[Array, "... 18 3"], quaternion: Float[Array, "... 18 4"]) -> Measures:
    """The measures of where geoms are and of how they are turned."""
    axis = axis_of(quaternion, 2)
    reach = axis * HALF_LENGTH[:, None]
    # MuJoCo's z axis points from a capsule's second end to its first, here the one nearer to the trunk.
    near, far = position + reach, position - reach
    clearance = jnp.minimum(near[..., 2], far[..., 2]) - RADIUS

    # The trunk's capsules lie along y: turned by 90 degrees about x, so that their y axis points up the body.
    torso, pelvis = INDEX["torso1"], INDEX["butt"]
    trunk_quat = quaternion[..., np.asarray([torso, pelvis]), :]
    forward, left, up = axis_of(trunk_quat, 0), -axis_of(trunk_quat, 2), axis_of(trunk_quat, 1)
    torso_frame = jnp.stack([forward[..., 0, :], left[..., 0, :], up[..., 0, :]], axis=-2)
    facing = _level(left[..., 1, :], forward[..., 1, :])

    hip, knee, foot = near[..., THIGHS, :], near[..., SHINS, :], position[..., FEET, :]
    thigh, shin = -axis[..., THIGHS, :], -axis[..., SHINS, :]
    leg = foot - hip
    foot_clearance = clearance[..., FEET]
    knee_clearance = jnp.minimum(far[..., THIGHS, 2] - RADIUS[THIGHS], near[..., SHINS, 2] - RADIUS[SHINS])
    foot_of_pelvis = _in_frame(facing, foot - position[..., pelvis, None, :])
    knee_of_pelvis = _in_frame(facing, knee - position[..., pelvis, None, :])
    hand = position[..., HANDS, :]
    hand_of_torso = _in_frame(torso_frame, hand - position[..., torso, None, :])
    elbow_of_torso = _in_frame(torso_frame, far[..., UPPER_ARMS, :] - position[..., torso, None, :])
    hand_out, elbow_out = hand_of_torso[..., 1] * SIDE, elbow_of_torso[..., 1] * SIDE

    def gaps(pairs: np.ndarray) -> Float[Array, "... pairs"]:
        a, b = pairs[:, 0], pairs[:, 1]
        distance = segment_distance(
            position[..., a, :], reach[..., a, :], position[..., b, :], reach[..., b, :]
        )
        return distance - (RADIUS[a] + RADIUS[b])

    # One call for all pairs: what a call compiles to does not grow with their number.
    at_hips = np.asarray([(h, INDEX[name]) for name in ("butt", "lwaist") for h in HANDS])
    at_arms = np.stack([HANDS, FOREARMS[::-1]], axis=1)
    groups = (ARM_PAIRS, LEG_PAIRS, at_hips, at_arms)
    all_gaps = gaps(np.concatenate(groups))
    ends = np.cumsum([len(group) for group in groups])[:-1]
    arm_gaps, leg_gaps, hip_gaps, crossed_gaps = jnp.split(all_gaps, ends, axis=-1)

    return Measures(
        torso_tilt=_degrees(up[..., 0, 2]),
        torso_facing=jnp.rad2deg(jnp.arctan2(forward[..., 0, 1], forward[..., 0, 0])),
        lean=_lean(position, foot, foot_clearance),
        lowest=jnp.min(clearance[..., 1:], axis=-1),
        head_clearance=clearance[..., INDEX["head"]],
        torso_clearance=clearance[..., torso],
        pelvis_clearance=clearance[..., pelvis],
        lower_foot_clearance=jnp.min(foot_clearance, axis=-1),
        higher_foot_clearance=jnp.max(foot_clearance, axis=-1),
        foot_clearance=foot_clearance,
        knee_clearance=knee_clearance,
        trunk_clearance=jnp.min(clearance[..., _ABOVE_KNEES], axis=-1),
        knee_flexion=_degrees(_dot(thigh, shin)),
        shin_angle=_degrees(-shin[..., 2]),
        thigh_spread=_degrees(_dot(thigh[..., 0, :], thigh[..., 1, :])),
        leg_spread=_angle(leg[..., 0, :], leg[..., 1, :]),
        hip_over_knee=hip[..., 2] - knee[..., 2],
        foot_out=foot_of_pelvis[..., 1] * SIDE,
        foot_behind_knee=knee_of_pelvis[..., 0] - foot_of_pelvis[..., 0],
        foot_to_pelvis=_length(foot_of_pelvis[..., :2]),
        hand_over_head=hand[..., 2] - (position[..., INDEX["head"], 2] + RADIUS[INDEX["head"]])[..., None],
        hand_forward=hand_of_torso[..., 0],
        hand_out=hand_out,
        hand_up=hand_of_torso[..., 2],
        elbow_up=elbow_of_torso[..., 2],
        elbow_beyond_hand=elbow_out - hand_out,
        hand_to_hip=jnp.minimum(hip_gaps[..., :2], hip_gaps[..., 2:]),
        hand_to_other_forearm=crossed_gaps,
        arm_penetration=-jnp.min(arm_gaps, axis=-1),
        leg_penetration=-jnp.min(leg_gaps, axis=-1),
    )


def segment_distance(
    centre_a: Float[Array, "... 3"],
    reach_a: Float[Array, "... 3"],
    centre_b: Float[Array, "... 3"],
    reach_b: Float[Array, "... 3"],
) -> Float[Array, "..."]:
    """Distance in m of the segments `centre +- reach`; a reach of zero is a point.

    Ericson, Real-Time Collision Detection (2005), section 5.1.9, without branches.
    """
    offset = centre_a - centre_b
    aa, bb, ab = _dot(reach_a, reach_a), _dot(reach_b, reach_b), _dot(reach_a, reach_b)
    ao, bo = _dot(reach_a, offset), _dot(reach_b, offset)

    def clip(numerator: Array, denominator: Array) -> Array:
        return jnp.clip(numerator / jnp.maximum(denominator, 1e-9), -1.0, 1.0)

    # Where the closest point of the line lies on a, then on b given a, then on a given b.
    s = clip(ab * bo - ao * bb, aa * bb - ab * ab)
    t = clip(ab * s + bo, bb)
    s = clip(ab * t - ao, aa)
    return _length(offset + s[..., None] * reach_a - t[..., None] * reach_b)


_ABOVE_KNEES = np.asarray(
    [INDEX[name] for name in GEOMS if name != "floor" and not name.endswith(("shin1", "foot"))]
)
_FOOT_BLEND = 0.05  # m of difference in height from which on only the lower foot supports


def _lean(
    position: Float[Array, "... 18 3"], foot: Float[Array, "... 2 3"], foot_clearance: Float[Array, "... 2"]
) -> Float[Array, "..."]:
    # Geoms are of even density, so their centres, weighted by mass, give the centre of mass.
    com = jnp.tensordot(position, jnp.asarray(MASS / MASS.sum()), axes=((-2,), (0,)))
    difference = foot_clearance[..., 0] - foot_clearance[..., 1]
    weight_left = jnp.clip(0.5 + difference / (2.0 * _FOOT_BLEND), 0.0, 1.0)[..., None]
    support = (1.0 - weight_left) * foot[..., 0, :] + weight_left * foot[..., 1, :]
    support = support - jnp.asarray([0.0, 0.0, float(RADIUS[INDEX["left_foot"]])])
    line = com - support
    return jnp.rad2deg(jnp.arctan2(_length(line[..., :2]), line[..., 2]))


def _level(left: Float[Array, "... 3"], forward: Float[Array, "... 3"]) -> Float[Array, "... 3 3"]:
    """Frame of a heading: forward, left and up, with up the world's; `left` decides, as it survives bending over."""
    flat = left.at[..., 2].set(0.0)
    # Lying on its side the body has no level left; its own is as good as any.
    flat = jnp.where(_length(flat)[..., None] > 1e-3, flat, left)
    flat = flat / _length(flat)[..., None]
    up = jnp.broadcast_to(jnp.asarray([0.0, 0.0, 1.0]), flat.shape)
    ahead = jnp.cross(flat, up)
    return jnp.stack([ahead, flat, up], axis=-2)


def _in_frame(frame: Float[Array, "... 3 3"], vector: Float[Array, "... 2 3"]) -> Float[Array, "... 2 3"]:
    return jnp.sum(frame[..., None, :, :] * vector[..., None, :], axis=-1)


def axis_of(quat: Float[Array, "... 4"], axis: int) -> Float[Array, "... 3"]:
    """A column of the rotation matrix: where the local axis points in the world."""
    w, x, y, z = jnp.moveaxis(quat, -1, 0)
    columns = (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )
    return jnp.stack(columns[axis], axis=-1)


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1)


def _length(vector: Array) -> Array:
    return jnp.sqrt(_dot(vector, vector))


def _degrees(cosine: Array) -> Array:
    return jnp.rad2deg(jnp.arccos(jnp.clip(cosine, -1.0, 1.0)))


def _angle(a: Array, b: Array) -> Array:
    return jnp.rad2deg(jnp.arctan2(_length(jnp.cross(a, b)), _dot(a, b)))
