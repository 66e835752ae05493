"""Instructions as vectors: sentence encoders and the text towers of CLIPs behind one call."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxvlm.runtime.files import expand

Encode = Callable[[Sequence[str]], Float[np.ndarray, "n d"]]


def load_encoder(name: str) -> tuple[Encode, Callable[[str], list[str]]]:
    """Loads an encoder of instructions.

    Args:
      name: a directory of a BERT in sentence-transformers' layout or of a CLIP in Hugging Face's; or `clip:` and
        whatever names a CLIP elsewhere, as in `clip:openai/clip-vit-base-patch32` or `clip:tiny:cartpole`.

    Returns:
      (texts -> f32[n, d], rows of length one), and the words of a text that it has no token for.

    Raises:
      ConfigError, CheckpointError: there is no such encoder, or its files do not fit; texts that are empty or too long
        are named when they are encoded.
    """
    if name.startswith("clip:") or _is_clip(expand(name)):
        from jaxvlm.clip import embed_prompts, load, load_tokenizer

        name = name.removeprefix("clip:")
        clip, params = load(name)
        tokenizer = load_tokenizer(name)
        return lambda texts: np.asarray(
            embed_prompts(clip, params, tokenizer, list(texts))
        ), tokenizer.unknown_words
    from jaxvlm.transfer.bert import load_sentence_encoder

    return load_sentence_encoder(name), lambda text: []


def _is_clip(folder: Path) -> bool:
    """Whether a directory says that it holds a CLIP; one that cannot be read is left to who loads it."""
    if (folder / "open_clip_config.json").is_file():
        return True
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("model_type") in ("clip", "siglip")
