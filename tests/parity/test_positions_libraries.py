"""Towers on frames of other sizes against transformers' and OpenCLIP's own."""

import sys
from importlib.util import find_spec

import jax
import numpy as np
import pytest

from jaxvlm.clip import load, normalise, save_checkpoint
from jaxvlm.clip.openclip import WEIGHTS
from tests.clip.recipes import ODD, OPENCLIP, inputs, openclip_model, random_params, write_openclip

torch = pytest.importorskip("torch")

TOLERANCE = 1e-5  # of embeddings of length about 4, before normalisation


def ours(directory, size):
    clip, params = load(directory, np.float32, image_size=size)
    frames, _ = inputs(clip.config)
    pixels = np.asarray(normalise(frames, clip.config)).transpose(0, 3, 1, 2).copy()
    image = jax.jit(lambda p, x: clip.apply(p, x, method="encode_image"))(params, frames)
    return np.asarray(image), torch.from_numpy(pixels)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("factor", [1, 2, 4, 7])
def test_transformers(tmp_path, name, factor):
    from transformers import AutoModel

    config = ODD[name]
    save_checkpoint(tmp_path, config, random_params(config))
    image, pixels = ours(tmp_path, factor * config.patched.patch_size)
    model = AutoModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        theirs = model.get_image_features(pixels, interpolate_pos_encoding=True).pooler_output.numpy()
    print(f"{name} at {pixels.shape[-1]}: {np.abs(image - theirs).max():.1e}")
    np.testing.assert_allclose(image, theirs, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["gelu", "quick"])
@pytest.mark.parametrize("factor", [1, 3, 4, 7])
def test_openclip(tmp_path, name, factor):
    if (
        "open_clip" not in sys.modules and find_spec("open_clip") is None
    ):  # importing it would ask for torchvision
        pytest.skip("open_clip_torch is not installed")
    from safetensors.torch import load_file

    from tests.golden.make_openclip import import_openclip

    config, params = openclip_model(name)
    write_openclip(tmp_path, name, params)
    size = factor * config.vit.patch_size
    image, pixels = ours(tmp_path, size)
    module, values = import_openclip("model"), OPENCLIP[name]["model_cfg"]
    given = {key: value for key, value in values.items() if key != "custom_text"}
    given["vision_cfg"] = module.CLIPVisionCfg(**{**given["vision_cfg"], "image_size": size})
    given["text_cfg"] = module.CLIPTextCfg(**given["text_cfg"])
    model = (module.CustomTextCLIP if values.get("custom_text") else module.CLIP)(**given).eval()
    state = load_file(tmp_path / WEIGHTS)
    module.resize_pos_embed(state, model)
    model.load_state_dict(state, strict=True)
    with torch.no_grad():
        theirs = model.encode_image(pixels).numpy()
    print(f"{name} at {size}: {np.abs(image - theirs).max():.1e}")
    np.testing.assert_allclose(image, theirs, rtol=0, atol=TOLERANCE)
