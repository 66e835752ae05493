"""What `train`, `resume` and `evaluate` do once their flags are read."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxvlm.cli.common import find_task
from jaxvlm.cli.longer import set_apart, what_changes
from jaxvlm.cli.outcome import draw_episodes, play, report, schedule, weights
from jaxvlm.cli.preflight import flat_note, preflight
from jaxvlm.cli.provenance import facts, refuse_other_weights, source_of
from jaxvlm.errors import ConfigError, RunError
from jaxvlm.names import plain_name
from jaxvlm.reward import Label
from jaxvlm.rl import CONTROLS, make_control
from jaxvlm.runtime import (
    MetricsWriter,
    Progress,
    Run,
    enable_compilation_cache,
    make_sinks,
    save_contact_sheet,
    save_gif,
    stop_flag,
    tile,
)
from jaxvlm.runtime.environment import describe_environment
from jaxvlm.runtime.files import reason, write_atomic, write_json
from jaxvlm.runtime.lock import locked
from jaxvlm.runtime.metrics import mean
from jaxvlm.runtime.plots import learning_curves
from jaxvlm.runtime.run import check_free
from jaxvlm.runtime.sinks import check_sinks
from jaxvlm.vlmrm import (
    Built,
    TrainConfig,
    build,
    episode_table,
    summarise,
)
from jaxvlm.vlmrm.build import validate_run
from jaxvlm.vlmrm.config import trained_to
from jaxvlm.vlmrm.policies import (
    agent_after,
    best_agent,
    best_step,
    came_without_checkpoints,
    is_whole,
    save_policies,
    step_called,
)
from jaxvlm.vlmrm.policy_files import FILE, discard_kept_after
from jaxvlm.vlmrm.train import abstract_state, iterate, seeds_of, start

if TYPE_CHECKING:
    from envs.registry import Task

LARGE_FRAME = 96  # pixels a side; with larger ones an iteration can take minutes on a CPU
REWARD_LABELS = {
    "clip": "CLIP reward",
    "ground-truth": "ground-truth reward",
    "mix": "CLIP and ground-truth reward",
    "own": "own reward",
}


def train_new(config: TrainConfig, *, name: str | None, runs_dir: Path, sinks: Sequence[str]) -> None:
    """Trains from the beginning."""
    check_sinks(sinks)
    enable_compilation_cache()
    task = find_task(config.task, config.variant)
    # Before anything is announced.
    validate_run(config, task.env, task.params, label_in(config, task))
    if name:
        check_free(name, runs_dir)
    print(describe(config), flush=True)
    built = build_shown(config, task)
    for note in (*built.notes, *preflight(config, task, built)):
        print(f"note: {note}", flush=True)
    config = built.program.config
    run = Run.create(
        {**config.to_dict(), "sinks": list(sinks)},
        name=name,
        task=config.task,
        runs_dir=runs_dir,
        environment=facts(built),
    )
    with in_use(run):
        _train(built, run, sinks, resumed=False)


def train_on(path: str, *, runs_dir: Path, steps: int | None = None) -> None:
    """Goes on from the newest checkpoint of a run, to `steps` in all where they are given.

    The run's `config.json` then has both numbers, and its figures so far are kept beside those that are to come.
    """
    enable_compilation_cache()
    run = Run.open(path, runs_dir=runs_dir)
    config, sinks = read_config(run)
    if came_without_checkpoints(run):
        raise RunError(
            f"run {run.path} came without its checkpoints, so its training cannot go on and its results are left as "
            "they are; train anew under another --name"
        )
    trained, before = run.checkpoints.latest() or 0, config
    if steps is not None:
        config = trained_to(config, trained, steps)
    task = find_task(config.task, config.variant)
    print(f"resuming {run.path}: {describe(config)}", flush=True)
    for note in what_changes(config, trained) if config != before else ():
        print(f"note: {note}", flush=True)
    built = build_shown(config, task)
    refuse_other_weights(run, built)
    if config.reward.reward == "own" and run.differences(task_digest=source_of(built)):
        print(
            "note: the task's file has changed; if its label has, the replay buffer holds rewards of the old one"
        )
    with in_use(run):
        if config != before:
            set_apart(run, trained)
            write_json(run.path / "config.json", {**run.config, **config.to_dict()})
        # Where only the evaluation is left nothing is trained, and this is no session that did.
        if run.checkpoints.latest() != config.iterations * config.steps_per_iteration:
            for difference in run.record_session(**facts(built)):
                print(
                    f"note: not the same as before, so figures may differ in their last digits: {difference}"
                )
        _train(built, run, sinks, resumed=True)


def evaluate_run(path: str, *, runs_dir: Path, episodes: int | None, checkpoint: str) -> None:
    """Evaluates a run's best or last agents, those of a step, or a control, and draws them.

    Training's own figures stay in `evaluation.json`; other episodes or another checkpoint get a file of their own.
    """
    enable_compilation_cache()
    if episodes is not None and episodes < 1:
        raise ConfigError(f"episodes is {episodes}; evaluate at least one")
    run = Run.open(path, runs_dir=runs_dir)
    config, _ = read_config(run)
    episodes = episodes or config.episodes
    task = find_task(config.task, config.variant)
    step = None if checkpoint in (*CONTROLS, "best") else step_called(run, checkpoint)
    # Of what is kept of the agents only whole checkpoints have the replay buffer in them.
    whole = step is not None and is_whole(run, step)
    built = build_shown(replace(config, episodes=episodes), task, holds_buffer=whole)
    for difference in run.differences(clip_digest=built.clip_digest, task_digest=source_of(built)):
        print(f"note: not the same as in training, so figures may differ: {difference}")
    # What is read now is judged, also where the run is trained on in the meantime.
    actor, kept, trained = None, run.checkpoints.best(), trained_steps(run)
    if checkpoint in CONTROLS:
        actor, agent = make_control(checkpoint, built.program.action_space), seeds_of(built)
    elif step is None:
        agent = best_agent(run, built)
    elif checkpoint == "last" and whole:  # of which there may be a newer one by now, or this one be damaged
        agent = run.checkpoints.restore(abstract_state(built))[0].agent
    else:
        agent = agent_after(run, built, step)
    total = config.iterations * config.steps_per_iteration
    if checkpoint in ("best", "last") and trained < total:
        on = "" if came_without_checkpoints(run) else f"; go on with: jaxvlm resume {run.path}"
        print(
            f"note: the run has been trained for {trained:,} of {total:,} steps, so these agents are not finished{on}"
        )
    if checkpoint.isdecimal():  # asked for by its step
        checkpoint, trained = f"step-{step}", step
    usual = checkpoint == "best" and episodes == config.episodes
    name = "evaluation" if usual else f"evaluation-{checkpoint}-{episodes}"
    finish(built, run, agent, checkpoint=checkpoint, name=name, actor=actor, kept=kept, trained=trained)


def trained_steps(run: Run) -> int:
    """Steps that a run's agents have been trained for, each seed; from its metrics where a copy lacks checkpoints."""
    newest = run.checkpoints.latest()
    if newest is not None:
        return newest
    return max((*(row["step"] for row in run.rows()), best_step(run) or 0))


def build_shown(config: TrainConfig, task: Any, *, holds_buffer: bool = True) -> Built:
    """`build`, which says so where it plays: a humanoid's physics compiles for a minute."""
    reward = config.reward
    if reward.scores_pictures and (reward.patches == "covered" or reward.quantise != "none"):
        print(
            "playing random actions, whose frames are shown to the tower as it is and as it is to be ...",
            flush=True,
        )
    return build(
        config,
        task.env,
        task.params,
        domain=task.domain,
        holds_buffer=holds_buffer,
        opposite_prompts=task.opposite_prompts,
        label=label_in(config, task),
    )


def label_in(config: TrainConfig, task: "Task") -> Label | None:
    """A task's own reward where it is learned from; `--reward clip` and the others leave it out."""
    return task.label if config.reward.reward == "own" else None


def describe(config: TrainConfig) -> str:
    """One line on what is about to be learned."""
    reward = config.reward
    agents = f"{config.seeds} seeds" if config.seeds > 1 else f"seed {config.seed}"
    if reward.reward == "ground-truth":
        return f"{config.task}: learning from the ground-truth reward, {config.steps:,} steps, {agents}"
    if reward.reward == "own" and not reward.scores_pictures:
        return f"{config.task}: learning from its own reward without a CLIP, {config.steps:,} steps, {agents}"
    prompts = sentences(config, '"') or "no sentence"
    if reward.reward == "own":
        prompts = f"its own reward and {prompts}"
    elif reward.reward == "mix":
        prompts = f"{reward.truth_weight:g} times the ground-truth reward and {reward.clip_weight:g} times {prompts}"
    return (
        f"{config.task}: learning from {prompts} with CLIP {reward.clip}, alpha {reward.alpha:g}, "
        f"{config.steps:,} steps, {agents}"
    )


def sentences(config: TrainConfig, quote: str = "") -> str:
    """The goal prompts in the order in which they count, with the steps at which later ones begin."""
    first = " + ".join(f"{quote}{prompt}{quote}" for prompt in config.reward.prompt)
    steps = [f"step {step}" for step in config.at] or ["its step"] * len(config.reward.then)
    later = zip(steps, config.reward.then, strict=False)
    return first + "".join(f", from {step} {quote}{prompt}{quote}" for step, prompt in later)


def read_config(run: Run) -> tuple[TrainConfig, tuple[str, ...]]:
    """A run's settings and the sinks of its metrics."""
    data = dict(run.config)
    sinks = tuple(data.pop("sinks", ()))
    return TrainConfig.from_dict(data), sinks


def _train(built: Built, run: Run, sinks: Sequence[str], *, resumed: bool) -> None:
    config = built.program.config
    total = config.iterations * config.steps_per_iteration
    unit = f"x {config.seeds} steps" if config.seeds > 1 else "steps"  # each seed takes that many
    print(f"run directory: {run.path}", flush=True)
    if resumed and run.checkpoints.latest() == total:
        print(f"all {total:,} steps are done", flush=True)
    else:
        print("compiling the training program (once; the next start finds it in the cache) ...", flush=True)
    with contextlib.ExitStack() as homes:  # of the metrics, open until the evaluation is among them
        try:
            with stop_flag() as stop:
                # A run that was stopped before its first checkpoint begins anew.
                session = start(built, run if resumed and run.checkpoints.steps() else None)
                if session.compiled is not None:
                    print(f"compiled in {session.compile_seconds:.1f} s", flush=True)
                if session.compiled is not None and built.program.frame_size > LARGE_FRAME:
                    frames = config.steps_per_iteration * config.seeds * len(config.reward.camera)
                    size = built.program.frame_size
                    print(f"progress appears every {frames:,} frames of {size} x {size} pixels", flush=True)
                if resumed:
                    run.checkpoints.discard_after(session.env_steps)
                    discard_kept_after(run, session.env_steps)
                metrics = homes.enter_context(
                    MetricsWriter(run.metrics_path, make_sinks(sinks, run, session.env_steps), config.seed)
                )
                with Progress(total, initial=session.env_steps, unit=unit, compiled=True) as progress:
                    metrics.truncate(session.env_steps)
                    warming = session.env_steps < config.learning_starts
                    for row in iterate(session, [run], [metrics], lambda: bool(stop)):
                        progress.update(row["step"], reward=mean(row["reward"]), success=mean(row["success"]))
                        if warming and row["step"] >= config.learning_starts:
                            warming = False
                            if note := flat_note(config, session.state.reward_stats):
                                progress.announce(f"note: {note}")
        except KeyboardInterrupt:
            print(f"stopped at once; go on from the newest checkpoint with:\n  jaxvlm resume {run.path}")
            raise SystemExit(130) from None
        if session.iteration < config.iterations:
            print(f"stopped at step {session.env_steps:,} of {total:,}; everything is saved. Go on with:")
            print(f"  jaxvlm resume {run.path}")
            raise SystemExit(130)
        try:
            conclude(metrics, finish(built, run, session.state.best.agent, checkpoint="best"))
        except KeyboardInterrupt:
            print(
                f"the training is saved, its evaluation is not; evaluate it with:\n  jaxvlm evaluate {run.path}"
            )
            raise SystemExit(130) from None


def conclude(metrics: MetricsWriter, result: dict[str, Any]) -> None:
    """Sends the evaluation after a training to its sinks: the figures of deterministic episodes, a number a seed."""
    figures = {name: values for name, values in result["per_seed"].items() if np.ndim(values) == 1}
    metrics.conclude(result["trained_steps"], figures)


@contextlib.contextmanager
def in_use(run: Run) -> Iterator[None]:
    """Keeps a second training out of a run: it would cut the first one's metrics and remove its checkpoints.

    Raises `RunError` where one is under way, or the run cannot be written.
    """
    refusal = RunError(
        f"{run.path} is being trained by another process, which saves its state when it is stopped; wait for it, or "
        "stop it, before the run goes on here"
    )
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(run.path, refusal))
        except OSError as error:
            raise RunError(f"cannot write to {run.path}: {reason(error)}") from error
        yield


def finish(
    built: Built,
    run: Run,
    agent: Any,
    *,
    checkpoint: str,
    name: str = "evaluation",
    actor: Any = None,
    kept: tuple[int, float] | None = None,
    trained: int | None = None,
) -> dict[str, Any]:
    """Evaluates agents, writes the pictures, the curves and at last `<name>.json`, and prints where they are.

    `actor` acts instead of the run's algorithm, with `agent` as its state. `kept` is the run's best checkpoint and
    `trained` its steps, as they were when the agents were read; None where nobody else can have trained it since.
    """
    config = built.program.config
    kept = run.checkpoints.best() if kept is None else kept
    trained = trained_steps(run) if trained is None else trained
    task = find_task(config.task, config.variant)
    print(f"evaluating the {checkpoint} agent over {config.episodes} episodes of each seed ...", flush=True)

    with Progress(2 * config.episodes * config.seeds, unit="episodes") as progress:
        episodes, sampled = play(built, task, agent, progress, actor=actor)
    if name == "evaluation" and checkpoint == "best" and kept != run.checkpoints.best():
        name = f"evaluation-best-{config.episodes}"
        print(
            "note: the run has better agents by now; these figures stand apart from what its own evaluation says"
        )
    stochastic = summarise(replace(sampled, clip_reward=None), task.metric)
    del stochastic["mean_clip_reward"]  # only deterministic episodes are drawn
    environment = describe_environment(chunk=config.reward.chunk)
    result = {
        "task": config.task,
        "checkpoint": checkpoint,
        **({} if actor else {"trained_steps": trained}),
        "steps": config.iterations * config.steps_per_iteration,
        "reward": config.reward.reward,
        "clip": config.reward.clip,
        "prompt": list(config.reward.prompt),
        **schedule(config, task),
        "alpha": config.reward.alpha,
        **weights(config),
        "episodes": config.episodes,
        "seeds": list(range(config.seed, config.seed + config.seeds)),
        **summarise(episodes, task.metric),
        "stochastic": stochastic,
        "clip_digest": built.clip_digest,
        "versions": {"python": environment["python"], **environment["versions"]},
        "devices": environment["devices"],
    }
    figures = run.path / f"{name}.json"
    table = run.path / f"{name}-episodes.csv"
    write_atomic(table, episode_table(episodes, task.metric, result["seeds"]))
    frames = draw_episodes(built, task, episodes)
    # Named as the figures are: those of training stay, and show the episodes that its figures are about.
    shown = checkpoint if name == "evaluation" else name.removeprefix("evaluation-")
    gif = save_gif(run.videos / f"{shown}.gif", tile(frames), task.gif_fps)
    sheet = save_contact_sheet(run.videos / f"{shown}.png", frames)
    curves, rows = run.plots / "learning_curves.png", run.rows()
    if rows:  # the controls can be played before a run has any
        spoken = f": {sentences(config)}" if config.reward.scores_pictures else ""
        learning_curves(
            curves,
            rows,
            title=plain_name(config.task) + spoken,
            reward_label=REWARD_LABELS[config.reward.reward],
        )
    # Beside the best checkpoint, so that they can be passed on without it; what was read from the file stays as it is.
    agents = run.path / FILE if checkpoint == "best" and kept is None and (run.path / FILE).exists() else None
    if checkpoint == "best" and name == "evaluation" and kept is not None:
        agents = save_policies(run, agent, kept[0])
    write_json(figures, result)  # the sign that all of it is there
    print()
    print(report(result, task.metric))
    print(f"  run        {run.path}")
    if agents is not None:
        print(f"  agents     {agents}")
    print(f"  figures    {figures}")
    print(f"  episodes   {table}")
    print(f"  video      {gif}")
    print(f"  moments    {sheet}")
    if rows:
        print(f"  curves     {curves}")
    return result
