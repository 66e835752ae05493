"""EPIC against values worked out by hand, NumPy, and one form against another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.reward import (
    auc,
    canonical,
    canonical_table,
    epic_distance,
    epic_distance_table,
    goal_correlation,
    goal_distance,
    pearson,
    pearson_distance,
    spearman,
)

DISCOUNT = 0.9


def tables(seed=0, states=5, actions=3):
    generator = np.random.default_rng(seed)
    reward = generator.normal(size=(states, actions, states)).astype(np.float32)
    other = generator.normal(size=(states, actions, states)).astype(np.float32)
    p, q = generator.dirichlet(np.ones(states)), generator.dirichlet(np.ones(actions))
    return jnp.asarray(reward), jnp.asarray(other), jnp.float32(p), jnp.float32(q)


def shaped(reward, potential, discount=DISCOUNT):
    """The reward with a potential over states: the same policies are best."""
    return reward + discount * potential - potential[:, None, None]


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_pearson_by_hand(wrap):
    # Deviations (-1, 0, 1) and (-1, -1, 2): product 3, squares 2 and 6.
    a, b = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.0, 0.0, 3.0])
    np.testing.assert_allclose(wrap(pearson)(a, b), 3 / 12**0.5, rtol=1e-6)
    np.testing.assert_allclose(wrap(pearson_distance)(a, b), np.sqrt((1 - 3 / 12**0.5) / 2), rtol=1e-6)
    assert wrap(pearson_distance)(a, 7 * a + 100) == pytest.approx(0.0, abs=1e-6)
    assert wrap(pearson_distance)(a, -a) == pytest.approx(1.0)
    assert np.isnan(wrap(pearson)(a, jnp.full(3, 0.1)))


def test_weights_are_repeats():
    a, b = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    count = np.array([1, 0, 2, 3, 1, 2])
    repeated = np.corrcoef(np.repeat(a, count), np.repeat(b, count))[0, 1]
    np.testing.assert_allclose(pearson(a, b, count), repeated, rtol=1e-5)
    goal = np.array([True, False, True, False, False, True])
    repeated = np.corrcoef(np.repeat(a, count), np.repeat(goal, count))[0, 1]
    np.testing.assert_allclose(goal_correlation(a, goal, count), repeated, rtol=1e-5)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_what_weighs_nothing_does_not_make_a_constant_vary(wrap):
    other, weights = jnp.arange(5.0), jnp.array([0.0, 0.1, 0.2, 0.3, 0.4])
    for first in (0.0, 5.0, 1e6):
        constant = jnp.full(5, 0.3).at[0].set(first)
        assert np.isnan(wrap(pearson_distance)(constant, other, weights))
        assert np.isnan(wrap(goal_correlation)(constant, other > 2, weights))


def test_small_differences_of_large_rewards_keep_their_digits():
    generator = np.random.default_rng(1)
    a = 0.3 + 1e-3 * generator.normal(size=4000)
    b = a + 1e-5 * generator.normal(size=4000)
    expected = np.sqrt((1 - np.corrcoef(a, b)[0, 1]) / 2)
    np.testing.assert_allclose(pearson_distance(a, b), expected, rtol=2e-3)


def test_lemma_1_by_hand():
    # Scores 1, 2, 3, 6; the last two are goals: p = 1/2, means 4.5 and 1.5, variance (4 + 1 + 0 + 9) / 4 = 3.5.
    scores, goal = jnp.array([1.0, 2.0, 3.0, 6.0]), jnp.array([False, False, True, True])
    correlation = 0.5 * 3 / 3.5**0.5
    np.testing.assert_allclose(goal_correlation(scores, goal), correlation, rtol=1e-6)
    np.testing.assert_allclose(goal_distance(scores, goal), np.sqrt((1 - correlation) / 2), rtol=1e-5)


def test_lemma_1_keeps_its_digits_where_a_class_is_rare():
    scores = jnp.array([*range(10), -5.0])
    goal, weights = jnp.arange(11) < 10, jnp.array([1.0] * 10 + [1e-7])
    x, w = np.asarray(scores, np.float64), np.asarray(weights, np.float64)
    covariance = np.cov(x, np.asarray(goal, np.float64), aweights=w, ddof=0)
    expected = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    np.testing.assert_allclose(goal_correlation(scores, goal, weights), expected, rtol=1e-4)


def test_lemma_1_is_the_correlation_with_the_indicator():
    generator = np.random.default_rng(2)
    scores = 0.25 + 0.02 * generator.normal(size=3000)
    goal = scores + 0.02 * generator.normal(size=3000) > 0.27
    np.testing.assert_allclose(goal_correlation(scores, goal), np.corrcoef(scores, goal)[0, 1], atol=1e-5)
    np.testing.assert_allclose(goal_distance(scores, goal), pearson_distance(scores, goal), atol=1e-5)


@pytest.mark.parametrize("goal", [np.zeros(4, bool), np.ones(4, bool)])
def test_no_distance_without_both_classes(goal):
    assert np.isnan(goal_distance(np.arange(4.0), goal))
    assert np.isnan(goal_distance(np.ones(4), np.array([True, False, True, False])))


def test_canonical_table_by_hand():
    # Two states, one action, R = [[0, 1], [2, 3]] by (s, s'), uniform: V = (0.5, 2.5), mean 1.5, discount 0.5.
    reward = jnp.array([[[0.0, 1.0]], [[2.0, 3.0]]])
    got = canonical_table(reward, jnp.array([0.5, 0.5]), jnp.ones(1), 0.5)[:, 0]
    expected = [
        [0 + 0.25 - 0.5 - 0.75, 1 + 1.25 - 0.5 - 0.75],
        [2 + 0.25 - 2.5 - 0.75, 3 + 1.25 - 2.5 - 0.75],
    ]
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_canonical_table_against_loops():
    reward, _, p, q = tables()
    r, p, q = (np.asarray(x, np.float64) for x in (reward, p, q))
    value = [sum(q[a] * p[n] * r[s, a, n] for a in range(3) for n in range(5)) for s in range(5)]
    mean = sum(p[s] * value[s] for s in range(5))
    expected = np.array(
        [
            [[r[s, a, n] + 0.9 * value[n] - value[s] - 0.9 * mean for n in range(5)] for a in range(3)]
            for s in range(5)
        ]
    )
    got = canonical_table(reward, jnp.float32(p), jnp.float32(q), 0.9)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    weights = p[:, None, None] * q[:, None] * p
    other = np.asarray(tables()[1], np.float64)
    # The canonical reward has mean 0, so nothing need be subtracted here.
    np.testing.assert_allclose((weights * expected).sum(), 0, atol=1e-6)
    shaped_other = np.asarray(canonical_table(jnp.float32(other), jnp.float32(p), jnp.float32(q), 0.9))
    correlation = (weights * expected * shaped_other).sum() / np.sqrt(
        (weights * expected**2).sum() * (weights * shaped_other**2).sum()
    )
    got = epic_distance_table(reward, jnp.float32(other), jnp.float32(p), jnp.float32(q), 0.9)
    np.testing.assert_allclose(got, np.sqrt((1 - correlation) / 2), atol=1e-5)


def test_shaping_scale_and_shift_leave_the_table_distance_at_zero():
    reward, other, p, q = tables(3)
    potential = jnp.arange(5.0) ** 2
    same = 3.0 * shaped(reward, potential) + 2.0
    assert epic_distance_table(reward, same, p, q, DISCOUNT) < 1e-4
    assert epic_distance_table(reward, -reward, p, q, DISCOUNT) == pytest.approx(1.0, abs=1e-5)
    apart = epic_distance_table(reward, other, p, q, DISCOUNT)
    np.testing.assert_allclose(epic_distance_table(same, other, p, q, DISCOUNT), apart, atol=1e-4)
    np.testing.assert_allclose(epic_distance_table(other, reward, p, q, DISCOUNT), apart, atol=1e-6)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e4])
def test_shaping_alone_is_as_constant_as_no_reward(size):
    for seed in range(5):
        reward, _, p, q = tables(seed)
        nothing = shaped(jnp.zeros_like(reward), size * jax.random.normal(jax.random.key(seed), (5,)))
        assert np.isnan(epic_distance_table(nothing, reward, p, q, DISCOUNT))
        assert np.isnan(epic_distance_table(reward, nothing, p, q, DISCOUNT))
        # A reward a thousandth of the shaping is one.
        beside = epic_distance_table(nothing + 1e-3 * size * reward, reward, p, q, DISCOUNT)
        assert beside < 1e-2


def continuous(seed=0, n=40, m=30):
    generator = np.random.default_rng(seed)
    draw = lambda *shape: jnp.float32(generator.normal(size=shape))  # noqa: E731
    return (draw(n, 2), draw(n, 1), draw(n, 2)), (draw(m, 2), draw(m, 1))


def reward_of(state, action, next_state):
    return jnp.sin(state[0]) + action[0] * next_state[1] + next_state[0] ** 2


def potential_of(state):
    return 5.0 * state[0] * state[1] + jnp.cos(state[1])


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jit"])
def test_shaping_and_scale_leave_the_sampled_distance_at_zero(wrap):
    transitions, coverage = continuous()

    def same(s, a, n):
        return 4.0 * (reward_of(s, a, n) + DISCOUNT * potential_of(n) - potential_of(s)) - 1.0

    def distance(first, second):
        return wrap(lambda t, c: epic_distance(first, second, t, c, DISCOUNT))(transitions, coverage)

    assert distance(reward_of, same) < 1e-4
    assert distance(reward_of, lambda *row: -reward_of(*row)) == pytest.approx(1.0, abs=1e-5)
    assert 0.05 < distance(reward_of, lambda s, a, n: n[1]) < 0.95


def test_shaping_alone_is_as_constant_as_no_reward_in_samples():
    transitions, coverage = continuous()

    def nothing(s, a, n):
        return DISCOUNT * potential_of(n) - potential_of(s)

    assert np.isnan(epic_distance(nothing, reward_of, transitions, coverage, DISCOUNT))
    assert np.isnan(epic_distance(reward_of, nothing, transitions, coverage, DISCOUNT))


def test_canonical_against_numpy():
    (s, a, n), (x, u) = continuous(1, n=4, m=3)
    value = lambda state: np.mean([reward_of(state, u[j], x[j]) for j in range(3)])  # noqa: E731
    mean = np.mean([value(x[i]) for i in range(3)])
    expected = [
        float(reward_of(s[k], a[k], n[k])) + 0.9 * value(n[k]) - value(s[k]) - 0.9 * mean for k in range(4)
    ]
    np.testing.assert_allclose(canonical(reward_of, (s, a, n), (x, u), 0.9), expected, atol=1e-5)


@pytest.mark.slow
def test_sampled_form_is_the_table_over_all_pairs():
    reward, other, _, _ = tables(4)
    s, a, n = (
        jnp.asarray(grid.reshape(-1)) for grid in np.meshgrid(*map(np.arange, (5, 3, 5)), indexing="ij")
    )
    x, u = (jnp.asarray(grid.reshape(-1)) for grid in np.meshgrid(np.arange(5), np.arange(3)))
    first, second = (lambda i, j, k, table=table: table[i, j, k] for table in (reward, other))
    got = epic_distance(first, second, (s, a, n), (x, u), DISCOUNT)
    exact = epic_distance_table(reward, other, jnp.full(5, 0.2), jnp.full(3, 1 / 3), DISCOUNT)
    np.testing.assert_allclose(got, exact, atol=1e-5)


@pytest.mark.slow
def test_rewards_of_the_next_state_give_the_closed_form():
    transitions, coverage = continuous(2, n=200)
    score = lambda s, a, n: 0.3 + 0.02 * n[0]  # noqa: E731
    goal = lambda s, a, n: jnp.where(n[0] + 0.3 * n[1] > 0.8, 1.0, 0.0)  # noqa: E731
    general = epic_distance(score, goal, transitions, coverage, DISCOUNT)
    scores, holds = jax.vmap(score)(*transitions), jax.vmap(goal)(*transitions) > 0
    np.testing.assert_allclose(general, goal_distance(scores, holds), atol=1e-5)
    np.testing.assert_allclose(general, pearson_distance(scores, holds), atol=1e-5)


def test_ranking_figures_by_hand():
    truth = np.array([False, True, False, True])
    assert auc(np.array([0.0, 1.0, 2.0, 3.0]), truth) == 0.75  # one of four pairs is the wrong way round
    assert auc(np.zeros(4), truth) == 0.5
    assert np.isnan(auc(np.zeros(2), np.array([True, True])))
    assert spearman(np.array([0.0, 1.0, 100.0]), np.array([3.0, 2.0, 1.0])) == pytest.approx(-1.0)


@pytest.mark.parametrize("kind", ["int8", "int64", "float32"])
def test_a_ranking_wants_to_know_what_is_true(kind):
    with pytest.raises(ConfigError, match=f"truth is {kind}; give bool"):
        auc(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1], kind))


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_scores_that_are_no_numbers_rank_nothing(odd):
    assert np.isnan(auc(np.array([0.0, 1.0, odd]), np.array([False, False, True])))
    assert np.isnan(spearman(np.array([0.0, 1.0, np.nan]), np.arange(3.0)))
