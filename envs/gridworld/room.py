"""A room whose objects lie in other cells every episode, and an agent that is to stand on one of them.

It is what a sentence can be tried on: the room is the same for every task, and which object counts is known to the
reward alone.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float, Int, UInt8

from jaxvlm.errors import ConfigError
from jaxvlm.render import Camera2D
from jaxvlm.spaces import Box, Discrete

from . import picture
from .cells import BALL, COLOUR_BITS, cell
from .env import REACH, GridParams, GridState, GridWorld, Leaf

# Two colours and two shapes in all combinations, so that neither word alone says which object is meant.
OBJECTS = (cell("ball", "red"), cell("key", "red"), cell("ball", "blue"), cell("key", "blue"))
ROOM_ACTIONS = ("north", "east", "south", "west", "stay")


@struct.dataclass
class RoomParams:
    """Which object is to be stood on."""

    goal: Leaf  # u8[], byte of the object


@dataclass(frozen=True)
class ObjectRoom:
    """A room of `side` by `side` cells with each of `objects` in it once, all in cells drawn anew every episode.

    Actions walk to the four points of the compass or stay; objects are walked over. Episodes have no end of their own,
    so that it pays to stay. A step that ends on the goal's object pays 1, all others 0, and `info["success"]` says so.

    Observation: f32[(1 + objects) * 2 * side], one-hot row and column of the agent and of every object, in the order of
    `objects`. It shows where things are and not which of them is the goal.
    """

    side: int = 8
    objects: tuple[int, ...] = OBJECTS

    def __post_init__(self) -> None:
        if not 2 <= self.side <= 255:
            raise ConfigError(f"side is {self.side}; a room has 2 to 255 cells a side")
        if len(set(self.objects)) < len(self.objects) or not self.objects:
            raise ConfigError(f"objects are {self.objects}; give at least one, and each once")
        if any(byte >> COLOUR_BITS < BALL for byte in self.objects):
            raise ConfigError(
                f"objects are {self.objects}; give bytes of what can be carried, such as cell('ball', 'red')"
            )
        if len(self.objects) >= self.side**2:
            raise ConfigError(
                f"{len(self.objects)} objects and the agent do not fit into {self.side**2} cells"
            )

    @property
    def name(self) -> str:
        return "gridworld"

    @property
    def grid(self) -> GridWorld:
        """The world that dynamics and pictures come from."""
        return GridWorld(self.side, self.side, terminate=False, solid=False)

    @property
    def looks(self) -> tuple[str, ...]:
        return self.grid.looks

    @property
    def cameras(self) -> dict[str, Camera2D]:
        return self.grid.cameras

    @property
    def default_params(self) -> RoomParams:
        """The first object is the goal."""
        return RoomParams(goal=jnp.uint8(self.objects[0]))

    def reset(self, key: jax.Array, params: RoomParams) -> tuple[Float[Array, " obs"], GridState]:
        """Draws cells of their own for the objects and the agent, and where the agent faces."""
        key_cells, key_direction = jax.random.split(key)
        order = jax.random.permutation(key_cells, self.side**2)
        state = GridState(
            cells=self.laid_out(order[1 : 1 + len(self.objects)]),
            position=jnp.stack([order[0] // self.side, order[0] % self.side]).astype(jnp.int32),
            direction=jax.random.randint(key_direction, (), 0, 4),
            carrying=jnp.zeros((), jnp.uint8),
        )
        return self.observe(state), state

    def laid_out(self, places: Int[Array, " objects"]) -> UInt8[Array, "side side"]:
        """An empty room with each object in a place of its own, row * side + column."""
        bytes_ = jnp.asarray(self.objects, jnp.uint8)
        return jnp.zeros(self.side**2, jnp.uint8).at[places].set(bytes_).reshape(self.side, self.side)

    def step(
        self, key: jax.Array, state: GridState, action: Int[Array, ""], params: RoomParams
    ) -> tuple[
        Float[Array, " obs"],
        GridState,
        Float[Array, ""],
        Bool[Array, ""],
        Bool[Array, ""],
        dict[str, jax.Array],
    ]:
        """One action; deterministic, `key` is not used."""
        world = GridParams(
            cells=state.cells,
            starts=jnp.zeros(1, jnp.int32),
            num_starts=jnp.int32(1),
            start_direction=jnp.int32(-1),
            goal=jnp.int32(REACH),
            goal_cells=state.cells == params.goal,
            goal_object=params.goal,
        )
        # The grid knows four moves; what is not one of them changes nothing.
        _, new, reward, terminated, truncated, info = self.grid.step(key, state, action, world)
        return self.observe(new), new, reward, terminated, truncated, info

    def observe(self, state: GridState) -> Float[Array, " obs"]:
        """The observation of a state."""
        here = jnp.zeros((self.side, self.side), bool).at[state.position[0], state.position[1]].set(True)
        objects = state.cells == jnp.asarray(self.objects, jnp.uint8)[:, None, None]
        planes = jnp.concatenate([here[None], objects])
        both = jnp.concatenate([planes.any(axis=2), planes.any(axis=1)], axis=1)
        return both.reshape(-1).astype(jnp.float32)

    def observation_space(self, params: RoomParams) -> Box:
        return Box(0.0, 1.0, ((1 + len(self.objects)) * 2 * self.side,), np.dtype(np.float32))

    def action_space(self, params: RoomParams) -> Discrete:
        return Discrete(len(ROOM_ACTIONS))

    def scene(self, state: GridState, params: RoomParams) -> GridState:
        """The state: a frame shows all of it."""
        return state

    def assets(self, look: str) -> picture.GridAssets:
        """The palette of a look; raises `ConfigError` for an unknown one."""
        return self.grid.assets(look)

    def render(
        self, scene: GridState, assets: picture.GridAssets, camera: Camera2D, size: int
    ) -> Float[Array, "size size 3"]:
        """Draws the grid as tiles."""
        return self.grid.render(scene, assets, camera, size)
