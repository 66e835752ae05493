"""Poses of both arms, found by rejection: the other half of what `poses.sample_qpos` puts together.

One arm's three joints are sampled all over their ranges, each sample is sorted by where its hand is, and arms of two
sorts are paired where they do not run through the body or each other. A left arm is a mirrored right one.
"""

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Bool, Float

from .kinematics import pose_scene, skeleton
from .measures import Measures, measure
from .predicates import ARMS_APART

# Of the right arm: shoulder1, shoulder2 and elbow to the left arm's.
MIRROR_ARM = np.asarray([-1.0, -1.0, 1.0], np.float32)
STANDING_HEIGHT = 1.293  # m, of the torso on straight legs


def _near(value: np.ndarray, target: float, width: float) -> np.ndarray:
    return abs(value - target) < width


# Where the right hand is, in metres in the frame of an upright torso; sorts overlap.
SORTS: dict[str, Callable[[Measures], np.ndarray]] = {
    "down": lambda m: (m.hand_up < -0.33) & _near(m.hand_out, 0.30, 0.16) & _near(m.hand_forward, 0.0, 0.2),
    "hip": lambda m: (
        (m.hand_to_hip < 0.06) & (m.hand_out > 0.08) & (m.elbow_beyond_hand > 0.06) & (m.hand_up < -0.2)
    ),
    "near_hip": lambda m: _near(m.hand_to_hip, 0.14, 0.05) & (m.hand_out > 0.06),
    "belly": lambda m: (m.hand_to_hip < 0.12) & (m.hand_out < 0.06) & (m.hand_forward > 0.0),
    "chest": lambda m: (
        _near(m.hand_out, 0.04, 0.05) & _near(m.hand_up, 0.0, 0.15) & _near(m.hand_forward, 0.2, 0.1)
    ),
    "across": lambda m: (
        (m.hand_out < -0.03)
        & _near(m.hand_up, -0.09, 0.19)
        & _near(m.hand_forward, 0.25, 0.21)
        & (m.elbow_up < -0.03)
    ),
    "across_face": lambda m: (
        (m.hand_out < -0.02)
        & _near(m.hand_up, 0.15, 0.15)
        & _near(m.hand_forward, 0.2, 0.15)
        & (m.elbow_up > 0.03)
    ),
    "raised": lambda m: m.hand_over_head > 0.06,
    "half_raised": lambda m: _near(m.hand_over_head, -0.15, 0.13),
    "side": lambda m: (m.hand_out > 0.55) & _near(m.hand_up, 0.06, 0.2),
    "forward": lambda m: (
        (m.hand_forward > 0.42) & _near(m.hand_up, 0.06, 0.25) & _near(m.hand_out, 0.17, 0.2)
    ),
    "back": lambda m: (m.hand_forward < -0.12) & (m.hand_up < 0.0),
    "any": lambda m: m.hand_up > -9.0,
}

# Pairs of sorts, right and left; at sampling time half of them are mirrored.
PAIRS: dict[str, tuple[str, str]] = {
    "down": ("down", "down"),
    "hips": ("hip", "hip"),
    "raised": ("raised", "raised"),
    "crossed": ("across", "across"),
    "side": ("side", "side"),
    "forward": ("forward", "forward"),
    "half_raised": ("half_raised", "half_raised"),
    "near_hips": ("near_hip", "near_hip"),
    "belly": ("belly", "belly"),
    "chest": ("chest", "chest"),
    "crossed_high": ("across_face", "across_face"),
    "one_across": ("across", "chest"),
    "one_raised": ("raised", "down"),
    "one_hip": ("hip", "down"),
    "back": ("back", "back"),
    "any": ("any", "any"),
}


def find_arms(seed: int, count: int, tries: int = 8000) -> Float[np.ndarray, "pairs count 6"]:
    """`count` poses of both arms for each of `PAIRS`, in rad, right then left; no arm runs through anything."""
    rng, body = np.random.default_rng(seed), skeleton()
    measures_of = jax.jit(lambda qpos: measure(pose_scene(qpos)))

    def measures(arms: np.ndarray) -> Measures:
        joints = np.zeros((tries, 17), np.float32)
        joints[:, 6] = joints[:, 10] = np.deg2rad(-2.0)  # knees
        joints[:, 11:] = arms
        root = np.tile(np.asarray([0, 0, STANDING_HEIGHT, 1, 0, 0, 0], np.float32), (tries, 1))
        return jax.tree.map(np.asarray, measures_of(np.hstack([root, joints])))

    def clear(found: Measures) -> Bool[np.ndarray, " tries"]:
        return np.asarray(found.arm_penetration) < 0.5 * float(ARMS_APART.high or 0.0)

    one = rng.uniform(body.low[11:14], body.high[11:14], (tries, 3)).astype(np.float32)
    stretched = MIRROR_ARM * np.deg2rad(np.asarray([-51.0, -53.0, -52.0]))  # the other arm, out of the way
    found = measures(np.hstack([one, np.tile(stretched, (tries, 1))]))
    right = jax.tree.map(lambda leaf: leaf[..., 0] if leaf.ndim == 2 else leaf, found)
    sorts = {name: one[test(right) & clear(found)] for name, test in SORTS.items()}

    poses = []
    for name, (first, second) in PAIRS.items():
        a, b = (sorts[sort][rng.integers(len(sorts[sort]), size=tries)] for sort in (first, second))
        pair = np.hstack(
            [a, np.where(rng.random((tries, 1)) < 0.5, b, a if first == second else b) * MIRROR_ARM]
        )
        found = measures(pair)
        keep = clear(found)
        if name == "crossed":  # each hand is near the other forearm
            keep &= np.asarray(found.hand_to_other_forearm).max(-1) < 0.10
        poses.append(pair[np.resize(np.flatnonzero(keep), count)])
    return np.stack(poses)
