import math

import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation.parting import parting, smooth


def test_smooth_is_a_running_mean():
    np.testing.assert_allclose(smooth(np.asarray([0.0, 3.0, 6.0, 3.0]), 3), [3.0, 4.0])
    np.testing.assert_allclose(smooth(np.asarray([1.0, 3.0]), 5), [2.0])


def test_they_rise_together_and_then_part():
    """Reward climbs from 0 to 7; success to 0.6 at the fourth rollout and back to 0."""
    reward = np.arange(8.0)
    success = np.asarray([0.0, 0.2, 0.4, 0.6, 0.5, 0.3, 0.1, 0.0])
    found = parting(reward, success, window=1)
    assert found.early == pytest.approx(1.0)
    assert found.late == pytest.approx(-1.0)
    assert found.gain_after == pytest.approx(4 / 7)
    assert found.lost == pytest.approx(0.6)


def test_a_reward_that_stands_for_success_loses_nothing():
    success = np.linspace(0.0, 0.9, 20)
    found = parting(2 * success - 1, success)
    assert found.gain_after == pytest.approx(0.0)
    assert found.lost == pytest.approx(0.0)
    assert found.early == found.late == pytest.approx(1.0)


def test_a_reward_that_dips_where_success_is_highest_gains_all_of_its_rise_after_it():
    found = parting(np.asarray([1.0, 0.0, 1.5, 2.0]), np.asarray([0.0, 0.5, 0.2, 0.1]), window=1)
    assert found.gain_after == 1.0


def test_success_that_stays_highest_has_nothing_after_it():
    found = parting(np.arange(40.0), np.minimum(1.0, np.arange(40) / 10))
    assert (found.gain_after, found.lost) == (0.0, 0.0)


def test_windows_of_equal_sums_are_ties():
    success = (
        np.asarray([0, 3, 9, 6, 3, 9, 6, 0, 10, 8, 0, 10, 5, 10, 2]) / 10
    )  # sums 21 30 33 24 28 33 24 28 33 33 27
    found = parting(np.arange(15.0), success)
    ranks = [5, 1, 3, 5, 5, 2]  # of the last six sums, 33 24 28 33 33 27, the lowest first
    assert found.late == pytest.approx(np.corrcoef(np.arange(6), ranks)[0, 1])
    assert found.gain_after == pytest.approx(0.1)


def test_success_that_never_came_tells_no_correlation():
    found = parting(np.arange(12.0), np.zeros(12))
    assert math.isnan(found.early)
    assert math.isnan(found.late)
    assert math.isnan(found.gain_after)
    assert found.lost == 0.0


def test_too_little_is_refused():
    with pytest.raises(ConfigError, match="one length, at least 10"):
        parting(np.zeros(9), np.zeros(9))
