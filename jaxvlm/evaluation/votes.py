"""Labels that people gave states, read from CSV files and put beside the predicates'."""

import csv
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation.states import UNLABELLED, StateDataset
from jaxvlm.runtime.files import reason

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
    path = Path(path).expanduser()
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


def with_votes(
    dataset: StateDataset, goal: str, paths: Sequence[str | Path]
) -> tuple[StateDataset, int, int]:
    """The dataset with people's labels of a goal: of each state what most of its raters said.

    Labels that it had before stay where the files have none.

    Returns:
      The dataset, how many states the files label, and on how many of those raters are divided (they stay unlabelled).

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
    balance, seen = np.zeros(len(dataset), np.int64), np.zeros(len(dataset), bool)
    for (state, _), label in votes.items():
        balance[state] += 1 if label else -1
        seen[state] = True
    before = dataset.human.get(goal, np.full(len(dataset), UNLABELLED, np.int8))
    said = np.where(balance > 0, 1, np.where(balance < 0, 0, UNLABELLED)).astype(np.int8)
    human = {**dataset.human, goal: np.where(seen, said, before).astype(np.int8)}
    raters = {**dataset.meta.get("raters", {}), goal: sorted({rater for _, rater in votes})}
    divided = int((seen & (balance == 0)).sum())
    return replace(dataset, human=human, meta={**dataset.meta, "raters": raters}), int(seen.sum()), divided
