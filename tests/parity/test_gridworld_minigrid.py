"""The grid-world's rules against MiniGrid's: the same worlds, the same actions, every step of them.

What differs by design is left out of the sequences, and nothing else:
  a box that is toggled opens in MiniGrid, which removes it; ours stays shut, so no box is toggled;
  an object is put on a goal's cell in ours alone, so nobody tries;
  MiniGrid's seventh action, `done`, does nothing and is not among ours;
  it shows nothing in the agent's own cell where it carries nothing; ours shows the open door or the goal it stands on;
  its reward falls with the steps of an episode, ours is 1, so only whether there is one is compared;
  its worlds are walled in, so where ours end is not asked.
"""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld.cells import BALL, BOX, COLOURS, KINDS, LOCKED_DOOR, OPEN_DOOR, PLACE, cell
from envs.gridworld.env import REACH, VIEW, GridState, GridWorld, make_params

minigrid = pytest.importorskip("minigrid")

SIDE, LENGTH, WORLDS = 9, 200, 60
DOOR_STATES = ("open door", "closed door", "locked door")
FORWARD, PICK_UP, PUT_DOWN, TOGGLE = range(2, 6)


def draw_world(rng: np.random.Generator) -> np.ndarray:
    """Walls around and some within, u8[9, 9], all kinds that both know, in two colours so that keys fit locks."""
    kinds = ["floor", "wall", "lava", "place", *DOOR_STATES, "ball", "box", "key"]
    shares = [0.52, 0.06, 0.02, 0.02, 0.05, 0.06, 0.07, 0.06, 0.05, 0.09]
    cells = np.full((SIDE, SIDE), cell("wall"), np.uint8)
    for row, column in np.ndindex(SIDE - 2, SIDE - 2):
        kind = str(rng.choice(kinds, p=shares))
        colour = {"floor": "grey", "wall": "grey", "lava": "grey", "place": "green"}.get(kind)
        cells[row + 1, column + 1] = cell(kind, colour or str(rng.choice(["red", "purple"])))
    cells[4, 4], cells[2, 6] = 0, cell("place", "green")
    return cells


def their_object(byte: int):
    """MiniGrid's object of a byte, None for floor."""
    from minigrid.core import world_object as objects

    kind, colour = KINDS[byte >> 4], COLOURS[byte & 15]
    if kind in DOOR_STATES:
        return objects.Door(colour, is_open=kind == "open door", is_locked=kind == "locked door")
    plain = {"wall": objects.Wall, "lava": objects.Lava, "place": objects.Goal}
    coloured = {"ball": objects.Ball, "box": objects.Box, "key": objects.Key}
    if kind == "floor":
        return None
    return plain[kind]() if kind in plain else coloured[kind](colour)


def our_byte(code: np.ndarray) -> int:
    """The byte of MiniGrid's three numbers for a cell: kind, colour and state of a door."""
    from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT

    kind, colour = IDX_TO_OBJECT[int(code[0])], IDX_TO_COLOR[int(code[1])]
    if kind == "door":
        return cell(DOOR_STATES[code[2]], colour)
    if kind in ("empty", "lava"):  # theirs are red and ours grey
        return cell("floor" if kind == "empty" else "lava")
    return cell("place" if kind == "goal" else kind, colour)


def bytes_of(codes: np.ndarray) -> np.ndarray:
    """Of an array [x, y, 3] of theirs: u8[row, column]."""
    return np.apply_along_axis(our_byte, 2, codes).T.astype(np.uint8)


def make_theirs(cells: np.ndarray, direction: int):
    """MiniGrid's environment in a given world, its agent in the middle."""
    from minigrid.core.grid import Grid
    from minigrid.core.mission import MissionSpace
    from minigrid.minigrid_env import MiniGridEnv

    class Given(MiniGridEnv):
        def _gen_grid(self, width, height):
            self.grid = Grid(width, height)
            for row, column in np.ndindex(height, width):
                self.grid.set(column, row, their_object(int(cells[row, column])))
            self.agent_pos, self.agent_dir = (4, 4), direction
            self.mission = ""

    return Given(MissionSpace(lambda: ""), grid_size=SIDE, max_steps=10**6, see_through_walls=True)


def their_episode(
    cells: np.ndarray, rng: np.random.Generator
) -> tuple[int, list[int], dict[str, np.ndarray], Counter]:
    """First direction, actions, what MiniGrid says after each, and how often what happened."""
    direction = int(rng.integers(4))
    env = make_theirs(cells, direction)
    seen = [env.reset()[0]["image"]]
    actions, record, events = [], [], Counter()
    now = cells
    for _ in range(LENGTH):
        column, row = env.front_pos
        ahead, hands = int(now[row, column]) >> 4, env.carrying
        # Half of the time what is apt, so that much happens.
        apt = PICK_UP if ahead >= BALL else TOGGLE if OPEN_DOOR < ahead <= LOCKED_DOOR else FORWARD
        action = int(rng.choice([apt, int(rng.integers(6))]))
        if (action == TOGGLE and ahead == BOX) or (action == PUT_DOWN and ahead == PLACE):
            action = FORWARD
        observation, reward, terminated, _, _ = env.step(action)
        new = bytes_of(env.grid.encode())
        actions.append(action)
        seen.append(observation["image"])
        carrying = 0 if env.carrying is None else our_byte(np.array(env.carrying.encode()))
        # Directions of theirs begin in the east.
        record.append((new, env.agent_pos[::-1], (env.agent_dir + 1) % 4, carrying, reward > 0, terminated))
        events["picked up"] += hands is None and env.carrying is not None
        events["put down"] += hands is not None and env.carrying is None
        events["unlocked"] += ahead == LOCKED_DOOR and not np.array_equal(new, now)
        events["closed"] += ahead == OPEN_DOOR and not np.array_equal(new, now)
        events["hands full"] += action == PICK_UP and ahead >= BALL and hands is not None
        events["no key"] += action == TOGGLE and ahead == LOCKED_DOOR and np.array_equal(new, now)
        events["goal"] += reward > 0
        events["burnt"] += bool(terminated and reward == 0)
        now = new
        if terminated:
            break
    names = ("cells", "position", "direction", "carrying", "paid", "terminated")
    said = {name: np.array(column) for name, column in zip(names, zip(*record, strict=True), strict=True)}
    said["view"] = np.stack([bytes_of(image) for image in seen])
    return direction, actions, said, events


def test_every_step_is_minigrids():
    rng = np.random.default_rng(0)
    env = GridWorld(SIDE, SIDE, control="turn", observation="view")

    @jax.jit
    def ours(params, state, actions):
        def step(state, action):
            view, state, reward, terminated, _, _ = env.step(jax.random.key(0), state, action, params)
            return state, (state, view, reward > 0, terminated)

        return env.observe(state), jax.lax.scan(step, state, actions)[1]

    total, happened = 0, Counter()
    for _ in range(WORLDS):
        cells = draw_world(rng)
        direction, actions, theirs, events = their_episode(cells, rng)
        places = cells == cell("place", "green")
        params = make_params(cells, goal=REACH, goal_cells=places, starts=cells == 0)
        start = GridState(
            cells=jnp.asarray(cells),
            position=jnp.array([4, 4], jnp.int32),
            direction=jnp.int32((direction + 1) % 4),
            carrying=jnp.uint8(0),
        )
        padded = jnp.asarray(np.resize(actions, LENGTH), jnp.int32)
        first, (states, views, paid, terminated) = ours(params, start, padded)
        count = len(actions)
        for name in ("cells", "position", "direction", "carrying"):
            np.testing.assert_array_equal(getattr(states, name)[:count], theirs[name], err_msg=name)
        views = np.concatenate([first[None], views[:count]])
        views = views[..., 0] * 16 + views[..., 1]
        own = np.zeros(views.shape, bool)
        own[:, -1, VIEW // 2] = np.concatenate([[0], theirs["carrying"]]) == 0
        np.testing.assert_array_equal(np.where(own, 0, views), theirs["view"])
        np.testing.assert_array_equal(paid[:count], theirs["paid"])
        np.testing.assert_array_equal(terminated[:count], theirs["terminated"])
        total, happened = total + count, happened + events
    assert total > 4000
    for event in ("picked up", "put down", "unlocked", "closed", "hands full", "no key", "goal", "burnt"):
        assert happened[event] > 3, (event, happened)
