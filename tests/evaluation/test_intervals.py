"""Intervals against values worked out by hand and against coverage."""

import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation import bootstrap, mean_interval, rate_interval


def test_wilson_by_hand():
    # z = 1.959964, n = 10, p = 0.3: centre (p + z^2 / 2n) / (1 + z^2 / n), half z sqrt(p q / n + z^2 / 4n^2) / (same).
    z, n, p = 1.959964, 10, 0.3
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    np.testing.assert_allclose(rate_interval(3, 10), [0.3, centre - half, centre + half], atol=1e-6)


def test_wilson_at_the_ends():
    assert rate_interval(0, 100).low == 0.0
    assert 0 < rate_interval(0, 100).high < 0.05
    assert rate_interval(100, 100).high == 1.0
    assert 0.95 < rate_interval(100, 100).low < 1


def test_student_by_hand():
    # t(0.975, 2) = 4.302653; deviation of (1, 2, 3) is 1.
    np.testing.assert_allclose(
        mean_interval([1.0, 2.0, 3.0]), [2, 2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5], atol=1e-5
    )
    assert np.isnan(mean_interval([0.5]).low)


def test_bootstrap_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(2.0, 1.0, 400)
    found = bootstrap(np.mean, [values], resamples=2000)
    half = 1.96 * values.std() / 20
    np.testing.assert_allclose(found, [values.mean(), values.mean() - half, values.mean() + half], atol=0.015)


def test_groups_widen_the_interval():
    # 20 groups of 50 equal rows hold 20 values and no more.
    values = np.repeat(np.random.default_rng(1).normal(size=20), 50)
    groups = np.repeat(np.arange(20), 50)
    alone, grouped = bootstrap(np.mean, [values]), bootstrap(np.mean, [values], groups=groups)
    ratio = (grouped.high - grouped.low) / (alone.high - alone.low)
    assert 5.5 < ratio < 8.5  # sqrt(50) = 7.07


def test_a_single_group_or_row_tells_of_no_spread():
    values = np.arange(5.0)
    for found in (bootstrap(np.mean, [values], groups=np.zeros(5)), bootstrap(np.mean, [values[2:3]])):
        assert found.value == 2.0
        assert np.isnan([found.low, found.high]).all()


def test_pairs_stay_together():
    a = np.arange(50.0)
    assert bootstrap(lambda x, y: np.corrcoef(x, y)[0, 1], [a, 2 * a]).low == pytest.approx(1.0)


def test_resamples_without_a_value_are_left_out():
    truth = np.zeros(10, bool)
    truth[0] = True  # a third of the resamples holds none
    found = bootstrap(lambda t: 1.0 if t.any() else float("nan"), [truth])
    assert (found.low, found.high) == (1.0, 1.0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: rate_interval(3, 2),
        lambda: rate_interval(0, 0),
        lambda: bootstrap(np.mean, [np.zeros(3), np.zeros(4)]),
        lambda: bootstrap(np.mean, [np.zeros(0)]),
        lambda: mean_interval([]),
    ],
)
def test_what_cannot_be_told_is_refused(call):
    with pytest.raises(ConfigError):
        call()
