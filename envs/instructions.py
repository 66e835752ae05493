"""Every instruction that comes with the package, and the sentence encoder's vectors of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jaxvlm.errors import ConfigError

from . import holding
from .gridworld import families, house


def built_in_instructions() -> tuple[str, ...]:
    """Instructions of all families, each once, sorted."""
    rooms, houses, carts = (
        families.all_instructions(),
        house.house_instructions(),
        holding.all_instructions(),
    )
    return tuple(sorted({*rooms, *houses, *carts}))


def cached_embeddings(instructions: Sequence[str]) -> Float[np.ndarray, "n 384"]:
    """MiniLM's vectors of built-in instructions, of unit length, from the file beside this one.

    `benchmarks/instructions.py` made it with all-MiniLM-L6-v2. Raises `ConfigError` for a sentence it does not hold.
    """
    with np.load(Path(__file__).with_name("minilm.npz")) as arrays:
        row = {text: k for k, text in enumerate(arrays["instructions"].tolist())}
        unknown = [text for text in instructions if text not in row]
        if unknown:
            raise ConfigError(
                f"instruction {unknown[0]!r} is not among the {len(row)} whose vectors come with the package; "
                "name a sentence encoder for it"
            )
        vectors = arrays["vectors"][[row[text] for text in instructions]].astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
