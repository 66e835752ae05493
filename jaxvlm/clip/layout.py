"""Where each parameter lies in the files: the Hugging Face layout of a CLIPModel."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxvlm.clip.config import CLIPConfig

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
    """Every parameter of the model in the layout of transformers' `CLIPModel`."""
    yield _same(("logit_scale",), "logit_scale")
    size = config.vision.patch_size
    embeddings = "vision_model.embeddings."
    yield _same(("visual", "cls"), embeddings + "class_embedding")
    yield _same(("visual", "pos"), embeddings + "position_embedding.weight")
    yield Entry(
        ("visual", "patch", "kernel"),
        (embeddings + "patch_embedding.weight",),
        lambda w: w.transpose(2, 3, 1, 0).reshape(-1, w.shape[0]),  # [D, 3, P, P] to [P P 3, D]
        lambda k: (k.reshape(size, size, 3, -1).transpose(3, 2, 0, 1),),
    )
    yield from _norm(("visual", "ln_pre"), "vision_model.pre_layrnorm.")  # the layout's own spelling
    yield from _blocks("visual", "vision_model.", config.vision.num_hidden_layers)
    yield from _norm(("visual", "ln_post"), "vision_model.post_layernorm.")
    yield _transposed(("visual", "proj", "kernel"), "visual_projection.weight")

    yield _same(("text", "token"), "text_model.embeddings.token_embedding.weight")
    yield _same(("text", "pos"), "text_model.embeddings.position_embedding.weight")
    yield from _blocks("text", "text_model.", config.text.num_hidden_layers)
    yield from _norm(("text", "ln_final"), "text_model.final_layer_norm.")
    yield _transposed(("text", "proj", "kernel"), "text_projection.weight")


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


def _same(path: Path, name: str) -> Entry:
    return Entry(path, (name,), lambda w: w, lambda w: (w,))


def _transposed(path: Path, name: str) -> Entry:
    return Entry(path, (name,), lambda w: w.T, lambda k: (k.T,))


def _norm(path: Path, prefix: str) -> Iterator[Entry]:
    yield _same((*path, "scale"), prefix + "weight")
    yield _same((*path, "bias"), prefix + "bias")


def _dense(path: Path, prefix: str) -> Iterator[Entry]:
    yield _transposed((*path, "kernel"), prefix + "weight")
    yield _same((*path, "bias"), prefix + "bias")


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
        yield from _dense((*path, "out"), layer + "self_attn.out_proj.")
        yield from _dense((*path, "fc1"), layer + "mlp.fc1.")
        yield from _dense((*path, "fc2"), layer + "mlp.fc2.")
        yield from _norm((*path, "ln1"), layer + "layer_norm1.")
        yield from _norm((*path, "ln2"), layer + "layer_norm2.")
