"""Resizing of tensors against PyTorch's `interpolate`."""

import numpy as np
import pytest

from jaxvlm.clip import CLIPConfig, Resize, VisionConfig, preprocess

torch = pytest.importorskip("torch")

SIZE = 48


def theirs(frames, config, size, antialias):
    """Frames as VLM-RM's reference code prepares them: floats, resized, then normalised."""
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
    mode = config.resize_or_default.resample
    resized = torch.nn.functional.interpolate(
        pixels, size=size, mode=mode, align_corners=False, antialias=antialias
    )
    mean, std = (torch.tensor(x)[:, None, None] for x in (config.image_mean, config.image_std))
    return ((resized - mean) / std).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("shape", [(96, 130), (31, 48), (20, 17), (200, 49)])
def test_squashed_tensors(resample, antialias, shape):
    config = CLIPConfig(
        vision=VisionConfig(image_size=SIZE, patch_size=16),
        resize=Resize(size=(SIZE, SIZE), resample=resample),
    )
    frames = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), np.uint8)
    expected = theirs(frames, config, (SIZE, SIZE), antialias)
    ours = preprocess(frames, config, "squash", "antialiased" if antialias else "aliased")
    # A grey level is 0.015; the facts' bound for the path without antialiasing is 4e-5 of the range of pixels.
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def test_shortest_edge_and_crop():
    config = CLIPConfig(vision=VisionConfig(image_size=SIZE, patch_size=16))
    frames = np.random.default_rng(1).integers(0, 256, (1, 72, 100, 3), np.uint8)
    width = SIZE * 100 // 72
    expected = theirs(frames, config, (SIZE, width), True)[:, :, (width - SIZE) // 2 :][:, :, :SIZE]
    ours = preprocess(frames, config, resampling="antialiased")
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)
