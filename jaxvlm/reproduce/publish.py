"""A report with what it was drawn from and without weights, to be published and to start from elsewhere.

Weights and replay buffers of all rows are gigabytes, what the page shows of them a few megabytes. Published are the
page and, in `data/`, the settings, versions, curves, evaluations and pictures of its rows, in the layout of the
report's folder. A folder that starts from there has these rows finished; where a row that is left needs weights of
another one, that is made anew.
"""

import shutil
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.reproduce.figure import Place, Row
from jaxvlm.reproduce.material import LIGHT, REUSED, exists, read_json
from jaxvlm.runtime.files import reason, replace_file, write_json

DATA = "data"
LEDGER = "rows.json"
RUN = (
    "config.json", "environment.json", "metrics.jsonl", REUSED, "evaluation*.json", "evaluation*.csv", "fooled*.json",
    "plots/fooled.png", "videos/best.png", "rating/report-*.json",
)  # fmt: skip
CLIP = ("figures.json", "README.md", "plots/*.png")
DATASET = ("dataset.json", "states.npz")


def kept(row: Row, folder: Path) -> list[Path]:
    """Files of a finished row that a report is drawn from, relative to its folder."""
    product = Path(row.product)
    patterns = {"clip train": CLIP, "dataset make": DATASET}.get(" ".join(row.arguments[:2]))
    if row.task or product.parts[0] == "runs":
        # Evaluations of a run lie in its folder: they are all taken with it.
        product, patterns = Path(*product.parts[:2]) / "evaluation.json", RUN
    if patterns is None:
        return [product]
    found = {
        path for pattern in patterns for path in (folder / product.parent).glob(pattern) if path.is_file()
    }
    return sorted(path.relative_to(folder) for path in found)


def publish(rows: Iterable[Row], place: Place, page: Path, target: Path) -> int:
    """Copies a report's page and what it was drawn from; returns the number of files.

    What an earlier call left in `target` stays where this report has nothing in its place.

    Raises `RunError`: it cannot be written.
    """
    files: dict[Path, Path] = {Path("index.html"): page}
    lights = set[Path]()
    dates = dict[
        str, dict[str, str]
    ]()  # of files that were made without `jaxvlm reproduce`; a checkout has its own
    for row in rows:
        if not exists(row, place.folder):
            continue
        files |= {DATA / path: place.folder / path for path in kept(row, place.folder)}
        if (product := place.folder / row.product).exists():
            ended = datetime.fromtimestamp(product.stat().st_mtime)
            dates[row.name] = {"ended": ended.isoformat(timespec="seconds")}
        if row.task or row.arguments[:2] == ("clip", "train"):
            lights.add(DATA / Path(row.product).parent)
    try:
        for name, source in files.items():
            _copy(source, target / name)
        for folder in lights:
            write_json(target / folder / LIGHT, {"without": "weights"})
        known = {
            **(read_json(target / DATA / LEDGER) or {}),
            **dates,
            **(read_json(place.folder / LEDGER) or {}),
        }
        write_json(target / DATA / LEDGER, known)
    except OSError as error:
        raise RunError(f"cannot publish in {target}: {reason(error)}; choose another --publish") from error
    return len(files)


def start_from(source: Path, folder: Path) -> int:
    """Copies what was published into the folder of a report, but nothing over what is there.

    Returns the number of runs, CLIPs, datasets and files that were copied.

    Raises:
      ConfigError: `source` is nothing that was published.
      RunError: the folder cannot be written.
    """
    data = source / DATA
    if not data.is_dir():
        raise ConfigError(f"--start-from {source} holds no {DATA}/; give a folder that --publish has written")
    # A run, a CLIP, a dataset as a whole or not at all: evaluations of other agents do not belong to these.
    units = [path for group in sorted(data.iterdir()) if group.is_dir() for path in sorted(group.iterdir())]
    copied = 0
    try:
        for unit in units:
            target = folder / unit.relative_to(data)
            if target.exists():
                continue
            copied += 1
            if unit.is_file():
                _copy(unit, target)
                continue
            draft = target.with_name(f".{target.name}.draft")
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(unit, draft)
            draft.rename(target)
        write_json(
            folder / LEDGER, {**(read_json(data / LEDGER) or {}), **(read_json(folder / LEDGER) or {})}
        )
    except OSError as error:
        raise RunError(
            f"cannot copy {source} to {folder}: {reason(error)}; choose another --folder"
        ) from error
    return copied


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.read_bytes() == source.read_bytes():
        return  # its date tells when it was made
    replace_file(target, lambda draft: shutil.copy2(source, draft))
