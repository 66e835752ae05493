"""Writes `positions.npz`, the golden values of `tests/clip/test_positions.py`, with OpenCLIP's and transformers' code.

Run from the repository's root, where PyTorch, transformers and open_clip_torch 3.3 are installed (see
`make_openclip.py`): `python -m tests.golden.make_positions`.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from transformers import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings

from tests.golden.make_openclip import import_openclip

PATCH, SIDE, WIDTH = 4, 7, 5  # pixels, patches, channels
SIZES = (2, 5, 6, 11, 14)  # patches a side


def openclip(table: np.ndarray, side: int) -> np.ndarray:
    """The table of OpenCLIP's `resize_pos_embed`."""
    state = {"visual.positional_embedding": torch.from_numpy(table)}
    model = SimpleNamespace(visual=SimpleNamespace(grid_size=(side, side)))
    import_openclip("model").resize_pos_embed(state, model)
    return state["visual.positional_embedding"].numpy()


def transformers(table: np.ndarray, side: int) -> np.ndarray:
    """The table of transformers' `interpolate_pos_encoding`."""
    config = CLIPVisionConfig(
        hidden_size=WIDTH, image_size=PATCH * SIDE, patch_size=PATCH, num_attention_heads=1
    )
    embeddings = CLIPVisionEmbeddings(config)
    with torch.no_grad():
        embeddings.position_embedding.weight.copy_(torch.from_numpy(table))
        blank = torch.zeros(1, 1 + side**2, WIDTH)
        return embeddings.interpolate_pos_encoding(blank, PATCH * side, PATCH * side)[0].numpy()


if __name__ == "__main__":
    table = np.random.default_rng(0).standard_normal((1 + SIDE**2, WIDTH), np.float32)
    values = {f"{f.__name__}_{side}": f(table, side) for f in (openclip, transformers) for side in SIZES}
    np.savez_compressed(Path(__file__).parent / "positions.npz", table=table, **values)
