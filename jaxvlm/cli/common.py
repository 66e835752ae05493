"""What several verbs share: finding `envs`, reading arguments, and what follows a training."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tyro

from jaxvlm.errors import ConfigError

if TYPE_CHECKING:
    from envs.registry import Task

Settings = TypeVar("Settings")


def find_task(name: str, variant: str | None = None) -> "Task":
    """The task called `name`, in one of its variants.

    Raises:
      ConfigError: the task is unknown, or another project's `envs` hides ours.
    """
    make_task = import_ours("envs.registry").make_task
    return make_task(name, variant)


def tasks_of(domain: str) -> list["Task"]:
    """The tasks whose states are of a domain, those of other libraries' environments included.

    Raises:
      ConfigError: there is none, or see `find_task`.
    """
    own = import_ours("envs.own")
    if own.is_own_domain(domain):
        return own.own_tasks(domain)
    registry = import_ours("envs.registry")
    goals_of = import_ours("envs.adapters.goals").goals_of
    foreign = domain.replace("_", ":", 1)
    names = [*registry.TASKS, *(f"{foreign}-{goal}" for goal in goals_of(domain))]
    tasks = [task for task in map(registry.make_task, names) if task.domain == domain]
    if not tasks and import_ours("envs.adapters.foreign_task").is_foreign(foreign):
        tasks = [registry.make_task(foreign)]  # an environment, or a model, without goals of its own
    if not tasks:
        raise ConfigError(f"the dataset is of domain {domain!r}, of which no task is known: update jaxvlm")
    return tasks


def task_lines() -> list[str]:
    """The tasks with their summaries, a line each, for help pages; errors as for `find_task`."""
    registry = import_ours("envs.registry")
    foreign = import_ours("envs.adapters.foreign_task").foreign_lines()
    own = f"  {'FILE.py:TASK':<28}a task of your own, see docs/your-own.md"
    return [f"  {name:<28}{registry.make_task(name).summary}" for name in registry.TASKS] + [*foreign, own]


def task_usage(verb: str, summary: str, flags: str) -> str:
    """The help page of a verb that takes a task, as it is shown where the task is missing."""
    return "\n".join(
        [
            f"usage: jaxvlm {verb} TASK {flags}",
            "",
            f"{summary} `jaxvlm {verb} TASK --help` lists every flag with the task's defaults.",
            "",
            "tasks:",
            *task_lines(),
        ]
    )


def take_task(arguments: Sequence[str], verb: str, summary: str, flags: str) -> tuple[str, list[str]]:
    """The task that a verb's arguments begin with, and the others; where there is none the help page, and the end."""
    name, _, rest = split_positional(arguments, [])
    if name is None:
        print(task_usage(verb, summary, flags))
        raise SystemExit(0 if {"-h", "--help"} & set(rest) else 2)
    return name, rest


def find_dataset(domain: str, states: Sequence[Path] = ()) -> Any:
    """The captioned dataset of an embedded CLIP's domain; errors as for `find_task`.

    `states` are files of further states to train on.
    """
    return import_ours("envs.captions").captioned_dataset(domain, states)


def domains() -> tuple[str, ...]:
    """Our domains that an embedded CLIP can be trained for."""
    return tuple(import_ours("envs.captions").DATASETS)


def has_captions(domain: str) -> bool:
    """Whether `find_dataset` finds something."""
    return import_ours("envs.captions").has_captions(domain)


def label_of(task: "Task") -> str:
    """What a task's success is called among the labels of states.

    Its concept; where it names none its domain's first, of a task of one's own without captions its name.
    """
    if task.concept is not None:
        return task.concept
    if task.goal_prompts and has_captions(task.domain):
        return find_dataset(task.domain).goal
    own = import_ours("envs.own").is_own(task.name)
    return task.name.rpartition(":")[2] if own else "success"


def domain_called(name: str) -> str:
    """The domain that a user means by a name: of a Python file its whole path."""
    own = import_ours("envs.own")
    return own.load_own(name).domain if own.is_own_domain(name) else name


def import_ours(module: str) -> Any:
    """A module of our environments; errors as for `find_task`."""
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "envs":
            raise
        found = getattr(sys.modules.get("envs"), "__path__", None)
        where = (
            f"the folder {next(iter(found))} is imported instead of it" if found else "it is not installed"
        )
        raise ConfigError(
            f"jaxvlm's environments cannot be imported as `envs`: {where}; "
            "run from another directory or reinstall jaxvlm"
        ) from error


def parse(
    settings: type[Settings],
    arguments: Sequence[str],
    *,
    prog: str,
    default: Settings | None = None,
    prefixes: bool = False,
    description: str | None = None,
) -> Settings:
    """Reads flags into a dataclass; nested settings need no prefix, or with `prefixes` theirs.

    `description` stands above the flags of `--help`; None takes the dataclass's docstring.
    """
    keywords: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(
        settings,
        prog=prog,
        description=description,
        args=list(arguments),
        config=(
            *(() if prefixes else (tyro.conf.OmitArgPrefixes,)),
            tyro.conf.FlagConversionOff,
            tyro.conf.AvoidSubcommands,
        ),
        **keywords,
    )


def split_positional(
    arguments: Sequence[str], flags: Sequence[str]
) -> tuple[str | None, dict[str, str], list[str]]:
    """Takes the leading positional argument and the values of some flags out of an argument list.

    They decide what the defaults of the other flags are, so they are read before those.

    Returns:
      The positional (None where the list begins with a flag or is empty), the flags' values, and what is left.
    """
    rest = list(arguments)
    positional = rest.pop(0) if rest and not rest[0].startswith("-") else None
    values: dict[str, str] = {}
    left: list[str] = []
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if name in flags:
            if not equals:
                if not rest:
                    raise ConfigError(f"{name} is the last argument; give it a value")
                value = rest.pop(0)
            values[name] = value
        else:
            left.append(argument)
    return positional, values, left


def validate_draw(states: int, seed: int) -> None:
    """Raises `ConfigError` for a number of random states, or their seed, that cannot work."""
    if states < 2:
        raise ConfigError(f"states is {states}; a ranking needs at least 2")
    if not 0 <= seed < 2**31:
        raise ConfigError(f"seed is {seed}; give one from 0 to {2**31 - 1}")


@dataclass(frozen=True)
class Output:
    """Where a picture goes."""

    directory: Path
    flag: str = "--output"

    def prepare(self) -> Path:
        """Makes the directory; raises `ConfigError`, which names the flag, where that is not allowed."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"cannot write to {self.directory}: {error.strerror}; choose another {self.flag}"
            ) from error
        return self.directory
