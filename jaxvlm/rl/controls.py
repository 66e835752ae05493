"""Policies that learn nothing, in the shape of an agent: what a trained one has to beat."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from jaxvlm.errors import ConfigError
from jaxvlm.rl.rollout import random_policy
from jaxvlm.spaces import Discrete, Space

CONTROLS = ("random", "zero")


@dataclass(frozen=True)
class Control:
    """`act(state, observation [B, ...], key=None, step=None, deterministic=False) -> action [B, ...]`.

    `state` is any pytree; only random actions need the key.
    """

    act: Callable[..., jax.Array]


def make_control(name: str, action_space: Space) -> Control:
    """A control by name.

    Args:
      name: `random` draws uniformly from the action space, `zero` always gives the zero action (or action 0).
      action_space: of the environment.

    Raises:
      ConfigError: another name.
    """
    if name not in CONTROLS:
        raise ConfigError(f"unknown control {name!r}: choose one of {', '.join(CONTROLS)}")
    random = random_policy(action_space)

    def act(
        state: Any,
        observation: jax.Array,
        key: jax.Array | None = None,
        step: jax.Array | int | None = None,
        deterministic: bool = False,
    ) -> jax.Array:
        if name == "random":
            if key is None:
                raise ConfigError("random actions need a key")
            return random(observation, key)
        shape = () if isinstance(action_space, Discrete) else action_space.shape
        return jnp.zeros((observation.shape[0], *shape), action_space.dtype)

    return Control(act)
