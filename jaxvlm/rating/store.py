"""Answers of raters in one SQLite file: nothing is acknowledged before it is on the disk, nothing is overwritten.

Every answer is a row of its own. The newest of a rater and an item is the current one; the rows before it are what it
replaced. A row whose value is NULL takes the answer back. An answer carries a token its sender made up: what is sent
twice, because the first acknowledgement was lost, is kept once.
"""

import sqlite3
import threading
import time
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from jaxvlm.errors import ConfigError, RunError

SCHEMA = """
CREATE TABLE IF NOT EXISTS answers (
  number INTEGER PRIMARY KEY,   -- in the order they came
  token TEXT NOT NULL UNIQUE,   -- made up by the sender
  rater TEXT NOT NULL,
  item TEXT NOT NULL,
  value INTEGER,                -- NULL takes the answer back
  at TEXT NOT NULL              -- UTC
);
CREATE INDEX IF NOT EXISTS answers_latest ON answers (rater, item, number);
CREATE VIEW IF NOT EXISTS current AS
  SELECT * FROM answers WHERE value IS NOT NULL
  AND number IN (SELECT max(number) FROM answers GROUP BY rater, item);
PRAGMA user_version = 1;
"""
VERSION = 1
BUSY_SECONDS = 10.0  # that another process may hold the file
LONGEST_NAME = 40  # characters of a rater's
PREDICATE, ALL = "predicate", "all raters"  # rows of the report that are nobody's


class Answer(NamedTuple):
    """What a rater said of an item."""

    rater: str
    item: str
    value: int | None  # per cent of the time, or 0 and 1 of a frame; None takes it back
    token: str
    at: str = ""  # UTC, ISO 8601; set by the store


class Store:
    """The answers of one folder; used by several threads, and by several processes at once."""

    def __init__(self, path: Path):
        """Opens the file or makes it.

        Raises:
          RunError: the file cannot be written, is no SQLite file, or was written by a newer version.
        """
        self.path = path
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            found = self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise RunError(f"cannot keep answers in {path}: {error}; choose another --output") from error
        if found > VERSION:
            self._connection.close()
            raise RunError(f"{path} has format {found}, this version knows {VERSION}: update jaxvlm")

    def _prepare(self) -> int:
        """Sets the file up; returns the version it was found in, 0 for a new one."""
        end = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                # WAL: readers never wait. FULL: a commit returns once it is on the disk, not only given to the system.
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                found = self._connection.execute("PRAGMA user_version").fetchone()[0]
                if found == 0:
                    self._connection.executescript(SCHEMA)
                return found
            except sqlite3.OperationalError as error:
                # Another process sets it up at this moment: SQLite does not wait for a change of the journal's mode.
                if "locked" not in str(error) or time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def add(self, answer: Answer) -> None:
        """Keeps an answer; it is on the disk when this returns.

        Raises:
          RunError: it could not be written; then it is not kept.
        """
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        row = (answer.token, answer.rater, answer.item, answer.value, at)
        try:
            with self._lock:
                self._connection.execute(
                    "INSERT INTO answers (token, rater, item, value, at) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT (token) DO NOTHING",
                    row,
                )
        except sqlite3.Error as error:
            raise RunError(f"cannot keep an answer in {self.path}: {error}") from error

    def current(self, rater: str | None = None) -> list[Answer]:
        """The newest answer to every item, of one rater or of all; those taken back are left out."""
        if rater is None:
            return self._read("SELECT rater, item, value, token, at FROM current ORDER BY number")
        newest = "SELECT max(number) FROM answers WHERE rater = ? GROUP BY item"
        return self._read(
            "SELECT rater, item, value, token, at FROM answers"
            f" WHERE value IS NOT NULL AND number IN ({newest}) ORDER BY number",
            (rater,),
        )

    def history(self) -> list[Answer]:
        """Every answer ever given, in the order they came."""
        return self._read("SELECT rater, item, value, token, at FROM answers ORDER BY number")

    def raters(self) -> list[str]:
        """Names of those who answered anything, in the order of their first answers."""
        with self._lock:
            rows = self._connection.execute("SELECT rater FROM answers GROUP BY rater ORDER BY min(number)")
            return [name for (name,) in rows]

    def close(self) -> None:
        """Closes the file; safe to call twice."""
        with self._lock:
            self._connection.close()

    def _read(self, query: str, values: Sequence[str] = ()) -> list[Answer]:
        with self._lock:
            return [Answer(*row) for row in self._connection.execute(query, values)]


def rater_name(text: str) -> str:
    """A rater's name as it is kept: spaces and look-alike characters in one form.

    Raises:
      ConfigError: nothing is left of it, it is too long, it holds characters that do not print, or the report calls
        something else so.
    """
    name = " ".join(unicodedata.normalize("NFKC", text).split())
    if not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        raise ConfigError(f"a name has 1 to {LONGEST_NAME} characters that print, not {text[:60]!r}")
    if is_taken(name):
        raise ConfigError(f"the report calls rows of its own {name!r}: choose another name")
    return name


def is_taken(name: str) -> bool:
    """Whether no rater may be called so, as rows of the report are."""
    return name.casefold() in (PREDICATE, ALL)
