"""Kappa and alpha against examples that were worked out by hand in the literature."""

import math

import numpy as np
import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.rating import cohen_kappa, krippendorff_alpha

N = math.nan

# Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", part C: four observers, twelve units, gaps.
RELIABILITY = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
        [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
    ]
)


def pairs(table):
    """Two lists of answers whose cross table this is."""
    table = np.asarray(table)
    first, second = np.indices(table.shape).reshape(2, -1)
    return np.repeat(first, table.ravel()).astype(float), np.repeat(second, table.ravel()).astype(float)


def test_alpha_of_krippendorffs_reliability_data():
    assert krippendorff_alpha(RELIABILITY, "nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(RELIABILITY, "ordinal") == pytest.approx(0.815, abs=5e-4)


def test_alpha_of_krippendorffs_two_observers():
    """Parts A (two values, no gaps) and B (any number of values) of the same paper."""
    two_values = [[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]]
    assert krippendorff_alpha(np.array(two_values, float)) == pytest.approx(0.095, abs=5e-4)
    letters = [[ord(letter) for letter in word] for word in ("aabbdcccedda", "babbbccceddd")]
    assert krippendorff_alpha(np.array(letters, float)) == pytest.approx(0.692, abs=5e-4)


def test_alpha_by_hand():
    """Two raters, (0, 0), (50, 100), (100, 100): coincidences o = [[2, 0, 0], [0, 0, 1], [0, 1, 2]], n = (2, 1, 3).

    Nominal: observed 2, expected (36 - 14) / 5 = 4.4. Ordinal: distances squared between middles 1, 2.5, 4.5 are
    2.25, 12.25 and 4, so observed 2 * 4 = 8 and expected 2 (2 * 2.25 + 6 * 12.25 + 3 * 4) / 5 = 36.
    """
    answers = np.array([[0.0, 50, 100], [0, 100, 100]])
    assert krippendorff_alpha(answers) == pytest.approx(1 - 2 / 4.4)
    assert krippendorff_alpha(answers, "ordinal") == pytest.approx(1 - 8 / 36)


def test_alpha_leaves_lonely_answers_out():
    answers = np.array([[0.0, 50, 100, N, 25], [0, 100, 100, 75, N]])
    assert krippendorff_alpha(answers, "ordinal") == pytest.approx(
        krippendorff_alpha(answers[:, :3], "ordinal")
    )


@pytest.mark.parametrize("level", ["nominal", "ordinal"])
def test_alpha_at_its_ends(level):
    assert krippendorff_alpha(np.array([[0.0, 25, 100], [0, 25, 100], [0, N, 100]]), level) == 1.0
    assert math.isnan(krippendorff_alpha(np.array([[50.0, 50], [50, 50]]), level))
    assert math.isnan(krippendorff_alpha(np.array([[50.0, N], [N, 25]]), level))


def test_alpha_of_answers_by_chance_is_near_zero():
    answers = np.random.default_rng(0).choice([0.0, 25, 50, 75, 100], (3, 4000))
    assert abs(krippendorff_alpha(answers, "nominal")) < 0.02
    assert abs(krippendorff_alpha(answers, "ordinal")) < 0.03


def test_kappa_by_hand():
    """20 and 15 of 50 alike: 0.7 observed, 0.5 * 0.6 + 0.5 * 0.4 = 0.5 expected."""
    assert cohen_kappa(*pairs([[20, 5], [10, 15]])) == pytest.approx(0.4)


def test_kappa_of_cohens_weighted_example():
    """Cohen 1968, table 1: 200 diagnoses, and what he says each disagreement costs."""
    answers = pairs([[88, 14, 18], [10, 40, 10], [2, 6, 12]])
    assert cohen_kappa(*answers) == pytest.approx(0.492, abs=5e-4)
    costs = np.array([[0, 1, 3], [1, 0, 6], [3, 6, 0]])
    assert cohen_kappa(*answers, costs) == pytest.approx(0.348, abs=5e-4)


def test_quadratic_weights_count_by_values_and_not_by_places():
    """Values 0, 25 and 100, one disagreement of 25 in four: (625 / 4) / mean of squares of all sixteen pairs."""
    first, second = np.array([0.0, 25, 100, 100]), np.array([0.0, 0, 100, 100])
    expected = np.mean((first[:, None] - second[None, :]) ** 2)
    assert cohen_kappa(first, second, "quadratic") == pytest.approx(1 - 625 / 4 / expected)


def test_kappa_leaves_gaps_out_and_has_ends():
    first, second = np.array([0.0, 1, N, 1]), np.array([0.0, 1, 1, N])
    assert cohen_kappa(first, second) == 1.0
    assert cohen_kappa(np.array([0.0, 1]), np.array([1.0, 0])) == -1.0
    assert math.isnan(cohen_kappa(np.array([N]), np.array([1.0])))
    assert math.isnan(cohen_kappa(np.array([1.0, 1]), np.array([1.0, 1])))


def test_refusals():
    with pytest.raises(ConfigError, match="one length"):
        cohen_kappa(np.zeros(2), np.zeros(3))
    with pytest.raises(ConfigError, match="weights of shape"):
        cohen_kappa(np.array([0.0, 1]), np.array([0.0, 1]), np.zeros((3, 3)))
    with pytest.raises(ConfigError, match=r"\[raters, items\]"):
        krippendorff_alpha(np.zeros(3))
