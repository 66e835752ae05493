"""Settings of a VLM-RM training run. Every field is a flag of `jaxvlm train`."""

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any, Literal

import tyro

from jaxvlm.errors import ConfigError

RewardKind = Literal["clip", "ground-truth", "mix", "own"]


@dataclass(frozen=True)
class RewardSettings:
    """Where the reward comes from."""

    reward: RewardKind = "clip"
    """`ground-truth` trains on the environment's own reward through the same program, as the control; `mix` on
    `clip-weight` times the CLIP reward plus `truth-weight` times the environment's; `own` on what the `label` of a task
    of one's own makes of both."""
    clip_weight: float = 1.0
    """Of the CLIP reward in `--reward mix`."""
    truth_weight: float = 1.0
    """Of the environment's own reward in `--reward mix`."""
    clip: str = "tiny"
    """CLIP checkpoint: `tiny` (embedded, knows these scenes), `untrained` (control; `untrained:DIRECTORY` draws
    weights in the shape of the checkpoint there), a directory or a hub name."""
    clip_size: int = 0
    """Side of the frames in pixels, a multiple of the patch of a ViT, whose positional embeddings are resampled;
    0 is the checkpoint's own."""
    prompt: tuple[str, ...] = ()
    """Goal prompts; their embeddings are averaged. In a task of several phases they are the first one's."""
    then: tuple[str, ...] = ()
    """Sentences of the later phases of such a task, one each; `--then` alone scores all phases by `--prompt`."""
    baseline: tuple[str, ...] = ()
    """Baseline prompts for goal-baseline regularisation; their embeddings are averaged."""
    negative: tuple[str, ...] = ()
    """Negative prompts; given any, the reward is the softmax probability of the goal among them."""
    alpha: float = 0.0
    """Strength of goal-baseline regularisation, from 0 to 1."""
    temperature: float = 0.01
    """Temperature of the softmax over goal and negatives."""
    sigmoid: bool = False
    """The reward is SigLIP's probability that frame and goal belong together, `sigmoid(exp(logit_scale) cosine +
    logit_bias)`; the checkpoint has to have a logit bias."""
    look: str = "plain"
    """How the scene is drawn."""
    camera: tuple[str, ...] = ("default",)
    """Views; rewards average over them."""
    standardise: bool = True
    """Shift and scale rewards by their mean and deviation before learning starts. Optimal policies stay the same where
    only the time limit ends episodes and values bootstrap there; where episodes end for good, take False. Probabilities
    count as varying by 0.01 at least."""
    chunk: int = 0
    """Frames drawn and encoded at a time; 0 chooses by device and picture size. Never more than fit into memory."""
    layers: Literal["unrolled", "scanned"] = "unrolled"
    """`scanned` compiles one block of CLIP's towers for all their layers: for towers of many."""
    quantise: Literal["none", "int8", "fp8"] = "none"
    """Products of the image tower in 8-bit numbers, by qwix; says how far embeddings move."""
    patches: Literal["all", "covered"] = "all"
    """`covered` leaves out the patches of the image in which random actions never show anything."""

    @property
    def scores_pictures(self) -> bool:
        """Whether a CLIP has a say; `own` does without one where there is no sentence."""
        return self.reward in ("clip", "mix") or (self.reward == "own" and bool(self.prompt))


@dataclass(frozen=True)
class DQNSettings:
    """Deep Q-network (Mnih et al. 2015)."""

    learning_rate: float = 1e-3
    """Of Adam."""
    discount: float = 0.99
    """Weight of the next step's value."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Widths of the Q-network's layers."""
    double: bool = True
    """Double DQN: the online network chooses the action that the target network values."""
    target: Literal["polyak", "periodic"] = "polyak"
    """Whether the target network moves a little at a time or is copied now and then."""
    target_sync: Literal["gradient-step", "vector-step"] = "gradient-step"
    """Whether the polyak average moves once a gradient step or, as in the reference, once an environment step."""
    tau: float = 0.005
    """Share of the way that the target network moves."""
    target_period: int = 500
    """Gradient steps between copies, for `--target periodic`; environment steps with `--target-sync vector-step`."""
    epsilon_start: float = 1.0
    """Share of random actions at the beginning."""
    epsilon_end: float = 0.05
    """Share of random actions at the end."""
    exploration_fraction: float = 0.25
    """Share of the training, or of `--schedule-steps`, over which epsilon falls."""
    max_grad_norm: float = 10.0
    """Longer gradients are scaled down to this norm."""
    bootstrap_at_truncation: bool = True
    """A time limit is no end of the task; the reference code treats it as one."""


@dataclass(frozen=True)
class SACSettings:
    """Soft actor-critic (Haarnoja et al. 2018)."""

    learning_rate: float = 1e-3
    """Of Adam, for actor, critics and entropy coefficient."""
    discount: float = 0.99
    """Weight of the next step's value."""
    tau: float = 0.005
    """Share of the way that the target critics move at each gradient step."""
    actor_hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the policy's layers."""
    critic_hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the critics' layers."""
    critic_layer_norm: bool = False
    """Normalise the critics' hidden layers before each activation."""
    entropy: Literal["auto", "fixed"] = "auto"
    """Whether the entropy coefficient is learned."""
    entropy_coefficient: float = 1.0
    """Its first value, or its value if fixed."""
    target_entropy: float | None = None
    """Default: minus the number of action dimensions."""
    action_noise: float = 0.0
    """Deviation of Gaussian noise on actions, in units of half the action range."""
    bootstrap_at_truncation: bool = True
    """A time limit is no end of the task; the reference code treats it as one."""


@dataclass(frozen=True)
class TrainConfig:
    """A whole run."""

    task: Annotated[str, tyro.conf.Suppress]
    preset: Annotated[str, tyro.conf.Suppress] = "default"
    variant: str | None = None
    """How the environment is set up, for tasks with variants; the first lines of this page name the task's own.
    `theirs`, of other libraries' environments, ends episodes where that library does."""
    seed: int = 0
    """First seed; seeds count up from it."""
    seeds: int = 1
    """Independent agents trained side by side in one program."""
    steps: int = 60_000
    """Rows of each seed: environment steps and a reset an episode (0.5 % of CartPole's rows, 1 % of the humanoid's)."""
    num_envs: int = 16
    """Environments of each seed."""
    rollout_length: int = 201
    """Rows per environment and iteration; an episode takes its steps plus one row for the reset."""
    learning_starts: int = 3_000
    """Steps with random actions before the first update, counted as `--steps` are."""
    at: tuple[int, ...] = ()
    """Steps of an episode after which later phases begin, one for each; none: the task's own."""
    hold: int = 1
    """Steps that a random action of before `--learning-starts` lasts; heavy limbs hardly move under faster noise."""
    updates: int = 200
    """Gradient steps an iteration."""
    learning_rate_end: float = 1.0
    """Share of the learning rate that is left at the last step; it falls linearly from the first."""
    schedule_steps: int = 0
    """Steps over which learning rate and epsilon fall, fewer or more than `--steps`; 0: as many. With more,
    `jaxvlm resume RUN --steps` later gets to the same numbers as one training of that many steps."""
    batch_size: int = 128
    """Transitions in a gradient step."""
    buffer_size: int = 200_000
    """Transitions kept for each seed."""
    episodes: int = 100
    """Evaluation episodes of each seed."""
    checkpoint_every: int = 10
    """Iterations between checkpoints."""
    keep_policies: int = 20
    """Agents that are kept along the whole training, evenly, in a small file each: for `jaxvlm evaluate --checkpoint
    STEP` and `jaxvlm dataset make --checkpoint all`; 0 for none."""
    reward: RewardSettings = field(default_factory=RewardSettings)
    algorithm: DQNSettings | SACSettings = field(default_factory=DQNSettings)
    earlier_steps: Annotated[tuple[int, ...], tyro.conf.Suppress] = ()
    """What `steps` was before `jaxvlm resume --steps` changed it, the first one first."""

    @property
    def steps_per_iteration(self) -> int:
        """Rows that all environments of one seed add in an iteration: environment steps, and a reset an episode."""
        return self.num_envs * self.rollout_length

    @property
    def iterations(self) -> int:
        """Iterations that reach `steps` rows; the last one may go beyond them."""
        return -(-self.steps // self.steps_per_iteration)

    @property
    def falling_steps(self) -> int:
        """Steps over which learning rate and epsilon fall."""
        return self.schedule_steps or self.steps

    @property
    def buffer_rows(self) -> int:
        """Capacity of the replay buffer in rows per environment."""
        return max(self.rollout_length + 1, -(-self.buffer_size // self.num_envs))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `config.json`."""
        return {**asdict(self), "algorithm_name": "dqn" if isinstance(self.algorithm, DQNSettings) else "sac"}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "TrainConfig":
        """Inverse of `to_dict`; raises `ConfigError` for settings this version does not know."""
        data = dict(data)
        if str(data.get("task", "")).startswith("humanoid") and "hold" not in data:
            raise ConfigError(
                "this run is of an earlier version, whose compact observation of the humanoid held velocities and not "
                "their tenths: its agents cannot act here; train anew"
            )
        kind = DQNSettings if data.pop("algorithm_name", "dqn") == "dqn" else SACSettings
        try:
            return cls(
                **{
                    **data,
                    "reward": RewardSettings(**_tuples(data["reward"])),
                    "algorithm": kind(**_tuples(data["algorithm"])),
                    "at": tuple(data.get("at", ())),
                    "earlier_steps": tuple(data.get("earlier_steps", ())),
                }
            )
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"the saved config does not fit this version of jaxvlm ({error}); train anew"
            ) from error


def _tuples(data: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}


def validate_config(config: TrainConfig) -> None:
    """Raises `ConfigError` naming the first setting that cannot work."""
    for name in (
        "steps",
        "num_envs",
        "seeds",
        "rollout_length",
        "hold",
        "updates",
        "batch_size",
        "episodes",
        "checkpoint_every",
    ):
        value = getattr(config, name)
        if value < 1:
            raise ConfigError(f"{name.replace('_', '-')} is {value}; it has to be at least 1")
    if config.keep_policies < 0:
        raise ConfigError(f"keep-policies is {config.keep_policies}; give a number of files, and 0 for none")
    if config.learning_starts < 0:
        raise ConfigError(f"learning-starts is {config.learning_starts}; it may not be negative")
    if config.schedule_steps < 0:
        raise ConfigError(
            f"schedule-steps is {config.schedule_steps}; give a number of steps, or 0 for those of the training"
        )
    last_seed = config.seed + config.seeds - 1
    if config.seed < 0 or last_seed >= 2**31:
        raise ConfigError(f"seeds {config.seed} to {last_seed} are not all between 0 and {2**31 - 1}")
    total = config.iterations * config.steps_per_iteration
    if total >= 2**31:
        raise ConfigError(
            f"steps is {config.steps}, in whole iterations {total}; give fewer, they are counted up to {2**31 - 1}"
        )
    # The agent that is kept is chosen by what its rollout earned, so one that has learned has to act.
    last_rollout = (config.iterations - 1) * config.steps_per_iteration
    if last_rollout == 0:
        raise ConfigError(
            f"steps is {config.steps} and one iteration takes {config.steps_per_iteration}, so no agent that has "
            "learned would act; raise --steps above that, or lower --num-envs or --rollout-length"
        )
    if config.learning_starts >= last_rollout:
        raise ConfigError(
            f"learning-starts is {config.learning_starts} but the last rollout begins at step {last_rollout}, so no "
            "agent that has learned would act; raise --steps or lower --learning-starts"
        )
    if config.buffer_size < config.steps_per_iteration:
        raise ConfigError(
            f"buffer-size is {config.buffer_size}, less than the {config.steps_per_iteration} rows of one iteration; "
            "raise it or lower --num-envs or --rollout-length"
        )
    if config.reward.chunk < 0:
        raise ConfigError(f"chunk is {config.reward.chunk}; give a number of frames, or 0 to have it chosen")
    if config.reward.clip_size < 0:
        raise ConfigError(
            f"clip-size is {config.reward.clip_size}; give the side of the frames in pixels, or 0 for the "
            "checkpoint's own"
        )
    _validate_weights(config.reward)
    algorithm = config.algorithm
    for name in ("learning_rate", "discount", "tau"):
        value = getattr(algorithm, name)
        if not 0 < value <= 1:
            raise ConfigError(f"{name.replace('_', '-')} is {value:g}; it has to be above 0 and at most 1")
    if not 0 < config.learning_rate_end <= 1:
        raise ConfigError(
            f"learning-rate-end is {config.learning_rate_end:g}; give a share above 0, and 1 for a constant rate"
        )
    if isinstance(algorithm, DQNSettings) and not 0 <= algorithm.exploration_fraction <= 1:
        raise ConfigError(
            f"exploration-fraction is {algorithm.exploration_fraction:g}; it has to be between 0 and 1"
        )


def trained_to(config: TrainConfig, trained: int, steps: int) -> TrainConfig:
    """The config of a run that goes on to another number of steps than it was to have.

    Learning rate and epsilon that fall go on as they were to, since a part of them has been; the rest of the training
    has their last values. Where nothing has been trained yet, they are those of the new number.

    Args:
      config: of the run.
      trained: steps that it has been trained for, each seed.
      steps: that it is to be trained for in all.

    Raises:
      ConfigError: it has been trained for that many already, or the settings cannot work with them.
    """
    changed = replace(config, steps=steps, earlier_steps=(*config.earlier_steps, config.steps))
    if steps > 0 and changed.iterations * config.steps_per_iteration <= trained:
        raise ConfigError(
            f"steps is {steps:,}, but the run has been trained for {trained:,} already; give more, they count from its "
            "beginning, or leave --steps out if only its evaluation is missing"
        )
    if trained:
        changed = replace(changed, schedule_steps=config.falling_steps)
    validate_config(changed)
    return config if changed.iterations == config.iterations else changed


def rewarded_by(settings: RewardSettings, reward: RewardKind, **others: Any) -> RewardSettings:
    """The settings with another kind of reward, without the weights of a mix; `others` as for `replace`."""
    return replace(settings, reward=reward, clip_weight=1.0, truth_weight=1.0, **others)


def _validate_weights(settings: RewardSettings) -> None:
    weights = {"clip-weight": settings.clip_weight, "truth-weight": settings.truth_weight}
    for name, value in weights.items():
        if settings.reward != "mix" and value != 1:
            raise ConfigError(
                f"{name} is {value:g}, but --reward is {settings.reward}; weights are those of --reward mix"
            )
        if not math.isfinite(value):
            raise ConfigError(f"{name} is {value:g}; give a finite number")
    if not any(weights.values()):
        raise ConfigError("clip-weight and truth-weight are both 0, so there is no reward; raise one of them")
