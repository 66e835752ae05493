"""From scenes back to what concepts are true of: labels of states whose poses alone were kept."""

from typing import Any

import jax.numpy as jnp

from jaxvlm.render import RayScene

from ..cartpole import CartPoleScene, CartPoleState
from ..gridworld.env import GridState
from ..mountain_car import MountainCarScene, MountainCarState
from .humanoid_facts import describe

_SCENES = {"cartpole": CartPoleScene, "mountain_car": MountainCarScene, "gridworld": GridState}


def scene_type(domain: str) -> type:
    """The class of a domain's scenes; environments of other libraries have ray-cast ones."""
    return _SCENES.get(domain, RayScene)


def states_of(domain: str, scenes: Any) -> Any:
    """States of scenes, one or any batch, as the captions' concepts take them; velocities, which nothing shows, are 0.

    None where a scene does not tell: those of environments of other libraries have poses of geoms and no joint angles.
    """
    if domain == "humanoid":
        return describe(scenes)
    if domain == "cartpole":
        still = jnp.zeros_like(scenes.x)
        return CartPoleState(x=scenes.x, x_dot=still, theta=scenes.theta, theta_dot=still)
    if domain == "mountain_car":
        return MountainCarState(position=scenes.position, velocity=jnp.zeros_like(scenes.position))
    return scenes if domain == "gridworld" else None
