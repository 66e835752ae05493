"""Alignment of instructions and policies: two projection heads into a shared space, contrastive losses, a ridge map.

CLIP-RL (arXiv 2512.01616) aligns embeddings of instructions with flattened parameters by a symmetric InfoNCE over known
pairs. The variants here are supervised by what policies do: soft targets say how alike two policies behave, and the
ridge map predicts a policy's features from its instruction.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.errors import ConfigError

LOWEST = 0.01  # of a learned temperature: CLIP keeps its logits below 100 times the similarity
Head = Literal["identity", "linear", "mlp"]
HEADS: tuple[str, ...] = ("identity", "linear", "mlp")
Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class Ridge:
    """An affine map by ridge regression: y = mean_y + (x - mean_x) weights."""

    mean_x: Leaf  # f32[d]
    mean_y: Leaf  # f32[f]
    weights: Leaf  # f32[d, f]


@struct.dataclass
class Aligned:
    """Both heads and the temperature they were trained with."""

    instruction_head: Any  # layers, see `init_head`
    policy_head: Any
    log_temperature: Leaf  # f32[]


@dataclass(frozen=True)
class AlignConfig:
    """What shapes the alignment's program, and its numbers."""

    head: Head = "mlp"  # of each side: an MLP or a linear map
    hidden: int = 64  # width of the MLP's one hidden layer
    dimensions: int = 32  # of the shared space
    steps: int = 300  # gradient steps, every pair in each
    learning_rate: float = 3e-3  # of AdamW
    weight_decay: float = 1e-4  # of AdamW
    temperature: float = 0.1  # of the similarities, or where it starts if learned
    learn_temperature: bool = False  # or keep it

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ConfigError(f"unknown head {self.head!r}; choose one of {', '.join(HEADS)}")
        for name in ("hidden", "dimensions", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least 1")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a number above 0")
        if self.learn_temperature and self.temperature < LOWEST:
            raise ConfigError(
                f"temperature is {self.temperature:g}; a learned one starts at {LOWEST} or above, where it is kept"
            )


def init_head(
    key: jax.Array, kind: Head, inputs: int, hidden: int, outputs: int
) -> list[dict[str, jax.Array]]:
    """Layers of a projection head, each a kernel and a bias: none for "identity", one for "linear", two for "mlp"."""
    sizes = {"identity": [], "linear": [inputs, outputs], "mlp": [inputs, hidden, outputs]}[kind]
    keys = jax.random.split(key, max(1, len(sizes)))
    return [
        {"kernel": jax.random.normal(keys[k], (a, b)) / np.sqrt(a), "bias": jnp.zeros(b)}
        for k, (a, b) in enumerate(pairwise(sizes))
    ]


def project(head: list[dict[str, jax.Array]], x: Float[Array, "*batch d"]) -> Float[Array, "*batch e"]:
    """Layers with ReLU between them, and the result scaled to unit length (0 stays 0)."""
    for k, layer in enumerate(head):
        x = jnp.matmul(x if k == 0 else jax.nn.relu(x), layer["kernel"], precision="highest") + layer["bias"]
    return unit(x)


def unit(x: Float[Array, "*batch d"]) -> Float[Array, "*batch d"]:
    """Vectors of length one in the same directions; 0 stays 0, with a gradient of 0."""
    squared = jnp.sum(x * x, axis=-1, keepdims=True)
    return x * jnp.where(squared > 0, jax.lax.rsqrt(jnp.where(squared > 0, squared, 1.0)), 0.0)


def info_nce(
    instructions: Float[Array, "n e"], policies: Float[Array, "n e"], temperature: float | Float[Array, ""]
) -> Float[Array, ""]:
    """Symmetric InfoNCE of n pairs: mean cross-entropy of finding each one's partner by similarity / temperature.

    With logits l_ij = <instruction_i, policy_j> / temperature: the mean of -log softmax over rows and over columns at
    the diagonal (Radford et al. 2021, arXiv 2103.00020), as CLIP-RL aligns. Vectors are used as they are.
    """
    chex.assert_rank([instructions, policies], 2)
    chex.assert_equal_shape([instructions, policies])
    return soft_info_nce(instructions, policies, temperature, jnp.eye(instructions.shape[0]))


def soft_info_nce(
    instructions: Float[Array, "n e"],
    policies: Float[Array, "n e"],
    temperature: float | Float[Array, ""],
    targets: Float[Array, "n n"],
) -> Float[Array, ""]:
    """`info_nce` with graded partners: targets[i, j], not negative, says how well policy j serves instruction i.

    Rows (columns) of the targets are scaled to sum to one and are what the softmax over a row (column) should be.
    """
    chex.assert_equal_shape([instructions, policies])
    chex.assert_shape(targets, (instructions.shape[0],) * 2)
    logits = jnp.matmul(instructions, policies.T, precision="highest") / temperature

    def one_way(axis: int) -> Array:
        wanted = targets / jnp.sum(targets, axis=axis, keepdims=True)
        return -jnp.mean(jnp.sum(wanted * jax.nn.log_softmax(logits, axis=axis), axis=axis))

    return 0.5 * (one_way(0) + one_way(1))


def soft_targets(
    similarity: Float[Array, "n n"], temperature: float | Float[Array, ""]
) -> Float[Array, "n n"]:
    """Targets of `soft_info_nce` from how alike policies are: softmax of a row's similarities / temperature."""
    return jax.nn.softmax(similarity / temperature, axis=-1)


def align(
    key: jax.Array,
    instructions: Float[Array, "n d"],
    policies: Float[Array, "n f"],
    config: AlignConfig,
    targets: Float[Array, "n n"] | None = None,
) -> tuple[Aligned, Float[Array, " steps"]]:
    """Trains both heads with AdamW on all pairs at once; pure, so it may be jitted and vmapped over keys and banks.

    Args:
      key: of the heads' first values.
      instructions: embeddings.
      policies: features, flattened parameters or behaviour, best `standardised` before.
      config: heads and numbers.
      targets: for the soft loss; None for `info_nce`.

    Returns:
      The heads, and the loss of each step.

    Raises:
      ConfigError: fewer than two pairs, or identity heads for embeddings of two sizes.
    """
    count = instructions.shape[0]
    if count < 2:
        raise ConfigError(f"{count} pair cannot be told from others; give at least two")
    if config.head == "identity" and instructions.shape[1] != policies.shape[1]:
        raise ConfigError(
            f"identity heads compare instructions of {instructions.shape[1]} numbers with policies of "
            f"{policies.shape[1]}; choose linear or mlp heads"
        )
    wanted = jnp.eye(count) if targets is None else targets
    keys = jax.random.split(key)
    heads = [
        init_head(k, config.head, side.shape[1], config.hidden, config.dimensions)
        for k, side in zip(keys, (instructions, policies), strict=True)
    ]
    state = Aligned(heads[0], heads[1], jnp.log(jnp.float32(config.temperature)))
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps)
    # Decay is for the heads' matrices: as CLIP's, temperature and biases have none. optax knows no struct for a pytree.
    matrices = jax.tree.map(lambda leaf: leaf.ndim > 1, state)
    optimiser: Any = optax.adamw(schedule, weight_decay=config.weight_decay, mask=matrices)

    def loss_of(state: Aligned) -> Array:
        log_temperature = state.log_temperature
        if not config.learn_temperature:
            log_temperature = jax.lax.stop_gradient(log_temperature)
        return soft_info_nce(
            project(state.instruction_head, instructions),
            project(state.policy_head, policies),
            jnp.exp(log_temperature),
            wanted,
        )

    def step(carry: tuple[Aligned, Any], _: None) -> tuple[tuple[Aligned, Any], Array]:
        state, moments = carry
        loss, gradient = jax.value_and_grad(loss_of)(state)
        updates, moments = optimiser.update(gradient, moments, state)
        moved: Any = jax.tree.map(jnp.add, state, updates)
        kept = state.log_temperature
        if config.learn_temperature:
            kept = jnp.maximum(moved.log_temperature, jnp.log(LOWEST))
        moved = moved.replace(log_temperature=kept)
        return (moved, moments), loss

    (state, _), losses = jax.lax.scan(step, (state, optimiser.init(state)), None, length=config.steps)
    return state, losses


def standardised(
    features: Float[Array, "n f"],
) -> tuple[Float[Array, "n f"], Float[Array, " f"], Float[Array, ""]]:
    """Features about their mean, divided by the root mean square of what is left; (scaled, mean, scale)."""
    mean = jnp.mean(features, axis=0)
    centred = features - mean
    scale = jnp.sqrt(jnp.mean(centred**2))
    scale = jnp.where(scale > 0, scale, 1.0)
    return centred / scale, mean, scale


def ridge(x: Float[Array, "n d"], y: Float[Array, "n f"], penalty: float | Float[Array, ""] = 0.1) -> Ridge:
    """Ridge regression from x to y about their means, penalty relative to the mean squared length of centred x.

    In the dual, (K + penalty mean(diag K) I)^-1 with K = X X^T, which costs n^3 for any d and f.
    """
    chex.assert_rank([x, y], 2)
    mean_x, mean_y = jnp.mean(x, axis=0), jnp.mean(y, axis=0)
    a, b = x - mean_x, y - mean_y
    gram = jnp.matmul(a, a.T, precision="highest")
    damped = gram + penalty * jnp.mean(jnp.diag(gram)) * jnp.eye(x.shape[0])
    weights = jnp.matmul(a.T, jnp.linalg.solve(damped, b), precision="highest")
    return Ridge(mean_x=mean_x, mean_y=mean_y, weights=weights)


def predict(fitted: Ridge, x: Float[Array, "*batch d"]) -> Float[Array, "*batch f"]:
    """What the ridge map says of x."""
    return fitted.mean_y + jnp.matmul(x - fitted.mean_x, fitted.weights, precision="highest")
