"""EPIC distance: how far two rewards are from asking for the same policies, without training any.

Gleave et al. 2021, "Quantifying differences in reward functions" (https://arxiv.org/abs/2006.13478). A reward is first
shaped into a canonical form, which no potential shaping changes; the distance is that of the Pearson correlation of two
canonical rewards over a coverage distribution, which neither shift nor positive scale changes. It is 0 for rewards that
rank all policies alike, 0.707 for unrelated ones and 1 for opposite ones.
"""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

States = Any  # pytree of arrays that lead with the number of states
Actions = Any  # pytree of arrays that lead with the number of actions
RewardFunction = Callable[[Any, Any, Any], Any]  # (state, action, next state) -> f32[], all unbatched

ROUNDING = 1e-6  # share of a reward's size below which what its canonical form varies by is rounding


def pearson(a: ArrayLike, b: ArrayLike, weights: ArrayLike | None = None) -> Float[Array, ""]:
    """Pearson correlation of paired values.

    Args:
      a: f32[n].
      b: f32[n].
      weights: f32[n], none negative, the distribution of the pairs up to a factor; None counts all alike.

    Returns:
      f32[], in [-1, 1]; not a number where either side is constant.
    """
    a, b, share = _standardised(a, b, weights)
    return jnp.clip(jnp.sum(share * a * b), -1.0, 1.0)


def pearson_distance(a: ArrayLike, b: ArrayLike, weights: ArrayLike | None = None) -> Float[Array, ""]:
    """Pearson distance `sqrt((1 - correlation) / 2)` of paired values; definition 4.6 of Gleave et al.

    For two rewards of the next state alone this is their EPIC distance: the canonical form only shifts them (VLM-RM,
    appendix A, https://arxiv.org/abs/2310.12921).

    Args:
      a: f32[n].
      b: f32[n].
      weights: as for `pearson`.

    Returns:
      f32[], in [0, 1]; not a number where either side is constant.
    """
    return _distance(a, b, weights)


def _distance(
    a: ArrayLike, b: ArrayLike, weights: ArrayLike | None, least: tuple[ArrayLike, ArrayLike] = (0.0, 0.0)
) -> Array:
    """`pearson_distance`, where deviations of up to `least` are none."""
    a, b, share = _standardised(a, b, weights, least)
    # For standardised values 1 - correlation is half the mean square of the difference, which loses no digits near 0.
    return jnp.minimum(0.5 * jnp.sqrt(jnp.sum(share * (a - b) ** 2)), 1.0)


def distance_of(correlation: ArrayLike) -> Float[Array, "*batch"]:
    """`sqrt((1 - correlation) / 2)`, element by element."""
    return jnp.sqrt(jnp.maximum(0.0, 0.5 * (1.0 - jnp.asarray(correlation, jnp.float32))))


def canonical(
    reward: RewardFunction,
    transitions: tuple[States, Actions, States],
    coverage: tuple[States, Actions],
    discount: float | Float[Array, ""],
) -> Float[Array, " n"]:
    """Canonically shaped rewards of transitions, with expectations as means over samples.

    Definition 4.1 of Gleave et al., as their algorithm 1 estimates it:
    `C(R)(s, a, s') = R(s, a, s') + E[discount R(s', A, S') - R(s, A, S') - discount R(S, A, S')]`. With the m samples
    (x_j, u_j) of states and actions, and `V(s)` the mean of `R(s, u_j, x_j)` over j, this is
    `R(s, a, s') + discount V(s') - V(s) - discount mean_i V(x_i)`. Potential shaping cancels exactly, for any samples.
    (VLM-RM's definition 2 has the action of the transition in the second term, which cancels it as well.)

    Args:
      reward: the unbatched reward function.
      transitions: states, actions and next states, n of each.
      coverage: states and actions, m of each, drawn independently of each other.
      discount: f32[], in [0, 1].

    Returns:
      f32[n].
    """
    state, action, next_state = transitions
    samples, actions = coverage

    def value(state: Any) -> Array:
        return jnp.mean(jax.vmap(reward, in_axes=(None, 0, 0))(state, actions, samples))

    # A loop with a small batch: all n * m rewards at once need not fit into memory.
    def values(states: States) -> Array:
        return jax.lax.map(value, states, batch_size=64)

    direct = jnp.asarray(jax.vmap(reward)(state, action, next_state), jnp.float32)
    return direct + discount * values(next_state) - values(state) - discount * jnp.mean(values(samples))


def epic_distance(
    first: RewardFunction,
    second: RewardFunction,
    transitions: tuple[States, Actions, States],
    coverage: tuple[States, Actions],
    discount: float | Float[Array, ""],
    weights: ArrayLike | None = None,
) -> Float[Array, ""]:
    """EPIC distance of two reward functions over given transitions.

    Definition 4.7 of Gleave et al.: the Pearson distance of the canonically shaped rewards.

    Args:
      first: an unbatched reward function `(state, action, next state) -> f32[]`.
      second: another one.
      transitions: states, actions and next states, n of each: the coverage distribution.
      coverage: states and actions, m of each, that the canonical form takes its expectations over.
      discount: f32[], in [0, 1].
      weights: f32[n], of the transitions; None counts all alike.

    Returns:
      f32[], in [0, 1]; not a number where a canonical reward is constant, up to rounding.
    """
    return _distance(
        canonical(first, transitions, coverage, discount),
        canonical(second, transitions, coverage, discount),
        weights,
        (_rounding(jax.vmap(first)(*transitions)), _rounding(jax.vmap(second)(*transitions))),
    )


def canonical_table(
    reward: Float[Array, "s a s"],
    states: Float[Array, " s"],
    actions: Float[Array, " a"],
    discount: float | Float[Array, ""],
) -> Float[Array, "s a s"]:
    """Canonically shaped reward of a finite task, exactly: definition 4.1 of Gleave et al.

    Args:
      reward: f32[s, a, s], of state, action and next state.
      states: f32[s], probabilities of states in the expectations.
      actions: f32[a], probabilities of actions.
      discount: f32[], in [0, 1].

    Returns:
      f32[s, a, s].
    """
    chex.assert_rank([reward, states, actions], [3, 1, 1])
    chex.assert_shape(reward, (states.shape[0], actions.shape[0], states.shape[0]))
    value = jnp.einsum("san,a,n->s", reward, actions, states, precision="highest")
    return reward + discount * value - value[:, None, None] - discount * jnp.vdot(states, value)


def epic_distance_table(
    first: Float[Array, "s a s"],
    second: Float[Array, "s a s"],
    states: Float[Array, " s"],
    actions: Float[Array, " a"],
    discount: float | Float[Array, ""],
    transitions: Float[Array, "s a s"] | None = None,
) -> Float[Array, ""]:
    """EPIC distance of two rewards of a finite task, exactly; arguments as for `canonical_table`.

    `transitions`, f32[s, a, s], is the coverage distribution; None draws states, actions and next states independently.
    """
    if transitions is None:
        transitions = states[:, None, None] * actions[:, None] * states
    return _distance(
        canonical_table(first, states, actions, discount).reshape(-1),
        canonical_table(second, states, actions, discount).reshape(-1),
        transitions.reshape(-1),
        (_rounding(first), _rounding(second)),
    )


def goal_correlation(
    scores: Float[ArrayLike, " n"], goal: Bool[ArrayLike, " n"], weights: ArrayLike | None = None
) -> Float[Array, ""]:
    """Correlation of a reward of states with the indicator of goal states, from the means of the two classes.

    VLM-RM, lemma 1 (appendix A, https://arxiv.org/abs/2310.12921): with p the share of goal states,
    `sqrt(p (1 - p)) (mean over goal states - mean over others) / deviation`.

    Args:
      scores: f32[n], rewards.
      goal: bool[n], whether a state is a goal state.
      weights: as for `pearson`.

    Returns:
      f32[], in [-1, 1]; not a number without goal states, without others, or for equal scores.
    """
    scores, goal = jnp.asarray(scores, jnp.float32), jnp.asarray(goal)
    weights = jnp.ones(scores.shape) if weights is None else jnp.asarray(weights, jnp.float32)
    chex.assert_rank([scores, goal, weights], 1)
    chex.assert_equal_shape([scores, goal, weights])
    weights = weights / jnp.sum(weights)
    scores = _centred(scores, weights)
    # Each class's own sum: what is left of 1 loses all its digits where one of them is rare.
    share, rest = jnp.sum(weights * goal), jnp.sum(weights * ~goal)
    inside = jnp.sum(weights * goal * scores) / jnp.where(share > 0, share, 1.0)
    outside = jnp.sum(weights * ~goal * scores) / jnp.where(rest > 0, rest, 1.0)
    deviation = jnp.sqrt(jnp.sum(weights * scores * scores))
    defined = jnp.any(goal & (weights > 0)) & jnp.any(~goal & (weights > 0)) & (deviation > 0)
    correlation = jnp.sqrt(share * rest) * (inside - outside) / jnp.where(defined, deviation, 1.0)
    return jnp.where(defined, jnp.clip(correlation, -1.0, 1.0), jnp.nan)


def goal_distance(
    scores: Float[ArrayLike, " n"], goal: Bool[ArrayLike, " n"], weights: ArrayLike | None = None
) -> Float[Array, ""]:
    """EPIC distance of a reward of states to the indicator of goal states, by `goal_correlation`."""
    return distance_of(goal_correlation(scores, goal, weights))


def _rounding(rewards: ArrayLike) -> Array:
    """The deviation that rounding can leave of rewards which shaping takes away whole."""
    return ROUNDING * jnp.max(jnp.abs(jnp.asarray(rewards, jnp.float32)))


def _standardised(
    a: ArrayLike, b: ArrayLike, weights: ArrayLike | None, least: tuple[ArrayLike, ArrayLike] = (0.0, 0.0)
) -> tuple[Array, Array, Array]:
    """Both with mean 0 and deviation 1, or not numbers where one is constant, and the weights with sum 1.

    A deviation of up to the number of `least` is none.
    """
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    weights = jnp.ones(a.shape) if weights is None else jnp.asarray(weights, jnp.float32)
    chex.assert_rank([a, b, weights], 1)
    chex.assert_equal_shape([a, b, weights])
    share = weights / jnp.sum(weights)

    def standard(values: Array, least: ArrayLike) -> Array:
        values = _centred(values, share)
        deviation = jnp.sqrt(jnp.sum(share * values * values))
        varies = deviation > least
        return jnp.where(varies, values / jnp.where(varies, deviation, 1.0), jnp.nan)

    return standard(a, least[0]), standard(b, least[1]), share


def _centred(values: Array, share: Array) -> Array:
    # A value that all have is taken off first: rounding the mean of a constant would leave what looks like variance.
    # One that counts: without weight others may differ from it.
    values = values - values[jnp.argmax(share)]
    return values - jnp.sum(share * values)
