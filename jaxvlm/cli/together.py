"""What `train` does with several tasks: one program, and a run directory for each."""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxvlm.cli.common import find_task, import_ours
from jaxvlm.cli.preflight import preflight
from jaxvlm.cli.provenance import facts
from jaxvlm.cli.session import build_shown, conclude, describe, finish, in_use, label_in
from jaxvlm.errors import JaxvlmError, RunError
from jaxvlm.runtime import MetricsWriter, Progress, Run, enable_compilation_cache, make_sinks, stop_flag
from jaxvlm.runtime.metrics import mean
from jaxvlm.runtime.sinks import check_sinks
from jaxvlm.vlmrm import Built, TrainConfig
from jaxvlm.vlmrm.build import validate_run
from jaxvlm.vlmrm.joint import join, sharing_clips, start_joint, task_state
from jaxvlm.vlmrm.train import iterate


def train_together(
    configs: Sequence[TrainConfig], *, names: Sequence[str | None], runs_dir: Path, sinks: Sequence[str]
) -> list[Run]:
    """Trains several tasks in one program; each gets a run directory, as if it had been trained alone.

    `names` are those of the run directories. A task that is stopped goes on alone, with `train_on`: in another
    program, whose numbers may differ in their last digits.
    """
    check_sinks(sinks)
    enable_compilation_cache()
    # Of one task there is one environment, which need not be equal to another of its kind.
    found = {each: find_task(*each) for each in {(config.task, config.variant) for config in configs}}
    tasks = [found[config.task, config.variant] for config in configs]
    env, params = import_ours("envs.registry").one_environment(tasks)
    joint = join(_build_all(configs, tasks), env, params)
    config = joint.program.config
    # A task that goes on alone draws all frames of a chunk itself: another program, and the run has to know.
    program = {"together": len(tasks), "chunk": joint.program.chunk}
    runs = _create(joint.tasks, names, runs_dir, sinks, program)
    print("run directories: " + ", ".join(str(run.path) for run in runs), flush=True)
    print(f"compiling one program for {len(tasks)} tasks ...", flush=True)
    total = config.iterations * config.steps_per_iteration
    with contextlib.ExitStack() as homes:  # of the metrics, open until the evaluation is among them
        try:
            with stop_flag() as stop, contextlib.ExitStack() as stack:
                for run in runs:
                    stack.enter_context(in_use(run))
                session = start_joint(joint)
                print(f"compiled in {session.compile_seconds:.1f} s", flush=True)
                writers = [
                    homes.enter_context(
                        MetricsWriter(run.metrics_path, make_sinks(sinks, run, 0), config.seed)
                    )
                    for run in runs
                ]
                unit = f"x {config.seeds * len(tasks)} steps"
                progress = stack.enter_context(Progress(total, unit=unit, compiled=True))
                for row in iterate(session, runs, writers, lambda: bool(stop)):
                    progress.update(row["step"], reward=mean(row["reward"]), success=mean(row["success"]))
        except KeyboardInterrupt:
            print(
                "stopped at once; each task goes on alone from its newest checkpoint, with `jaxvlm resume RUN`"
            )
            raise SystemExit(130) from None
        if session.env_steps < total:
            print(
                f"stopped at step {session.env_steps:,} of {total:,}; everything is saved. "
                "Each task goes on alone with:"
            )
            for run in runs:
                print(f"  jaxvlm resume {run.path}")
            raise SystemExit(130)
        for index, (run, metrics) in enumerate(zip(runs, writers, strict=True)):
            print(flush=True)
            try:
                best = task_state(session.state, index).best.agent
                conclude(metrics, finish(joint.alone(index), run, best, checkpoint="best"))
            except (KeyboardInterrupt, JaxvlmError) as error:
                print("the training is saved, the evaluation of these tasks is not; evaluate each with:")
                for left in runs[index:]:
                    print(f"  jaxvlm evaluate {left.path}")
                if isinstance(error, JaxvlmError):
                    raise
                raise SystemExit(130) from None
    return runs


def _build_all(configs: Sequence[TrainConfig], tasks: Sequence[Any]) -> list[Built]:
    """The tasks, one copy of a CLIP's weights for all that have the same: never more than two are in memory."""
    builts: list[Built] = []
    for config, task in zip(configs, tasks, strict=True):
        builts = sharing_clips([*builts, _build(config, task)])
    return builts


def _build(config: TrainConfig, task: Any) -> Built:
    """One of the tasks, announced."""
    validate_run(config, task.env, task.params, label_in(config, task))  # before anything is announced
    print(describe(config), flush=True)
    built = build_shown(config, task)
    for note in (*built.notes, *preflight(config, task, built)):
        print(f"note: {note}", flush=True)
    return built


def _create(
    builts: Sequence[Built],
    names: Sequence[str | None],
    runs_dir: Path,
    sinks: Sequence[str],
    program: Mapping[str, Any],
) -> list[Run]:
    """A run directory for each task, or for none; `program` is what `environment.json` says of the one of all."""
    runs = []
    try:
        for built, name in zip(builts, names, strict=True):
            config = built.program.config
            run = Run.create(
                {**config.to_dict(), "sinks": list(sinks)},
                name=name,
                task=config.task,
                runs_dir=runs_dir,
                environment={**facts(built), **program},
            )
            runs.append(run)
    except RunError:
        for run in runs:
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    return runs
