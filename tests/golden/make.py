"""Writes the golden embeddings of `tests/clip/test_clip_golden.py` with transformers' CLIPModel.

Run with PyTorch installed: `python -m tests.golden.make`. The weights are drawn from a seed, not stored.
"""

import tempfile
from pathlib import Path

import numpy as np

from jaxvlm.clip import save_checkpoint
from tests.clip.recipes import ODD, inputs, random_params
from tests.parity.test_clip_huggingface import huggingface_embeddings

if __name__ == "__main__":
    for name, config in ODD.items():
        with tempfile.TemporaryDirectory() as directory:
            save_checkpoint(directory, config, random_params(config))
            image, text = huggingface_embeddings(directory, *inputs(config))
        np.savez(Path(__file__).with_name(f"clip_{name}.npz"), image=image, text=text)
