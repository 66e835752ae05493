"""What the foreign environments that are shown can be asked for, and when it is achieved.

Measures are of generalised positions `qpos`, of one state or of a batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# brax:reacher, m: the inner link, and the outer one with its fingertip.
INNER, OUTER = 0.1, 0.11
TOUCH = 0.02  # m between the middles of fingertip and ball, radii 0.010 and 0.009: 1 mm of air at most
ON_BACK = 30.0  # degrees of pitch from lying flat on the back; at rest the cheetah lies at 10
NOSE_DOWN = (-110.0, -45.0)  # degrees of pitch; it can rest on its head at -63


def fingertip(qpos: Float[Array, "*batch 4"]) -> Float[Array, "*batch 2"]:
    """Where the reacher's fingertip is, m from the shoulder."""
    shoulder, forearm = qpos[..., 0], qpos[..., 0] + qpos[..., 1]
    x = INNER * jnp.cos(shoulder) + OUTER * jnp.cos(forearm)
    y = INNER * jnp.sin(shoulder) + OUTER * jnp.sin(forearm)
    return jnp.stack([x, y], axis=-1)


def tip_to_ball(qpos: Float[Array, "*batch 4"]) -> Float[Array, "*batch"]:
    """Distance between the middles of the reacher's fingertip and of its ball, m."""
    return jnp.linalg.norm(fingertip(qpos) - qpos[..., 2:4], axis=-1)


def pitch(qpos: Float[Array, "*batch 9"]) -> Float[Array, "*batch"]:
    """Pitch of the cheetah's trunk, degrees in [-180, 180]: positive with the nose up, 180 on its back."""
    return jnp.rad2deg(jnp.arctan2(jnp.sin(-qpos[..., 2]), jnp.cos(qpos[..., 2])))


@dataclass(frozen=True)
class ForeignGoal:
    """A sentence, and a predicate that says when it is true."""

    summary: str  # one line for --help
    prompt: str
    opposite: str
    concept: str  # its name among the captions of the domain
    holds: Callable[[Float[Array, "*batch nq"]], Bool[Array, "*batch"]]
    metric: str  # what the share of successful steps is called


@dataclass(frozen=True)
class Shown:
    """A foreign environment with captions, and what it is trained for."""

    baseline: str  # what every picture shows
    steps: int  # of an episode
    window: int  # its last steps, in half of which a goal has to hold
    goals: Mapping[str, ForeignGoal]


SHOWN: Mapping[str, Shown] = MappingProxyType(
    {
        "brax_reacher": Shown(
            baseline="a robot arm and a red ball",
            steps=50,
            window=25,
            goals={
                "touching": ForeignGoal(
                    summary="touch the ball with the fingertip, wherever it lies",
                    prompt="a robot arm touching the red ball with its fingertip",
                    opposite="a robot arm far away from the red ball",
                    concept="touching",
                    holds=lambda qpos: tip_to_ball(qpos) < TOUCH,
                    metric="touch_fraction",
                ),
            },
        ),
        "brax_halfcheetah": Shown(
            baseline="a robot cheetah",
            steps=100,
            window=50,
            goals={
                "on-back": ForeignGoal(
                    summary="roll over and lie on the back",
                    prompt="a robot cheetah lying on its back with its legs in the air",
                    opposite="a robot cheetah standing on its feet",
                    concept="on_back",
                    holds=lambda qpos: jnp.abs(pitch(qpos)) > 180.0 - ON_BACK,
                    metric="pose_fraction",
                ),
                "nose-down": ForeignGoal(
                    summary="stand on the nose",
                    prompt="a robot cheetah standing on its nose",
                    opposite="a robot cheetah standing on its feet",
                    concept="nose_down",
                    holds=lambda qpos: (pitch(qpos) > NOSE_DOWN[0]) & (pitch(qpos) < NOSE_DOWN[1]),
                    metric="pose_fraction",
                ),
            },
        ),
    }
)


def goals_of(domain: str) -> Mapping[str, ForeignGoal]:
    """The goals of a domain such as `brax_reacher`, by name; none for most."""
    return SHOWN[domain].goals if domain in SHOWN else {}
