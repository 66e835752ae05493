"""CLIP in flax.linen: towers, checkpoints, preprocessing, tokenizer and prompt embeddings."""

from jaxvlm.clip.checkpoint import embedded_domains, load, load_config, resolve, save_checkpoint
from jaxvlm.clip.config import (
    CLIPConfig,
    Resize,
    ResNetConfig,
    SiglipTextConfig,
    SiglipVisionConfig,
    TextConfig,
    VisionConfig,
)
from jaxvlm.clip.model import CLIP, param_shapes, random_init
from jaxvlm.clip.patches import covered_patches
from jaxvlm.clip.positions import resize_positions
from jaxvlm.clip.preprocess import preprocess
from jaxvlm.clip.prompts import embed_prompts
from jaxvlm.clip.quantise import quantise
from jaxvlm.clip.tokenizer import Tokenizer, build_word_tokenizer, clip_tokenizer, load_tokenizer
from jaxvlm.clip.transformer import normalise, stack_layers, unstack_layers

__all__ = [
    "CLIP",
    "CLIPConfig",
    "ResNetConfig",
    "Resize",
    "SiglipTextConfig",
    "SiglipVisionConfig",
    "TextConfig",
    "Tokenizer",
    "VisionConfig",
    "build_word_tokenizer",
    "clip_tokenizer",
    "covered_patches",
    "embed_prompts",
    "embedded_domains",
    "load",
    "load_config",
    "load_tokenizer",
    "normalise",
    "param_shapes",
    "preprocess",
    "quantise",
    "random_init",
    "resize_positions",
    "resolve",
    "save_checkpoint",
    "stack_layers",
    "unstack_layers",
]
