"""Writes the golden values of `tests/clip/test_clip_golden.py` with transformers' PyTorch CLIPModel and
SiglipModel.

Run from the repository's root with PyTorch installed: `python -m tests.golden.make [NAME ...]`. It writes beside
itself, all or those named,

* `clip_<name>.npz`, embeddings of the random CLIPs of `tests/clip/recipes.py`; the weights are drawn from a seed,
  not stored;
* `embedded_<domain>.npz`, for each checkpoint in `jaxvlm/assets`: frames, prompts, token ids and embeddings.

A checkpoint that is trained again has other embeddings: run `python -m tests.golden.make embedded_<domain>` and commit
the file together with the weights. The others stay as they are: their last bits depend on the machine.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from envs.captions import captioned_dataset
from jaxvlm.clip import embedded_domains, resolve, save_checkpoint
from jaxvlm.clip.captions import CaptionedDataset
from tests.clip.recipes import ODD, inputs, random_params
from tests.parity.test_clip_huggingface import huggingface_embeddings

FRAMES = 5  # of each look


def sweep_frames(dataset: CaptionedDataset, size: int) -> np.ndarray:
    """u8[frames, size, size, 3]: values spread evenly over the sweep, at its first context, in every look and view."""
    sweep = dataset.sweep
    chosen = np.linspace(0, len(sweep.values) - 1, FRAMES).round().astype(int)
    states = sweep.states(jnp.asarray(sweep.values, jnp.float32)[chosen], sweep.contexts[0])
    looks = [np.asarray(dataset.frames(states, dataset.assets(look), size)) for look in dataset.looks]
    frames = np.concatenate(looks)
    return frames.reshape(-1, *frames.shape[2:])


def embedded_golden(domain: str) -> dict[str, np.ndarray]:
    """What transformers alone, tokenizer and preprocessing included, makes of an embedded checkpoint's directory.

    The frames (u8) and the prompts of the goal, the baseline and the opposite, their token ids, and the embeddings
    of both before normalisation (f32).
    """
    import torch
    from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

    directory, dataset = resolve(f"tiny:{domain}"), captioned_dataset(domain.split("-")[0])
    model: Any = CLIPModel.from_pretrained(directory, dtype=torch.float32).eval()
    config = model.config
    frames = sweep_frames(dataset, config.vision_config.image_size)
    prompts = [
        dataset.concept(name).wordings[0] for name in (dataset.goal, dataset.baseline, dataset.opposite)
    ]
    tokenizer = AutoTokenizer.from_pretrained(directory)
    context = config.text_config.max_position_embeddings
    ids = np.asarray(tokenizer(prompts, padding="max_length", max_length=context)["input_ids"], np.int32)
    pixels = CLIPImageProcessor.from_pretrained(directory)(list(frames), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        image = model.get_image_features(pixels).pooler_output.numpy()
        text = model.get_text_features(torch.tensor(ids, dtype=torch.long)).pooler_output.numpy()
    return {"frames": frames, "prompts": np.array(prompts), "ids": ids, "image": image, "text": text}


def random_golden(name: str) -> dict[str, np.ndarray]:
    """The embeddings of a random CLIP before normalisation, f32."""
    config = ODD[name]
    with tempfile.TemporaryDirectory() as directory:
        save_checkpoint(directory, config, random_params(config))
        image, text = huggingface_embeddings(directory, *inputs(config))
    return {"image": image, "text": text}


if __name__ == "__main__":
    makers = {f"clip_{name}": (random_golden, name) for name in ODD}
    makers |= {f"embedded_{domain}": (embedded_golden, domain) for domain in embedded_domains()}
    unknown = set(sys.argv[1:]) - set(makers)
    if unknown:
        sys.exit(f"unknown {', '.join(sorted(unknown))}; choose from {', '.join(makers)}")
    for name in sys.argv[1:] or makers:
        make, argument = makers[name]
        values: dict[str, Any] = make(argument)
        np.savez_compressed(Path(__file__).with_name(f"{name}.npz"), **values)
