"""Small pure pieces that the algorithms share: masked means, Adam, target updates, checks."""

from typing import Any

import chex
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float

from jaxvlm.errors import ConfigError
from jaxvlm.rl.buffer import Batch
from jaxvlm.rl.networks import ACTIVATIONS, flatten_observation
from jaxvlm.rl.types import ArrayLike, Params
from jaxvlm.spaces import Box, Discrete, Space

_ADAM = optax.scale_by_adam(eps=1e-8)


def masked_mean(values: Float[Array, " *shape"], mask: Bool[Array, " *shape"]) -> Float[Array, ""]:
    """Mean of `values` where `mask` holds; 0 when it holds nowhere."""
    chex.assert_equal_shape([values, mask])
    # `where` rather than a product: a row outside the mask may hold anything, infinities included.
    total = jnp.sum(jnp.where(mask, values, 0.0))
    return total / jnp.maximum(jnp.sum(mask), 1)


def as_hyper(hyper: Any) -> Any:
    """Turns every number of a pytree into an f32 array, so that changing one never retraces."""
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper)


def adam_init(params: Params) -> optax.OptState:
    """Adam's moments for `params`, all zero."""
    return _ADAM.init(params)


def adam_step(
    gradients: Params, optimizer_state: optax.OptState, params: Params, learning_rate: ArrayLike
) -> tuple[Params, optax.OptState]:
    """One step of Adam (Kingma and Ba 2015, algorithm 1; betas 0.9 and 0.999, epsilon 1e-8).

    Args:
      gradients: pytree like `params`.
      optimizer_state: moments made by `adam_init`.
      params: pytree of float arrays.
      learning_rate: f32[]; an argument, so that it may be vmapped and changed without compiling again.

    Returns:
      The new params and moments.
    """
    direction, optimizer_state = _ADAM.update(gradients, optimizer_state, params)
    return jax.tree.map(lambda p, d: p - learning_rate * d, params, direction), optimizer_state


def clip_by_global_norm(gradients: Params, max_norm: ArrayLike) -> tuple[Params, Float[Array, ""]]:
    """Scales `gradients` to a joint Euclidean norm of at most `max_norm`; returns the norm before, too."""
    norm = optax.tree.norm(gradients)
    scale = jnp.minimum(1.0, max_norm / jnp.maximum(norm, 1e-12))
    return jax.tree.map(lambda g: g * scale, gradients), norm


def polyak(target: Params, online: Params, tau: ArrayLike) -> Params:
    """Moves `target` a fraction `tau` of the way to `online`: (1 - tau) target + tau online."""
    # Written as a weighted sum so that tau = 1 copies and tau = 0 keeps every bit.
    return jax.tree.map(lambda t, o: (1.0 - tau) * t + tau * o, target, online)


def select(condition: Bool[Array, ""], on_true: Params, on_false: Params) -> Params:
    """`on_true` where the scalar `condition` holds, `on_false` elsewhere, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), on_true, on_false)


def validate_observation_space(space: Space) -> Box:
    """Returns `space` if networks can read it, a Box with at least one axis; raises ConfigError."""
    if not isinstance(space, Box) or not space.shape:
        raise ConfigError(f"observation space {space} is not a Box with a shape; give vector observations")
    return space


def flat_observation(observation: ArrayLike, space: Box, params: Params) -> jax.Array:
    """What a network with `params` reads: `[..., *space.shape]` -> f32[..., O].

    Raises ConfigError for observations that are not of the space, and for parameters of several agents at once.
    """
    shape, rank = np.shape(observation), len(space.shape)
    if shape[max(0, len(shape) - rank) :] != space.shape:
        raise ConfigError(
            f"the observation has shape {shape}, but this agent was made for {space.shape}, with batch axes in front "
            "where there are any"
        )
    # A network of one agent has vectors, its biases; beside others they are matrices.
    if min((np.ndim(leaf) for leaf in jax.tree.leaves(params)), default=1) > 1:
        count = np.shape(jax.tree.leaves(params)[0])[0]
        raise ConfigError(
            f"{count} agents are given at once: take one, as in jax.tree.map(lambda leaf: leaf[0], agents), or vmap "
            "over them"
        )
    return flatten_observation(jnp.asarray(observation), rank)


def validate_discrete(space: Space, algorithm: str) -> Discrete:
    """Returns `space` if it is Discrete; raises ConfigError naming the algorithm to use for a Box."""
    if not isinstance(space, Discrete):
        raise ConfigError(
            f"{algorithm} needs a Discrete action space, got {space}; use SAC for continuous actions"
        )
    return space


def validate_bounded_box(space: Space, algorithm: str) -> Box:
    """Returns `space` if it is a Box of rank 1 with finite bounds; raises ConfigError otherwise."""
    if not isinstance(space, Box):
        raise ConfigError(f"{algorithm} needs a Box action space, got {space}; use DQN for discrete actions")
    if len(space.shape) != 1:
        raise ConfigError(f"{algorithm} needs actions of rank 1, got shape {space.shape}; flatten them")
    low, high = space.low_array(), space.high_array()
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise ConfigError(
            f"{algorithm} needs finite action bounds with low < high, got {space.low} and {space.high}"
        )
    return space


def validate_hidden_sizes(name: str, sizes: tuple[int, ...]) -> None:
    """Raises ConfigError unless `sizes` is a tuple of positive integers."""
    if not isinstance(sizes, tuple) or any(not isinstance(size, int) or size < 1 for size in sizes):
        raise ConfigError(f"{name} is {sizes!r}; give a tuple of positive layer widths such as (256, 256)")


def validate_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises ConfigError unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def validate_range(
    name: str, value: ArrayLike, low: float, high: float = np.inf, open_low: bool = False
) -> None:
    """Raises ConfigError unless low <= value <= high (low < value with `open_low`).

    Traced values pass: they are not known before the program runs.
    """
    if isinstance(value, jax.core.Tracer):
        return
    array = np.asarray(value)
    above = array > low if open_low else array >= low
    if not (np.isfinite(array) & above & (array <= high)).all():
        bracket = "(" if open_low else "["
        raise ConfigError(
            f"{name} is {array.tolist()}; it has to be finite and in {bracket}{low:g}, {high:g}]"
        )


def validate_activation(name: str) -> None:
    """Raises ConfigError unless networks know the activation `name`."""
    validate_choice("activation", name, tuple(ACTIVATIONS))


def validate_batch(batch: Batch, observation_space: Box, action_space: Space) -> None:
    """Raises ConfigError unless the shapes of `batch` [B, ...] fit the spaces an algorithm was made for."""
    size = batch.reward.shape[0] if batch.reward.ndim == 1 else -1
    wanted = {
        "reward": (batch.reward, (size,)),
        "observation": (batch.observation, (size, *observation_space.shape)),
        "next_observation": (batch.next_observation, (size, *observation_space.shape)),
        "action": (batch.action, (size, *action_space.shape)),
        "terminated": (batch.terminated, (size,)),
        "truncated": (batch.truncated, (size,)),
        "valid": (batch.valid, (size,)),
    }
    for name, (array, shape) in wanted.items():
        if array.shape != shape:
            raise ConfigError(
                f"batch {name} has shape {array.shape}, not {shape}; vmap `update` over further axes"
            )
