"""The room with scattered objects: dynamics by hand, what is observed, rooms that are refused, its tasks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld.cells import cell
from envs.gridworld.env import GridState
from envs.gridworld.room import OBJECTS, ROOM_ACTIONS, ObjectRoom, RoomParams
from envs.registry import make_task, one_environment
from jaxvlm.errors import ConfigError

BALL, KEY = cell("ball", "red"), cell("key", "blue")
SMALL = ObjectRoom(3, (BALL, KEY))


def room(ball, key, agent) -> GridState:
    """A room of 3 x 3 with things in cells given as (row, column)."""
    places = jnp.asarray([3 * row + column for row, column in (ball, key)])
    return GridState(
        SMALL.laid_out(places),
        jnp.asarray(agent, jnp.int32),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), jnp.uint8),
    )


def play(state, actions, goal=BALL):
    """Cells visited and rewards of named actions."""
    step, visited, rewards = jax.jit(SMALL.step), [], []
    for action in actions:
        _, state, reward, terminated, truncated, info = step(
            jax.random.key(0), state, ROOM_ACTIONS.index(action), RoomParams(goal=jnp.uint8(goal))
        )
        assert not terminated
        assert not truncated
        assert bool(info["success"]) == (float(reward) == 1.0)
        visited.append(tuple(state.position.tolist()))
        rewards.append(float(reward))
    return visited, rewards


def test_staying_on_the_object_pays_and_only_there():
    state = room(ball=(1, 1), key=(0, 1), agent=(1, 0))
    visited, rewards = play(state, ["east", "stay", "stay", "north", "north", "stay", "west"])
    assert visited == [(1, 1), (1, 1), (1, 1), (0, 1), (0, 1), (0, 1), (0, 0)]
    assert rewards == [1, 1, 1, 0, 0, 0, 0]
    # The other object, in the same room.
    assert play(state, ["east", "stay", "north", "north", "stay", "west"], KEY)[1] == [0, 0, 1, 1, 1, 0]


def test_the_observation_says_where_things_are_and_not_which_is_meant():
    state = room(ball=(1, 2), key=(0, 1), agent=(2, 0))
    expected = [0, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0]  # rows and columns of agent, ball, key
    np.testing.assert_array_equal(SMALL.observe(state), expected)
    other = SMALL.step(jax.random.key(0), state, jnp.int32(4), RoomParams(goal=jnp.uint8(KEY)))
    np.testing.assert_array_equal(other[0], expected)


def test_every_episode_has_another_room():
    env = ObjectRoom()
    observation, state = jax.jit(jax.vmap(env.reset, (0, None)))(
        jax.random.split(jax.random.key(0), 400), env.default_params
    )
    np.testing.assert_array_equal(observation.sum(axis=1), 2 * (1 + len(OBJECTS)))
    cells = np.asarray(state.cells)
    for byte in OBJECTS:
        where = cells == byte
        np.testing.assert_array_equal(where.sum(axis=(1, 2)), 1)
        assert where.any(axis=0).sum() > 60  # of 64 cells
    row, column = np.asarray(state.position).T
    assert not cells[np.arange(400), row, column].any()  # nobody starts on an object


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"side": 1}, "side is 1"),
        ({"objects": ()}, "give at least one"),
        ({"objects": (BALL, BALL)}, "each once"),
        ({"objects": (cell("wall"),)}, "what can be carried"),
        ({"side": 2}, "4 objects and the agent do not fit into 4 cells"),
    ],
)
def test_rooms_that_cannot_be(changes, message):
    with pytest.raises(ConfigError, match=message):
        ObjectRoom(**changes)


def test_tasks_differ_in_the_goal_alone():
    ball, key = make_task("gridworld-red-ball"), make_task("gridworld-blue-key")
    env, params = one_environment([ball, key])
    assert env == ball.env == key.env
    assert [int(each.goal) for each in params] == [BALL, KEY]
    assert {each.goal.dtype for each in params} == {jnp.dtype(jnp.uint8)}
    assert ball.window < ball.episode_length - 2 * 7  # time to cross the room first
