"""Captions of MountainCar: where on the hills the car stands, in both looks.

Log-odds depend on the car's position and on its height, 0 in the valley and 1 on the peaks. The goal's rise
with height on *both* sides, less on the left: a score that only grew to the right would reward leaning
against the right slope, from which the car is too weak to climb, whereas with height every wider swing
scores more.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxvlm.clip.captions import CaptionedDataset, Concept, Goal, Sweep, expand

from ..mountain_car import MountainCar, MountainCarState

VALLEY = -0.5235988  # position of the lowest point, -pi/6
FLAG = 0.45
LEFT_END, RIGHT_END = -1.2, 0.6


def height(state: MountainCarState) -> Float[Array, "..."]:
    """Height of the car, 0 at the bottom of the valley and 1 on a peak."""
    return 0.5 * (jnp.sin(3.0 * state.position) + 1.0)


def between(state: MountainCarState, low: float, high: float) -> Float[Array, "..."]:
    """Car between two positions; 0.08 is one unit of log-odds, levelling at -4."""
    position = state.position
    return jnp.clip(jnp.minimum(position - low, high - position) / 0.08, -4.0, 2.5)


def at_flag(state: MountainCarState) -> Float[Array, "..."]:
    """True from the flag on; before it rises with height, on the left half as fast, from -4 in the valley."""
    position = state.position
    climb = jnp.where(position > VALLEY, 2.5, 1.25) * height(state)
    # From where the flag is reached: its height lacks a little of the peak's.
    ramp = jnp.clip((position - 0.34796) / 0.1, 0.0, 2.0)
    return -4.0 + climb + 1.5 * ramp


def in_valley(state: MountainCarState) -> Float[Array, "..."]:
    return 2.0 - 6.0 * height(state)


_A = "[a|the|]"
_TO_FLAG = "[at|by|beside|next to|near] the [yellow flag|flag]"

_CONCEPTS = (
    Concept(
        "at_flag",
        expand(
            "a car at the peak of the mountain, next to the yellow flag",
            f"{_A} car [at|on] the [peak|top|summit] of the [mountain|hill], {_TO_FLAG}",
            f"{_A} car [at|on] the [peak|top|summit] {_TO_FLAG}",
            f"{_A} car {_TO_FLAG}",
            f"{_A} car that [reached|has reached] the [yellow flag|flag|goal|peak with the flag]",
            "the car [has reached|reached|is at] the [yellow flag|flag|goal]",
        ),
        "the car is on the summit next to the flag",
        at_flag,
    ),
    Concept(
        "scene",
        expand(
            "a car in the mountain",
            f"{_A} car in [the|a] [mountain|mountains|hills|landscape]",
            "[a picture|an image|a drawing] of [a|the] [car|car in the mountains|car and a mountain]",
            "[a|the] car and [a|the] [mountain|hill|landscape|flag]",
            "[a|the] [car|landscape|road in the mountains]",
        ),
        "a drawing of a car in the hills",
        lambda state: jnp.full_like(state.position, 2.0),
    ),
    Concept(
        "valley",
        expand(
            "a car at the bottom of the valley",
            f"{_A} car [at|on|in] the [bottom|lowest point] of the [valley|mountain|hills]",
            f"{_A} car [in|inside|down in] the valley",
            f"{_A} car [between the|between two] [hills|mountains|slopes]",
            f"{_A} car [stuck|standing|resting] [in the valley|at the bottom]",
            "the car [is|stands] [in the valley|at the bottom|between the hills]",
        ),
        "the car is stuck at the lowest point of the valley",
        in_valley,
    ),
    Concept(
        "not_at_flag",
        expand(
            f"{_A} car [far|away|far away] from the [flag|yellow flag|goal]",
            f"{_A} car that has not reached the [flag|yellow flag|goal|top|peak|summit]",
            "the car [is not|is not yet] at the [flag|yellow flag|goal|top|peak|summit]",
            f"{_A} car not at the [flag|yellow flag|goal|top]",
        ),
        "the car has not reached the goal yet",
        lambda state: -at_flag(state),
    ),
    Concept(
        "high",
        expand(
            f"{_A} car [high up|high|far up] [on the slope|in the mountains|on a hill|above the valley|]",
            "the car is [high up|high|far up|high above the valley]",
            f"{_A} car [close to a peak|close to a summit|near a peak]",
        ),
        "the car is high above the hills",
        lambda state: (height(state) - 0.7) * 6.0,
    ),
    Concept(
        "low",
        expand(
            f"{_A} car [low down|low|far down] [on the slope|in the mountains|on a hill|below the peaks|]",
            "the car is [low down|low|far down|low below the peaks]",
            f"{_A} car [far below the peaks|far below the summit|near the ground]",
        ),
        "the car is low on the slope",
        lambda state: (0.3 - height(state)) * 6.0,
    ),
    *(
        Concept(
            f"{side}_slope",
            expand(
                f"{_A} car [on|climbing|going up] the {side} [slope|hillside|side of the valley]",
                f"{_A} car on the [slope|hillside] [on the|to the] {side} [of the valley|]",
                f"the car [is|stands] on the {side} [slope|hillside]",
                f"{_A} car halfway up the {side} [hill|slope]",
            ),
            f"a car that is halfway up the hill on the {side}",
            lambda state, low=low, high=high: between(state, low, high),
        )
        for side, low, high in (("left", -1.15, -0.72), ("right", -0.33, 0.3))
    ),
    *(
        Concept(
            f"{side}_side",
            expand(
                f"{_A} car [on|in] the {side} [side|half|part] of the [picture|image]",
                f"{_A} car [on|at] the {side}",
                f"the car is [on the {side}|at the {side}|in the {side} half|in the {side} part]",
                f"{_A} car to the {side} of the [valley|middle]",
            ),
            f"the {side} half of the picture with a car",
            fact,
        )
        for side, fact in (
            ("left", lambda state: jnp.clip((VALLEY - state.position) / 0.15, -4.0, 4.0)),
            ("right", lambda state: jnp.clip((state.position - VALLEY) / 0.15, -4.0, 4.0)),
        )
    ),
    Concept(
        "left_end",
        expand(
            f"{_A} car [at|near|close to] the left [end|edge|border] of the [picture|image|road]",
            f"{_A} car [at|on|near] the top of the left [hill|slope|mountain]",
            f"{_A} car on the hill without [a|the] flag",
            f"{_A} car far to the left",
        ),
        "the car is close to the edge of the road on the left",
        lambda state: jnp.clip((-0.98 - state.position) / 0.06, -4.0, 3.0),
    ),
    Concept(
        "just_before_flag",
        expand(
            f"{_A} car [just|right|shortly] before the [flag|yellow flag|goal]",
            f"{_A} car [just|right|a little] below the [flag|yellow flag]",
            f"{_A} car [almost|nearly] at the [flag|yellow flag|goal|summit]",
            "the car has [almost|nearly] reached the [flag|goal|top]",
        ),
        "a car that is almost at the peak with the flag",
        lambda state: between(state, 0.2, 0.42),
    ),
    Concept(
        "middle_right",
        expand(
            f"{_A} car [halfway|half way] [between the valley and the flag|from the valley to the flag]",
            f"{_A} car [midway|in the middle] [between the valley and the flag|from the valley to the flag]",
            f"{_A} car in the middle of the [right slope|right hill|way to the flag]",
            "the car is [halfway|midway] to the [flag|goal]",
        ),
        "the car in the middle between the flag and the valley",
        lambda state: between(state, -0.2, 0.15),
    ),
)


def sample_states(key: jax.Array, count: int) -> MountainCarState:
    """Cars anywhere on the road; one in three near the flag. Velocities cannot be seen and are zero."""
    key_anywhere, key_near, key_kind = jax.random.split(key, 3)
    anywhere = jax.random.uniform(key_anywhere, (count,), jnp.float32, LEFT_END, RIGHT_END)
    near = jax.random.uniform(key_near, (count,), jnp.float32, 0.2, RIGHT_END)
    position = jnp.where(jax.random.uniform(key_kind, (count,)) < 1 / 3, near, anywhere)
    return _state(position)


def _state(position: Float[Array, " n"]) -> MountainCarState:
    return MountainCarState(position=position, velocity=jnp.zeros_like(position))


def _sweep_states(values: Float[Array, " n"], context: float) -> MountainCarState:
    del context  # a frame of MountainCar shows the position only
    return _state(values)


def mountain_car_captions() -> CaptionedDataset:
    """Cars anywhere on the road, drawn in the textured and in the plain look."""
    environment = MountainCar()
    return CaptionedDataset(
        domain="mountain_car",
        environment=environment,
        params=environment.default_params,
        sample_states=sample_states,
        concepts=_CONCEPTS,
        goals=(
            Goal(
                "at_flag",
                "valley",
                Sweep(
                    coordinate="position",
                    unit="",
                    values=tuple(round(-1.2 + 0.03 * k, 2) for k in range(61)),
                    contexts=(0.0,),
                    states=_sweep_states,
                ),
            ),
        ),
        baseline="scene",
        looks=("textured", "plain"),
    )
