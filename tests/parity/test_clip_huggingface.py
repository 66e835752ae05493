"""The towers against transformers' PyTorch CLIPModel and SiglipModel, reading the same files."""

import jax
import numpy as np
import pytest

from jaxvlm.clip import (
    CLIP,
    CLIPConfig,
    TextConfig,
    VisionConfig,
    embedded_domains,
    load,
    load_config,
    load_tokenizer,
    normalise,
    resolve,
    save_checkpoint,
    stack_layers,
)

torch = pytest.importorskip("torch")

from tests.clip.recipes import ODD, inputs, random_params  # noqa: E402

TOLERANCE = 1e-5  # of embeddings of length about 4, before normalisation


def huggingface_embeddings(directory, frames, ids):
    from transformers import CLIPModel, SiglipModel

    kind = SiglipModel if load_config(directory).siglip else CLIPModel
    model = kind.from_pretrained(directory, dtype=torch.float32).eval()
    pixels = np.asarray(normalise(frames, load_config(directory))).transpose(0, 3, 1, 2)
    with torch.no_grad():
        image = model.get_image_features(torch.tensor(pixels)).pooler_output
        text = model.get_text_features(torch.tensor(ids, dtype=torch.long)).pooler_output
    return image.numpy(), text.numpy()


def check(directory, frames, ids):
    clip, params = load(directory, np.float32)
    image, text = huggingface_embeddings(directory, frames, ids)
    ours_image, ours_text, _ = jax.jit(clip.apply)(params, frames, ids)
    np.testing.assert_allclose(ours_image, image, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(ours_text, text, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ODD)
def test_random_weights(name, tmp_path):
    config = ODD[name]
    save_checkpoint(tmp_path, config, random_params(config))
    check(tmp_path, *inputs(config))


@pytest.mark.slow
def test_as_deep_as_bigg(tmp_path):
    """48 and 32 layers, heads of 104 numbers and an MLP of 4.92 times the width: ViT-bigG/14 but for the width."""
    config = CLIPConfig(
        vision=VisionConfig(208, 1024, 48, 2, 56, 14, "gelu"),
        text=TextConfig(37, 128, 512, 32, 2, 11, "gelu", eos_token_id=3, pad_token_id=0, bos_token_id=1),
        projection_dim=160,
    )
    save_checkpoint(tmp_path, config, random_params(config))
    frames, ids = inputs(config)
    image, text = huggingface_embeddings(tmp_path, frames, ids)
    clip, params = load(tmp_path, np.float32)
    ours_image, ours_text, _ = jax.jit(CLIP(clip.config, scan=True).apply)(stack_layers(params), frames, ids)
    np.testing.assert_allclose(ours_image, image, rtol=0, atol=1e-4 * np.abs(image).max())
    np.testing.assert_allclose(ours_text, text, rtol=0, atol=1e-4 * np.abs(text).max())
    assert np.abs(image - image.mean(0)).max() > 0.01 * np.abs(image).max()


def test_there_is_an_embedded_clip():
    assert embedded_domains()  # or the two tests below check nothing


@pytest.mark.parametrize("domain", embedded_domains())
def test_embedded(domain):
    directory = resolve(f"tiny:{domain}")
    _, ids = inputs(load_config(directory))
    frames, _ = inputs(load_config(directory))
    check(directory, frames, ids)


@pytest.mark.parametrize("domain", embedded_domains())
def test_embedded_tokenizer(domain):
    from transformers import AutoTokenizer

    tokenizer = load_tokenizer(f"tiny:{domain}")
    theirs = AutoTokenizer.from_pretrained(resolve(f"tiny:{domain}"))
    prompts = ["a pole, UPRIGHT on the cart!", "a zebra at the top of the mountain"]
    expected = theirs(prompts, padding="max_length", max_length=tokenizer.context)["input_ids"]
    np.testing.assert_array_equal(tokenizer(prompts), expected)


@pytest.mark.parametrize("name", ["gelu", "siglip"])
def test_random_init_has_the_spread_of_transformers(name):
    import transformers

    from jaxvlm.clip import random_init
    from jaxvlm.clip.layout import huggingface_entries, leaf

    config = ODD[name]
    torch.manual_seed(0)
    kind = "Siglip" if config.siglip else "CLIP"
    theirs_config = getattr(transformers, f"{kind}Config")(**config.to_dict())
    theirs = getattr(transformers, f"{kind}Model")(theirs_config).state_dict()
    ours = random_init(config, jax.random.key(0))["params"]
    for entry in huggingface_entries(config):
        value = np.asarray(leaf(ours, entry.path))
        expected = np.concatenate([theirs[name].numpy().ravel() for name in entry.names])
        assert value.size == expected.size
        error = 5 * expected.std() / np.sqrt(2 * value.size)
        assert abs(value.std() - expected.std()) <= error + 1e-7, entry.path
        assert abs(value.mean() - expected.mean()) <= 5 * expected.std() / np.sqrt(value.size) * 2 + 1e-6


def test_probability_is_the_sigmoid_of_the_logits(tmp_path):
    from transformers import SiglipModel

    from jaxvlm.reward import sigmoid_similarity

    config = ODD["siglip"]
    clip, params = load(save_checkpoint(tmp_path, config, random_params(config)), np.float32)
    frames, ids = inputs(config)
    model = SiglipModel.from_pretrained(tmp_path, dtype=torch.float32).eval()
    pixels = torch.tensor(np.asarray(normalise(frames, config)).transpose(0, 3, 1, 2))
    with torch.no_grad():
        logits = model(pixel_values=pixels, input_ids=torch.tensor(ids, dtype=torch.long)).logits_per_image
    image, text, logit_scale = jax.jit(clip.apply)(params, frames, ids)
    score = jax.vmap(jax.vmap(sigmoid_similarity, (None, 0, None, None)), (0, None, None, None))
    ours = score(image, text, logit_scale, params["params"]["logit_bias"])
    np.testing.assert_allclose(ours, torch.sigmoid(logits).numpy(), rtol=0, atol=1e-6)
    assert np.ptp(ours) > 0.01
