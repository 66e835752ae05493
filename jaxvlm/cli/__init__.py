"""The command line: one file a verb, imported only when it is called."""

import importlib
import os
import sys
from collections.abc import Sequence

from jaxvlm import __version__
from jaxvlm.errors import JaxvlmError

VERBS = {
    "train": ("train", "learn a task from a sentence: jaxvlm train cartpole"),
    "resume": ("resume", "go on with a run that was stopped: jaxvlm resume RUN"),
    "evaluate": ("evaluate", "ground truth and a GIF of a run's policy: jaxvlm evaluate RUN"),
    "landscape": ("landscape", "plot the reward over pole angle or car position: jaxvlm landscape cartpole"),
    "probe": ("probe", "which poses does a sentence reward most: jaxvlm probe humanoid-kneeling"),
    "dataset make": ("dataset", "keep states of runs or of a sampler, with labels: jaxvlm dataset make RUN"),
    "dataset label": (
        "dataset_label",
        "add what people say of states: jaxvlm dataset label DATASET --goal kneeling --from A.csv",
    ),
    "epic": ("epic", "distance of rewards to labels, per model and alpha: jaxvlm epic DATASET"),
    "rate": ("rate", "judge episodes by eye, in the browser: jaxvlm rate RUN"),
    "reproduce": ("reproduce", "figures and tables of the papers by one command: jaxvlm reproduce fig4"),
    "transfer": ("transfer", "start new tasks from known policies, by sentence: jaxvlm transfer --grid 12"),
    "clip train": ("clip_train", "train an embedded CLIP from captioned renders: jaxvlm clip train cartpole"),
    "clip check": (
        "clip_check",
        "does a checkpoint rank frames as the sentence says: jaxvlm clip check cartpole",
    ),
}


def usage(first: str = "") -> str:
    """The text of `jaxvlm --help`, or of `jaxvlm dataset --help` for verbs of two words."""
    shown = {verb: summary for verb, (_, summary) in VERBS.items() if not first or verb.split()[0] == first}
    lines = [f"  {verb:<15}{summary}" for verb, summary in shown.items()]
    if first:
        return "\n".join([f"usage: jaxvlm {first} VERB ... [--help]", "", *lines])
    return "\n".join(
        [
            "usage: jaxvlm VERB ... [--help]",
            "",
            "Reinforcement learning from a sentence.",
            "",
            *lines,
            "",
            "  --version   print the version",
            "  --help      this page; after a verb, its own",
        ]
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Runs a verb; bad input ends with one line on standard error and exit code 2."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        raise SystemExit(0 if arguments else 2)
    if arguments[0] == "--version":
        print(f"jaxvlm {__version__}")
        return
    for verb, (module, _) in VERBS.items():
        words = verb.split()
        if arguments[: len(words)] == words:
            try:
                importlib.import_module(f"jaxvlm.cli.{module}").run(arguments[len(words) :])
            except JaxvlmError as error:
                print(f"jaxvlm: {error}", file=sys.stderr)
                raise SystemExit(2) from None
            except KeyboardInterrupt:
                print("jaxvlm: interrupted", file=sys.stderr)
                raise SystemExit(130) from None
            except BrokenPipeError:
                # Whoever read the output has enough, as in `jaxvlm train --help | head`; what is still in the buffer
                # would raise once more when Python ends.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise SystemExit(128 + 13) from None  # as a shell reports SIGPIPE
            return
    seconds = [verb.split()[1] for verb in VERBS if verb.startswith(f"{arguments[0]} ")]
    if seconds and {"-h", "--help"} & set(arguments[1:]):
        print(usage(arguments[0]))
        return
    if seconds:
        print(
            f"jaxvlm: {arguments[0]!r} is followed by {' or '.join(seconds)}, "
            f"not {' '.join(arguments[1:2]) or 'nothing'}",
            file=sys.stderr,
        )
    else:
        print(
            f"jaxvlm: unknown verb {arguments[0]!r}; choose one of {', '.join(VERBS)}, or see jaxvlm --help",
            file=sys.stderr,
        )
    raise SystemExit(2)
