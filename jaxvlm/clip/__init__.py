"""CLIP in flax.linen: towers, checkpoints, preprocessing, tokenizer and prompt embeddings."""

from jaxvlm.clip.checkpoint import embedded_domains, load, load_config, resolve, save_checkpoint
from jaxvlm.clip.config import CLIPConfig, Resize, TextConfig, VisionConfig
from jaxvlm.clip.model import CLIP, normalise, param_shapes, random_init

__all__ = [
    "CLIP",
    "CLIPConfig",
    "Resize",
    "TextConfig",
    "VisionConfig",
    "embedded_domains",
    "load",
    "load_config",
    "normalise",
    "param_shapes",
    "random_init",
    "resolve",
    "save_checkpoint",
]
