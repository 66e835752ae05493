"""Multi-layer perceptrons of the policies and value functions, with PyTorch's default initialisation."""

from collections.abc import Callable
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Activation = Literal["relu", "tanh", "elu"]
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"relu": nn.relu, "tanh": jnp.tanh, "elu": nn.elu}

LOG_STD_MIN, LOG_STD_MAX = -20.0, 2.0


class Linear(nn.Module):
    """Affine map whose kernel and bias start uniform in +-1/sqrt(fan in), as `torch.nn.Linear` does.

    flax's default (LeCun normal, zero bias) starts with a larger output; published hyperparameters of SAC
    and DQN were tuned with PyTorch's. Products are full float32: TF32 saves nothing at these widths.

    Several inputs count as one, joined along the last axis. Each is multiplied by its own rows of the kernel, so
    a gradient with respect to one of them does not pass through the rows of the others.
    """

    features: int

    @nn.compact
    def __call__(self, *inputs: Float[Array, "*batch _"]) -> Float[Array, "*batch features"]:
        sizes = [x.shape[-1] for x in inputs]
        bound = 1.0 / np.sqrt(sum(sizes))

        def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return jax.random.uniform(key, shape, jnp.float32, -bound, bound)

        kernel = self.param("kernel", uniform, (sum(sizes), self.features))
        bias = self.param("bias", uniform, (self.features,))
        rows = jnp.split(kernel, np.cumsum(sizes)[:-1])
        products = [
            jnp.matmul(x, part, precision=jax.lax.Precision.HIGHEST)
            for x, part in zip(inputs, rows, strict=True)
        ]
        return sum(products[1:], products[0]) + bias


class MLP(nn.Module):
    """Hidden layers of `hidden_sizes`, each followed by the activation, then an affine layer of `outputs`.

    With `layer_norm` each hidden layer is normalised before its activation (Ba et al. 2016, arXiv 1607.06450).
    Several inputs count as one, joined along the last axis; see `Linear`.
    """

    hidden_sizes: tuple[int, ...]
    outputs: int
    activation: Activation = "relu"
    layer_norm: bool = False

    @nn.compact
    def __call__(self, *inputs: Float[Array, "*batch _"]) -> Float[Array, "*batch outputs"]:
        for size in self.hidden_sizes:
            x = Linear(size)(*inputs)
            if self.layer_norm:
                x = nn.LayerNorm(epsilon=1e-5)(x)
            inputs = (ACTIVATIONS[self.activation](x),)
        return Linear(self.outputs)(*inputs)


class GaussianActor(nn.Module):
    """Mean and clamped log standard deviation of a diagonal Gaussian over pre-tanh actions.

    The two heads share the hidden layers; log_std is clamped to [-20, 2] (Haarnoja et al. 2018, appendix).
    """

    hidden_sizes: tuple[int, ...]
    action_size: int
    activation: Activation = "relu"

    @nn.compact
    def __call__(
        self, x: Float[Array, " *batch inputs"]
    ) -> tuple[Float[Array, " *batch action"], Float[Array, " *batch action"]]:
        for size in self.hidden_sizes:
            x = ACTIVATIONS[self.activation](Linear(size)(x))
        mean = Linear(self.action_size, name="mean")(x)
        log_std = Linear(self.action_size, name="log_std")(x)
        return mean, jnp.clip(log_std, LOG_STD_MIN, LOG_STD_MAX)


def flatten_observation(observation: jax.Array, rank: int) -> jax.Array:
    """Joins the last `rank` axes into one and casts to float32: [..., *observation] -> f32[..., O]."""
    batch_shape = observation.shape[: observation.ndim - rank]
    return observation.reshape((*batch_shape, -1)).astype(jnp.float32)


def tanh_log_det(pre_tanh: Float[Array, " *shape"]) -> Float[Array, " *shape"]:
    """log(1 - tanh(x)^2) without cancellation: 2 (log 2 - x - softplus(-2 x))."""
    return 2.0 * (jnp.log(2.0) - pre_tanh - jax.nn.softplus(-2.0 * pre_tanh))


def tanh_gaussian_log_prob(
    pre_tanh: Float[Array, " *batch action"],
    mean: Float[Array, " *batch action"],
    log_std: Float[Array, " *batch action"],
) -> Float[Array, " *batch"]:
    """Log-density of tanh(x), x ~ N(mean, exp(log_std)^2), at tanh(`pre_tanh`), summed over the action axis.

    Source: Haarnoja et al. 2018 (arXiv 1801.01290), equation 21. The density is that of actions in (-1, 1).
    """
    normal = -0.5 * jnp.square((pre_tanh - mean) * jnp.exp(-log_std)) - log_std - 0.5 * jnp.log(2.0 * jnp.pi)
    return jnp.sum(normal - tanh_log_det(pre_tanh), axis=-1)
