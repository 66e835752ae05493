"""A run directory: everything a training run reads and leaves behind.

runs/<name>/
    config.json        what was asked for
    environment.json   what the bits depend on: versions, devices, flags; one entry a session
    metrics.jsonl      a row a log step, per-seed lists included
    metrics.csv        the same rows, means over seeds
    checkpoints/       Orbax, see `jaxvlm.runtime.checkpoint`
    policies.safetensors   what the best agents act with, see `jaxvlm.vlmrm.policy_files`
    policies/          the same of the agents after some of the steps, along the whole training
    videos/  plots/
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jaxvlm.errors import RunError
from jaxvlm.names import short_name
from jaxvlm.runtime.checkpoint import Checkpoints
from jaxvlm.runtime.environment import describe_environment, differences
from jaxvlm.runtime.files import expand, plain, reason, write_json
from jaxvlm.runtime.metrics import read_rows

FOLDERS = ("checkpoints", "videos", "plots")
MARKS = ("config.json", "environment.json")  # files that make a directory a run's


@dataclass(frozen=True)
class Run:
    """A run directory that exists; make one with `Run.create`, find one with `Run.open`."""

    path: Path

    @classmethod
    def create(
        cls,
        config: Mapping[str, Any],
        *,
        name: str | None = None,
        task: str = "run",
        runs_dir: str | Path = "runs",
        environment: Mapping[str, Any] | None = None,
    ) -> "Run":
        """Makes `runs_dir/name` with its configuration; it appears complete or not at all.

        Args:
            config: what was asked for; dataclasses, tuples, paths and arrays become what JSON can hold.
            name: a bare name under `runs_dir`, or a path (anything with a separator). None takes
                `<task>-<YYYYmmdd-HHMMSS>`, with `-2`, `-3`, ... appended until it is free.
            task: first part of a default name.
            runs_dir: folder of the runs, made when missing.
            environment: additions to `environment.json`, such as the chunk of frames.

        Raises:
            RunError: the named directory exists, or it cannot be written.
        """
        if name:
            check_free(name, runs_dir)
        target = _locate(name or f"{short_name(task)}-{datetime.now():%Y%m%d-%H%M%S}", runs_dir)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        except OSError as error:
            raise RunError(
                f"cannot create run directory {target}: {reason(error)}; choose another --name or --runs-dir"
            ) from error
        try:
            draft.chmod(0o755)  # mkdtemp makes private folders
            for folder in FOLDERS:
                (draft / folder).mkdir()
            write_json(draft / "config.json", config)
            write_json(draft / "environment.json", [describe_environment(**(environment or {}))])
            target = _claim(draft, target, numbered=name is None)
        except OSError as error:
            raise RunError(f"cannot create run directory {target}: {reason(error)}") from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls(target)

    @classmethod
    def open(cls, path_or_name: str | Path, *, runs_dir: str | Path = "runs") -> "Run":
        """Finds an existing run by path, or by its name under `runs_dir`.

        Raises:
            RunError: there is no such run, it may not be looked for there, or the directory holds no readable
                `config.json` or no `environment.json`.
        """
        given = expand(path_or_name)
        named = expand(runs_dir) / given
        try:
            folders = [folder for folder in (given, named) if folder.is_dir()]
            # The checkpoint of a CLIP has a `config.json` too.
            runs = (folder for folder in folders if all((folder / name).is_file() for name in MARKS))
            path = next(runs, folders[0] if folders else None)
            missing = path is not None and not (path / "environment.json").is_file()
        except OSError as error:  # a name too long, or a folder that may not be read
            raise RunError(f"cannot open run {str(path_or_name)!r}: {reason(error)}") from error
        if path is None:
            raise RunError(f"no run named {str(path_or_name)!r}: neither {given} nor {named} is a directory")
        run = cls(path)
        run.config  # noqa: B018  a run without its configuration cannot be used: say so now
        if missing:
            raise RunError(f"{path} is not a run directory: it has no environment.json")
        return run

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.resolve().name

    @property
    def config(self) -> dict[str, Any]:
        """The configuration the run was created with; raises `RunError` where it cannot be read."""
        config = _read_json(self.path / "config.json", f"{self.path} is not a run directory")
        if not isinstance(config, dict):
            raise RunError(f"{self.path}/config.json holds {type(config).__name__}, not an object")
        return config

    @property
    def checkpoints(self) -> Checkpoints:
        """Complete checkpoints and the best parameters."""
        return Checkpoints(self.path / "checkpoints")

    @property
    def metrics_path(self) -> Path:
        """`metrics.jsonl`; `metrics.csv` lies beside it."""
        return self.path / "metrics.jsonl"

    @property
    def videos(self) -> Path:
        """Folder of the videos."""
        return self.path / "videos"

    @property
    def plots(self) -> Path:
        """Folder of the plots."""
        return self.path / "plots"

    def rows(self) -> list[dict[str, Any]]:
        """Rows of `metrics.jsonl`; a half-written last line is left out."""
        return read_rows(self.metrics_path)

    def differences(self, **facts: Any) -> list[str]:
        """How `facts` differ from those of the newest session that trained, one line each."""
        sessions = self.sessions()
        known = {name: sessions[-1][name] for name in facts if name in sessions[-1]}
        return differences(known, plain({name: facts[name] for name in known}))

    def record_session(self, **extra: Any) -> list[str]:
        """Appends this process to `environment.json` when resuming.

        Returns what differs from the session before, one line each: where the list is not empty, the
        resumed run need not give the same bits as one that never stopped.
        """
        sessions = self.sessions()
        now = plain(describe_environment(**extra))
        write_json(self.path / "environment.json", [*sessions, now])
        return differences(sessions[-1], now)

    def sessions(self) -> list[dict[str, Any]]:
        """What `environment.json` says of each session that trained, the newest last."""
        path = self.path / "environment.json"
        sessions = _read_json(path, f"{self.path} is damaged")
        if not isinstance(sessions, list) or not sessions:
            raise RunError(f"{path} holds no list of sessions: restore it or start a new run")
        return sessions


def check_free(name: str, runs_dir: str | Path = "runs") -> None:
    """Raises `RunError` where `Run.create` would refuse `name`: for commands that load much before."""
    target = _locate(name, runs_dir)
    try:
        if target.exists():  # of a name too long it cannot be said
            raise RunError(f"run directory {target} exists already: choose another --name, or resume it")
    except OSError as error:
        raise RunError(
            f"cannot create run directory {target}: {reason(error)}; choose another --name or --runs-dir"
        ) from error


def _locate(name: str, runs_dir: str | Path) -> Path:
    if name in (".", ".."):
        raise RunError(f"run name {name!r} names no new directory: choose another --name")
    is_path = os.sep in name or name.startswith("~")
    return expand(name) if is_path else expand(runs_dir) / name


def _claim(draft: Path, target: Path, numbered: bool) -> Path:
    """Renames `draft` to `target`, or to the first free numbered name; a rename cannot be half done."""
    number, candidate = 1, target
    while True:
        if not candidate.exists():  # rename would silently replace an empty folder
            try:
                draft.rename(candidate)
                return candidate
            except OSError:
                if not candidate.exists():
                    raise
        if not numbered:
            raise RunError(f"run directory {target} exists already: choose another --name, or resume it")
        number += 1
        candidate = target.with_name(f"{target.name}-{number}")


def _read_json(path: Path, complaint: str) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{complaint}: it has no {path.name}") from error
    except (OSError, ValueError) as error:
        raise RunError(f"{complaint}: cannot read {path.name}: {reason(error)}") from error
