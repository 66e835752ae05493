"""Answers are kept, once each, with what they replaced."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.rating import Answer, Store
from jaxvlm.rating.store import rater_name


@pytest.fixture
def store(tmp_path):
    opened = Store(tmp_path / "deep" / "answers.sqlite")
    yield opened
    opened.close()


def said(answers):
    return [(answer.rater, answer.item, answer.value) for answer in answers]


def test_the_newest_answer_is_the_current_one_and_the_others_are_history(store):
    for token, (rater, item, value) in enumerate(
        [("ann", "a", 0), ("ann", "b", 25), ("bob", "a", 100), ("ann", "a", 75)]
    ):
        store.add(Answer(rater, item, value, str(token)))
    assert said(store.current("ann")) == [("ann", "b", 25), ("ann", "a", 75)]
    assert said(store.current()) == [("ann", "b", 25), ("bob", "a", 100), ("ann", "a", 75)]
    assert [answer.value for answer in store.history()] == [0, 25, 100, 75]
    assert store.raters() == ["ann", "bob"]
    assert all(answer.at.endswith("+00:00") for answer in store.history())


def test_an_answer_can_be_taken_back(store):
    store.add(Answer("ann", "a", 50, "1"))
    store.add(Answer("ann", "a", None, "2"))
    assert store.current("ann") == store.current() == []
    assert [answer.value for answer in store.history()] == [50, None]
    store.add(Answer("ann", "a", 25, "3"))
    assert said(store.current()) == [("ann", "a", 25)]


def test_what_is_sent_twice_is_kept_once(store):
    store.add(Answer("ann", "a", 50, "1"))
    store.add(Answer("ann", "a", 75, "2"))
    store.add(Answer("ann", "a", 50, "1"))  # the first one's acknowledgement was lost, and it came again
    assert said(store.current()) == [("ann", "a", 75)]
    assert len(store.history()) == 2


def test_a_commit_waits_for_the_disk(store):
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL


@pytest.mark.slow
def test_threads_and_processes_write_at_once(tmp_path):
    path = tmp_path / "answers.sqlite"
    program = (
        "import sys; from pathlib import Path; from jaxvlm.rating import Answer, Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for number in range(40): store.add(Answer(sys.argv[2], str(number), 50, f'{sys.argv[2]}-{number}'))\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", program, path, name]) for name in ("bob", "cas")]
    store = Store(path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.add(Answer("ann", str(n), 50, f"ann-{n}")), range(200)))
    assert [other.wait(60) for other in others] == [0, 0]
    assert len(store.current()) == 280
    store.close()


def test_refusals(tmp_path):
    (tmp_path / "text").write_text("not a database, by any means of looking at it" * 40)
    with pytest.raises(RunError, match="cannot keep answers"):
        Store(tmp_path / "text")
    newer = sqlite3.connect(tmp_path / "newer")
    newer.execute("PRAGMA user_version = 7")
    newer.close()
    with pytest.raises(RunError, match="format 7, this version knows 1"):
        Store(tmp_path / "newer")


@pytest.mark.parametrize(
    ("typed", "kept"), [("  Ann   B ", "Ann B"), ("\uff21nn", "Ann"), ("Ann\u00a0B", "Ann B"), ("李", "李")]
)
def test_names_have_one_form(typed, kept):
    assert rater_name(typed) == kept


@pytest.mark.parametrize("typed", ["predicate", " All  raters", "PREDICATE"])
def test_names_of_rows_of_the_report_are_refused(typed):
    with pytest.raises(ConfigError, match="choose another name"):
        rater_name(typed)


@pytest.mark.parametrize("typed", ["", "  ", "x" * 41, "a\x00b"])
def test_names_that_are_none(typed):
    with pytest.raises(ConfigError, match="a name has 1 to 40 characters"):
        rater_name(typed)
