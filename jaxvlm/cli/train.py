"""`jaxvlm train TASK`: learn a task from a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxvlm.cli.common import find_task, parse, split_positional, task_usage
from jaxvlm.vlmrm.config import TrainConfig
from jaxvlm.vlmrm.presets import PRESETS, preset


@dataclass(frozen=True)
class Train:
    """Learn a task from a sentence."""

    preset: str = "default"
    """Set of numbers that the other flags start from: default, paper or paper-text."""
    name: str | None = None
    """Name of the run directory; the default is the task and the time."""
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
            "presets:",
            *(f"  {name:<20}{summary}" for name, summary in PRESETS.items()),
        ]
    )


def settings(task_name: str, preset_name: str, arguments: Sequence[str]) -> Train:
    """Flags over the preset of a task, which decides their defaults and is therefore read before them."""
    task = find_task(task_name)
    config = preset(task.name, task.algorithm, preset_name)
    reward = replace(
        config.reward,
        prompt=task.goal_prompts,
        baseline=task.baseline_prompts,
        look=task.look,
        camera=task.cameras,
    )
    default = Train(preset=preset_name, config=replace(config, reward=reward))
    return parse(Train, arguments, prog=f"jaxvlm train {task_name}", default=default)


def run(arguments: Sequence[str]) -> None:
    """Trains, evaluates and draws."""
    name, flags, rest = split_positional(arguments, ["--preset"])
    if name is None:
        print(usage())
        raise SystemExit(0 if {"-h", "--help"} & set(rest) else 2)
    train = settings(name, flags.get("--preset", "default"), rest)
    # Imported after the flags are read, so that --help and a typing error answer at once.
    from jaxvlm.cli.session import train_new

    train_new(train.config, name=train.name, runs_dir=train.runs_dir, sinks=train.sinks)
