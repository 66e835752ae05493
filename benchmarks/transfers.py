"""Results of several `jaxvlm transfer` side by side: a row an arm, a column a result.

    python benchmarks/transfers.py runs/transfer/colour-12-* runs/transfer/shape-12-*

A cell is the mean of the steps to the threshold and its standard error over seeds, from each folder's `runs.csv`;
folders without one, as open questions leave them, are named and left out. In brackets stands the difference to weighted
language, paired by seed, `=` where Student's 95 % interval of it holds 0; `*` where some runs never got there and count
with all their steps. A single seed has no errors, and its differences are marked with `?`.
"""

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from jaxvlm.transfer.report import difference, tied

BESIDE = "language"


def read(folder: Path) -> dict[str, tuple[np.ndarray, bool]]:
    """By arm: steps f64[seeds, targets], and whether every run reached the threshold."""
    rows: dict[str, dict[tuple[int, int], tuple[float, bool]]] = defaultdict(dict)
    with (folder / "runs.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            place = int(row["seed"]), int(row["target"])
            rows[row["arm"]][place] = float(row["steps"]), row["reached"] == "True"
    found = {}
    for arm, runs in rows.items():
        seeds, targets = (1 + max(place[axis] for place in runs) for axis in (0, 1))
        steps = np.array([[runs[seed, target][0] for target in range(targets)] for seed in range(seeds)])
        found[arm] = steps, all(reached for _, reached in runs.values())
    return found


def cell(arm: str, found: dict[str, tuple[np.ndarray, bool]]) -> str:
    """Mean, error and difference of an arm."""
    if arm not in found:
        return "-"
    steps, reached = found[arm]
    by_seed = steps.mean(1)
    alone, count = len(by_seed) == 1, len(by_seed) ** 0.5
    error = "" if alone else f" ± {by_seed.std(ddof=1) / count:,.0f}"
    text = f"{by_seed.mean():,.0f}{error}{'' if reached else '*'}"
    if arm == BESIDE or BESIDE not in found:
        return text
    interval, _ = difference(steps, found[BESIDE][0])
    if alone:
        return f"{text} ({interval.value:+.0%}?)"
    return f"{text} ({'=' if tied(interval) else f'{interval.value:+.0%}'})"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", type=Path, nargs="+", help="of results, each with a runs.csv")
    options = parser.parse_args()
    folders = [folder for folder in options.folders if (folder / "runs.csv").exists()]
    if not folders:
        parser.error(f"{options.folders[0]} has no runs.csv; give folders that `jaxvlm transfer` wrote")
    if missing := [str(folder) for folder in options.folders if folder not in folders]:
        print(f"without a runs.csv: {', '.join(missing)}", file=sys.stderr)
    results = {folder.name: read(folder) for folder in folders}
    arms = list(dict.fromkeys(arm for found in results.values() for arm in found))
    print(f"| arm | {' | '.join(results)} |")
    print("|---" * (len(results) + 1) + "|")
    seeds = [len(next(iter(found.values()))[0]) for found in results.values()]
    if len(set(seeds)) > 1:
        print(f"| seeds | {' | '.join(map(str, seeds))} |")
    for arm in arms:
        print(f"| {arm} | {' | '.join(cell(arm, found) for found in results.values())} |")


if __name__ == "__main__":
    main()
