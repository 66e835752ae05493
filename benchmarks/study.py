"""The table of all tasks, checkpoints and alphas: trains what is missing and prints what there is.

    python benchmarks/study.py                       # everything, hours on a CPU
    python benchmarks/study.py cartpole mountain-car # some groups
    python benchmarks/study.py --table               # only the table of the runs that are finished

Each row is one `jaxvlm train` with several seeds in one program, in `runs/study/`. A finished row is not trained again
and a stopped one is resumed, so the command can be interrupted and called again.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

ALPHAS = (0.0, 0.5, 1.0)


def rows(seeds: int) -> dict[str, list[tuple[str, list[str]]]]:
    """Groups of (run name, arguments of `jaxvlm train`)."""

    def train(task: str, *flags: str) -> list[str]:
        return [task, "--seeds", str(seeds), *flags]

    groups: dict[str, list[tuple[str, list[str]]]] = {}
    for task in ("cartpole", "cartpole-swingup", "mountain-car", "mountain-car-plain"):
        groups[task] = [(f"{task}-alpha{alpha:g}", train(task, "--alpha", str(alpha))) for alpha in ALPHAS]
        groups[task].append((f"{task}-untrained", train(task, "--clip", "untrained")))
        groups[task].append((f"{task}-ground-truth", train(task, "--reward", "ground-truth")))
    return groups


def run(name: str, arguments: list[str], folder: Path) -> None:
    """Trains a row unless it is finished; goes on with one that was stopped."""
    if (folder / name / "evaluation.json").exists():
        return
    command = [sys.executable, "-m", "jaxvlm"]
    if (folder / name / "checkpoints").is_dir() and any((folder / name / "checkpoints").glob("[0-9]*")):
        command += ["resume", name, "--runs-dir", str(folder)]
    else:
        command += ["train", *arguments, "--name", name, "--runs-dir", str(folder)]
    print(" ".join(command[2:]), flush=True)
    subprocess.run(command, check=True)


def table(names: list[str], folder: Path) -> str:
    """A Markdown table of the finished rows."""
    lines = [
        "| run | success by seed | success | share of successful steps | mean return | steps of a seed |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        path = folder / name / "evaluation.json"
        if not path.exists():
            continue
        result = json.loads(path.read_text(encoding="utf-8"))
        config = json.loads((folder / name / "config.json").read_text(encoding="utf-8"))
        share = next(value for key, value in result.items() if key.endswith("_fraction"))
        seeds = ", ".join(f"{rate:.2f}" for rate in result["per_seed"]["success_rate"])
        lines.append(
            f"| {name} | {seeds} | {result['success_rate']:.3f} | {share:.3f} | "
            f"{result['mean_ground_truth_return']:.1f} | {config['steps']:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "groups", nargs="*", help="of cartpole, cartpole-swingup, mountain-car, mountain-car-plain"
    )
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--folder", type=Path, default=Path("runs/study"))
    parser.add_argument("--table", action="store_true", help="train nothing")
    options = parser.parse_args()
    known = rows(options.seeds)
    unknown = set(options.groups) - set(known)
    if unknown:
        parser.error(f"unknown group {', '.join(sorted(unknown))}; choose of {', '.join(known)}")
    chosen = [row for group in options.groups or known for row in known[group]]
    if not options.table:
        for name, arguments in chosen:
            run(name, arguments, options.folder)
    print(table([name for name, _ in chosen], options.folder))


if __name__ == "__main__":
    main()
