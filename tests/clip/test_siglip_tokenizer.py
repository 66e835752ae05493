"""SigLIP's tokenizers: only an end of text, or nothing, around a sentence, padded to the whole context."""

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from jaxvlm.clip import load_tokenizer
from jaxvlm.clip import tokenizer as module
from jaxvlm.errors import CheckpointError, ConfigError
from tests.clip.recipes import ODD, OPENCLIP

CONFIG = ODD["siglip"]  # context 9, 37 ids
IDS = {
    "<pad>": 0,
    "</s>": 1,
    "<bos>": 2,
    "<unk>": 3,
    "a": 4,
    "pole": 5,
    "on": 6,
    "cart": 7,
    "Pole": 8,
    "cart.": 9,
}
SETTINGS = {"pad_token": "<pad>", "eos_token": "</s>"}


def words(template="$A </s>"):
    backend = Tokenizer(models.WordLevel(IDS, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.add_special_tokens(["<pad>", "</s>", "<bos>", "<unk>"])
    if template != "$A":
        names = [name for name in template.split() if name != "$A"]
        backend.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[(name, IDS[name]) for name in set(names)]
        )
    return backend


def write_tokenizer(directory: Path, backend=None, **settings):
    """Puts a tokenizer of whole words, or `backend`, into a directory that has a `config.json` or makes one."""
    directory = Path(directory)
    if not (directory / "config.json").exists() and not (directory / "open_clip_config.json").exists():
        (directory / "config.json").write_text(json.dumps(CONFIG.to_dict()))
    (backend or words()).save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps({**SETTINGS, **settings}))
    return directory


@pytest.mark.parametrize(
    ("template", "first", "last"),
    [("$A </s>", [], [1]), ("<bos> $A", [2], []), ("$A", [], []), ("<bos> $A </s>", [2], [1])],
)
def test_what_stands_around_a_sentence(tmp_path, template, first, last):
    tokenizer = load_tokenizer(write_tokenizer(tmp_path, words(template)))
    assert tokenizer.bos_id == (first or [None])[0]
    assert tokenizer.eos_id == (last or [None])[0]
    ids = [*first, 4, 5, *last]
    assert tokenizer(["a pole"]).tolist() == [ids + [0] * (9 - len(ids))]
    fits = " ".join(["a"] * (9 - len(first) - len(last)))
    assert tokenizer([fits]).tolist() == [[*first, *[4] * len(fits.split()), *last]]
    with pytest.raises(ConfigError, match=r"has 10 tokens.*takes 9; shorten it"):
        tokenizer([f"{fits} a"])
    for empty in ("", "  "):
        with pytest.raises(ConfigError, match="is empty"):
            tokenizer([empty])


@pytest.mark.parametrize(("side", "row"), [("left", [0] * 6 + [4, 5, 1]), ("right", [4, 5, 1] + [0] * 6)])
def test_padding_side_is_that_of_the_file(tmp_path, side, row):
    tokenizer = load_tokenizer(write_tokenizer(tmp_path, padding_side=side))
    assert tokenizer(["a pole"]).tolist() == [row]
    from transformers import AutoTokenizer

    settings = {**SETTINGS, "padding_side": side, "tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    theirs = AutoTokenizer.from_pretrained(tmp_path)(["a pole"], padding="max_length", max_length=9)
    assert theirs["input_ids"] == [row]


def test_case_is_that_of_the_files(tmp_path):
    assert load_tokenizer(write_tokenizer(tmp_path))(["a Pole"])[0, :3].tolist() == [4, 8, 1]
    lower = words()
    lower.normalizer = normalizers.Lowercase()
    assert load_tokenizer(write_tokenizer(tmp_path, lower))(["a Pole"])[0, :3].tolist() == [4, 5, 1]
    folder = write_tokenizer(tmp_path, do_lower_case=True)
    assert load_tokenizer(folder)(["a Pole"])[0, :3].tolist() == [4, 5, 1]
    assert load_tokenizer(folder).unknown_words("a Robot on") == ["Robot"]


def test_sentence_pieces(tmp_path):
    """SigLIP's own kind: a unigram model whose end of text is also the padding."""
    pieces = [
        ("<unk>", 0.0),
        ("</s>", 0.0),
        ("▁a", -1.0),
        ("▁po", -2.0),
        ("le", -2.0),
        ("▁pole", -1.5),
        ("▁", -5.0),
    ]
    backend = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    backend.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex("[.,]"), "")]
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder = write_tokenizer(tmp_path, backend, pad_token={"content": "</s>", "lstrip": True})
    tokenizer = load_tokenizer(folder)
    assert tokenizer(["A pole."]).tolist() == [[2, 5] + [1] * 7]
    assert (tokenizer.pad_id, tokenizer.bos_id) == (1, None)


@pytest.mark.parametrize(
    ("clean", "sentence", "ids"),
    [
        ("canonicalize", " A_Pole, on  - cart.", [4, 5, 6, 7, 1]),
        ("lower", "A Pole  on cart.", [4, 5, 6, 9, 1]),
        ("whitespace", "a Pole  on cart.", [4, 8, 6, 9, 1]),
        (None, "a Pole  on cart.", [4, 8, 6, 9, 1]),
    ],
)
def test_sentences_are_cleaned_as_openclip_does(tmp_path, clean, sentence, ids):
    values = json.loads(json.dumps(OPENCLIP["siglip"]))
    values["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"clean": clean} if clean else None
    (tmp_path / "open_clip_config.json").write_text(json.dumps(values))
    tokenizer = load_tokenizer(write_tokenizer(tmp_path))
    assert tokenizer([sentence]).tolist() == [ids + [0] * (9 - len(ids))]


@pytest.mark.parametrize("clean", ["strip", ["lower"]])
def test_cleaning_that_is_unknown(tmp_path, clean):
    values = json.loads(json.dumps(OPENCLIP["siglip"]))
    values["model_cfg"]["text_cfg"]["tokenizer_kwargs"] = {"clean": clean}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="known are whitespace, lower and canonicalize"):
        load_tokenizer(write_tokenizer(tmp_path))


def test_files_that_are_missing_or_others(tmp_path):
    folder = write_tokenizer(tmp_path)
    with pytest.raises(CheckpointError, match="padding_side is 'middle'"):
        load_tokenizer(write_tokenizer(tmp_path, padding_side="middle"))
    for token in (None, "[PAD]"):
        with pytest.raises(
            CheckpointError, match=r"pad_token of tokenizer_config.json is .* looks at what pads"
        ):
            load_tokenizer(write_tokenizer(tmp_path, pad_token=token))
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"pad_token of tokenizer_config.json is None"):
        load_tokenizer(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is not a tokenizer"):
        load_tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt", "spiece.model"):
        (folder / name).write_text("{}")
    with pytest.raises(
        CheckpointError, match=r"has no tokenizer.json, and SigLIP's vocabularies do not come with"
    ):
        load_tokenizer(folder)
    data = CONFIG.to_dict()
    data["text_config"]["vocab_size"] = 5
    (folder / "config.json").write_text(json.dumps(data))
    with pytest.raises(CheckpointError, match="the tokenizer has 10 ids and the tower 5"):
        load_tokenizer(write_tokenizer(tmp_path))


def test_too_many_tokens_around_a_sentence():
    with pytest.raises(CheckpointError, match="adds 3 tokens around a sentence"):
        module.Tokenizer(words("<bos> <bos> $A </s>"), 9, "<pad>")
    with pytest.raises(CheckpointError, match="no end-of-text token, and pad_token None"):
        module.Tokenizer(words("$A"), 9)


def test_clip_needs_both(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(ODD["mixed"].to_dict()))
    with pytest.raises(CheckpointError, match="does not add a first and a last token"):
        load_tokenizer(write_tokenizer(tmp_path))


def test_the_end_of_text_inside_a_sentence(tmp_path):
    tokenizer = load_tokenizer(write_tokenizer(tmp_path))
    with pytest.raises(ConfigError, match="holds the end-of-text token"):
        tokenizer(["a </s> pole"])
    assert tokenizer(["a pole"]).dtype == np.int32
