"""Where each parameter lies in the files: the Hugging Face layout of a CLIPModel or SiglipModel."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxvlm.clip.config import CLIPConfig, SiglipVisionConfig

Path = tuple[str, ...]


@dataclass(frozen=True)
class Entry:
    """One parameter of ours and the tensors of the file that it is made of.

    `read` turns the file's tensors into the parameter, `write` is its inverse.
    """

    path: Path
    names: tuple[str, ...]
    read: Callable[..., np.ndarray]
    write: Callable[[np.ndarray], tuple[np.ndarray, ...]]


def huggingface_entries(config: CLIPConfig) -> Iterator[Entry]:
    """Every parameter of the model in the layout of transformers' `CLIPModel` or `SiglipModel`."""
    if isinstance(config.vision, SiglipVisionConfig):
        yield from _siglip(config, config.vision)
        return
    yield same(("logit_scale",), "logit_scale")
    embeddings = "vision_model.embeddings."
    yield same(("visual", "cls"), embeddings + "class_embedding")
    yield same(("visual", "pos"), embeddings + "position_embedding.weight")
    yield patches(config.vit.patch_size, embeddings + "patch_embedding.weight")
    yield from norm(("visual", "ln_pre"), "vision_model.pre_layrnorm.")  # the layout's own spelling
    yield from _blocks("visual", "vision_model.", config.vit.num_hidden_layers)
    yield from norm(("visual", "ln_post"), "vision_model.post_layernorm.")
    yield transposed(("visual", "proj", "kernel"), "visual_projection.weight")

    yield same(("text", "token"), "text_model.embeddings.token_embedding.weight")
    yield same(("text", "pos"), "text_model.embeddings.position_embedding.weight")
    yield from _blocks("text", "text_model.", config.text.num_hidden_layers)
    yield from norm(("text", "ln_final"), "text_model.final_layer_norm.")
    yield transposed(("text", "proj", "kernel"), "text_projection.weight")


def _siglip(config: CLIPConfig, vision: SiglipVisionConfig) -> Iterator[Entry]:
    yield reshaped(("logit_scale",), "logit_scale", 1)
    if config.logit_bias_init_value is not None:
        yield reshaped(("logit_bias",), "logit_bias", 1)
    embeddings = "vision_model.embeddings."
    yield same(("visual", "pos"), embeddings + "position_embedding.weight")
    yield patches(vision.patch_size, embeddings + "patch_embedding.weight")
    yield same(("visual", "patch", "bias"), embeddings + "patch_embedding.bias")
    yield from _blocks("visual", "vision_model.", vision.num_hidden_layers)
    yield from norm(("visual", "ln_post"), "vision_model.post_layernorm.")
    pool, head = ("visual", "pool"), "vision_model.head."
    yield reshaped((*pool, "probe"), head + "probe", 1, 1, -1)
    yield transposed((*pool, "qkv", "kernel"), head + "attention.in_proj_weight")
    yield same((*pool, "qkv", "bias"), head + "attention.in_proj_bias")
    yield from dense((*pool, "out"), head + "attention.out_proj.")
    yield from norm((*pool, "ln"), head + "layernorm.")
    yield from dense((*pool, "fc1"), head + "mlp.fc1.")
    yield from dense((*pool, "fc2"), head + "mlp.fc2.")

    yield same(("text", "token"), "text_model.embeddings.token_embedding.weight")
    yield same(("text", "pos"), "text_model.embeddings.position_embedding.weight")
    yield from _blocks("text", "text_model.", config.text.num_hidden_layers)
    yield from norm(("text", "ln_final"), "text_model.final_layer_norm.")
    yield from dense(("text", "proj"), "text_model.head.")


def leaf(params: Any, path: Path) -> Any:
    """The leaf of a nested dict at `path`."""
    for name in path:
        params = params[name]
    return params


def nest(leaves: Mapping[Path, object]) -> dict:
    """A nested dict from leaves by path."""
    result: dict = {}
    for path, value in leaves.items():
        node = result
        for name in path[:-1]:
            node = node.setdefault(name, {})
        node[path[-1]] = value
    return result


def same(path: Path, name: str) -> Entry:
    """A parameter that lies in the file as it is."""
    return Entry(path, (name,), lambda w: w, lambda w: (w,))


def transposed(path: Path, name: str) -> Entry:
    """A matrix that the file holds as [out, in]."""
    return Entry(path, (name,), lambda w: w.T, lambda k: (k.T,))


def reshaped(path: Path, name: str, *shape: int) -> Entry:
    """A parameter that the file holds in another shape, with axes of one element that ours does not have."""
    ours = tuple(size for size in shape if size != 1)
    return Entry(path, (name,), lambda w: w.reshape(ours), lambda v: (v.reshape(shape),))


def patches(size: int, name: str) -> Entry:
    """The kernel of the patch embedding, which the file holds as that of a convolution."""
    return Entry(
        ("visual", "patch", "kernel"),
        (name,),
        lambda w: w.transpose(2, 3, 1, 0).reshape(-1, w.shape[0]),  # [D, 3, P, P] to [P P 3, D]
        lambda k: (k.reshape(size, size, 3, -1).transpose(3, 2, 0, 1),),
    )


def norm(path: Path, prefix: str) -> Iterator[Entry]:
    """Scale and bias of a LayerNorm."""
    yield same((*path, "scale"), prefix + "weight")
    yield same((*path, "bias"), prefix + "bias")


def dense(path: Path, prefix: str) -> Iterator[Entry]:
    """Kernel and bias of a dense layer."""
    yield transposed((*path, "kernel"), prefix + "weight")
    yield same((*path, "bias"), prefix + "bias")


def _blocks(tower: str, prefix: str, layers: int) -> Iterator[Entry]:
    for i in range(layers):
        path, layer = (tower, f"block_{i}"), f"{prefix}encoder.layers.{i}."
        weights = tuple(f"{layer}self_attn.{x}_proj.weight" for x in "qkv")
        biases = tuple(f"{layer}self_attn.{x}_proj.bias" for x in "qkv")
        yield Entry(
            (*path, "qkv", "kernel"),
            weights,
            lambda *w: np.concatenate(w, axis=0).T,
            lambda k: tuple(np.split(k.T, 3, axis=0)),
        )
        yield Entry(
            (*path, "qkv", "bias"), biases, lambda *b: np.concatenate(b), lambda b: tuple(np.split(b, 3))
        )
        yield from dense((*path, "out"), layer + "self_attn.out_proj.")
        yield from dense((*path, "fc1"), layer + "mlp.fc1.")
        yield from dense((*path, "fc2"), layer + "mlp.fc2.")
        yield from norm((*path, "ln1"), layer + "layer_norm1.")
        yield from norm((*path, "ln2"), layer + "layer_norm2.")
