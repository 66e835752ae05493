"""The image tower in 8-bit numbers, by qwix (https://github.com/google/qwix): an option for large towers on a GPU."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxvlm.clip.config import CLIPConfig, ResNetConfig
from jaxvlm.clip.model import CLIP
from jaxvlm.clip.transformer import stack_layers, unstack_layers
from jaxvlm.errors import ConfigError

NUMBERS = {"int8": jnp.int8, "fp8": jnp.float8_e4m3fn}


def quantise(clip: CLIP, params: dict, kind: str) -> tuple[CLIP, dict]:
    """The same CLIP with the products of its image tower's blocks in 8-bit numbers: post-training, nothing is learned.

    A weight has a scale for each output, an activation one for each token, found as it comes (absolute maximum);
    products are accumulated in 32 bits. Patches, attention's own products, LayerNorms, the projection and the text
    tower stay as they are. How far embeddings move depends on the checkpoint, so compare a few frames of the task.

    Args:
        clip: the model.
        params: its variables, `{"params": ...}`, as `load` gives them or stacked (`stack_layers`).
        kind: `int8`, or `fp8` (E4M3; H100 or newer).

    Returns:
        The quantised model and its variables; only `apply` with uint8 or float frames, or token ids, is theirs.

    Raises ConfigError for another kind, for a residual network and where qwix is not installed.
    """
    qwix = check_quantisation(clip.config, kind)
    rule = qwix.QuantizationRule(
        module_path="visual/block.*",
        # Attention's products are einsums of two activations and stay out.
        op_names=("dot_general",),
        weight_qtype=NUMBERS[kind],
        act_qtype=NUMBERS[kind],
    )
    provider, methods = qwix.PtqProvider([rule]), ("__call__", "encode_image", "encode_text")
    # Scales are those of one layer's kernel, so layers are stacked afterwards.
    plain: Any = qwix.quantize_model(clip.clone(scan=False), provider, methods=methods)
    size = clip.config.image_size
    frames = jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8)
    ids = jax.ShapeDtypeStruct((1, clip.config.context), jnp.int32)
    shapes = jax.eval_shape(plain.init, jax.random.key(0), frames, ids)
    exact = unstack_layers(params) if clip.scan else params
    quantised = {"params": qwix.quantize_params(exact["params"], shapes["params"])}
    if not clip.scan:
        return plain, quantised
    scanned: Any = qwix.quantize_model(clip, provider, methods=methods)
    return scanned, stack_layers(quantised)


def check_quantisation(config: CLIPConfig, kind: str) -> Any:
    """qwix, where it can quantise the image tower of a model; raises ConfigError as `quantise` does."""
    if kind not in NUMBERS:
        raise ConfigError(f"quantisation {kind!r} is unknown; choose one of {', '.join(NUMBERS)}")
    if isinstance(config.vision, ResNetConfig):
        raise ConfigError(
            f"quantisation {kind!r} is for ViTs and this image tower is a residual network; leave it out"
        )
    try:
        import qwix
    except (ImportError, AttributeError) as error:
        # It reaches into jax's insides, and some pairs of versions do not fit (0.1.8 and jax 0.11.2).
        raise ConfigError(
            f"quantisation {kind!r} needs qwix ({error}); install it with pip install 'jaxvlm[quantise]', or a version "
            f"that goes with jax {jax.__version__}"
        ) from None
    return qwix
