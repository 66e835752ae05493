"""Five tiny problems with known values, told apart by a number, and one that only ever truncates.

A correct algorithm solves all five; the first one it fails says what is broken:
CONSTANT (value head), OBSERVATION (inputs), DELAYED (discounting), ACTION (policy), BOTH (all together).
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import struct

from jaxvlm.spaces import Box, Discrete

CONSTANT, OBSERVATION, DELAYED, ACTION, BOTH = range(5)
NAMES = ("constant", "observation", "delayed", "action", "both")


@struct.dataclass
class Params:
    kind: jax.Array  # i32[], one of the five above


@struct.dataclass
class State:
    x: jax.Array  # f32[], -1, 0 or 1
    time: jax.Array  # i32[]


@dataclass(frozen=True)
class Diagnostic:
    """Observation f32[2] = (x, time). Episodes last one step, two for DELAYED.

    Discrete actions mean the signal s = -1 or 1, worth s; continuous ones in [-2, 2] mean s = action / 2,
    worth 1 - (s - 0.5)^2. For BOTH the signal is multiplied by x first.
    """

    continuous: bool

    def reset(self, key, params):
        x = jnp.where(jax.random.bernoulli(key), 1.0, -1.0)
        state = State(jnp.where((params.kind == OBSERVATION) | (params.kind == BOTH), x, 0.0), jnp.int32(0))
        return self.observe(state), state

    def step(self, key, state, action, params):
        reward = self.value(params.kind, state, action)
        terminated = (params.kind != DELAYED) | (state.time == 1)
        state = state.replace(time=state.time + 1)
        return self.observe(state), state, reward, terminated, jnp.zeros((), bool), {"success": reward > 0}

    def value(self, kind, state, action):
        """Reward of the step."""
        signal = action[0] / 2 if self.continuous else 2.0 * action - 1.0
        worth = (lambda s: 1.0 - (s - 0.5) ** 2) if self.continuous else (lambda s: s)
        return jnp.stack([
            jnp.float32(1.0), state.x, state.time.astype(jnp.float32), worth(signal), worth(signal * state.x)
        ])[kind]  # fmt: skip

    def observe(self, state):
        return jnp.stack([state.x, state.time.astype(jnp.float32)])

    def observation_space(self, params):
        return Box(-2.0, 2.0, (2,))

    def action_space(self, params):
        return Box(-2.0, 2.0, (1,)) if self.continuous else Discrete(2)

    def scene(self, state, params):
        return state.x


@dataclass(frozen=True)
class Counter:
    """Observation f32[2] = (id drawn at reset, time); reward = time after the step.

    Terminates after `terminate_at` steps, truncates after `truncate_at` and diverges at `diverge_at` (0: never). With
    `constant_reward` the reward is 1 and the time is hidden, as a time limit's is.
    """

    terminate_at: int = 0
    truncate_at: int = 0
    constant_reward: bool = False
    diverge_at: int = 0

    def reset(self, key, params):
        state = State(jax.random.uniform(key), jnp.int32(0))
        return self.observe(state), state

    def step(self, key, state, action, params):
        state = state.replace(time=state.time + 1)
        reward = jnp.float32(1.0) if self.constant_reward else state.time.astype(jnp.float32)
        terminated = state.time == self.terminate_at
        return self.observe(state), state, reward, terminated, state.time == self.truncate_at, {
            "success": state.time >= 2, "diverged": state.time == self.diverge_at
        }  # fmt: skip

    def observe(self, state):
        time = 0.0 if self.constant_reward else state.time.astype(jnp.float32)
        return jnp.stack([state.x, time])

    def observation_space(self, params):
        return Box(0.0, 100.0, (2,))

    def action_space(self, params):
        return Discrete(2)

    def scene(self, state, params):
        return {"time": state.time.astype(jnp.float32)}
