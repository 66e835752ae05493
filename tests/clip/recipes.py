"""Tiny random CLIPs that the tests of loading, golden values and parity share."""

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxvlm.clip import (
    CLIPConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    TextConfig,
    VisionConfig,
    param_shapes,
)
from jaxvlm.clip.config import HALF
from jaxvlm.clip.layout import Entry, huggingface_entries, leaf, nest
from jaxvlm.clip.openclip import CONFIG, SIGLIP_SIZES, WEIGHTS, config_from_openclip, openclip_entries

# Head size 40, another MLP ratio than 4, towers that differ: what code for one model gets wrong.
ODD = {
    "quick_gelu": CLIPConfig(
        vision=VisionConfig(80, 208, 2, 2, 48, 16, "quick_gelu"),
        text=TextConfig(37, 120, 300, 3, 3, 11, "quick_gelu", eos_token_id=2, pad_token_id=0, bos_token_id=1),
        projection_dim=24,
    ),
    "gelu": CLIPConfig(
        vision=VisionConfig(120, 300, 3, 3, 42, 14, "gelu"),
        text=TextConfig(37, 80, 208, 2, 2, 11, "gelu", eos_token_id=3, pad_token_id=0, bos_token_id=1),
        projection_dim=40,
    ),
    "mixed": CLIPConfig(
        vision=VisionConfig(80, 208, 2, 2, 32, 8, "gelu_pytorch_tanh", layer_norm_eps=1e-3),
        text=TextConfig(37, 80, 208, 2, 2, 11, "gelu", eos_token_id=3, pad_token_id=0, bos_token_id=1),
        projection_dim=16,
    ),
    # Head size 72 as So400m's, pixels that fill no patch.
    "siglip": CLIPConfig(
        vision=SiglipVisionConfig(144, 269, 2, 2, 46, 14),
        text=SiglipTextConfig(37, 72, 150, 2, 1, 9, layer_norm_eps=1e-3),
        projection_dim=144,
        logit_scale_init_value=0.0,
        logit_bias_init_value=0.0,
        image_mean=HALF,
        image_std=HALF,
    ),
}


# As `open_clip_config.json`; the text tower at the top, and under `text.` as in models of custom towers. An MLP ratio
# that is not whole, as bigG's, and other heads than 64.
_TEXT = {"context_length": 11, "vocab_size": 37, "width": 120, "heads": 3, "layers": 2}
_HALF = [0.5, 0.5, 0.5]
_SIGLIP_TEXT = {
    "context_length": 9, "vocab_size": 37, "width": 144, "heads": 2, "layers": 2, "mlp_ratio": 1.87,
    "no_causal_mask": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
    "tokenizer_kwargs": {"clean": "canonicalize"},
}  # fmt: skip
SIGLIP_SIZES["odd"] = (144, 2, 2, 1.87)  # timm has none as small
OPENCLIP: dict[str, dict[str, Any]] = {
    "gelu": {
        "model_cfg": {
            "embed_dim": 24,
            "vision_cfg": {
                "image_size": 42, "layers": 3, "width": 208, "head_width": 104, "mlp_ratio": 4.9231, "patch_size": 14
            },
            "text_cfg": _TEXT,
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    },
    "quick": {
        "model_cfg": {
            "embed_dim": 16,
            "quick_gelu": True,
            "custom_text": True,
            "vision_cfg": {"image_size": 32, "layers": 2, "width": 80, "head_width": 40, "patch_size": 16},
            "text_cfg": {**_TEXT, "norm_kwargs": {"eps": 1e-3}},
        },
    },
    "resnet": {
        "model_cfg": {
            "embed_dim": 24,
            "quick_gelu": True,
            "vision_cfg": {"image_size": 64, "layers": [1, 2, 1, 2], "width": 8, "head_width": 32, "patch_size": None},
            "text_cfg": _TEXT,
        },
    },
    "siglip": {
        "model_cfg": {
            "embed_dim": 144,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 46, "timm_model_name": "vit_odd_patch14_siglip_46", "timm_model_pretrained": False,
                "timm_pool": "map", "timm_proj": "none"
            },
            "text_cfg": {**_SIGLIP_TEXT, "width": 72, "heads": 1, "proj_bias": True},
        },
        "preprocess_cfg": {"mean": _HALF, "std": _HALF, "interpolation": "bicubic", "resize_mode": "squash"},
    },
    "siglip_headless": {
        "model_cfg": {
            "embed_dim": 144,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 64, "timm_model_name": "vit_odd_patch32_siglip_64", "timm_pool": "map",
                "timm_proj": "none"
            },
            "text_cfg": {**_SIGLIP_TEXT, "proj_type": "none", "act_kwargs": {"approximate": "tanh"}},
        },
        "preprocess_cfg": {"mean": _HALF, "std": _HALF, "interpolation": "bilinear", "resize_mode": "squash"},
    },
}  # fmt: skip


def openclip_model(name: str) -> tuple[CLIPConfig, dict]:
    """Config and random parameters of a model of `OPENCLIP`."""
    config = config_from_openclip(OPENCLIP[name])
    return config, random_params(config, entries=list(openclip_entries(config, [])))


def write_openclip(directory: Path, name: str, params: dict) -> Path:
    """Writes a model of `OPENCLIP` in its layout, batch norms of random numbers in place of those that do nothing."""
    config = config_from_openclip(OPENCLIP[name])
    custom = OPENCLIP[name]["model_cfg"].get("custom_text")
    tensors = {}
    for entry in openclip_entries(config, ["text.token_embedding.weight"] if custom else []):
        written = entry.write(np.asarray(leaf(params["params"], entry.path), np.float32))
        tensors |= {key: np.array(value, order="C") for key, value in zip(entry.names, written, strict=True)}
    generator = np.random.default_rng(3)
    for key in sorted(tensors):
        noise = generator.standard_normal(tensors[key].shape, np.float32)
        if key.endswith("running_mean"):
            tensors[key] = 0.3 * noise
        elif key.endswith("running_var"):
            tensors[key] = np.exp(0.5 * noise)
        elif key.removesuffix("weight") + "running_var" in tensors:
            tensors[key] = 1 + 0.3 * noise
    save_file(tensors, directory / WEIGHTS)
    (directory / CONFIG).write_text(json.dumps(OPENCLIP[name]))
    return directory


def random_params(config: CLIPConfig, seed: int = 0, entries: list[Entry] | None = None) -> dict:
    """Parameters that hide no mapping error: biases and LayerNorm scales are random too."""
    rng = np.random.default_rng(seed)
    shapes = param_shapes(config)["params"]
    leaves = {}
    for entry in entries or huggingface_entries(config):
        shape = leaf(shapes, entry.path).shape
        noise = rng.standard_normal(shape, np.float32)
        fan_in = np.prod(shape[:-1]) if entry.path[-1] == "kernel" else 4
        mean = np.float32(entry.path[-1] in ("scale", "logit_scale")) - np.float32(
            entry.path[-1] == "logit_bias"
        )
        leaves[entry.path] = jnp.asarray(mean + noise * fan_in**-0.5)
    return {"params": nest(leaves)}


def inputs(config: CLIPConfig, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """uint8 frames and token ids with the end of text at several places, padding behind it."""
    rng = np.random.default_rng(seed)
    size = config.image_size
    frames = rng.integers(0, 256, (4, size, size, 3), np.uint8)
    ids = rng.integers(4, config.text.vocab_size - 1, (4, config.context), np.int32)
    if isinstance(config.text, SiglipTextConfig):
        for row, end in zip(ids, (2, 5, 7, config.context), strict=True):
            row[end:] = 0
        return frames, ids
    ids[:, 0] = config.text.bos_token_id
    legacy = config.text.eos_token_id == 2
    for row, end in zip(ids, (2, 5, 7, config.context - 1), strict=True):
        row[end] = config.text.vocab_size - 1 if legacy else config.text.eos_token_id
        row[end + 1 :] = config.text.pad_token_id
    return frames, ids


def needs_qwix():
    """Some pairs of versions do not fit: importing qwix then fails by whatever it looks for in jax."""
    try:
        import qwix
    except (ImportError, AttributeError) as error:
        pytest.skip(f"qwix cannot be imported: {error}")
    assert qwix
