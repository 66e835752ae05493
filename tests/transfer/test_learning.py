"""Many grid-world tasks in one program: they are learned, exactly evaluated, and independent of each other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.gridworld.env import REACH, GridWorld, make_params
from envs.gridworld.oracle import expected_return, optimal_values, policy_values, table_of_places
from envs.wrappers import TimeLimit
from jaxvlm.errors import ConfigError
from jaxvlm.transfer import LearnConfig, learn, make_learner, steps_to_threshold

SIZE, HORIZON = 4, 16
ENV = GridWorld(SIZE, SIZE)
TIMED = TimeLimit(ENV, HORIZON)
CONFIG = LearnConfig(num_envs=8, rollout_length=16, updates=25, hidden_sizes=(16,))


def tasks(cells):
    goals = np.eye(SIZE * SIZE, dtype=bool)[list(cells)].reshape(-1, SIZE, SIZE)
    empty = np.zeros((SIZE, SIZE), np.uint8)
    made = [make_params(empty, goal=REACH, goal_cells=goal) for goal in goals]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)


def evaluate(policy, table):
    values = policy_values(table, policy(table.observation), CONFIG.discount, HORIZON)
    return expected_return(table, values)


@pytest.fixture(scope="module")
def learner():
    return make_learner(CONFIG, TIMED, ENV.default_params)


@pytest.fixture(scope="module")
def run(learner):
    """Learns tasks given by their goals' cells, from the starts of `seeds`."""

    def go(cells, seeds):
        params = tasks(cells)
        tables = tables_of(params)
        start = jax.jit(jax.vmap(lambda seed: learner.init(jax.random.key(seed))))(jnp.asarray(seeds))
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds) + 100)
        best = jax.jit(
            jax.vmap(lambda table: expected_return(table, optimal_values(table, CONFIG.discount, HORIZON)[0]))
        )
        return program(learner, params, start, tables, keys), best(tables)

    return go


@jax.jit
def tables_of(params):
    return jax.vmap(lambda params: table_of_places(ENV, params))(params)


@partial(jax.jit, static_argnums=(0, 5))
def program(learner, params, start, tables, keys, curve=True):
    return learn(CONFIG, TIMED, learner, params, start, evaluate, tables, keys, curve=curve)


@pytest.mark.slow
def test_tasks_are_learned_and_counted(run, learner):
    learned, best = run((0, 5, 15), (0, 1, 2))
    assert learned.value.shape == learned.steps.shape == (3, CONFIG.updates + 1)
    ratio = np.asarray(learned.value / best[:, None])
    assert (ratio[:, 0] < 0.6).all()
    assert (ratio[:, -1] > 0.95).all()
    assert (ratio <= 1 + 1e-5).all()
    rows = CONFIG.num_envs * CONFIG.rollout_length
    assert (np.diff(learned.steps, axis=1) <= rows).all()  # reset rows are no steps
    assert (np.diff(learned.steps, axis=1) > 0.5 * rows).all()
    # The last value is that of the parameters that are returned.
    value_of = jax.jit(lambda params, table: evaluate(partial(learner.policy, params), table))
    for k, cell in enumerate((0, 5, 15)):
        table = jax.tree.map(lambda leaf: leaf[0], tables_of(tasks((cell,))))
        params = jax.tree.map(lambda leaf, k=k: leaf[k], learned.params)
        found = value_of(params, table)
        assert float(found) == pytest.approx(float(learned.value[k, -1]), rel=1e-5)


@pytest.mark.slow
def test_a_run_is_the_same_alone_and_from_a_good_start_nothing_is_left_to_learn(run, learner):
    both, best = run((0, 15), (3, 4))
    alone, _ = run((15,), (4,))
    np.testing.assert_allclose(both.value[1], alone.value[0], atol=1e-4)
    params = tasks((0, 15))
    again = program(learner, params, both.params, tables_of(params), jax.random.split(jax.random.key(9)))
    np.testing.assert_allclose(again.value[:, 0], both.value[:, -1], rtol=1e-5)
    assert (again.value[:, 0] > 0.95 * best).all()
    # Without the curve its end is the same.
    end = program(learner, params, both.params, tables_of(params), jax.random.split(jax.random.key(9)), False)
    assert end.value.shape == end.steps.shape == (2, 1)
    np.testing.assert_allclose(end.value, again.value[:, -1:], atol=1e-4)
    np.testing.assert_array_equal(end.steps, again.steps[:, -1:])


def test_steps_to_a_threshold_and_censoring():
    value = jnp.array([[0.0, 0.5, 0.4, 0.9], [0.0, 0.1, 0.2, 0.3], [0.7, 0.1, 0.1, 0.1]])
    steps = jnp.array([[0, 10, 21, 30], [0, 9, 18, 27], [0, 9, 18, 27]])
    found, ever = jax.jit(steps_to_threshold)(value, steps, jnp.array([0.5, 0.5, 0.5]))
    assert found.tolist() == [10, 27, 0]
    assert ever.tolist() == [True, False, True]


@pytest.mark.parametrize(("change", "words"), [
    ({"updates": 0}, "updates is 0"), ({"num_envs": 3, "rollout_length": 3}, "9 rows of an update do not split into 2"),
])  # fmt: skip
def test_numbers_that_cannot_work_are_named(change, words):
    with pytest.raises(ConfigError, match=words):
        LearnConfig(**change)
