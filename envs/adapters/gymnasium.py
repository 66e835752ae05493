"""A jaxvlm environment as a `gymnasium.Env`: one environment, jitted, NumPy in and out."""

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import numpy as np

from jaxvlm.compiler import compiler_options
from jaxvlm.errors import ConfigError
from jaxvlm.render import to_uint8
from jaxvlm.spaces import Discrete, Space

from ..api import Environment, Params

try:
    import gymnasium
except ImportError as error:
    raise ConfigError("gymnasium is not installed: run pip install 'jaxvlm[gymnasium]'") from error


def to_gymnasium_space(space: Space) -> gymnasium.Space:
    """The gymnasium space with the same bounds, shape and dtype."""
    if isinstance(space, Discrete):
        return gymnasium.spaces.Discrete(space.n)
    return gymnasium.spaces.Box(space.low_array(), space.high_array(), space.shape, space.dtype.type)


def _exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with products of full precision, as in training."""

    def exact(*arguments: Any) -> Any:
        with jax.default_matmul_precision("highest"):
            return function(*arguments)

    return exact


@cache
def _programs(env: Environment) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Reset and step, compiled once for all environments that are equal."""
    return jax.jit(_exact(env.reset)), jax.jit(_exact(env.step))


@cache
def _drawer(env: Environment, size: int) -> Callable[..., Any]:
    """`draw(state, params, assets, camera)`, u8[size, size, 3], compiled once for all environments that are equal."""

    def draw(state: Any, params: Params, assets: Any, camera: Any) -> jax.Array:
        return to_uint8(env.render(env.scene(state, params), assets, camera, size))

    return jax.jit(_exact(draw), compiler_options=compiler_options())


class GymnasiumEnv(gymnasium.Env):
    """Steps an environment through gymnasium's interface, without auto-reset.

    Wrap `env` in `TimeLimit` to have it truncate. `look`, `camera` and `size` say how `render` draws it,
    uint8[size, size, 3], with `render_mode="rgb_array"`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012  gymnasium's own declaration

    def __init__(
        self,
        env: Environment,
        params: Params | None = None,
        *,
        look: str | None = None,
        camera: str = "default",
        size: int = 224,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(f"render_mode is {render_mode!r}: choose None or 'rgb_array'")
        if size < 1:
            raise ConfigError(f"size is {size}; a frame has 1 pixel a side at least")
        self.env, self.render_mode, self.state = env, render_mode, None
        self.params = env.default_params if params is None else params
        self.observation_space = to_gymnasium_space(env.observation_space(self.params))
        self.action_space = to_gymnasium_space(env.action_space(self.params))
        self._reset, self._step = _programs(env)
        if render_mode is not None:
            cameras = env.cameras
            if camera not in cameras:
                raise ConfigError(f"unknown camera {camera!r}; {env.name} has {', '.join(cameras)}")
            assets, view = env.assets(look or env.looks[0]), cameras[camera]
            draw = _drawer(env, size)
            self._draw = lambda state: draw(state, self.params, assets, view)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """A seed restarts the sequence of keys."""
        super().reset(seed=seed, options=options)
        if seed is not None or self.state is None:
            self._key = jax.random.key(int(self.np_random.integers(2**31)))
        self._key, key = jax.random.split(self._key)
        observation, self.state = self._reset(key, self.params)
        return np.asarray(observation), {}

    def step(self, action: Any):
        """Steps once; `info` holds Python scalars."""
        if self.state is None:
            raise ConfigError("step was called before reset: call reset first")
        self._key, key = jax.random.split(self._key)
        action = np.asarray(action, self.action_space.dtype)
        observation, self.state, reward, *ended, info = self._step(key, self.state, action, self.params)
        terminated, truncated = (bool(flag) for flag in ended)
        info = {name: np.asarray(value).item() for name, value in info.items()}
        return np.asarray(observation), float(reward), terminated, truncated, info

    def render(self) -> np.ndarray | None:
        """The frame of the current state, or None without a render mode."""
        drawable = self.render_mode is not None and self.state is not None
        return np.asarray(self._draw(self.state)) if drawable else None
