"""What `jaxvlm resume RUN --steps N` says and does beyond going on."""

import contextlib

from jaxvlm.runtime import Run
from jaxvlm.vlmrm import DQNSettings, TrainConfig


def what_changes(config: TrainConfig, trained: int) -> list[str]:
    """What another number of steps means for what depends on it, a note each.

    `config` is that of `trained_to`, `trained` the steps that the run has been trained for.
    """
    algorithm, falling, notes = config.algorithm, [], []
    if config.learning_rate_end != 1:
        falling.append(
            f"the learning rate falls to {config.learning_rate_end:.0%} of its first value by step "
            f"{config.falling_steps:,}"
        )
    if isinstance(algorithm, DQNSettings) and algorithm.epsilon_start != algorithm.epsilon_end:
        fallen = round(algorithm.exploration_fraction * config.falling_steps)
        falling.append(f"the share of random actions falls to {algorithm.epsilon_end:g} by step {fallen:,}")
    if falling and config.falling_steps != config.steps:
        notes.append(
            f"{' and '.join(falling)}, as it was to, and then stays. In one training of {config.steps:,} steps that "
            f"would be otherwise, so its numbers are others; `jaxvlm train --schedule-steps {config.steps}` makes a "
            "shorter training begin like it"
        )
    else:
        notes.append(
            "nothing that has been trained depends on the number of steps: the numbers are those of one training of "
            f"{config.steps:,} steps"
        )
    total, capacity = config.iterations * config.steps_per_iteration, config.buffer_rows * config.num_envs
    if total > capacity >= trained:
        notes.append(
            f"the replay buffer holds {capacity:,} transitions of each seed, as before: from step {capacity:,} on new "
            "ones take the place of the oldest"
        )
    return notes


def set_apart(run: Run, trained: int) -> None:
    """Renames the figures of a training that goes on: `evaluation.json` will be those of its end."""
    for name in ("evaluation.json", "evaluation-episodes.csv"):
        with contextlib.suppress(FileNotFoundError):
            (run.path / name).rename(run.path / name.replace("evaluation", f"evaluation-after-{trained}", 1))
