"""Runs rows one after the other, each in a process of its own, and goes on where one fails."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.reproduce.figure import Row, typed
from jaxvlm.reproduce.plan import Plan, State, arguments_of, copy_run, enter, jobs, ledger, set_aside
from jaxvlm.runtime.environment import package_versions
from jaxvlm.runtime.files import reason
from jaxvlm.runtime.progress import duration

TELL_EVERY = 60.0  # seconds between lines on a row that runs
Program = Callable[[Sequence[str]], list[str]]


def own_program(arguments: Sequence[str]) -> list[str]:
    """The command of a child process."""
    return [sys.executable, "-m", "jaxvlm", *arguments]


@dataclass
class Outcome:
    """What became of the rows that were left."""

    failed: dict[str, str] = field(default_factory=dict)  # the last words of each
    skipped: dict[str, str] = field(default_factory=dict)  # what each of them needed
    stopped: bool = False


def estimate(rows: Sequence[Row], states: dict[str, State], known: dict[str, Any]) -> float:
    """Minutes that rows will take: as guessed, times how long those that were run took against their guess."""
    took = [(entry["seconds"] / 60, entry["guess"]) for entry in known.values() if entry.get("code") == 0]
    scale = sum(minutes for minutes, _ in took) / sum(guess for _, guess in took) if took else 1.0
    return scale * sum(row.minutes for row in rows if states[row.name] not in ("reused", "comes"))


def run_plan(
    plan: Plan,
    after: Callable[[Outcome], object],
    *,
    program: Program = own_program,
    tell: Callable[[str], object] = print,
) -> Outcome:
    """Runs what is left of a plan.

    Args:
      plan: rows in order, and how they stand.
      after: called after every row, say to write the report.
      program: the command of a child process from jaxvlm's arguments.
      tell: prints a line.

    Raises:
      ConfigError: another process works in the folder.
      RunError: what is outdated cannot be set aside.
    """
    place, outcome = plan.place, Outcome()
    states = dict(plan.states)
    todo = jobs(plan.left, place, states)
    with lock(place.folder) as held, interruptible():
        number, count = 0, len(jobs(plan.to_do, place, states))
        # All of them first: distances from states that are made anew must not stay, wherever this is stopped.
        for row in plan.rows:
            if states[row.name] == "outdated":
                tell(f"{row.name}: what is there was made of other things, it is now {set_aside(row, place)}")
                states[row.name] = "missing"
        for position, job in enumerate(todo):
            row = job[0]
            names = [member.name for member in job]
            if states[row.name] == "comes" and (place.folder / row.product).exists():
                states[row.name] = "finished"
                continue
            number += 1
            missing = [name for member in job for name in member.needs if states[name] != "finished"]
            if missing:
                outcome.skipped |= dict.fromkeys(names, missing[0])
                tell(f"[{number}/{count}] {row.name}: left out, it needs {missing[0]}")
                after(outcome)
                continue
            left = [later[0] for later in todo[position:]]
            tell(
                f"[{number}/{count}] {', '.join(names)}  (about "
                f"{duration(60 * estimate(left, states, ledger(place.folder)))} left in all)"
            )
            try:
                if states[row.name] == "reused":
                    words = _reuse(plan, row)
                else:
                    words = _run(job, plan, states[row.name], program, held, tell)
            except KeyboardInterrupt:
                outcome.stopped = True
                after(outcome)
                return outcome
            if words:
                outcome.failed |= dict.fromkeys(names, words)
                tell(f"  failed: {words}")
            for member in job:
                if (place.folder / member.product).exists():
                    states[member.name] = "finished"
            after(outcome)
    return outcome


def _reuse(plan: Plan, row: Row) -> str:
    """Copies a run of another folder; says what went wrong, if anything did."""
    try:
        copy_run(plan.sources[row.name], plan.place.folder / (row.run or ""))
    except RunError as error:
        return str(error)
    return ""


def _run(
    job: Sequence[Row],
    plan: Plan,
    state: State,
    program: Program,
    held: IO[str],
    tell: Callable[[str], object],
) -> str:
    """Runs a job to its end; returns its last words where it failed."""
    folder = plan.place.folder
    arguments = arguments_of(job, plan.place, state)
    log = folder / "logs" / f"{job[0].name}.log"
    tell(f"  {typed(arguments)}")
    tell(f"  log {log}")
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("a", encoding="utf-8") as output:
        output.write(f"$ {typed(arguments)}\n")
        output.flush()
        # The lock's file stays open in the child: a row that outlives us still holds the folder.
        child = subprocess.Popen(
            program(arguments), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            pass_fds=(held.fileno(),) if os.name == "posix" else (), start_new_session=True,
        )  # fmt: skip
        code = _wait(child, log, tell)
    seconds = time.monotonic() - started
    names = [row.name for row in job]
    made = [row for row in job if (folder / row.product).exists()]
    entry = {
        "command": typed(arguments),
        "seconds": round(seconds, 1) / len(job),
        "guess": job[0].minutes,
        "code": code if len(made) == len(job) else code or 1,
        "ended": datetime.now().isoformat(timespec="seconds"),
        "versions": package_versions(),
    }
    enter(folder, names, entry)
    if code == 0 and len(made) == len(job):
        return ""
    return last_words(log) if code else f"it ended well but left no {job[0].product}"


def _wait(child: "subprocess.Popen[bytes]", log: Path, tell: Callable[[str], object]) -> int:
    """Waits for a child, telling now and then what it says; an interruption is passed on, and waited for."""
    told = time.monotonic()
    stopped = False
    while True:
        try:
            code = child.wait(timeout=1.0)
            break
        except subprocess.TimeoutExpired:
            if time.monotonic() - told >= TELL_EVERY:
                told = time.monotonic()
                tell(f"    {last_words(log)}")
        except KeyboardInterrupt:
            # Asked politely a training saves its state; its checkpoints survive being killed as well. Not SIGINT, which
            # a shell makes its background jobs ignore.
            if stopped:
                child.kill()
            else:
                child.terminate()
                tell("  stopping: the row saves its state; press Ctrl-C again to stop at once")
            stopped = True
    if stopped or code == 130:
        raise KeyboardInterrupt
    return code


def last_words(log: Path) -> str:
    """The last line of a log that says something."""
    with contextlib.suppress(OSError):
        with log.open("rb") as lines:
            lines.seek(max(0, log.stat().st_size - 4000))
            text = lines.read().decode("utf-8", "replace").replace("\r", "\n")
        said = [line.strip() for line in text.splitlines() if line.strip()]
        if said:
            return said[-1][:300]
    return "it said nothing"


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[IO[str]]:
    """Keeps a second process out of a folder, also while a row goes on that outlived the first.

    Raises `ConfigError`: the folder is in use, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {reason(error)}; choose another --folder") from error
    with file:
        try:
            import fcntl
        except ImportError:  # not on Windows
            yield file
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(
                f"{folder} is in use by another `jaxvlm reproduce` or by a row that it left running; wait for it"
            ) from None
        yield file


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block SIGTERM interrupts like Ctrl-C, so that the row is told as well."""

    def handle(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
