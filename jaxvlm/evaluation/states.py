"""Sets of labelled states that rewards are measured on: poses, never pixels, so that any view can be drawn later.

FOLDER/
    dataset.json    format, domain, sources, what each array of the other file means, versions, SHA-256 of that file
    states.npz      the arrays; NumPy reads it alone

A row is a state. `ARRAYS` describes the arrays, and `dataset.json` repeats it.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.runtime.environment import describe_environment
from jaxvlm.runtime.files import expand, plain, reason, write_json

FORMAT = 1
INDEX = ("source", "seed", "episode", "step")
UNLABELLED = -1

ARRAYS = {
    "scene/<field>": "[n, ...], what a frame is drawn from, as the environment's scene has it: poses, no pixels",
    "label/<goal>": "bool[n], whether the simulator's predicate of a goal holds",
    "graded/<goal>": "float32[n], log-odds of the same: positive where it holds; NaN where only the predicate is known",
    "human/<goal>": "int8[n], 1 and 0 as most people said, -1 where nobody did or they are divided",
    "votes/<goal>": "int8[n, raters], what each of `raters` of dataset.json said, -1 where nothing; none in datasets "
    "that were labelled before votes were kept",
    "index/source": "int32[n], place in the list `sources` of dataset.json",
    "index/seed": "int32[n], seed of the agent that reached the state, or of the draw",
    "index/episode": "int32[n], episode of that seed; states of one episode resemble each other",
    "index/step": "int32[n], steps taken in it",
}


@dataclass(frozen=True)
class StateDataset:
    """States of one domain with their labels; see the top of this file for the arrays."""

    domain: str
    scenes: Mapping[str, np.ndarray]  # field of the environment's scene -> [n, ...]
    labels: Mapping[str, np.ndarray]  # goal -> bool[n]
    index: Mapping[str, np.ndarray]  # each of INDEX -> i32[n]
    sources: tuple[Mapping[str, Any], ...]  # what each number in index["source"] stands for
    graded: Mapping[str, np.ndarray] = field(default_factory=dict)  # goal -> f32[n]
    human: Mapping[str, np.ndarray] = field(default_factory=dict)  # goal -> i8[n]
    votes: Mapping[str, np.ndarray] = field(default_factory=dict)  # goal -> i8[n, raters], named by `raters`
    meta: Mapping[str, Any] = field(default_factory=dict)  # versions, command; JSON holds all of it

    def __post_init__(self) -> None:
        lengths = {len(array) for array in self.arrays().values()}
        if len(lengths) != 1 or 0 in lengths or set(self.index) != set(INDEX):
            raise ConfigError(
                f"a state dataset has arrays of one length above 0 and the index {', '.join(INDEX)}; "
                f"these are of {sorted(lengths)} rows with the index {', '.join(self.index)}"
            )
        for goal, votes in self.votes.items():
            if votes.ndim != 2 or votes.shape[1] != len(self.raters(goal)):
                raise ConfigError(
                    f"votes on {goal!r} are of shape {list(votes.shape)}, but it has {len(self.raters(goal))} raters"
                )

    def __len__(self) -> int:
        return len(self.index["source"])

    @property
    def goals(self) -> tuple[str, ...]:
        """Goals that the predicates label."""
        return tuple(self.labels)

    def raters(self, goal: str) -> tuple[str, ...]:
        """Whoever labelled a goal, in the order of the columns of `votes`."""
        return tuple(self.meta.get("raters", {}).get(goal, ()))

    @property
    def groups(self) -> np.ndarray:
        """i64[n], a number for each episode: what is drawn with replacement in a bootstrap."""
        keys = np.stack([self.index[name] for name in ("source", "seed", "episode")], axis=1)
        return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)

    def scene(self, scene_type: type) -> Any:
        """The scenes as the environment's own type, leaves [n, ...]; raises `RunError` where its fields are others."""
        wanted = [entry.name for entry in fields(scene_type)]
        if set(wanted) != set(self.scenes):
            raise RunError(
                f"the dataset's scenes have {', '.join(self.scenes)}, but those of {self.domain} now have "
                f"{', '.join(wanted)}: make it anew with `jaxvlm dataset make`"
            )
        return scene_type(**self.scenes)

    def truth(self, goal: str, labels: str = "predicate") -> tuple[np.ndarray, np.ndarray]:
        """Whether the goal holds and whether that is known, bool[n] each; `labels` is `predicate` or `human`.

        Raises:
          ConfigError: the dataset has no such labels.
        """
        given = self.human if labels == "human" else self.labels
        if goal not in given:
            known = f"it has {', '.join(given)}" if given else "it has none"
            raise ConfigError(
                f"the dataset has no {labels} labels of {goal!r} ({known})"
                + ("; add them with `jaxvlm dataset label`" if labels == "human" else "")
            )
        return np.asarray(given[goal]) == 1, np.asarray(given[goal]) != UNLABELLED

    def rows(self, chosen: np.ndarray) -> "StateDataset":
        """The states at some rows, in that order."""
        pick = lambda arrays: {name: array[chosen] for name, array in arrays.items()}  # noqa: E731
        return replace(
            self,
            scenes=pick(self.scenes),
            labels=pick(self.labels),
            graded=pick(self.graded),
            human=pick(self.human),
            votes=pick(self.votes),
            index=pick(self.index),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays under the names of the file."""
        named = {
            "scene": self.scenes,
            "label": self.labels,
            "graded": self.graded,
            "human": self.human,
            "votes": self.votes,
            "index": self.index,
        }
        return {f"{kind}/{name}": array for kind, group in named.items() for name, array in group.items()}

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the folder, whole or not at all; other files that lie in one that is written over stay in it.

        Raises:
          RunError: it exists already and `overwrite` is not set, or it cannot be written.
        """
        given = expand(folder)
        if given.exists() and not overwrite:
            raise RunError(f"{given} exists already: choose another name for the dataset")
        target = given.resolve()  # a link stays one: what it points to is replaced
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        except OSError as error:
            raise RunError(f"cannot write dataset {given}: {reason(error)}") from error
        try:
            draft.chmod(0o755)  # mkdtemp makes private folders
            np.savez_compressed(draft / "states.npz", **self.arrays())  # pyright: ignore[reportArgumentType]
            description = {
                "format": FORMAT,
                "domain": self.domain,
                "states": len(self),
                "goals": {
                    goal: {"positives": int(np.sum(label)), "share": float(np.mean(label))}
                    for goal, label in self.labels.items()
                },
                "human": {
                    goal: {"labelled": int(np.sum(label != UNLABELLED)), "positives": int(np.sum(label == 1))}
                    for goal, label in self.human.items()
                },
                "sources": list(self.sources),
                "sha256": _sha256(draft / "states.npz"),
                "arrays": {
                    name: {"dtype": array.dtype.name, "shape": list(array.shape)}
                    for name, array in self.arrays().items()
                },
                "meaning": ARRAYS,
                **self.meta,
            }
            write_json(draft / "dataset.json", description)
            _swap(draft, target)
        except OSError as error:
            raise RunError(f"cannot write dataset {given}: {reason(error)}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return given

    @classmethod
    def load(cls, folder: str | Path) -> "StateDataset":
        """Reads a folder that `save` wrote.

        Raises:
          RunError: it is no dataset, damaged, or of a newer version; the message says which.
        """
        path = expand(folder)
        _put_back(path)
        try:
            description = json.loads((path / "dataset.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(
                f"{path} is no state dataset: it has no dataset.json; make one with `jaxvlm dataset make`"
            ) from None
        except (OSError, ValueError) as error:
            raise RunError(f"dataset {path} is damaged: cannot read dataset.json: {reason(error)}") from error
        version = description.get("format") if isinstance(description, dict) else None
        if not isinstance(version, int) or version < 1:
            raise RunError(f"{path} is no state dataset: its dataset.json names no format")
        if version > FORMAT:
            raise RunError(
                f"dataset {path} has format {version}, and this version of jaxvlm reads up to {FORMAT}: update jaxvlm"
            )
        try:
            if not (path / "states.npz").is_file():
                raise ConfigError("it has no states.npz")
            if _sha256(path / "states.npz") != description["sha256"]:
                raise ConfigError("states.npz is not the file that was written")
            with np.load(path / "states.npz", allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            split: dict[str, dict[str, np.ndarray]] = {}
            for name, array in arrays.items():
                kind, _, rest = name.partition("/")
                split.setdefault(kind, {})[rest] = array
            known = {"format", "domain", "states", "goals", "human", "sources", "sha256", "arrays", "meaning"}
            return cls(
                domain=description["domain"],
                scenes=split["scene"],
                labels=split["label"],
                graded=split.get("graded", {}),
                human=split.get("human", {}),
                votes=split.get("votes", {}),
                index=split["index"],
                sources=tuple(description["sources"]),
                meta={name: value for name, value in description.items() if name not in known},
            )
        except (
            OSError,
            ValueError,
            TypeError,
            AttributeError,
            KeyError,
            EOFError,
            zipfile.BadZipFile,
            zlib.error,
            ConfigError,
        ) as error:
            raise RunError(f"dataset {path} is damaged: {reason(error)}; make it anew") from error


def find_dataset_folder(path_or_name: str | Path, datasets_dir: str | Path = "runs/datasets") -> Path:
    """The folder of a dataset by path, or by its name under `datasets_dir`; raises `RunError` where neither exists."""
    given = expand(path_or_name)
    named = expand(datasets_dir) / given
    for folder in (given, named):
        _put_back(folder)
    if given.is_dir() or named.is_dir():
        return given if given.is_dir() else named
    raise RunError(
        f"no dataset named {str(path_or_name)!r}: neither {given} nor {named} is a directory; make one with "
        "`jaxvlm dataset make`"
    )


def scene_fields(scene: Any) -> dict[str, np.ndarray]:
    """A scene's fields by name, on the host; raises `ConfigError` for a scene that is no flat dataclass of arrays."""
    if not is_dataclass(scene) or isinstance(scene, type):
        raise ConfigError(
            f"a scene of type {type(scene).__name__} cannot be kept; it has to be a dataclass of arrays"
        )
    return {entry.name: np.asarray(getattr(scene, entry.name)) for entry in fields(scene)}


def join(parts: Sequence[StateDataset]) -> StateDataset:
    """One dataset of several of a domain, in their order; numbers of sources are shifted to stay apart.

    Goals that only some of them label are left out, as there is no truth for all states, and so are single votes, as
    raters differ.

    Raises:
      ConfigError: no parts, or parts of several domains or kinds of scenes.
    """
    if not parts:
        raise ConfigError("no states to join: name at least one source")
    domains = sorted({part.domain for part in parts})
    if len(domains) > 1:
        raise ConfigError(f"sources are of several domains, {', '.join(domains)}; make a dataset of each")
    if len({tuple(sorted((n, a.shape[1:]) for n, a in part.scenes.items())) for part in parts}) > 1:
        raise ConfigError(f"scenes of {domains[0]} differ in their arrays between sources; make them anew")
    first = np.cumsum([0, *(len(part.sources) for part in parts)])
    moved = [
        {**part.index, "source": part.index["source"] + np.int32(shift)}
        for part, shift in zip(parts, first, strict=False)
    ]

    def common(groups: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        names = [name for name in groups[0] if all(name in group for group in groups)]
        return {name: np.concatenate([group[name] for group in groups]) for name in names}

    return StateDataset(
        domain=domains[0],
        scenes=common([part.scenes for part in parts]),
        labels=common([part.labels for part in parts]),
        graded=common([part.graded for part in parts]),
        human=common([part.human for part in parts]),
        index=common(moved),
        sources=tuple(source for part in parts for source in part.sources),
        meta=parts[0].meta,
    )


def made_by(command: Sequence[str]) -> dict[str, Any]:
    """What `meta` says of how a dataset came to be."""
    environment = describe_environment()
    return plain(
        {
            "command": list(command),
            "versions": {"python": environment["python"], **environment["versions"]},
            "devices": environment["devices"],
        }
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _swap(draft: Path, target: Path) -> None:
    """Puts a folder in the place of another; what was there is kept until the new one is."""
    aside = None
    if target.exists():
        aside = _aside(target)
        if aside.is_symlink():  # as earlier versions left it, which `rmtree` refuses
            aside.unlink()
        _clear(aside, target)
        target.rename(aside)
    try:
        draft.rename(target)
    except OSError:
        if aside is not None:
            aside.rename(target)
        raise
    if aside is not None:
        _clear(aside, target)


def _clear(aside: Path, target: Path) -> None:
    """Removes a folder that was replaced, without what its successor has not: people's tables, notes, a lock."""
    if aside.is_dir():
        for entry in aside.iterdir():
            if not (target / entry.name).exists():
                entry.rename(target / entry.name)
        shutil.rmtree(aside, ignore_errors=True)


def _aside(target: Path) -> Path:
    """Where a folder waits until the one in its place is there."""
    return target.with_name(f".{target.name}.replaced")


def _put_back(target: Path) -> None:
    """Undoes what a process that was killed between the two renames of `_swap` left."""
    target = target.resolve()
    if target.name and not target.exists() and _aside(target).is_dir():
        with contextlib.suppress(OSError):
            _aside(target).rename(target)
