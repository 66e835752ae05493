"""The house: what its tasks ask for, where things lie, the best returns against all there is to do, nearness."""

from collections import Counter
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld.cells import BALL, CLOSED_DOOR, COLOUR_BITS, LAVA, OPEN_DOOR, WALL, cell, cell_name
from envs.gridworld.env import FACE, HOLD, PUT, REACH, GridWorld, make_params
from envs.gridworld.house import (
    OTHER_KIND,
    best_returns,
    closed_doors,
    house_instructions,
    make_house,
    nearness,
    task_table,
    walking_steps,
)
from envs.gridworld.oracle import all_starts, expected_return, optimal_values, reachable_table
from jaxvlm.errors import ConfigError


@pytest.mark.parametrize("size", [7, 8, 13])
def test_a_house_has_72_tasks_with_a_sentence_each(size):
    house = make_house(size, seed=3)
    assert len(set(house.instructions)) == 72
    assert set(house.instructions) <= set(house_instructions())
    assert {leaf.shape[0] for leaf in jax.tree.leaves(house.params)} == {72}
    assert Counter(house.kind.tolist()) == {FACE: 12, HOLD: 12, PUT: 24, REACH: 24}
    cells = np.asarray(house.params.cells)
    assert (cells == cells[0]).all()
    kinds = Counter((cells[0] >> COLOUR_BITS).reshape(-1).tolist())
    assert kinds[LAVA] == 2
    assert (kinds[OPEN_DOOR], kinds[CLOSED_DOOR]) == (3, 1)
    assert kinds[WALL] == 2 * size - 1 - 4
    assert sum(kinds[kind] for kind in range(BALL, 16)) == 12
    for k, text in enumerate(house.instructions):
        if house.kind[k] == REACH:
            continue
        row, column = house.first[k]
        name = cell_name(cells[0, row, column])
        assert cells[0, row, column] == house.params.goal_object[k]
        start = {FACE: f"go to the {name}", HOLD: f"pick up the {name}", PUT: f"carry the {name} to the "}
        assert text.startswith(start[int(house.kind[k])])


def test_a_thing_is_carried_next_door_from_the_room_it_lies_in():
    house = make_house(8, seed=0)
    names = ["north-west", "north-east", "south-west", "south-east"]
    for k in np.flatnonzero(house.kind == PUT):
        assert house.instructions[k].endswith(f"to the {names[house.region[k]]} room")
        goal = np.asarray(house.params.goal_cells[k])
        starts = np.asarray(house.params.starts[k])[: int(house.params.num_starts[k])]
        assert goal[tuple(house.goal[k])]
        assert not goal[tuple(house.first[k])]
        assert not goal.reshape(-1)[starts].any()
        # Rooms that adjoin share rows or columns.
        rows, columns = np.divmod(starts, 8)
        assert goal.any(1)[rows].all() != goal.any(0)[columns].all()


def test_nothing_stands_in_the_way():
    """Every object, room and door can be got to, objects and lava left where they are."""
    for seed in range(6):
        house = make_house(7 + seed % 3, seed)
        cells = np.asarray(house.params.cells[0])
        things = cells >> COLOUR_BITS >= BALL
        steps = walking_steps(np.where(things, cell("wall"), cells).astype(np.uint8))
        free = np.flatnonzero(np.isfinite(np.diag(steps)))
        assert np.isfinite(steps[np.ix_(free, free)]).all()
        padded = np.pad(np.isfinite(np.diag(steps)).reshape(cells.shape), 1)
        beside = padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]
        assert beside[things].all()


def test_seeds_draw_other_houses_and_one_seed_the_same():
    one, same, other = (make_house(8, seed) for seed in (0, 0, 1))
    assert one.instructions == same.instructions != other.instructions
    jax.tree.map(np.testing.assert_array_equal, one.params, same.params)
    assert not np.array_equal(one.params.cells[0], other.params.cells[0])
    assert one.env == GridWorld(8, 8, control="compass", observation="summary")
    with pytest.raises(ConfigError, match="size is 6"):
        make_house(6, 0)


def two_rooms(goal: int, goal_object: int):
    """Two rooms with a closed door between them, a ball and a key in corners, and lava."""
    codes = {
        "#": cell("wall"),
        "D": cell("closed door", "red"),
        "b": cell("ball", "red"),
        "k": cell("key", "blue"),
    }
    codes |= {".": 0, "~": cell("lava")}
    cells = np.array([[codes[letter] for letter in row] for row in ("b.#.", "..D.", "k.#~")], np.uint8)
    right = np.arange(12).reshape(3, 4) % 4 > 2
    params = make_params(
        cells, goal=goal, goal_object=goal_object, goal_cells=right, starts=(cells == 0) & ~right
    )  # fmt: skip
    return GridWorld(3, 4, control="compass"), params


@pytest.mark.slow
@pytest.mark.parametrize(
    ("goal", "goal_object"),
    [(REACH, 0), (FACE, cell("ball", "red")), (HOLD, cell("key", "blue")), (PUT, cell("key", "blue"))],
)
def test_the_few_states_that_matter_are_worth_as_much_as_all_of_them(goal, goal_object):
    env, params = two_rooms(goal, goal_object)
    every = reachable_table(env, params, all_starts(env, params))
    few = task_table(env, params, jnp.array([6]))
    optimal = jax.jit(optimal_values, static_argnums=2)
    worth = [float(expected_return(table, optimal(table, 0.9, 30)[0])) for table in (every, few)]
    assert 0.2 < worth[0] < 1
    assert worth[1] == pytest.approx(worth[0], rel=1e-5)
    assert int((few.start > 0).sum()) == int((every.start > 0).sum()) == 4 * 4
    with pytest.raises(ConfigError, match="terminate is False"):
        task_table(replace(env, terminate=False), params, jnp.array([6]))


@pytest.mark.slow
def test_the_best_policy_earns_the_best_return():
    """The table's best actions, played in the environment itself from every start of a task of each kind."""
    house = make_house(7, seed=1)
    best = best_returns(house, 0.95)
    assert best.shape == (72,)
    assert best.dtype == np.float64
    closed, env = closed_doors(house), house.env
    (door,) = np.asarray(closed)

    @jax.jit
    def earned(params):
        table = task_table(env, params, closed)
        _, right = optimal_values(table, 0.95, house.horizon)
        starts = jnp.arange(table.start.shape[0])

        def step(carry, _):
            state, alive, total, weight = carry
            place = state.position @ jnp.array([7, 1])
            opened = state.cells.reshape(-1)[door] >> COLOUR_BITS == OPEN_DOOR
            code = ((place * 4 + state.direction) * 2 + opened) * 2 + (state.carrying > 0)
            action = jnp.argmax(right[code])
            _, state, reward, ended, _, _ = env.step(jax.random.key(0), state, action, params)
            return (state, alive & ~ended, total + alive * weight * reward, weight * 0.95), None

        def episode(code):
            state = jax.tree.map(lambda leaf: leaf[code], table.states)
            return jax.lax.scan(step, (state, True, 0.0, 1.0), length=60)[0][2]

        return jnp.sum(table.start * jax.vmap(episode)(starts))

    for kind in (FACE, HOLD, PUT, REACH):
        k = int(np.flatnonzero(house.kind == kind)[-1])
        params = jax.tree.map(lambda leaf, k=k: leaf[k], house.params)
        assert float(earned(params)) == pytest.approx(best[k], rel=1e-5)


@pytest.mark.slow
def test_the_best_return_of_some_starts_is_that_of_all_of_them_where_they_are_all():
    house = make_house(7, 2)
    tasks = jax.tree.map(lambda leaf: leaf[np.array([0, 30, 60])], house.params)
    few = replace(house, params=tasks)
    every = [all_starts(house.env, jax.tree.map(lambda leaf, k=k: leaf[k], tasks)) for k in range(3)]
    count = max(states.direction.size for states in every)
    # Each start equally often, so a whole number of rounds.
    rounds = np.lcm.reduce([states.direction.size for states in every])
    assert rounds >= count
    starts = [jax.tree.map(lambda x: np.resize(x, (rounds, *x.shape[1:])), states) for states in every]
    starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *starts)
    np.testing.assert_allclose(best_returns(few, 0.98, starts), best_returns(few, 0.98), rtol=1e-4)
    one = jax.tree.map(lambda leaf: leaf[:, :1], starts)
    assert np.abs(best_returns(few, 0.98, one) - best_returns(few, 0.98)).max() > 0.01


def test_walking_goes_around_walls_and_through_doors():
    cells = np.array(
        [[0, 0, 0], [cell("wall"), cell("locked door"), cell("closed door")], [0, cell("ball"), 0]], np.uint8
    )
    steps = walking_steps(cells)
    assert steps[0, [0, 1, 2, 5, 8, 7, 6]].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert np.isinf(steps[0, [3, 4]]).all()
    np.testing.assert_array_equal(steps, steps.T)


def test_nearness_goes_by_the_way_and_by_the_kind():
    house = make_house(8, seed=2)
    near = nearness(house)
    assert near.shape == (72, 72)
    np.testing.assert_array_equal(near, near.T)
    assert (near <= 0).all()
    assert (np.diag(near) == 0).all()
    for k in np.flatnonzero(house.kind == FACE):
        (same,) = np.flatnonzero(
            (house.kind == HOLD) & (house.params.goal_object == house.params.goal_object[k])
        )
        assert near[k, same] == -np.float32(OTHER_KIND)
    rooms = house.region[house.kind == REACH]
    block = near[np.ix_(house.kind == REACH, house.kind == REACH)]
    np.testing.assert_array_equal(block == 0, rooms[:, None] == rooms)
