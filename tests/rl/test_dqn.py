from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rl.diagnostic_envs import ACTION, BOTH, CONSTANT, DELAYED, NAMES, OBSERVATION, Counter, Diagnostic
from rl.training import train

from jaxvlm.errors import ConfigError
from jaxvlm.rl import Batch, DQNConfig, DQNHyper, make_dqn
from jaxvlm.rl.dqn import epsilon_at, td_target
from jaxvlm.spaces import Box, Discrete

OBSERVATIONS, ACTIONS = Box(-2.0, 2.0, (2,)), Discrete(3)
CONFIG = DQNConfig(hidden_sizes=(4,))


def make_batch(size=6, seed=0):
    rng = np.random.default_rng(seed)
    return Batch(
        observation=rng.normal(size=(size, 2)).astype(np.float32),
        action=rng.integers(0, 3, size).astype(np.int32),
        reward=rng.normal(size=size).astype(np.float32) * 3,  # both branches of the Huber loss
        next_observation=rng.normal(size=(size, 2)).astype(np.float32),
        terminated=np.arange(size) == 1,
        truncated=np.arange(size) == 2,
        valid=np.arange(size) != 3,
    )


def different_target(state):
    """The state with a target network that is not the online one."""
    return replace(state, target_params=jax.tree.map(lambda x: 1.5 * x + 0.1, state.target_params))


def forward(params, x):
    """Q values of a one-hidden-layer network in float64, and what its gradient needs."""
    (w1, b1), (w2, b2) = (
        (np.asarray(p["kernel"], np.float64), np.asarray(p["bias"], np.float64))
        for p in params["params"].values()
    )
    pre = x @ w1 + b1
    hidden = np.maximum(pre, 0)
    return hidden @ w2 + b2, pre, hidden, w2


def numpy_update(state, batch, double, bootstrap_at_truncation):
    """Loss and parameters after one step: backpropagation, clipping and Adam's first step written out."""
    hyper = jax.tree.map(float, state.hyper)
    q, pre, hidden, w2 = forward(state.params, batch.observation.astype(np.float64))
    next_q = forward(state.target_params, batch.next_observation.astype(np.float64))[0]
    choice = forward(state.params, batch.next_observation.astype(np.float64))[0] if double else next_q
    rows = np.arange(len(q))
    stop = batch.terminated if bootstrap_at_truncation else batch.terminated | batch.truncated
    target = batch.reward + hyper.discount * np.where(stop, 0.0, next_q[rows, choice.argmax(-1)])
    error = q[rows, batch.action] - target
    huber = np.where(np.abs(error) <= 1, 0.5 * error**2, np.abs(error) - 0.5)
    count = batch.valid.sum()
    d_q = np.zeros_like(q)
    d_q[rows, batch.action] = np.clip(error, -1, 1) * batch.valid / count
    d_pre = (d_q @ w2.T) * (pre > 0)
    gradients = [
        batch.observation.T.astype(np.float64) @ d_pre,
        d_pre.sum(0),
        hidden.T @ d_q,
        d_q.sum(0),
    ]
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    layers = list(state.params["params"].values())
    old = [layers[0]["kernel"], layers[0]["bias"], layers[1]["kernel"], layers[1]["bias"]]
    new = []
    for g, p in zip(gradients, old, strict=True):
        g = g * min(1.0, hyper.max_grad_norm / norm)
        # After one step both of Adam's bias-corrected moments are the gradient and its square.
        new.append(np.asarray(p) - hyper.learning_rate * g / (np.abs(g) + 1e-8))
    return (huber * batch.valid).sum() / count, norm, new


@pytest.mark.slow
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("bootstrap_at_truncation", [False, True])
def test_one_update_is_what_numpy_says(double, bootstrap_at_truncation):
    dqn = make_dqn(
        replace(CONFIG, double=double, bootstrap_at_truncation=bootstrap_at_truncation), OBSERVATIONS, ACTIONS
    )
    hyper = DQNHyper(learning_rate=0.05, discount=0.9, tau=0.25, max_grad_norm=0.1)
    state = different_target(dqn.init(jax.random.key(3), hyper))
    batch = make_batch()
    loss, norm, new = numpy_update(state, batch, double, bootstrap_at_truncation)
    after, metrics = jax.jit(dqn.update)(state, batch)
    assert metrics["loss"] == pytest.approx(loss, rel=1e-5)
    assert metrics["grad_norm"] == pytest.approx(norm, rel=1e-5)
    layers = list(after.params["params"].values())
    for got, wanted in zip(
        (layers[0]["kernel"], layers[0]["bias"], layers[1]["kernel"], layers[1]["bias"]), new, strict=True
    ):
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    expected = jax.tree.map(lambda t, o: 0.75 * t + 0.25 * o, state.target_params, after.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), after.target_params, expected)


def test_target_bootstraps_unless_terminal():
    got = td_target(jnp.array([1.0, 1.0]), jnp.array([True, False]), jnp.array([10.0, 10.0]), 0.5)
    np.testing.assert_array_equal(got, [1.0, 6.0])


def test_masked_rows_change_nothing():
    dqn = make_dqn(CONFIG, OBSERVATIONS, ACTIONS)
    state, batch = dqn.init(jax.random.key(0)), make_batch()
    junk = replace(batch, reward=np.where(batch.valid, batch.reward, 1e6).astype(np.float32))
    update = jax.jit(dqn.update)
    jax.tree.map(np.testing.assert_array_equal, update(state, batch), update(state, junk))
    empty = replace(batch, valid=np.zeros(6, bool))
    after, _ = update(state, empty)
    jax.tree.map(np.testing.assert_array_equal, state.params, after.params)


def test_periodic_target_copies_every_third_synchronisation():
    dqn = make_dqn(replace(CONFIG, target="periodic"), OBSERVATIONS, ACTIONS)
    state = dqn.init(jax.random.key(0), DQNHyper(target_period=3, learning_rate=0.1))
    update = jax.jit(dqn.update)
    for step in range(1, 7):
        before = state
        state, _ = update(state, make_batch())
        wanted = state.params if step % 3 == 0 else before.target_params
        jax.tree.map(np.testing.assert_array_equal, state.target_params, wanted)


@pytest.mark.parametrize("target", ["polyak", "periodic"])
def test_many_synchronisations_at_once_equal_one_after_another(target):
    dqn = make_dqn(replace(CONFIG, target=target, target_sync="vector-step"), OBSERVATIONS, ACTIONS)
    state = different_target(dqn.init(jax.random.key(0), DQNHyper(tau=0.1, target_period=4)))
    one_by_one = state
    for count in (1, 1, 1, 5):
        for _ in range(count):
            one_by_one = dqn.sync(one_by_one)
        state = dqn.sync(state, count)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), state, one_by_one)
    # Gradient steps leave this target alone.
    after, _ = jax.jit(dqn.update)(state, make_batch())
    jax.tree.map(np.testing.assert_array_equal, after.target_params, state.target_params)


def test_epsilon_falls_linearly_then_stays():
    hyper = DQNHyper(epsilon_start=1.0, epsilon_end=0.2, epsilon_steps=100)
    np.testing.assert_allclose(
        [epsilon_at(hyper, s) for s in (0, 50, 100, 500)], [1.0, 0.6, 0.2, 0.2], rtol=1e-6
    )


def test_act_explores_at_the_rate_of_the_step():
    dqn = make_dqn(CONFIG, OBSERVATIONS, ACTIONS)
    state = dqn.init(jax.random.key(0), DQNHyper(epsilon_start=1.0, epsilon_end=0.0, epsilon_steps=10))
    observation = jnp.ones((20, 100, 2))
    greedy = dqn.act(state, observation, None, None, deterministic=True)
    assert greedy.shape == (20, 100)
    assert greedy.dtype == jnp.int32
    act = jax.jit(dqn.act)
    np.testing.assert_array_equal(act(state, observation, jax.random.key(1), 10), greedy)
    counts = np.bincount(np.asarray(act(state, observation, jax.random.key(1), 0)).ravel(), minlength=3)
    assert (np.abs(counts / 2_000 - 1 / 3) < 0.05).all()
    half = np.mean(np.asarray(act(state, observation, jax.random.key(1), 5)) != np.asarray(greedy))
    assert half == pytest.approx(0.5 * 2 / 3, abs=0.05)
    with pytest.raises(ValueError, match="needs a key"):
        dqn.act(state, observation, None, None)


@pytest.mark.slow
def test_seeds_and_learning_rates_vmap_and_new_numbers_do_not_compile_again():
    traces = 0
    dqn = make_dqn(CONFIG, OBSERVATIONS, ACTIONS)

    @jax.jit
    def run(key, hyper):
        nonlocal traces
        traces += 1
        state = dqn.init(key, hyper)
        for seed in range(3):
            batch = jax.tree.map(jnp.asarray, make_batch(seed=seed))
            state, _ = dqn.update(state, batch)
        return state

    keys = jax.random.split(jax.random.key(0), 3)
    rates = [1e-3, 1e-2, 1e-1]
    many = jax.jit(jax.vmap(run, in_axes=(0, DQNHyper(learning_rate=0, **dict.fromkeys(REST)))))(
        keys, DQNHyper(learning_rate=jnp.array(rates))
    )
    traces = 0
    for index, rate in enumerate(rates):
        one = run(keys[index], DQNHyper(learning_rate=rate))
        assert one.hyper.discount.dtype == jnp.float32
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=2e-4, atol=1e-6), many, one
        )
    assert traces == 1


REST = [name for name in DQNHyper.__dataclass_fields__ if name != "learning_rate"]


@pytest.fixture(scope="module")
def solved():
    """Networks trained on all five diagnostic problems at once."""
    env = Diagnostic(continuous=False)
    dqn = make_dqn(DQNConfig(hidden_sizes=(32,)), env.observation_space(None), env.action_space(None))
    hyper = DQNHyper(learning_rate=0.01, discount=0.5, tau=0.1, epsilon_steps=20, epsilon_end=0.3)
    states = jax.jit(jax.vmap(lambda kind, key: train(dqn, env, kind, hyper, key, 150)))(
        jnp.arange(5), jax.random.split(jax.random.key(0), 5)
    )
    return dqn, [jax.tree.map(lambda x, i=i: x[i], states) for i in range(5)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "values"),  # {(x, time): (value of action 0, of action 1)}
    [
        (CONSTANT, {(0, 0): (1, 1)}),
        (OBSERVATION, {(-1, 0): (-1, -1), (1, 0): (1, 1)}),
        (DELAYED, {(0, 0): (0.5, 0.5), (0, 1): (1, 1)}),
        (ACTION, {(0, 0): (-1, 1)}),
        (BOTH, {(-1, 0): (1, -1), (1, 0): (-1, 1)}),
    ],
    ids=NAMES,
)
def test_diagnostic_values(solved, kind, values):
    dqn, states = solved
    observation = jnp.array(list(values), jnp.float32)
    np.testing.assert_allclose(
        dqn.q_values(states[kind].params, observation), list(values.values()), atol=0.1
    )
    if kind in (ACTION, BOTH):
        actions = dqn.act(states[kind], observation, None, None, deterministic=True)
        np.testing.assert_array_equal(actions, np.argmax(list(values.values()), axis=-1))


@pytest.mark.slow
@pytest.mark.parametrize("bootstrap_at_truncation", [True, False])
def test_value_at_a_time_limit(bootstrap_at_truncation):
    # Three steps of reward 1 whose limit cannot be seen. Bootstrapping there gives v = 1 + v / 2. Taking the
    # limit for a terminal state, a third of the rows have no future: v = 1 + (2 / 3) v / 2.
    env = Counter(truncate_at=3, constant_reward=True)
    config = DQNConfig(hidden_sizes=(32,), bootstrap_at_truncation=bootstrap_at_truncation)
    dqn = make_dqn(config, env.observation_space(None), env.action_space(None))
    hyper = DQNHyper(learning_rate=0.01, discount=0.5, tau=0.1)
    state = jax.jit(lambda key: train(dqn, env, 0, hyper, key, 150, explore=True))(jax.random.key(0))
    observation = jnp.array([[0.1, 0.0], [0.5, 0.0], [0.9, 0.0]])
    wanted = 2.0 if bootstrap_at_truncation else 1.5
    np.testing.assert_allclose(dqn.q_values(state.params, observation), wanted, atol=0.15)


def test_donated_state_holds_no_buffer_twice():
    dqn = make_dqn(CONFIG, OBSERVATIONS, ACTIONS)
    update = jax.jit(dqn.update, donate_argnums=0)
    state = dqn.init(jax.random.key(0))
    for _ in range(2):
        state, _ = update(state, make_batch())


@pytest.mark.parametrize(
    ("config", "hyper", "message"),
    [
        (replace(CONFIG, hidden_sizes=(0,)), DQNHyper(), "hidden_sizes"),
        (CONFIG, DQNHyper(discount=1.01), "discount is 1.01"),
        (CONFIG, DQNHyper(epsilon_end=-0.1), "epsilon_end"),
    ],
)
def test_bad_settings_are_refused(config, hyper, message):
    with pytest.raises(ConfigError, match=message):
        make_dqn(config, OBSERVATIONS, ACTIONS).init(jax.random.key(0), hyper)


def test_a_batch_of_the_wrong_shape_is_refused():
    dqn = make_dqn(CONFIG, OBSERVATIONS, ACTIONS)
    batch = make_batch()
    with pytest.raises(ConfigError, match=r"next_observation has shape \(6, 1\)"):
        dqn.update(
            dqn.init(jax.random.key(0)), replace(batch, next_observation=batch.next_observation[:, :1])
        )
