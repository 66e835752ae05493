"""CartPole: gymnasium's CartPole-v1 without termination, as in VLM-RM (arXiv 2310.12921, appendix C.1).

Differences from gymnasium, all switched off by `early_termination=True`:
the pole may turn all the way round (its angle is wrapped to [-pi, pi) after the physics step), the cart
is held at the ends of the track (its outward speed is lost), and dropping the pole is penalised
instead of ending the episode.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from jaxvlm.errors import ConfigError
from jaxvlm.render import Camera2D, box, circle, paint, pixel_grid
from jaxvlm.spaces import Box, Discrete

# The frame is gymnasium's 600 x 400 screen; lengths below are its pixels, y up.
SCREEN_WIDTH, SCREEN_HEIGHT = 600.0, 400.0
SCREEN_PER_METRE = 125.0  # 600 px show the 4.8 m of track
TRACK_HEIGHT = 100.0
AXLE_HEIGHT = 107.5

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class CartPoleParams:
    """Numeric constants, float32 scalars; the values are gymnasium's."""

    gravity: Leaf = 9.8  # m/s^2
    mass_cart: Leaf = 1.0  # kg
    mass_pole: Leaf = 0.1  # kg
    half_length: Leaf = 0.5  # m, of the pole
    force: Leaf = 10.0  # N
    time_step: Leaf = 0.02  # s
    track_limit: Leaf = 2.4  # m, either side of the middle
    upright_limit: Leaf = 12 * np.pi / 180  # rad, either side of vertical
    initial_spread: Leaf = 0.05  # half-width of the initial x_dot and theta_dot
    initial_x: Leaf = 0.05  # m, half-width of the initial x
    initial_angle: Leaf = 0.05  # rad, half-width of the initial theta; pi for the swing-up
    target: Leaf = 0.0  # m, where `reward="hold"` wants the cart
    tolerance: Leaf = 0.25  # m, how far from there is still success
    reach: Leaf = 0.8  # m, how far from there the pay of `reward="hold"` falls to 1 / e


@struct.dataclass
class CartPoleState:
    """Cart and pole; theta = 0 is upright, positive leans right."""

    x: Leaf  # f32[], m
    x_dot: Leaf  # f32[], m/s
    theta: Leaf  # f32[], rad
    theta_dot: Leaf  # f32[], rad/s


@struct.dataclass
class CartPoleScene:
    """What a frame shows."""

    x: Leaf  # f32[], m
    theta: Leaf  # f32[], rad


@struct.dataclass
class CartPoleAssets:
    """Colours of the plain look, RGB in [0, 1]."""

    background: Leaf  # f32[3]
    cart: Leaf  # f32[3], the track too
    pole: Leaf  # f32[3]
    axle: Leaf  # f32[3]


def dynamics(state: CartPoleState, action: Int[Array, ""], params: CartPoleParams) -> CartPoleState:
    """One explicit Euler step of gymnasium's CartPole-v1, angle not wrapped, track without ends.

    Equations: Florian, "Correct equations for the dynamics of the cart-pole system" (2007), no friction.
    """
    return dynamics_under(jnp.where(action == 1, params.force, -params.force), state, params)


def dynamics_under(force: Float[Array, ""], state: CartPoleState, params: CartPoleParams) -> CartPoleState:
    """`dynamics` under any force, N to the right."""
    cos, sin = jnp.cos(state.theta), jnp.sin(state.theta)
    total_mass = params.mass_cart + params.mass_pole
    pole_moment = params.mass_pole * params.half_length
    push = (force + pole_moment * state.theta_dot**2 * sin) / total_mass
    theta_acc = (params.gravity * sin - cos * push) / (
        params.half_length * (4.0 / 3.0 - params.mass_pole * cos**2 / total_mass)
    )
    x_acc = push - pole_moment * theta_acc * cos / total_mass
    return CartPoleState(
        x=state.x + params.time_step * state.x_dot,
        x_dot=state.x_dot + params.time_step * x_acc,
        theta=state.theta + params.time_step * state.theta_dot,
        theta_dot=state.theta_dot + params.time_step * theta_acc,
    )


def wrap_angle(theta: Float[Array, ""]) -> Float[Array, ""]:
    """Maps an angle to [-pi, pi); one that is inside already keeps its bits."""
    pi = jnp.float32(np.pi)
    wrapped = jnp.mod(theta + pi, 2 * pi) - pi
    wrapped = jnp.where(wrapped >= pi, -pi, wrapped)  # mod rounds up to its divisor just below zero
    return jnp.where((theta >= -pi) & (theta < pi), theta, wrapped)


def hold_on_track(state: CartPoleState, params: CartPoleParams) -> CartPoleState:
    """Stops a cart at the ends of the track: position clipped, outward speed set to zero."""
    outward = (jnp.abs(state.x) >= params.track_limit) & (state.x * state.x_dot > 0)
    return replace(
        state,
        x=jnp.clip(state.x, -params.track_limit, params.track_limit),
        x_dot=jnp.where(outward, 0.0, state.x_dot),
    )


@dataclass(frozen=True)
class CartPole:
    """Balance a pole on a cart that is pushed left (0) or right (1).

    With `continuous` the action is f32[1] in [-1, 1], the share of the full force to the right.

    Observation f32[4]: x (m), x_dot (m/s), theta (rad), theta_dot (rad/s).

    `info["success"]`: the pole is within 12 degrees of upright and the cart on the track, not past
    an end of it nor held there. `info["upright"]`: the pole alone.

    `reward="balance"` gives +1 for success and -1 otherwise, `reward="cosine"` gives cos(theta). `reward="hold"` wants
    the cart at `params.target` besides: it pays exp(-|x - target| / reach) while the pole is upright and nothing
    otherwise, and success needs the cart within `tolerance`.
    `early_termination=True` is gymnasium's own environment: the reward is 1 every step (with "hold" that one), the
    episode terminates as soon as the pole is no longer upright or the cart leaves the track, and angle and position
    are left as the physics has them.
    """

    reward: Literal["balance", "cosine", "hold"] = "balance"
    early_termination: bool = False
    continuous: bool = False

    def __post_init__(self) -> None:
        if self.reward not in ("balance", "cosine", "hold"):
            raise ConfigError(
                f"unknown CartPole reward {self.reward!r}: choose 'balance', 'cosine' or 'hold'"
            )

    @property
    def name(self) -> str:
        return "cartpole"

    @property
    def looks(self) -> tuple[str, ...]:
        return ("plain",)

    @property
    def default_params(self) -> CartPoleParams:
        return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), CartPoleParams())

    @property
    def cameras(self) -> dict[str, Camera2D]:
        return {"default": Camera2D(width=SCREEN_WIDTH, height=SCREEN_HEIGHT)}

    def reset(self, key: jax.Array, params: CartPoleParams) -> tuple[Float[Array, "4"], CartPoleState]:
        """Draws x from U(-initial_x, initial_x), theta from U(-initial_angle, ...), both speeds likewise."""
        unit = jax.random.uniform(key, (4,), jnp.float32, -1.0, 1.0)
        state = CartPoleState(
            x=params.initial_x * unit[0],
            x_dot=params.initial_spread * unit[1],
            theta=wrap_angle(params.initial_angle * unit[2]),
            theta_dot=params.initial_spread * unit[3],
        )
        return _observe(state), state

    def step(
        self, key: jax.Array, state: CartPoleState, action: Array, params: CartPoleParams
    ) -> tuple[
        Float[Array, "4"],
        CartPoleState,
        Float[Array, ""],
        Bool[Array, ""],
        Bool[Array, ""],
        dict[str, jax.Array],
    ]:
        """Applies the push for one time step; deterministic, `key` is not used."""
        del key
        if self.continuous:
            moved = dynamics_under(params.force * jnp.clip(action[0], -1.0, 1.0), state, params)
        else:
            moved = dynamics(state, action, params)
        if self.early_termination:
            upright = jnp.abs(moved.theta) <= params.upright_limit
            success = upright & (jnp.abs(moved.x) <= params.track_limit)
            reward, terminated = jnp.ones((), jnp.float32), ~success
        else:
            moved = hold_on_track(replace(moved, theta=wrap_angle(moved.theta)), params)
            upright = jnp.abs(moved.theta) <= params.upright_limit
            # A cart that is held at an end, and pushed against it again and again, is not on the track.
            success = upright & (jnp.abs(moved.x) < params.track_limit)
            reward = jnp.cos(moved.theta) if self.reward == "cosine" else jnp.where(success, 1.0, -1.0)
            terminated = jnp.zeros((), jnp.bool_)
        if self.reward == "hold":
            away = jnp.abs(moved.x - params.target)
            reward = jnp.where(success, jnp.exp(-away / params.reach), 0.0)
            success = success & (away <= params.tolerance)
        info = {"success": success, "upright": upright}
        return _observe(moved), moved, reward, terminated, jnp.zeros((), jnp.bool_), info

    def observation_space(self, params: CartPoleParams) -> Box:
        """Speeds are unbounded; with `early_termination` twice the limits, to hold the last state too."""
        if self.early_termination:
            x, theta = 2.0 * float(params.track_limit), 2.0 * float(params.upright_limit)
        else:
            x, theta = float(params.track_limit), float(np.pi)
        high = (x, float("inf"), theta, float("inf"))
        return Box(low=tuple(-bound for bound in high), high=high, shape=(4,))

    def action_space(self, params: CartPoleParams) -> Discrete | Box:
        return Box(-1.0, 1.0, (1,)) if self.continuous else Discrete(2)

    def scene(self, state: CartPoleState, params: CartPoleParams) -> CartPoleScene:
        return CartPoleScene(x=state.x, theta=state.theta)

    def assets(self, look: str) -> CartPoleAssets:
        """The palette of a look; raises `ConfigError` for one not in `looks`."""
        if look not in self.looks:
            raise ConfigError(f"CartPole has no look {look!r}: choose one of {', '.join(self.looks)}")
        rgb = {
            "background": (255, 255, 255),
            "cart": (0, 0, 0),
            "pole": (202, 152, 101),
            "axle": (129, 132, 203),
        }
        return CartPoleAssets(
            **{part: jnp.asarray(value, jnp.float32) / 255.0 for part, value in rgb.items()}
        )

    def render(
        self, scene: CartPoleScene, assets: CartPoleAssets, camera: Camera2D, size: int
    ) -> Float[Array, "size size 3"]:
        """Draws gymnasium's picture, its 600 x 400 squashed to a square.

        Half pixels: gymnasium's polygons run through pixel centres and include their outline.
        """
        grid = pixel_grid(camera, size)
        middle = SCREEN_WIDTH / 2 + SCREEN_PER_METRE * scene.x + 0.5
        cart = grid.local(jnp.stack([middle, jnp.asarray(TRACK_HEIGHT + 0.5)]), 0.0)
        pole = grid.local(jnp.stack([middle, jnp.asarray(AXLE_HEIGHT + 0.5)]), -scene.theta)

        frame = jnp.broadcast_to(assets.background, (size, size, 3))
        track = jnp.asarray([SCREEN_WIDTH / 2, TRACK_HEIGHT + 0.5])
        frame = paint(frame, box(grid, track, jnp.asarray([SCREEN_WIDTH, 0.5])), assets.cart)
        frame = paint(frame, box(cart, jnp.zeros(2), jnp.asarray([25.5, 15.5])), assets.cart)
        frame = paint(frame, box(pole, jnp.asarray([0.0, 57.5]), jnp.asarray([5.5, 63.0])), assets.pole)
        return paint(frame, circle(pole, jnp.zeros(2), 5.5), assets.axle)


def _observe(state: CartPoleState) -> Float[Array, "4"]:
    return jnp.stack([state.x, state.x_dot, state.theta, state.theta_dot])
