"""Truth of the grid-world's captions, worked out by hand in one room."""

import jax.numpy as jnp
import numpy as np
import pytest

from envs.captions import captioned_dataset
from envs.captions.gridworld import FARTHEST, steps_to
from envs.gridworld.cells import cell
from envs.gridworld.env import GridState
from envs.gridworld.room import OBJECTS

DATASET = captioned_dataset("gridworld")
# Row and column of the red ball, the red key and the blue ball; there is no blue key.
PLACES = ((2, 3), (0, 0), (7, 5))


def agent(*position) -> GridState:
    """Agents at positions (row, column) in the room of PLACES."""
    cells = np.zeros((8, 8), np.uint8)
    for byte, place in zip(OBJECTS, PLACES, strict=False):
        cells[place] = byte
    count = len(position)
    return GridState(
        cells=jnp.broadcast_to(jnp.asarray(cells), (count, 8, 8)),
        position=jnp.asarray(position, jnp.int32),
        direction=jnp.zeros(count, jnp.int32),
        carrying=jnp.zeros(count, jnp.uint8),
    )


def test_the_goal_by_hand():
    # 2 on the object, -1 beside it, a quarter less with every step.
    states = agent((2, 3), (2, 4), (4, 3), (7, 0))
    np.testing.assert_allclose(DATASET.concept("at_red_ball").log_odds(states), [2.0, -1.0, -1.25, -2.75])
    np.testing.assert_array_equal(steps_to(states, cell("key", "blue")), FARTHEST)
    np.testing.assert_allclose(DATASET.concept("at_blue_key").log_odds(states), -4.25)
    np.testing.assert_allclose(
        DATASET.concept("far_from_red_ball").log_odds(states), [-2.75, -2.25, -1.75, 1.25]
    )


@pytest.mark.parametrize(
    ("name", "holds", "fails"),
    [
        ("at_red_key", (0, 0), (2, 3)), ("at_blue_ball", (7, 5), (7, 4)), ("next_to_red_ball", (1, 3), (2, 3)),
        ("next_to_red_ball", (2, 2), (1, 2)), ("far_from_red_key", (5, 1), (4, 1)),
        ("north_of_red_ball", (1, 7), (2, 7)), ("south_of_red_ball", (3, 0), (2, 0)),
        ("west_of_red_ball", (7, 2), (7, 3)), ("east_of_red_ball", (0, 4), (0, 3)),
        ("in_north", (3, 7), (4, 7)), ("in_south", (4, 0), (3, 0)), ("in_west", (0, 3), (0, 4)),
        ("in_east", (7, 4), (7, 3)), ("in_north_west", (0, 1), (1, 1)), ("in_south_east", (7, 7), (6, 6)),
    ],
)  # fmt: skip
def test_facts_about_the_agent(name, holds, fails):
    assert DATASET.concept(name).holds(agent(holds, fails)).tolist() == [True, False]


def test_facts_about_objects():
    state = agent((5, 5))
    true = {"red_ball_in_north", "red_ball_in_west", "red_key_in_north", "red_key_in_west", "blue_ball_in_south",
            "blue_ball_in_east"}  # fmt: skip
    facts = [concept for concept in DATASET.concepts if "_in_" in concept.name and concept.name[:3] != "in_"]
    assert len(facts) == 4 * len(OBJECTS)
    assert {fact.name for fact in facts if bool(fact.holds(state)[0])} == true


def test_a_sweep_walks_away_step_by_step():
    for goal, byte in zip(DATASET.goals, OBJECTS, strict=True):
        values = jnp.asarray(goal.sweep.values, jnp.float32)
        for context in goal.sweep.contexts:
            states = goal.sweep.states(values, context)
            np.testing.assert_array_equal(steps_to(states, byte), values)
            assert all(int(jnp.sum(states.cells[0] == known)) == 1 for known in OBJECTS)
