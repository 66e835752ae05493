"""Search spaces of the small worlds: a cart and its pole, a car on a curve, an agent in a room."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..captions.cartpole import TRACK, UPRIGHT, degrees, off_by
from ..captions.gridworld import ROOM, SIDE, steps_to
from ..captions.mountain_car import FLAG, LEFT_END, RIGHT_END
from ..cartpole import CartPoleState, wrap_angle
from ..gridworld.cells import cell_name
from ..gridworld.env import GridState
from ..gridworld.room import OBJECTS
from ..mountain_car import MountainCarState
from .space import SearchSpace, Shortfall


def _single(*values: float) -> np.ndarray:
    return np.asarray(values, np.float32)


def _one_measure(
    measures: dict[str, tuple[Callable[[Any], Any], Shortfall]],
) -> Callable[[str, Any], list[list[Shortfall]]]:
    """Shortfalls of concepts that hang on one number; other concepts have no number to tell."""

    def shortfalls(concept: str, states: Any) -> list[list[Shortfall]]:
        count = jax.tree.leaves(states)[0].shape[0]
        if concept not in measures:
            return [[] for _ in range(count)]
        measure, like = measures[concept]
        rows = []
        for value in np.asarray(measure(states), np.float64):
            missed = (like.low is not None and value < like.low) or (
                like.high is not None and value > like.high
            )
            rows.append(
                [Shortfall(like.measure, float(value), like.low, like.high, like.unit)] if missed else []
            )
        return rows

    return shortfalls


def cartpole_search() -> SearchSpace:
    """Where the cart stands and where the pole points; both at rest."""

    def states(vectors: Float[Array, "n 2"], context: Any) -> CartPoleState:
        del context
        x, theta = vectors[:, 0], jax.vmap(wrap_angle)(vectors[:, 1])
        return CartPoleState(x=x, x_dot=jnp.zeros_like(x), theta=theta, theta_dot=jnp.zeros_like(x))

    def starts(key: jax.Array, count: int) -> Float[Array, "n 2"]:
        return jax.random.uniform(key, (count, 2), minval=-1.0, maxval=1.0) * _single(TRACK, np.pi)

    return SearchSpace(
        names=("x (m)", "theta (rad)"),
        low=_single(-TRACK, -np.inf),
        high=_single(TRACK, np.inf),
        scale=_single(0.6, 0.8),
        starts=starts,
        states=states,
        shortfalls=_one_measure(
            {
                "upright": (
                    lambda state: off_by(degrees(state), 0.0),
                    Shortfall("pole_angle", 0.0, high=UPRIGHT, unit="degrees"),
                ),
                "hanging": (
                    lambda state: off_by(degrees(state), 180.0),
                    Shortfall("angle_from_down", 0.0, high=UPRIGHT, unit="degrees"),
                ),
            }
        ),
        canonical=lambda vectors: jnp.stack([vectors[:, 0], jax.vmap(wrap_angle)(vectors[:, 1])], axis=1),
        periods=_single(0, 2 * np.pi),
        free="velocities are zero: what is found is a place, not a motion",
    )


def mountain_car_search() -> SearchSpace:
    """Where the car stands, at rest."""

    def states(vectors: Float[Array, "n 1"], context: Any) -> MountainCarState:
        del context
        return MountainCarState(position=vectors[:, 0], velocity=jnp.zeros_like(vectors[:, 0]))

    def starts(key: jax.Array, count: int) -> Float[Array, "n 1"]:
        return jax.random.uniform(key, (count, 1), minval=LEFT_END, maxval=RIGHT_END)

    return SearchSpace(
        names=("position",),
        low=_single(LEFT_END),
        high=_single(RIGHT_END),
        scale=_single(0.4),
        starts=starts,
        states=states,
        shortfalls=_one_measure(
            {"at_flag": (lambda state: state.position, Shortfall("position", 0.0, low=FLAG))}
        ),
        free="velocities are zero: what is found is a place, not a motion",
    )


def gridworld_search() -> SearchSpace:
    """Where in a room the agent stands and faces; every chain has a room of its own, which it cannot change."""

    def contexts(key: jax.Array, count: int) -> GridState:
        reset = jax.vmap(lambda key: ROOM.reset(key, ROOM.default_params)[1])
        return reset(jax.random.split(key, count))

    def whole(vectors: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
        cells = jnp.clip(jnp.floor(vectors[:, :2]), 0, SIDE - 1)
        return jnp.concatenate([cells, jnp.mod(jnp.floor(vectors[:, 2:]), 4)], axis=1)

    def states(vectors: Float[Array, "n 3"], context: GridState) -> GridState:
        place = whole(vectors).astype(jnp.int32)
        return GridState(
            cells=context.cells, position=place[:, :2], direction=place[:, 2], carrying=context.carrying
        )

    def starts(key: jax.Array, count: int) -> Float[Array, "n 3"]:
        return jax.random.uniform(key, (count, 3)) * _single(SIDE, SIDE, 4)

    return SearchSpace(
        names=("row", "column", "direction"),
        low=_single(0, 0, -np.inf),
        high=_single(SIDE, SIDE, np.inf),
        scale=_single(2.5, 2.5, 1.5),
        starts=starts,
        states=states,
        shortfalls=_one_measure(
            {
                f"at_{cell_name(byte).replace(' ', '_')}": (
                    lambda state, byte=byte: steps_to(state, byte),
                    Shortfall("steps_away", 0.0, high=0.0),
                )
                for byte in OBJECTS
            }
        ),
        contexts=contexts,
        canonical=whole,
        periods=_single(0, 0, 4),
        free="each chain has a room of its own and moves nothing but the agent",
    )
