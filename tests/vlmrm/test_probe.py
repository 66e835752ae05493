"""The cross-entropy search, and how what it finds is counted and put into words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.vlmrm.probe import (
    Chains,
    Counts,
    CrossEntropy,
    count_ends,
    different,
    draw,
    improve,
    say,
    start,
    validate_search,
)

SEARCH = CrossEntropy(population=32)
LOW, HIGH, SCALE = np.full(3, -2.0, np.float32), np.full(3, 2.0, np.float32), np.full(3, 0.5, np.float32)


def searched(score, rounds=30, chains=4, low=LOW, high=HIGH, seed=0):
    """Ends of a search that begins at uniform draws."""
    key_first, key = jax.random.split(jax.random.key(seed))
    first = jax.random.uniform(key_first, (chains, SEARCH.population, 3), minval=-2.0, maxval=2.0)

    def one(ends, key):
        drawn = draw(key, ends, low, high, SEARCH)
        return improve(ends, drawn, score(drawn), SCALE, SEARCH), ends.score

    return jax.jit(
        lambda first: jax.lax.scan(one, start(first, score(first), SCALE), jax.random.split(key, rounds))
    )(first)


def test_a_hill_is_climbed_by_every_chain_and_scores_never_fall():
    top = jnp.asarray([0.7, -1.2, 0.1])
    ends, history = searched(lambda x: -jnp.sum((x - top) ** 2, axis=-1))
    np.testing.assert_allclose(ends.best, np.tile(top, (4, 1)), atol=0.03)
    assert (np.diff(history, axis=0) >= 0).all()


def test_an_optimum_beyond_a_bound_is_found_at_the_bound():
    ends, _ = searched(lambda x: x[..., 0] - 100.0 * x[..., 1] ** 2)
    np.testing.assert_allclose(ends.best[:, 0], 2.0)
    assert (np.abs(ends.best) <= 2.0).all()


def test_a_parameter_without_bounds_goes_on():
    low, high = LOW.copy(), HIGH.copy()
    low[0], high[0] = -np.inf, np.inf
    ends, _ = searched(lambda x: -((x[..., 0] - 5.0) ** 2), rounds=40, low=low, high=high)
    np.testing.assert_allclose(ends.best[:, 0], 5.0, atol=0.05)


def test_chains_find_different_optima():
    """Two hills as high as each other: chains end on both, none between."""
    ends, _ = searched(lambda x: -((jnp.abs(x[..., 0]) - 1.0) ** 2), chains=12)
    np.testing.assert_allclose(np.abs(ends.best[:, 0]), 1.0, atol=0.05)
    assert 0 < (np.asarray(ends.best[:, 0]) > 0).sum() < 12


def test_scores_that_are_no_numbers_lose():
    ends, _ = searched(lambda x: jnp.where(x[..., 0] > 0, jnp.nan, x[..., 0]))
    assert np.isfinite(ends.score).all()
    np.testing.assert_allclose(ends.best[:, 0], 0.0, atol=0.05)


def test_a_round_by_hand():
    """Of four draws and the best so far the two best set the mean; half of the old one stays."""
    search = CrossEntropy(population=4, elites=0.5, smoothing=0.5, least=0.1)
    one = jnp.zeros((1, 1))
    chains = Chains(mean=one + 1.0, spread=one + 0.4, best=one + 7.0, score=jnp.asarray([3.0]))
    drawn = jnp.asarray([[[2.0], [4.0], [5.0], [6.0]]])
    new = improve(chains, drawn, jnp.asarray([[1.0, 9.0, 2.0, -1.0]]), np.ones(1, np.float32), search)
    # Elites: 4 (scored 9) and 7 (scored 3), with mean 5.5; 3 and 6 away from the old mean.
    np.testing.assert_allclose(new.mean, [[0.5 * 1.0 + 0.5 * 5.5]])
    np.testing.assert_allclose(new.spread, [[0.5 * 0.4 + 0.5 * 22.5**0.5]])
    assert (float(new.best[0, 0]), float(new.score[0])) == (4.0, 9.0)


def test_draws_without_a_score_are_no_elites():
    """Of a chain's draws one has a score, of another's none, nor has its best so far."""
    search = CrossEntropy(population=4, elites=0.5, smoothing=0.5, least=0.1)
    one = jnp.ones((2, 1))
    chains = Chains(mean=one, spread=one, best=7 * one, score=jnp.full(2, -jnp.inf))
    drawn = jnp.tile(jnp.asarray([[100.0], [3.0], [-100.0], [50.0]]), (2, 1, 1))
    nothing = jnp.full(4, jnp.nan)
    new = improve(chains, drawn, jnp.stack([nothing.at[1].set(2.0), nothing]), np.ones(1, np.float32), search)
    np.testing.assert_allclose(new.mean[:, 0], [0.5 * 1 + 0.5 * 3, 1.0])
    np.testing.assert_allclose(new.spread[:, 0], [0.5 * 1 + 0.5 * 2, 1.0])


def test_a_turn_is_the_same_by_either_of_its_quaternions():
    half = np.deg2rad([179.0, -179.0, 120.0]) / 2  # two degrees apart, and sixty
    vectors = np.stack([np.cos(half), 0 * half, 0 * half, np.sin(half), 0 * half], axis=1)
    assert different(vectors, np.full(5, 0.2), 0.5) == 3
    assert different(vectors, np.full(5, 0.2), 0.5, quaternion=True) == 2


def test_ends_are_counted_against_the_median_goal_state():
    scores, holds = np.asarray([0.5, 0.5, 0.3, 0.1]), np.asarray([True, False, True, False])
    assert count_ends(scores, holds, 0.4) == Counts(met=2, fooled=1, short=1)
    assert count_ends(scores, holds, float("nan")) == Counts(met=2, fooled=0, short=2)


def test_clearly_different_vectors_are_counted():
    vectors = np.asarray([[0.0, 0.0], [0.1, 0.0], [3.0, 0.0], [3.0, 0.1]])
    assert different(vectors, np.ones(2)) == 2
    assert different(vectors, np.full(2, 0.01)) == 4
    # Three angles about half a turn, on both sides of where it comes round, and one that is upright.
    angles = np.asarray([[0.0, 3.13], [0.0, -3.13], [0.0, 3.0], [0.0, 0.0]])
    assert different(angles, np.ones(2)) == 3
    assert different(angles, np.ones(2), periods=np.asarray([0.0, 2 * np.pi])) == 2


def test_verdicts_in_words():
    assert (
        say(Counts(11, 0, 1), []) == "the states this sentence likes best meet the goal in 11 of 12 chains; "
        "1 ended below the median of goal states"
    )
    assert say(Counts(1, 0, 0), []) == "the states this sentence likes best meet the goal in 1 of 1 chain"
    failing = ["lean", "torso_tilt", "torso_tilt"]
    assert (
        say(Counts(7, 3, 2), failing)
        == "fooled: 3 of 12, failing on torso_tilt, lean; 7 meet the goal; 2 ended below the median of goal states"
    )
    assert say(Counts(0, 12, 0), ["lean"] * 12).endswith("; none meets the goal")
    assert "finds no way up" in say(Counts(0, 0, 12), [])


@pytest.mark.parametrize("met", [0, 7, 12])
def test_without_a_random_state_at_the_goal_nothing_is_said_of_a_median(met):
    counts = count_ends(np.linspace(0, 1, 12), np.arange(12) < met, float("nan"))
    assert say(counts, [], median=False) == (
        f"the states this sentence likes best meet the goal in {met} of 12 chains; no random state meets the goal, so "
        "there is no median of goal states to compare with"
    )


@pytest.mark.parametrize(
    ("population", "chains", "rounds", "named"),
    [(3, 1, 1, "population is 3"), (8, 0, 1, "chains is 0"), (8, 1, 0, "rounds is 0")],
)
def test_numbers_with_which_nothing_is_searched_are_refused(population, chains, rounds, named):
    with pytest.raises(ConfigError, match=named):
        validate_search(CrossEntropy(population), chains, rounds)
