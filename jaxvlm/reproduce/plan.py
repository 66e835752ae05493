"""Which rows are there, which fit, which are to be run: looked at before anything starts."""

import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from jaxvlm.clip.checkpoint import split_untrained
from jaxvlm.errors import ConfigError, RunError
from jaxvlm.reproduce.figure import Figure, Place, Row
from jaxvlm.reproduce.material import LIGHT, REUSED, came, exists, is_finished, is_light, read_json
from jaxvlm.runtime.files import reason, write_json

# Outdated: made of other things than the row's, from what is outdated or gone, or needed and without weights; set aside
# and made again.
State = Literal["finished", "stopped", "missing", "reused", "comes", "outdated"]
Expected = Callable[[Row], Mapping[str, Any] | None]
# Chosen by the device or where metrics go as well: no figure depends on them.
FREE = ("reward.chunk", "sinks", "preset", "report_every")
PLACES = ("--name", "--output", "--runs-dir")  # flags that say where things are, and not what is made


@dataclass(frozen=True)
class Plan:
    """Rows in an order in which they can be run, and how each of them stands."""

    place: Place
    figures: tuple[Figure, ...]
    rows: tuple[Row, ...]
    states: dict[str, State]
    sources: dict[str, Path]  # runs of other folders that stand in for rows, by the rows' names
    others: tuple[Path, ...]  # finished runs of other folders that stand beside them
    why: dict[str, str] = field(
        default_factory=dict
    )  # rows are outdated for another reason than their settings

    @property
    def left(self) -> list[Row]:
        """Rows that have to be run or copied, or to be looked at once the row that they come with is finished."""
        return [row for row in self.rows if self.states[row.name] != "finished"]

    @property
    def to_do(self) -> list[Row]:
        """Those of them that are known to be work."""
        return [row for row in self.left if self.states[row.name] != "comes"]


def make_plan(
    figures: Sequence[Figure], place: Place, expected: Expected, folders: Sequence[Path] = ()
) -> Plan:
    """Looks at what exists.

    Args:
      figures: whose rows are wanted.
      place: the folder, the budget, the checkpoints.
      expected: what a training's `config.json`, or a CLIP's, has to say, and what states and distances have to be of;
        None for rows without settings.
      folders: of further runs, which are reused where task and reward are a row's.

    Raises:
      ConfigError: a run of the folder was made with other settings, or two rows of one name differ.
    """
    rows: dict[str, Row] = {}
    for figure in figures:
        for row in figure.rows(place):
            if rows.setdefault(row.name, row) != row:
                raise ConfigError(f"two figures want different rows named {row.name!r}: {row.command}")
    ordered = in_order(rows)
    finished = [path for folder in folders for path in finished_runs(folder)]
    states: dict[str, State] = {}
    sources: dict[str, Path] = {}
    why: dict[str, str] = {}
    known = ledger(place.folder)
    for row in ordered:
        wanted = expected(row)
        state = state_of(row, place)
        if state != "missing" and wanted is not None:
            if not remade(row):
                check(row, place, wanted)
            elif not fits(row, place, wanted):
                state = "outdated"
        if state == "finished" and row.arguments[0] == "evaluate" and known.get(row.name, {}).get("code", 0):
            state = "missing"  # what lies there is of a try before the one that failed
        if state == "finished" and measured(row):
            later = made_later(row, known)
            changed = [name for name in row.needs if states[name] != "finished" or name in later]
            outdated = any(states[name] == "outdated" for name in changed)
            # What was published stands beside runs and CLIPs without weights, of which it cannot be measured again.
            # Nor what is measured on it in turn.
            after = [row, *(other for other in rows.values() if row.name in other.needs)]
            beside = any(
                not lends(rows[name], other, place)
                for other in after
                for name in other.needs
                if name != row.name
            )
            if row.arguments[0] == "evaluate" and changed and not beside:
                state = "missing"  # and written over
            elif outdated or (changed and not beside):
                state = "outdated"
                if not outdated:
                    why[row.name] = f"of an earlier {changed[0]}"
        if state != "finished" and row.task and wanted is not None:
            fitting = [
                path
                for path in finished
                if same_reward(wanted, read_json(path / "config.json"), row.task)
                # What was published does not name the CLIP any more that was trained beside it.
                and not (row.needs and came(path / "evaluation.json"))
            ]
            if fitting and state == "missing":
                sources[row.name] = max(fitting, key=steps_of)
                state = "reused"
        if (
            state == "missing"
            and row.comes_with
            and states[row.comes_with] in ("missing", "stopped", "comes")
        ):
            state = "comes"
        states[row.name] = state
    why |= bring_back(ordered, place, states)
    for row in ordered:
        wanted = expected(row) if row.name in why and row.task else None
        if wanted is not None:  # better a run of another folder than a training
            fitting = [
                path
                for path in finished
                if same_reward(wanted, read_json(path / "config.json"), row.task)
                and not came(path / "evaluation.json")
            ]
            if fitting:
                sources[row.name] = max(fitting, key=steps_of)
    copied = [read_json(path) for path in (place.folder / "runs").glob(f"*/{REUSED}")]
    used = {*sources.values(), *(Path(str(entry["from"])) for entry in copied if entry)}
    return Plan(
        place=place,
        figures=tuple(figures),
        rows=tuple(ordered),
        states=states,
        sources=sources,
        others=tuple(path for path in finished if path not in used),
        why=why,
    )


def bring_back(rows: Sequence[Row], place: Place, states: dict[str, State]) -> dict[str, str]:
    """Marks as outdated what came without weights (`jaxvlm.reproduce.publish`) and is needed by a row that is not done.

    Args:
      rows: in an order in which each comes after those it needs.
      place: the folder.
      states: of all rows; changed in place.

    Returns:
      The reason, by the names of the rows that were marked.
    """
    by_name = {row.name: row for row in rows}
    why: dict[str, str] = {}
    changed = True
    while changed:
        changed = False
        for row in reversed(rows):
            if states[row.name] in ("finished", "comes", "reused"):
                continue
            for need in map(by_name.__getitem__, row.needs):
                if not row.weights and names_clip(need, place):
                    continue
                if states[need.name] == "finished" and not lends(need, row, place):
                    states[need.name] = "outdated"
                    why[need.name] = f"without the weights that {row.name} needs"
                    changed = True
        # Evaluations that lie in the folder of such a run are of its agents and go with it.
        gone = {by_name[name].run for name in why}
        for row in rows:
            state = "comes" if row.comes_with else "missing"
            inside = not row.task and row.product.rpartition("/")[0] in gone
            if inside and states[row.name] != state:
                states[row.name] = state
                changed = True
    return why


def lends(need: Row, row: Row, place: Place) -> bool:
    """Whether what is there of a finished row is all that another one needs of it.

    Published agents play. Scored are they by the CLIP that they learned from, which has to be named as their row does;
    of one that was trained beside them the weights were not published, and those made anew are others.
    """
    product = place.folder / need.product
    if is_light(product):
        return False
    scored = row.arguments[:1] == ("evaluate",) and "--clip" not in row.arguments
    if scored and need.task and came(product):
        return not need.needs and names_clip(need, place)
    return True


def names_clip(row: Row, place: Place) -> bool:
    """Whether a run's settings name the checkpoint as its row does: of what was published a folder's path is cut."""
    if "--clip" not in row.flags:
        return True
    found = read_json((place.folder / row.product).with_name("config.json")) or {}
    return found.get("reward", {}).get("clip") == row.flags[row.flags.index("--clip") + 1]


def in_order(rows: Mapping[str, Row]) -> list[Row]:
    """Rows after those they need; raises `ConfigError` for a need that no row meets."""
    ordered: dict[str, Row] = {}

    def add(row: Row, path: tuple[str, ...]) -> None:
        for name in row.needs:
            if name not in rows or name in path:
                raise ConfigError(f"row {row.name!r} needs {name!r}, which is no row before it")
            add(rows[name], (*path, row.name))
        ordered.setdefault(row.name, row)

    for row in rows.values():
        add(row, ())
    return list(ordered.values())


def state_of(row: Row, place: Place) -> State:
    """Whether a row's product exists or came without weights, or a run that stopped before it."""
    if exists(row, place.folder):
        return "finished"
    if row.run and (place.folder / row.run / "config.json").exists():
        return "stopped"
    return "missing"


def check(row: Row, place: Place, wanted: Mapping[str, Any]) -> None:
    """Compares the settings that a row's product was made with with the row's own.

    Raises `ConfigError`: they differ.
    """
    folder = (place.folder / row.product).parent
    found = (
        read_json(folder / "config.json")
        if row.task
        else (read_json(folder / "figures.json") or {}).get("config")
    )
    if found is None:
        raise ConfigError(f"{folder} has no readable settings; remove it or choose another --folder")
    cut = (folder / LIGHT).exists()
    if (folder / REUSED).exists():
        if not same_reward(wanted, found, row.task, cut=cut):
            raise ConfigError(
                f"{folder} was taken from another folder for another reward; remove it or choose another --folder"
            )
        return
    different = differences(wanted, found, cut=cut)
    if different:
        name, (asked, there) = next(iter(different.items()))
        more = f" (and {len(different) - 1} more)" if len(different) > 1 else ""
        raise ConfigError(
            f"{folder} was made with {name} {there}, this row has {asked}{more}; choose another --folder, or give that "
            "folder's runs with --runs to reuse them with their own steps and seeds"
        )


def remade(row: Row) -> bool:
    """Whether a row is made again where its settings are others: states and distances, which take minutes."""
    return row.arguments[:1] == ("epic",) or row.arguments[:2] == ("dataset", "make")


def measured(row: Row) -> bool:
    """Whether a row's product says something of the runs or CLIPs that it needs, and of no later ones."""
    return (
        remade(row)
        or row.arguments[:1] == ("landscape",)
        or (row.arguments[:1] == ("evaluate",) and row.weights)
    )


def made_later(row: Row, known: Mapping[str, Any]) -> list[str]:
    """The rows it needs that were removed and made anew behind it, by the ledger's times."""

    def ended(name: str) -> datetime | None:
        entry = known.get(name, {})
        try:
            # Of earlier versions, which wrote no time zone, it is the one here.
            return datetime.fromisoformat(entry["ended"]).astimezone() if entry["code"] == 0 else None
        except (KeyError, TypeError, ValueError):
            return None

    own = ended(row.name)
    return [name for name in row.needs if own and (end := ended(name)) and end > own]


def fits(row: Row, place: Place, wanted: Mapping[str, Any]) -> bool:
    """Whether states were asked for, or distances measured, as a row wants them; not where their file tells nothing."""
    found = read_json(place.folder / row.product)
    try:
        if row.arguments[0] == "epic":
            return measures(found, wanted)
        return asked(shlex.split(found["command"][0])[3:]) == wanted
    except (LookupError, TypeError, ValueError, AttributeError):
        return False


def measures(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Whether the file of `jaxvlm epic` has all of some models and alphas, and perhaps others, from the same states."""
    if any(found.get(name, wanted[name]) != wanted[name] for name in ("dataset_name", "labels", "cameras")):
        return False
    # People may have labelled more states since.
    counts = {
        str(line["goal"]): (line["n"], line["positives"]) for line in found["rows"] if "positives" in line
    }
    for goal, known in wanted.get("labelled", {}).items():
        count, positives = known["labelled"], known["positives"]
        if 0 < positives < count and counts.get(goal) != (count, positives):
            return False
    alphas: dict[str, set[float]] = {}
    for line in found["rows"]:
        alphas.setdefault(str(line["model"]), set()).add(round(float(line["alpha"]), 6))
    needed = {round(float(alpha), 6) for alpha in wanted["alphas"]}
    return all(
        any(same_checkpoint(model, name) and needed <= has for name, has in alphas.items())
        for model in wanted["models"]
    )


def asked(words: Sequence[str]) -> dict[str, list[str]]:
    """What a command line asks for: values by flag, and without a flag the last parts of paths; no `PLACES`."""
    found: dict[str, list[str]] = {"": []}
    flag = ""
    for word in words:
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            found[flag] = [value] if equals else []
        else:
            found[flag].append(word if flag else Path(word).name)
    return {name: values for name, values in found.items() if name not in PLACES}


def set_aside(row: Row, place: Place) -> Path:
    """Moves a row's product to another name beside it: people's labels may be in it.

    Of a dataset, a run and a CLIP that is the folder.

    Raises `RunError` where that is not possible.
    """
    path = place.folder / row.product
    path = path.parent if row.arguments[0] in ("dataset", "clip") or row.task else path
    suffix = "" if path.is_dir() else path.suffix
    stem, number = f"{path.name.removesuffix(suffix)}-before", 1
    target = path.with_name(stem + suffix)
    while target.exists():
        number += 1
        target = path.with_name(f"{stem}-{number}{suffix}")
    try:
        path.rename(target)
    except OSError as error:
        raise RunError(f"cannot move {path} to {target}: {reason(error)}") from error
    return target


def differences(
    wanted: Mapping[str, Any], found: Mapping[str, Any], *, cut: bool = False
) -> dict[str, tuple[Any, Any]]:
    """Settings that differ, (wanted, found) by name; settings that earlier versions lacked are left out.

    `cut`: those found were published, see `same_checkpoint`.
    """
    asked, there = flat(wanted), flat(found)
    pairs = {
        name: (value, there[name]) for name, value in asked.items() if name in there and name not in FREE
    }
    return {
        name: (value, other)
        for name, (value, other) in pairs.items()
        if not (same_checkpoint(value, other, cut=cut) if name == "reward.clip" else value == other)
    }


def same_reward(
    wanted: Mapping[str, Any], found: Mapping[str, Any] | None, task: str | None, *, cut: bool = False
) -> bool:
    """Whether two trainings learn the same task from the same reward, whatever their steps and seeds.

    `cut`: the one found was published, see `same_checkpoint`.
    """
    if not found or found.get("task") != task or wanted.get("variant") != found.get("variant"):
        return False
    if list(wanted.get("at", ())) != list(found.get("at", ())):  # steps at which phases begin
        return False
    mine, other = dict(wanted["reward"]), dict(found.get("reward", {}))
    if not mine.get("alpha"):  # then the baseline takes no part
        mine.pop("baseline", None)
    if mine.get("reward") == "ground-truth":
        mine = {"reward": "ground-truth"}
    return not differences({"reward": mine}, {"reward": other}, cut=cut)


def same_checkpoint(one: str, other: str, *, cut: bool = False) -> bool:
    """Whether two names of a checkpoint mean one: equal, one folder, or the same name in a folder that was moved.

    Of `untrained:` the seeds count as well. With `cut` the other one was published, where of a path only its last parts
    are left: the last one decides.
    """
    if one == other:
        return True
    untrained = [name.startswith("untrained:") for name in (one, other)]
    if all(untrained):
        (place, seed), (there, drawn) = map(split_untrained, (one, other))
        return seed == drawn and same_checkpoint(place, there, cut=cut)
    if any(untrained):
        return False
    if os.path.realpath(one) == os.path.realpath(other) or (cut and Path(one).name == Path(other).name):
        return True
    tails = [Path(name).parts[-2:] for name in (one, other)]
    return tails[0] == tails[1] and len(tails[0]) == 2 and tails[0][0] == "clips"


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted names; lists and tuples are alike."""
    found = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = list(value) if isinstance(value, tuple) else value
    return found


def finished_runs(folder: Path) -> list[Path]:
    """Run directories below a folder that were trained to the end and evaluated, or the folder itself.

    Raises `ConfigError`: there is none.
    """
    if not folder.is_dir():
        raise ConfigError(f"--runs {folder} is no folder; give one that holds run directories")
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    found = [path for path in candidates if is_finished(path) and (path / "config.json").exists()]
    if not found:
        raise ConfigError(
            f"--runs {folder} holds no finished run, that is no folder with an evaluation.json of agents trained to "
            "the end"
        )
    return found


def steps_of(run: Path) -> int:
    """Environment steps of all seeds of a run."""
    config = read_json(run / "config.json") or {}
    return int(config.get("steps", 0)) * int(config.get("seeds", 1))


def copy_run(source: Path, target: Path) -> None:
    """Copies a run without its replay buffers, so that what is evaluated later lies beside it and not in it.

    Raises `RunError` where that is not possible; a half-made copy is removed.
    """

    def large(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if Path(folder).name == "checkpoints" and name.isdigit()}

    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        shutil.copytree(source, draft, ignore=large, dirs_exist_ok=True)
        draft.chmod(0o755)
        write_json(draft / REUSED, {"from": str(source)})
        draft.rename(target)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise RunError(f"cannot copy {source} to {target}: {reason(error)}") from error


def jobs(rows: Sequence[Row], place: Place, states: Mapping[str, State]) -> list[tuple[Row, ...]]:
    """Rows by the command that makes them: trainings of one group that never began share one, if the budget says so."""
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        alone = not (place.budget.together and row.group and states[row.name] == "missing")
        grouped.setdefault(row.name if alone else f"group {row.group}", []).append(row)
    return [tuple(group) for group in grouped.values()]


def arguments_of(job: Sequence[Row], place: Place, state: State) -> tuple[str, ...]:
    """Arguments of jaxvlm for a job."""
    row = job[0]
    if state == "stopped":
        return ("resume", str(place.folder / (row.run or "")))
    if len(job) == 1:
        return row.arguments
    tasks = [member.task or "" for member in job]
    suffix = row.name.removeprefix(f"{row.task}-")
    return ("train", ",".join(tasks), *row.flags, "--name", suffix, "--runs-dir", str(place.folder / "runs"))


def ledger(folder: Path) -> dict[str, Any]:
    """What is known of rows that were run: seconds, end, exit code; `rows.json`."""
    found = read_json(folder / "rows.json")
    return found if isinstance(found, dict) else {}


def enter(folder: Path, names: Sequence[str], entry: Mapping[str, Any]) -> None:
    """Adds to the ledger."""
    write_json(folder / "rows.json", {**ledger(folder), **{name: dict(entry) for name in names}})
