"""Checkpoints: what is written is read back, and whatever is wrong is named in one line."""

import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxvlm.clip import (
    CLIPConfig,
    checkpoint,
    load,
    load_config,
    load_tokenizer,
    random_init,
    resolve,
    save_checkpoint,
)
from jaxvlm.clip.tensors import stored_tensors
from jaxvlm.errors import CheckpointError, ConfigError
from tests.clip.recipes import ODD, random_params

CONFIG = ODD["mixed"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("clip"), CONFIG, random_params(CONFIG))


@pytest.fixture
def directory(original, tmp_path):
    return shutil.copytree(original, tmp_path / "clip")


def fails(match, call, *arguments, error: type[Exception] = CheckpointError):
    with pytest.raises(error, match=match) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)


def rewrite(directory, change):
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def edit_config(directory, change):
    data = json.loads((directory / "config.json").read_text())
    change(data)
    (directory / "config.json").write_text(json.dumps(data))


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0.0), ("bfloat16", 2**-8), ("float16", 2**-11)])
def test_round_trip(tmp_path, dtype, error):
    params = random_params(CONFIG)
    clip, loaded = load(save_checkpoint(tmp_path, CONFIG, params, dtype), "float32")
    assert clip.config == CONFIG
    assert jax.tree.structure(params) == jax.tree.structure(loaded)
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(loaded), strict=True):
        assert theirs.dtype == jnp.float32
        np.testing.assert_allclose(theirs, ours, rtol=error, atol=1e-7 if error else 0)


def test_dtype_is_that_asked_for(directory):
    _, params = load(directory, jnp.bfloat16)
    dtypes = {str(leaf.dtype) for leaf in jax.tree.leaves(params["params"]["visual"])}
    assert dtypes == {"bfloat16"}
    assert params["params"]["logit_scale"].dtype == jnp.float32
    assert load(directory)[1]["params"]["visual"]["cls"].dtype == jnp.float32  # the tests run on the CPU


def test_position_ids_are_ignored(directory):
    _, before = load(directory)
    rewrite(directory, lambda x: x.update({"text_model.embeddings.position_ids": np.arange(11)[None]}))
    _, after = load(directory)
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_shards(directory):
    tensors = load_file(directory / "model.safetensors")
    expected = load(directory)[1]
    (directory / "model.safetensors").unlink()
    names = {name: f"model-0000{k % 2 + 1}-of-00002.safetensors" for k, name in enumerate(sorted(tensors))}
    for file in set(names.values()):
        save_file({name: tensors[name] for name in names if names[name] == file}, directory / file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    jax.tree.map(np.testing.assert_array_equal, load(directory)[1], expected)
    (directory / "model-00002-of-00002.safetensors").unlink()
    fails("model-00002-of-00002.safetensors", load, directory)


def test_missing_tensor(directory):
    rewrite(directory, lambda x: x.pop("visual_projection.weight"))
    fails("missing visual_projection.weight", load, directory)


def test_left_over_tensor(directory):
    rewrite(directory, lambda x: x.update(extra=np.zeros(3, np.float32)))
    fails("left over extra", load, directory)


def test_misshapen_tensor(directory):
    name = "text_model.encoder.layers.1.self_attn.k_proj.weight"
    rewrite(directory, lambda x: x.update({name: np.zeros((80, 79), np.float32)}))
    fails(rf"{name} is \[80, 79\] instead of \[80, 80\]", load, directory)


def test_tensor_of_whole_numbers(directory):
    rewrite(directory, lambda x: x.update({"visual_projection.weight": np.zeros((16, 80), np.int8)}))
    fails("visual_projection.weight holds I8 and not float16, bfloat16", load, directory)


def test_weights_that_end_while_they_are_read(directory):
    file = directory / "model.safetensors"
    tensors = stored_tensors([file])
    last = max(tensors.values(), key=lambda tensor: tensor.offset)
    np.testing.assert_array_equal(last.read(), load_file(file)[last.name])
    file.write_bytes(file.read_bytes()[:-1])
    fails(f"{file} ends within {last.name}", last.read)
    fails("is not a safetensors file", load, directory)
    file.unlink()
    fails(f"{file} cannot be read", last.read)


def test_config_of_another_depth_names_some_and_counts_the_rest(directory):
    edit_config(directory, lambda x: x["vision_config"].update(num_hidden_layers=3))
    fails(r"missing vision_model.encoder.layers.2.* and 8 more", load, directory)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_missing_file(directory, name):
    (directory / name).unlink()
    fails(f"{directory} has no {name}.*a checkpoint needs config.json, model.safetensors", load, directory)


def test_pickle_only(directory):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    fails(r"only pickled weights \(pytorch_model.bin\).*save_pretrained", load, directory)


@pytest.mark.parametrize("content", [b"", b"not a header", b"\xff" * 64])
def test_broken_weights(directory, content):
    (directory / "model.safetensors").write_bytes(content)
    fails("is not a safetensors file", load, directory)


def test_a_rescale_factor_that_nothing_can_be_divided_by(directory):
    file = directory / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "do_rescale": True, "rescale_factor": 0}))
    fails("is not a config .float division by zero", load, directory)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_broken_config(directory, content):
    (directory / "config.json").write_text(content)
    fails("config.json", load, directory)


def test_openclip_directory(directory):
    (directory / "config.json").rename(directory / "open_clip_config.json")
    fails("model_cfg and preprocess_cfg have to be JSON objects", load_config, directory, error=ConfigError)


@pytest.mark.parametrize("model_type", ["siglip_vision_model", "clip_vision_model", None])
def test_other_families(directory, model_type):
    edit_config(directory, lambda x: x.update(model_type=model_type))
    fails(f"model_type {model_type!r} is not supported yet", load, directory, error=ConfigError)


def test_openclip_config_file(directory):
    edit_config(directory, lambda x: x.update(model_cfg={}))
    fails("OpenCLIP", load, directory, error=ConfigError)


def test_names_that_mean_nothing(directory, tmp_path):
    fails("'no-such-place' is not a directory.*openai/clip-vit-large-patch14", resolve, "no-such-place")
    fails("is a file; give the directory", resolve, directory / "config.json")
    fails("no embedded CLIP 'tiny:moon'; known: tiny:", resolve, "tiny:moon")
    fails("no embedded CLIP 'untrained:moon:3'; known: untrained:", resolve, "untrained:moon:3")


def test_hub_name_without_network(monkeypatch, tmp_path):
    import huggingface_hub

    def offline(name, allow_patterns, local_files_only=False):
        raise huggingface_hub.errors.LocalEntryNotFoundError("cannot reach the hub\nsecond line")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    fails(
        "'some/clip' is neither.*cannot reach the hub.*config.json, model.safetensors", resolve, "some/clip"
    )


def test_hub_cache_comes_before_the_network(monkeypatch, directory):
    import huggingface_hub

    calls = []

    def cached(name, allow_patterns, local_files_only=False):
        assert "preprocessor_config.json" in allow_patterns
        calls.append(local_files_only)
        return str(directory)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    assert resolve("some/clip") == directory
    assert calls == [True]
    for count, name in enumerate(("model.safetensors", "preprocessor_config.json"), start=1):
        (directory / name).rename(directory / "elsewhere")  # an incomplete snapshot is fetched again
        resolve("some/clip")
        assert calls == [True] + count * [True, False, False]  # the small files first
        (directory / "elsewhere").rename(directory / name)


def test_incomplete_hub_cache_without_network(monkeypatch, directory):
    import huggingface_hub

    def cached(name, allow_patterns, local_files_only=False):
        if local_files_only:
            return str(directory)
        raise huggingface_hub.errors.LocalEntryNotFoundError("cannot reach the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", cached)
    (directory / "preprocessor_config.json").unlink()
    fails(f"{directory} has no preprocessor_config.json.*cannot reach the hub", resolve, "some/clip")


@pytest.mark.slow
def test_untrained(monkeypatch, directory):
    monkeypatch.setattr(checkpoint, "embedded_domains", lambda: ["moon"])
    monkeypatch.setattr(checkpoint, "_embedded", lambda name, domain: directory)
    clip, first = load("untrained:moon")
    assert clip.config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, first, random_init(CONFIG, jax.random.key(0)))
    half = load("untrained:moon", jnp.bfloat16)[1]["params"]
    assert half["logit_scale"].dtype == jnp.float32
    expected = {
        **jax.tree.map(lambda x: x.astype(jnp.bfloat16), first["params"]),
        "logit_scale": half["logit_scale"],
    }
    jax.tree.map(np.testing.assert_array_equal, half, expected)
    assert {x.dtype for x in jax.tree.leaves(half["text"])} == {jnp.dtype(jnp.bfloat16)}
    other = load("untrained:moon:7")[1]
    assert np.abs(other["params"]["visual"]["pos"] - first["params"]["visual"]["pos"]).max() > 0
    np.testing.assert_array_equal(
        load(f"untrained:{directory}")[1]["params"]["visual"]["pos"], first["params"]["visual"]["pos"]
    )
    fails("seed has to be one whole number", load, "untrained:moon:x", error=ConfigError)


def test_save_refuses_what_it_cannot_write(tmp_path):
    params = random_params(CONFIG)
    fails("shapes of the config", save_checkpoint, tmp_path, ODD["gelu"], params)
    params["params"]["visual"]["cls"] = params["params"]["visual"]["cls"] + 1e5
    fails("visual/cls is not finite as float16", save_checkpoint, tmp_path, CONFIG, params, "float16")
    params["params"]["logit_scale"] = params["params"]["logit_scale"] * np.nan
    fails("logit_scale is not finite; train", save_checkpoint, tmp_path, CONFIG, params, "float32")
    assert os.listdir(tmp_path) == []


def test_tokenizer_missing(directory):
    fails("has no tokenizer", load_tokenizer, directory)


def test_default_config_is_vit_b_32():
    assert CLIPConfig.from_dict({"model_type": "clip"}) == CLIPConfig()
