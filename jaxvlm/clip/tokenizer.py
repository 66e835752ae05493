"""Sentences to token ids, with the tokenizer of a checkpoint; nothing is ever cut off in silence."""

import gzip
import json
import re
import string
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int32

from jaxvlm.clip.checkpoint import load_config, resolve, tokenizer_settings
from jaxvlm.clip.config import LEGACY_EOS, SiglipTextConfig
from jaxvlm.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    import tokenizers

# CLIP's own vocabulary, which comes with the package, see `jaxvlm/assets/bpe`.
CLIP_VOCABULARY = 49408
START, END = "<|startoftext|>", "<|endoftext|>"

# The end of text must not get id 2: a config that says 2 is read as the legacy one, pooled at the largest id.
PAD, BOS, UNK, EOS = "[PAD]", "[BOS]", "[UNK]", "[EOS]"


class Tokenizer:
    """Pads sentences to a fixed context: `tokenizer(["a pole"])` is i32[1, context].

    `pad_id`, `bos_id` and `eos_id` are the ids around a sentence; CLIP has a first and a last token, SigLIP the last
    one alone, and an id that is not there is None.
    """

    def __init__(
        self,
        backend: "tokenizers.Tokenizer",
        context: int,
        pad_token: str | None = None,
        padding_side: str = "right",
    ):
        """Wraps a `tokenizers.Tokenizer`; without a known `pad_token` the end-of-text token pads, on `padding_side`.

        Raises CheckpointError when the backend puts more than one token before or after a sentence, when nothing can
        pad, and for a side that is neither `left` nor `right`.
        """
        backend.no_padding()
        backend.no_truncation()
        if padding_side not in ("left", "right"):
            raise CheckpointError(f"padding_side is {padding_side!r}; sentences are padded 'left' or 'right'")
        self.bos_id, self.eos_id = _frame(backend)
        pad_id = None if pad_token is None else backend.token_to_id(pad_token)
        pad_id = self.eos_id if pad_id is None else pad_id
        if pad_id is None:
            raise CheckpointError(
                f"the tokenizer has no end-of-text token, and pad_token {pad_token!r} is not in its vocabulary; name "
                "the one that pads in tokenizer_config.json"
            )
        self.context = context
        self.pad_id = pad_id
        self.padding_side = padding_side
        self._backend = backend

    @property
    def vocab_size(self) -> int:
        """How many ids there are."""
        return self._backend.get_vocab_size()

    def __call__(self, prompts: Sequence[str]) -> Int32[np.ndarray, "prompts context"]:
        """Token ids of each prompt.

        Raises ConfigError when there are no prompts, one is empty, or one has more tokens than the context.
        """
        if isinstance(prompts, str):
            raise ConfigError(f"prompts have to be a list; give [{prompts!r}]")
        if not prompts:
            raise ConfigError("there is no prompt; give at least one sentence")
        ids = np.full((len(prompts), self.context), self.pad_id, np.int32)
        first, last = (int(token is not None) for token in (self.bos_id, self.eos_id))
        for row, prompt in zip(ids, prompts, strict=True):
            tokens = self._backend.encode(prompt).ids
            if len(tokens) <= first + last or not prompt.strip():
                raise ConfigError(f"prompt {prompt!r} is empty; write a sentence")
            if last and self.eos_id in tokens[:-1]:
                raise ConfigError(f"prompt {prompt!r} holds the end-of-text token; leave it out")
            if len(tokens) > self.context:
                added = ("", " with the one around it", " with the first and last one")[first + last]
                raise ConfigError(
                    f"prompt {prompt!r} has {len(tokens)} tokens{added}, but the text tower takes {self.context}; "
                    "shorten it"
                )
            start = self.context - len(tokens) if self.padding_side == "left" else 0
            row[start : start + len(tokens)] = tokens
        return ids

    def unknown_words(self, text: str) -> list[str]:
        """The words the vocabulary does not have, in order; byte-pair encodings know every word."""
        unknown = getattr(self._backend.model, "unk_token", None)
        if unknown is None or type(self._backend.model).__name__ == "BPE":
            return []
        encoding = self._backend.encode(text, add_special_tokens=False)
        missing = self._backend.token_to_id(unknown)
        spans = zip(encoding.ids, encoding.offsets, strict=True)
        return [text[start:end] for token, (start, end) in spans if token == missing]


def load_tokenizer(name_or_path: str | Path) -> Tokenizer:
    """Reads `tokenizer.json`, or `vocab.json` and `merges.txt`, of a checkpoint (see `resolve` for names).

    Without them a text tower of CLIP's 49,408 ids gets CLIP's own byte-pair encoding, which comes with the package.

    SigLIP needs `tokenizer.json` and, in `tokenizer_config.json`, its `pad_token`: the tower looks at padding, and is
    pooled at the last place. `padding_side` is read there (absent: right). Sentences are lower-cased where
    `tokenizer.json` or `do_lower_case` says so, and cleaned first as OpenCLIP's `tokenizer_kwargs` say.

    Raises CheckpointError when the files are missing or broken, or not those of the checkpoint's text tower.
    """
    directory = resolve(name_or_path)
    text = load_config(directory).text
    if isinstance(text, SiglipTextConfig):
        tokenizer = _siglip_tokenizer(directory, text)
    else:
        tokenizer = Tokenizer(
            _read_backend(directory, text.vocab_size), text.max_position_embeddings, _pad_token(directory)
        )
    if tokenizer.vocab_size > text.vocab_size:
        raise CheckpointError(
            f"{directory}: the tokenizer has {tokenizer.vocab_size} ids and the tower {text.vocab_size}; "
            "use the files of one checkpoint"
        )
    if isinstance(text, SiglipTextConfig):
        return tokenizer
    if tokenizer.bos_id is None or tokenizer.eos_id is None:
        raise CheckpointError(
            f"{directory}: the tokenizer does not add a first and a last token to a sentence, as CLIP's does; use the "
            "files of one checkpoint"
        )
    pooled = tokenizer.vocab_size - 1 if text.eos_token_id == LEGACY_EOS else text.eos_token_id
    if tokenizer.eos_id != pooled:
        raise CheckpointError(
            f"{directory}: sentences end with id {tokenizer.eos_id} and the tower is pooled at "
            f"id {pooled}; use the files of one checkpoint"
        )
    return tokenizer


def _siglip_tokenizer(directory: Path, text: SiglipTextConfig) -> Tokenizer:
    from tokenizers import normalizers

    file = directory / "tokenizer.json"
    if not file.is_file():
        raise CheckpointError(
            f"{directory} has no tokenizer.json, and SigLIP's vocabularies do not come with this package; put that of "
            "the checkpoint there (transformers' AutoTokenizer.from_pretrained(...).save_pretrained writes it)"
        )
    backend = _from_file(file)
    settings = tokenizer_settings(directory)
    cleaning = _cleaning(settings.get("clean"))
    if settings.get("do_lower_case"):
        cleaning.append(normalizers.Lowercase())
    if cleaning:
        backend.normalizer = normalizers.Sequence(
            cleaning + ([] if backend.normalizer is None else [backend.normalizer])
        )
    pad_token = _pad_token(directory)
    if pad_token is None or backend.token_to_id(pad_token) is None:
        raise CheckpointError(
            f"{directory}: pad_token of tokenizer_config.json is {pad_token!r}, no token of tokenizer.json, but SigLIP "
            "looks at what pads a sentence; use the files of one checkpoint"
        )
    side = settings.get("padding_side") or "right"
    return Tokenizer(backend, text.max_position_embeddings, pad_token, side)


def _cleaning(clean: Any) -> list:
    """What OpenCLIP does to a sentence before its tokenizer does, but for mending broken encodings and HTML."""
    from tokenizers import Regex, normalizers

    if clean is None:
        return []
    steps: list = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    if clean == "whitespace":
        return steps
    if clean == "lower":
        return [*steps, normalizers.Lowercase()]
    if clean == "canonicalize":
        # Punctuation that stands alone leaves two spaces, so these are joined last.
        marks = Regex(f"[{re.escape(string.punctuation)}]")
        return [
            normalizers.Replace("_", " "),
            normalizers.Replace(marks, ""),
            normalizers.Lowercase(),
            *steps,
        ]
    raise CheckpointError(
        f"tokenizer_kwargs.clean of OpenCLIP's config is {clean!r}; known are whitespace, lower and canonicalize"
    )


def build_word_tokenizer(vocabulary: Sequence[str], directory: str | Path, context: int) -> Tokenizer:
    """Writes a tokenizer that knows whole words only: `tokenizer.json`, `tokenizer_config.json`.

    Sentences are lower-cased, and whatever is no letter or digit parts words. Words get the ids 4, 5, ... in
    the order given. transformers' AutoTokenizer reads the directory. Raises ConfigError for a word that could
    never be found in a sentence and for a repeated one.
    """
    from tokenizers import Regex, models, normalizers, pre_tokenizers, processors
    from tokenizers import Tokenizer as Backend

    specials = [PAD, BOS, UNK, EOS]
    ids = {token: k for k, token in enumerate([*specials, *vocabulary])}
    if len(ids) != len(specials) + len(vocabulary):
        repeated = sorted({word for word in vocabulary if list(vocabulary).count(word) > 1})
        raise ConfigError(
            f"the vocabulary repeats {', '.join(repeated) or 'a special token'}; give each word once"
        )
    backend = Backend(models.WordLevel(ids, unk_token=UNK))
    apart = normalizers.Replace(Regex(r"[^\p{L}\p{N}]+"), " ")
    backend.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase(), apart])
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}", special_tokens=[(BOS, ids[BOS]), (EOS, ids[EOS])]
    )
    for word in vocabulary:
        if backend.encode(word, add_special_tokens=False).ids != [ids[word]]:
            raise ConfigError(f"vocabulary entry {word!r} is not one lower-case word of letters and digits")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    # Declared after the words were checked: a special token is found in a sentence before it is normalised.
    backend.add_special_tokens(specials)
    backend.save(str(directory / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": context,
        "model_input_names": ["input_ids", "attention_mask"],
        "pad_token": PAD,
        "bos_token": BOS,
        "unk_token": UNK,
        "eos_token": EOS,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    return Tokenizer(backend, context, PAD)


def clip_tokenizer(context: int = 77) -> Tokenizer:
    """CLIP's byte-pair encoding: ids as transformers' CLIPTokenizer gives them, padded with the end of text."""
    return Tokenizer(_clip_backend(), context)


def _clip_backend() -> "tokenizers.Tokenizer":
    from tokenizers import Regex, models, normalizers, pre_tokenizers, processors
    from tokenizers import Tokenizer as Backend

    file = resources.files("jaxvlm") / "assets" / "bpe" / "merges.txt.gz"
    lines = gzip.decompress(file.read_bytes()).decode("utf-8").splitlines()[1:]  # the first says the version
    merges = [(first, second) for first, _, second in (line.partition(" ") for line in lines)]
    # Ids: the bytes in the order of GPT-2's table, printable ones first; the same at the end of a word; what is merged.
    alphabet = [chr(code) for code in _byte_order()]
    words = [*alphabet, *(f"{byte}</w>" for byte in alphabet), *(a + b for a, b in merges), START, END]
    vocabulary = {word: index for index, word in enumerate(words)}
    backend = Backend(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            unk_token=END,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
        )
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    pattern = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.add_special_tokens([START, END])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])]
    )
    return backend


def _byte_order() -> list[int]:
    """Code points that stand for the 256 bytes, in the order of their ids: GPT-2's table of printable characters."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [*printable, *range(256, 256 + 256 - len(printable))]


def _read_backend(directory: Path, vocab_size: int) -> "tokenizers.Tokenizer":
    file = directory / "tokenizer.json"
    if file.is_file():
        return _from_file(file)
    if (directory / "vocab.json").is_file() and (directory / "merges.txt").is_file():
        from transformers import CLIPTokenizer

        return CLIPTokenizer.from_pretrained(directory).backend_tokenizer
    if vocab_size == CLIP_VOCABULARY:
        return _clip_backend()
    raise CheckpointError(
        f"{directory} has no tokenizer; put tokenizer.json, or vocab.json and merges.txt, there"
    )


def _from_file(file: Path) -> "tokenizers.Tokenizer":
    from tokenizers import Tokenizer as Backend

    try:
        return Backend.from_file(str(file))
    except Exception as error:  # the library raises bare Exception
        raise CheckpointError(f"{file} is not a tokenizer ({error}); fetch it again") from None


def _frame(backend: "tokenizers.Tokenizer") -> tuple[int | None, int | None]:
    """The ids that are put before and after a sentence."""
    ids = backend.encode("").ids
    if len(ids) > 2:
        raise CheckpointError(
            f"the tokenizer adds {len(ids)} tokens around a sentence, not at most a first and a last one; "
            "use the files of a CLIP or SigLIP checkpoint"
        )
    if len(ids) == 1:
        return (None, ids[0]) if backend.encode("a").ids[-1] == ids[0] else (ids[0], None)
    return (ids[0], ids[1]) if ids else (None, None)


def _pad_token(directory: Path) -> str | None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if not (directory / name).is_file():
            continue
        try:
            token: Any = json.loads((directory / name).read_text(encoding="utf-8")).get("pad_token")
        except (AttributeError, ValueError):
            raise CheckpointError(f"{directory / name} is not a JSON object; fetch it again") from None
        if token:
            return token if isinstance(token, str) else token["content"]
    return None
