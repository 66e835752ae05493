"""Returns of episodes as pure functions over the reward, done and valid of a rollout."""

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxvlm.rl.types import ArrayLike


def running_returns(
    reward: Float[Array, " time *env"],
    done: Bool[Array, " time *env"],
    valid: Bool[Array, " time *env"],
    carried: Float[Array, " *env"],
) -> tuple[Float[Array, " time *env"], Float[Array, " *env"]]:
    """Undiscounted return of each episode up to and including a row; complete in rows where `done`.

    Args:
      reward: f32[T, ...].
      done: whether a row ended its episode.
      valid: False in reset rows, whose reward does not count.
      carried: what the episodes under way had collected before the first row; zeros at first.

    Returns:
      The returns [T, ...], and what to carry into the next rollout.
    """
    chex.assert_equal_shape([reward, done, valid])

    def row(total: jax.Array, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reward_t, done_t, valid_t = inputs
        total = total + jnp.where(valid_t, reward_t, 0.0)
        return jnp.where(done_t, 0.0, total), total

    carried, totals = jax.lax.scan(row, carried, (reward, done, valid))
    return totals, carried


def discounted_returns(
    reward: Float[Array, " time *env"],
    done: Bool[Array, " time *env"],
    valid: Bool[Array, " time *env"],
    discount: ArrayLike,
    next_value: Float[Array, " *env"] | None = None,
) -> Float[Array, " time *env"]:
    """Discounted return from each row to the end of its episode: G_t = r_t + discount (1 - done_t) G_{t+1}.

    Args:
      reward: f32[T, ...].
      done: whether a row ended its episode.
      valid: False in reset rows; their return is 0.
      discount: f32[].
      next_value: value of the state after the last row, for episodes under way there; 0 if None.

    Returns:
      f32[T, ...].
    """
    chex.assert_equal_shape([reward, done, valid])
    next_value = jnp.zeros(reward.shape[1:], reward.dtype) if next_value is None else next_value

    def row(later: jax.Array, inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reward_t, done_t, valid_t = inputs
        total = jnp.where(valid_t, reward_t + discount * jnp.where(done_t, 0.0, later), 0.0)
        return total, total

    _, totals = jax.lax.scan(row, next_value, (reward, done, valid), reverse=True)
    return totals


def first_episode(done: Bool[Array, " time *env"]) -> Bool[Array, " time *env"]:
    """Marks the rows up to and including the first `done` of each environment: its first episode."""
    ended_before = jnp.cumsum(done, axis=0) - done
    return ended_before == 0


def finished_mean(values: Float[Array, " time *env"], done: Bool[Array, " time *env"]) -> Float[Array, ""]:
    """Mean of `values` over rows that ended an episode; NaN when none did."""
    count = jnp.sum(done)
    mean = jnp.sum(jnp.where(done, values, 0.0)) / jnp.maximum(count, 1)
    return jnp.where(count > 0, mean, jnp.nan)
