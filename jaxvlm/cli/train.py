"""`jaxvlm train TASK`: learn a task from a sentence."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
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
    each_prompt: tuple[str, ...] = ()
    """Sentences, each of which has agents of its own: trained in one program, with a run directory each."""
    each_alpha: tuple[float, ...] = ()
    """Alphas, likewise; with `--each-prompt` every pair of them."""
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
            "so are several sentences or alphas of one task, with a run directory each:",
            "  jaxvlm train cartpole --each-alpha 0 0.5 1",
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
    variants = f"variants: {', '.join(task.variants)}" if task.variants else "no variants"
    return parse(
        Train,
        arguments,
        prog=f"jaxvlm train {task_name}",
        default=default,
        description=f"Learn a task from a sentence. {short_name(task.name)} has {variants}.",
    )


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
    if train.each_prompt or train.each_alpha:
        run_each(train, rest)
        return
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
        raise ConfigError(
            f"a task is named twice in {','.join(names)}; use --seeds for more agents of it, --each-prompt or "
            "--each-alpha for several sentences or alphas"
        )
    trains = [settings(name, preset_name, arguments) for name in names]
    if trains[0].each_prompt or trains[0].each_alpha:
        raise ConfigError("--each-prompt and --each-alpha are of one task; name one, or leave them out")
    suffix = trains[0].name
    from jaxvlm.cli.together import train_together
    from jaxvlm.runtime.run import check_free

    run_names = [_named(suffix, before=f"{short_name(name)}-") if suffix else None for name in names]
    for run_name in filter(None, run_names):
        check_free(run_name, trains[0].runs_dir)
    train_together(
        [train.config for train in trains],
        names=run_names,
        runs_dir=trains[0].runs_dir,
        sinks=trains[0].sinks,
    )


def run_each(train: Train, arguments: Sequence[str]) -> None:
    """Trains one task from several sentences or alphas in one program.

    Raises:
      ConfigError: a sentence or an alpha is given twice, or there is no CLIP to hear it.
    """
    reward = train.config.reward
    given = {argument.partition("=")[0] for argument in arguments}
    for name, values in (("prompt", train.each_prompt), ("alpha", train.each_alpha)):
        if values and f"--{name}" in given:
            raise ConfigError(f"--{name} and --each-{name} are given; leave one of them out")
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise ConfigError(f"--each-{name} has {twice!r} twice; use --seeds for more agents of it")
    if not replace(reward, prompt=train.each_prompt or reward.prompt).scores_pictures:
        raise ConfigError(f"--reward {reward.reward} has no CLIP, so sentences and alphas make no difference")
    base = train.name or f"{short_name(train.config.task)}-{datetime.now():%Y%m%d-%H%M%S}"
    configs, names = [], []
    for number, prompt in enumerate(train.each_prompt or (None,), start=1):
        for alpha in train.each_alpha or (None,):
            own = reward if prompt is None else replace(reward, prompt=(prompt,))
            own = own if alpha is None else replace(own, alpha=alpha)
            configs.append(replace(train.config, reward=own))
            parts = (
                "" if prompt is None else f"-prompt-{number}",
                "" if alpha is None else f"-alpha-{alpha}",
            )
            names.append(_named(base, after="".join(parts)))
    from jaxvlm.cli.together import train_together
    from jaxvlm.runtime.run import check_free

    for name in names:
        check_free(name, train.runs_dir)
    train_together(configs, names=names, runs_dir=train.runs_dir, sinks=train.sinks)


def _named(name: str, *, before: str = "", after: str = "") -> str:
    """The name of one run of several, from that of all; a path stays one, `./x` too.

    Raises:
      ConfigError: it is the root, this folder or the one above.
    """
    path = Path(name)
    if path.name in ("", ".."):
        raise ConfigError(f"run name {name!r} names no new directory: choose another --name")
    last = f"{before}{path.name}{after}"
    return os.path.join(path.parent, last) if os.sep in name else last
