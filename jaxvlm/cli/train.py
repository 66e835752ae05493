"""`jaxvlm train TASK`: learn a task from a sentence."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxvlm.cli.common import find_task, import_ours, parse, split_positional, task_usage
from jaxvlm.errors import ConfigError
from jaxvlm.names import short_name
from jaxvlm.vlmrm.config import TrainConfig
from jaxvlm.vlmrm.presets import PRESETS, preset, whole_episodes


@dataclass(frozen=True)
class Train:
    """Learn a task from a sentence."""

    preset: str = "default"
    """Set of numbers that the other flags start from: default, laptop, paper or paper-text."""
    name: str | None = None
    """Name of the run directory, after the task's where several are trained; the default is the task and the time."""
    runs_dir: Path = Path("runs")
    """Folder of the run directories."""
    sinks: tuple[str, ...] = ()
    """Where metrics go besides JSONL and CSV: tensorboard, wandb."""
    config: TrainConfig = field(default_factory=lambda: TrainConfig(task="cartpole"))


def usage() -> str:
    """The text of `jaxvlm train --help`."""
    return "\n".join(
        [
            task_usage(
                "train",
                "Learn a task from a sentence.",
                "[--preset NAME] [--prompt TEXT ...] [--alpha A] [--seeds N] [...]",
            ),
            "",
            "poses of the humanoid or objects of the grid-world, joined by commas, are trained in one program:",
            "  jaxvlm train humanoid-standing,humanoid-lotus --seeds 4",
            "joined by -then- they are the phases of one task; later ones begin at steps of their own:",
            '  jaxvlm train humanoid-standing-then-lotus --then "a robot meditating" --at 40',
            "",
            "presets:",
            *(f"  {name:<20}{summary}" for name, summary in PRESETS.items()),
        ]
    )


def settings(task_name: str, preset_name: str, arguments: Sequence[str]) -> Train:
    """Flags over the preset of a task, which decides their defaults and is therefore read before them."""
    task = find_task(task_name)
    config = preset(task.name, task.algorithm, preset_name)
    if task.config is not None and preset_name in ("default", "laptop"):
        config = replace(task.config, task=task.name, preset=preset_name)
    elif import_ours("envs.own").is_own(task.name):
        config = whole_episodes(config, task.episode_length)
    reward = replace(
        config.reward,
        prompt=task.goal_prompts,
        then=task.then_prompts,
        baseline=task.baseline_prompts,
        look=task.look,
        camera=task.cameras,
    )
    if task.label is not None and reward.reward == "clip":
        reward = replace(reward, reward="own")
    default = Train(preset=preset_name, config=replace(config, reward=reward, at=task.starts))
    return parse(Train, arguments, prog=f"jaxvlm train {task_name}", default=default)


def run(arguments: Sequence[str]) -> None:
    """Trains, evaluates and draws."""
    name, flags, rest = split_positional(arguments, ["--preset"])
    if name is None:
        print(usage())
        raise SystemExit(0 if {"-h", "--help"} & set(rest) else 2)
    preset_name = flags.get("--preset", "default")
    if "," in name:
        run_together(name.split(","), preset_name, rest)
        return
    train = settings(name, preset_name, rest)
    # Imported after the flags are read, so that --help and a typing error answer at once.
    from jaxvlm.cli.session import train_new

    train_new(train.config, name=train.name, runs_dir=train.runs_dir, sinks=train.sinks)


def run_together(names: Sequence[str], preset_name: str, arguments: Sequence[str]) -> None:
    """Trains several tasks in one program, each with its own sentences.

    Raises:
      ConfigError: a sentence is given, a task is named twice, the name of the runs is none, or the tasks cannot share a
        program.
    """
    if any(
        argument.partition("=")[0] in ("--prompt", "--then", "--baseline", "--negative")
        for argument in arguments
    ):
        raise ConfigError(
            "several tasks are trained from their own sentences; give --prompt, --then, --baseline or --negative "
            "with one task"
        )
    if len(set(names)) < len(names):
        raise ConfigError(f"a task is named twice in {','.join(names)}; use --seeds for more agents of it")
    trains = [settings(name, preset_name, arguments) for name in names]
    suffix = trains[0].name
    if suffix and Path(suffix).name in ("", ".."):  # the root, this folder or the one above
        raise ConfigError(f"run name {suffix!r} names no new directory: choose another --name")
    from jaxvlm.cli.together import train_together
    from jaxvlm.runtime.run import check_free

    run_names = [_after_task(short_name(name), suffix) if suffix else None for name in names]
    for run_name in filter(None, run_names):
        check_free(run_name, trains[0].runs_dir)
    train_together(
        [train.config for train in trains],
        names=run_names,
        runs_dir=trains[0].runs_dir,
        sinks=trains[0].sinks,
    )


def _after_task(folder: str, name: str) -> str:
    """The name of one task's run among several; a path stays one, `./x` too."""
    path = Path(name)
    last = f"{folder}-{path.name}"
    return os.path.join(path.parent, last) if os.sep in name else last
