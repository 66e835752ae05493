"""Runs rows, each in a process of its own, one after the other or several at once, and goes on where one fails."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.reproduce.figure import Row, typed
from jaxvlm.reproduce.material import exists
from jaxvlm.reproduce.plan import Plan, State, arguments_of, copy_run, enter, jobs, ledger, set_aside
from jaxvlm.runtime.environment import package_versions
from jaxvlm.runtime.files import reason
from jaxvlm.runtime.lock import locked
from jaxvlm.runtime.progress import duration
from jaxvlm.runtime.signals import interruptible

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
    at_once: int = 1,
    program: Program = own_program,
    tell: Callable[[str], object] = print,
) -> Outcome:
    """Runs what is left of a plan.

    Args:
      plan: rows in order, and how they stand.
      after: called after every row, say to write the report.
      at_once: how many rows run side by side, each on its share of the cores; 1 or more.
      program: the command of a child process from jaxvlm's arguments.
      tell: prints a line.

    Raises:
      ConfigError: another process works in the folder.
      RunError: what is outdated cannot be set aside.
    """
    place, outcome = plan.place, Outcome()
    states = dict(plan.states)
    running: dict[int, _Child] = {}
    with lock(place.folder) as held, interruptible():
        # All of them first: distances from states that are made anew must not stay, wherever this is stopped.
        for row in plan.rows:
            if states[row.name] == "outdated":
                # What lay in the folder of a run that was set aside has gone with it.
                if exists(row, place.folder):
                    why = plan.why.get(row.name, "made of other things")
                    tell(f"{row.name}: what is there was {why}, it is now {set_aside(row, place)}")
                states[row.name] = "reused" if row.name in plan.sources else "missing"
        todo = jobs(plan.left, place, states)
        number, count = 0, len(jobs(plan.to_do, place, states))
        try:
            while todo or running:
                for job in [*todo]:
                    row, names = job[0], [member.name for member in job]
                    ahead = _names(todo[: todo.index(job)]) | _names(child.job for child in running.values())
                    missing = [name for member in job for name in member.needs if states[name] != "finished"]
                    if row.comes_with in ahead or ahead.intersection(missing):
                        continue
                    if states[row.name] == "comes" and (place.folder / row.product).exists():
                        states[row.name] = "finished"
                        todo.remove(job)
                        continue
                    if missing:
                        todo.remove(job)
                        number += 1
                        outcome.skipped |= dict.fromkeys(names, missing[0])
                        tell(f"[{number}/{count}] {row.name}: left out, it needs {missing[0]}")
                        after(outcome)
                        continue
                    if len(running) == at_once or _meets(row, running.values()):
                        continue
                    underway = (*(child.job for child in running.values()), *todo)
                    left = [member for each in underway for member in each]
                    minutes = estimate(left, states, ledger(place.folder)) / at_once
                    todo.remove(job)
                    number += 1
                    tell(
                        f"[{number}/{count}] {', '.join(names)}  (about {duration(60 * minutes)} left in all)"
                    )
                    if states[row.name] == "reused":
                        _done(job, plan, states, outcome, _reuse(plan, row), tell)
                        after(outcome)
                        continue
                    slot = next(slot for slot in range(at_once) if slot not in running)
                    running[slot] = _start(job, plan, states[row.name], program, held, tell, at_once)
                    _part_cores(running[slot].process.pid, slot, at_once)
                for slot in _wait(running, tell):
                    child = running.pop(slot)
                    _done(child.job, plan, states, outcome, _enter(child, plan), tell)
                    after(outcome)
        except KeyboardInterrupt:
            _stop(running, tell)
            for child in running.values():  # some may have come to their end in the meantime
                if child.process.returncode == 0:
                    _done(child.job, plan, states, outcome, _enter(child, plan), tell)
            outcome.stopped = True
            after(outcome)
        except BaseException:
            _stop(running, tell)  # nobody would wait for them
            raise
    return outcome


@dataclass
class _Child:
    """A row that runs."""

    job: tuple[Row, ...]
    process: "subprocess.Popen[bytes]"
    arguments: tuple[str, ...]
    log: Path
    prefix: str  # of lines about it, where several run at once
    started: float
    told: float


def _names(jobs: Iterable[tuple[Row, ...]]) -> set[str]:
    return {row.name for job in jobs for row in job}


def _meets(row: Row, running: Iterable[_Child]) -> bool:
    """Whether another row works in the same run directory, in which one process writes at a time."""
    folder = Path(row.product).parent
    return folder.parts[:1] == ("runs",) and any(
        Path(member.product).parts[:2] == folder.parts[:2] for child in running for member in child.job
    )


def _done(
    job: Sequence[Row],
    plan: Plan,
    states: dict[str, State],
    outcome: Outcome,
    words: str,
    tell: Callable[[str], object],
) -> None:
    """Notes how a job ended; `words` are its last ones where it failed."""
    if words:
        outcome.failed |= dict.fromkeys((member.name for member in job), words)
        tell(f"  failed: {job[0].name}: {words}")
    for member in job:
        # An evaluation that failed leaves an earlier one's figures, which may be of another agent.
        stale = bool(words) and member.arguments[0] == "evaluate"
        if exists(member, plan.place.folder) and not stale:
            states[member.name] = "finished"


def _reuse(plan: Plan, row: Row) -> str:
    """Copies a run of another folder; says what went wrong, if anything did."""
    try:
        copy_run(plan.sources[row.name], plan.place.folder / (row.run or ""))
    except RunError as error:
        return str(error)
    return ""


def _start(
    job: tuple[Row, ...],
    plan: Plan,
    state: State,
    program: Program,
    held: IO[str],
    tell: Callable[[str], object],
    slots: int,
) -> _Child:
    """Starts a job, with its share of a GPU's memory where several run at once."""
    arguments = arguments_of(job, plan.place, state)
    log = plan.place.folder / "logs" / f"{job[0].name}.log"
    tell(f"  {typed(arguments)}")
    tell(f"  log {log}")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as output:
        output.write(f"$ {typed(arguments)}\n")
        output.flush()
        # The lock's file stays open in the child: a row that outlives us still holds the folder.
        process = subprocess.Popen(
            program(arguments), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            pass_fds=(held.fileno(),) if os.name == "posix" else (), start_new_session=True,
            env=None if slots == 1 else {"XLA_PYTHON_CLIENT_MEM_FRACTION": f"{0.9 / slots:.3f}", **os.environ},
        )  # fmt: skip
    now = time.monotonic()
    return _Child(job, process, arguments, log, f"{job[0].name}: " if slots > 1 else "", now, now)


def _part_cores(process: int, slot: int, slots: int) -> None:
    """Keeps a process to its share of the cores; where that is not allowed it uses them all."""
    if slots > 1 and sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        with contextlib.suppress(OSError):
            os.sched_setaffinity(process, cores[slot::slots] or [cores[slot % len(cores)]])


def _enter(child: _Child, plan: Plan) -> str:
    """Adds a row that ended to the ledger; returns its last words where it failed."""
    folder, job, code = plan.place.folder, child.job, child.process.returncode
    made = [row for row in job if exists(row, folder)]
    entry = {
        "command": typed(child.arguments),
        "seconds": round(time.monotonic() - child.started, 1) / len(job),
        "guess": job[0].minutes,
        "code": code if len(made) == len(job) else code or 1,
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(),
    }
    enter(folder, [row.name for row in job], entry)
    if code == 0 and len(made) == len(job):
        return ""
    return last_words(child.log) if code else f"it ended well but left no {job[0].product}"


def _wait(running: dict[int, _Child], tell: Callable[[str], object]) -> list[int]:
    """Waits until children end, telling now and then what they say; returns their slots.

    Raises `KeyboardInterrupt`: a child was interrupted.
    """
    while running:
        ended = [slot for slot, child in running.items() if child.process.poll() is not None]
        if any(running[slot].process.returncode == 130 for slot in ended):
            raise KeyboardInterrupt
        if ended:
            return ended
        for child in running.values():
            if time.monotonic() - child.told >= TELL_EVERY:
                child.told = time.monotonic()
                tell(f"    {child.prefix}{last_words(child.log)}")
        # One of them is waited for and all are looked at: the end of a single row is seen at once.
        with contextlib.suppress(subprocess.TimeoutExpired):
            next(iter(running.values())).process.wait(timeout=1.0)
    return []


def _stop(running: dict[int, _Child], tell: Callable[[str], object]) -> None:
    """Passes an interruption on to all children and waits for them; a second one kills them."""
    # Asked politely a training saves its state; its checkpoints survive being killed as well. Not SIGINT, which a shell
    # makes its background jobs ignore.
    children = [child.process for child in running.values()]
    end, told = subprocess.Popen.terminate, False
    while True:
        try:
            for process in children:
                end(process)
            left = [process for process in children if process.poll() is None]
            if left and not told:
                told = True
                who = "rows save their" if len(left) > 1 else "row saves its"
                tell(f"  stopping: the {who} state; press Ctrl-C again to stop at once")
            for process in left:
                process.wait()
            return
        except KeyboardInterrupt:
            end = subprocess.Popen.kill


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
    refusal = ConfigError(
        f"{folder} is in use by another `jaxvlm reproduce` or by a row that it left running; wait for it"
    )
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(locked(folder, refusal))
        except OSError as error:
            raise ConfigError(
                f"cannot write to {folder}: {reason(error)}; choose another --folder"
            ) from error
        yield file
