"""Gymnasium's Pendulum-v1 under this project's environment contract; a benchmark task, without pictures."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxvlm.spaces import Box


@struct.dataclass
class PendulumParams:
    """Numeric constants, f32[] each."""

    gravity: float = 10.0  # m/s^2
    mass: float = 1.0  # kg
    length: float = 1.0  # m
    time_step: float = 0.05  # s
    max_speed: float = 8.0  # rad/s
    max_torque: float = 2.0  # N m


@struct.dataclass
class PendulumState:
    """A rod hinged at one end."""

    theta: jax.Array  # f32[], rad, 0 is upright; not wrapped
    theta_dot: jax.Array  # f32[], rad/s


@dataclass(frozen=True)
class Pendulum:
    """Swing a rod up and hold it. Observation f32[3]: cos theta, sin theta, theta_dot; action f32[1]: torque, N m."""

    name: ClassVar[str] = "pendulum"
    looks: ClassVar[tuple[str, ...]] = ()

    @property
    def default_params(self) -> PendulumParams:
        return jax.tree.map(jnp.float32, PendulumParams())

    def reset(self, key: jax.Array, params: PendulumParams) -> tuple[Float[Array, " obs"], PendulumState]:
        theta_key, speed_key = jax.random.split(key)
        theta = jax.random.uniform(theta_key, minval=-jnp.pi, maxval=jnp.pi)
        state = PendulumState(theta, jax.random.uniform(speed_key, minval=-1.0, maxval=1.0))
        return _observe(state), state

    def step(
        self, key: jax.Array, state: PendulumState, action: Float[Array, " 1"], params: PendulumParams
    ) -> tuple[
        Float[Array, " obs"],
        PendulumState,
        Float[Array, ""],
        Bool[Array, ""],
        Bool[Array, ""],
        dict[str, jax.Array],
    ]:
        torque = jnp.clip(action[0], -params.max_torque, params.max_torque)
        angle = jnp.mod(state.theta + jnp.pi, 2 * jnp.pi) - jnp.pi
        reward = -(angle**2 + 0.1 * state.theta_dot**2 + 0.001 * torque**2)
        acceleration = (
            1.5 * params.gravity / params.length * jnp.sin(state.theta)
            + 3.0 / (params.mass * params.length**2) * torque
        )
        theta_dot = jnp.clip(
            state.theta_dot + params.time_step * acceleration, -params.max_speed, params.max_speed
        )
        state = PendulumState(state.theta + params.time_step * theta_dot, theta_dot)
        never = jnp.zeros((), bool)
        return _observe(state), state, reward, never, never, {"success": jnp.cos(state.theta) > 0.95}

    def observation_space(self, params: PendulumParams) -> Box:
        high = (1.0, 1.0, 8.0)
        return Box(tuple(-x for x in high), high, (3,))

    def action_space(self, params: PendulumParams) -> Box:
        return Box(-2.0, 2.0, (1,))

    def scene(self, state: PendulumState, params: PendulumParams) -> PendulumState:
        return state


def _observe(state: PendulumState) -> Float[Array, " 3"]:
    return jnp.stack([jnp.cos(state.theta), jnp.sin(state.theta), state.theta_dot])
