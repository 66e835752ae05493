"""Named sets of numbers: `default` trains on a laptop, `paper` holds the values of VLM-RM's appendix C.

Where the paper's text and its reference code differ, `paper` follows the code, and `paper-text` the text.
"""

from dataclasses import replace

from jaxvlm.errors import ConfigError
from jaxvlm.vlmrm.config import DQNSettings, RewardSettings, SACSettings, TrainConfig

PRESETS = {
    "default": "a laptop, minutes on two CPU cores; for the humanoid one GPU, minutes for eight poses of four seeds",
    "laptop": "two CPU cores; for the humanoid half an hour for four seeds on one of them",
    "paper": "appendix C of the paper, as its code reads: 3 million steps (humanoid 10), the horizon stored as an end",
    "paper-text": "appendix C, as its text reads: the horizon bootstraps, an update follows every step",
}


def _default(task: str, algorithm: str) -> TrainConfig:
    if is_gridworld(task):
        return _gridworld()
    if task == "cartpole-swingup":
        return TrainConfig(task=task, steps=150_000, updates=400)
    if algorithm == "dqn":
        return TrainConfig(task=task)
    return TrainConfig(
        task=task,
        num_envs=16,
        steps=120_000,
        updates=400,
        # Without noise beside the entropy bonus, some seeds never swing far enough to meet the flag.
        algorithm=SACSettings(action_noise=0.5),
    )


def _gridworld() -> TrainConfig:
    """An episode is 32 steps, and what lies twenty steps ahead does not matter."""
    return TrainConfig(
        task="gridworld",
        num_envs=32,
        rollout_length=33,
        steps=60_000,
        algorithm=DQNSettings(discount=0.9),
    )


def is_gridworld(task: str) -> bool:
    """Whether the numbers of the grid-world are meant."""
    return task.split("-")[0] == "gridworld"


def is_humanoid(task: str) -> bool:
    """Whether the numbers of the humanoid are meant."""
    return task.split("-")[0] == "humanoid"


def is_foreign(task: str) -> bool:
    """Whether an environment is meant that nothing is known of: of another library, or of one's own."""
    return ":" in task


def whole_episodes(config: TrainConfig, steps: int) -> TrainConfig:
    """The config with rollouts of about as many rows as it says, but of whole episodes of `steps` steps.

    An episode is its steps and the row of its reset. Updates change in proportion, so that their number for a step
    stays; buffer and checkpoints are counted otherwise.
    """
    rows = (steps + 1) * max(1, round(config.rollout_length / (steps + 1)))
    updates = max(1, round(config.updates * rows / config.rollout_length))
    return replace(config, rollout_length=rows, updates=updates)


def _foreign() -> TrainConfig:
    """Of environments that nothing is known of: MJX physics, so fewer steps and more updates for each."""
    return TrainConfig(
        task="brax:ant",
        num_envs=16,
        rollout_length=101,
        steps=100_000,
        learning_starts=5_000,
        updates=400,
        batch_size=256,
        algorithm=SACSettings(discount=0.97, actor_hidden_sizes=(128, 128), critic_hidden_sizes=(128, 128)),
    )


def _humanoid(name: str) -> TrainConfig:
    """An episode is 100 steps; a rollout is one of every environment and its reset row."""
    sac = SACSettings(
        learning_rate=6e-4, discount=0.95, actor_hidden_sizes=(256, 256), critic_hidden_sizes=(256, 256)
    )
    common = TrainConfig(
        task="humanoid",
        rollout_length=101,
        batch_size=512,
        buffer_size=1_000_000,
        checkpoint_every=40,  # the paper's 128,000 steps; a whole checkpoint of its buffer is 1.6 GB a seed
        algorithm=sac,
    )
    # Not the paper's: critics that are normalised, which learn from fewer steps; random actions that last 0.2 s,
    # because arms hardly move under noise that changes every 15 ms; less entropy at first, more in the end; a learning
    # rate that falls, because with a constant one what was learned came and went from one rollout to the next.
    quick = replace(sac, critic_layer_norm=True, entropy_coefficient=0.3, target_entropy=-8.0)
    laptop = replace(
        common,
        variant="compact",
        steps=300_000,
        learning_rate_end=0.1,
        # Few environments, so that what was learned is soon tried out: 64 with 1,000 updates learned less.
        num_envs=16,
        learning_starts=20_000,
        hold=15,
        updates=250,
        batch_size=256,
        buffer_size=300_000,
        algorithm=replace(quick, actor_hidden_sizes=(128, 128), critic_hidden_sizes=(128, 128)),
    )
    if name == "laptop":
        return laptop
    if name == "default":
        # A rollout of 16 environments keeps an accelerator waiting as long as one of 2,048. What fills it are seeds and
        # tasks side by side: 32 environments of 64 agents.
        return replace(laptop, steps=370_000, num_envs=32, updates=500)
    return replace(
        common,
        variant="paper",
        steps=10_000_000,
        num_envs=32,
        learning_starts=50_000,
        updates=100,
        reward=RewardSettings(standardise=False),
        algorithm=replace(sac, bootstrap_at_truncation=False),
    )


def _paper(task: str, algorithm: str) -> TrainConfig:
    common = TrainConfig(
        task=task,
        steps=3_000_000,
        # The paper does not say how many environments ran side by side; 8 is what its shipped config gives one GPU.
        num_envs=8,
        # Whole episodes; the paper has no grid-world.
        rollout_length=6 * 33 if is_gridworld(task) else 201,
        learning_starts=75_000,
        updates=200,
        buffer_size=1_000_000,
        reward=RewardSettings(standardise=False),
    )
    if algorithm == "dqn":
        return replace(
            common,
            batch_size=32,
            algorithm=DQNSettings(
                learning_rate=2.3e-3,
                hidden_sizes=(256, 256),
                double=False,
                target="polyak",
                target_sync="vector-step",
                tau=0.005,
                exploration_fraction=0.1,
                bootstrap_at_truncation=False,
            ),
        )
    return replace(
        common,
        learning_starts=100,
        batch_size=256,
        algorithm=SACSettings(
            learning_rate=1e-4,
            discount=0.9999,
            tau=0.01,
            actor_hidden_sizes=(64, 64),
            critic_hidden_sizes=(64, 64),
            entropy="fixed",
            entropy_coefficient=0.1,
            bootstrap_at_truncation=False,
        ),
    )


def preset(task: str, algorithm: str, name: str) -> TrainConfig:
    """Numbers for a task.

    Args:
      task: name of the task, kept in the config.
      algorithm: "dqn" or "sac".
      name: one of `PRESETS`.

    Raises:
      ConfigError: an unknown preset.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown preset {name!r}; known presets are {', '.join(PRESETS)}")
    if name in ("default", "laptop"):
        config = _humanoid(name) if is_humanoid(task) else _default(task, algorithm)
        if is_foreign(task) and algorithm == "sac":
            config = _foreign()
    else:
        config = _humanoid(name) if is_humanoid(task) else _paper(task, algorithm)
        if name == "paper-text":
            config = replace(
                config,
                updates=config.steps_per_iteration,
                algorithm=replace(config.algorithm, bootstrap_at_truncation=True),
            )
    return replace(config, task=task, preset=name)
