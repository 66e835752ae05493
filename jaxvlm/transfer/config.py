"""The numbers of the transfer experiment."""

import math
from dataclasses import dataclass, field

from jaxvlm.errors import ConfigError
from jaxvlm.transfer.alignment import AlignConfig
from jaxvlm.transfer.arms import ARMS, USUAL
from jaxvlm.transfer.learners import ALGORITHMS, LearnConfig


@dataclass(frozen=True)
class TransferConfig:
    """Numbers of the experiment."""

    algorithm: str = "ppo"  # ppo or dqn; sac where actions are continuous
    sources: int = 48  # known tasks of each seed, whose policies are the bank
    seeds: int = 5  # repetitions, each with a room, tasks and a bank of its own
    validation: int = 8  # tasks of each seed on which an arm's numbers are chosen
    targets: int = 8  # tasks of each seed that are reported
    threshold: float = 0.9  # share of the best possible return
    initialisation: str = "common"  # of a seed's bank: one start for all policies, or "independent" ones
    match: bool = True  # independent policies get their hidden units into the order of the first known one's
    probes: int = 16  # states in which behaviour is looked at
    arms: tuple[str, ...] = USUAL  # ways to start a new task that are compared
    # Of the softmax over similarities, to choose from.
    temperatures: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    # Of the start's last layer, to choose from; small ones explore.
    actor_scales: tuple[float, ...] = (0.3, 0.6, 1.0)
    # Of the critic's last layer, to choose from; with 0 it says 0.
    critic_scales: tuple[float, ...] = (0.0, 1.0)
    # Weights are similarities over their sum in place of a softmax, as in the paper; not the oracle's.
    plain: bool = False
    tune: bool = True  # choose on validation tasks; else the last temperature and scales 1
    # How known policies are learned.
    base: LearnConfig = field(default_factory=lambda: LearnConfig(num_envs=32, updates=60))
    # How new tasks are learned from an arm's start.
    fine: LearnConfig = field(default_factory=lambda: LearnConfig(num_envs=16, updates=36))
    # How instructions and policies are aligned.
    align: AlignConfig = field(default_factory=AlignConfig)
    retries: int = 3  # of a known policy that ends below `learned`
    learned: float = 0.95  # share of the best return at which a known policy counts as learned
    few_shot: int = 4  # updates after which the few-shot return is read
    chunk: int = 0  # runs fine-tuned at a time; 0: as many as suit the device, see `chunks.chunk_size`
    seed: int = 0  # of everything that is drawn; experiments of different seeds share no world

    def seed_of(self, world: int) -> int:
        """Of what a world draws; experiments of different seeds share none."""
        return self.seed * 1000 + world

    def __post_init__(self) -> None:
        if self.sources < 2:
            raise ConfigError(f"sources is {self.sources}; an alignment needs at least two pairs")
        for name in ("seeds", "validation", "targets", "probes", "few_shot"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least 1")
        for name in ("retries", "chunk"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 or more")
        for name in ("threshold", "learned"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a share above 0 and at most 1")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; give 0 or more")
        if self.align.head == "identity":
            raise ConfigError(
                "align.head is identity, which compares instructions and policies as they are, and theirs are of "
                "different sizes; choose linear or mlp, or the arm clip-rl-identity"
            )
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(f"unknown algorithm {self.algorithm!r}; choose one of {', '.join(ALGORITHMS)}")
        if self.algorithm == "sac" and self.initialisation == "independent" and self.match:
            raise ConfigError(
                "SAC's two critics are kept as one stack, whose units are not matched; give --match False or the "
                "common initialisation"
            )
        if self.initialisation not in ("common", "independent"):
            raise ConfigError(
                f"unknown initialisation {self.initialisation!r}; choose 'common' or 'independent'"
            )
        for name in ("hidden_sizes", "activation"):
            ours, theirs = getattr(self.base, name), getattr(self.fine, name)
            if ours != theirs:
                raise ConfigError(
                    f"base.{name} is {ours} and fine.{name} is {theirs}; starts are averages of known policies, so "
                    "give both the same"
                )
        unknown = [name for name in self.arms if name not in ARMS]
        if unknown:
            raise ConfigError(f"unknown arm {unknown[0]!r}; choose of {', '.join(ARMS)}")
        for name in ("arms", "temperatures", "actor_scales", "critic_scales"):
            values = getattr(self, name)
            if not values:
                raise ConfigError(f"{name} is empty; give at least one")
            if len(set(values)) < len(values):
                raise ConfigError(f"{name} is {' '.join(map(str, values))}; give each once")
        for name, lowest in (
            ("temperatures", "above 0"),
            ("actor_scales", "of 0 or more"),
            ("critic_scales", "of 0 or more"),
        ):
            for value in getattr(self, name):
                if not (math.isfinite(value) and (value > 0 if name == "temperatures" else value >= 0)):
                    raise ConfigError(f"one of {name} is {value:g}; give numbers {lowest}")
