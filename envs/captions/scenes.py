"""From scenes back to what concepts are true of: labels of states whose poses alone were kept."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvlm.render import RayScene

from ..adapters.sources import SOURCES
from ..cartpole import CartPoleScene, CartPoleState
from ..gridworld.env import GridState
from ..humanoid.measures import measure
from ..humanoid.predicates import GOALS, goal_log_odds
from ..mountain_car import MountainCarScene, MountainCarState
from ..own import is_own_domain, own_scene_type
from .humanoid_facts import describe

_SCENES = {"cartpole": CartPoleScene, "mountain_car": MountainCarScene, "gridworld": GridState}


def scene_type(domain: str) -> type:
    """The class of a domain's scenes; environments of other libraries have ray-cast ones."""
    if is_own_domain(domain):
        return own_scene_type(domain)
    return _SCENES.get(domain, RayScene)


def states_of(domain: str, scenes: Any) -> Any:
    """States of scenes, one or any batch, as the captions' concepts take them; velocities, which nothing shows, are 0.

    None where a scene does not tell: those of environments of other libraries have poses of geoms and no joint angles,
    and of one's own nothing is known.
    """
    if domain == "humanoid":
        return describe(scenes)
    if domain == "cartpole":
        still = jnp.zeros_like(scenes.x)
        return CartPoleState(x=scenes.x, x_dot=still, theta=scenes.theta, theta_dot=still)
    if domain == "mountain_car":
        return MountainCarState(position=scenes.position, velocity=jnp.zeros_like(scenes.position))
    return scenes if domain == "gridworld" else None


def goal_truth(domain: str, scenes: Any) -> dict[str, Float[Array, "..."]] | None:
    """Log-odds of every goal of a domain in scenes, positive where it holds; None where a scene does not tell.

    Raises `ConfigError` for a domain of ours that has no captions.
    """
    if domain == "humanoid":  # its captions would search for poses to draw first
        with jax.default_matmul_precision("highest"):  # as where the predicates judge at play
            return dict(zip(GOALS, _humanoid_truth(scenes), strict=True))
    if domain.partition("_")[0] in SOURCES or is_own_domain(domain):  # with captions or without
        return None
    from . import captioned_dataset

    captions, states = captioned_dataset(domain), states_of(domain, scenes)
    return {goal.concept: captions.concept(goal.concept).log_odds(states) for goal in captions.goals}


@jax.jit  # a few hundred operations, which are slow one by one
def _humanoid_truth(scenes: RayScene) -> list[Float[Array, "..."]]:
    measures = measure(scenes)
    return [goal_log_odds(goal, measures) for goal in GOALS]
