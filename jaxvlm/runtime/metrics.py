"""Metrics as plain files first: a JSON-lines file with everything and a CSV with the means over seeds."""

import contextlib
import csv
import io
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from jaxvlm.errors import RunError
from jaxvlm.runtime.files import reason, write_atomic

Value = float | int | Sequence[float | int]  # a scalar, or one number a seed
EVALUATION = "evaluation/"  # before the names of figures that come after the last row


@runtime_checkable
class Sink(Protocol):
    """Where rows go besides the files; see `jaxvlm.runtime.sinks`."""

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Takes one row of finite or NaN scalars."""
        ...

    def close(self) -> None:
        """Flushes and releases what the sink holds."""
        ...


class MetricsWriter:
    """Appends rows to `<path>.jsonl` and `<path>.csv`, flushed one by one, and forwards them to sinks.

    A value is a number, or a list with one number a seed: the JSON line keeps the list, the CSV holds the
    mean of its finite entries, sinks get the mean as `name` and the entries as `name/seed7`, ... by seed. NaN and
    infinities are `null` in JSON and empty in the CSV. A key that turns up later becomes a new last
    column; the CSV is then rewritten as a whole.
    """

    def __init__(self, path: str | Path, sinks: Iterable[Sink] = (), first_seed: int = 0):
        """Continues the files at `path` (a `.jsonl` file) or starts them.

        Args:
            path: of the JSON lines; the CSV lies beside it.
            sinks: where rows go besides.
            first_seed: the seed of a list's first entry; seeds count up from it.

        Raises:
            RunError: the files cannot be read or written, or hold something else than metrics.
        """
        self.path = Path(path)
        self.csv_path = self.path.with_suffix(".csv")
        self._sinks = tuple(sinks)
        self._first_seed = first_seed
        self._files: tuple[io.TextIOWrapper, io.TextIOWrapper] | None = None
        self._header: list[str] = []
        self._rewrite(read_rows(self.path))

    def write(self, step: int, values: Mapping[str, Value]) -> None:
        """Appends one row.

        Args:
            step: rows so far of all environments of one seed: its environment steps, and the resets between episodes.
            values: name to scalar, or to one number a seed; jax and NumPy scalars and vectors are accepted.

        Raises:
            RunError: the disk is full or the directory is gone.
        """
        row = {"step": int(step)} | {name: _numbers(value) for name, value in values.items()}
        if self._files is None:
            self._open()
        assert self._files is not None
        json_file, csv_file = self._files
        try:
            json_file.write(_json_line(row))
            json_file.flush()
            if set(row) <= set(self._header):
                csv_file.write(_csv_line(row, self._header))
                csv_file.flush()
        except OSError as error:
            raise RunError(f"cannot write {self.path.parent}/metrics: {reason(error)}") from error
        if not set(row) <= set(self._header):
            self._rewrite_csv(read_rows(self.path))
        for sink in self._sinks:
            sink.write(int(step), _scalars(row, self._first_seed))

    def conclude(self, step: int, values: Mapping[str, Value]) -> None:
        """Sends an evaluation to the sinks, as `evaluation/<name>`; the files hold training's rows alone.

        Args:
            step: of the last row.
            values: as those of `write`.
        """
        row = {f"{EVALUATION}{name}": _numbers(value) for name, value in values.items()}
        for sink in self._sinks:
            sink.write(int(step), _scalars(row, self._first_seed))

    def truncate(self, step: int) -> None:
        """Drops the rows after `step`: what a resumed run will write again. A half-written line goes too."""
        self._rewrite([row for row in read_rows(self.path) if row["step"] <= step])

    def close(self) -> None:
        """Closes the files and the sinks."""
        self._close_files()
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        self._close_files()
        write_atomic(self.path, "".join(map(_json_line, rows)))
        self._rewrite_csv(rows)

    def _rewrite_csv(self, rows: list[dict[str, Any]]) -> None:
        self._close_files()
        self._header = list(dict.fromkeys(name for row in rows for name in row))
        lines = [",".join(_quote(name) for name in self._header) + "\n"] if rows else []
        write_atomic(self.csv_path, "".join([*lines, *(_csv_line(row, self._header) for row in rows)]))

    def _open(self) -> None:
        try:
            self._files = (
                self.path.open("a", encoding="utf-8"),
                self.csv_path.open("a", encoding="utf-8"),
            )
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {reason(error)}") from error

    def _close_files(self) -> None:
        for file in self._files or ():
            with contextlib.suppress(OSError):  # every row was flushed, or its failure reported, by `write`
                file.close()
        self._files = None


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """Rows of a metrics file, `{"step": int, name: number | None | list}`; a missing file has none.

    A last line that was cut short is left out: the process died while writing it.

    Raises:
        RunError: the file cannot be read, or a line before the last is no metrics row.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot read {path}: {reason(error)}") from error
    rows = []
    for number, line in enumerate(lines[:-1], start=1):  # a whole line ends in a newline
        try:
            row = json.loads(line)
            row["step"] = int(row["step"])
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines) - 1:
                break
            raise RunError(
                f"{path} line {number} is not a metrics row: {line[:40]!r}; mend or remove it"
            ) from error
        rows.append(row)
    return rows


def mean(value: float | Sequence[float | None] | np.ndarray | None) -> float:
    """Mean of the finite entries of a row's value, NaN where there are none."""
    entries = np.ravel(np.asarray(value, object)).tolist()
    finite = [float(entry) for entry in entries if entry is not None and math.isfinite(entry)]
    return statistics.fmean(finite) if finite else math.nan


def _numbers(value: Any) -> float | int | list[float | int | None] | None:
    if hasattr(value, "tolist"):
        value = value.tolist()  # jax and NumPy
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_number(entry) for entry in value]
    return _number(value)


def _number(value: Any) -> float | int | None:
    if isinstance(value, int):
        return int(value)  # bool too
    value = float(value)
    return value if math.isfinite(value) else None


def _json_line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"


def _csv_line(row: Mapping[str, Any], header: Sequence[str]) -> str:
    return ",".join(_cell(row.get(name)) for name in header) + "\n"


def _cell(value: float | int | list[float | int | None] | None) -> str:
    if isinstance(value, int):
        return str(value)
    number = mean(value)
    return repr(number) if math.isfinite(number) else ""


def _quote(name: str) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow([name])
    return line.getvalue()


def _scalars(row: Mapping[str, Any], first_seed: int) -> dict[str, float]:
    scalars = {name: mean(value) for name, value in row.items() if name != "step"}
    for name, value in row.items():
        if isinstance(value, list) and len(value) > 1:
            scalars |= {f"{name}/seed{seed}": mean(entry) for seed, entry in enumerate(value, first_seed)}
    return scalars
