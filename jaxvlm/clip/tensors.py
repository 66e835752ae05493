"""Tensors of safetensors files, read one at a time.

`safe_open` maps the whole file, and what was read of it stays in the process's memory until the file is closed. Here a
tensor is read into memory of its own, which is free again once the caller lets go of it.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxvlm.errors import CheckpointError

_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": jnp.dtype(jnp.bfloat16),
}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in a file; `read` fetches it."""

    file: Path
    name: str
    dtype: str  # in the words of safetensors
    shape: tuple[int, ...]
    offset: int  # bytes from the beginning of the file
    size: int  # bytes

    @property
    def readable(self) -> bool:
        """Whether its numbers are floats of a kind that weights are kept in."""
        return self.dtype in _DTYPES

    def read(self) -> np.ndarray:
        """The tensor, in memory that nothing else holds. Raises CheckpointError where the file has changed or ended."""
        try:
            data = np.fromfile(self.file, np.uint8, self.size, offset=self.offset)
        except OSError as error:
            raise CheckpointError(f"{self.file} cannot be read ({error}); fetch it again") from None
        if data.size != self.size:
            raise CheckpointError(f"{self.file} ends within {self.name}; fetch it again")
        return data.view(_DTYPES[self.dtype]).reshape(self.shape)


def stored_tensors(files: Sequence[Path]) -> dict[str, StoredTensor]:
    """The tensors of all files by name, from the files' headers alone.

    Raises CheckpointError for a file that is none of safetensors, or is shorter or longer than its header says.
    """
    from safetensors import SafetensorError, safe_open

    found = {}
    for file in files:
        try:
            # It checks that the tensors lie side by side and fill the file, so that the header can be believed below.
            with safe_open(file, framework="numpy"):
                pass
            with file.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(length))
        except (SafetensorError, OSError, ValueError) as error:
            raise CheckpointError(f"{file} is not a safetensors file ({error}); fetch it again") from None
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            found[name] = StoredTensor(
                file, name, entry["dtype"], tuple(entry["shape"]), 8 + length + begin, end - begin
            )
    return found
