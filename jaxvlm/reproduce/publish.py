"""A report with what it was drawn from, to be published and to start from elsewhere.

Checkpoints and replay buffers of all rows are gigabytes, what the page shows of them a few megabytes. Published are the
page and, in `data/`, the settings, versions, curves, evaluations, pictures and best agents of its rows, in the layout
of the report's folder. A folder that starts from there has these rows finished. Agents play there, but CLIPs came
without weights, and runs of earlier versions without agents: where a row that is left needs them, they are made anew.
"""

import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.reproduce.figure import Place, Row
from jaxvlm.reproduce.material import LIGHT, POLICIES, REUSED, exists, is_finished, is_light, read_json
from jaxvlm.reproduce.scaling import count_parameters
from jaxvlm.runtime.files import reason, replace_file, write_atomic, write_json

DATA = "data"
LEDGER = "rows.json"
STARTED = "started.json"  # in a folder that started from elsewhere: what it took, each once
RATED = "rating/report-share.json"
RUN = (
    "config.json", "environment.json", "metrics.jsonl", POLICIES, REUSED, "evaluation*.json", "evaluation*.csv",
    "fooled*.json", "fooled.npz", "plots/fooled.png", "videos/best.png", RATED,
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


def check_target(target: Path, folder: Path) -> None:
    """Says before anything is run what is wrong with a folder to publish in.

    Raises `ConfigError`: it holds the report's own folder or lies in it where they would meet, or a page of something
    else, or cannot be written.
    """
    data, own = (target / DATA).resolve(), folder.resolve()
    if data == own or data.is_relative_to(own) or own.is_relative_to(data):
        raise ConfigError(
            f"--publish {target} would write into --folder {folder}; choose a folder apart from it"
        )
    if (target / "index.html").exists() and not (target / DATA / LEDGER).exists():
        raise ConfigError(f"--publish {target} has an index.html of something else; choose an empty folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target):
            pass
    except OSError as error:
        raise ConfigError(
            f"cannot write to --publish {target}: {reason(error)}; choose another folder"
        ) from error


def publish(rows: Iterable[Row], place: Place, page: Path, target: Path) -> int:
    """Copies a report's page and what it was drawn from; returns the number of files.

    Runs, CLIPs and datasets of an earlier call that this report has as well are replaced as a whole, others stay. Of
    absolute paths only what lies below the report's folder, or their last two parts, is published, and of raters no
    names.

    Raises:
      ConfigError: see `check_target`.
      RunError: it cannot be written.
    """
    check_target(target, place.folder)
    data, files = target / DATA, set[Path]()
    marks, entries = dict[Path, dict[str, Any]](), dict[str, Any]()
    known = read_json(place.folder / LEDGER) or {}
    for row in rows:
        unit = unit_of(row)
        # A run is taken as a whole: one that is not finished could not go on elsewhere, whatever was evaluated of it.
        if not exists(row, place.folder) or (
            unit.parts[0] == "runs" and not is_finished(place.folder / unit)
        ):
            continue
        files.update(kept(row, place.folder))
        product = place.folder / row.product
        entry = known.get(row.name, {})
        if entry.get("code", 0) == 0 and entry:
            # The command stands on the page; as it was typed here it may name folders.
            entries[row.name] = {key: value for key, value in entry.items() if key != "command"}
        elif product.exists():  # made without `jaxvlm reproduce`, or by a try before the one that failed
            ended = datetime.fromtimestamp(product.stat().st_mtime, UTC)
            entries[row.name] = {"ended": ended.isoformat(timespec="seconds")}
        if row.task or row.arguments[:2] == ("clip", "train"):
            before = read_json(product.with_name(LIGHT)) or {}
            count = None if row.task else count_parameters(product) or before.get("parameters")
            without = "checkpoints" if product.with_name(POLICIES).exists() else "weights"
            marks[unit] = {"without": without, **({"parameters": count} if count else {})}
    agents = {data / unit / POLICIES for unit in marks if same_agents(place.folder / unit, data / unit)}
    try:
        for name in sorted(files):
            _publish(place.folder / name, data / name, place.folder)
        for unit, mark in marks.items():
            write_json(data / unit / LIGHT, mark)
        for unit in {Path(*name.parts[:2]) for name in files}:
            for old in (data / unit).rglob("*") if (data / unit).is_dir() else ():
                # A folder that started from an earlier version lacks the agents themselves.
                if (
                    old.is_file()
                    and old.name != LIGHT
                    and old.relative_to(data) not in files
                    and old not in agents
                ):
                    old.unlink()  # of the agents that were here before
        _publish(page, target / "index.html", place.folder)
        write_json(data / LEDGER, {**(read_json(data / LEDGER) or {}), **entries})
    except OSError as error:
        raise RunError(f"cannot publish in {target}: {reason(error)}; choose another --publish") from error
    return len(files) + 1


def same_agents(run: Path, other: Path) -> bool:
    """Whether two folders hold the same evaluation of a run, to the last digit."""
    found = [(read_json(folder / "evaluation.json") or {}).get("per_seed") for folder in (run, other)]
    return found[0] is not None and found[0] == found[1]


def unit_of(row: Row) -> Path:
    """The run, CLIP, dataset or file that is taken as a whole, relative to the folder of a report."""
    return Path(*Path(row.product).parts[:2])


def start_from(source: Path, folder: Path, rows: Sequence[Row]) -> int:
    """Copies what was published into the folder of a report, but nothing over what is there, and nothing twice.

    What was set aside or removed since an earlier call does not come back, and figures that were measured on other
    states or CLIPs than those of the folder are left out.

    Args:
      source: what `publish` has written.
      folder: of the report.
      rows: all there are, whatever figures are wanted.

    Returns:
      The number of runs, CLIPs, datasets and files that were copied.

    Raises:
      ConfigError: `source` is nothing that was published.
      RunError: the folder cannot be written.
    """
    data = source / DATA
    if not data.is_dir():
        raise ConfigError(f"--start-from {source} holds no {DATA}/; give a folder that --publish has written")
    taken = list[str](read_json(folder / STARTED) or [])
    by_name = {row.name: row for row in rows}
    # A run, a CLIP, a dataset as a whole or not at all: evaluations of other agents do not belong to these.
    units = [path for group in sorted(data.iterdir()) if group.is_dir() for path in sorted(group.iterdir())]
    own = {
        row.name
        for row in rows
        if unit_of(row).as_posix() not in taken
        if (folder / row.product).exists() and not is_light(folder / row.product)
    }
    foreign = {
        unit_of(row)
        for row in rows
        if row.arguments[:1] in (("epic",), ("landscape",)) and any(need in own for need in row.needs)
    }
    copied = set[Path]()
    try:
        for unit in units:
            name = unit.relative_to(data)
            target = folder / name
            agents = unit / POLICIES
            if agents.exists() and is_light(target / "evaluation.json") and same_agents(unit, target):
                _copy(agents, target / POLICIES)  # what was taken earlier came without them
            if name.as_posix() in taken or name in foreign or target.exists():
                continue
            if unit.is_file():
                _copy(unit, target)
            else:
                draft = target.with_name(f".{target.name}.draft")
                shutil.rmtree(draft, ignore_errors=True)
                shutil.copytree(unit, draft)
                draft.rename(target)
            copied.add(name)
            taken.append(name.as_posix())
            write_json(folder / STARTED, taken)
        theirs, ours = (read_json(path / LEDGER) or {} for path in (data, folder))
        come = {
            name: entry
            for name, entry in theirs.items()
            if name in by_name and unit_of(by_name[name]) in copied
        }
        if come:
            write_json(folder / LEDGER, {**ours, **come})
    except OSError as error:
        raise RunError(
            f"cannot copy {source} to {folder}: {reason(error)}; choose another --folder"
        ) from error
    return len(copied)


def _publish(source: Path, target: Path, folder: Path) -> None:
    """Copies a file, without names of folders and people that are nobody's business."""
    if source.suffix == ".html":
        text = source.read_text(encoding="utf-8")
        shown = _cut(text, folder.resolve())
        _copy(source, target) if shown == text else write_atomic(target, shown)
        return
    value = read_json(source) if source.suffix == ".json" else None
    shown = _without_paths(value, folder.resolve())
    if source.match(RATED) and isinstance(shown, dict):
        shown = _renamed(shown, _numbered(shown.get("raters", [])))
    if source.name == "dataset.json" and isinstance(shown, dict) and isinstance(shown.get("raters"), dict):
        # Of each goal the names of those who labelled it; one who labelled several stays one.
        names = dict.fromkeys(name for goal in shown["raters"].values() for name in goal)
        shown["raters"] = {goal: _renamed(list(of), _numbered(names)) for goal, of in shown["raters"].items()}
    if shown == value:
        _copy(source, target)
    else:
        write_atomic(target, json.dumps(shown, indent=2) + "\n")


def _without_paths(value: Any, folder: Path) -> Any:
    """A JSON value whose absolute paths, also those in sentences, are relative to a folder, or their last two parts."""
    if isinstance(value, dict):
        return {key: _without_paths(item, folder) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item, folder) for item in value]
    if isinstance(value, str):
        # A path and nothing else may have anything in it.
        whole = "\n" not in value and Path(value).is_absolute()
        return _relative(value, folder) if whole else _cut(value, folder)
    return value


# Pictures of a page, of which nothing is cut; paths in quotes, which may hold spaces; paths that stand free.
PATHS = re.compile(
    r"""data:[\w/+-]+;base64,[\w+/=]+
    |(?<=["'])/[^"'<>\n]*[^"'<>\n/](?=["'])
    |(?<=&quot;)/[^&<>\n]+(?=&quot;)|(?<=&\#x27;)/[^&<>\n]+(?=&\#x27;)
    |(?<![\w./~<*)\]-])/(?!/)[^\s"'<>&|:;,()\[\]{}]+""",
    re.VERBOSE,
)


def _cut(text: str, folder: Path) -> str:
    """A text with its absolute paths cut like those of `_without_paths`."""
    return PATHS.sub(lambda found: _relative(found[0], folder) if found[0][0] == "/" else found[0], text)


def _relative(path: str, folder: Path) -> str:
    """An absolute path, relative to a folder or only its last two parts."""
    place = Path(path)
    return (
        place.relative_to(folder) if place.is_relative_to(folder) else Path(*place.parts[1:][-2:])
    ).as_posix()


def _numbered(names: Iterable[Any]) -> dict[str, str]:
    return {str(name): f"rater {number}" for number, name in enumerate(names, 1)}


def _renamed(value: Any, names: dict[str, str]) -> Any:
    """A JSON value with other names, as keys and as strings."""
    if isinstance(value, dict):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return names.get(value, value) if isinstance(value, str) else value


def _copy(source: Path, target: Path) -> None:
    if target.exists() and target.read_bytes() == source.read_bytes():
        return  # its date tells when it was made
    replace_file(target, lambda draft: shutil.copy2(source, draft))
