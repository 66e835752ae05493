"""Tokenizers: word-level and byte-pair, from every set of files a checkpoint may hold."""

import json

import jax
import numpy as np
import pytest

from jaxvlm.clip import CLIP, TextConfig, build_word_tokenizer, embed_prompts, load_tokenizer, save_checkpoint
from jaxvlm.errors import CheckpointError, ConfigError
from tests.clip.recipes import ODD, random_params

CONFIG = ODD["mixed"]  # context 11
WORDS = ["a", "pole", "upright", "on", "the", "cart"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = save_checkpoint(tmp_path_factory.mktemp("clip"), CONFIG, random_params(CONFIG))
    build_word_tokenizer(WORDS, path, CONFIG.context)
    return path


def test_words(directory):
    tokenizer = load_tokenizer(directory)
    assert (tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.vocab_size) == (0, 1, 3, 10)
    ids = tokenizer(["A pole, UPRIGHT!", "on-the cart's"])
    assert ids.dtype == np.int32
    assert ids.tolist() == [[1, 4, 5, 6, 3] + [0] * 6, [1, 7, 8, 9, 2, 3] + [0] * 5]
    assert tokenizer.unknown_words("The Robot's pole kneels") == ["Robot", "s", "kneels"]


def test_transformers_reads_the_same(directory):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(directory)
    prompts = ["A pole, UPRIGHT!", "on-the cart's", "the zebra"]
    expected = theirs(prompts, padding="max_length")["input_ids"]
    np.testing.assert_array_equal(load_tokenizer(directory)(prompts), expected)


@pytest.mark.parametrize(
    ("prompts", "match"),
    [
        ([], "there is no prompt"),
        (["a pole", "  "], "'  ' is empty"),
        (["..."], "is empty"),
        (["a " * 12], "14 tokens.*takes 11"),
        (["a [EOS] pole"], "end-of-text"),
    ],
)
def test_bad_prompts(directory, prompts, match):
    with pytest.raises(ConfigError, match=match):
        load_tokenizer(directory)(prompts)


def test_context_is_filled_exactly(directory):
    assert load_tokenizer(directory)(["a " * 9])[0].tolist() == [1, *[4] * 9, 3]


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["a", "b", "a"], "repeats a;"),
        (["[EOS]"], "special token"),
        (["Pole"], "'Pole'"),
        (["two words"], "'two words'"),
        ([""], "''"),
    ],
)
def test_bad_vocabulary(tmp_path, words, match):
    with pytest.raises(ConfigError, match=match):
        build_word_tokenizer(words, tmp_path, 8)
    assert not list(tmp_path.iterdir())


def test_files_of_another_checkpoint(tmp_path, directory):
    save_checkpoint(tmp_path, CONFIG, random_params(CONFIG))
    build_word_tokenizer([f"w{k}" for k in range(40)], tmp_path, 8)
    with pytest.raises(CheckpointError, match="44 ids and the tower 37"):
        load_tokenizer(tmp_path)
    data = json.loads((directory / "config.json").read_text())
    data["text_config"]["eos_token_id"] = 5
    (tmp_path / "config.json").write_text(json.dumps(data))
    build_word_tokenizer(WORDS, tmp_path, 8)
    with pytest.raises(CheckpointError, match=r"end with id 3 .* id 5"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is not a tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("files", ["tokenizer.json", "vocab.json"])
def test_byte_pairs(tmp_path, files):
    letters = [chr(code) for code in range(97, 123)]
    tokens = [*letters, *(x + "</w>" for x in letters), "po", "pol", "pole</w>"]
    vocab = {token: k for k, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    merges = ["p o", "po l", "pol e</w>"]
    (tmp_path / "vocab.json").write_text(json.dumps(vocab))
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))
    if files == "tokenizer.json":
        from transformers import CLIPTokenizer

        CLIPTokenizer.from_pretrained(tmp_path).save_pretrained(tmp_path)
        (tmp_path / "vocab.json").unlink(missing_ok=True)
        assert (tmp_path / "tokenizer.json").is_file()
    start, end = len(vocab) - 2, len(vocab) - 1
    text = TextConfig(len(vocab), 16, 32, 1, 2, 8, eos_token_id=2)  # the legacy rule, as published
    config = type(CONFIG)(CONFIG.vision, text, 16)
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))
    tokenizer = load_tokenizer(tmp_path)
    expected = [start, vocab["pole</w>"], vocab["a"], vocab["t</w>"], end, end, end, end]
    assert tokenizer(["Pole  at"])[0].tolist() == expected
    assert tokenizer.unknown_words("pole zzz") == []
    with pytest.raises(ConfigError, match="takes 8"):
        tokenizer(["a b c d e f g"])


@pytest.mark.slow
def test_embed_prompts(directory):
    params = random_params(CONFIG)
    embeddings = embed_prompts(CLIP(CONFIG), params, load_tokenizer(directory), ["a pole", "a cart"])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=-1), 1, atol=1e-6)
    raw = CLIP(CONFIG).apply(params, load_tokenizer(directory)(["a cart"]), method="encode_text")
    np.testing.assert_allclose(embeddings[1], raw[0] / np.linalg.norm(raw[0]), atol=1e-6)
    assert isinstance(embeddings, jax.Array)
