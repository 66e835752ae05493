"""PPO: its update by hand, advantages against a sum over all later steps, and the five diagnostic problems."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rl.diagnostic_envs import (
    ACTION,
    BOTH,
    CONSTANT,
    DELAYED,
    NAMES,
    OBSERVATION,
    Counter,
    Diagnostic,
    Params,
)

from jaxvlm.errors import ConfigError
from jaxvlm.rl import PPOConfig, PPOHyper, advantages, collect, env_keys, init_rollout, make_ppo
from jaxvlm.rl.ppo import clipped_normal_log_prob
from jaxvlm.rl.rollout import Rows
from jaxvlm.spaces import Box, Discrete

OBSERVATIONS, ACTIONS = Box(-2.0, 2.0, (2,)), Discrete(3)


def make_rows(time=6, envs=2, seed=0):
    rng = np.random.default_rng(seed)
    shape = (time, envs)
    flag = lambda row: (np.arange(time) == row)[:, None] & np.ones(envs, bool)  # noqa: E731
    return Rows(
        observation=rng.normal(size=(*shape, 2)).astype(np.float32),
        action=rng.integers(0, 3, shape).astype(np.int32),
        reward=np.where(flag(2), 0.0, rng.normal(size=shape)).astype(np.float32),
        terminated=flag(1),
        truncated=flag(4),
        valid=~flag(2),
        success=flag(1),
        scene=None,
    ), rng.normal(size=(envs, 2)).astype(np.float32)


def test_advantages_are_sums_of_discounted_errors():
    rows, _ = make_rows(7, 3)
    rng = np.random.default_rng(1)
    value, following = (rng.normal(size=(7, 3)).astype(np.float32) for _ in range(2))
    found = jax.jit(advantages)(
        *map(jnp.asarray, (rows.reward, value, following, rows.terminated, rows.truncated)), 0.9, 0.8
    )
    delta = rows.reward + 0.9 * np.where(rows.terminated, 0.0, following) - value
    done = rows.terminated | rows.truncated
    for t in range(7):
        for n in range(3):
            total, weight = 0.0, 1.0
            for k in range(t, 7):
                total += weight * delta[k, n]
                if done[k, n]:
                    break
                weight *= 0.9 * 0.8
            assert found[t, n] == pytest.approx(total, abs=1e-5)


def test_the_row_before_broken_physics_is_worth_its_own_delta():
    """Row 2 diverged: cut, not valid, paid nothing; what it led to is no state of the environment."""
    reward, value, following = (jnp.array(column)[:, None] for column in (
        [1.0, 2.0, 0.0, 4.0], [0.5, 1.0, 3.0, 2.0], [1.0, 3.0, 100.0, 1.0]
    ))  # fmt: skip
    never, truncated = jnp.zeros((4, 1), bool), jnp.array([False, False, True, False])[:, None]
    valid = jnp.array([True, True, False, True])[:, None]
    found = advantages(reward, value, following, never, truncated, 0.5, 0.5, valid)
    last = 2.0 + 0.5 * 3.0 - 1.0
    np.testing.assert_allclose(
        found[:, 0], [1.0 + 0.5 - 0.5 + 0.25 * last, last, 0.0, 4.0 + 0.5 - 2.0], atol=1e-6
    )


@pytest.mark.slow
def test_an_update_by_hand():
    """One epoch of one minibatch: loss, its gradient by finite differences, clipping and Adam's first step."""
    config = PPOConfig(hidden_sizes=(3,), epochs=1, minibatches=1)
    hyper = PPOHyper(
        learning_rate=0.01, discount=0.9, trace_decay=0.8, entropy_coefficient=0.05, max_grad_norm=0.1
    )
    ppo = make_ppo(config, OBSERVATIONS, ACTIONS)
    state, (rows, last) = ppo.init(jax.random.key(0), hyper), make_rows()
    state = state.replace(params=jax.tree.map(lambda leaf: leaf + 0.1, state.params))

    def layers(network):
        return [
            (np.asarray(p["kernel"], np.float64), np.asarray(p["bias"], np.float64)) for p in network.values()
        ]

    def forward(network, x):
        (w1, b1), (w2, b2) = network
        return np.tanh(x @ w1 + b1) @ w2 + b2

    def log_probs(network, x):
        out = forward(network, x)
        return out - np.log(np.exp(out).sum(-1, keepdims=True))

    actor, critic = layers(state.params["actor"]["network"]), layers(state.params["critic"])
    seen = np.concatenate([rows.observation, last[None]]).astype(np.float64)
    value = forward(critic, seen)[..., 0]
    gain = np.asarray(
        advantages(
            *map(jnp.asarray, (rows.reward, np.float32(value[:-1]), np.float32(value[1:]))),
            jnp.asarray(rows.terminated), jnp.asarray(rows.truncated), 0.9, 0.8,
        ), np.float64,
    )  # fmt: skip
    valid, target = rows.valid, gain + value[:-1]
    taken = lambda lp: np.take_along_axis(lp, rows.action[..., None], -1)[..., 0]  # noqa: E731
    old = taken(log_probs(actor, rows.observation))
    scaled = (gain - gain[valid].mean()) / (gain[valid].std() + 1e-8)

    def loss(actor, critic):
        lp = log_probs(actor, rows.observation.astype(np.float64))
        ratio = np.exp(taken(lp) - old)
        surrogate = np.minimum(ratio * scaled, np.clip(ratio, 0.8, 1.2) * scaled)[valid].mean()
        entropy = -(np.exp(lp) * lp).sum(-1)[valid].mean()
        error = ((forward(critic, rows.observation.astype(np.float64))[..., 0] - target) ** 2)[valid].mean()
        return -surrogate - 0.05 * entropy + 0.5 * error

    new, metrics = jax.jit(ppo.update)(
        state, jax.tree.map(jnp.asarray, rows), jnp.asarray(last), jax.random.key(1)
    )
    assert float(metrics["loss"]) == pytest.approx(loss(actor, critic), rel=1e-4)
    gradients = []
    for network in (actor, critic):
        for layer in network:
            for leaf in layer:
                slope = np.zeros_like(leaf)
                for place in np.ndindex(leaf.shape):
                    kept, sides = leaf[place], []
                    for shift in (1e-5, -1e-5):
                        leaf[place] = kept + shift
                        sides.append(loss(actor, critic))
                    leaf[place] = kept
                    slope[place] = (sides[0] - sides[1]) / 2e-5
                gradients.append(slope)
    norm = np.sqrt(sum((g**2).sum() for g in gradients))
    assert float(metrics["grad_norm"]) == pytest.approx(norm, rel=1e-3)
    assert norm > 0.1  # so it is clipped
    order = [
        ("actor", "network", "Dense_0"),
        ("actor", "network", "Dense_1"),
        ("critic", "Dense_0"),
        ("critic", "Dense_1"),
    ]
    for k, path in enumerate(order):
        was, now = state.params, new.params
        for name in path:
            was, now = was[name], now[name]
        for j, name in enumerate(("kernel", "bias")):
            g = gradients[2 * k + j] * 0.1 / norm
            np.testing.assert_allclose(now[name], was[name] - 0.01 * g / (np.abs(g) + 1e-8), atol=2e-4)


@pytest.mark.slow
def test_what_stands_in_reset_rows_does_not_matter():
    ppo = make_ppo(PPOConfig(hidden_sizes=(4,), epochs=2, minibatches=2), OBSERVATIONS, ACTIONS)
    state, (rows, last) = ppo.init(jax.random.key(0)), make_rows()
    update = jax.jit(ppo.update)
    plain, _ = update(state, jax.tree.map(jnp.asarray, rows), jnp.asarray(last), jax.random.key(1))
    changed = rows.replace(
        action=np.where(rows.valid, rows.action, 2 - rows.action),
        reward=np.where(rows.valid, rows.reward, 0.0),
    )
    other, _ = update(state, jax.tree.map(jnp.asarray, changed), jnp.asarray(last), jax.random.key(1))
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), plain.params, other.params)


def test_nothing_is_learned_from_where_broken_physics_led():
    ppo = make_ppo(PPOConfig(hidden_sizes=(4,), epochs=2, minibatches=2), OBSERVATIONS, ACTIONS)
    rows, last = jax.tree.map(jnp.asarray, make_rows())
    rows = rows.replace(
        valid=rows.valid.at[-1].set(False),
        truncated=rows.truncated.at[-2:].set(jnp.array([[False], [True]])),  # row 4 goes on into it
        reward=rows.reward.at[-1].set(0.0),
    )
    state, update = ppo.init(jax.random.key(0)), jax.jit(ppo.update)
    plain, other = (update(state, rows, seen, jax.random.key(1))[0] for seen in (last, last + 5.0))
    jax.tree.map(np.testing.assert_array_equal, plain.params, other.params)


LOW, HIGH = -2.0, 1.0


@pytest.mark.parametrize(("mean", "std"), [(0.3, 0.5), (0.9, 1.5), (1.8, 0.4), (-2.5, 0.7)])
def test_the_likelihood_of_clipped_actions(mean, std):
    """Its gradient times the action, averaged over samples, is the gradient of the mean action."""
    from scipy.stats import norm

    # The samples are the middles of slices of equal mass, so that their mean is an integral.
    count = 20_000
    sample = norm.ppf((np.arange(count) + 0.5) / count)
    action = np.clip(mean + std * sample, LOW, HIGH)

    def log_prob(mean, log_std, action):
        return clipped_normal_log_prob(action[None], mean[None], log_std[None], LOW, HIGH)[0]

    scores = jax.jit(jax.vmap(jax.value_and_grad(log_prob, argnums=(0, 1)), (None, None, 0)))
    value, gradients = scores(jnp.float32(mean), jnp.float32(np.log(std)), jnp.asarray(action, jnp.float32))
    expected = norm.logpdf(action, mean, std)
    expected = np.where(action == LOW, norm.logcdf(LOW, mean, std), expected)
    expected = np.where(action == HIGH, norm.logsf(HIGH, mean, std), expected)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)

    def mean_action(mean, std):
        return np.clip(mean + std * sample, LOW, HIGH).mean()

    shift = 1e-3
    slopes = (
        (mean_action(mean + shift, std) - mean_action(mean - shift, std)) / (2 * shift),
        (mean_action(mean, std * np.exp(shift)) - mean_action(mean, std * np.exp(-shift))) / (2 * shift),
    )
    for gradient, slope in zip(gradients, slopes, strict=True):
        assert np.mean(np.asarray(gradient, np.float64)) == pytest.approx(0.0, abs=5e-3)
        assert np.mean(np.asarray(gradient, np.float64) * action) == pytest.approx(slope, abs=5e-3)


def test_an_impossible_action_has_a_finite_gradient():
    log_prob = lambda mean: clipped_normal_log_prob(  # noqa: E731
        jnp.array([LOW, HIGH, 0.0]), mean, jnp.full(3, -12.0), LOW, HIGH
    ).sum()
    assert np.isfinite(jax.grad(log_prob)(jnp.array([1.5, -2.5, 0.5]))).all()


def test_a_rewarded_action_at_its_bound_does_not_pull_the_mean_back():
    """The mean is beyond the bound, where all samples are clipped to it: there is nothing better to be had within."""
    actions = Box(-1.0, 1.0, (1,))
    ppo = make_ppo(PPOConfig((3,), epochs=1, minibatches=1, normalise_advantage=False), OBSERVATIONS, actions)
    state, (rows, last) = ppo.init(jax.random.key(0)), make_rows()
    bias = lambda state: state.params["actor"]["network"]["Dense_1"]["bias"]  # noqa: E731
    params = jax.tree.map(jnp.copy, state.params)
    params["actor"]["network"]["Dense_1"]["bias"] = jnp.array([2.0])
    state = state.replace(params=params)
    rows = rows.replace(action=np.ones((6, 2, 1), np.float32), reward=np.full((6, 2), 10.0, np.float32))
    after, _ = jax.jit(ppo.update)(
        state, jax.tree.map(jnp.asarray, rows), jnp.asarray(last), jax.random.key(1)
    )
    assert float(bias(after)[0]) > float(bias(state)[0])


def train(env, kind, iterations=60, seed=0):
    params = Params(jnp.asarray(kind, jnp.int32))
    ppo = make_ppo(
        PPOConfig(hidden_sizes=(16,), epochs=4, minibatches=2),
        env.observation_space(params),
        env.action_space(params),
    )
    hyper = PPOHyper(learning_rate=0.01, discount=0.5)

    @jax.jit
    def run(key):
        keys = jax.random.split(key, 3)

        def iteration(carry, key):
            state, rollout = carry
            collect_key, update_key = jax.random.split(key)
            rollout, rows = collect(
                env, params, partial(ppo.act, state), rollout, collect_key, 8, scenes=False
            )
            return (ppo.update(state, rows, rollout.observation, update_key)[0], rollout), None

        start = ppo.init(keys[0], hyper), init_rollout(env, params, env_keys(keys[1], 8))
        return jax.lax.scan(iteration, start, jax.random.split(keys[2], iterations))[0][0]

    return ppo, run(jax.random.key(seed))


@pytest.mark.slow
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("kind", [CONSTANT, OBSERVATION, DELAYED, ACTION, BOTH], ids=NAMES)
def test_diagnostic_problems(kind, continuous):
    ppo, state = train(Diagnostic(continuous), kind, iterations=150 if continuous else 60)
    x = jnp.array([[-1.0, 0.0], [1.0, 0.0]]) if kind in (OBSERVATION, BOTH) else jnp.array([[0.0, 0.0]])
    values = np.asarray(ppo.values(state.params, x))
    act = partial(ppo.act, state, deterministic=True)
    if kind == CONSTANT:
        np.testing.assert_allclose(values, 1.0, atol=0.1)
    elif kind == OBSERVATION:
        np.testing.assert_allclose(values, [-1.0, 1.0], atol=0.1)
    elif kind == DELAYED:  # discount 0.5, paid 1 at the second step
        np.testing.assert_allclose(values, 0.5, atol=0.1)
    elif continuous:  # the best signal is 0.5, times the sign of x
        signal = np.asarray(act(x, None))[:, 0] / 2
        np.testing.assert_allclose(signal, 0.5 if kind == ACTION else [-0.5, 0.5], atol=0.2)
    else:
        np.testing.assert_array_equal(act(x, None), 1 if kind == ACTION else [0, 1])


@pytest.mark.slow
def test_a_time_limit_bootstraps():
    """Reward 1 for ever, cut after four steps: worth 1 / (1 - discount), not what four steps pay."""
    ppo, state = train(Counter(truncate_at=4, constant_reward=True), 0, iterations=80)
    assert float(ppo.values(state.params, jnp.array([0.5, 0.0]))) == pytest.approx(2.0, abs=0.1)


def uneven_update():
    ppo = make_ppo(PPOConfig(minibatches=5), OBSERVATIONS, ACTIONS)
    rows, last = jax.tree.map(jnp.asarray, make_rows())
    ppo.update(ppo.init(jax.random.key(0)), rows, last, jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize(("call", "words"), [
    (lambda: make_ppo(PPOConfig(epochs=0), OBSERVATIONS, ACTIONS), "epochs is 0"),
    (lambda: make_ppo(PPOConfig(), OBSERVATIONS, Box(-np.inf, 1.0, (2,))), "finite action bounds"),
    (lambda: make_ppo(PPOConfig(), ACTIONS, ACTIONS), "not a Box"),
    (lambda: make_ppo(PPOConfig(), OBSERVATIONS, ACTIONS).init(jax.random.key(0), PPOHyper(clip=0.0)), "clip is 0"),
    (uneven_update, "12 rows do not split into 5"),
])  # fmt: skip
def test_what_cannot_work_is_named(call, words):
    with pytest.raises(ConfigError, match=words):
        call()
