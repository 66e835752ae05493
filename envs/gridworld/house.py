"""A house of four rooms, and 72 tasks in it that ask for more than a place: look at, pick up, carry, enter.

Two walls part the house into rooms, with a door between any two that adjoin, one of them closed. Objects lie in the
corners of rooms, three in each; the fourth corner is one of the house's own, and lava fills two of these. Tasks of a
seed share the house:

  FACE   12  "go to the red ball": stand before it and face it
  HOLD   12  "pick up the red ball"
  PUT    24  "carry the red ball to the north-east room": each object to the two rooms that adjoin its own
  REACH  24  "be in the room at the top right": each room, said in six ways

An episode starts anywhere, that of a PUT in the object's room: random actions carry a thing through a door and put it
down there in three episodes of a hundred. From elsewhere or to the room across they do so much more rarely, too rarely
to learn it from a reward for success alone. Which objects there are, where walls, doors and lava are and which door is
closed is drawn by seed.

Nothing ever stands in the way: a corner joins two cells that are two steps apart over a third one as well, which is
always free, and doors do not open onto corners. All that a way over a corner may spare is one turn, and to take up what
lies there costs one action at least. So no other object is ever worth moving, and the best returns follow from few
states, see `task_table`.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxvlm.errors import ConfigError

from .cells import CLOSED_DOOR, COLOUR_BITS, LAVA, LOCKED_DOOR, OPEN_DOOR, PLACE, WALL, cell, cell_name
from .env import FACE, HOLD, PUT, REACH, STEPS, GridParams, GridState, GridWorld, make_params
from .families import Family
from .oracle import Number, Table, expected_return, optimal_values

ROOMS = ("north-west", "north-east", "south-west", "south-east")
HOUSE_COLOURS = ("red", "green", "blue", "yellow", "purple", "orange")
HOUSE_SHAPES = ("ball", "box", "key", "star", "ring", "moon")
IN_A_ROOM = 3  # objects
LAVA_CELLS, CLOSED_DOORS = 2, 1  # of four rooms and of four doors
# How much further off a task of another kind is, in sides of the house.
OTHER_KIND = 0.25
# Ways to say all four rooms, in the order of ROOMS.
_WAYS = (
    ("go to the {} room", ROOMS),
    ("be in the room at the {}", ("top left", "top right", "bottom left", "bottom right")),
    ("enter the {} chamber", ("upper western", "upper eastern", "lower western", "lower eastern")),
    (
        "walk {}",
        ("up and to the left", "up and to the right", "down and to the left", "down and to the right"),
    ),
    ("your target is the {} quarter", ("northwestern", "northeastern", "southwestern", "southeastern")),
    ("find the {} of the house", ("back left", "back right", "front left", "front right")),
)


@dataclass(frozen=True)
class House(Family):
    """Tasks in one house. `region` is the room a task ends in (0 to 3), `wording` the way it is said (0 to 5).

    `goal` is where a task ends: the object's cell, or the middle of the room. `params.cells` of all tasks are equal.
    """

    kind: np.ndarray  # i32[72], REACH, FACE, HOLD or PUT
    first: np.ndarray  # i32[72, 2], where a task leads to first: the object's cell, or the middle of the room

    @property
    def horizon(self) -> int:
        """Steps of an episode: eight times the house's side."""
        return 8 * self.env.height


def house_instructions() -> tuple[str, ...]:
    """Every instruction that some house may give, each once, sorted."""
    objects = [cell_name(cell(shape, colour)) for colour in HOUSE_COLOURS for shape in HOUSE_SHAPES]
    said = {_say(kind, name, room) for kind in (FACE, HOLD, PUT) for name in objects for room in range(4)}
    rooms = {template.format(words[room]) for template, words in _WAYS for room in range(4)}
    return tuple(sorted(said | rooms))


def make_house(size: int, seed: int) -> House:
    """The 72 tasks of a house of `size` by `size` cells, to be acted in with `control="compass"`.

    Raises:
      ConfigError: a house too small for four rooms with doors and corners.
    """
    if size < 7:
        raise ConfigError(f"size is {size}; a house of four rooms has at least 7 cells a side")
    generator = np.random.default_rng(seed)
    world, rooms = _build(size, generator)
    kinds_of = generator.permutation(len(HOUSE_COLOURS) * len(HOUSE_SHAPES))[: 4 * IN_A_ROOM]
    things = []  # byte, cell, room
    for room, (top, left, bottom, right) in enumerate(rooms):
        corners = [(top, left), (top, right), (bottom, left), (bottom, right)]
        del corners[room]  # the house's own corner, furthest from both doors
        for k, corner in enumerate(corners):
            colour, shape = divmod(int(kinds_of[room * IN_A_ROOM + k]), len(HOUSE_SHAPES))
            byte = cell(HOUSE_SHAPES[shape], HOUSE_COLOURS[colour])
            world[corner] = byte
            things.append((byte, corner, room))
    inside = np.zeros((4, size, size), bool)
    for room, (top, left, bottom, right) in enumerate(rooms):
        inside[room, top : bottom + 1, left : right + 1] = True
    middle = [((top + bottom) // 2, (left + right) // 2) for top, left, bottom, right in rooms]

    tasks = []  # kind, byte, its cell, its room, room it ends in, wording, instruction
    for kind in (FACE, HOLD, PUT):
        for byte, where, own in things:
            for room in range(4) if kind == PUT else [own]:
                if kind != PUT or (room ^ own) in (1, 2):  # they share a row or a column of rooms, not both
                    tasks.append((kind, byte, where, own, room, 0, _say(kind, cell_name(byte), room)))
    for wording, (template, words) in enumerate(_WAYS):
        for room in range(4):
            tasks.append((REACH, 0, middle[room], room, room, wording, template.format(words[room])))
    floor = world >> COLOUR_BITS <= PLACE
    params = [
        make_params(
            world,
            goal=kind,
            goal_object=byte,
            goal_cells=inside[room] if kind in (REACH, PUT) else None,
            starts=floor & inside[own] if kind == PUT else None,
        )
        for kind, byte, _, own, room, _, _ in tasks
    ]
    kind, _, first, _, region, wording, instructions = zip(*tasks, strict=True)
    ends = [middle[room] if k == PUT else where for k, where, room in zip(kind, first, region, strict=True)]
    return House(
        name="house",
        env=GridWorld(size, size, control="compass", observation="summary"),
        params=jax.tree.map(lambda *leaves: jnp.stack(leaves), *params),
        instructions=instructions,
        region=np.array(region, np.int32),
        wording=np.array(wording, np.int32),
        goal=np.array(ends, np.int32),
        kind=np.array(kind, np.int32),
        first=np.array(first, np.int32),
    )


def _say(kind: int, name: str, room: int) -> str:
    if kind == PUT:
        return f"carry the {name} to the {ROOMS[room]} room"
    return f"{'pick up' if kind == HOLD else 'go to'} the {name}"


def _build(size: int, generator: np.random.Generator) -> tuple[np.ndarray, list[tuple[int, int, int, int]]]:
    """Walls, doors and lava, and the first and last row and column of each room: top, left, bottom, right."""
    wall_row, wall_column = (int(generator.integers((size - 1) // 2, size // 2 + 1)) for _ in range(2))
    rows, columns = (
        ((0, wall_row - 1), (wall_row + 1, size - 1)),
        ((0, wall_column - 1), (wall_column + 1, size - 1)),
    )
    rooms = [(top, left, bottom, right) for top, bottom in rows for left, right in columns]
    world = np.zeros((size, size), np.uint8)
    world[wall_row] = world[:, wall_column] = cell(WALL)
    # Not onto corners, where objects lie.
    doors = [(int(generator.integers(top + 1, bottom)), wall_column) for top, bottom in rows]
    doors += [(wall_row, int(generator.integers(left + 1, right))) for left, right in columns]
    closed = set(generator.permutation(4)[:CLOSED_DOORS].tolist())
    colours = generator.permutation(len(HOUSE_COLOURS))[:4]
    for k, door in enumerate(doors):
        world[door] = cell(CLOSED_DOOR if k in closed else OPEN_DOOR, HOUSE_COLOURS[colours[k]])
    for room in generator.permutation(4)[:LAVA_CELLS]:
        world[-(room // 2), -(room % 2)] = cell(LAVA)  # the house's corner
    return world, rooms


def task_table(env: GridWorld, params: GridParams, closed: Int[Array, " doors"]) -> Table:
    """A task as far as it matters: where the agent is and faces, which doors are open, whether it carries the object.

    All of it comes from `env.step`; an action that leads elsewhere (to pick up another object, to put one down where it
    is not wanted, to close a door that was open) is refused: nothing happens. The best return is that of the whole task
    where nothing of the kind is ever of use, as in a house. Pure, so it may be vmapped over tasks.

    Args:
      env: a world whose episodes end at success.
      params: of one task.
      closed: closed doors of the world, row * width + column. Locked ones stay so.

    Raises:
      ConfigError: the environment does not end an episode at success.
    """
    if not env.terminate:
        raise ConfigError("terminate is False; the best return is of episodes that end at success")
    count = env.height * env.width
    shape = (count, 4, 2 ** closed.shape[0], 2)
    bits = 1 << jnp.arange(closed.shape[0])  # of a number that says which of these doors are open

    def decode(code: Int[Array, ""]) -> GridState:
        place, direction, opened, held = jnp.unravel_index(code, shape)
        flat = params.cells.reshape(-1)
        ajar = jnp.any((closed == jnp.arange(count)[:, None]) & (opened & bits > 0), axis=1)
        flat = jnp.where(ajar, flat - jnp.uint8(cell(CLOSED_DOOR) - cell(OPEN_DOOR)), flat)
        held = (held > 0) & (params.goal_object > 0)
        flat = jnp.where(held & (flat == params.goal_object), jnp.uint8(0), flat)
        return GridState(
            cells=flat.reshape(env.height, env.width),
            position=jnp.stack([place // env.width, place % env.width]).astype(jnp.int32),
            direction=direction.astype(jnp.int32),
            carrying=jnp.where(held, params.goal_object, jnp.uint8(0)),
        )

    def encode(state: GridState) -> Int[Array, ""]:
        opened = jnp.sum(bits * (state.cells.reshape(-1)[closed] >> COLOUR_BITS == OPEN_DOOR))
        place = state.position[0] * env.width + state.position[1]
        held = (state.carrying > 0).astype(jnp.int32)
        return ((place * 4 + state.direction) * shape[2] + opened) * 2 + held

    def outcome(code: Int[Array, ""], action: Int[Array, ""]) -> tuple[Array, Array, Array]:
        _, new, reward, terminated, _, _ = env.step(jax.random.key(0), decode(code), action, params)
        there = encode(new)
        same = jax.tree.map(lambda a, b: jnp.all(a == b), new, decode(there))
        kept = jnp.all(jnp.stack(jax.tree.leaves(same)))
        return jnp.where(kept, there, code).astype(jnp.int32), reward, terminated

    codes = jnp.arange(int(np.prod(shape)), dtype=jnp.int32)
    actions = jnp.arange(env.action_space(params).n, dtype=jnp.int32)
    successor, reward, terminated = jax.vmap(jax.vmap(outcome, (None, 0)), (0, None))(codes, actions)
    states = jax.vmap(decode)(codes)
    listed = jnp.arange(params.starts.shape[0]) < params.num_starts
    place = jnp.zeros(count).at[params.starts].add(listed / params.num_starts)
    facing = jnp.where(params.start_direction < 0, 0.25, jnp.arange(4) == params.start_direction)
    start = jnp.zeros(shape).at[:, :, 0, 0].set(place[:, None] * facing)
    return Table(
        states=states,
        observation=jax.vmap(env.observe, in_axes=(0, None))(states, params),
        successor=successor,
        reward=reward,
        terminated=terminated,
        start=start.reshape(-1),
    )


def best_returns(
    family: Family, discount: float, starts: GridState | None = None
) -> Float[np.ndarray, " tasks"]:
    """The best expected discounted return of each task, f64[T], over where its episodes start.

    Exact where no other object is ever worth moving, see `task_table`; the tasks share one world.

    Args:
      family: the tasks.
      discount: a step.
      starts: states [T, n, ...] that episodes start in, as `env.reset` gives them; the default is all that it may give.
    """
    found = _best_returns(family.env, family.params, closed_doors(family), discount, family.horizon, starts)
    return np.asarray(found, np.float64)


@partial(jax.jit, static_argnums=(0, 4))  # one program for all seeds
def _best_returns(
    env: GridWorld,
    params: GridParams,
    closed: Int[Array, " doors"],
    discount: Number,
    horizon: int,
    starts: GridState | None,
) -> Float[Array, " tasks"]:
    def best(task_and_starts: tuple[GridParams, GridState | None]) -> Float[Array, ""]:
        task, states = task_and_starts
        table = task_table(env, task, closed)
        values = optimal_values(table, discount, horizon)[0]
        if states is None:
            return expected_return(table, values)
        # Doors as they are at first and nothing in hand: the first of the states of a place and a direction.
        at_first = values.reshape(env.height, env.width, 4, -1)[..., 0]
        return jnp.mean(at_first[states.position[:, 0], states.position[:, 1], states.direction])

    return jax.lax.map(best, (params, starts))


def closed_doors(family: Family) -> Int[Array, " doors"]:
    """Closed doors of a family's world, row * width + column."""
    cells = np.asarray(family.params.cells[0]).reshape(-1)
    return jnp.asarray(np.flatnonzero(cells >> COLOUR_BITS == CLOSED_DOOR), jnp.int32)


def nearness(family: House) -> Float[np.ndarray, "tasks tasks"]:
    """How near tasks are to each other, f32[T, T], 0 at most: minus the way between them, in sides of the house.

    The mean of the ways between where two tasks lead to first (the object, or the room) and between where they end;
    `OTHER_KIND` more for tasks of two kinds. Ways are walked: around walls, through doors, which count as open.
    """
    steps = walking_steps(np.asarray(family.params.cells[0]))
    width = family.env.width
    first, last = (place[:, 0] * width + place[:, 1] for place in (family.first, family.goal))
    way = (steps[first[:, None], first] + steps[last[:, None], last]) / 2
    other = family.kind[:, None] != family.kind
    return -(way / family.env.height + OTHER_KIND * other).astype(np.float32)


def walking_steps(cells: np.ndarray) -> Float[np.ndarray, "places places"]:
    """Steps between any two cells, row * width + column, doors open, objects walked over; infinite for no way."""
    height, width = cells.shape
    free: Bool[np.ndarray, "h w"] = ~np.isin(cells >> COLOUR_BITS, (LAVA, LOCKED_DOOR, WALL))
    steps = np.full((cells.size, cells.size), np.inf)
    for start in np.flatnonzero(free):
        frontier, far = np.zeros_like(free), 0
        frontier[start // width, start % width] = True
        seen = np.zeros_like(free)
        while frontier.any():
            seen |= frontier
            steps[start, frontier.reshape(-1)] = far
            padded, far = np.pad(frontier, 1), far + 1
            reached = [padded[1 + r : 1 + r + height, 1 + c : 1 + c + width] for r, c in STEPS]
            frontier = np.logical_or.reduce(reached) & free & ~seen
    return steps
