"""Losses between images and captions whose truth is known for every pair."""

import chex
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


def class_weights(
    positive_share: Float[Array, " captions"], most_weight: float = 10.0
) -> tuple[Float[Array, " captions"], Float[Array, " captions"]]:
    """Weights of the true and of the false part of each caption's column in `sigmoid_loss`."""
    return (
        jnp.minimum(0.5 / positive_share, most_weight),
        jnp.minimum(0.5 / (1.0 - positive_share), most_weight),
    )


def sigmoid_loss(
    logits: Float[Array, "images captions"],
    truth: Float[Array, "images captions"],
    positive_share: Float[Array, " captions"],
    most_weight: float = 10.0,
) -> Float[Array, ""]:
    """Binary cross-entropy of every pair against its graded truth, each caption's column class-balanced.

    `positive_share[j]` is how often caption j is true on average: its true and false parts are weighted `1
    / (2 p)` and `1 / (2 (1 - p))`, at most `most_weight`, which shifts the fitted log-odds by a constant
    per caption. The pairwise sigmoid is that of SigLIP (Zhai et al. 2023, arXiv 2303.15343), with a matrix
    in place of the identity.
    """
    chex.assert_rank([logits, truth, positive_share], [2, 2, 1])
    chex.assert_equal_shape([logits, truth])
    weight_true, weight_false = class_weights(positive_share, most_weight)
    return -jnp.mean(
        weight_true * truth * jax.nn.log_sigmoid(logits)
        + weight_false * (1.0 - truth) * jax.nn.log_sigmoid(-logits)
    )


def log_odds_loss(
    logits: Float[Array, "images captions"],
    log_odds: Float[Array, "images captions"],
    positive_share: Float[Array, " captions"],
    most_weight: float = 10.0,
) -> Float[Array, ""]:
    """Huber loss (at 1) between logits and the log-odds that `sigmoid_loss` would fit with unlimited data.

    Cross-entropy hardly tells log-odds of -3 from -6, where both are all but certain, and a policy that starts
    there has no slope to follow. This tells them apart as well as 0 from 3. Arguments as in `sigmoid_loss`, with
    log-odds in place of truth; the target is shifted by what the balance of classes shifts.
    """
    chex.assert_rank([logits, log_odds, positive_share], [2, 2, 1])
    chex.assert_equal_shape([logits, log_odds])
    weight_true, weight_false = class_weights(positive_share, most_weight)
    return jnp.mean(optax.huber_loss(logits, log_odds + jnp.log(weight_true / weight_false)))


def infonce_loss(
    logits: Float[Array, "images captions"], truth: Float[Array, "images captions"]
) -> Float[Array, ""]:
    """Softmax cross-entropy both ways, the targets being a row's (a column's) truth made to sum to one.

    With the identity for `truth` it is the loss of CLIP (Radford et al. 2021, arXiv 2103.00020).
    """
    chex.assert_rank([logits, truth], 2)
    chex.assert_equal_shape([logits, truth])

    def one_way(axis: int) -> Float[Array, ""]:
        target = truth / jnp.sum(truth, axis=axis, keepdims=True)
        return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(logits, axis=axis), axis=axis))

    return 0.5 * (one_way(0) + one_way(1))
