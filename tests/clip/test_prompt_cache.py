"""The cache of prompt embeddings: the same bits, other weights miss, and nothing that is wrong with it ends a run."""

import os
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.registry import make_task
from jaxvlm.clip import embed_prompts, load, load_tokenizer, prompt_cache
from jaxvlm.clip.prompt_cache import embed_cached
from jaxvlm.errors import ConfigError
from jaxvlm.runtime import prompt_cache_folder
from jaxvlm.vlmrm.build import build, digest, load_tower
from tests.vlmrm.conftest import tiny_config

PROMPTS = ["pole vertically upright on top of the cart", "pole and cart"]


@pytest.fixture(scope="module")
def tower():
    return load_tower("tiny", "cartpole")


@pytest.fixture
def calls(monkeypatch):
    """Token ids of each call that went through the text tower."""
    seen, embed = [], prompt_cache.embed_ids
    monkeypatch.setattr(
        prompt_cache, "embed_ids", lambda clip, params, ids: (seen.append(ids), embed(clip, params, ids))[1]
    )
    return seen


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXVLM_PROMPT_CACHE", str(tmp_path / "prompts"))
    return tmp_path / "prompts"


def entries(folder):
    return sorted(folder.iterdir())


@pytest.mark.slow
def test_a_hit_has_the_bits_of_the_tower_and_skips_it(tower, calls, folder):
    expected = np.asarray(embed_prompts(tower.clip, tower.params, tower.tokenizer, PROMPTS))
    assert len(calls) == 0
    for count in (1, 1, 1):
        ours = tower.embed(PROMPTS)
        assert isinstance(ours, jax.Array)
        assert np.asarray(ours).tobytes() == expected.tobytes()
        assert len(calls) == len(entries(folder)) == count
    tower.embed(PROMPTS[:1])  # other calls are other entries
    tower.embed(PROMPTS[::-1])
    assert len(calls) == len(entries(folder)) == 3


@pytest.mark.slow
def test_other_weights_dtypes_and_configs_miss(tower, calls, folder):
    first = np.asarray(tower.embed(PROMPTS))
    tree = tower.params["params"]
    text = {**tree["text"], "pos": tree["text"]["pos"].at[0, 0].add(1.0)}
    changed = replace(tower, params={"params": {**tree, "text": text}})
    assert np.abs(np.asarray(changed.embed(PROMPTS)) - first).max() > 0
    half = replace(tower, params=jax.tree.map(lambda x: x.astype(jnp.bfloat16), tower.params))
    half.embed(PROMPTS)
    config = replace(tower.clip.config, text=replace(tower.clip.config.text, hidden_act="gelu_pytorch_tanh"))
    replace(tower, clip=tower.clip.clone(config=config)).embed(PROMPTS)
    assert len(calls) == len(entries(folder)) == 4


def test_a_single_sentence_is_not_taken_for_letters(tower, calls, folder, monkeypatch):
    with pytest.raises(ConfigError, match=r"give \['upright'\]"):
        tower.embed("upright")
    monkeypatch.setenv("JAXVLM_PROMPT_CACHE", "0")
    with pytest.raises(ConfigError, match=r"give \['upright'\]"):
        tower.embed("upright")
    assert not calls
    assert not folder.exists()


def test_another_version_of_the_code_misses(tower, calls, folder, monkeypatch):
    tower.embed(PROMPTS)
    monkeypatch.setattr(prompt_cache, "_code", lambda: "another")
    tower.embed(PROMPTS)
    assert len(calls) == 2


@pytest.mark.parametrize("damage", ["empty", "noise", "cut", "flipped", "shape", "nan", "folder"])
def test_a_broken_entry_is_written_again(tower, calls, folder, damage):
    expected = np.asarray(tower.embed(PROMPTS))
    [entry] = entries(folder)
    whole = entry.read_bytes()
    if damage == "folder":
        entry.unlink()
        entry.mkdir()
    elif damage in ("shape", "nan"):
        np.savez(entry, embeddings=expected[:1] if damage == "shape" else expected * np.float32("nan"))
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        entry.write_bytes({"empty": b"", "noise": b"x" * 99, "cut": whole[:-9], "flipped": flipped}[damage])
    for _ in range(2):
        np.testing.assert_array_equal(tower.embed(PROMPTS), expected)
    # A folder in an entry's place cannot be replaced; then each call computes.
    assert len(calls) == (3 if damage == "folder" else 2)
    assert [child.suffix for child in entries(folder)] == [".npz"]  # no draft is left behind


def test_a_folder_that_cannot_be_written_is_none(tower, calls, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("JAXVLM_PROMPT_CACHE", str(tmp_path / "file" / "prompts"))
    expected = np.asarray(tower.embed(PROMPTS))
    np.testing.assert_array_equal(tower.embed(PROMPTS), expected)
    assert len(calls) == 2


def test_the_oldest_entries_go(tower, calls, folder):
    def embed(prompt):
        return embed_cached(
            tower.clip, tower.params, tower.tokenizer, [prompt], digest=tower.digest, folder=folder, most=3
        )

    words = ["pole", "cart", "upright", "top"]
    for age, word in enumerate(words[:3]):
        embed(word)
        newest = max(entries(folder), key=lambda entry: entry.stat().st_mtime_ns)
        os.utime(newest, (1000 + age, 1000 + age))
    embed(words[0])  # used again: the second is the oldest now
    embed(words[3])
    assert len(entries(folder)) == 3
    assert len(calls) == 4
    embed(words[0])
    embed(words[2])
    assert len(calls) == 4
    embed(words[1])
    assert len(calls) == 5


def test_prompts_are_refused_as_without_a_cache(tower, folder):
    with pytest.raises(ConfigError, match="is empty"):
        tower.embed([""])
    assert not folder.exists()


def test_where_the_folder_is(monkeypatch, tmp_path):
    assert prompt_cache_folder() is None  # turned off for the tests
    monkeypatch.delenv("JAXVLM_PROMPT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert prompt_cache_folder() == tmp_path / "jaxvlm" / "prompts"
    monkeypatch.setenv("JAXVLM_PROMPT_CACHE", "~/there")
    assert prompt_cache_folder() == Path("~/there").expanduser()


def test_the_second_build_of_a_run_embeds_nothing_and_is_the_same(calls, folder):
    task = make_task("cartpole")
    config = tiny_config(reward_alpha=0.5)
    first, second = (build(config, task.env, task.params, domain=task.domain) for _ in range(2))
    assert len(calls) == 2  # goal and baseline
    jax.tree.map(np.testing.assert_array_equal, first.inputs.reward, second.inputs.reward)


def test_the_digest_tells_weights_apart(tower):
    clip, params = load("tiny:cartpole")
    assert digest(params) == tower.digest == digest(jax.tree.map(np.asarray, params))
    assert len(tower.digest) == 64
    other = jax.tree.map(lambda x: x, params)
    other["params"]["logit_scale"] = other["params"]["logit_scale"] + 1
    assert digest(other) != tower.digest
    assert load_tokenizer("tiny:cartpole")(PROMPTS).shape[1] == clip.config.context
