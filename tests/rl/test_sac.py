from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rl.diagnostic_envs import ACTION, BOTH, CONSTANT, DELAYED, NAMES, OBSERVATION, Diagnostic
from rl.training import train

from jaxvlm.errors import ConfigError
from jaxvlm.rl import Batch, SACConfig, SACHyper, make_sac
from jaxvlm.rl.networks import MLP, GaussianActor
from jaxvlm.spaces import Box, Discrete

OBSERVATIONS, ACTIONS = Box(-2.0, 2.0, (2,)), Box((-2.0, 0.0), (2.0, 10.0), (2,))
CONFIG = SACConfig(actor_hidden_sizes=(4,), critic_hidden_sizes=(5,))


def make_batch(size=6, seed=0):
    rng = np.random.default_rng(seed)
    return Batch(
        observation=rng.normal(size=(size, 2)).astype(np.float32),
        action=(rng.uniform(size=(size, 2)) * [4, 10] + [-2, 0]).astype(np.float32),
        reward=rng.normal(size=size).astype(np.float32),
        next_observation=rng.normal(size=(size, 2)).astype(np.float32),
        terminated=np.arange(size) == 1,
        truncated=np.arange(size) == 2,
        valid=np.arange(size) != 3,
    )


def on_paper(state, batch, key, entropy, bootstrap_at_truncation):
    """One step in the order of Stable-Baselines3: entropy coefficient, critics, actor, targets.

    The invalid row is taken out instead of masked, the log-density is that of scipy's textbook formula, and
    the optimiser is optax's; only the networks and the noise are shared with the code under test.
    """
    hyper = state.hyper
    actor, critic = GaussianActor((4,), 2), MLP((5,), 1)
    adam = optax.adam(hyper.learning_rate)
    keep = np.asarray(batch.valid)
    policy_key, next_key = jax.random.split(key)
    noise, next_noise = (jax.random.normal(k, (len(keep), 2))[keep] for k in (policy_key, next_key))
    batch = jax.tree.map(lambda x: jnp.asarray(x)[keep], batch)
    scaled = (batch.action - jnp.array([0.0, 5.0])) / jnp.array([2.0, 5.0])

    def sample(params, observation, noise):
        mean, log_std = actor.apply(params, observation)
        u = mean + jnp.exp(log_std) * noise
        log_density = jax.scipy.stats.norm.logpdf(u, mean, jnp.exp(log_std)) - jnp.log(1 - jnp.tanh(u) ** 2)
        return jnp.tanh(u), log_density.sum(-1)

    def q(params, index, observation, action):
        one = jax.tree.map(lambda x: x[index], params)
        return critic.apply(one, jnp.concatenate([observation, action], -1))[:, 0]

    # Adam's first step for everything.
    def step(loss, params):
        value, gradients = jax.value_and_grad(loss)(params)
        updates, _ = adam.update(gradients, adam.init(params))
        return optax.apply_updates(params, updates), value

    log_alpha = state.log_entropy_coefficient
    alpha = jnp.exp(log_alpha) if entropy == "auto" else hyper.entropy_coefficient
    _, log_density = sample(state.actor, batch.observation, noise)
    new_log_alpha = log_alpha
    if entropy == "auto":
        new_log_alpha, _ = step(lambda x: -(x * (log_density + hyper.target_entropy)).mean(), log_alpha)

    next_action, next_log_density = sample(state.actor, batch.next_observation, next_noise)
    next_q = [q(state.target_critics, i, batch.next_observation, next_action) for i in range(2)]
    stop = batch.terminated if bootstrap_at_truncation else batch.terminated | batch.truncated
    target = batch.reward + hyper.discount * (1 - stop) * (jnp.minimum(*next_q) - alpha * next_log_density)

    def critic_loss(params):
        return sum(0.5 * ((q(params, i, batch.observation, scaled) - target) ** 2).mean() for i in range(2))

    critics, critic_value = step(critic_loss, state.critics)

    def actor_loss(params):
        action, log_density = sample(params, batch.observation, noise)
        values = jnp.minimum(*(q(critics, i, batch.observation, action) for i in range(2)))
        return (alpha * log_density - values).mean()

    new_actor, actor_value = step(actor_loss, state.actor)
    targets = jax.tree.map(lambda t, o: (1 - hyper.tau) * t + hyper.tau * o, state.target_critics, critics)
    return {
        "actor": new_actor,
        "critics": critics,
        "target_critics": targets,
        "log_entropy_coefficient": new_log_alpha,
    }, {"critic_loss": critic_value, "actor_loss": actor_value, "entropy_coefficient": alpha}


@pytest.mark.slow
@pytest.mark.parametrize(("entropy", "bootstrap_at_truncation"), [("auto", True), ("fixed", False)])
def test_one_update_is_what_the_formulas_say(entropy, bootstrap_at_truncation):
    config = replace(CONFIG, entropy=entropy, bootstrap_at_truncation=bootstrap_at_truncation)
    sac = make_sac(config, OBSERVATIONS, ACTIONS)
    hyper = SACHyper(learning_rate=0.02, discount=0.9, tau=0.25, entropy_coefficient=0.5)
    state = sac.init(jax.random.key(3), hyper)
    state = replace(state, target_critics=jax.tree.map(lambda x: 1.5 * x + 0.1, state.target_critics))
    batch, key = make_batch(), jax.random.key(7)
    paper = jax.jit(lambda state: on_paper(state, batch, key, entropy, bootstrap_at_truncation))
    expected, expected_metrics = paper(state)
    after, metrics = jax.jit(sac.update)(state, batch, key)
    for name, value in expected_metrics.items():
        assert metrics[name] == pytest.approx(float(value), rel=1e-4), name
    for name, value in expected.items():
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-5), getattr(after, name), value
        )


def test_target_entropy_is_minus_the_number_of_actions_unless_given():
    sac = make_sac(CONFIG, OBSERVATIONS, ACTIONS)
    assert sac.init(jax.random.key(0)).hyper.target_entropy == -2.0
    assert sac.init(jax.random.key(0), SACHyper(target_entropy=-0.5)).hyper.target_entropy == -0.5


def test_actions_are_in_the_environments_units_and_bounds():
    sac = make_sac(CONFIG, OBSERVATIONS, ACTIONS)
    state = sac.init(jax.random.key(0), SACHyper(action_noise=5.0))
    observation = jnp.ones((50, 20, 2))
    noisy = jax.jit(sac.act)(state, observation, jax.random.key(1))
    assert noisy.shape == (50, 20, 2)
    assert ACTIONS.contains(noisy)
    # Noise this wide sends nearly all to a bound of the box.
    assert np.mean(np.isin(np.asarray(noisy), [-2.0, 0.0, 2.0, 10.0])) > 0.6
    mean, _ = GaussianActor((4,), 2).apply(state.actor, jnp.ones(2))
    np.testing.assert_allclose(
        sac.act(state, jnp.ones(2), None, deterministic=True),
        np.tanh(mean) * [2, 5] + [0, 5],
        rtol=1e-5,
    )
    with pytest.raises(ValueError, match="needs a key"):
        sac.act(state, observation, None)


def test_the_two_critics_start_apart_and_the_targets_equal_to_them():
    state = make_sac(CONFIG, OBSERVATIONS, ACTIONS).init(jax.random.key(0))
    first, second = (jax.tree.leaves(jax.tree.map(lambda x, i=i: x[i], state.critics)) for i in range(2))
    assert all((a != b).any() for a, b in zip(first, second, strict=True))
    jax.tree.map(np.testing.assert_array_equal, state.critics, state.target_critics)


def test_layer_norm_is_of_the_critics_alone():
    plain, normed = (
        make_sac(replace(CONFIG, critic_layer_norm=choice), OBSERVATIONS, ACTIONS).init(jax.random.key(3))
        for choice in (False, True)
    )
    assert jax.tree.structure(plain.actor) == jax.tree.structure(normed.actor)
    names = [name for name in normed.critics["params"] if name.startswith("LayerNorm")]
    assert len(names) == len(CONFIG.critic_hidden_sizes)
    assert not any(name.startswith("LayerNorm") for name in plain.critics["params"])


def test_masked_rows_change_nothing():
    sac = make_sac(CONFIG, OBSERVATIONS, ACTIONS)
    state, batch, key = sac.init(jax.random.key(0)), make_batch(), jax.random.key(1)
    junk = replace(batch, reward=np.where(batch.valid, batch.reward, 1e6).astype(np.float32))
    update = jax.jit(sac.update)
    jax.tree.map(np.testing.assert_array_equal, update(state, batch, key), update(state, junk, key))
    after, _ = update(state, replace(batch, valid=np.zeros(6, bool)), key)
    for name in ("actor", "critics", "log_entropy_coefficient"):
        jax.tree.map(np.testing.assert_array_equal, getattr(state, name), getattr(after, name))


REST = [name for name in SACHyper.__dataclass_fields__ if name not in ("learning_rate", "tau")]


@pytest.mark.slow
def test_seeds_and_numbers_vmap_and_new_numbers_do_not_compile_again():
    traces = 0
    sac = make_sac(CONFIG, OBSERVATIONS, ACTIONS)

    @jax.jit
    def run(key, hyper):
        nonlocal traces
        traces += 1
        state = sac.init(key, hyper)
        for seed in range(2):
            batch = jax.tree.map(jnp.asarray, make_batch(seed=seed))
            state, _ = sac.update(state, batch, jax.random.fold_in(key, seed))
        return state

    keys = jax.random.split(jax.random.key(0), 2)
    rates, taus = [1e-3, 1e-1], [0.5, 0.1]
    axes = SACHyper(learning_rate=0, tau=0, **dict.fromkeys(REST))
    many = jax.jit(jax.vmap(run, in_axes=(0, axes)))(
        keys, SACHyper(learning_rate=jnp.array(rates), tau=jnp.array(taus))
    )
    traces = 0
    for index, (rate, tau) in enumerate(zip(rates, taus, strict=True)):
        one = run(keys[index], SACHyper(learning_rate=rate, tau=tau))
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=1e-3, atol=1e-5), many, one
        )
    assert traces == 1


@pytest.fixture(scope="module")
def solved():
    """Networks trained on all five diagnostic problems at once."""
    env = Diagnostic(continuous=True)
    config = SACConfig(actor_hidden_sizes=(32,), critic_hidden_sizes=(32, 32), entropy="fixed")
    sac = make_sac(config, env.observation_space(None), env.action_space(None))
    hyper = SACHyper(learning_rate=0.005, discount=0.5, tau=0.1, entropy_coefficient=0.01)
    states = jax.jit(jax.vmap(lambda kind, key: train(sac, env, kind, hyper, key, 150, updates=8)))(
        jnp.arange(5), jax.random.split(jax.random.key(0), 5)
    )
    return sac, [jax.tree.map(lambda x, i=i: x[i], states) for i in range(5)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "values"),  # {(x, time): (value of the best action, that action in [-2, 2] or None)}
    [
        (CONSTANT, {(0, 0): (1, None)}),
        (OBSERVATION, {(-1, 0): (-1, None), (1, 0): (1, None)}),
        (DELAYED, {(0, 0): (0.5, None), (0, 1): (1, None)}),
        (ACTION, {(0, 0): (1, 1.0)}),
        (BOTH, {(-1, 0): (1, -1.0), (1, 0): (1, 1.0)}),
    ],
    ids=NAMES,
)
def test_diagnostic_values(solved, kind, values):
    sac, states = solved
    observation = jnp.array(list(values), jnp.float32)
    action = sac.act(states[kind], observation, None, deterministic=True)
    got = sac.values(states[kind].critics, observation, action / 2)
    np.testing.assert_allclose(got, [[v for v, _ in values.values()]] * 2, atol=0.1)
    best = [a for _, a in values.values()]
    if best[0] is not None:
        np.testing.assert_allclose(action[:, 0], best, atol=0.25)


@pytest.mark.slow
def test_a_learned_coefficient_drives_the_entropy_to_its_target():
    env = Diagnostic(continuous=True)
    config = SACConfig(actor_hidden_sizes=(32,), critic_hidden_sizes=(32,))
    sac = make_sac(config, env.observation_space(None), env.action_space(None))
    hyper = SACHyper(learning_rate=0.01, discount=0.5, tau=0.1, target_entropy=-0.7)
    state = jax.jit(lambda key: train(sac, env, ACTION, hyper, key, 150))(jax.random.key(0))
    _, log_density = sac.log_prob(state.actor, jnp.zeros((2_000, 2)), jax.random.key(1))
    assert -log_density.mean() == pytest.approx(-0.7, abs=0.2)
    assert state.log_entropy_coefficient != 0.0


def test_donated_state_holds_no_buffer_twice():
    sac = make_sac(CONFIG, OBSERVATIONS, ACTIONS)
    update = jax.jit(sac.update, donate_argnums=0)
    state = sac.init(jax.random.key(0))
    for _ in range(2):
        state, _ = update(state, make_batch(), jax.random.key(1))


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match="use DQN"):
        make_sac(CONFIG, OBSERVATIONS, Discrete(2))
    with pytest.raises(ConfigError, match="critic_hidden_sizes"):
        make_sac(replace(CONFIG, critic_hidden_sizes=(-1,)), OBSERVATIONS, ACTIONS)
    with pytest.raises(ConfigError, match=r"entropy_coefficient is 0\.0"):
        make_sac(CONFIG, OBSERVATIONS, ACTIONS).init(jax.random.key(0), SACHyper(entropy_coefficient=0.0))
