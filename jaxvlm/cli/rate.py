"""`jaxvlm rate RUN`: people judge episodes by eye, in the browser, blind to the run they come from."""

import os
import shlex
import sys
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from jaxvlm.errors import ConfigError

if TYPE_CHECKING:
    from jaxvlm.rating.session import Session

PORT = 8642  # the browser keeps the rater's name by address, so it stays the same where it can


@dataclass(frozen=True)
class Rate:
    """Judge episodes by eye, in the browser: for how much of the time does the agent do what it should?"""

    runs: tyro.conf.Positional[tuple[str, ...]]
    """Run directories, or their names; episodes of several are mixed. Or one set of states, made by `jaxvlm dataset
    make`, whose frames are labelled."""
    report: bool = False
    """Print success, agreement between raters and agreement with the predicate, and write them beside the answers."""
    export: Path | None = None
    """Write the answers to this CSV file: a row an answer; of a set of states, what `jaxvlm dataset label` reads."""
    episodes: int | None = None
    """Episodes of each seed; the default is what is recorded already, or 25."""
    actions: Literal["deterministic", "sampled"] = "deterministic"
    """How the agents of runs act: as `jaxvlm evaluate` judges them, or sampled, as in the paper's trajectories. Sampled
    episodes and what is said of them are kept apart, in `rating-sampled`."""
    frames: int = 0
    """Ask for single frames, goal or not: this many of each episode, drawn at random. Of a set of states: this many in
    all; 0 takes what is recorded already, or 500."""
    goal: str | None = None
    """Of a set of states: the goal that they are labelled for."""
    output: Path | None = None
    """Folder for pictures and answers; the default is `rating` in each run, with `--actions sampled`
    `rating-sampled`."""
    size: int | None = None
    """Pixels a side of a picture; the default is what is recorded already, or 224."""
    camera: tuple[str, ...] = ()
    """Views, side by side; the default is what is recorded already, or the task's."""
    look: str | None = None
    """How the scene is drawn; the default is what is recorded already, or the task's."""
    port: int | None = None
    """Port of the page; the default is 8642, or a free one where that is taken."""
    no_browser: bool = False
    """Only print the address."""
    runs_dir: Path = field(default=Path("runs"))
    """Folder of the run directories."""

    def command(self, *more: str, leave_out: Sequence[str] = ()) -> str:
        """The command that opens this page again, with its flags, to be pasted into a shell.

        Args:
          more: further flags.
          leave_out: fields that it goes without.
        """
        words = ["jaxvlm", "rate", *self.runs]
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name in ("runs", "report", "export", *leave_out) or value == option.default:
                continue
            words.append("--" + option.name.replace("_", "-"))
            if value is not True:
                words += map(str, value if isinstance(value, tuple) else (value,))
        return shlex.join((*words, *more))


def run(arguments: Sequence[str]) -> None:
    """Records what is missing, then serves the page or reports."""
    options = tyro.cli(
        Rate,
        prog="jaxvlm rate",
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )
    if not options.runs:
        raise ConfigError("no run is given: jaxvlm rate RUN [RUN ...]")
    for name in ("episodes", "size"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it has to be at least 1")
    if options.frames < 0:
        raise ConfigError(f"frames is {options.frames}; it cannot be negative, and 0 asks for whole episodes")
    only_read = options.report or options.export is not None
    if not only_read:
        from jaxvlm.rating.server import require_packages

        require_packages()
    from jaxvlm.cli.rate_material import dataset_folder, gather
    from jaxvlm.rating.session import Session

    frames = options.frames > 0 or any(dataset_folder(name, options.runs_dir) for name in options.runs)
    session = Session(gather(options, only_read=only_read), "frame" if frames else "share")
    if only_read:
        give_account(session, options)
    else:
        open_page(session, options)


def give_account(session: "Session", options: Rate) -> None:
    """Writes the table and, with --report, the figures and the histograms beside the answers of every run."""
    from jaxvlm.rating.report import Ratings, histograms, lines, summarise, table
    from jaxvlm.runtime.files import write_atomic, write_json

    ratings = Ratings.of(session)
    session.close()
    if options.export is not None:
        write_atomic(options.export, table(ratings))
        print(f"answers  {options.export}")
    if options.report:
        summary = summarise(ratings)
        print("\n".join(lines(summary)))
        print()
        folders = dict.fromkeys(material.folder for material in ratings.sources)
        for folder in [options.output] if options.output else folders:
            figures = folder / f"report-{session.mode}.json"
            write_json(figures, summary)
            print(f"  figures    {figures}")
            print(f"  picture    {histograms(figures.with_suffix('.png'), summary)}")


def open_page(session: "Session", options: Rate) -> None:
    """Serves the page until Ctrl-C."""
    from jaxvlm.rating.server import bind, serve

    listener = bind(PORT if options.port is None else options.port, fixed=options.port is not None)

    def ready(address: str) -> None:
        print(f"{len(session.items)} to rate at {address}  (Ctrl-C ends; every answer is saved)", flush=True)
        if not options.no_browser and (sys.platform in ("darwin", "win32") or _has_display()):
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()

    serve(session, listener, ready)
    figures = options.command("--report", leave_out=("port", "no_browser"))
    print(f"stopped; go on with:\n  {options.command()}\nor see the figures with:\n  {figures}")


def _has_display() -> bool:
    """Whether a browser would get a window; without one Python may start a text browser in this terminal."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
