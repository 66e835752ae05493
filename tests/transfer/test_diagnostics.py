"""Figures of an alignment, against SciPy and NumPy, and on alignments whose failure is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import spearmanr

from jaxvlm.transfer import AlignConfig
from jaxvlm.transfer.arms import Sources, Targets, arm_similarity, lossless
from jaxvlm.transfer.diagnostics import ALIGNMENTS, diagnose, rank_correlation, retrieval, spread

CONFIG = AlignConfig(steps=150, dimensions=16)


@pytest.mark.slow
def test_rank_correlation_is_scipys_with_ties():
    generator = np.random.default_rng(0)
    a = generator.integers(0, 5, (6, 20)).astype(np.float32)
    b = a + generator.normal(size=a.shape).round(1).astype(np.float32)
    expected = np.mean([spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)])
    assert float(rank_correlation(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(expected, abs=1e-5)
    assert float(rank_correlation(jnp.ones((1, 5)), jnp.asarray(b[:1, :5]))) == 0.0


def test_spread_and_retrieval_by_hand():
    assert float(spread(jnp.ones((4, 3)))) == 0.0
    assert float(spread(jnp.array([[1.0, 0.0], [-1.0, 0.0]]))) == pytest.approx(1.0)
    vectors = jnp.eye(3)
    assert float(retrieval(vectors, vectors)) == 1.0
    assert float(retrieval(vectors, vectors[jnp.array([1, 0, 2])])) == pytest.approx(1 / 3)
    assert float(retrieval(jnp.ones((3, 2)), jnp.ones((3, 2)))) == 0.0  # all alike: nothing is found


@pytest.mark.slow
def test_the_basis_of_known_policies_places_others_alike():
    generator = np.random.default_rng(1)
    known = jnp.asarray(generator.normal(size=(6, 40)), jnp.float32)
    np.testing.assert_allclose(lossless(known, known), lossless(known), atol=1e-4)


@pytest.fixture(scope="module")
def worlds():
    """Instructions that say, in some of their numbers, what a policy does; the rest is noise."""
    generator = np.random.default_rng(0)
    meaning = generator.normal(size=(40, 4)).astype(np.float32)
    noise = generator.normal(size=(40, 4)).astype(np.float32)
    words = np.concatenate([meaning, 2.0 * noise], axis=1)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    policies = (meaning @ generator.normal(size=(4, 30))).astype(np.float32)
    apart = -np.linalg.norm(meaning[32:, None] - meaning[None, :32], axis=-1)
    pairs = [
        Sources(instructions=words[rows], parameters=policies[rows], behaviour=policies[rows])
        for rows in (slice(32), slice(32, 40))
    ]
    return *pairs, Targets(instructions=words[32:], nearness=apart)


@pytest.mark.slow
def test_an_alignment_finds_held_out_pairs_and_one_of_chance_does_not(worlds):
    found = {
        name: jax.jit(diagnose, static_argnums=(0, 5))(name, jax.random.key(0), *worlds, CONFIG)
        for name in ALIGNMENTS
    }
    aligned, shuffled = found["clip-rl"], found["clip-rl-shuffled"]
    assert float(aligned.retrieval_known) > 0.9
    assert float(shuffled.retrieval_known) > 0.9  # learned by heart
    assert float(aligned.retrieval_held) >= 0.5
    assert float(shuffled.retrieval_held) <= 0.25
    assert float(aligned.chance_held) == pytest.approx(1 / 8)
    assert float(aligned.rank_truth) > float(shuffled.rank_truth) + 0.2
    assert float(found["soft-target"].rank_truth) > 0.5
    assert 0.3 < float(aligned.spread) <= 1.0
    # It is the arm's own alignment that is looked at.
    known, _, targets = worlds
    for name, figures in found.items():
        similarity = jax.jit(arm_similarity, static_argnums=(0, 4))(
            name, jax.random.key(0), known, targets, CONFIG
        )
        rank = rank_correlation(similarity, jnp.asarray(targets.nearness))
        assert float(figures.rank_truth) == pytest.approx(float(rank), abs=0.02)
