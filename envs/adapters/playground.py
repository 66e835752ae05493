"""Our environments as MuJoCo Playground environments: `PlaygroundEnv(env)` runs under Playground's wrappers."""

from typing import Any

import jax

from jaxvlm.errors import ConfigError

from ..api import Environment, Params
from .brax import BraxEnv
from .sources import quietly

try:
    with quietly():
        from brax.envs.base import State as BraxState
        from mujoco_playground._src.mjx_env import MjxEnv, State  # pyright: ignore[reportMissingImports]  an extra
except ImportError as error:
    raise ConfigError(
        f"MuJoCo Playground cannot be imported ({error}): run pip install 'jaxvlm[playground]'"
    ) from error


class PlaygroundEnv(MjxEnv):
    """An environment under Playground's interface; what it does is `BraxEnv`'s, with `data` for the state.

    A time limit of ours is taken off; hand its steps to `wrap_for_brax_training(env, episode_length=...)`.
    """

    def __init__(self, env: Environment, params: Params | None = None) -> None:
        self._brax = BraxEnv(env, params)

    def reset(self, rng: jax.Array) -> State:
        return _theirs(self._brax.reset(rng))

    def step(self, state: State, action: jax.Array) -> State:
        theirs = BraxState(state.data, state.obs, state.reward, state.done, state.metrics, state.info)
        return _theirs(self._brax.step(theirs, action))

    @property
    def action_size(self) -> int:
        return self._brax.action_size

    @property
    def observation_size(self) -> int:
        return self._brax.observation_size

    @property
    def mjx_model(self) -> Any:
        if not hasattr(self._brax.params, "model"):
            raise ConfigError(f"{self._brax.env.name} is no MuJoCo environment, so it has no model")
        return self._brax.params.model

    @property
    def mj_model(self) -> Any:
        raise ConfigError("jaxvlm draws with its own renderer; of the model there is only `mjx_model`")

    @property
    def xml_path(self) -> str:
        raise ConfigError("jaxvlm's models are put together in memory and have no file")


def _theirs(state: Any) -> State:
    return State(state.pipeline_state, state.obs, state.reward, state.done, state.metrics, state.info)
