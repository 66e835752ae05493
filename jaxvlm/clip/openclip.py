"""The OpenCLIP layout, `open_clip_config.json` and `open_clip_model.safetensors`: its own ViTs, ResNets and SigLIP."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from jaxvlm.clip.config import (
    LEGACY_EOS,
    OPENAI_MEAN,
    OPENAI_STD,
    CLIPConfig,
    Resize,
    ResNetConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    TextConfig,
    VisionConfig,
)
from jaxvlm.clip.layout import Entry, Path, dense, norm, patches, reshaped, same, transposed
from jaxvlm.errors import ConfigError

CONFIG = "open_clip_config.json"
WEIGHTS = "open_clip_model.safetensors"

# What the towers here do not have, with the value that means it is not there.
_VISION_OFF: dict[str, Any] = {
    "ls_init_value": None,
    "attentional_pool": False,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "final_ln_after_pool": False,
    "pool_type": "tok",
    "block_type": None,
    "timm_model_name": None,
}
_TEXT_OFF: dict[str, Any] = {
    "ls_init_value": None,
    "embed_cls": False,
    "no_causal_mask": False,
    "final_ln_after_pool": False,
    "pool_type": "argmax",
    "proj_bias": False,
    "proj_type": "linear",
    "block_type": None,
    "hf_model_name": None,
}
# What SigLIP's towers have, after OpenCLIP's default.
_SIGLIP_VISION: dict[str, tuple[Any, Any]] = {"timm_pool": ("avg", "map"), "timm_proj": ("linear", "none")}
_SIGLIP_TEXT: dict[str, tuple[Any, Any]] = {
    **{name: (absent, absent) for name, absent in _TEXT_OFF.items()},
    "no_causal_mask": (False, True),
    "pool_type": ("argmax", "last"),
}
# timm's names of SigLIP's image towers, and width, layers, heads and MLP ratio of a size.
_SIGLIP_NAME = re.compile(r"vit_([a-z0-9]+)_patch(\d+)_siglip_(\d+)")
SIGLIP_SIZES: dict[str, tuple[int, int, int, float]] = {
    "base": (768, 12, 12, 4.0),
    "large": (1024, 24, 16, 4.0),
    "so400m": (1152, 27, 16, 3.7362),
    "giantopt": (1536, 40, 16, 4.0),
}
BATCH_NORM_EPS = 1e-5  # PyTorch's default, which all of these models have
_SCALED = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")


def config_from_openclip(values: Mapping[str, Any]) -> CLIPConfig:
    """Reads the contents of `open_clip_config.json`; absent keys have OpenCLIP's defaults.

    Raises ConfigError for towers that are not CLIP's ViT or residual network and its causal transformer, nor SigLIP's:
    other models of timm or of transformers, other pooling.
    """
    model, preprocess = values.get("model_cfg"), values.get("preprocess_cfg", {})
    if not isinstance(model, Mapping) or not isinstance(preprocess, Mapping):
        raise ConfigError(f"{CONFIG}: model_cfg and preprocess_cfg have to be JSON objects; fetch it again")
    vision, text = (_tower(model, name) for name in ("vision_cfg", "text_cfg"))
    quick = bool(model.get("quick_gelu", False))
    size = _square(vision.get("image_size", 224), "image_size")
    shared: dict[str, Any] = {
        "projection_dim": int(model.get("embed_dim", 512)),
        "image_mean": _three(preprocess.get("mean"), OPENAI_MEAN, "mean"),
        "image_std": _three(preprocess.get("std"), OPENAI_STD, "std"),
        "resize": _resize(preprocess, size),
    }
    if model.get("init_logit_bias") is not None:
        shared["logit_bias_init_value"] = float(model["init_logit_bias"])
    name = _SIGLIP_NAME.fullmatch(str(vision.get("timm_model_name")))
    if name and name[1] in SIGLIP_SIZES:
        _check(vision, "vision_cfg", _SIGLIP_VISION)
        if text.get("proj_type", "linear") == "none":
            text = {**text, "proj_type": "linear", "head": False}
        _check(text, "text_cfg", {**_SIGLIP_TEXT, "proj_bias": (False, text.get("head", True))})
        return CLIPConfig(vision=_siglip_vision(name, size), text=_siglip_text(text, quick), **shared)
    _check(vision, "vision_cfg", {name: (absent, absent) for name, absent in _VISION_OFF.items()})
    _check(text, "text_cfg", {name: (absent, absent) for name, absent in _TEXT_OFF.items()})
    return CLIPConfig(
        vision=_vision(vision, quick, size),
        text=TextConfig(
            vocab_size=int(text.get("vocab_size", 49408)),
            hidden_size=int(text.get("width", 512)),
            intermediate_size=int(text.get("width", 512) * text.get("mlp_ratio", 4.0)),
            num_hidden_layers=int(text.get("layers", 12)),
            num_attention_heads=int(text.get("heads", 8)),
            max_position_embeddings=int(text.get("context_length", 77)),
            hidden_act=_activation(text, quick),
            layer_norm_eps=_epsilon(text),
            pad_token_id=int(text.get("pad_id", 0)),
            bos_token_id=int(text.get("vocab_size", 49408)) - 2,
            eos_token_id=LEGACY_EOS,  # OpenCLIP pools at the largest id
        ),
        **shared,
    )


def _check(section: Mapping[str, Any], tower: str, wanted: Mapping[str, tuple[Any, Any]]) -> None:
    """Raises ConfigError for a value that is not the wanted one, which stands after OpenCLIP's default."""
    for name, (default, value) in {**wanted, **dict.fromkeys(_SCALED, (False, False))}.items():
        found = section.get(name)
        if (default if found is None else found) != value:
            raise ConfigError(
                f"{CONFIG}: {tower}.{name} is {found!r}, which is not supported yet; the towers are CLIP's own or "
                "SigLIP's"
            )


def _siglip_vision(name: re.Match[str], size: int) -> SiglipVisionConfig:
    width, layers, heads, ratio = SIGLIP_SIZES[name[1]]
    patch = int(name[2])
    if size != int(name[3]):
        raise ConfigError(
            f"{CONFIG}: vision_cfg.image_size is {size} and timm_model_name {name[0]!r} says {name[3]}; fetch it again"
        )
    # The approximation where timm's models of these names have it. The older ones do with the exact function, though
    # transformers' files of the same weights name the approximation.
    tanh = name[1] == "giantopt" or (name[1], patch) == ("so400m", 16) or (name[1], size) == ("large", 512)
    return SiglipVisionConfig(
        hidden_size=width,
        intermediate_size=int(width * ratio),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        image_size=size,
        patch_size=patch,
        hidden_act="gelu_pytorch_tanh" if tanh or patch == 32 else "gelu",
    )


def _siglip_text(text: Mapping[str, Any], quick: bool) -> SiglipTextConfig:
    width = int(text.get("width", 512))
    return SiglipTextConfig(
        vocab_size=int(text.get("vocab_size", 49408)),
        hidden_size=width,
        intermediate_size=int(width * text.get("mlp_ratio", 4.0)),
        num_hidden_layers=int(text.get("layers", 12)),
        num_attention_heads=int(text.get("heads", 8)),
        max_position_embeddings=int(text.get("context_length", 77)),
        hidden_act=_activation(text, quick),
        layer_norm_eps=_epsilon(text),
        head=bool(text.get("head", True)),
    )


def _vision(tower: Mapping[str, Any], quick: bool, size: int) -> VisionConfig | ResNetConfig:
    layers, head = tower.get("layers", 12), int(tower.get("head_width", 64))
    if isinstance(layers, (list, tuple)):
        blocks: Any = tuple(int(count) for count in layers)
        return ResNetConfig(blocks, int(tower.get("width", 64)), size, head)
    width = int(tower.get("width", 768))
    if head < 1 or width % head:
        raise ConfigError(
            f"{CONFIG}: vision_cfg.width {width} does not divide into attention heads of {head}; fetch it again"
        )
    return VisionConfig(
        hidden_size=width,
        intermediate_size=int(width * tower.get("mlp_ratio", 4.0)),
        num_hidden_layers=int(layers),
        num_attention_heads=width // head,
        image_size=size,
        patch_size=_square(tower.get("patch_size", 16), "patch_size"),
        hidden_act=_activation(tower, quick),
        layer_norm_eps=_epsilon(tower),
    )


def openclip_entries(config: CLIPConfig, names: Iterable[str]) -> Iterator[Entry]:
    """Every parameter of the model in OpenCLIP's layout; `names` are those of the file's tensors.

    They tell where the text tower lies: at the top as in OpenAI's models, or under `text.`.
    """
    text = "text." if "text.token_embedding.weight" in set(names) else ""
    yield same(("logit_scale",), "logit_scale")
    if config.logit_bias_init_value is not None:
        yield same(("logit_bias",), "logit_bias")
    vision = config.vision
    if isinstance(vision, ResNetConfig):
        yield from _resnet(vision)
    elif isinstance(vision, SiglipVisionConfig):
        yield from _trunk(vision)
    else:
        yield from _vit(vision)
    yield same(("text", "token"), f"{text}token_embedding.weight")
    yield same(("text", "pos"), f"{text}positional_embedding")
    yield from _blocks("text", text, config.text.num_hidden_layers)
    yield from norm(("text", "ln_final"), f"{text}ln_final.")
    if not isinstance(config.text, SiglipTextConfig):
        yield same(("text", "proj", "kernel"), f"{text}text_projection")
    elif config.text.head:
        yield from dense(("text", "proj"), f"{text}text_projection.")


def _vit(config: VisionConfig) -> Iterator[Entry]:
    yield same(("visual", "cls"), "visual.class_embedding")
    yield same(("visual", "pos"), "visual.positional_embedding")
    yield patches(config.patch_size, "visual.conv1.weight")
    yield from norm(("visual", "ln_pre"), "visual.ln_pre.")
    yield from _blocks("visual", "visual.", config.num_hidden_layers)
    yield from norm(("visual", "ln_post"), "visual.ln_post.")
    yield same(("visual", "proj", "kernel"), "visual.proj")  # [D, E], as ours


def _trunk(config: SiglipVisionConfig) -> Iterator[Entry]:
    """SigLIP's image tower by the names of timm's VisionTransformer, whose pool has a matrix for keys and values."""
    trunk, width = "visual.trunk.", config.hidden_size
    yield reshaped(("visual", "pos"), f"{trunk}pos_embed", 1, config.num_positions, -1)
    yield patches(config.patch_size, f"{trunk}patch_embed.proj.weight")
    yield same(("visual", "patch", "bias"), f"{trunk}patch_embed.proj.bias")
    for i in range(config.num_hidden_layers):
        path, layer = ("visual", f"block_{i}"), f"{trunk}blocks.{i}."
        yield from dense((*path, "qkv"), f"{layer}attn.qkv.")
        yield from dense((*path, "out"), f"{layer}attn.proj.")
        yield from dense((*path, "fc1"), f"{layer}mlp.fc1.")
        yield from dense((*path, "fc2"), f"{layer}mlp.fc2.")
        yield from norm((*path, "ln1"), f"{layer}norm1.")
        yield from norm((*path, "ln2"), f"{layer}norm2.")
    yield from norm(("visual", "ln_post"), f"{trunk}norm.")
    pool, head = ("visual", "pool"), f"{trunk}attn_pool."
    yield reshaped((*pool, "probe"), f"{head}latent", 1, 1, -1)
    for kind in ("weight", "bias"):
        yield Entry(
            (*pool, "qkv", "kernel" if kind == "weight" else "bias"),
            (f"{head}q.{kind}", f"{head}kv.{kind}"),
            lambda *parts: np.concatenate(parts).T,  # of a bias the transpose is itself
            lambda value: tuple(np.split(value.T, [width])),
        )
    yield from dense((*pool, "out"), f"{head}proj.")
    yield from norm((*pool, "ln"), f"{head}norm.")
    yield from dense((*pool, "fc1"), f"{head}mlp.fc1.")
    yield from dense((*pool, "fc2"), f"{head}mlp.fc2.")


def _resnet(config: ResNetConfig) -> Iterator[Entry]:
    for k in (1, 2, 3):
        yield from _convolution(("visual", f"stem{k}"), f"visual.conv{k}.weight", f"visual.bn{k}.")
    for stage, blocks in enumerate(config.layers, start=1):
        for block in range(blocks):
            path, prefix = ("visual", f"layer{stage}_{block}"), f"visual.layer{stage}.{block}."
            for k in (1, 2, 3):
                yield from _convolution((*path, f"conv{k}"), f"{prefix}conv{k}.weight", f"{prefix}bn{k}.")
            if block == 0:  # the first of a stage is the one that widens
                shortcut = f"{prefix}downsample."
                yield from _convolution((*path, "downsample"), f"{shortcut}0.weight", f"{shortcut}1.")
    pool = "visual.attnpool."
    yield same(("visual", "pool", "pos"), f"{pool}positional_embedding")
    for kind in ("weight", "bias"):
        yield Entry(
            ("visual", "pool", "qkv", "kernel" if kind == "weight" else "bias"),
            tuple(f"{pool}{x}_proj.{kind}" for x in "qkv"),
            lambda *parts: np.concatenate(parts).T,  # of a bias the transpose is itself
            lambda value: tuple(np.split(value.T, 3)),
        )
    yield from dense(("visual", "pool", "out"), f"{pool}c_proj.")


def _convolution(path: Path, kernel: str, norm: str) -> Iterator[Entry]:
    """A convolution and the batch norm behind it, which becomes a factor of its channels and a bias.

    Written, the batch norm does nothing but add the bias.
    """
    scales = (f"{norm}weight", f"{norm}running_var")

    def factor(weight: np.ndarray, variance: np.ndarray) -> np.ndarray:
        return weight.astype(np.float64) / np.sqrt(variance.astype(np.float64) + BATCH_NORM_EPS)

    def read_kernel(k: np.ndarray, weight: np.ndarray, variance: np.ndarray) -> np.ndarray:
        folded = k.astype(np.float64) * factor(weight, variance)[:, None, None, None]
        return folded.transpose(2, 3, 1, 0).astype(np.float32)  # [out, in, h, w] to [h, w, in, out]

    def read_bias(bias: np.ndarray, mean: np.ndarray, weight: np.ndarray, variance: np.ndarray) -> np.ndarray:
        return (bias.astype(np.float64) - mean.astype(np.float64) * factor(weight, variance)).astype(
            np.float32
        )

    def ones(count: int) -> tuple[np.ndarray, np.ndarray]:
        return np.ones(count, np.float32), np.full(count, 1 - BATCH_NORM_EPS, np.float32)

    yield Entry(
        (*path, "kernel"),
        (kernel, *scales),
        read_kernel,
        lambda k: (k.transpose(3, 2, 0, 1), *ones(k.shape[-1])),
    )
    yield Entry(
        (*path, "bias"),
        (f"{norm}bias", f"{norm}running_mean", *scales),
        read_bias,
        lambda b: (b, np.zeros_like(b), *ones(len(b))),
    )


def ignored(name: str) -> bool:
    """Whether a tensor is no parameter: masks and sizes that some files store."""
    buffers = ("attn_mask", "input_resolution", "context_length", "vocab_size")
    return name.removeprefix("text.") in buffers or name.endswith(".num_batches_tracked")


def _blocks(tower: str, prefix: str, layers: int) -> Iterator[Entry]:
    for i in range(layers):
        path, layer = (tower, f"block_{i}"), f"{prefix}transformer.resblocks.{i}."
        yield transposed((*path, "qkv", "kernel"), f"{layer}attn.in_proj_weight")
        yield same((*path, "qkv", "bias"), f"{layer}attn.in_proj_bias")
        yield from dense((*path, "out"), f"{layer}attn.out_proj.")
        yield from dense((*path, "fc1"), f"{layer}mlp.c_fc.")
        yield from dense((*path, "fc2"), f"{layer}mlp.c_proj.")
        yield from norm((*path, "ln1"), f"{layer}ln_1.")
        yield from norm((*path, "ln2"), f"{layer}ln_2.")


def _tower(model: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = model.get(name)
    if not isinstance(section, Mapping):
        raise ConfigError(f"{CONFIG}: model_cfg has no {name}; fetch it again")
    return section


def _square(value: Any, name: str) -> int:
    sizes = set(value) if isinstance(value, (list, tuple)) else {value}
    if len(sizes) != 1:
        raise ConfigError(f"{CONFIG}: {name} {list(value)} is not square, which is not supported")
    return int(sizes.pop())


def _activation(tower: Mapping[str, Any], quick: bool) -> str:
    options = tower.get("act_kwargs") or {}
    if quick:
        return "quick_gelu"
    return "gelu_pytorch_tanh" if options.get("approximate") == "tanh" else "gelu"


def _epsilon(tower: Mapping[str, Any]) -> float:
    return float((tower.get("norm_kwargs") or {}).get("eps", 1e-5))


def _three(value: Any, default: tuple[float, float, float], name: str) -> tuple[float, float, float]:
    if value is None:
        return default
    numbers = (value,) * 3 if isinstance(value, (int, float)) else tuple(value)
    if len(numbers) != 3:
        raise ConfigError(f"{CONFIG}: preprocess_cfg.{name} {value} has to be a number a channel")
    return tuple(float(number) for number in numbers)  # pyright: ignore[reportReturnType]


def _resize(preprocess: Mapping[str, Any], size: int) -> Resize:
    mode = preprocess.get("resize_mode") or "shortest"
    resample = preprocess.get("interpolation") or "bicubic"
    resample = "bicubic" if resample == "random" else resample  # random is for training
    if mode == "squash":
        return Resize(size=(size, size), resample=resample)
    if mode != "shortest":
        raise ConfigError(
            f"{CONFIG}: preprocess_cfg.resize_mode {mode!r} is not supported; it pads, which no reward here expects"
        )
    return Resize(shortest_edge=size, crop=(size, size), resample=resample, crop_rounds=True)
