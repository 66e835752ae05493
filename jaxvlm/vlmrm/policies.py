"""A run's agents, to act with: its best ones, and those that it was on the way.

A run directory that was passed on without its checkpoints is played, shown, rated and searched for what fools its
reward from the small files of `jaxvlm.vlmrm.policy_files`. Training cannot go on from them: critics, optimiser states
and replay buffer are not in them.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxvlm.errors import RunError
from jaxvlm.rl import DQN, SAC
from jaxvlm.runtime import Run
from jaxvlm.vlmrm.build import Built, build_agent
from jaxvlm.vlmrm.config import TrainConfig
from jaxvlm.vlmrm.policy_files import (
    FILE,
    kept_file,
    kept_steps,
    read_policies,
    read_step,
    write_policies,
)
from jaxvlm.vlmrm.program import Best
from jaxvlm.vlmrm.train import abstract_state


def save_policies(run: Run, agent: Any, step: int) -> Path:
    """Writes what the best agents of a run act with.

    Args:
      run: the run directory, which holds them as its best checkpoint.
      agent: their states, leading axis seed.
      step: of that checkpoint.

    Raises:
      RunError: the folder cannot be written or the disk is full; an earlier file is left as it was.
    """
    return write_policies(run.path / FILE, run, agent, step)


def steps_along(run: Run) -> list[int]:
    """Steps after which there are agents along the whole training, ascending.

    Those of the kept files and of the newest checkpoint; of a run without such files, those of its checkpoints.
    """
    kept, whole = kept_steps(run), run.checkpoints.steps()
    return sorted({*kept, *whole[-1:]}) if kept else whole


def step_called(run: Run, checkpoint: str) -> int:
    """The step that `last` or a number of steps means.

    Raises:
      RunError: the run has no agents of that step.
    """
    kept, whole = kept_steps(run), run.checkpoints.steps()
    if checkpoint == "last":
        if kept or whole:
            return (whole or kept)[-1]
        why = "has no checkpoint yet: resume it"
        if came_without_checkpoints(run):
            why = "came without its checkpoints: only its best agents can be there; leave --checkpoint out"
        raise RunError(f"run {run.path} {why}")
    known = sorted({*kept, *whole})
    if int(checkpoint) not in known:
        others = f"choose one of {', '.join(map(str, known))}" if known else "leave --checkpoint out"
        raise RunError(f"run {run.path} has no agents of step {checkpoint}: {others}")
    return int(checkpoint)


def is_whole(run: Run, step: int) -> bool:
    """Whether the agents of a step are in a checkpoint alone, which has to be read with its replay buffer."""
    return step not in kept_steps(run)


def agent_after(run: Run, built: Built, step: int) -> Any:
    """The agents of a run as they were after `step` environment steps: from a kept file, or from a checkpoint.

    Arguments, returns and errors are those of `best_agent`.
    """
    template = abstract_state(built)
    if is_whole(run, step):
        return run.checkpoints.restore(template, step)[0].agent
    return read_policies(kept_file(run, step), template.agent)


def best_step(run: Run) -> int | None:
    """Environment steps after which the best agents were written; None where a run has none."""
    if not _from_file(run):
        best = run.checkpoints.best()
        return None if best is None else best[0]
    return read_step(run.path / FILE)


def best_agent(run: Run, built: Built) -> Any:
    """The best agents of a run: from its best checkpoint, or where it came without, from their file.

    In agents from the file all that `act` does not read is NaN, or 0 where it counts: they can play and not learn.

    Args:
      run: the run directory.
      built: what the run's configuration gives.

    Returns:
      Agent states, leading axis seed.

    Raises:
      RunError: there is neither, or it is damaged, or of another configuration.
    """
    return _restore(run, abstract_state(built).best)


def load_policy(run: Run | str | Path, env: Any, env_params: Any) -> tuple[DQN | SAC, Any]:
    """A run's algorithm and its best agents, to act with in code of one's own; neither a CLIP nor a buffer is loaded.

    ```python
    task = make_task("humanoid-kneeling", "compact")  # of envs.registry; the run's task and variant
    algorithm, agents = load_policy("runs/kneeling", task.env, task.params)
    agent = jax.tree.map(lambda leaf: leaf[0], agents)  # of the first seed
    action = algorithm.act(agent, observation, deterministic=True)
    ```

    Args:
      run: a run, or the path of its directory, with or without its checkpoints.
      env: the environment that it was trained in.
      env_params: its parameters.

    Returns:
      Pure functions, of which `act` is meant, and agent states with a leading axis seed, as `best_agent` gives them.

    Raises:
      RunError: the run cannot be read, or is of another environment.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    config = TrainConfig.from_dict({name: value for name, value in run.config.items() if name != "sinks"})
    algorithm, hyper = build_agent(config, env, env_params)

    def start(seed: jax.Array) -> Best:
        agent = jax.vmap(algorithm.init, in_axes=(0, None))(jax.vmap(jax.random.key)(seed), hyper)
        return Best(agent=agent, reward=jnp.zeros(seed.shape), step=seed)

    return algorithm, _restore(run, jax.eval_shape(start, jnp.arange(config.seeds)))


def _restore(run: Run, template: Best) -> Any:
    """The agents of a run's best checkpoint, or of its file; `template` has shapes and dtypes."""
    if not _from_file(run):
        if run.checkpoints.best() is None and not run.checkpoints.steps():
            why = "stopped before its first checkpoint: resume it"
            if came_without_checkpoints(run):
                why = "passed on without them: train anew under another --name"
            raise RunError(f"run {run.path} has no agents; it was {why}")
        return run.checkpoints.restore_best(template)[0].agent
    return read_policies(run.path / FILE, template.agent)


def came_without_checkpoints(run: Run) -> bool:
    """Whether a run was passed on without its checkpoints: there are results, and nothing to go on from."""
    results = (run.path / FILE).exists() or (run.path / "evaluation.json").exists()
    return not run.checkpoints.steps() and (results or run.checkpoints.best() is not None)


def _from_file(run: Run) -> bool:
    """Whether the file is what the agents are taken from: beside checkpoints it may be of an earlier time."""
    checkpoints = run.checkpoints
    return (run.path / FILE).exists() and checkpoints.best() is None and not checkpoints.steps()
