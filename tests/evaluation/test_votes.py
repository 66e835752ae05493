"""People's labels: what is read, who decides, and which line is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation.test_states import states

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation.votes import read_votes, with_votes


def write(path, text):
    path.write_text(text)
    return path


def test_most_raters_decide(tmp_path):
    file = write(
        tmp_path / "votes.csv",
        "state,label,rater\n0,1,a\n0,1,b\n0,0,c\n1,no,a\n2,yes,a\n2,no,b\n3,,a\n4,1,a\n4,0,a\n",
    )
    dataset, labelled, divided = with_votes(states(), "upright", [file])
    # State 0 by two to one, 2 undecided, 3 without a label, 4 by the last word of one rater.
    np.testing.assert_array_equal(dataset.human["upright"], [1, 0, -1, -1, 0, -1])
    assert (labelled, divided) == (4, 1)
    assert dataset.meta["raters"] == {"upright": ["a", "b", "c"]}


def test_files_are_raters_where_no_column_says_so(tmp_path):
    files = [
        write(tmp_path / f"{rater}.csv", f"\ufefflabel,state\n{label},0\n1,5\n")
        for rater, label in (("x", 1), ("y", 0), ("z", 0))
    ]
    dataset, labelled, divided = with_votes(states(), "lying", files)
    np.testing.assert_array_equal(dataset.human["lying"], [0, -1, -1, -1, -1, 1])
    assert (labelled, divided) == (2, 0)


def test_files_of_one_name_are_not_taken_for_one_rater(tmp_path):
    files = []
    for folder, label in (("ann", 1), ("bob", 0)):
        (tmp_path / folder).mkdir()
        files.append(write(tmp_path / folder / "labels.csv", f"state,label,rater\n0,{label},\n"))
    with pytest.raises(ConfigError, match=r"ann/labels\.csv and .*bob/labels\.csv .* column rater"):
        with_votes(states(), "upright", files)
    named = write(files[1], "state,label,rater\n0,0,bob\n")
    _, labelled, divided = with_votes(states(), "upright", [files[0], named])
    assert (labelled, divided) == (1, 1)


def test_labels_from_before_stay(tmp_path):
    before = replace(states(), human={"upright": np.array([1, 1, 1, -1, -1, -1], np.int8)})
    file = write(tmp_path / "votes.csv", "state,label\n1,0\n3,1\n")
    dataset, _, _ = with_votes(before, "upright", [file])
    np.testing.assert_array_equal(dataset.human["upright"], [1, 0, 1, 1, -1, -1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("state,verdict\n0,1\n", "columns state, verdict"),
        ("", "none"),
        ("state,label\n0,1\n1,maybe\n", "line 3: label 'maybe'"),
        ("state,label\n6,1\n", "line 2: state '6' is no number from 0 to 5"),
        ("state,label\n-1,1\n", "line 2"),
        ("state,label\n0,\n", "no label yet"),
    ],
)
def test_what_cannot_be_read_is_named(text, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read_votes(write(tmp_path / "votes.csv", text), 6)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"gone\.csv"):
        read_votes(tmp_path / "gone.csv", 6)
    with pytest.raises(ConfigError, match="--from"):
        with_votes(states(), "upright", [])
