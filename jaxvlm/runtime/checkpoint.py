"""Checkpoints of any pytree, written by Orbax, complete or absent.

    checkpoints/
        12000/            a step: manifest.json (names, shapes, dtypes, Python numbers) and arrays/ (Orbax)
        best/9000/        best by a metric, of what the caller gives (without the replay buffer)

A checkpoint is written under a hidden name and renamed when it is whole, so a process killed at any moment
leaves the earlier ones as they were. Leaves are stored flat under their tree path: what restores them is a
template of the same structure, not the classes of the version that wrote them.
"""

import contextlib
import json
import logging
import math
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.errors import RunError
from jaxvlm.runtime.files import reason, write_json

PyTree = Any
FORMAT = 1


class Checkpoints:
    """The checkpoints of a run: the newest `keep` complete ones and the best one."""

    def __init__(self, directory: str | Path, keep: int = 2):
        self.directory = Path(directory).absolute()
        self.keep = keep

    @property
    def run(self) -> Path:
        """The run directory, named in errors."""
        return self.directory.parent

    def steps(self) -> list[int]:
        """Steps that can be restored, ascending."""
        return _steps(self.directory)

    def latest(self) -> int | None:
        """The newest step, None where nothing was saved yet."""
        return max(self.steps(), default=None)

    def save(self, step: int, state: PyTree) -> Path:
        """Writes a complete checkpoint and drops all but the newest `keep`.

        Returns when the bytes are in files, so the caller may donate the buffers of `state` at once.
        A checkpoint of the same step is replaced.

        Args:
            step: environment steps taken, the name of the checkpoint.
            state: pytree of arrays, typed keys, and Python numbers, strings and None.

        Raises:
            RunError: the disk is full or the directory cannot be written; earlier checkpoints are untouched.
        """
        _sweep(self.directory)
        path = _write(self.directory, step, state, {})
        for old in self.steps()[: -self.keep]:
            _remove(self.directory / str(old))
        return path

    def restore(self, template: PyTree, step: int | None = None) -> tuple[PyTree, int]:
        """Reads a checkpoint into the structure, dtypes and shapes of `template`.

        Args:
            template: a pytree like the one saved, of arrays or what `jax.eval_shape` gives;
                a leaf placed on several devices is restored to them. Whether a leaf is NumPy or jax follows
                the template.
            step: which one; None takes the newest that can be read and warns about damaged newer ones.

        Returns:
            The restored tree and its step.

        Raises:
            RunError: there is no checkpoint, it is damaged, or it is of another structure, shape or dtype.
        """
        steps = self.steps()
        if not steps:
            raise RunError(f"run {self.run} has no checkpoint yet: start it again without resuming")
        if step is not None:
            if step not in steps:
                raise RunError(f"run {self.run} has no checkpoint of step {step}: it has {_list(steps)}")
            return self._read(self.directory / str(step), template), step
        for candidate in reversed(steps):
            try:
                return self._read(self.directory / str(candidate), template), candidate
            except DamagedCheckpoint as error:
                if candidate == steps[0]:
                    raise
                warnings.warn(f"{error}; going back to an earlier one", stacklevel=2)
        raise AssertionError("unreachable")

    def save_best(self, step: int, state: PyTree, metric: float) -> bool:
        """Keeps `state` as the best so far if `metric` is no less than that of the one kept: of equals the later.

        Returns whether it was kept; NaN and infinities never are: before learning starts the best is minus infinity.
        """
        _sweep(self.directory / "best")
        previous = self.best()
        if not math.isfinite(metric) or (previous is not None and metric < previous[1]):
            return False
        _write(self.directory / "best", step, state, {"metric": float(metric)})
        for old in _steps(self.directory / "best"):
            if old != step:
                _remove(self.directory / "best" / str(old))
        return True

    def best(self) -> tuple[int, float] | None:
        """Step and metric of the best state, None where none was kept."""
        kept = []
        for step in _steps(self.directory / "best"):
            with contextlib.suppress(DamagedCheckpoint):
                kept.append((_manifest(self.directory / "best" / str(step))["metric"], step))
        return (max(kept)[1], max(kept)[0]) if kept else None

    def restore_best(self, template: PyTree) -> tuple[PyTree, int]:
        """Reads the best state; arguments, returns and errors as for `restore`."""
        best = self.best()
        if best is None:
            raise RunError(f"run {self.run} has no best checkpoint yet: use the newest one")
        return self._read(self.directory / "best" / str(best[0]), template), best[0]

    def discard_after(self, step: int) -> None:
        """Forgets the checkpoints after `step`, which a resumed run writes again; the best one stays."""
        for later in self.steps():
            if later > step:
                _remove(self.directory / str(later))

    def _read(self, path: Path, template: PyTree) -> PyTree:
        manifest = _manifest(path)
        leaves, structure = jax.tree_util.tree_flatten_with_path(template)
        names = [_name(key_path) for key_path, _ in leaves]
        self._check_names(set(names), set(manifest["leaves"]), path.name)
        wanted, entries = {}, []
        for name, (_, leaf) in zip(names, leaves, strict=True):
            entry = manifest["leaves"][name]
            self._check_leaf(name, entry, leaf, path.name)
            entries.append(entry)
            if "index" in entry:
                wanted[entry["index"]] = _stored(leaf, entry)
        arrays = _read_arrays(path, wanted)
        restored = [
            _revive(entry, leaf, arrays.get(entry.get("index", "")))
            for entry, (_, leaf) in zip(entries, leaves, strict=True)
        ]
        return jax.tree_util.tree_unflatten(structure, restored)

    def _check_names(self, expected: set[str], found: set[str], step: str) -> None:
        missing, surplus = sorted(expected - found), sorted(found - expected)
        if missing or surplus:
            parts = [f"lacks {_list(missing)}"] * bool(missing) + [f"has surplus {_list(surplus)}"] * bool(
                surplus
            )
            raise RunError(
                f"checkpoint {step} of run {self.run} {' and '.join(parts)}: "
                "use the configuration and version it was made with"
            )

    def _check_leaf(self, name: str, entry: dict[str, Any], leaf: Any, step: str) -> None:
        expected = _describe(leaf)
        found = {key: entry.get(key) for key in expected}
        if found != expected:
            raise RunError(
                f"checkpoint {step} of run {self.run}: {name} is {_words(entry)}, "
                f"expected {_words(expected)}; use the configuration it was made with"
            )


class DamagedCheckpoint(RunError):
    """A checkpoint directory whose files are incomplete or unreadable."""


def _write(folder: Path, step: int, state: PyTree, extra: dict[str, Any]) -> Path:
    final, draft, aside = folder / str(step), folder / f".{step}.draft", folder / f".{step}.replaced"
    leaves = {_name(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(state)[0]}
    manifest, arrays = {}, {}
    for name, leaf in leaves.items():
        manifest[name] = _describe(leaf)
        if manifest[name]["kind"] == "python":
            # JSON has no infinities and no NaN.
            endless = isinstance(leaf, float) and not math.isfinite(leaf)
            manifest[name]["value"] = repr(leaf) if endless else leaf
            continue
        if manifest[name]["kind"] == "key":
            manifest[name]["impl"] = str(jax.random.key_impl(leaf))
            leaf = jax.random.key_data(leaf)
        if math.prod(leaf.shape):  # Orbax refuses arrays without elements
            manifest[name]["index"] = f"{len(arrays):05d}"
            arrays[manifest[name]["index"]] = leaf
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.mkdir()
        if arrays:
            with _quiet_orbax() as ocp, ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
                checkpointer.save(draft / "arrays", args=ocp.args.StandardSave(arrays))
        write_json(draft / "manifest.json", {"format": FORMAT, "step": step, **extra, "leaves": manifest})
        if final.exists():
            shutil.rmtree(aside, ignore_errors=True)
            final.rename(aside)
        draft.rename(final)
        shutil.rmtree(aside, ignore_errors=True)
    except Exception as error:  # tensorstore reports a full disk as ValueError
        shutil.rmtree(draft, ignore_errors=True)
        if aside.exists() and not final.exists():
            aside.rename(final)
        raise RunError(
            f"cannot write checkpoint {final}: {_why(error)}; free some space or resume elsewhere, "
            "earlier checkpoints are intact"
        ) from error
    return final


def _read_arrays(path: Path, wanted: dict[str, Any]) -> dict[str, Any]:
    if not wanted:
        return {}
    try:
        with _quiet_orbax() as ocp, ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            return checkpointer.restore(path / "arrays", args=ocp.args.StandardRestore(wanted))
    except Exception as error:  # whatever tensorstore and Orbax raise for files that were cut short
        _refuse_if_passing(path, error)
        raise DamagedCheckpoint(f"checkpoint {path} is damaged: {_why(error)}") from error


def _manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        version = manifest["format"]
        manifest["leaves"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _refuse_if_passing(path, error)
        raise DamagedCheckpoint(f"checkpoint {path} is damaged: manifest.json: {reason(error)}") from error
    if version != FORMAT:
        raise RunError(
            f"checkpoint {path} has format {version}, expected {FORMAT}: use the version it was made with"
        )
    return manifest


def _refuse_if_passing(path: Path, error: BaseException) -> None:
    """Raises `RunError` for what says nothing about the files: one that is intact must not be given up for it."""
    text = str(error).lower()
    known = any(phrase in text for phrase in ("permission denied", "too many open files"))
    if known or isinstance(error, MemoryError):
        what = "not enough memory" if isinstance(error, MemoryError) else _why(error)
        raise RunError(f"cannot read checkpoint {path}: {what}; it is left as it is") from error


def _steps(folder: Path) -> list[int]:
    """Whole checkpoints; one that was set aside by a process killed while replacing it is put back."""
    if not folder.is_dir():
        return []
    for aside in folder.glob(".*.replaced"):
        if not _final(aside).exists():
            with contextlib.suppress(OSError):
                aside.rename(_final(aside))
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit() and path.is_dir())


def _sweep(folder: Path) -> None:
    """Deletes what processes that were killed left half done; only before a write, when nothing of it is in use."""
    replaced = [aside for aside in folder.glob(".*.replaced") if _final(aside).exists()]
    for left in (*folder.glob(".*.draft"), *replaced):
        shutil.rmtree(left, ignore_errors=True)


def _final(aside: Path) -> Path:
    """Where a checkpoint lay that was set aside."""
    return aside.with_name(aside.name.removeprefix(".").removesuffix(".replaced"))


def _remove(path: Path) -> None:
    """Hides a checkpoint by renaming, then deletes it: a half-deleted one is never taken for whole."""
    doomed = path.with_name(f".{path.name}.draft")
    with contextlib.suppress(OSError):
        shutil.rmtree(doomed, ignore_errors=True)
        path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/") or "."


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _describe(leaf: Any) -> dict[str, Any]:
    if isinstance(leaf, (bool, int, float, str)) and not isinstance(leaf, np.generic):
        return {"kind": "python", "dtype": type(leaf).__name__}
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        raise RunError(
            f"cannot checkpoint a {type(leaf).__name__}: leaves are arrays, keys or Python numbers"
        )
    kind = "key" if _is_key(leaf) else "array"
    dtype = str(leaf.dtype) if kind == "key" else np.dtype(leaf.dtype).name
    return {"kind": kind, "dtype": dtype, "shape": list(leaf.shape)}


def _stored(leaf: Any, entry: dict[str, Any]) -> Any:
    """Template of what lies on disk for a leaf: NumPy, or a jax array where the caller placed it."""
    sharding = getattr(leaf, "sharding", None)
    if entry["kind"] == "array" and sharding is not None and len(sharding.device_set) > 1:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    stored = jax.eval_shape(jax.random.key_data, leaf) if entry["kind"] == "key" else leaf
    return np.empty(stored.shape, stored.dtype)


def _revive(entry: dict[str, Any], leaf: Any, array: Any) -> Any:
    if entry["kind"] == "python":
        value = entry["value"]
        return float(value) if entry["dtype"] == "float" and isinstance(value, str) else value
    if array is None:  # an array without elements
        array = _stored(leaf, entry)
    if isinstance(leaf, (np.ndarray, np.generic)):
        return np.asarray(array)
    if not isinstance(array, jax.Array):
        array = jnp.array(array)  # a copy jax owns, so that it can be donated, and bound to no device
    return jax.random.wrap_key_data(array, impl=entry["impl"]) if entry["kind"] == "key" else array


@contextlib.contextmanager
def _quiet_orbax() -> Iterator[Any]:
    """Orbax, imported when first needed, without its log: the exception says what a user has to know."""
    import orbax.checkpoint as ocp

    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield ocp
    finally:
        logger.setLevel(level)


def _why(error: BaseException) -> str:
    text = str(error)
    for phrase in ("No space left on device", "Disk quota exceeded", "File too large", "Permission denied"):
        if phrase.lower() in text.lower():
            return phrase.lower()
    return reason(error)[:200]


def _words(entry: dict[str, Any]) -> str:
    return f"a Python {entry['dtype']}" if entry["kind"] == "python" else f"{entry['dtype']}{entry['shape']}"


def _list(items: list[Any], most: int = 3) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(str(item) for item in items[:most]) + more
