"""What the foreign environments that are shown can be asked for, and when it is achieved.

Measures are of generalised positions `qpos`, one state or a batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# brax:reacher, metres: the inner link, the outer one with its fingertip; radii of fingertip and ball.
INNER, OUTER = 0.1, 0.11
TOUCH = 0.02  # between the middles of fingertip (radius 0.010) and ball (0.009): 1 mm of air at most


def fingertip(qpos: Float[Array, "*batch 4"]) -> Float[Array, "*batch 2"]:
    """Where the reacher's fingertip is, m, from the shoulder."""
    shoulder, elbow = qpos[..., 0], qpos[..., 0] + qpos[..., 1]
    return jnp.stack(
        [INNER * jnp.cos(shoulder) + OUTER * jnp.cos(elbow), INNER * jnp.sin(shoulder) + OUTER * jnp.sin(elbow)],
        axis=-1,
    )


def tip_to_ball(qpos: Float[Array, "*batch 4"]) -> Float[Array, "*batch"]:
    """Distance between the middles of the reacher's fingertip and of the ball, m."""
    return jnp.linalg.norm(fingertip(qpos) - qpos[..., 2:4], axis=-1)


def pitch(qpos: Float[Array, "*batch 9"]) -> Float[Array, "*batch"]:
    """Pitch of the cheetah's torso, degrees in [-180, 180]: positive with the nose up, 180 on its back."""
    return jnp.rad2deg(jnp.arctan2(jnp.sin(-qpos[..., 2]), jnp.cos(-qpos[..., 2])))


@dataclass(frozen=True)
class ForeignGoal:
    """A sentence, and a predicate that says when it is true."""

    summary: str  # for a list of tasks
    prompt: str
    baseline: str
    opposite: str
    concept: str  # its name among the captions
    holds: Callable[[Float[Array, "*batch nq"]], Bool[Array, "*batch"]]
    steps: int  # of an episode
    window: int  # last steps that count
    threshold: float  # share of the window in which it holds


GOALS: Mapping[str, Mapping[str, ForeignGoal]] = {
    "brax_reacher": {},
}


def goals_of(domain: str) -> Mapping[str, ForeignGoal]:
    """The goals of a domain such as `brax_reacher`, by name; none for most."""
    return GOALS.get(domain, {})
