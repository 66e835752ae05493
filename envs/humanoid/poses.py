"""Poses of the humanoid for the embedded CLIP: postures and arms from libraries, put together with noise.

What looks alike lies side by side: each posture with a goal comes with its near misses, arms on the hips with arms
beside them, crossed arms with hands that only meet. States of policies join as `Library.extra`, poses found by
searching for a CLIP's mistakes as `Library.found`.
"""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.errors import ConfigError

from .arms import MIRROR_ARM, PAIRS, find_arms
from .kinematics import skeleton
from .postures import FAMILIES, drop, find_postures

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis

# Shares of the families of postures in the samples; they are divided by their sum.
SHARES: dict[str, float] = {
    "stand": 0.33,
    "one_leg": 0.09,
    "one_leg_near": 0.04,
    "kneel": 0.10,
    "kneel_near": 0.04,
    "lotus": 0.10,
    "lotus_near": 0.03,
    "splits": 0.09,
    "splits_near": 0.03,
    "sit": 0.03,
    "crouch": 0.035,
    "half_kneel": 0.025,
    "lunge": 0.015,
    "straddle": 0.015,
    "bow": 0.015,
    "all_fours": 0.01,
    "lie": 0.055,
    "fall": 0.045,
    "random": 0.03,
}  # fmt: skip

# Likewise of the poses of the arms: of one who stands, whose arms are four of the eight goals, and of all others.
STANDING_ARMS: dict[str, float] = {
    "down": 0.10,
    "hips": 0.22,
    "raised": 0.23,
    "crossed": 0.22,
    "crossed_high": 0.03,
    "side": 0.03,
    "forward": 0.04,
    "half_raised": 0.03,
    "near_hips": 0.04,
    "belly": 0.02,
    "chest": 0.04,
    "one_across": 0.03,
    "one_raised": 0.03,
    "one_hip": 0.02,
    "back": 0.01,
    "any": 0.03,
}
OTHER_ARMS: dict[str, float] = {
    "down": 0.24,
    "hips": 0.07,
    "raised": 0.07,
    "crossed": 0.06,
    "crossed_high": 0.02,
    "side": 0.08,
    "forward": 0.12,
    "half_raised": 0.04,
    "near_hips": 0.04,
    "belly": 0.04,
    "chest": 0.03,
    "one_across": 0.02,
    "one_raised": 0.04,
    "one_hip": 0.02,
    "back": 0.03,
    "any": 0.10,
}

JOINT_NOISE = 4.0  # degrees, the largest standard deviation; a sample's is uniform below it
TILT_NOISE = 2.0  # degrees
AIRBORNE = 0.08  # share of samples off the floor, by up to 0.4 m
SUNK = 0.012  # m, the deepest that a sample on the floor is in it, as soft contacts are
PLACE = 0.25  # m, standard deviation of the position on the floor
FACING = (
    0.6,
    23.0,
)  # share that faces the camera, and degrees of standard deviation; the rest faces anywhere

# The mirror image in the plane y = 0: joints of right and left change places.
MIRROR_JOINTS = np.concatenate([[0, 1, 2], [7, 8, 9, 10], [3, 4, 5, 6], [14, 15, 16], [11, 12, 13]])
MIRROR_SIGNS = np.concatenate([[-1, 1, -1], np.ones(8), MIRROR_ARM, MIRROR_ARM]).astype(np.float32)


@struct.dataclass
class Library:
    """What samples are put together from; an argument of the program that draws them."""

    postures: Leaf  # f32[families, k, 15]: orientation of the torso wxyz; abdomen and legs, rad
    arms: Leaf  # f32[pairs, k, 6], rad, right then left
    extra: Leaf  # f32[m, 24], qpos used with their joints as they are; at least one row
    extra_share: Leaf  # f32[], of the samples
    found: Leaf  # f32[k, 24], likewise
    found_share: Leaf  # f32[], of the samples
    jitter: Leaf  # f32[], m and rad, standard deviation of place and yaw of extra and found states
    joint_jitter: Leaf  # f32[], rad, largest standard deviation of their joints; uniform below it


@cache
def make_library(seed: int = 0, count: int = 256) -> Library:
    """Finds `count` poses of each kind; a few seconds, the same every time for a seed."""
    return Library(
        postures=find_postures(seed, count),
        arms=find_arms(seed + 1, count),
        extra=np.eye(1, 24, 3, dtype=np.float32),
        extra_share=np.zeros((), np.float32),
        found=np.eye(1, 24, 3, dtype=np.float32),
        found_share=np.zeros((), np.float32),
        jitter=np.zeros((), np.float32),
        joint_jitter=np.zeros((), np.float32),
    )


def with_extra(
    library: Library,
    qpos: Float[np.ndarray, "m 24"],
    share: float,
    jitter: float = 0.0,
    joint_jitter: float = 0.0,
) -> Library:
    """A library that draws `share` of its samples from `qpos`, states of policies.

    With `jitter` each is drawn moved and turned a little, and mirrored half of the time, which changes no predicate;
    with `joint_jitter`, in radians, its joints move as well, which may.
    """
    return replace(
        library,
        extra=np.asarray(qpos, np.float32),
        extra_share=np.float32(share),
        jitter=np.float32(jitter),
        joint_jitter=np.float32(joint_jitter),
    )


def with_found(library: Library, qpos: Float[Array | np.ndarray, "k 24"], share: float) -> Library:
    """A library that draws `share` of its samples from `qpos`, jittered as `extra`; `keep_found` renews them."""
    if library.extra_share + share > 1:
        raise ConfigError(f"shares {library.extra_share:g} and {share:g} of a library add up to more than 1")
    return replace(library, found=qpos, found_share=np.float32(share))


def keep_found(library: Library, qpos: Float[Array, "n 24"]) -> Library:
    """A library with the oldest of its found poses replaced by `qpos`."""
    return replace(library, found=jnp.concatenate([qpos, library.found])[: library.found.shape[0]])


def sample_qpos(key: jax.Array, count: int, library: Library) -> Float[Array, "count 24"]:
    """Draws poses; see the constants of this module for what of which.

    Args:
      key: of jax.random.
      count: how many; static.
      library: see `make_library`.

    Returns:
      qpos: position of the torso in m, orientation wxyz, 17 joint angles in rad within their limits; extra and
      found states have the joints they came with, or their mirror image, but for the library's `joint_jitter`.
    """
    library = jax.tree.map(jnp.asarray, library)
    keys = iter(jax.random.split(key, 16))
    family = jax.random.choice(next(keys), len(FAMILIES), (count,), p=_shares(SHARES, FAMILIES))
    arms_of = jnp.stack([_shares(STANDING_ARMS, PAIRS), _shares(OTHER_ARMS, PAIRS)])
    stands = jnp.asarray([name in ("stand", "straddle") for name in FAMILIES])
    arms = jax.random.categorical(next(keys), jnp.log(arms_of)[jnp.where(stands[family], 0, 1)])
    size = library.postures.shape[1]
    posture = library.postures[family, jax.random.randint(next(keys), (count,), 0, size)]
    both = library.arms[arms, jax.random.randint(next(keys), (count,), 0, library.arms.shape[1])]

    body = skeleton()
    scale = jnp.deg2rad(jax.random.uniform(next(keys), (count, 1), maxval=JOINT_NOISE))
    joints = jnp.concatenate([posture[:, 4:], both], axis=1)
    joints = joints + scale * jax.random.normal(next(keys), joints.shape)
    joints = jnp.clip(joints, body.low, body.high)
    quat = posture[:, :4]
    flip = jax.random.bernoulli(next(keys), 0.5, (count, 1))
    joints = jnp.where(flip, joints[:, MIRROR_JOINTS] * MIRROR_SIGNS, joints)
    quat = jnp.where(flip, quat * jnp.asarray([1.0, -1.0, 1.0, -1.0]), quat)

    tilt = jnp.deg2rad(TILT_NOISE) * jax.random.normal(next(keys), (count, 2))
    share, spread = FACING
    towards = jax.random.bernoulli(next(keys), share, (count,))
    yaw = jnp.where(
        towards,
        jnp.deg2rad(spread) * jax.random.normal(next(keys), (count,)),
        jax.random.uniform(next(keys), (count,), minval=-jnp.pi, maxval=jnp.pi),
    )
    quat = _turn_about_z(yaw, _tilt(tilt, quat))
    place = PLACE * jax.random.normal(next(keys), (count, 2))
    qpos = jnp.concatenate([place, jnp.zeros((count, 1)), quat, joints], axis=1)
    key_air, key_height, key_extra, key_row = jax.random.split(next(keys), 4)
    lifted = jax.random.bernoulli(key_air, AIRBORNE, (count,))
    height = jax.random.uniform(key_height, (count,))
    qpos = drop(qpos, jnp.where(lifted, 0.4 * height**2, -SUNK * height))

    from_extra = jax.random.bernoulli(key_extra, library.extra_share, (count, 1))
    row = jax.random.randint(key_row, (count,), 0, library.extra.shape[0])
    key_found, key_row, key_jitter = jax.random.split(next(keys), 3)
    from_found = jax.random.bernoulli(
        key_found, library.found_share / jnp.maximum(1e-6, 1 - library.extra_share), (count, 1)
    )
    other = jax.random.randint(key_row, (count,), 0, library.found.shape[0])
    given = jnp.where(from_extra, library.extra[row], library.found[other])
    given = _vary(key_jitter, given, library.jitter, library.joint_jitter)
    return jnp.where(from_extra | from_found, given, qpos)


def _vary(
    key: jax.Array, qpos: Float[Array, "n 24"], jitter: Float[Array, ""], joint_jitter: Float[Array, ""]
) -> Float[Array, "n 24"]:
    """Moves and turns poses on the floor by `jitter`, and mirrors half of them; bends joints by up to `joint_jitter`.

    Zeros leave all as they are.
    """
    key_place, key_yaw, key_mirror, key_scale, key_joints = jax.random.split(key, 5)
    body, scale = skeleton(), joint_jitter * jax.random.uniform(key_scale, (qpos.shape[0], 1))
    # Agents press joints beyond their limits, which stays.
    joints = qpos[:, 7:]
    bent = joints + scale * jax.random.normal(key_joints, joints.shape)
    bent = jnp.clip(bent, jnp.minimum(body.low, joints), jnp.maximum(body.high, joints))
    qpos = jnp.concatenate([qpos[:, :7], bent], axis=1)
    mirrored = jnp.concatenate(
        [
            qpos[:, :7] * jnp.asarray([1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.0]),
            qpos[:, 7:][:, MIRROR_JOINTS] * MIRROR_SIGNS,
        ],
        axis=1,
    )
    flip = jax.random.bernoulli(key_mirror, 0.5, (qpos.shape[0], 1)) & (jitter > 0)
    qpos = jnp.where(flip, mirrored, qpos)
    place = qpos[:, :2] + jitter * jax.random.normal(key_place, (qpos.shape[0], 2))
    quat = _turn_about_z(jitter * jax.random.normal(key_yaw, (qpos.shape[0],)), qpos[:, 3:7])
    return jnp.concatenate([place, qpos[:, 2:3], quat, qpos[:, 7:]], axis=1)


def _shares(shares: dict[str, float], names: object) -> Float[Array, " n"]:
    values = np.asarray([shares[name] for name in names], np.float32)  # pyright: ignore[reportGeneralTypeIssues]
    return jnp.asarray(values / values.sum())


def _turn_about_z(angle: Float[Array, " n"], quat: Float[Array, "n 4"]) -> Float[Array, "n 4"]:
    c, s = jnp.cos(0.5 * angle), jnp.sin(0.5 * angle)
    w, x, y, z = jnp.moveaxis(quat, -1, 0)
    return jnp.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=-1)


def _tilt(tilt: Float[Array, "n 2"], quat: Float[Array, "n 4"]) -> Float[Array, "n 4"]:
    """Small turns about the world's x and y axes."""
    a, b = 0.5 * tilt[:, 0], 0.5 * tilt[:, 1]
    w, x, y, z = jnp.moveaxis(quat, -1, 0)
    turned = jnp.stack([w - a * x - b * y, x + a * w + b * z, y + b * w - a * z, z + a * y - b * x], axis=-1)
    return turned / jnp.linalg.norm(turned, axis=-1, keepdims=True)
