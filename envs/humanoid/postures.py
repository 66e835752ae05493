"""Postures of trunk and legs, found by rejection: half of what `poses.sample_qpos` puts together.

A family is a distribution over joint angles written by hand, wider than what it is named after. Candidates are turned
until they rest on the floor, or are balanced over their feet, and the predicates decide which are kept. Families ending
in `_near` keep what just misses: the hard negatives. Angles here are degrees; qpos has rad.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .kinematics import pose_scene, skeleton
from .measures import FEET, HALF_LENGTH, INDEX, MASS, RADIUS, SHINS, Measures, axis_of, measure
from .predicates import condition_margins

# Angles of a leg in the model's order: hip_x and hip_z (negative outwards), hip_y (negative forwards), knee.
Trunk = Float[np.ndarray, "n 3"]  # abdomen_z, abdomen_y (negative bows), abdomen_x
Legs = Float[np.ndarray, "n 8"]  # right, left
Tilt = Float[np.ndarray, "n 2"]  # degrees: pitch (positive forwards), roll

# What may carry a posture, in the order of `_support_points`.
KNEES_AND_FEET = (1.0, 1.0, 1.0, 1.0, 0.0)
SEAT_AND_FEET = (0.0, 0.0, 1.0, 1.0, 1.0)
SEAT_AND_LEGS = (1.0, 1.0, 1.0, 1.0, 1.0)
NOTHING = (0.0, 0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Family:
    """Postures of one kind: how candidates are drawn, what carries them, and which are kept."""

    draw: Callable[[np.random.Generator, int], tuple[Trunk, Legs, Tilt]]
    support: tuple[float, ...] = NOTHING
    balanced: bool = False
    goal: str | None = None
    between: tuple[float, float] = (-np.inf, np.inf)  # margins of the goal that are kept


def _leg(
    thigh: np.ndarray, knee: np.ndarray, pitch: np.ndarray, out: np.ndarray, side: np.ndarray
) -> Float[np.ndarray, "n 4"]:
    """A leg whose thigh is `thigh` degrees behind vertical (negative: ahead), `knee` degrees flexed."""
    return np.stack([-side, -out, thigh - pitch, -knee], axis=1)


def _trunk(rng: np.random.Generator, n: int, spread: float = 8.0) -> tuple[Trunk, np.ndarray]:
    """Abdomen angles, and the pitch of the torso that would hold the pelvis upright."""
    trunk = rng.normal(0.0, spread, (n, 3))
    return trunk, -trunk[:, 1]


def _stand(
    rng: np.random.Generator, n: int, knee: float = 20.0, spread: float = 12.0
) -> tuple[Trunk, Legs, Tilt]:
    trunk, pitch = _trunk(rng, n)
    flexion = np.abs(rng.normal(knee, spread, (n, 1))) + rng.normal(0.0, 4.0, (n, 2))
    step = rng.normal(0.0, 10.0, (n, 1)) * np.asarray([1.0, -1.0])
    legs = [
        _leg(
            -0.5 * flexion[:, k] + step[:, k],
            flexion[:, k],
            np.zeros(n),
            *rng.normal((5.0, 4.0), (12.0, 6.0), (n, 2)).T,
        )
        for k in range(2)
    ]
    return trunk, np.hstack(legs), np.stack([pitch, np.zeros(n)], axis=1)


def _one_leg(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    trunk, legs, tilt = _stand(rng, n)
    forward = rng.random(n) < 0.7
    thigh = np.where(forward, rng.uniform(-105.0, -10.0, n), rng.uniform(-20.0, 20.0, n))
    knee = np.where(forward, rng.uniform(5.0, 130.0, n), rng.uniform(50.0, 150.0, n))
    lifted = _leg(thigh, knee, np.zeros(n), *rng.normal((10.0, 6.0), (20.0, 8.0), (n, 2)).T)
    return trunk, np.hstack([lifted, legs[:, 4:]]), tilt


def _kneel(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    trunk, pitch = _trunk(rng, n)
    thigh = rng.uniform(-70.0, 12.0, n)
    spread = np.abs(rng.normal(0.0, 22.0, n))
    legs = []
    for _ in range(2):
        angle = thigh + rng.normal(0.0, 4.0, n)
        out, side = spread + rng.normal(0.0, 5.0, n), rng.normal(5.0, 6.0, n)
        legs.append(_leg(angle, 90.0 - angle + rng.normal(0.0, 5.0, n), np.zeros(n), out, side))
    return trunk, np.hstack(legs), np.stack([pitch, np.zeros(n)], axis=1)


def _lotus(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    trunk, pitch = _trunk(rng, n)
    out, thigh = rng.uniform(25.0, 62.0, n), rng.uniform(-72.0, -45.0, n)
    legs = []
    for _ in range(2):
        angle = thigh + rng.normal(0.0, 4.0, n)
        knee = 90.0 - angle + rng.normal(0.0, 4.0, n)  # shins level
        legs.append(_leg(angle, knee, np.zeros(n), out + rng.normal(0, 5, n), rng.uniform(-5, 25, n)))
    return trunk, np.hstack(legs), np.stack([pitch, np.zeros(n)], axis=1)


def _splits(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    trunk, pitch = _trunk(rng, n, 12.0)
    out = rng.uniform(25.0, 60.0, n)
    legs = [
        _leg(
            rng.normal(-88.0, 6.0, n),
            rng.uniform(2.0, 38.0, n),
            np.zeros(n),
            out + rng.normal(0, 6, n),
            rng.uniform(-5, 25, n),
        )
        for _ in range(2)
    ]
    return trunk, np.hstack(legs), np.stack([pitch, np.zeros(n)], axis=1)


def _sit(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    trunk, pitch = _trunk(rng, n, 12.0)
    knee, recline = rng.uniform(2.0, 130.0, n), rng.uniform(-10.0, 30.0, n)
    legs = [
        _leg(
            -90.0 - 0.5 * knee + recline,
            knee + rng.normal(0, 8, n),
            np.zeros(n),
            rng.normal(5, 12, n),
            rng.normal(3, 5, n),
        )
        for _ in range(2)
    ]
    return trunk, np.hstack(legs), np.stack([pitch - recline, np.zeros(n)], axis=1)


def _half_kneel(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    trunk, legs, tilt = _kneel(rng, n)
    ahead = _leg(
        rng.normal(-80.0, 12.0, n),
        rng.normal(85.0, 12.0, n),
        np.zeros(n),
        *rng.normal((10, 4), (10, 5), (n, 2)).T,
    )
    return trunk, np.hstack([legs[:, :4], ahead]), tilt


def _lunge(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    trunk, pitch = _trunk(rng, n)
    ahead = _leg(
        rng.uniform(-90, -25, n), rng.uniform(2, 80, n), np.zeros(n), *rng.normal((8, 4), (10, 5), (n, 2)).T
    )
    back = _leg(
        rng.uniform(-5, 20, n), rng.uniform(2, 60, n), np.zeros(n), *rng.normal((5, 4), (8, 5), (n, 2)).T
    )
    return trunk, np.hstack([back, ahead]), np.stack([pitch + rng.uniform(0, 30, n), np.zeros(n)], axis=1)


def _straddle(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    """Standing with legs spread as far sideways as hips allow."""
    trunk, legs, tilt = _stand(rng, n, knee=10.0)
    legs[:, [0, 4]] = rng.uniform(-25.0, -15.0, (n, 2))
    legs[:, [1, 5]] = rng.uniform(-60.0, 0.0, (n, 2))
    legs[:, [2, 6]] = rng.uniform(-45.0, 0.0, (n, 1)) + rng.normal(0, 4, (n, 2))
    return trunk, legs, tilt


def _bow(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    trunk, legs, _ = _stand(rng, n)
    bend = rng.uniform(20.0, 70.0, n)
    trunk[:, 1] = -bend
    legs[:, [2, 6]] -= rng.uniform(0.0, 60.0, (n, 1))
    return trunk, legs, np.stack([bend, np.zeros(n)], axis=1)


def _all_fours(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    trunk, legs, tilt = _kneel(rng, n)
    return trunk, legs, tilt + np.stack([rng.uniform(45.0, 100.0, n), rng.normal(0.0, 8.0, n)], axis=1)


def _any_legs(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs]:
    """Joints anywhere in their ranges for a third, near standing for the rest."""
    body = skeleton()
    low, high = np.rad2deg(body.low[:11]), np.rad2deg(body.high[:11])
    trunk, legs, _ = _stand(rng, n, knee=30.0, spread=30.0)
    anywhere = rng.uniform(low, high, (n, 11))
    angles = np.where(rng.random((n, 1)) < 1 / 3, anywhere, np.hstack([trunk, legs]))
    return angles[:, :3], angles[:, 3:]


def _lie(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    pitch = rng.choice([-90.0, 90.0], n) + rng.normal(0.0, 12.0, n)
    roll = np.where(rng.random(n) < 0.2, rng.choice([-90.0, 90.0], n), 0.0) + rng.normal(0.0, 12.0, n)
    return *_any_legs(rng, n), np.stack([np.where(np.abs(roll) > 45, 0.0, pitch), roll], axis=1)


def _fall(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    angle, direction = rng.uniform(25.0, 80.0, n), rng.uniform(0.0, 2 * np.pi, n)
    return *_any_legs(rng, n), np.stack([angle * np.cos(direction), angle * np.sin(direction)], axis=1)


def _anything(rng: np.random.Generator, n: int) -> tuple[Trunk, Legs, Tilt]:
    return *_any_legs(rng, n), rng.uniform(-180.0, 180.0, (n, 2))


TRUE, NEAR = (0.05, np.inf), (-4.0, 0.0)
FAMILIES: dict[str, Family] = {
    "stand": Family(_stand, balanced=True, goal="standing", between=TRUE),
    "one_leg": Family(_one_leg, balanced=True, goal="one-leg", between=TRUE),
    "one_leg_near": Family(_one_leg, balanced=True, goal="one-leg", between=NEAR),
    "kneel": Family(_kneel, KNEES_AND_FEET, goal="kneeling", between=TRUE),
    "kneel_near": Family(_kneel, KNEES_AND_FEET, goal="kneeling", between=NEAR),
    "lotus": Family(_lotus, KNEES_AND_FEET, goal="lotus", between=TRUE),
    "lotus_near": Family(_lotus, KNEES_AND_FEET, goal="lotus", between=NEAR),
    "splits": Family(_splits, SEAT_AND_LEGS, goal="splits", between=TRUE),
    "splits_near": Family(_splits, SEAT_AND_LEGS, goal="splits", between=NEAR),
    "sit": Family(_sit, SEAT_AND_FEET),
    "crouch": Family(partial(_stand, knee=105.0, spread=25.0), balanced=True),
    "half_kneel": Family(_half_kneel, (1.0, 0.0, 1.0, 1.0, 0.0)),
    "lunge": Family(_lunge, balanced=True),
    "straddle": Family(_straddle, balanced=True),
    "bow": Family(_bow, balanced=True),
    "all_fours": Family(_all_fours),
    "lie": Family(_lie),
    "fall": Family(_fall),
    "random": Family(_anything),
}


def find_postures(seed: int, count: int, tries: int = 2000) -> Float[np.ndarray, "families count 15"]:
    """`count` postures of each family: orientation of the torso wxyz, then abdomen and legs in rad.

    A family that yields fewer than `count` in its tries repeats what it found. Arms are in front, out of the way.
    """
    rng = np.random.default_rng(seed)
    settle = jax.jit(_settle)
    found = []
    for family in FAMILIES.values():
        trunk, legs, tilt = family.draw(rng, tries)
        qpos = assemble(np.hstack([trunk, legs, np.tile(ARMS_AHEAD, (tries, 1))]), tilt)
        qpos, measures = settle(qpos, jnp.asarray(family.support), jnp.asarray(family.balanced))
        keep = np.ones(tries, bool)
        if family.goal is not None:
            margins = np.asarray(condition_margins(family.goal, measures)).min(-1)
            low, high = family.between
            keep = (margins > low) & (margins < high)
        rows = np.flatnonzero(keep)
        found.append(np.asarray(qpos)[np.resize(rows, count), 3:18])
    return np.stack(found).astype(np.float32)


ARMS_AHEAD = np.asarray([0.0, 31.0, -57.0, 0.0, -31.0, -57.0])  # degrees, right and left


def assemble(angles: Float[np.ndarray, "n 17"], tilt: Tilt) -> Float[np.ndarray, "n 24"]:
    """qpos at the origin from joint angles, clipped to the joints' limits, and pitch and roll of the torso; degrees."""
    body = skeleton()
    pitch, roll = 0.5 * np.deg2rad(np.asarray(tilt)).T
    cp, sp, cr, sr = np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    quat = np.stack(
        [cr * cp, sr * cp, cr * sp, sr * sp], axis=1
    )  # roll after pitch, both about the world's axes
    joints = np.clip(np.deg2rad(angles), body.low, body.high)
    return np.hstack([np.zeros((len(quat), 3)), quat, joints]).astype(np.float32)


def _settle(
    qpos: Float[Array, "n 24"], support: Float[Array, "5"], balanced: Bool[Array, ""]
) -> tuple[Array, Measures]:
    """Turns bodies until what supports them is level, or their centre of mass over their feet; then drops them."""
    weight = jnp.asarray(MASS / MASS.sum())

    def turn(_: Array, qpos: Array) -> Array:
        scene = pose_scene(qpos)
        normal = jnp.where(
            jnp.sum(support) > 0, _plane_normal(_support_points(scene), support), jnp.asarray([0.0, 0.0, 1.0])
        )
        com = jnp.einsum("ngc,g->nc", scene.geom_pos, weight)
        feet = scene.geom_pos[:, FEET]
        lower = jnp.take_along_axis(feet, jnp.argmin(feet[..., 2], axis=1)[:, None, None], axis=1)[:, 0]
        level = jnp.abs(feet[:, 0, 2] - feet[:, 1, 2])[:, None] < 0.06
        line = com - jnp.where(level, jnp.mean(feet, axis=1), lower)
        line = line / jnp.linalg.norm(line, axis=-1, keepdims=True)
        return qpos.at[:, 3:7].set(_turn_upright(jnp.where(balanced, line, normal), qpos[:, 3:7]))

    qpos = jax.lax.fori_loop(0, 3, turn, qpos)
    qpos = drop(qpos)
    return qpos, measure(pose_scene(qpos))


def drop(qpos: Float[Array, "n 24"], height: Float[Array, " n"] | float = 0.0) -> Float[Array, "n 24"]:
    """Puts the lowest point of each body `height` metres above the floor."""
    scene = pose_scene(qpos)
    ends = scene.geom_pos[..., 2] - jnp.abs(HALF_LENGTH * axis_of(scene.geom_quat, 2)[..., 2]) - RADIUS
    return qpos.at[:, 2].add(height - jnp.min(ends[:, 1:], axis=-1))


def _support_points(scene: object) -> Float[Array, "n 5 3"]:
    """Lowest points of knees, feet and seat."""
    pos, quat = scene.geom_pos, scene.geom_quat  # pyright: ignore[reportAttributeAccessIssue]
    knees = pos[:, SHINS] + HALF_LENGTH[SHINS][:, None] * axis_of(quat[:, SHINS], 2)
    seat = INDEX["butt"]
    points = jnp.concatenate([knees, pos[:, FEET], pos[:, seat, None]], axis=1)
    radius = np.concatenate([RADIUS[SHINS], RADIUS[FEET], RADIUS[[seat]]])
    return points.at[..., 2].add(-radius)


def _plane_normal(points: Float[Array, "n 5 3"], weight: Float[Array, "5"]) -> Float[Array, "n 3"]:
    """Unit normal, upwards, of the plane that fits weighted points best."""
    total = jnp.maximum(jnp.sum(weight), 1.0)
    centre = jnp.sum(weight[:, None] * points, axis=1, keepdims=True) / total
    x, y, z = jnp.moveaxis(points - centre, -1, 0)
    xx, yy, xy = (jnp.sum(weight * a * b, axis=-1) for a, b in ((x, x), (y, y), (x, y)))
    xz, yz = jnp.sum(weight * x * z, axis=-1), jnp.sum(weight * y * z, axis=-1)
    xx, yy = xx + 1e-3, yy + 1e-3  # two points fix no plane; the third is as level as it can be
    determinant = xx * yy - xy * xy
    slope_x, slope_y = (xz * yy - yz * xy) / determinant, (yz * xx - xz * xy) / determinant
    normal = jnp.stack([-slope_x, -slope_y, jnp.ones_like(slope_x)], axis=-1)
    return normal / jnp.linalg.norm(normal, axis=-1, keepdims=True)


def _turn_upright(direction: Float[Array, "n 3"], quat: Float[Array, "n 4"]) -> Float[Array, "n 4"]:
    """Orientations after the shortest turn that points `direction` upwards."""
    x, y, z = jnp.moveaxis(direction, -1, 0)
    w, a, b, c = jnp.moveaxis(quat, -1, 0)
    u, i, j = 1.0 + z, y, -x  # half-way quaternion: (1 + cos, direction x up)
    turned = jnp.stack(
        [u * w - i * a - j * b, u * a + i * w + j * c, u * b - i * c + j * w, u * c + i * b - j * a], axis=-1
    )
    return turned / jnp.linalg.norm(turned, axis=-1, keepdims=True)
