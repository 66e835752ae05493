"""Whether an environment keeps the contract of `api.py`: shapes and types by tracing, pictures by drawing one."""

import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.errors import ConfigError
from jaxvlm.render import RayAssets
from jaxvlm.spaces import Box, Discrete

SIZE = 32  # pixels a side of the frame that is traced or drawn
OUTSIDE = 0.5 / 255  # half a grey level: what rounding may leave of [0, 1]
MEMBERS = (
    "name",
    "looks",
    "default_params",
    "cameras",
    "reset",
    "step",
    "observation_space",
    "action_space",
    "scene",
    "assets",
    "render",
)


def check_environment(env: Any, params: Any = None) -> None:
    """Checks shapes and types of everything that training asks of an environment; nothing is compiled or run.

    Args:
      env: what should follow the contract of `api.Environment`; with or without a time limit.
      params: numeric parameters; None takes the environment's own.

    Raises:
      ConfigError: the first part of the contract that is broken, with what was found in its place.
    """
    if isinstance(env, type):
        raise ConfigError(
            f"the environment is the class {env.__name__}; give an instance, as in {env.__name__}()"
        )
    name = type(env).__name__
    missing = [member for member in MEMBERS if not hasattr(type(env), member) and member not in vars(env)]
    if missing:
        raise ConfigError(f"{name} lacks {', '.join(missing)}; see envs/api.py for what an environment has")
    try:
        hash(env)
    except TypeError as error:
        raise ConfigError(
            f"{name} cannot be hashed ({error}); make it a frozen dataclass whose fields can be, and keep arrays in "
            "its parameters and assets"
        ) from error
    looks = _ask(f"{name}.looks", lambda: env.looks)
    if not isinstance(looks, tuple) or not looks:
        raise ConfigError(f"{name}.looks is {looks!r}; it has to be a tuple of names, at least one")
    cameras = _ask(f"{name}.cameras", lambda: env.cameras)
    if not isinstance(cameras, Mapping) or "default" not in cameras:
        found = (
            f"has {', '.join(cameras) or 'none'}" if isinstance(cameras, Mapping) else f"is {_kind(cameras)}"
        )
        raise ConfigError(f"{name}.cameras {found}; it has to be a dictionary with one called default")
    params = _ask(f"{name}.default_params", lambda: env.default_params) if params is None else params
    observations = _ask(f"{name}.observation_space", lambda: env.observation_space(params))
    actions = _ask(f"{name}.action_space", lambda: env.action_space(params))
    if not isinstance(observations, Box):
        raise ConfigError(f"{name}.observation_space is {observations!r}; it has to be a jaxvlm.spaces.Box")
    if not isinstance(actions, Box | Discrete):
        raise ConfigError(
            f"{name}.action_space is {actions!r}; it has to be a Box or a Discrete of jaxvlm.spaces"
        )
    for space in (observations, actions):
        if not isinstance(space.shape, tuple):
            raise ConfigError(f"{name} has the space {space!r}, whose shape has to be a tuple, as in (2,)")
    key = jax.random.key(0)
    observation, state = _pair(_trace(f"{name}.reset", env.reset, key, params), f"{name}.reset")
    _check_array(f"the observation of {name}.reset", observation, observations.shape, observations.dtype)
    action = jax.ShapeDtypeStruct(actions.shape, actions.dtype)
    stepped = _trace(f"{name}.step", env.step, key, state, action, params)
    if not isinstance(stepped, tuple) or len(stepped) != 6:
        raise ConfigError(
            f"{name}.step returns {_kind(stepped)}; it has to be (observation, state, reward, terminated, truncated, "
            "info)"
        )
    observation, after, reward, terminated, truncated, info = stepped
    _check_array(f"the observation of {name}.step", observation, observations.shape, observations.dtype)
    _check_same_state(name, state, after)
    _check_array(f"the reward of {name}.step", reward, (), jnp.float32)
    _check_array(f"terminated of {name}.step", terminated, (), jnp.bool_)
    _check_array(f"truncated of {name}.step", truncated, (), jnp.bool_)
    if not isinstance(info, dict) or "success" not in info:
        raise ConfigError(
            f"info of {name}.step lacks success, a bool: whether the task is achieved in that state"
        )
    _check_array(f"info['success'] of {name}.step", info["success"], (), jnp.bool_)
    scene = _trace(f"{name}.scene", env.scene, state, params)
    assets = _ask(f"{name}.assets", lambda: env.assets(looks[0]))

    def draw(scene: Any, assets: Any, camera: Any) -> Any:
        return env.render(scene, assets, camera, SIZE)

    frame = _trace(f"{name}.render", draw, scene, assets, cameras["default"], place=env.render)
    _check_array(f"a frame of {name}.render at {SIZE} pixels", frame, (SIZE, SIZE, 3), jnp.float32)


def check_frame(env: Any, look: str, cameras: Sequence[str]) -> None:
    """Draws a first state from each of `cameras`: what is not in [0, 1] would be cut off there, and trained on unseen.

    Pictures of the ray caster are not drawn: they take long to compile, and are in [0, 1].

    Args:
      env: what `check_environment` has let pass.
      look: one of its looks.
      cameras: some of its cameras.

    Raises:
      ConfigError: a frame cannot be drawn, or holds what is not finite or not in [0, 1].
    """
    name, params = type(env).__name__, env.default_params
    assets = _ask(f"{name}.assets({look!r})", lambda: env.assets(look))
    if isinstance(assets, RayAssets):
        return

    @jax.jit
    def draw(key: jax.Array, params: Any, assets: Any) -> list[jax.Array]:
        scene = env.scene(env.reset(key, params)[1], params)
        return [env.render(scene, assets, env.cameras[camera], SIZE) for camera in cameras]

    frames = _ask(f"{name}.render", lambda: [np.asarray(x) for x in draw(jax.random.key(0), params, assets)])
    for camera, frame in zip(cameras, frames, strict=True):
        if not np.isfinite(frame).all():
            raise ConfigError(
                f"a frame of {name}.render from camera {camera!r} holds numbers that are not finite"
            )
        if frame.min() < -OUTSIDE or frame.max() > 1 + OUTSIDE:
            raise ConfigError(
                f"a frame of {name}.render from camera {camera!r} holds values from {frame.min():g} to "
                f"{frame.max():g}; they have to be in [0, 1], so divide grey levels by 255"
            )


def _ask(what: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except ConfigError:
        raise
    except Exception as error:  # whatever somebody else's code raises
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(f"{what} fails: {type(error).__name__}: {first}") from error


def _trace(what: str, function: Callable[..., Any], *arguments: Any, place: Any = None) -> Any:
    """Shapes of what a function returns; its file, or that of `place`, says where it failed."""
    try:
        return jax.eval_shape(function, *arguments)
    except ConfigError:
        raise
    except Exception as error:  # whatever somebody else's code raises
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"{what} cannot be traced by jax: {type(error).__name__}: {first}{_place(place or function, error)}"
        ) from error


def _place(function: Callable[..., Any], error: Exception) -> str:
    """The last line of the traceback that lies in the file of a function."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None:
        return ""
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == code.co_filename
    ]
    return f" ({code.co_filename}, line {lines[-1]})" if lines else ""


def _pair(value: Any, what: str) -> tuple[Any, Any]:
    if not isinstance(value, tuple) or len(value) != 2:
        raise ConfigError(f"{what} returns {_kind(value)}; it has to be (observation, state)")
    return value


def _check_array(what: str, value: Any, shape: tuple[int, ...], dtype: Any) -> None:
    if not hasattr(value, "shape") or (value.shape, value.dtype) != (tuple(shape), jnp.dtype(dtype)):
        raise ConfigError(f"{what} is {_kind(value)}; it has to be {jnp.dtype(dtype).name}{list(shape)}")


def _check_same_state(name: str, before: Any, after: Any) -> None:
    """A scan over steps carries the state, so it may not change its form."""
    if jax.tree.structure(before) != jax.tree.structure(after):
        raise ConfigError(
            f"{name}.step returns a state of another structure than {name}.reset: {jax.tree.structure(after)} and not "
            f"{jax.tree.structure(before)}"
        )
    for (path, old), new in zip(
        jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True
    ):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            raise ConfigError(
                f"the state's {jax.tree_util.keystr(path)} is {_kind(old)} after {name}.reset and {_kind(new)} after "
                f"{name}.step; it has to stay the same"
            )


def _kind(value: Any) -> str:
    """A value in a few words: arrays by dtype and shape."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, tuple):
        return f"a tuple of {len(value)}"
    return f"a {type(value).__name__}"
