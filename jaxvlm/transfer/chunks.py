"""Runs are fine-tuned in chunks, and the curves of finished ones kept, so that a killed experiment goes on."""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxvlm.runtime.files import replace_file


def chunk_size(asked: int = 0) -> int:
    """Runs at a time: `asked`, or for 0 few on a CPU, which works one after another, and many where launches cost."""
    return asked or (64 if jax.default_backend() == "cpu" else 1024)


def read_chunk(path: Path | None, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray] | None:
    """Values and steps of the runs called `labels`; None where there are none, or of other runs, or cut short."""
    if path is None or not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file) as kept:
            if list(kept["labels"]) != list(labels):
                return None
            return kept["value"], kept["steps"]
    except Exception:  # whatever NumPy, zipfile and zlib raise
        return None  # cut short, or with other bytes: learned again


def write_chunk(
    path: Path, labels: Sequence[str], value: Float[np.ndarray, "n time"], steps: Int[np.ndarray, "n time"]
) -> None:
    """Whole or not at all; raises `RunError` where it cannot be written."""
    replace_file(
        path, lambda draft: np.savez_compressed(draft, labels=np.array(labels), value=value, steps=steps)
    )
