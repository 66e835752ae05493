"""Continuous MountainCar: gymnasium's MountainCarContinuous-v0 with an absorbing goal.

As in VLM-RM (arXiv 2310.12921, appendix C.1) an episode does not end at the goal; the goal is absorbing,
so that nothing a policy does afterwards changes its return.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxvlm.errors import ConfigError
from jaxvlm.render import Camera2D
from jaxvlm.spaces import Box

from . import mountain_picture as picture

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class MountainCarParams:
    """Numeric constants, float32 scalars; the values are gymnasium's."""

    power: Leaf = 0.0015  # speed gained in a step at full throttle
    gravity: Leaf = 0.0025  # speed gained in a step on a vertical slope
    min_position: Leaf = -1.2  # the left wall
    max_position: Leaf = 0.6
    max_speed: Leaf = 0.07  # positions a step
    goal_position: Leaf = 0.45
    goal_velocity: Leaf = 0.0  # least velocity that counts at the goal
    initial_low: Leaf = -0.6  # bounds of the initial position
    initial_high: Leaf = -0.4


@struct.dataclass
class MountainCarState:
    """The car on the curve height = 0.45 sin(3 position) + 0.55."""

    position: Leaf  # f32[]
    velocity: Leaf  # f32[], positions a step


@struct.dataclass
class MountainCarScene:
    """What a frame shows."""

    position: Leaf  # f32[]


def dynamics(
    state: MountainCarState, action: Float[Array, "1"], params: MountainCarParams
) -> MountainCarState:
    """One step of gymnasium's MountainCarContinuous-v0, with no regard to the goal."""
    force = jnp.clip(action[0], -1.0, 1.0)
    velocity = state.velocity + force * params.power - params.gravity * jnp.cos(3.0 * state.position)
    velocity = jnp.clip(velocity, -params.max_speed, params.max_speed)
    position = jnp.clip(state.position + velocity, params.min_position, params.max_position)
    velocity = jnp.where((position == params.min_position) & (velocity < 0), 0.0, velocity)
    return MountainCarState(position=position, velocity=velocity)


def at_goal(state: MountainCarState, params: MountainCarParams) -> Bool[Array, ""]:
    """Whether the car stands at or past the flag, moving no slower than the goal velocity."""
    return (state.position >= params.goal_position) & (state.velocity >= params.goal_velocity)


@dataclass(frozen=True)
class MountainCar:
    """Drive an underpowered car up the right-hand hill, to the flag.

    Observation f32[2]: position, velocity. Action f32[1] in [-1, 1]: throttle.

    Once the goal is reached the state never changes again, position and velocity staying as they were.
    `reward="goal"` gives 1 in every step that ends at the goal and 0 otherwise, `reward="gymnasium"`
    gives 100 at the goal less 0.1 throttle^2. `early_termination=True` terminates at the goal; the two
    together are gymnasium's own environment.
    """

    reward: Literal["goal", "gymnasium"] = "goal"
    early_termination: bool = False

    def __post_init__(self) -> None:
        if self.reward not in ("goal", "gymnasium"):
            raise ConfigError(f"unknown MountainCar reward {self.reward!r}: choose 'goal' or 'gymnasium'")

    @property
    def name(self) -> str:
        return "mountain-car"

    @property
    def looks(self) -> tuple[str, ...]:
        return ("plain", "textured")

    @property
    def default_params(self) -> MountainCarParams:
        return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), MountainCarParams())

    @property
    def cameras(self) -> dict[str, Camera2D]:
        return {"default": picture.WHOLE_SCREEN}

    def reset(self, key: jax.Array, params: MountainCarParams) -> tuple[Float[Array, "2"], MountainCarState]:
        """Puts a resting car at a position drawn from U(initial_low, initial_high)."""
        share = jax.random.uniform(key, (), jnp.float32)
        position = params.initial_low + share * (params.initial_high - params.initial_low)
        state = MountainCarState(position=position, velocity=jnp.zeros((), jnp.float32))
        return _observe(state), state

    def step(
        self, key: jax.Array, state: MountainCarState, action: Float[Array, "1"], params: MountainCarParams
    ) -> tuple[
        Float[Array, "2"],
        MountainCarState,
        Float[Array, ""],
        Bool[Array, ""],
        Bool[Array, ""],
        dict[str, jax.Array],
    ]:
        """Drives for one time step; deterministic, `key` is not used."""
        del key
        arrived = at_goal(state, params)
        moved = dynamics(state, action, params)
        moved = jax.tree.map(lambda old, new: jnp.where(arrived, old, new), state, moved)
        success = at_goal(moved, params)
        if self.reward == "gymnasium":
            reward = jnp.where(success, 100.0, 0.0) - 0.1 * action[0] ** 2
        else:
            reward = success.astype(jnp.float32)
        false = jnp.zeros((), jnp.bool_)
        terminated = success if self.early_termination else false
        return _observe(moved), moved, reward, terminated, false, {"success": success}

    def observation_space(self, params: MountainCarParams) -> Box:
        speed = float(params.max_speed)
        low = (float(params.min_position), -speed)
        return Box(low=low, high=(float(params.max_position), speed), shape=(2,))

    def action_space(self, params: MountainCarParams) -> Box:
        return Box(low=-1.0, high=1.0, shape=(1,))

    def scene(self, state: MountainCarState, params: MountainCarParams) -> MountainCarScene:
        return MountainCarScene(position=state.position)

    def assets(self, look: str) -> picture.PlainAssets | picture.TexturedAssets:
        """Colours or painted scenery of a look; raises `ConfigError` for one not in `looks`."""
        if look not in self.looks:
            raise ConfigError(f"MountainCar has no look {look!r}: choose one of {', '.join(self.looks)}")
        return picture.textured_assets() if look == "textured" else picture.plain_assets()

    def render(
        self,
        scene: MountainCarScene,
        assets: picture.PlainAssets | picture.TexturedAssets,
        camera: Camera2D,
        size: int,
    ) -> Float[Array, "size size 3"]:
        """Draws the look that `assets` belong to."""
        if isinstance(assets, picture.TexturedAssets):
            return picture.render_textured(scene.position, assets, camera, size)
        return picture.render_plain(scene.position, assets, camera, size)


def _observe(state: MountainCarState) -> Float[Array, "2"]:
    return jnp.stack([state.position, state.velocity])
