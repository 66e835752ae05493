"""Algorithms behind one interface: each learns, starts from what it is given, and scales the heads that it says."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.cartpole import CartPole
from envs.gridworld.env import REACH, GridWorld, make_params
from envs.gridworld.oracle import expected_return, optimal_values, policy_values, table_of_places
from envs.holding import make_holding, regulate, regulator_gains
from envs.wrappers import TimeLimit
from jaxvlm.errors import ConfigError
from jaxvlm.rl import collect, env_keys, init_rollout
from jaxvlm.transfer import LearnConfig, episodes_return, flatten_policy, learn, make_learner

ROOM = GridWorld(4, 4)
CONFIG = LearnConfig(
    num_envs=8, rollout_length=16, updates=25, hidden_sizes=(16, 16), activation="relu", learning_rate=3e-3
)
CART = CartPole(reward="hold", continuous=True, early_termination=True)


def learner_of(algorithm, config=CONFIG):
    env = CART if algorithm == "sac" else ROOM
    return make_learner(config, env, env.default_params, algorithm)


def room_value(policy, table):
    return expected_return(table, policy_values(table, policy(table.observation), CONFIG.discount, 16))


@pytest.mark.slow
def test_dqn_learns_rooms_and_its_greedy_policy_is_what_is_valued():
    goals = np.eye(16, dtype=bool)[[0, 9]].reshape(2, 4, 4)
    made = [make_params(np.zeros((4, 4), np.uint8), goal=REACH, goal_cells=goal) for goal in goals]
    tasks = jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)
    tables = jax.vmap(lambda task: table_of_places(ROOM, task))(tasks)
    best = jax.vmap(lambda t: expected_return(t, optimal_values(t, CONFIG.discount, 16)[0]))(tables)
    learner = learner_of("dqn")
    start = jax.vmap(learner.init)(jax.random.split(jax.random.key(0), 2))
    keys = jax.random.split(jax.random.key(1), 2)
    program = jax.jit(
        lambda start: learn(CONFIG, TimeLimit(ROOM, 16), learner, tasks, start, room_value, tables, keys)
    )
    learned = program(start)
    ratio = np.asarray(learned.value / best[:, None])
    assert (ratio[:, -1] > 0.95).all(), ratio[:, -1]
    assert (ratio[:, 0] < 0.7).all()
    probabilities = learner.policy(jax.tree.map(lambda leaf: leaf[0], learned.params), tables.observation[0])
    assert set(np.unique(probabilities)) == {0.0, 1.0}
    again = program(learned.params)
    np.testing.assert_allclose(again.value[:, 0], learned.value[:, -1], rtol=1e-6)


@pytest.mark.slow
def test_sac_learns_to_hold_a_cart():
    family = make_holding(0)
    config = replace(CONFIG, updates=30, learning_rate=3e-3, tau=0.02, entropy_coefficient=0.1, batch_size=32)
    tasks = jax.tree.map(lambda leaf: leaf[np.array([31])], family.params)
    learner = learner_of("sac", config)

    def value(policy, task):
        return episodes_return(
            family.env, task, policy, jax.random.key(3), episodes=8, horizon=60, discount=0.98, discrete=False
        )

    start = jax.vmap(learner.init)(jax.random.split(jax.random.key(0), 1))
    env, keys = TimeLimit(family.env, 60), jax.random.split(jax.random.key(1), 1)
    learned = jax.jit(lambda s: learn(config, env, learner, tasks, s, value, tasks, keys))(start)
    assert np.asarray(learned.value[0]).max() > 1.6 * float(learned.value[0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["ppo", "dqn", "sac"])
def test_a_run_begins_with_what_it_is_given_and_nothing_else(algorithm):
    learner = learner_of(algorithm)
    params = learner.init(jax.random.key(4))
    state = learner.begin(params, jax.random.key(5))
    np.testing.assert_array_equal(flatten_policy(learner.params(state)), flatten_policy(params))
    env = CART if algorithm == "sac" else ROOM
    task = env.default_params
    rollout = init_rollout(env, task, env_keys(jax.random.key(0), 8))
    rollout, rows = collect(
        env, task, lambda x, key: learner.act(state, x, key), rollout, jax.random.key(1), 16, scenes=False
    )
    after = jax.jit(learner.update)(state, rows, rollout.observation, jax.random.key(2))
    moved = np.asarray(flatten_policy(learner.params(after)))
    assert np.isfinite(moved).all()
    assert np.abs(moved - flatten_policy(params)).max() > 1e-4
    seen = jax.random.normal(jax.random.key(6), (5, *rows.observation.shape[2:]))
    behaviour = np.asarray(learner.behaviour(params, seen))
    assert behaviour.ndim == 1
    assert behaviour.size % 5 == 0
    if algorithm == "dqn":
        np.testing.assert_allclose(behaviour.reshape(5, -1).sum(1), 0.0, atol=1e-6)


@pytest.mark.parametrize(("algorithm", "heads"), [
    ("ppo", {"actor/network/Dense_2/kernel": 0.25, "actor/network/Dense_2/bias": 0.25, "critic/Dense_2/kernel": 0.5,
             "critic/Dense_2/bias": 0.5}),
    ("dqn", {"params/Linear_2/kernel": 0.25, "params/Linear_2/bias": 0.25}),
    ("sac", {"actor/params/mean/kernel": 0.25, "actor/params/mean/bias": 0.25, "critics/params/Linear_2/kernel": 0.5,
             "critics/params/Linear_2/bias": 0.5}),
])  # fmt: skip
def test_heads_are_scaled_and_nothing_else(algorithm, heads):
    learner = learner_of(algorithm)
    params = jax.tree.map(jnp.ones_like, learner.init(jax.random.key(0)))
    scaled = jax.jit(learner.scale_heads)(params, 0.25, 0.5)
    paths = jax.tree_util.tree_flatten_with_path(scaled)[0]
    found = {jax.tree_util.keystr(path, simple=True, separator="/"): np.unique(leaf) for path, leaf in paths}
    assert {name: values.tolist() for name, values in found.items() if values.tolist() != [1.0]} == {
        name: [scale] for name, scale in heads.items()
    }
    assert learner.has_critic == (algorithm != "dqn")


@pytest.mark.slow
def test_the_return_of_episodes_is_that_of_stepping_by_hand():
    task = ROOM.default_params
    policy = lambda observation: jnp.full((*observation.shape[:-1], 4), 0.25)  # noqa: E731
    found = episodes_return(
        ROOM, task, policy, jax.random.key(0), episodes=400, horizon=20, discount=0.9, discrete=True
    )

    @jax.jit
    def exact(task):
        table = table_of_places(ROOM, task)
        return expected_return(table, policy_values(table, jnp.full((16, 4), 0.25), 0.9, 20))

    assert float(found) == pytest.approx(float(exact(task)), abs=0.04)
    family = make_holding(1)
    task = jax.tree.map(lambda leaf: leaf[40], family.params)
    gain = jnp.asarray(regulator_gains(family.env.default_params)[0])
    found = episodes_return(
        family.env, task, lambda x: regulate(gain, x, task), jax.random.key(2),
        episodes=1, horizon=30, discount=0.9, discrete=False,
    )  # fmt: skip
    key_reset, _ = jax.random.split(jax.random.key(2))
    reset, step = jax.jit(family.env.reset), jax.jit(family.env.step)
    observation, state = reset(env_keys(key_reset, 1)[0], task)
    by_hand = 0.0
    for time in range(30):
        action = regulate(gain, observation, task)
        observation, state, reward, ended, *_ = step(key_reset, state, action, task)
        by_hand += 0.9**time * float(reward)
        if ended:
            break
    assert float(found) == pytest.approx(by_hand, rel=1e-4)


def test_algorithms_that_do_not_fit_are_named():
    with pytest.raises(ConfigError, match="unknown algorithm 'a2c'; choose one of ppo, dqn, sac"):
        learner_of("a2c")
    with pytest.raises(ConfigError, match="SAC needs a Box action space"):
        make_learner(CONFIG, ROOM, ROOM.default_params, "sac")
    with pytest.raises(ConfigError, match=r"the replay buffer needs .* lower the buffer size"):
        make_learner(replace(CONFIG, updates=1000), ROOM, ROOM.default_params, "dqn", runs=10**6)
    for name, value in (("learning_rate", -1.0), ("discount", 2.0), ("tau", 0.0), ("epsilon_end", 1.5)):
        with pytest.raises(ConfigError, match=f"{name} is {value}; give"):
            LearnConfig(**{name: value})
    with pytest.raises(ConfigError, match="gradient_steps is 0"):
        replace(CONFIG, gradient_steps=0)
