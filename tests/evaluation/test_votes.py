"""People's labels: what is read, who decides, and which line is wrong."""

from dataclasses import replace

import numpy as np
import pytest
from evaluation.test_states import states

from jaxvlm.cli.dataset_label import run
from jaxvlm.errors import ConfigError, RunError
from jaxvlm.evaluation.states import StateDataset
from jaxvlm.evaluation.votes import read_votes, with_votes
from jaxvlm.runtime.lock import locked


def write(path, text):
    path.write_text(text)
    return path


def test_most_raters_decide(tmp_path):
    file = write(
        tmp_path / "votes.csv",
        "state,label,rater\n0,1,a\n0,1,b\n0,0,c\n1,no,a\n2,yes,a\n2,no,b\n3,,a\n4,1,a\n4,0,a\n",
    )
    merged = with_votes(states(), "upright", [file])
    dataset = merged.dataset
    # State 0 by two to one, 2 undecided, 3 without a label, 4 by the last word of one rater.
    np.testing.assert_array_equal(dataset.human["upright"], [1, 0, -1, -1, 0, -1])
    assert (merged.labelled, merged.divided) == (4, 1)
    assert dataset.meta["raters"] == {"upright": ["a", "b", "c"]}


def test_files_are_raters_where_no_column_says_so(tmp_path):
    files = [
        write(tmp_path / f"{rater}.csv", f"\ufefflabel,state\n{label},0\n1,5\n")
        for rater, label in (("x", 1), ("y", 0), ("z", 0))
    ]
    merged = with_votes(states(), "lying", files)
    np.testing.assert_array_equal(merged.dataset.human["lying"], [0, -1, -1, -1, -1, 1])
    assert (merged.labelled, merged.divided) == (2, 0)


def test_files_of_one_name_are_not_taken_for_one_rater(tmp_path):
    files = []
    for folder, label in (("ann", 1), ("bob", 0)):
        (tmp_path / folder).mkdir()
        files.append(write(tmp_path / folder / "labels.csv", f"state,label,rater\n0,{label},\n"))
    with pytest.raises(ConfigError, match=r"ann/labels\.csv and .*bob/labels\.csv .* column rater"):
        with_votes(states(), "upright", files)
    named = write(files[1], "state,label,rater\n0,0,bob\n")
    merged = with_votes(states(), "upright", [files[0], named])
    assert (merged.labelled, merged.divided) == (1, 1)


def test_files_of_later_calls_add_to_the_majority(tmp_path):
    dataset, folder = states(), tmp_path / "set"
    for rater, label in (("ann", 1), ("bob", 1), ("cy", 0)):
        file = write(tmp_path / f"{rater}.csv", f"state,label\n0,{label}\n{label + 1},0\n")
        merged = with_votes(dataset, "upright", [file])
        merged.dataset.save(folder, overwrite=True)
        dataset = StateDataset.load(folder)  # votes are kept on disk
    # State 0 by two to one, though the last call said no; the others by those who were asked.
    np.testing.assert_array_equal(dataset.human["upright"], [1, 0, 0, -1, -1, -1])
    assert (merged.labelled, merged.divided, merged.replaced, merged.revised) == (2, 0, 0, 0)
    assert dataset.raters("upright") == ("ann", "bob", "cy")
    np.testing.assert_array_equal(dataset.votes["upright"][:2], [[1, 1, 0], [-1, -1, 0]])


def test_a_raters_later_word_on_a_state_replaces_the_earlier_one(tmp_path):
    first = write(tmp_path / "1.csv", "state,label,rater\n0,1,bob\n1,1,bob\n0,1,cy\n")
    second = write(tmp_path / "2.csv", "state,label,rater\n0,0,bob\n2,1,ann\n")
    merged = with_votes(with_votes(states(), "upright", [first]).dataset, "upright", [second])
    assert (merged.labelled, merged.divided, merged.revised) == (2, 1, 1)
    np.testing.assert_array_equal(merged.dataset.human["upright"], [-1, 1, 1, -1, -1, -1])
    again = with_votes(merged.dataset, "upright", [second])
    assert again.revised == 2
    np.testing.assert_array_equal(again.dataset.votes["upright"], merged.dataset.votes["upright"])


def test_labels_whose_votes_are_not_known_stay_until_a_file_is_about_their_state(tmp_path):
    before = replace(
        states(),
        human={"upright": np.array([1, 1, 1, -1, -1, -1], np.int8)},
        meta={"raters": {"upright": ["old"]}},
    )
    file = write(tmp_path / "votes.csv", "state,label\n1,0\n3,1\n")
    merged = with_votes(before, "upright", [file])
    np.testing.assert_array_equal(merged.dataset.human["upright"], [1, 0, 1, 1, -1, -1])
    assert merged.replaced == 1
    assert merged.dataset.raters("upright") == ("old", "votes")
    later = with_votes(merged.dataset, "upright", [write(tmp_path / "2.csv", "state,label\n0,1\n1,0\n")])
    assert later.replaced == 1  # state 0; that of state 1 was replaced before
    np.testing.assert_array_equal(later.dataset.human["upright"], [1, 0, 1, 1, -1, -1])


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


def test_labels_are_taken_in_by_one_process_at_a_time(tmp_path):
    folder = states().save(tmp_path / "set")
    labels = write(tmp_path / "ann.csv", "state,label\n0,1\n")
    arguments = [str(folder), "--goal", "upright", "--from", str(labels)]
    with (
        locked(folder, RunError("not this one")),
        pytest.raises(RunError, match="set is being labelled by another"),
    ):
        run(arguments)
    assert "upright" not in StateDataset.load(folder).human
    run(arguments)
    assert StateDataset.load(folder).raters("upright") == ("ann",)
