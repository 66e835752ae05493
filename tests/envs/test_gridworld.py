"""The grid-world: dynamics by hand, views, worlds that are refused, exact values against shortest paths."""

from collections import deque

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld.cells import cell, cell_name
from envs.gridworld.env import (
    EAST,
    FACE,
    HOLD,
    NORTH,
    PUT,
    REACH,
    SOUTH,
    WEST,
    GridState,
    GridWorld,
    make_params,
)
from envs.gridworld.oracle import (
    action_values,
    all_starts,
    expected_return,
    grid_table,
    optimal_values,
    policy_values,
    reachable_table,
    table_of_places,
)
from jaxvlm.errors import ConfigError

CODES = {
    ".": 0, "#": cell("wall"), "~": cell("lava"), "D": cell("closed door", "red"), "L": cell("locked door", "blue"),
    "O": cell("open door", "red"), "b": cell("ball", "red"), "k": cell("key", "blue"), "p": cell("place", "green"),
}  # fmt: skip


def world(*rows: str) -> np.ndarray:
    return np.array([[CODES[letter] for letter in row] for row in rows], np.uint8)


def at(cells, row, column, direction=NORTH, carrying=0):
    return GridState(
        jnp.asarray(cells), jnp.array([row, column], jnp.int32), jnp.int32(direction), jnp.uint8(carrying)
    )


def play(env, params, state, actions):
    """Names of actions, one after the other; the last state, reward, end and info."""
    from envs.gridworld.env import ACTIONS

    step = jax.jit(env.step)
    for action in actions:
        _, state, reward, terminated, _, info = step(
            jax.random.key(0), state, ACTIONS[env.control].index(action), params
        )
    return state, float(reward), bool(terminated), info


def test_walking_stops_at_walls_objects_and_the_edge():
    cells = world("..#", ".b.", "...")
    env = GridWorld(3, 3)
    params = make_params(cells, goal=REACH, goal_cells=np.eye(3, dtype=bool)[::-1])
    for start, action, end in (
        ((0, 0), "east", (0, 1)), ((0, 1), "east", (0, 1)), ((0, 0), "north", (0, 0)), ((1, 0), "east", (1, 0)),
        ((2, 2), "south", (2, 2)), ((2, 2), "west", (2, 1)), ((2, 1), "north", (2, 1)), ((1, 0), "south", (2, 0)),
    ):  # fmt: skip
        state, *_ = play(env, params, at(cells, *start), [action])
        assert tuple(state.position.tolist()) == end, (start, action)
        assert int(state.direction) == {"north": NORTH, "east": EAST, "south": SOUTH, "west": WEST}[action]


def test_objects_may_be_walked_over():
    cells = world(".b", "#.")
    env, params = GridWorld(2, 2, solid=False), make_params(cells, goal=REACH, goal_cells=cells == CODES["b"])
    state, reward, *_ = play(env, params, at(cells, 0, 0), ["east"])
    assert (state.position.tolist(), reward) == ([0, 1], 1.0)
    assert play(env, params, at(cells, 0, 0), ["south"])[0].position.tolist() == [0, 0]


def test_doors_open_locked_ones_with_their_key_and_close():
    cells = world(".D.", ".L.", "k..")
    env = GridWorld(3, 3, control="compass")
    params = make_params(cells, goal=FACE, goal_object=cell("ball", "red"))
    state, *_ = play(env, params, at(cells, 0, 0), ["east", "open or close", "east"])
    assert cell_name(state.cells[0, 1]) == "red open door"
    assert state.position.tolist() == [0, 1]
    state, *_ = play(env, params, at(cells, 0, 0), ["east", "open or close", "open or close", "east"])
    assert state.position.tolist() == [0, 0]
    state, *_ = play(env, params, at(cells, 1, 0), ["east", "open or close"])
    assert cell_name(state.cells[1, 1]) == "blue locked door"
    state, *_ = play(env, params, at(cells, 1, 0), ["south", "pick up", "east", "open or close", "east"])
    assert cell_name(state.cells[1, 1]) == "blue open door"
    assert state.position.tolist() == [1, 1]
    assert cell_name(state.carrying) == "blue key"
    assert int(state.cells[2, 0]) == 0


def test_one_thing_is_carried_and_put_on_free_floor_only():
    cells = world("bkp", ".#.")
    env = GridWorld(2, 3, control="compass")
    place = np.zeros((2, 3), bool)
    place[0, 2] = True
    params = make_params(cells, goal=PUT, goal_cells=place, goal_object=cell("key", "blue"))
    state, *_ = play(env, params, at(cells, 1, 0), ["north", "pick up", "north", "east", "pick up"])
    assert cell_name(state.carrying) == "red ball"
    assert int(state.cells[0, 1]) == cell("key", "blue")  # hands are full
    state, *_ = play(env, params, at(cells, 1, 0), ["north", "pick up", "east", "put down"])
    assert cell_name(state.carrying) == "red ball"  # not on a wall
    state, *_ = play(env, params, at(cells, 1, 0), ["north", "pick up", "put down"])
    assert np.array_equal(state.cells, cells)
    # The key to the place, from the right: it pays once the key lies there, and the place is there again after it.
    state, reward, ended, info = play(env, params, at(cells, 0, 2), ["west", "pick up", "south", "north"])
    assert reward == 0
    state, reward, ended, info = play(env, params, state, ["south", "north", "south"])
    state = at(state.cells, 1, 2, NORTH, int(state.carrying))
    lying, reward, ended, info = play(env, params, state, ["put down"])
    assert (reward, ended, bool(info["success"])) == (1.0, True, True)
    assert cell_name(lying.cells[0, 2]) == "blue key"
    again, *_ = play(env, params, lying, ["pick up"])
    assert cell_name(again.cells[0, 2]) == "green place"


@pytest.mark.parametrize("terminate", [True, False])
def test_lava_and_goals_end_an_episode_or_do_not(terminate):
    cells = world(".~.", "...")
    goal = np.zeros((2, 3), bool)
    goal[0, 2] = True
    env, params = GridWorld(2, 3, terminate=terminate), make_params(cells, goal=REACH, goal_cells=goal)
    _, reward, ended, info = play(env, params, at(cells, 0, 0), ["east"])
    assert (reward, ended, bool(info["burnt"])) == (0.0, terminate, True)
    _, reward, ended, info = play(env, params, at(cells, 1, 2), ["north"])
    assert (reward, ended, bool(info["success"])) == (1.0, terminate, True)


@pytest.mark.parametrize(("goal", "actions", "paid"), [
    (FACE, ["forward"], 0.0), (FACE, ["turn right"], 1.0), (HOLD, ["turn right"], 0.0),
    (HOLD, ["turn right", "pick up"], 1.0), (FACE, ["turn left", "turn left", "turn left"], 1.0),
])  # fmt: skip
def test_goals_with_an_object(goal, actions, paid):
    cells = world("...", ".b.", "...")
    env = GridWorld(3, 3, control="turn")
    params = make_params(cells, goal=goal, goal_object=cell("ball", "red"))
    assert play(env, params, at(cells, 1, 0), actions)[1] == paid


def test_the_view_turns_with_the_agent():
    """Against cells looked up one by one on a map that is turned by NumPy until the agent faces north."""
    rng = np.random.default_rng(0)
    cells = rng.choice([CODES[letter] for letter in ".#~Dbkp"], (9, 6)).astype(np.uint8)
    env = GridWorld(9, 6, control="turn", observation="view")
    observe = jax.jit(env.observe)
    wide = np.pad(cells, 6, constant_values=cell("wall"))
    for direction in range(4):
        for row, column in ((0, 0), (4, 3), (8, 5), (2, 5)):
            here = np.zeros_like(wide, bool)
            here[row + 6, column + 6] = True
            turned, marked = np.rot90(wide, direction), np.rot90(here, direction)
            ((r, c),) = np.argwhere(marked)
            expected = turned[r - 6 : r + 1, c - 3 : c + 4].copy()
            seen = observe(at(cells, row, column, direction))
            np.testing.assert_array_equal(seen[..., 0] * 16 + seen[..., 1], expected)
    carried = observe(at(cells, 4, 3, EAST, CODES["k"]))
    assert carried[6, 3].tolist() == [CODES["k"] // 16, CODES["k"] % 16]


def test_planes_say_everything_once():
    cells = world(".D", "bp")
    env = GridWorld(2, 2, control="turn", observation="planes")
    planes = np.asarray(env.observe(at(cells, 0, 0, SOUTH)))
    assert planes.shape == env.observation_space(env.default_params).shape
    assert planes[..., :16].sum() == 4
    assert planes[1, 0, 7] == planes[1, 0, 16 + 1] == 1  # a red ball
    assert planes[0, 0, 16:26].sum() == 0  # floor has no colour
    assert np.argwhere(planes[..., 26]).tolist() == [[0, 0]]
    assert np.argwhere(planes[..., 27:]).tolist() == [[0, 0, 2]]
    held = np.asarray(env.observe(at(cells, 0, 0, SOUTH, CODES["k"])))
    assert held[0, 0, CODES["k"] // 16] == 1


@pytest.mark.slow
def test_the_summary_says_where_what_is_carried_and_what_has_changed():
    cells = world("..D", "bkp")
    env = GridWorld(2, 3, control="compass", observation="summary")
    params = make_params(cells, goal=FACE, goal_object=CODES["b"])
    first = np.asarray(env.reset(jax.random.key(0), params)[0])
    assert first.shape == env.observation_space(params).shape == (2 + 3 + 4 + 16 + 10 + 6,)
    assert first.sum() == 3  # row, column and direction: nothing is carried, nothing has changed
    state, *_ = play(env, params, at(cells, 0, 1), ["south", "pick up", "east", "open or close"])
    summary = np.asarray(env.observe(state, params))
    assert np.flatnonzero(summary).tolist() == [
        0, 2 + 1, 5 + EAST, 9 + cell("key") // 16, 25 + CODES["k"] % 16, 35 + 2, 35 + 4
    ]  # fmt: skip
    seen, *_ = env.step(jax.random.key(0), state, jnp.int32(NORTH), params)
    assert np.flatnonzero(np.asarray(seen) != summary).tolist() == [5 + NORTH, 5 + EAST]
    back, *_ = play(env, params, at(cells, 0, 1), ["south", "pick up", "put down"])
    assert not np.asarray(env.observe(back, params))[9:].any()  # where it lay, the key is no change
    with pytest.raises(ConfigError, match="give observe the params"):
        env.observe(state)
    with pytest.raises(ConfigError, match="use reachable_table"):
        table_of_places(GridWorld(2, 3, observation="summary"), params)


@pytest.mark.slow
def test_starts_are_those_that_are_allowed_and_equally_often():
    env = GridWorld(4, 5)
    allowed = np.zeros((4, 5), bool)
    allowed[[0, 1, 3], [0, 4, 2]] = True
    cells = np.zeros((4, 5), np.uint8)
    params = make_params(cells, goal=REACH, goal_cells=~allowed, starts=allowed, start_direction=EAST)
    _, states = jax.jit(jax.vmap(env.reset, (0, None)))(jax.random.split(jax.random.key(0), 3000), params)
    flat, counts = np.unique(np.asarray(states.position) @ [5, 1], return_counts=True)
    assert flat.tolist() == [0, 9, 17]
    assert counts.min() > 900
    assert set(np.asarray(states.direction).tolist()) == {EAST}
    assert np.asarray(table_of_places(env, params).start)[[0, 9, 17]] == pytest.approx(1 / 3)


def shortest(cells, goal_cells):
    """Steps to the goal from each cell, by breadth-first search; infinite where there is no way."""
    far = np.full(cells.shape, np.inf)
    queue = deque((r, c) for r, c in np.argwhere(goal_cells))
    for r, c in queue:
        far[r, c] = 0
    while queue:
        r, c = queue.popleft()
        for a, b in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            inside = 0 <= a < cells.shape[0] and 0 <= b < cells.shape[1]
            if inside and cells[a, b] == 0 and far[a, b] == np.inf:
                far[a, b] = far[r, c] + 1
                queue.append((a, b))
    return far


@pytest.mark.slow
def test_optimal_values_are_those_of_shortest_paths():
    rng = np.random.default_rng(1)
    cells = np.where(rng.random((8, 8)) < 0.25, cell("wall"), 0).astype(np.uint8)
    cells[2, 3] = cell("lava")
    cells[7, 7] = cells[0, 0] = 0
    goal = np.zeros((8, 8), bool)
    goal[7, 7] = True
    env, params = GridWorld(8, 8), make_params(cells, goal=REACH, goal_cells=goal)
    table = table_of_places(env, params)
    values, best = jax.jit(optimal_values, static_argnums=2)(table, 0.98, 64)
    far = shortest(cells, goal)
    free = (cells == 0) & ~goal
    np.testing.assert_allclose(
        np.asarray(values).reshape(8, 8)[free],
        np.where(far < np.inf, 0.98 ** (far - 1), 0.0)[free],
        rtol=1e-5,
    )
    # To act as the table says is worth what the table says.
    probabilities = best / best.sum(1, keepdims=True)
    followed = policy_values(table, probabilities, 0.98, 64)
    np.testing.assert_allclose(
        np.asarray(followed)[free.reshape(-1)], np.asarray(values)[free.reshape(-1)], rtol=1e-4
    )
    assert float(expected_return(table, values)) == pytest.approx(
        np.asarray(values).reshape(8, 8)[free].mean(), rel=1e-5
    )


def test_the_best_actions_attain_the_values_with_no_step_to_spare():
    """Undiscounted, and 14 steps from corner to corner: with one more to spare every action would do."""
    env = GridWorld(8, 8)
    table = table_of_places(env, env.default_params)
    values, best = optimal_values(table, 1.0, 14)
    assert float(values[0]) == 1.0
    assert np.flatnonzero(np.asarray(best[0])).tolist() == [EAST, SOUTH]
    q = action_values(table, optimal_values(table, 1.0, 13)[0], 1.0)
    np.testing.assert_array_equal(best, q >= values[:, None] - 1e-6)


@pytest.mark.slow
def test_both_tables_agree_and_a_policy_is_worth_what_it_earns():
    env = GridWorld(5, 4)
    params = env.default_params
    places, reached = table_of_places(env, params), reachable_table(env, params, all_starts(env, params))
    uniform = [jnp.full(table.reward.shape, 0.25) for table in (places, reached)]
    worth = [
        float(expected_return(table, policy_values(table, p, 0.95, 20)))
        for table, p in zip((places, reached), uniform, strict=True)
    ]
    assert worth[0] == pytest.approx(worth[1], rel=1e-5)

    @jax.jit
    @jax.vmap
    def episode(key):
        key_start, key_act = jax.random.split(key)
        _, state = env.reset(key_start, params)

        def step(carry, key):
            state, alive, total, weight = carry
            _, state, reward, ended, _, _ = env.step(key, state, jax.random.randint(key, (), 0, 4), params)
            return (state, alive & ~ended, total + alive * weight * reward, 0.95 * weight), None

        return jax.lax.scan(step, (state, True, 0.0, 1.0), jax.random.split(key_act, 20))[0][2]

    earned = np.asarray(episode(jax.random.split(jax.random.key(3), 20_000)))
    assert earned.mean() == pytest.approx(worth[0], abs=float(4 * earned.std() / 20_000**0.5))


@pytest.mark.slow
def test_a_world_with_a_key_a_door_and_lava_is_solved():
    """By hand: up to the key, pick up, down, open, through, through, down to the place: seven steps and the last."""
    cells = world("k#..", ".L.~", "#..p")
    goal = cells == CODES["p"]
    env = GridWorld(3, 4, control="compass", observation="planes")
    start = np.zeros((3, 4), bool)
    start[1, 0] = True
    params = make_params(cells, goal=REACH, goal_cells=goal, starts=start, start_direction=NORTH)
    table = grid_table(env, params)
    values, best = optimal_values(table, 0.9, 40)
    # pick up, east (faces the door), open, east, south, east, east: the seventh step pays.
    assert float(expected_return(table, values)) == pytest.approx(0.9**6, rel=1e-5)
    assert np.flatnonzero(np.asarray(best[0])).tolist() == [4]
    with pytest.raises(ConfigError, match="more than 10 states"):
        reachable_table(env, params, all_starts(env, params), limit=10)


@pytest.mark.slow
def test_tasks_may_be_vmapped():
    env = GridWorld(6, 6)
    goals = np.eye(36, dtype=bool)[[3, 20, 35]].reshape(3, 6, 6)
    tasks = [make_params(np.zeros((6, 6), np.uint8), goal=REACH, goal_cells=goal) for goal in goals]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *tasks)
    tables = jax.jit(jax.vmap(lambda params: table_of_places(env, params)))(stacked)
    values = jax.vmap(lambda table: optimal_values(table, 0.9, 30)[0])(tables)
    for k, task in enumerate(tasks):
        alone = optimal_values(table_of_places(env, task), 0.9, 30)[0]
        np.testing.assert_allclose(values[k], alone, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GridWorld(1, 5), "height is 1"),
        (lambda: GridWorld(5, 300), "width is 300"),
        (lambda: GridWorld(control="fly"), "unknown control 'fly'"),
        (lambda: GridWorld(observation="pixels"), "unknown observation 'pixels'"),
        (lambda: make_params(world(".."), goal=7), "goal is 7"),
        (lambda: make_params(world(".."), goal=REACH), "goal_cells names no cell"),
        (lambda: make_params(world(".."), goal=FACE), "goal_object is 0"),
        (lambda: make_params(world(".."), goal=REACH, goal_cells=np.eye(3, dtype=bool)), r"\(3, 3\)"),
        (lambda: make_params(world("##"), goal=FACE, goal_object=CODES["b"]), "no cell to start in"),
        (
            lambda: make_params(world("#."), goal=FACE, goal_object=CODES["b"], starts=np.ones((1, 2), bool)),
            "cannot start in cell",
        ),
        (
            lambda: make_params(
                world("..", ".."), goal=FACE, goal_object=CODES["b"], starts=np.ones((1, 4), bool)
            ),
            r"starts has shape \(1, 4\), the world \(2, 2\)",
        ),
        (
            lambda: GridWorld(5, 4).reset(jax.random.key(0), GridWorld().default_params),
            "a world of 8 x 8 cells, this one has 5 x 4",
        ),
        (
            lambda: table_of_places(GridWorld(control="turn"), GridWorld().default_params),
            "use reachable_table",
        ),
    ],
)
def test_worlds_that_cannot_be_are_refused(make, words):
    with pytest.raises(ConfigError, match=words):
        make()
