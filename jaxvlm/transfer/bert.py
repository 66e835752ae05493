"""BERT (Devlin et al. 2018, arXiv 1810.04805) as a sentence encoder: all-MiniLM-L6-v2 and others of its layout.

Tokens' last states are averaged over the sentence and scaled to unit length, as sentence-transformers does.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxvlm.clip.layout import nest
from jaxvlm.errors import CheckpointError, ConfigError
from jaxvlm.runtime.files import expand

if TYPE_CHECKING:
    import tokenizers

CONFIG, WEIGHTS, TOKENIZER = "config.json", "model.safetensors", "tokenizer.json"
FILES_WANTED = f"{CONFIG}, {WEIGHTS} and {TOKENIZER}"
_HIGHEST = jax.lax.Precision.HIGHEST


@dataclass(frozen=True)
class BertConfig:
    """The numbers of `config.json` that shape the encoder."""

    vocab_size: int = 30522
    hidden_size: int = 384
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    intermediate_size: int = 1536
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "BertConfig":
        """Reads a Hugging Face config; raises `ConfigError` for a model that is not an absolute-position BERT."""
        for name, wanted in (
            ("model_type", "bert"),
            ("hidden_act", "gelu"),
            ("position_embedding_type", "absolute"),
        ):
            if data.get(name, wanted) != wanted:
                raise ConfigError(
                    f"the sentence encoder's {name} is {data[name]!r}; only {wanted!r} is supported"
                )
        known = {field.name for field in fields(cls)}
        config = cls(**{name: value for name, value in data.items() if name in known})
        if config.hidden_size % config.num_attention_heads:
            raise ConfigError(
                f"hidden_size {config.hidden_size} does not split into {config.num_attention_heads} heads"
            )
        return config


class _Layer(nn.Module):
    """Self-attention and MLP, each added to its input and then normalised."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch n d"], mask: Float[Array, "batch n"]
    ) -> Float[Array, "batch n d"]:
        config = self.config
        width, heads = config.hidden_size, config.num_attention_heads

        def split(name: str) -> jax.Array:
            projected = nn.Dense(width, precision=_HIGHEST, name=name)(x)
            return projected.reshape(*x.shape[:2], heads, -1)

        q, k, v = (split(name) for name in ("query", "key", "value"))
        logits = jnp.einsum("bqhd,bkhd->bhqk", q, k, precision=_HIGHEST) * q.shape[-1] ** -0.5
        weights = jax.nn.softmax(jnp.where(mask[:, None, None, :] > 0, logits, -1e30))
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, v, precision=_HIGHEST).reshape(x.shape)
        norm = lambda name: nn.LayerNorm(epsilon=config.layer_norm_eps, name=name)  # noqa: E731
        x = norm("attention_norm")(x + nn.Dense(width, precision=_HIGHEST, name="attention_output")(mixed))
        h = nn.Dense(config.intermediate_size, precision=_HIGHEST, name="intermediate")(x)
        h = jax.nn.gelu(h, approximate=False)
        return norm("output_norm")(x + nn.Dense(width, precision=_HIGHEST, name="output")(h))


class Bert(nn.Module):
    """Token ids to the last hidden states, float32; what `mask` leaves out is not attended to."""

    config: BertConfig

    @nn.compact
    def __call__(
        self, ids: Int[Array, "batch n"], mask: Float[Array, "batch n"]
    ) -> Float[Array, "batch n d"]:
        config = self.config
        table = lambda name, size: self.param(  # noqa: E731
            name, nn.initializers.normal(0.02), (size, config.hidden_size)
        )
        x = table("word", config.vocab_size)[ids]
        x = x + table("position", config.max_position_embeddings)[: ids.shape[1]]
        x = x + table("token_type", config.type_vocab_size)[0]
        x = nn.LayerNorm(epsilon=config.layer_norm_eps, name="norm")(x)
        for index in range(config.num_hidden_layers):
            x = _Layer(config, name=f"layer_{index}")(x, mask)
        return x


def mean_pooled(states: Float[Array, "batch n d"], mask: Float[Array, "batch n"]) -> Float[Array, "batch d"]:
    """Mean of the states that the mask keeps, of unit length."""
    mean = jnp.sum(states * mask[..., None], axis=1) / jnp.maximum(jnp.sum(mask, axis=1), 1.0)[:, None]
    return mean / jnp.maximum(jnp.linalg.norm(mean, axis=-1, keepdims=True), 1e-12)


class SentenceEncoder:
    """A BERT with its tokenizer; `encoder(["go to the ball"])` is f32[1, d], of unit length."""

    def __init__(self, config: BertConfig, params: Any, backend: "tokenizers.Tokenizer", longest: int):
        """`longest` is how many tokens of a sentence are read, with the first and last one."""
        self.config, self.params = config, params
        backend.no_padding()
        backend.no_truncation()
        self._backend, self._longest = backend, longest

        @jax.jit
        def run(params: Any, ids: jax.Array, mask: jax.Array) -> jax.Array:
            states: Any = Bert(config).apply(params, ids, mask)
            return mean_pooled(states, mask)

        self._run = run

    @property
    def dimensions(self) -> int:
        """Numbers in an embedding."""
        return self.config.hidden_size

    def __call__(self, sentences: Sequence[str]) -> Float[np.ndarray, "n d"]:
        """Embeds sentences.

        Raises `ConfigError` when there are none, one is empty, or one has more tokens than the encoder reads.
        """
        if isinstance(sentences, str):
            raise ConfigError(f"sentences have to be a list; give [{sentences!r}]")
        if not sentences:
            raise ConfigError("there is no sentence to encode")
        tokens = []
        for sentence in sentences:
            found = self._backend.encode(sentence).ids
            if not sentence.strip() or len(found) <= 2:
                raise ConfigError(f"sentence {sentence!r} is empty; write an instruction")
            if len(found) > self._longest:
                raise ConfigError(
                    f"sentence {sentence!r} has {len(found)} tokens, the encoder reads {self._longest}; shorten it"
                )
            tokens.append(found)
        # Few shapes, so few compilations.
        width = min(self._longest, -(-max(map(len, tokens)) // 8) * 8)
        rows = 1 << (len(tokens) - 1).bit_length()
        ids, mask = np.zeros((rows, width), np.int32), np.zeros((rows, width), np.float32)
        for k, found in enumerate(tokens):
            ids[k, : len(found)], mask[k, : len(found)] = found, 1.0
        return np.asarray(self._run(self.params, ids, mask))[: len(tokens)]


def load_sentence_encoder(directory: str | Path) -> SentenceEncoder:
    """Reads a directory in the layout of sentence-transformers or of a Hugging Face `BertModel`.

    Raises CheckpointError for files that are missing, broken or not of one model, and ConfigError for a model that is
    not supported: another architecture, or another pooling than the mean.
    """
    from safetensors import SafetensorError, safe_open
    from tokenizers import Tokenizer

    folder = expand(directory)
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (folder / name).is_file():
            raise CheckpointError(
                f"{folder} has no {name}; a sentence encoder needs {FILES_WANTED}, and a CLIP of the hub is named "
                "clip:NAME"
            )
    config = BertConfig.from_dict(_json(folder / CONFIG))
    pooling = folder / "1_Pooling" / CONFIG
    if pooling.is_file() and not _json(pooling).get("pooling_mode_mean_tokens", True):
        raise ConfigError(
            f"{pooling} asks for another pooling than the mean over tokens, which is not supported"
        )
    longest = config.max_position_embeddings
    if (folder / "sentence_bert_config.json").is_file():
        longest = min(longest, _json(folder / "sentence_bert_config.json").get("max_seq_length") or longest)
    leaves, problems = {}, []
    try:
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            prefix = "bert." if any(name.startswith("bert.") for name in file.keys()) else ""  # noqa: SIM118
            names = set(file.keys())
            for path, name, shape in _entries(config):
                if prefix + name not in names:
                    problems.append(f"missing {prefix + name}")
                    continue
                value = file.get_tensor(prefix + name).astype(np.float32)
                value = value.T if path[-1] == "kernel" else value
                if value.shape != shape:
                    problems.append(f"{prefix + name} is {list(value.shape)} instead of {list(shape)}")
                leaves[path] = jnp.asarray(value)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS} is not a safetensors file ({error}); fetch it again"
        ) from None
    if problems:
        raise CheckpointError(f"{folder}: the weights do not fit {CONFIG}: {'; '.join(problems[:8])}")
    try:
        backend = Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # tokenizers raises bare Exception
        raise CheckpointError(f"{folder / TOKENIZER} cannot be read ({error}); fetch it again") from error
    if backend.get_vocab_size() > config.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {backend.get_vocab_size()} ids and the encoder {config.vocab_size}; "
            "use the files of one checkpoint"
        )
    return SentenceEncoder(config, {"params": nest(leaves)}, backend, longest)


def _entries(config: BertConfig) -> Iterator[tuple[tuple[str, ...], str, tuple[int, ...]]]:
    """Path of each parameter of ours, its name in the file, and our shape."""
    width, inner = config.hidden_size, config.intermediate_size

    def norm(path: tuple[str, ...], name: str) -> Iterator[tuple[tuple[str, ...], str, tuple[int, ...]]]:
        yield (*path, "scale"), f"{name}.weight", (width,)
        yield (*path, "bias"), f"{name}.bias", (width,)

    def dense(
        path: tuple[str, ...], name: str, inputs: int, outputs: int
    ) -> Iterator[tuple[tuple[str, ...], str, tuple[int, ...]]]:
        yield (*path, "kernel"), f"{name}.weight", (inputs, outputs)
        yield (*path, "bias"), f"{name}.bias", (outputs,)

    for ours, theirs, size in (
        ("word", "word_embeddings", config.vocab_size),
        ("position", "position_embeddings", config.max_position_embeddings),
        ("token_type", "token_type_embeddings", config.type_vocab_size),
    ):
        yield (ours,), f"embeddings.{theirs}.weight", (size, width)
    yield from norm(("norm",), "embeddings.LayerNorm")
    for index in range(config.num_hidden_layers):
        layer, prefix = f"layer_{index}", f"encoder.layer.{index}."
        for name in ("query", "key", "value"):
            yield from dense((layer, name), f"{prefix}attention.self.{name}", width, width)
        yield from dense((layer, "attention_output"), f"{prefix}attention.output.dense", width, width)
        yield from norm((layer, "attention_norm"), f"{prefix}attention.output.LayerNorm")
        yield from dense((layer, "intermediate"), f"{prefix}intermediate.dense", width, inner)
        yield from dense((layer, "output"), f"{prefix}output.dense", inner, width)
        yield from norm((layer, "output_norm"), f"{prefix}output.LayerNorm")


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read ({error}); fetch it again") from error
