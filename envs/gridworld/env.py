"""A grid-world as pure functions: an agent that walks, turns, opens doors, carries objects and avoids lava."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, Shaped, UInt8

from jaxvlm.errors import ConfigError
from jaxvlm.render import Camera2D
from jaxvlm.spaces import Box, Discrete

from . import picture
from .cells import (
    BALL,
    CLOSED_DOOR,
    COLOUR_BITS,
    COLOURS,
    KEY,
    KINDS,
    LAVA,
    LOCKED_DOOR,
    OPEN_DOOR,
    PLACE,
    WALL,
    cell,
)
from .views import VIEW, egocentric, hands_and_changes

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis

# Directions, clockwise as on a map, and the step each makes.
NORTH, EAST, SOUTH, WEST = range(4)
STEPS = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)], np.int32)  # rows, columns

# What achieves a task.
REACH, FACE, HOLD, PUT = range(4)

Control = Literal["moves", "compass", "turn"]
Observation = Literal["position", "view", "planes", "summary"]
ACTIONS = {
    "moves": ("north", "east", "south", "west"),
    "compass": ("north", "east", "south", "west", "pick up", "put down", "open or close"),
    "turn": ("turn left", "turn right", "forward", "pick up", "put down", "open or close"),
}


@struct.dataclass
class GridParams:
    """A world and a task in it: all that may differ between tasks of one bank, so it may be vmapped."""

    cells: Leaf  # u8[height, width], the world at the start of an episode, see `cells`
    starts: Leaf  # i32[height * width], cells (row * width + column) an episode starts in; the first `num_starts` count
    num_starts: Leaf  # i32[]
    start_direction: Leaf  # i32[], or -1 for any
    goal: Leaf  # i32[], REACH, FACE, HOLD or PUT
    goal_cells: Leaf  # bool[height, width], where to be (REACH) or to put the object (PUT)
    goal_object: Leaf  # u8[], byte of the object to face, hold or put; 0 for none


@struct.dataclass
class GridState:
    """The world and who is where in it."""

    cells: Leaf  # u8[height, width]
    position: Leaf  # i32[2], row and column
    direction: Leaf  # i32[], where the agent faces
    carrying: Leaf  # u8[], byte of what it carries, 0 for nothing


@dataclass(frozen=True)
class GridWorld:
    """A grid of `height` by `width` cells; beyond its edge everything is wall.

    `control` says what actions do: "moves" goes to the four points of the compass, "compass" picks up, puts down and
    opens doors besides, "turn" turns left and right and goes forward, as MiniGrid does. Whoever walks against
    something faces it and stays.

    Observation, by `observation`:
      "position": f32[height + width], one-hot row and column; with `control="turn"` four more for the direction.
      "view": u8[7, 7, 2], kinds and colours ahead: the agent stands in the middle of the last row and faces the first.
        Walls hide nothing; beyond the edge there is grey wall. What it carries lies in its own cell.
      "planes": f32[height, width, 27], one-hot kinds (16) and colours (10, none for floor), and
        where the agent stands; what it carries lies in its own cell. With `control="turn"` four planes more, of the
        direction, at the agent's cell.
      "summary": f32[height + width + 30 + height * width], one-hot row and column, direction (4), kind (16) and colour
        (10) of what is carried, zeros for nothing, and for each cell whether it differs from the world at the start of
        the episode (not what stands there now). For tasks in one world that is known by heart.

    A step that achieves the task pays 1, all others 0. Both that and lava end the episode, or with `terminate=False`
    neither does. `info["success"]`: the task is achieved by this step. With `solid=False` objects are walked over, so
    that an object's cell can be a place to reach.
    """

    height: int = 8
    width: int = 8
    control: Control = "moves"
    observation: Observation = "position"
    terminate: bool = True
    solid: bool = True

    def __post_init__(self) -> None:
        for side, value in (("height", self.height), ("width", self.width)):
            if not 2 <= value <= 255:
                raise ConfigError(f"{side} is {value}; a grid has 2 to 255 cells a side")
        if self.control not in ACTIONS:
            raise ConfigError(f"unknown control {self.control!r}; choose one of {', '.join(ACTIONS)}")
        if self.observation not in get_args(Observation):
            raise ConfigError(
                f"unknown observation {self.observation!r}; choose one of {', '.join(get_args(Observation))}"
            )

    @property
    def name(self) -> str:
        return "gridworld"

    @property
    def looks(self) -> tuple[str, ...]:
        return ("plain",)

    @property
    def default_params(self) -> GridParams:
        """An empty room whose last corner is the goal, from any other cell."""
        goal = np.zeros((self.height, self.width), bool)
        goal[-1, -1] = True
        return make_params(np.zeros((self.height, self.width), np.uint8), goal=REACH, goal_cells=goal)

    @property
    def cameras(self) -> dict[str, Camera2D]:
        """The whole grid; its cells are not square where its sides differ."""
        return {"default": Camera2D()}

    def reset(self, key: jax.Array, params: GridParams) -> tuple[Shaped[Array, "..."], GridState]:
        """Draws a start of those allowed, and a direction if any will do.

        Raises `ConfigError` for the parameters of a world of another size.
        """
        if params.cells.shape != (self.height, self.width):
            raise ConfigError(
                f"the params are of a world of {' x '.join(map(str, params.cells.shape))} cells, this one has "
                f"{self.height} x {self.width}; make a GridWorld of their size"
            )
        key_start, key_direction = jax.random.split(key)
        start = params.starts[jax.random.randint(key_start, (), 0, params.num_starts)]
        direction = jnp.where(
            params.start_direction < 0,
            jax.random.randint(key_direction, (), 0, 4),
            params.start_direction,
        )
        state = GridState(
            cells=params.cells,
            position=jnp.stack([start // self.width, start % self.width]).astype(jnp.int32),
            direction=direction.astype(jnp.int32),
            carrying=jnp.zeros((), jnp.uint8),
        )
        return self.observe(state, params), state

    def step(
        self, key: jax.Array, state: GridState, action: Int[Array, ""], params: GridParams
    ) -> tuple[
        Shaped[Array, "..."],
        GridState,
        Float[Array, ""],
        Bool[Array, ""],
        Bool[Array, ""],
        dict[str, jax.Array],
    ]:
        """One action; deterministic, `key` is not used."""
        del key
        action = jnp.asarray(action, jnp.int32)
        if self.control == "turn":
            direction = (state.direction + jnp.where(action == 0, 3, jnp.where(action == 1, 1, 0))) % 4
            moving, hands = action == 2, action - 3
        else:
            moving, hands = action < 4, action - 4
            direction = jnp.where(moving, action, state.direction)
        index, ahead = self._ahead(state.cells, state.position, direction)
        moved = moving & self._walkable(ahead)
        position = jnp.where(moved, state.position + _steps(direction), state.position)
        cells, carrying, put = state.cells, state.carrying, jnp.zeros((), bool)
        if self.control != "moves":
            cells, carrying, put = self._handle(state, hands, index, ahead, params)
        flat = position[0] * self.width + position[1]
        _, facing = self._ahead(cells, position, direction)
        success = jnp.where(
            params.goal == REACH,
            params.goal_cells.reshape(-1)[flat],
            jnp.where(
                params.goal == FACE,
                facing == params.goal_object,
                jnp.where(
                    params.goal == HOLD,
                    (carrying == params.goal_object) & (carrying > 0),
                    put & params.goal_cells.reshape(-1)[index],
                ),
            ),
        )
        burnt = moved & (ahead >> COLOUR_BITS == LAVA)
        success = success & ~burnt
        new = GridState(cells=cells, position=position, direction=direction, carrying=carrying)
        terminated = (success | burnt) & self.terminate
        no = jnp.zeros((), bool)
        return (
            self.observe(new, params),
            new,
            success.astype(jnp.float32),
            terminated,
            no,
            {"success": success, "burnt": burnt},
        )

    def _walkable(self, byte: UInt8[Array, ""]) -> Bool[Array, ""]:
        kind = byte >> COLOUR_BITS
        return kind <= OPEN_DOOR if self.solid else (kind <= OPEN_DOOR) | (kind >= BALL)

    def _ahead(
        self, cells: UInt8[Array, "h w"], position: Int[Array, "2"], direction: Int[Array, ""]
    ) -> tuple[Int[Array, ""], UInt8[Array, ""]]:
        """The cell in front, row * width + column kept within the grid, and what stands there; wall beyond the edge."""
        row, column = position + _steps(direction)
        inside = (row >= 0) & (row < self.height) & (column >= 0) & (column < self.width)
        index = jnp.where(inside, row * self.width + column, 0)
        return index, jnp.where(inside, cells.reshape(-1)[index], jnp.uint8(cell(WALL)))

    def _handle(
        self,
        state: GridState,
        hands: Int[Array, ""],
        index: Int[Array, ""],
        ahead: UInt8[Array, ""],
        params: GridParams,
    ) -> tuple[UInt8[Array, "h w"], UInt8[Array, ""], Bool[Array, ""]]:
        """Picks up (0), puts down (1), opens or closes (2) what is ahead.

        Returns the cells, what is carried, and whether the goal's object was put down.
        """
        kind, colour = ahead >> COLOUR_BITS, ahead & (1 << COLOUR_BITS) - 1
        first = params.cells.reshape(-1)[index]
        ground = jnp.where(first >> COLOUR_BITS == PLACE, first, jnp.uint8(0))  # what an object lies on
        picked = (hands == 0) & (kind >= BALL) & (state.carrying == 0)
        put = (hands == 1) & (state.carrying > 0) & (kind <= PLACE)
        has_key = state.carrying == (KEY << COLOUR_BITS | colour)
        opened = (hands == 2) & ((kind == CLOSED_DOOR) | (kind == LOCKED_DOOR) & has_key)
        closed = (hands == 2) & (kind == OPEN_DOOR)
        new = jnp.where(picked, ground, ahead)
        new = jnp.where(put, state.carrying, new)
        new = jnp.where(opened, (OPEN_DOOR << COLOUR_BITS) | colour, new)
        new = jnp.where(closed, (CLOSED_DOOR << COLOUR_BITS) | colour, new)
        # Beyond the edge `index` is that of another cell, but nothing there can be picked up, opened or put upon.
        changed = picked | put | opened | closed
        places = jnp.arange(self.height * self.width).reshape(self.height, self.width)
        cells = jnp.where(changed & (places == index), new.astype(jnp.uint8), state.cells)
        carrying = jnp.where(picked, ahead, jnp.where(put, jnp.uint8(0), state.carrying))
        return cells, carrying, put & (state.carrying == params.goal_object)

    def observe(self, state: GridState, params: GridParams | None = None) -> Shaped[Array, "..."]:
        """The observation of a state; only "summary" asks for the parameters, to see what has changed."""
        if self.observation == "view":
            return egocentric(state.cells, state.position, state.direction, state.carrying)
        row, column = (
            jax.nn.one_hot(state.position[0], self.height),
            jax.nn.one_hot(state.position[1], self.width),
        )
        turned = jax.nn.one_hot(state.direction, 4)
        if self.observation == "position":
            return jnp.concatenate([row, column, turned] if self.control == "turn" else [row, column])
        if self.observation == "summary":
            if params is None:
                raise ConfigError(
                    "observation 'summary' says what has changed since the start; give observe the params"
                )
            rest = hands_and_changes(state.cells, params.cells, state.carrying)
            return jnp.concatenate([row, column, turned, rest])
        here = row[:, None] * column[None, :]
        seen = jnp.where((here > 0) & (state.carrying > 0), state.carrying, state.cells)
        kind, colour = seen >> COLOUR_BITS, seen & (1 << COLOUR_BITS) - 1
        planes = [
            jax.nn.one_hot(kind, len(KINDS)),
            jax.nn.one_hot(colour, len(COLOURS)) * (seen > 0)[..., None],
            here[..., None],
        ]
        if self.control == "turn":
            planes.append(here[..., None] * turned)
        return jnp.concatenate(planes, axis=-1)

    def observation_space(self, params: GridParams) -> Box:
        if self.observation == "view":
            return Box(0, max(len(KINDS), len(COLOURS)) - 1, (VIEW, VIEW, 2), np.dtype(np.uint8))
        turned = 4 if self.control == "turn" else 0
        if self.observation == "position":
            return Box(0.0, 1.0, (self.height + self.width + turned,))
        if self.observation == "summary":
            hands = len(KINDS) + len(COLOURS)
            return Box(0.0, 1.0, (self.height + self.width + 4 + hands + self.height * self.width,))
        return Box(0.0, 1.0, (self.height, self.width, len(KINDS) + len(COLOURS) + 1 + turned))

    def action_space(self, params: GridParams) -> Discrete:
        return Discrete(len(ACTIONS[self.control]))

    def scene(self, state: GridState, params: GridParams) -> GridState:
        """The state: it is as small as a scene has to be, and a frame shows all of it."""
        return state

    def assets(self, look: str) -> picture.GridAssets:
        """The palette of a look; raises `ConfigError` for one not in `looks`."""
        if look not in self.looks:
            raise ConfigError(f"GridWorld has no look {look!r}: choose one of {', '.join(self.looks)}")
        return picture.make_assets()

    def render(
        self, scene: GridState, assets: picture.GridAssets, camera: Camera2D, size: int
    ) -> Float[Array, "size size 3"]:
        """Draws the grid as tiles."""
        return picture.render(scene.cells, scene.position, scene.direction, scene.carrying, assets, size)


def _steps(direction: Int[Array, ""]) -> Int[Array, "2"]:
    """Row and column of one step; arithmetic, because a lookup costs a kernel of its own on a CPU."""
    return jnp.stack(
        [
            (direction == SOUTH).astype(jnp.int32) - (direction == NORTH),
            (direction == EAST).astype(jnp.int32) - (direction == WEST),
        ]
    )


def make_params(
    cells: UInt8[np.ndarray, "h w"],
    *,
    goal: int,
    goal_cells: Bool[np.ndarray, "rows columns"] | None = None,
    goal_object: int = 0,
    starts: Bool[np.ndarray, "_ _"] | None = None,
    start_direction: int = -1,
) -> GridParams:
    """A world and a task.

    Args:
      cells: the world, bytes of `cells.cell`.
      goal: REACH or PUT with `goal_cells`, FACE, HOLD or PUT with `goal_object`.
      goal_cells: where to be, or where to put the object.
      goal_object: byte of the object.
      starts: cells an episode may start in, objects count as free; the default is all free floor but the goal's cells.
      start_direction: where the agent faces at first; -1 for any.

    Raises:
      ConfigError: a goal without what it needs, or no cell to start in.
    """
    cells = np.asarray(cells, np.uint8)
    if goal not in (REACH, FACE, HOLD, PUT):
        raise ConfigError(f"goal is {goal}; give REACH, FACE, HOLD or PUT")
    if goal in (REACH, PUT) and (goal_cells is None or not np.any(goal_cells)):
        raise ConfigError("goal_cells names no cell; say where to be or where to put the object")
    if (
        goal != REACH
        and goal_object >> COLOUR_BITS < BALL
        and not (goal == FACE and goal_object >> COLOUR_BITS > LAVA)
    ):
        raise ConfigError(
            f"goal_object is {goal_object}; give the byte of an object, such as cell('ball', 'red')"
        )
    where = np.zeros(cells.shape, bool) if goal_cells is None else np.asarray(goal_cells, bool)
    if where.shape != cells.shape:
        raise ConfigError(f"goal_cells has shape {where.shape}, the world {cells.shape}")
    free = cells >> COLOUR_BITS <= PLACE
    if starts is not None:
        allowed = np.asarray(starts, bool)
        if allowed.shape != cells.shape:
            raise ConfigError(f"starts has shape {allowed.shape}, the world {cells.shape}")
    else:
        allowed = free & ~where if goal == REACH else free
    chosen = np.flatnonzero(allowed)
    if not chosen.size:
        raise ConfigError("no cell to start in; leave some floor free or name starts")
    kinds = cells.reshape(-1)[chosen] >> COLOUR_BITS
    blocked = chosen[(kinds > OPEN_DOOR) & (kinds < BALL)]
    if blocked.size:
        raise ConfigError(
            f"an episode cannot start in cell {np.divmod(blocked[0], cells.shape[1])}: it is not free"
        )
    return GridParams(
        cells=jnp.asarray(cells),
        starts=jnp.asarray(np.resize(chosen, cells.size), jnp.int32),
        num_starts=jnp.int32(chosen.size),
        start_direction=jnp.int32(start_direction),
        goal=jnp.int32(goal),
        goal_cells=jnp.asarray(where),
        goal_object=jnp.uint8(goal_object),
    )
