"""Prompt embeddings kept on disk: a sentence goes through the same text tower once, not once a run.

An entry is the result of one call, all its prompts together: alone, a prompt's embedding can differ in the last bit,
and a run has to give the same numbers whether the cache is empty or not.
"""

import functools
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvlm.clip.model import CLIP
from jaxvlm.clip.prompts import embed_ids
from jaxvlm.clip.tokenizer import Tokenizer
from jaxvlm.errors import RunError
from jaxvlm.runtime.files import replace_file

MOST = 256  # entries of a few kilobytes


def embed_cached(
    clip: CLIP,
    params: Mapping,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    digest: str,
    folder: Path,
    most: int = MOST,
) -> Float[Array, "prompts e"]:
    """What `embed_prompts` returns, bit by bit, from `folder` where it is there; otherwise it is put there.

    Args:
        digest: of all parameters, as `jaxvlm.vlmrm.build.digest` makes it. A run records it anyway, so nothing is
            hashed for the cache alone; names, sizes and dates of files would be quicker to find, but a folder whose
            weights were replaced with their date kept would score by another model's sentences.
        folder: made if need be. An entry that is broken is written again, and a folder that cannot be read or written
            is as good as none.
        most: entries that are kept; those that were not used for the longest time go first.

    Raises ConfigError for the prompts that `embed_prompts` refuses.
    """
    ids = np.asarray(tokenizer(prompts))
    file = folder / f"{_key(clip, digest, ids)}.npz"
    known = _read(file, (len(ids), clip.config.projection_dim))
    if known is not None:
        return jnp.asarray(known)
    embeddings = embed_ids(clip, params, jnp.asarray(ids))
    _write(file, np.asarray(embeddings), most)
    return embeddings


def _key(clip: CLIP, digest: str, ids: np.ndarray) -> str:
    """All that the numbers depend on; token ids stand for text, tokenizer and context, and take no time to make."""
    parts = [
        digest,
        repr(clip),
        str(ids.dtype),
        list(ids.shape),
        hashlib.sha256(ids.tobytes()).hexdigest(),
        _code(),
        jax.__version__,
        jax.default_backend(),
        jax.devices()[0].device_kind,
        os.environ.get("XLA_FLAGS", ""),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@functools.cache
def _code() -> str:
    """Digest of this package's source: another version of it may round otherwise."""
    total = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        total.update(file.read_bytes())
    return total.hexdigest()


def _read(file: Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        # An archive, whose members have check sums. From memory: NumPy leaves the file of a broken one open.
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as data:
            embeddings = data["embeddings"]
        os.utime(file)
    except Exception:  # whatever a broken archive leads to: it is no entry
        return None
    whole = embeddings.shape == shape and embeddings.dtype == np.float32 and np.isfinite(embeddings).all()
    return embeddings if whole else None


def _write(file: Path, embeddings: np.ndarray, most: int) -> None:
    try:
        replace_file(file, lambda draft: np.savez(draft, embeddings=embeddings))
        entries = sorted(
            file.parent.glob("[!.]*.npz"), key=lambda entry: entry.stat().st_mtime_ns, reverse=True
        )
        for entry in entries[most:]:
            entry.unlink(missing_ok=True)
    except (OSError, RunError):
        return
