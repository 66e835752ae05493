"""Poses written by hand: for each goal some that meet it and some that an observer would call a near miss.

Tests hold the predicates to them, and the pictures in the docs are drawn from them.
"""

from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from .postures import assemble, drop

JOINTS = (
    "abdomen_z", "abdomen_y", "abdomen_x",
    "right_hip_x", "right_hip_z", "right_hip_y", "right_knee",
    "left_hip_x", "left_hip_z", "left_hip_y", "left_knee",
    "right_shoulder1", "right_shoulder2", "right_elbow", "left_shoulder1", "left_shoulder2", "left_elbow",
)  # fmt: skip


@dataclass(frozen=True)
class Example:
    """A pose in degrees, standing on the floor at the origin unless lifted."""

    title: str
    joints: dict[str, float] = field(default_factory=dict)  # `hip_y` and the like mean both legs
    arms: tuple[float, ...] = (
        35.0,
        -48.0,
        -60.0,
    )  # shoulder1, shoulder2, elbow; of one arm (the other mirrored) or both
    tilt: tuple[float, float] = (0.0, 0.0)  # pitch forwards, roll
    height: float = 0.0  # m above the floor


HIPS = (50.0, -70.0, -8.0)
RAISED = (-61.0, 17.0, -72.0)
CROSSED = (59.0, -2.0, -32.0, -59.0, -1.0, -19.0)
_LOTUS = {"hip_x": -10.0, "hip_z": -55.0, "hip_y": -72.0, "knee": -160.0}
_SPLITS = {"hip_x": -10.0, "hip_z": -58.0, "hip_y": -88.0, "knee": -2.0}

EXAMPLES: dict[str, tuple[tuple[Example, ...], tuple[Example, ...]]] = {
    "kneeling": (
        (
            Example("thighs upright", {"knee": -90.0}),
            Example("sitting on the heels", {"hip_y": -55.0, "knee": -145.0}),
            Example(
                "leaning back a little, arms raised", {"hip_y": 10.0, "knee": -85.0}, RAISED, (-8.0, 0.0)
            ),
        ),
        (
            Example("on one knee", {"left_hip_y": -85.0, "left_knee": -85.0, "right_knee": -90.0}),
            Example("in the air", {"knee": -90.0}, height=0.3),
            Example("crouching", {"hip_y": -85.0, "knee": -130.0}, tilt=(20.0, 0.0)),
            Example("on all fours", {"hip_y": -60.0, "knee": -90.0}, (0.0, 31.0, -57.0), (70.0, 0.0)),
            Example("standing", {}),
        ),
    ),
    "lotus": (
        (
            Example("knees far apart", _LOTUS, (0.0, 31.0, -57.0), (8.0, 0.0)),
            Example(
                "at rest, hands together",
                _LOTUS | {"hip_z": -42.0, "abdomen_y": 16.0},
                (30.0, 15.0, 0.0),
                (-10.0, 0.0),
            ),
        ),
        (
            Example("knees together", {"hip_y": -65.0, "knee": -155.0}),
            Example("legs ahead", {"hip_y": -90.0, "knee": -2.0}),
            Example("knees drawn up", {"hip_y": -110.0, "knee": -120.0}, tilt=(-10.0, 0.0)),
            Example("in the air", _LOTUS, height=0.3),
            Example("on its back", _LOTUS, tilt=(-90.0, 0.0)),
        ),
    ),
    "standing": (
        (
            Example("straight", {}),
            Example("knees a little bent", {"hip_y": -20.0, "knee": -40.0}),
            Example("in mid-step", {"left_hip_y": -15.0, "left_knee": -20.0, "right_hip_y": 10.0}),
        ),
        (
            Example("crouching", {"hip_y": -50.0, "knee": -100.0}),
            Example("in the air", {}, height=0.3),
            Example("falling forwards", {}, tilt=(40.0, 0.0)),
            Example("on one leg", {"left_hip_y": -80.0, "left_knee": -80.0}),
            Example("bowing", {"abdomen_y": -60.0}, tilt=(60.0, 0.0)),
        ),
    ),
    "arms-raised": (
        (
            Example("to the sides and up", {}, RAISED),
            Example("ahead and up", {}, (-84.0, 38.0, -63.0)),
        ),
        (
            Example("one arm", {}, (*RAISED, -35.0, 48.0, -60.0)),
            Example("stretched sideways", {}, (-51.0, -53.0, -52.0)),
            Example("kneeling", {"knee": -90.0}, RAISED),
            Example("crossed before the face", {}, (-20.0, 40.0, -20.0)),
            Example("hands up, elbows down", {}, (50.0, 58.0, -6.0)),
        ),
    ),
    "splits": (
        (
            Example("straddle", _SPLITS),
            Example("arms sideways", _SPLITS, (-51.0, -53.0, -52.0)),
        ),
        (
            Example("legs together", {"hip_y": -88.0, "knee": -2.0}),
            Example("knees bent", _SPLITS | {"knee": -60.0, "hip_y": -110.0}),
            Example("standing astride", {"hip_x": -25.0}),
            Example("lunge", {"left_hip_y": -70.0, "left_knee": -2.0, "right_hip_y": 20.0}),
            Example("in the air", _SPLITS, height=0.4),
        ),
    ),
    "hands-on-hips": (
        (
            Example("elbows out", {}, HIPS),
            Example("hands higher", {}, (54.0, -79.0, -1.0)),
        ),
        (
            Example("one hand", {}, (*HIPS, -35.0, 48.0, -60.0)),
            Example("arms at the sides", {}),
            Example("on the ribs", {}, (46.0, -56.0, 40.0)),
            Example("arms crossed", {}, CROSSED),
            Example("sitting", {"hip_y": -90.0, "knee": -2.0}, HIPS),
        ),
    ),
    "one-leg": (
        (
            Example("knee raised", {"left_hip_y": -80.0, "left_knee": -80.0}),
            Example("heel up", {"left_hip_y": 10.0, "left_knee": -90.0}),
            Example("leg held out", {"right_hip_y": -70.0, "right_hip_z": -40.0, "right_knee": -5.0}),
        ),
        (
            Example("both feet", {}),
            Example("in mid-step", {"left_hip_y": -15.0, "left_knee": -20.0, "right_hip_y": 10.0}),
            Example("in the air", {"left_hip_y": -80.0, "left_knee": -80.0}, height=0.3),
            Example("falling to the side", {"left_hip_y": -80.0, "left_knee": -80.0}, tilt=(0.0, 40.0)),
            Example("on one knee", {"left_hip_y": -85.0, "left_knee": -85.0, "right_knee": -90.0}),
        ),
    ),
    "arms-crossed": (
        (
            Example("before the belly", {}, CROSSED),
            Example("before the chest", {}, (53.0, 15.0, -38.0, -56.0, -21.0, -30.0)),
        ),
        (
            Example("hands just touching", {}, (42.0, 5.0, -20.0)),
            Example("before the face", {}, (-20.0, 40.0, -20.0)),
            Example("hands on hips", {}, HIPS),
            Example("one arm", {}, (59.0, -2.0, -32.0, -35.0, 48.0, -60.0)),
            Example("kneeling", {"knee": -90.0}, CROSSED),
        ),
    ),
}


def example_qpos(*examples: Example) -> Float[np.ndarray, "n 24"]:
    """Joint positions of examples: m, wxyz and rad."""
    angles, tilts, heights = [], [], []
    for example in examples:
        degrees = dict.fromkeys(JOINTS, 0.0) | {"right_knee": -2.0, "left_knee": -2.0}
        for name, angle in example.joints.items():
            degrees |= {joint: angle for joint in (name, f"right_{name}", f"left_{name}") if joint in degrees}
        arms = example.arms
        if len(arms) == 3:
            arms = (*arms, -arms[0], -arms[1], arms[2])
        angles.append([*list(degrees.values())[:11], *arms])
        tilts.append(example.tilt)
        heights.append(example.height)
    qpos = assemble(np.asarray(angles), np.asarray(tilts))
    return np.array(drop(jnp.asarray(qpos), jnp.asarray(heights, jnp.float32)))
