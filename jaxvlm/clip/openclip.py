"""The OpenCLIP layout, `open_clip_config.json` and `open_clip_model.safetensors`, of models of its own ViTs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxvlm.clip.config import (
    LEGACY_EOS,
    OPENAI_MEAN,
    OPENAI_STD,
    CLIPConfig,
    Resize,
    TextConfig,
    VisionConfig,
)
from jaxvlm.clip.layout import Entry, dense, norm, same, transposed
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
_SCALED = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")


def config_from_openclip(values: Mapping[str, Any]) -> CLIPConfig:
    """Reads the contents of `open_clip_config.json`; absent keys have OpenCLIP's defaults.

    Raises ConfigError for towers that are not ViT and causal transformer as in CLIP: residual networks, models of timm
    or of transformers, other pooling.
    """
    model, preprocess = values.get("model_cfg"), values.get("preprocess_cfg", {})
    if not isinstance(model, Mapping) or not isinstance(preprocess, Mapping):
        raise ConfigError(f"{CONFIG}: model_cfg and preprocess_cfg have to be JSON objects; fetch it again")
    vision, text = (_tower(model, name) for name in ("vision_cfg", "text_cfg"))
    if isinstance(vision.get("layers", 12), (list, tuple)):
        raise ConfigError(
            f"{CONFIG}: vision_cfg.layers is {vision['layers']}, a residual network, which is not supported yet; "
            "choose a checkpoint whose image tower is a ViT"
        )
    for tower, section, off in (("vision_cfg", vision, _VISION_OFF), ("text_cfg", text, _TEXT_OFF)):
        for name, absent in {**off, **dict.fromkeys(_SCALED, False)}.items():
            if section.get(name, absent) not in (absent, None):
                raise ConfigError(
                    f"{CONFIG}: {tower}.{name} is {section[name]!r}, which is not supported yet; the towers are "
                    "CLIP's own ViT and causal transformer"
                )
    head = int(vision.get("head_width", 64))
    if head < 1 or int(vision.get("width", 768)) % head:
        raise ConfigError(
            f"{CONFIG}: vision_cfg.width {vision.get('width', 768)} does not divide into attention heads of {head} "
            "channels; fetch it again"
        )
    quick = bool(model.get("quick_gelu", False))
    width, size = int(vision.get("width", 768)), _square(vision.get("image_size", 224), "image_size")
    return CLIPConfig(
        vision=VisionConfig(
            hidden_size=width,
            intermediate_size=int(width * vision.get("mlp_ratio", 4.0)),
            num_hidden_layers=int(vision.get("layers", 12)),
            num_attention_heads=width // head,
            image_size=size,
            patch_size=_square(vision.get("patch_size", 16), "patch_size"),
            hidden_act=_activation(vision, quick),
            layer_norm_eps=_epsilon(vision),
        ),
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
        projection_dim=int(model.get("embed_dim", 512)),
        image_mean=_three(preprocess.get("mean"), OPENAI_MEAN, "mean"),
        image_std=_three(preprocess.get("std"), OPENAI_STD, "std"),
        resize=_resize(preprocess, size),
    )


def openclip_entries(config: CLIPConfig, names: Iterable[str]) -> Iterator[Entry]:
    """Every parameter of the model in OpenCLIP's layout; `names` are those of the file's tensors.

    They tell where the text tower lies: at the top as in OpenAI's models, or under `text.`.
    """
    text = "text." if "text.token_embedding.weight" in set(names) else ""
    size = config.vision.patch_size
    yield same(("logit_scale",), "logit_scale")
    yield same(("visual", "cls"), "visual.class_embedding")
    yield same(("visual", "pos"), "visual.positional_embedding")
    yield Entry(
        ("visual", "patch", "kernel"),
        ("visual.conv1.weight",),
        lambda w: w.transpose(2, 3, 1, 0).reshape(-1, w.shape[0]),  # [D, 3, P, P] to [P P 3, D]
        lambda k: (k.reshape(size, size, 3, -1).transpose(3, 2, 0, 1),),
    )
    yield from norm(("visual", "ln_pre"), "visual.ln_pre.")
    yield from _blocks("visual", "visual.", config.vision.num_hidden_layers)
    yield from norm(("visual", "ln_post"), "visual.ln_post.")
    yield same(("visual", "proj", "kernel"), "visual.proj")  # [D, E], as ours
    yield same(("text", "token"), f"{text}token_embedding.weight")
    yield same(("text", "pos"), f"{text}positional_embedding")
    yield from _blocks("text", text, config.text.num_hidden_layers)
    yield from norm(("text", "ln_final"), f"{text}ln_final.")
    yield same(("text", "proj", "kernel"), f"{text}text_projection")


def ignored(name: str) -> bool:
    """Whether a tensor is no parameter: masks and sizes that some files store."""
    buffers = ("attn_mask", "input_resolution", "context_length", "vocab_size")
    return name.removeprefix("text.") in buffers


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
