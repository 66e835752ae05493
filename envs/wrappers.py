"""Wrappers around an unbatched environment; `vmap` comes after them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxvlm.errors import ConfigError
from jaxvlm.spaces import Space

from .api import Assets, Camera, Environment, Params, Scene, State

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class TimeLimitState:
    """State of the wrapped environment and the steps taken since its reset."""

    inner: Any  # state of the wrapped environment
    steps: Leaf  # i32[]


@dataclass(frozen=True)
class Wrapper:
    """An environment that does as the one inside it does; subclasses change what they are for."""

    env: Environment

    @property
    def name(self) -> str:
        return self.env.name

    @property
    def looks(self) -> tuple[str, ...]:
        return self.env.looks

    @property
    def default_params(self) -> Params:
        return self.env.default_params

    @property
    def cameras(self) -> dict[str, Camera]:
        return self.env.cameras

    def reset(self, key: jax.Array, params: Params) -> tuple[Float[Array, " obs"], State]:
        return self.env.reset(key, params)

    def step(
        self, key: jax.Array, state: State, action: jax.Array, params: Params
    ) -> tuple[
        Float[Array, " obs"], State, Float[Array, ""], Bool[Array, ""], Bool[Array, ""], dict[str, jax.Array]
    ]:
        return self.env.step(key, state, action, params)

    def observation_space(self, params: Params) -> Space:
        return self.env.observation_space(params)

    def action_space(self, params: Params) -> Space:
        return self.env.action_space(params)

    def scene(self, state: State, params: Params) -> Scene:
        return self.env.scene(state, params)

    def assets(self, look: str) -> Assets:
        return self.env.assets(look)

    def render(self, scene: Scene, assets: Assets, camera: Camera, size: int) -> Float[Array, "size size 3"]:
        return self.env.render(scene, assets, camera, size)


@dataclass(frozen=True)
class Judged(Wrapper):
    """Success is what `holds(state)`, bool[], says of the state that an action led to.

    For environments that know of no goal, such as `Foreign("mjcf", "robot.xml")`; `holds` is a function of a module and
    no lambda made anew each time, since environments are compared.
    """

    holds: Callable[[State], Bool[Array, ""]]

    def step(
        self, key: jax.Array, state: State, action: jax.Array, params: Params
    ) -> tuple[
        Float[Array, " obs"], State, Float[Array, ""], Bool[Array, ""], Bool[Array, ""], dict[str, jax.Array]
    ]:
        observation, state, reward, terminated, truncated, info = self.env.step(key, state, action, params)
        whole = ~info["diverged"] if "diverged" in info else True
        return (
            observation,
            state,
            reward,
            terminated,
            truncated,
            {**info, "success": self.holds(state) & whole},
        )


@dataclass(frozen=True)
class TimeLimit(Wrapper):
    """Truncates an episode after `max_steps` steps; all else is the wrapped environment's.

    A last step that also terminates reports both, as gymnasium's wrapper does. Without `truncate` it only counts: for
    phases, which go by that, in episodes that somebody else ends.
    """

    max_steps: int
    truncate: bool = True

    def __post_init__(self) -> None:
        if self.max_steps < 1:
            raise ConfigError(f"max_steps is {self.max_steps}: an episode needs at least one step")

    def reset(self, key: jax.Array, params: Params) -> tuple[Float[Array, " obs"], TimeLimitState]:
        observation, inner = self.env.reset(key, params)
        return observation, TimeLimitState(inner=inner, steps=jnp.zeros((), jnp.int32))

    def step(
        self, key: jax.Array, state: TimeLimitState, action: jax.Array, params: Params
    ) -> tuple[
        Float[Array, " obs"],
        TimeLimitState,
        Float[Array, ""],
        Bool[Array, ""],
        Bool[Array, ""],
        dict[str, jax.Array],
    ]:
        observation, inner, reward, terminated, truncated, info = self.env.step(
            key, state.inner, action, params
        )
        steps = state.steps + 1
        if self.truncate:
            truncated = truncated | (steps >= self.max_steps)
        return observation, TimeLimitState(inner=inner, steps=steps), reward, terminated, truncated, info

    def scene(self, state: TimeLimitState, params: Params) -> Scene:
        return self.env.scene(state.inner, params)
