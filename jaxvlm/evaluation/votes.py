"""Labels that people gave states, read from CSV files and put beside the predicates'."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation.states import UNLABELLED, StateDataset
from jaxvlm.runtime.files import expand, reason

YES, NO = ("1", "true", "yes", "y", "goal"), ("0", "false", "no", "n", "other")


def read_votes(path: str | Path, count: int) -> dict[tuple[int, str], bool]:
    """The labels of a CSV file with columns state, label and, if there were several, rater.

    A row without a label is skipped; the last of two labels of one rater for a state counts. Without the column the
    file's name is the rater.

    Args:
      path: the file.
      count: states of the dataset; they are numbered from 0.

    Returns:
      (state, rater) -> label.

    Raises:
      ConfigError: the file cannot be read, lacks a column, or has a state or label that means nothing; the message
        names the line.
    """
    path = expand(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read labels from {path}: {reason(error)}") from error
    rows = csv.DictReader(text.splitlines())
    columns = rows.fieldnames or ()
    if not {"state", "label"} <= set(columns):
        raise ConfigError(
            f"{path} has the columns {', '.join(columns) or 'none'}; it has to have state and label, and may have rater"
        )
    votes: dict[tuple[int, str], bool] = {}
    for row in rows:
        label, state = (row["label"] or "").strip().lower(), (row["state"] or "").strip()
        if not label:
            continue
        if label not in YES + NO:
            raise ConfigError(
                f"{path}, line {rows.line_num}: label {row['label']!r} is neither {YES[0]} nor {NO[0]}"
            )
        if not state.isdecimal() or int(state) >= count:
            raise ConfigError(
                f"{path}, line {rows.line_num}: state {row['state']!r} is no number from 0 to {count - 1}"
            )
        votes[int(state), (row.get("rater") or "").strip() or path.stem] = label in YES
    if not votes:
        raise ConfigError(f"{path} holds no label yet; fill in its column label with 1 and 0")
    return votes


@dataclass(frozen=True)
class Merged:
    """A dataset with the votes of some files, and what they did to it."""

    dataset: StateDataset
    labelled: int  # states that the files label
    divided: int  # of these those on which raters are divided: they are unlabelled
    replaced: int  # of these those that had a label whose votes are not known, which counts no more
    revised: int  # earlier votes in whose place the same raters have put others, or the same again


def with_votes(dataset: StateDataset, goal: str, paths: Sequence[str | Path]) -> Merged:
    """The dataset with people's labels of a goal: of each state what most of its raters said, in these files or before.

    What a rater says of a state replaces what the same rater said of it before. Labels of states that the files are not
    about stay. So do those of a dataset that was labelled before votes were kept, until a file is about their state.

    Raises:
      ConfigError: no file, one that `read_votes` refuses, or two of one name whose raters cannot be told apart.
    """
    if not paths:
        raise ConfigError("no file with labels is given; name one with --from")
    votes: dict[tuple[int, str], bool] = {}
    nameless: dict[str, Path] = {}  # name of a file that names no rater -> the file
    for path in map(Path, paths):
        found = read_votes(path, len(dataset))
        if any(rater == path.stem for _, rater in found):
            before = nameless.setdefault(path.stem, path)
            if before != path:
                raise ConfigError(
                    f"{before} and {path} both hold labels of {path.stem!r}, which would count as one rater; name the "
                    "raters in a column rater, or give the files names of their own"
                )
        votes |= found
    raters = sorted({*dataset.raters(goal), *(rater for _, rater in votes)})
    cast = np.full((len(dataset), len(raters)), UNLABELLED, np.int8)
    if goal in dataset.votes:
        cast[:, [raters.index(rater) for rater in dataset.raters(goal)]] = dataset.votes[goal]
    unknown = (cast == UNLABELLED).all(1)  # states of which no vote is known so far
    seen, revised = np.zeros(len(dataset), bool), 0
    for (state, rater), label in votes.items():
        place = (state, raters.index(rater))
        revised += int(cast[place] != UNLABELLED)
        cast[place] = label
        seen[state] = True
    balance = (cast == 1).sum(1) - (cast == 0).sum(1)
    said = np.where(balance > 0, 1, np.where(balance < 0, 0, UNLABELLED))
    before = dataset.human.get(goal, np.full(len(dataset), UNLABELLED, np.int8))
    merged = replace(
        dataset,
        human={**dataset.human, goal: np.where(seen, said, before).astype(np.int8)},
        votes={**dataset.votes, goal: cast},
        meta={**dataset.meta, "raters": {**dataset.meta.get("raters", {}), goal: raters}},
    )
    return Merged(
        dataset=merged,
        labelled=int(seen.sum()),
        divided=int((seen & (balance == 0)).sum()),
        replaced=int((seen & unknown & (before != UNLABELLED)).sum()),
        revised=revised,
    )
