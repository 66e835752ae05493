"""Small files that are either whole or absent, and JSON that never fails on a configuration value."""

import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxvlm.errors import RunError


def expand(path: str | Path) -> Path:
    """`path` with `~` and `~user` as the home directory they mean.

    Raises:
        RunError: there is no such user, or no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise RunError(
            f"{str(path)!r} is in no home directory that is known; write the path out, with ./ before a folder "
            "whose own name begins with ~"
        ) from error


def write_atomic(path: Path, text: str) -> None:
    """Replaces `path` by `text` in one step: a reader, or a killed process, sees the old or the new file.

    Raises:
        RunError: the folder cannot be written or the disk is full; an earlier file is left as it was.
    """

    def write(draft: str) -> None:
        Path(draft).write_text(text, encoding="utf-8")

    replace_file(path, write)


def replace_file(path: Path, write: Callable[[str], object]) -> Path:
    """Lets `write` fill a hidden file beside `path`, then renames it: the file is whole or absent.

    The folder is made when missing; the hidden file keeps the suffix, which tells writers the format.

    Raises:
        RunError: the folder cannot be written or the disk is full; an earlier file is left as it was.
    """
    draft = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
        write(draft)
        os.chmod(draft, 0o644)  # mkstemp makes private files, results are meant to be shared
        os.replace(draft, path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {reason(error)}") from error
    finally:
        if draft is not None:
            Path(draft).unlink(missing_ok=True)
    return path


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    write_atomic(path, json.dumps(plain(value), indent=2) + "\n")


def plain(value: Any) -> Any:
    """What JSON can hold of `value`: dataclasses become dicts, arrays lists, NaN and infinities None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return plain(np.asarray(value).tolist())
    return str(value)


def reason(error: BaseException) -> str:
    """The one line worth showing of an exception."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
