"""The environment contract: unbatched pure functions, gymnax's argument order, no auto-reset and no jit.

An environment is a frozen dataclass, so it is hashable and can be a static argument of `jax.jit`.
Everything numeric lives in `params`, a pytree of arrays that may be vmapped.
"""

from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Bool, Float

from jaxvlm.spaces import Space

State = Any  # flax.struct dataclass of the environment
Params = Any  # flax.struct dataclass of numeric leaves
Scene = Any  # small pytree of float32: all that a frame is drawn from
Assets = Any  # textures and palettes, shared by all frames, never batched
Camera = Any  # pytree that says from where a frame is seen


@runtime_checkable
class Environment(Protocol):
    """What `jaxvlm` asks of an environment. All methods are unbatched; callers `vmap` them."""

    @property
    def name(self) -> str:
        """Short name, as in run directories."""
        ...

    @property
    def looks(self) -> tuple[str, ...]:
        """Names of the ways it can be drawn."""
        ...

    @property
    def default_params(self) -> Params:
        """Numeric parameters with the published values."""
        ...

    @property
    def cameras(self) -> dict[str, Camera]:
        """Named cameras; every environment has one named "default"."""
        ...

    def reset(self, key: jax.Array, params: Params) -> tuple[Float[Array, " obs"], State]:
        """Draws an initial state; returns its observation and itself."""
        ...

    def step(
        self, key: jax.Array, state: State, action: jax.Array, params: Params
    ) -> tuple[
        Float[Array, " obs"], State, Float[Array, ""], Bool[Array, ""], Bool[Array, ""], dict[str, jax.Array]
    ]:
        """Returns (observation, state, reward, terminated, truncated, info) of the state the action led to.

        `info` always holds `success`, bool[]: whether the task is achieved in that state. It may hold
        `diverged`, bool[]: the physics left the finite numbers, the state returned is finite all the same,
        and the transition is not to be learned from. A task of phases says which one counts in `phase`; no training
        reads other keys.
        """
        ...

    def observation_space(self, params: Params) -> Space:
        """Bounds, shape and dtype of an observation."""
        ...

    def action_space(self, params: Params) -> Space:
        """Bounds, shape and dtype of an action."""
        ...

    def scene(self, state: State, params: Params) -> Scene:
        """The few hundred bytes that a frame of `state` is drawn from."""
        ...

    def assets(self, look: str) -> Assets:
        """What all frames of a look share; raises `ConfigError` for a look not in `looks`."""
        ...

    def render(self, scene: Scene, assets: Assets, camera: Camera, size: int) -> Float[Array, "size size 3"]:
        """Draws one square frame, colours in [0, 1]."""
        ...
