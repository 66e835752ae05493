"""The tasks that can be named on the command line.

A task is an environment, how it looks, and the sentences that say what to learn.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import jax.numpy as jnp

from envs.api import Environment
from envs.cartpole import CartPole
from envs.mountain_car import MountainCar
from envs.wrappers import TimeLimit
from jaxvlm.errors import ConfigError


@dataclass(frozen=True)
class Task:
    """What is learned, in which picture, and what counts as success."""

    name: str
    summary: str  # one line for --help
    env: Environment  # with its time limit
    params: Any  # numeric parameters of the environment
    algorithm: str  # "dqn" or "sac"
    domain: str  # the embedded CLIP that knows these scenes, `tiny:<domain>`
    look: str
    goal_prompts: tuple[str, ...]
    baseline_prompts: tuple[str, ...]
    opposite_prompts: tuple[str, ...]
    episode_length: int  # steps
    metric: str  # what the share of successful steps is called
    window: int  # the last steps of an episode that the share is taken over
    threshold: float  # share of successful steps in the window that makes an episode a success
    cameras: tuple[str, ...] = field(default=("default",))


def _cartpole(name: str, summary: str, initial_angle: float, reward: str, window: int) -> Task:
    env = CartPole(reward=reward)  # pyright: ignore[reportArgumentType]
    params = replace(env.default_params, initial_angle=jnp.float32(initial_angle))
    return Task(
        name=name,
        summary=summary,
        env=TimeLimit(env, 200),
        params=params,
        algorithm="dqn",
        domain="cartpole",
        look="plain",
        goal_prompts=("pole vertically upright on top of the cart",),
        baseline_prompts=("pole and cart",),
        opposite_prompts=("pole hanging down below the cart",),
        episode_length=200,
        metric="upright_fraction",
        window=window,
        threshold=0.9,
    )


def _mountain_car(name: str, summary: str, look: str) -> Task:
    env = MountainCar()
    return Task(
        name=name,
        summary=summary,
        env=TimeLimit(env, 200),
        params=env.default_params,
        algorithm="sac",
        domain="mountain_car",
        look=look,
        goal_prompts=("a car at the peak of the mountain, next to the yellow flag",),
        baseline_prompts=("a car in the mountain",),
        opposite_prompts=("a car at the bottom of the valley",),
        episode_length=200,
        metric="goal_fraction",
        window=1,
        threshold=1.0,
    )


_MAKERS = {
    "cartpole": lambda: _cartpole(
        "cartpole", "keep the pole up, from nearly upright", 0.05, reward="balance", window=200
    ),
    "cartpole-swingup": lambda: _cartpole(
        "cartpole-swingup",
        "swing the pole up from any angle and keep it there",
        3.1415927,
        reward="cosine",
        window=100,
    ),
    "mountain-car": lambda: _mountain_car("mountain-car", "reach the flag; textured mountain", "textured"),
    "mountain-car-plain": lambda: _mountain_car(
        "mountain-car-plain", "reach the flag; gymnasium's line drawing", "plain"
    ),
}

TASKS: tuple[str, ...] = tuple(_MAKERS)


def make_task(name: str) -> Task:
    """The task called `name`; raises `ConfigError` that lists the known ones."""
    if name not in _MAKERS:
        raise ConfigError(f"unknown task {name!r}; known tasks are {', '.join(TASKS)}")
    return _MAKERS[name]()
