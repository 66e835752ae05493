"""Tasks of several phases: a schedule says which goal counts at which step of an episode."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxvlm.errors import ConfigError
from jaxvlm.spaces import Box, Space

from .api import Assets, Camera, Scene
from .wrappers import TimeLimit, TimeLimitState

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class PhasedParams:
    """Parameters of the wrapped environment and the schedule; all of it data, nothing recompiles."""

    inner: Any  # of the wrapped environment, with a `goal`
    starts: Leaf  # i32[phases - 1], steps of an episode after which the later phases begin, rising
    goals: Leaf  # [phases], the environment's `goal` in each phase, in its dtype


@dataclass(frozen=True)
class Phased:
    """An environment whose goal changes at set steps of an episode.

    The step number `s`, counted from 1, belongs to phase `p` where `p` of the `starts` are below `s`: with `starts` of
    (50,) the first 50 steps are phase 0 and the rest phase 1. A step's goal, and with it reward and `info["success"]`,
    is that of its phase; `info["phase"]`, i32[], says which one that is.

    With a clock the observation ends in the phase that the next step belongs to, one-hot, and in the share of the
    episode that is over: without them a reward that changes with time is no function of state and action, and nothing
    tells the policy when to change. Without (`clock=False`) it is the wrapped environment's.

    In the first `transition` steps of each phase nobody expects the goal to be achieved already: evaluations leave
    them out, see `jaxvlm.vlmrm.evaluate.run_episodes`.
    """

    env: TimeLimit  # its parameters have a `goal`, its state counts the steps
    goals: tuple[int, ...]
    starts: tuple[int, ...]
    clock: bool = True
    transition: int = 0

    def __post_init__(self) -> None:
        if len(self.goals) < 2:
            raise ConfigError(
                f"the goals of the phases are {self.goals}; give at least two, one for each phase"
            )
        self._check(self.starts)

    @property
    def phases(self) -> int:
        """How many there are."""
        return len(self.goals)

    @property
    def name(self) -> str:
        return self.env.name

    @property
    def looks(self) -> tuple[str, ...]:
        return self.env.looks

    @property
    def default_params(self) -> PhasedParams:
        inner = self.env.default_params
        goals = jnp.asarray(self.goals, jnp.result_type(inner.goal))
        return PhasedParams(inner=inner, starts=jnp.asarray(self.starts, jnp.int32), goals=goals)

    def with_starts(self, params: PhasedParams, starts: Sequence[int]) -> PhasedParams:
        """The parameters with another schedule.

        Raises:
          ConfigError: a start too many or too few, or one that leaves a phase without a step that counts.
        """
        self._check(starts)
        return replace(params, starts=jnp.asarray(starts, jnp.int32))

    @property
    def cameras(self) -> dict[str, Camera]:
        return self.env.cameras

    def reset(self, key: jax.Array, params: PhasedParams) -> tuple[Float[Array, " obs"], TimeLimitState]:
        observation, state = self.env.reset(key, params.inner)
        return self._observed(observation, state, params), state

    def step(
        self, key: jax.Array, state: TimeLimitState, action: jax.Array, params: PhasedParams
    ) -> tuple[
        Float[Array, " obs"],
        TimeLimitState,
        Float[Array, ""],
        Bool[Array, ""],
        Bool[Array, ""],
        dict[str, jax.Array],
    ]:
        phase = _next_phase(state, params)
        inner = replace(params.inner, goal=params.goals[phase])
        observation, state, reward, terminated, truncated, info = self.env.step(key, state, action, inner)
        observation = self._observed(observation, state, params)
        return observation, state, reward, terminated, truncated, {**info, "phase": phase}

    def observation_space(self, params: PhasedParams) -> Space:
        space = self.env.observation_space(params.inner)
        if not self.clock:
            return space
        assert isinstance(space, Box)
        (size,) = space.shape
        more = self.phases + 1
        low = np.concatenate([space.low_array(), np.zeros(more, space.dtype)])
        high = np.concatenate([space.high_array(), np.ones(more, space.dtype)])
        return Box(tuple(low.tolist()), tuple(high.tolist()), (size + more,), space.dtype)

    def action_space(self, params: PhasedParams) -> Space:
        return self.env.action_space(params.inner)

    def scene(self, state: TimeLimitState, params: PhasedParams) -> Scene:
        return self.env.scene(state, params.inner)

    def assets(self, look: str) -> Assets:
        return self.env.assets(look)

    def render(self, scene: Scene, assets: Assets, camera: Camera, size: int) -> Float[Array, "size size 3"]:
        return self.env.render(scene, assets, camera, size)

    def _observed(
        self, observation: Float[Array, " inner"], state: TimeLimitState, params: PhasedParams
    ) -> Float[Array, " obs"]:
        if not self.clock:
            return observation
        phase = jax.nn.one_hot(_next_phase(state, params), self.phases, dtype=observation.dtype)
        share = (state.steps / self.env.max_steps).astype(observation.dtype)
        return jnp.concatenate([observation, phase, share[None]])

    def _check(self, starts: Sequence[int]) -> None:
        if len(starts) != self.phases - 1:
            raise ConfigError(
                f"there are {self.phases} phases and the steps at which later ones begin are {tuple(starts)}; give "
                f"{self.phases - 1} of them"
            )
        ends = [0, *starts, self.env.max_steps]
        for before, after in itertools.pairwise(ends):
            if after - before <= self.transition:
                raise ConfigError(
                    f"phases begin after steps {tuple(starts)} of {self.env.max_steps}, so one of them lasts "
                    f"{after - before} steps; it needs more than the {self.transition} that a transition may take"
                )


def _next_phase(state: TimeLimitState, params: PhasedParams) -> Int[Array, ""]:
    """The phase that the next step belongs to; after the last step of an episode that of the last."""
    return jnp.sum(state.steps >= params.starts, dtype=jnp.int32)
