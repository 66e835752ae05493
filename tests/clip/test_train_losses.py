"""Losses and figures against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.clip.captions import both, expand, truth_matrix
from jaxvlm.clip.figures import monotone_violation
from jaxvlm.clip.losses import infonce_loss, log_odds_loss, sigmoid_loss

LOG3 = float(np.log(3.0))  # sigmoid(log 3) = 3/4


def test_truth_matrix_by_hand():
    log_odds = jnp.array([[0.0, LOG3], [-LOG3, 0.0]])  # 2 images, 2 concepts
    expected = [[0.75, 0.5, 0.75], [0.5, 0.25, 0.5]]  # captions say concepts 1, 0, 1
    for function in (truth_matrix, jax.jit(truth_matrix)):
        np.testing.assert_allclose(function(log_odds, jnp.array([1, 0, 1])), expected, rtol=1e-6)


def test_conjunction_is_a_smooth_minimum():
    np.testing.assert_allclose(both(jnp.float32(0.0), jnp.float32(0.0)), -np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(both(jnp.float32(-3.0), jnp.float32(20.0)), -3.0, atol=1e-6)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_sigmoid_loss_by_hand(wrap):
    logits, truth = jnp.array([[LOG3, 0.0]]), jnp.array([[1.0, 0.25]])
    share = jnp.array([0.25, 0.5])
    # Column 0: weight .5/.25 = 2, -log(3/4). Column 1: weights 1 and 1, -log(1/2) whatever the truth.
    expected = (2 * -np.log(0.75) + np.log(2.0)) / 2
    np.testing.assert_allclose(wrap(sigmoid_loss)(logits, truth, share), expected, rtol=1e-6)


def test_sigmoid_loss_is_least_at_the_log_odds():
    truth = jax.nn.sigmoid(jnp.array([[-2.0, 0.3], [1.0, -0.7]]))
    gradient = jax.grad(sigmoid_loss)(jnp.array([[-2.0, 0.3], [1.0, -0.7]]), truth, jnp.full(2, 0.5))
    np.testing.assert_allclose(gradient, 0.0, atol=1e-7)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_log_odds_loss_by_hand(wrap):
    logits, log_odds = jnp.array([[0.5, -6.0]]), jnp.array([[0.0, -3.0]])
    share = jnp.array([0.5, 0.75])  # shifts of log(1 / 1) and of log((2 / 3) / 2)
    off = -6.0 - (-3.0 - LOG3)
    expected = (0.5 * 0.5**2 + (abs(off) - 0.5)) / 2  # Huber: within 1 squared, beyond linear
    np.testing.assert_allclose(wrap(log_odds_loss)(logits, log_odds, share), expected, rtol=1e-6)


def test_both_losses_are_least_at_the_same_logits():
    """Also where classes are out of balance, so that one does not pull against the other."""
    log_odds, share = jnp.array([[-2.0, 0.3], [1.0, -0.7]]), jnp.array([0.2, 0.6])
    shift = jnp.log((0.5 / share) / (0.5 / (1 - share)))
    at_least = log_odds + shift
    cross_entropy = jax.grad(sigmoid_loss)(at_least, jax.nn.sigmoid(log_odds), share)
    np.testing.assert_allclose(cross_entropy, 0.0, atol=1e-6)
    np.testing.assert_allclose(jax.grad(log_odds_loss)(at_least, log_odds, share), 0.0, atol=1e-6)


def test_infonce_loss_of_the_identity_is_the_loss_of_clip():
    logits = jnp.array([[2.0, 0.0], [1.0, 1.0]])
    rows = (np.log(np.exp(2) + 1) - 2 + np.log(2 * np.e) - 1) / 2
    columns = (np.log(np.exp(2) + np.e) - 2 + np.log(1 + np.e) - 1) / 2
    np.testing.assert_allclose(infonce_loss(logits, jnp.eye(2)), (rows + columns) / 2, rtol=1e-6)


def test_infonce_loss_shares_a_row_among_its_true_captions():
    # All captions true of all images: targets are uniform, so uniform logits give log 2 both ways.
    np.testing.assert_allclose(infonce_loss(jnp.zeros((2, 2)), jnp.ones((2, 2))), np.log(2.0), rtol=1e-6)


def test_monotone_violation_is_a_share_of_the_range():
    distance = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    assert monotone_violation(np.array([0.0, 1.0, 2.0, 1.0, 0.0]), distance) == 0.0
    assert monotone_violation(np.array([0.0, 1.0, 2.0, 0.0, 0.5]), distance) == pytest.approx(0.25)


def test_expand_multiplies_choices_and_drops_repeats():
    assert expand("[a|the|] pole [up|]", "a pole") == (
        "a pole up",
        "a pole",
        "the pole up",
        "the pole",
        "pole up",
        "pole",
    )
