"""Our environments as brax environments: `BraxEnv(env)` runs under brax's own wrappers."""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from jaxvlm.errors import ConfigError
from jaxvlm.spaces import Discrete, Space

from ..api import Environment, Params
from ..phases import Phased
from ..wrappers import TimeLimit
from .sources import quietly

try:
    with quietly():
        from brax.envs.base import Env, State
except ImportError as error:
    raise ConfigError(f"brax cannot be imported ({error}): run pip install brax") from error


def action_size(space: Space) -> int:
    """Length of the vector in [-1, 1] that stands for an action: of a discrete one, a score for each choice."""
    return space.n if isinstance(space, Discrete) else int(space.low_array().size)


def scaled_action(space: Space, action: jax.Array) -> jax.Array:
    """The action of `space` that a vector in [-1, 1] stands for: bounds at -1 and 1, or the choice scored highest."""
    if isinstance(space, Discrete):
        return jnp.argmax(action).astype(space.dtype)
    low, high = (jnp.asarray(bound).reshape(-1) for bound in (space.low_array(), space.high_array()))
    share = 0.5 * (jnp.clip(action, -1.0, 1.0) + 1.0)
    return (low + share * (high - low)).reshape(space.shape)


def bare(env: Environment) -> Environment:
    """The environment without its time limit: brax's `EpisodeWrapper` counts steps, and overwrites `truncation`.

    Phases go by the count of a limit, so theirs stays and ends nothing.
    """
    if isinstance(env, Phased):
        return replace(env, env=replace(env.env, truncate=False))
    return bare(env.env) if isinstance(env, TimeLimit) else env


class BraxEnv(Env):
    """An environment under brax's interface, unbatched and without auto-reset; wrap it as brax's own.

    A time limit of ours is taken off; hand its steps to `brax.envs.training.wrap(env, episode_length=...)`. An end
    by divergence, which has no counterpart in brax, is `done` with `info["truncation"]`. Numbers of our `info`,
    `success` among them, are `metrics`. Keys are raw, u32[2], as brax's wrappers ask. Observations are flattened.
    Products are of full precision, as in our own training.
    """

    def __init__(self, env: Environment, params: Params | None = None) -> None:
        self.env = bare(env)
        self.params = self.env.default_params if params is None else params
        self.observation_space = self.env.observation_space(self.params)
        self.action_space = self.env.action_space(self.params)

    def reset(self, rng: jax.Array) -> State:
        key, reset_key = jax.random.split(rng)
        with jax.default_matmul_precision("highest"):
            observation, state = self.env.reset(reset_key, self.params)
            facts = self._facts(reset_key, state)
        zero = jnp.zeros((), jnp.float32)
        return State(
            pipeline_state=state,  # pyright: ignore[reportArgumentType]  brax hands it on unread
            obs=observation.reshape(-1),
            reward=zero,
            done=zero,
            metrics=dict.fromkeys(facts, zero),
            info={"truncation": zero, "rng": key},
        )

    def step(self, state: State, action: jax.Array) -> State:
        key, step_key = jax.random.split(state.info["rng"])
        with jax.default_matmul_precision("highest"):
            observation, ours, reward, terminated, truncated, facts = self.env.step(
                step_key, state.pipeline_state, scaled_action(self.action_space, action), self.params
            )
        truncation = (truncated & ~terminated).astype(jnp.float32)
        return replace(
            state,
            pipeline_state=ours,
            obs=observation.reshape(-1),
            reward=reward,
            done=(terminated | truncated).astype(jnp.float32),
            metrics={**state.metrics, **{name: fact.astype(jnp.float32) for name, fact in facts.items()}},
            info={**state.info, "truncation": truncation, "rng": key},
        )

    def _facts(self, key: jax.Array, state: Any) -> list[str]:
        """Names in the `info` of a step."""
        action = scaled_action(self.action_space, jnp.zeros(self.action_size))
        return list(jax.eval_shape(self.env.step, key, state, action, self.params)[-1])

    @property
    def observation_size(self) -> int:
        return math.prod(self.observation_space.shape)

    @property
    def action_size(self) -> int:
        return action_size(self.action_space)

    @property
    def backend(self) -> str:
        return "jaxvlm"
