"""Captions of the grid-world: at which object the agent stands, on which side of it, and where in the room.

Log-odds fall with the steps between the agent and an object, at once by 3 where it is left and then by a quarter with
every step, so that a policy is drawn to the object from everywhere and still paid best for standing on it. Steps are
counted as if there were no walls, and an object that is not there is as far as can be.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvlm.clip.captions import CaptionedDataset, Concept, Goal, Sweep, expand

from ..gridworld.cells import cell, cell_name
from ..gridworld.env import GridState
from ..gridworld.room import OBJECTS, ObjectRoom

ROOM = ObjectRoom()
SIDE = ROOM.side
FARTHEST = 2 * (SIDE - 1)  # steps between opposite corners
STONES = 4  # walls in a world that has any
_OTHERS = tuple(cell(shape, colour) for colour in ("green", "yellow") for shape in ("box", "star"))


def offset(
    state: GridState, byte: int
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    """Rows and columns that an object lies south and east of the agent, and whether it is there at all, 0 or 1."""
    where = (state.cells == byte).astype(jnp.float32)
    places = jnp.arange(SIDE, dtype=jnp.float32)
    there = jnp.clip(jnp.sum(where, axis=(-2, -1)), 0.0, 1.0)
    row = jnp.sum(where * places[:, None], axis=(-2, -1)) - state.position[..., 0] * there
    column = jnp.sum(where * places, axis=(-2, -1)) - state.position[..., 1] * there
    return row, column, there


def steps_to(state: GridState, byte: int) -> Float[Array, "..."]:
    """Steps from the agent to an object, `FARTHEST` where there is none."""
    row, column, there = offset(state, byte)
    return jnp.where(there > 0, jnp.abs(row) + jnp.abs(column), FARTHEST)


def object_in_half(state: GridState, byte: int, axis: int, sign: float) -> Float[Array, "..."]:
    """An object lies in the southern (axis 0) or eastern half (axis 1); in the other one with sign -1."""
    row, column, there = offset(state, byte)
    place = (row, column)[axis] + state.position[..., axis] - (SIDE - 1) / 2
    return jnp.where(there > 0, jnp.clip(sign * place, -4.0, 4.0), -3.0)


def at(state: GridState, byte: int) -> Float[Array, "..."]:
    """True where the agent stands on the object; see the top of this file."""
    steps = steps_to(state, byte)
    return jnp.where(steps < 0.5, 2.0, -1.0 - 0.25 * (steps - 1.0))


def far_from(state: GridState, byte: int) -> Float[Array, "..."]:
    """True from six steps on."""
    return 0.5 * (steps_to(state, byte) - 5.5)


def next_to(state: GridState, byte: int) -> Float[Array, "..."]:
    """True one step away."""
    steps = steps_to(state, byte)
    return jnp.where(steps < 0.5, -1.5, jnp.clip(2.0 * (1.5 - steps), -4.0, 2.0))


def side_of(state: GridState, byte: int, axis: int, sign: float) -> Float[Array, "..."]:
    """The agent is north (axis 0, sign 1) or west (axis 1, sign 1) of an object; the other way round with sign -1."""
    row, column, there = offset(state, byte)
    return jnp.where(there > 0, jnp.clip(sign * (row, column)[axis] - 0.5, -4.0, 4.0), -3.0)


def in_half(state: GridState, axis: int, sign: float) -> Float[Array, "..."]:
    """The agent is in the southern (axis 0) or eastern half (axis 1); in the other one with sign -1."""
    middle = (SIDE - 1) / 2
    return jnp.clip(sign * (state.position[..., axis] - middle), -4.0, 4.0)


def in_corner(state: GridState, row: int, column: int) -> Float[Array, "..."]:
    """The agent is at most one step from a corner."""
    away = jnp.abs(state.position[..., 0] - row) + jnp.abs(state.position[..., 1] - column)
    return jnp.clip(1.5 - away.astype(jnp.float32), -4.0, 1.5)


_AGENT = "[the|an] agent"
_IS = "[is|stands|waits]"
_AT = "[at|on|on top of]"
_HALVES = {
    "north": ("[north|top|upper part]", 0, -1.0),
    "south": ("[south|bottom|lower part]", 0, 1.0),
    "west": ("[west|left|left part]", 1, -1.0),
    "east": ("[east|right|right part]", 1, 1.0),
}
_CORNERS = {
    "north_west": ("[north-west|top left|upper left]", 0, 0),
    "north_east": ("[north-east|top right|upper right]", 0, SIDE - 1),
    "south_west": ("[south-west|bottom left|lower left]", SIDE - 1, 0),
    "south_east": ("[south-east|bottom right|lower right]", SIDE - 1, SIDE - 1),
}


def _of_object(byte: int) -> tuple[Concept, ...]:
    """What can be said about the agent and one object."""
    name = cell_name(byte)
    key = name.replace(" ", "_")
    thing = f"[the|a] {name}"
    sides = (("north", 0, 1.0, "above"), ("south", 0, -1.0, "below"), ("west", 1, 1.0, "left of"),
             ("east", 1, -1.0, "right of"))  # fmt: skip
    return (
        Concept(
            f"at_{key}",
            expand(
                f"the agent is at the {name}",
                f"{_AGENT} {_IS} {_AT} {thing}",
                f"{_AGENT} {_AT} {thing}",
                f"{_AGENT} that [has reached|reached|found|has found] {thing}",
                f"{_AGENT} [has reached|reached|found|has found] {thing}",
            ),
            f"an agent that stands on top of the {name}",
            lambda state: at(state, byte),
        ),
        Concept(
            f"far_from_{key}",
            expand(
                f"the agent is far from the {name}",
                f"{_AGENT} {_IS} [far|far away|a long way] from {thing}",
                f"{_AGENT} [far|far away|a long way] from {thing}",
                f"{thing} is [far|far away|a long way] from [the|an] agent",
            ),
            f"the {name} far away from an agent",
            lambda state: far_from(state, byte),
        ),
        Concept(
            f"next_to_{key}",
            expand(
                f"{_AGENT} {_IS} [next to|beside|one step from|close to] {thing}",
                f"{_AGENT} [next to|beside|one step from|close to] {thing}",
                f"{thing} is [next to|beside|one step from|close to] [the|an] agent",
            ),
            f"the {name} beside an agent",
            lambda state: next_to(state, byte),
        ),
        *(
            Concept(
                f"{side}_of_{key}",
                expand(
                    f"{_AGENT} {_IS} [{side} of|to the {side} of|{place}] {thing}",
                    f"{_AGENT} [{side} of|to the {side} of|{place}] {thing}",
                ),
                f"an agent that is to the {side} of the {name}",
                lambda state, axis=axis, sign=sign: side_of(state, byte, axis, sign),
            )
            for side, axis, sign, place in sides
        ),
        *(
            Concept(
                f"{key}_in_{half}",
                expand(
                    f"{thing} [is|lies] [in|at] the {words} [of the room|of the picture|]",
                    f"{thing} [in|at] the {words} [of the room|of the picture|]",
                ),
                f"the {name} waits in the {half} of the room",
                lambda state, axis=axis, sign=sign: object_in_half(state, byte, axis, sign),
            )
            for half, (words, axis, sign) in _HALVES.items()
        ),
    )


_CONCEPTS = (
    Concept(
        "scene",
        expand(
            "an agent in a room with objects",
            "[the|an|] agent in [a|the] [room|grid|grid world|world] [with objects|with things|]",
            "[a picture|an image|a drawing|a map] of [a|the] [room|grid|grid world|world] "
            "[with objects|with an agent|]",
            "[a|the] [room|grid|grid world|world] with [an agent|objects|things|objects and an agent]",
        ),
        "a drawing of an agent in a world with things",
        lambda state: jnp.full(state.position.shape[:-1], 2.0, jnp.float32),
    ),
    *(concept for byte in OBJECTS for concept in _of_object(byte)),
    *(
        Concept(
            f"in_{half}",
            expand(
                f"{_AGENT} {_IS} [in|at] the {words} [of the room|of the picture|]",
                f"{_AGENT} [in|at] the {words} [of the room|of the picture|]",
            ),
            f"an agent that waits in the {half} of the room",
            lambda state, axis=axis, sign=sign: in_half(state, axis, sign),
        )
        for half, (words, axis, sign) in _HALVES.items()
    ),
    *(
        Concept(
            f"in_{corner}",
            expand(
                f"{_AGENT} {_IS} in the {words} corner [of the room|of the picture|]",
                f"{_AGENT} in the {words} corner [of the room|of the picture|]",
            ),
            f"an agent that waits in the {corner.replace('_', '-')} corner",
            lambda state, row=row, column=column: in_corner(state, row, column),
        )
        for corner, (words, row, column) in _CORNERS.items()
    ),
)


def sample_states(key: jax.Array, count: int) -> GridState:
    """Rooms with nearly all objects in random cells, a third with walls and half with other things besides.

    Two agents in five stand on an object, one in five at most a step or two from it, the others anywhere.
    """
    cells = SIDE**2
    return jax.vmap(_state_from)(jax.random.uniform(key, (count, cells + len(OBJECTS) + 8)))


def _state_from(chance: Float[Array, " draws"]) -> GridState:
    """A state from numbers between 0 and 1; one call of the generator for all of them compiles quickly."""
    known = len(OBJECTS)
    order = jnp.argsort(chance[: SIDE**2])
    missing, chance = chance[SIDE**2 : SIDE**2 + known] < 0.07, chance[SIDE**2 + known :]
    objects = jnp.where(missing, jnp.uint8(0), jnp.asarray(OBJECTS, jnp.uint8))
    other = jnp.asarray(_OTHERS, jnp.uint8)[jnp.floor(len(_OTHERS) * chance[:1]).astype(jnp.int32)]
    others = jnp.where(chance[1] < 0.5, other, jnp.uint8(0))
    walls = jnp.full(STONES, jnp.where(chance[2] < 1 / 3, cell("wall"), 0), jnp.uint8)
    things = jnp.concatenate([objects, others, walls])
    cells = jnp.zeros(SIDE**2, jnp.uint8).at[order[: things.size]].set(things)
    row, column = jnp.divmod(order[jnp.floor(known * chance[3]).astype(jnp.int32)], SIDE)
    place = jnp.stack([row, column])
    beside = jnp.clip(place + jnp.floor(3.0 * chance[4:6]).astype(jnp.int32) - 1, 0, SIDE - 1)
    anywhere = jnp.floor(SIDE * chance[4:6]).astype(jnp.int32)
    position = jnp.where(chance[6] < 0.4, place, jnp.where(chance[6] < 0.6, beside, anywhere))
    index = position[0] * SIDE + position[1]
    # Nobody stands in a wall.
    cells = cells.at[index].set(jnp.where(cells[index] == cell("wall"), jnp.uint8(0), cells[index]))
    return GridState(
        cells=cells.reshape(SIDE, SIDE),
        position=position.astype(jnp.int32),
        direction=jnp.floor(4.0 * chance[7]).astype(jnp.int32),
        carrying=jnp.zeros((), jnp.uint8),
    )


def _sweep_states(values: Float[Array, " n"], row: float, *, byte: int) -> GridState:
    """The object at the western wall, in some row; the agent so many steps from it, along that row and then across."""
    row = int(row)
    generator = np.random.default_rng(row)
    first = row * SIDE
    free = generator.permutation([place for place in range(SIDE**2) if place != first])
    places = dict(zip((other for other in OBJECTS if other != byte), free, strict=False)) | {byte: first}
    cells = ROOM.laid_out(jnp.asarray([places[known] for known in OBJECTS]))
    steps = values.astype(jnp.int32)
    across = jnp.maximum(steps - (SIDE - 1), 0)
    position = jnp.stack(
        [row + jnp.where(row < SIDE / 2, across, -across), jnp.minimum(steps, SIDE - 1)], axis=1
    )
    count = values.shape[0]
    return GridState(
        cells=jnp.broadcast_to(cells, (count, SIDE, SIDE)),
        position=position.astype(jnp.int32),
        direction=jnp.full(count, 3, jnp.int32),
        carrying=jnp.zeros(count, jnp.uint8),
    )


def _goal(byte: int) -> Goal:
    name = cell_name(byte)
    key = name.replace(" ", "_")
    return Goal(
        f"at_{key}",
        f"far_from_{key}",
        Sweep(
            coordinate=f"steps from the {name}",
            unit="",
            values=tuple(float(steps) for steps in range(12)),
            contexts=(0.0, 1.0, 3.0, 6.0, 7.0),
            states=lambda values, row: _sweep_states(values, row, byte=byte),
        ),
    )


def gridworld_captions() -> CaptionedDataset:
    """Agents in rooms with scattered objects; every object is a goal."""
    return CaptionedDataset(
        domain="gridworld",
        environment=ROOM,
        params=ROOM.default_params,
        sample_states=sample_states,
        concepts=_CONCEPTS,
        goals=tuple(_goal(byte) for byte in OBJECTS),
        baseline="scene",
        looks=ROOM.looks,
    )
