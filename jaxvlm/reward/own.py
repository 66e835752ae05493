"""A reward of one's own: a function of what is known of a row, traced into the training program."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxvlm.errors import ConfigError

# (CLIP reward f32[] or None, environment's reward f32[], what else is known) -> f32[], the reward that is learned from
Label = Callable[[Any, Any, "Seen"], Any]


@struct.dataclass
class Seen:
    """What a label is told of a row besides the two rewards; leaves without batch axes where it is called."""

    scene: Any  # of the state that the action led to: what its picture is drawn from
    observation: Any  # of the state before the action
    action: Any  # in the environment's units
    embedding: Any  # f32[view, e], of the picture of `scene`, of unit length; None without a CLIP
    phase: Any  # i32[], in a task of several phases, else None


def own_reward(
    label: Label,
    clip: Float[Array, "*batch"] | None,
    truth: Float[Array, "*batch"],
    seen: Seen,
    valid: Bool[Array, "*batch"],
) -> Float[Array, "*batch"]:
    """The rewards that a label gives to rows of any batch shape, each row by itself; 0 where `valid` is False.

    Raises:
      ConfigError: see `check_label`.
    """
    called = lambda clip, truth, seen: label(clip, truth, seen)  # noqa: E731  # vmap counts defaults as arguments
    for _ in truth.shape:
        called = jax.vmap(called)
    with jax.named_scope("own"), jax.default_matmul_precision("highest"):
        rewards = called(clip, truth, seen)
    # Nothing is learned from rows that do not count, but not a number would pass a mask.
    return jnp.where(valid, jnp.asarray(rewards, jnp.float32), 0.0)


def check_label(label: Label, clip: Any, truth: Any, seen: Seen) -> None:
    """Traces a label once, for one row.

    Args:
      label: the function.
      clip: f32[], its shape and dtype suffice; None without a CLIP.
      truth: f32[], likewise.
      seen: likewise, without batch axes.

    Raises:
      ConfigError: it fails, or returns something else than a float32 scalar.
    """
    name = getattr(label, "__qualname__", type(label).__name__)
    wanted = "it has to map (clip, truth, seen) to a float32 scalar, in JAX"
    try:
        found = jax.eval_shape(lambda *row: label(*row), clip, truth, seen)
    except Exception as error:  # whatever somebody else's code raises
        first = str(error).strip().partition("\n")[0]
        raise ConfigError(f"the label {name} raises {type(error).__name__}: {first}; {wanted}") from error
    leaves = jax.tree.leaves(found)
    if len(leaves) != 1 or found is not leaves[0]:
        raise ConfigError(f"the label {name} returns a {type(found).__name__}; {wanted}")
    if found.shape != () or found.dtype != jnp.float32:
        shape = list(found.shape)
        raise ConfigError(
            f"the label {name} returns {found.dtype}{shape}; {wanted}, and is called for each row by itself"
        )
