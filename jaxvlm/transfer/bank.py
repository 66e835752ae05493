"""A bank of policies on disk: instructions with their embeddings, parameters, and what each policy is worth.

bank/
    bank.json      format, instructions, encoder, how the policies were made
    policies/0/    Orbax: parameters, embeddings, returns
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.runtime.checkpoint import Checkpoints
from jaxvlm.runtime.files import reason, write_json
from jaxvlm.transfer.policies import validate_bank

FORMAT = 1


@dataclass(frozen=True)
class Bank:
    """Known policies and their instructions, n of them."""

    instructions: tuple[str, ...]
    embeddings: Float[np.ndarray, "n d"]  # of the instructions
    params: Any  # leaves [n, ...]
    value: Float[np.ndarray, " n"]  # return
    best: Float[np.ndarray, " n"]  # best possible return
    encoder: str = "minilm"  # that made the embeddings
    made_with: Mapping[str, Any] = field(default_factory=dict)  # plain data for the record


def check_bank(bank: Bank) -> None:
    """Raises `ConfigError` that names the first thing that cannot be used: an empty or missing instruction, numbers
    that are not finite, arrays of other lengths, fewer than two policies."""
    count = len(bank.instructions)
    if count < 2:
        raise ConfigError(f"the bank has {count} policy; an alignment needs at least two")
    for k, text in enumerate(bank.instructions):
        if not text.strip():
            raise ConfigError(f"the instruction of policy {k} is empty; say what it does")
    if validate_bank(bank.params, [f"the policy of {text!r}" for text in bank.instructions]) != count:
        raise ConfigError(
            f"the bank has {count} instructions but {validate_bank(bank.params)} policies; give one to each"
        )
    for name, array in (("embeddings", bank.embeddings), ("value", bank.value), ("best", bank.best)):
        if len(array) != count:
            raise ConfigError(f"{name} has {len(array)} rows, the bank {count} instructions")
        bad = np.flatnonzero(~np.isfinite(np.asarray(array)).reshape(count, -1).all(axis=1))
        if bad.size:
            raise ConfigError(f"{name} of {bank.instructions[bad[0]]!r} is not finite")


def check_encoder(bank: Bank, embeddings: Float[np.ndarray, "t d2"]) -> None:
    """Raises `ConfigError` for embeddings of new instructions that another encoder made, of another size."""
    if embeddings.shape[1] != bank.embeddings.shape[1]:
        raise ConfigError(
            f"the new instructions' embeddings have {embeddings.shape[1]} numbers, those of the bank "
            f"{bank.embeddings.shape[1]} ({bank.encoder}); use the bank's encoder"
        )


def save_bank(directory: str | Path, bank: Bank) -> Path:
    """Writes a bank; `bank.json`, written last, is what makes it complete.

    Raises ConfigError as `check_bank` does and RunError where it cannot be written.
    """
    check_bank(bank)
    folder = Path(directory)
    try:
        (folder / "bank.json").unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {folder / 'bank.json'}: {reason(error)}") from error
    Checkpoints(folder / "policies", keep=1).save(0, _arrays(bank))
    write_json(
        folder / "bank.json",
        {
            "format": FORMAT,
            "instructions": list(bank.instructions),
            "encoder": bank.encoder,
            "dimensions": int(bank.embeddings.shape[1]),
            "made_with": dict(bank.made_with),
        },
    )
    return folder


def load_bank(directory: str | Path, one_policy: Callable[[], Any]) -> Bank:
    """Reads a bank.

    Args:
      directory: of `save_bank`.
      one_policy: makes the parameters of one policy of the bank's kind, for structure and shapes only; it is not run.

    Raises:
      RunError: no bank there, one of another format, damaged, or of policies of another structure.
      ConfigError: as `check_bank`.
    """
    folder = Path(directory)
    try:
        described = json.loads((folder / "bank.json").read_text(encoding="utf-8"))
        version, texts, size = described["format"], described["instructions"], described["dimensions"]
    except FileNotFoundError:
        raise RunError(f"{folder} holds no bank of policies: bank.json is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder / 'bank.json'} is damaged ({error}); train the bank anew") from error
    if version != FORMAT:
        raise RunError(
            f"{folder} holds a bank of format {version}, this version reads {FORMAT}; train it anew"
        )
    count = len(texts)
    template = {
        "params": jax.tree.map(
            lambda leaf: np.zeros((count, *leaf.shape), leaf.dtype), jax.eval_shape(one_policy)
        ),
        "embeddings": np.zeros((count, size), np.float32),
        "value": np.zeros(count, np.float32),
        "best": np.zeros(count, np.float32),
    }
    arrays, _ = Checkpoints(folder / "policies").restore(template)
    bank = Bank(
        instructions=tuple(texts), encoder=described["encoder"], made_with=described["made_with"], **arrays
    )
    check_bank(bank)
    return bank


def _arrays(bank: Bank) -> dict[str, Any]:
    return {
        "params": jax.tree.map(np.asarray, bank.params),
        "embeddings": np.asarray(bank.embeddings, np.float32),
        "value": np.asarray(bank.value, np.float32),
        "best": np.asarray(bank.best, np.float32),
    }


def pick(bank: Bank, rows: Sequence[int] | np.ndarray) -> Bank:
    """Some policies of a bank, in the order of `rows`."""
    index = np.asarray(rows)
    return Bank(
        instructions=tuple(bank.instructions[k] for k in index),
        embeddings=bank.embeddings[index],
        params=jax.tree.map(lambda leaf: leaf[index], bank.params),
        value=bank.value[index],
        best=bank.best[index],
        encoder=bank.encoder,
        made_with=bank.made_with,
    )
