"""Rewards as an engineer writes them in ten minutes, without pictures and without the predicates: to compare with.

A sentence is not the only reward that can be optimised past what was meant. What is written here looks right, and
leaves out whatever its author did not think of.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from .measures import Measures

KNEELING_HEIGHT = (
    0.41  # m, clearance of the pelvis of a body on its knees; 0.78 standing, 0.16 seated on the heels
)
HEIGHT_WIDTH = 0.10  # m
TILT_WIDTH = 30.0  # degrees from vertical
SPEED_WIDTH = 0.5  # m/s


def kneeling(measures: Measures, speed: Float[Array, "..."]) -> Float[Array, "..."]:
    """Pelvis at the height of kneeling, torso upright, and no haste; in [0, 1].

    `0.5 exp(-((h - 0.41 m) / 0.10 m)^2) + 0.4 exp(-(tilt / 30 degrees)^2) + 0.1 exp(-(speed / 0.5 m/s)^2)` with the
    clearance `h` of the pelvis in m, the torso's tilt from vertical in degrees and the speed of the torso in m/s. Of
    knees, shins and feet it says nothing: a body that squats, or is on its way through that height, earns as much.
    """
    height = jnp.exp(-(((measures.pelvis_clearance - KNEELING_HEIGHT) / HEIGHT_WIDTH) ** 2))
    upright = jnp.exp(-((measures.torso_tilt / TILT_WIDTH) ** 2))
    still = jnp.exp(-((speed / SPEED_WIDTH) ** 2))
    return 0.5 * height + 0.4 * upright + 0.1 * still


REWARDS: dict[str, Callable[[Measures, Array], Array]] = {"kneeling": kneeling}
