"""The quick bootstrap against the plain one, draw by draw."""

import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation import bootstrap
from jaxvlm.evaluation.resample import Resampler
from jaxvlm.reward import auc


def states(seed=0, count=300, groups=40):
    generator = np.random.default_rng(seed)
    truth = generator.random(count) < 0.2
    scores = (0.3 + 0.02 * (truth + generator.normal(size=count))).round(3)  # with ties
    return scores, truth, generator.integers(groups, size=count)


def distance(a, b):
    return float(np.sqrt((1 - np.corrcoef(a, b)[0, 1]) / 2))


@pytest.mark.slow
def test_intervals_are_those_of_the_plain_bootstrap():
    scores, truth, groups = states()
    graded = truth + np.random.default_rng(1).normal(size=len(truth))
    ours = Resampler(groups, resamples=300, seed=5)
    plain = lambda statistic, b: bootstrap(statistic, [scores, b], groups=groups, resamples=300, seed=5)  # noqa: E731
    np.testing.assert_allclose(ours.distance(scores, truth), plain(distance, truth), atol=2e-5)
    np.testing.assert_allclose(ours.distance(scores, graded), plain(distance, graded), atol=2e-5)
    np.testing.assert_allclose(ours.auc(scores, truth), plain(auc, truth), atol=1e-9)


def test_resamples_without_goal_states_are_left_out():
    scores, truth, groups = states(2, count=60, groups=30)
    truth = groups == groups[0]  # one group in thirty: a third of the resamples lack it
    found = Resampler(groups, resamples=200)
    plain = bootstrap(auc, [scores, truth], groups=groups, resamples=200)
    np.testing.assert_allclose(found.auc(scores, truth), plain, atol=1e-9)
    assert np.isfinite(found.distance(scores, truth)).all()


def test_equal_scores_have_no_distance():
    found = Resampler(np.arange(8), resamples=20).distance(np.full(8, 0.3), np.arange(8) < 3)
    assert np.isnan(found).all()


def test_states_of_one_episode_tell_of_no_spread():
    scores, truth, _ = states()
    alone = Resampler(np.zeros(len(truth)), resamples=20)
    for found, value in (
        (alone.auc(scores, truth), auc(scores, truth)),
        (alone.distance(scores, truth), None),
    ):
        assert value is None or found.value == pytest.approx(value)
        assert np.isfinite(found.value)
        assert np.isnan([found.low, found.high]).all()


def test_no_states_are_refused():
    with pytest.raises(ConfigError, match="0 states"):
        Resampler(np.zeros(0))
