"""The numbers of a training run of an embedded CLIP."""

import math
from dataclasses import dataclass
from typing import Literal

from jaxvlm.errors import ConfigError


@dataclass(frozen=True)
class ClipTrainConfig:
    """Numbers of a training run.

    The defaults gave the shipped cartpole and mountain_car; what gave the others stands in their cards.
    """

    seed: int = 0
    steps: int = 800
    batch_size: int = 64  # images a step, split evenly over the looks
    captions_per_concept: int = 2  # wordings drawn of every concept, a step
    prompt_emphasis: int = 4  # how many times as many of the goal, the baseline and the opposite
    learning_rate: float = 1.5e-3  # peak, after a linear warm-up and before a cosine to zero
    warmup: float = 0.05  # share of the steps
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    loss: Literal["sigmoid", "infonce"] = "sigmoid"
    slope: float = (
        0.0  # weight of a second loss, that scores of goals differ far from them as well, see `losses`
    )
    text_spread: float = 0.1  # weight of the squared norm of the mean caption embedding
    image_size: int = 64  # pixels
    patch_size: int = 16
    width: int = 128
    layers: int = 4
    text_width: int = 96
    text_layers: int = 2
    context: int = 24  # tokens
    projection: int = 64
    image_std: float = 0.25  # what pixels are divided by once the mean is off
    mean_states: int = 1024  # states that the mean frame and the balance of concepts are measured on
    augment: float = 0.0  # how much light varies between pictures, see `tiny.augmented`; 0: not, and no blur
    mine_every: int = 0  # steps between searches for states on which the CLIP is wrong; 0: none
    report_every: int = 10  # steps between reports
    evaluation_states: int = 2000  # held-out states of the figures

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch_size",
            "captions_per_concept",
            "prompt_emphasis",
            "report_every",
            "mean_states",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give at least 1")
        if self.mine_every < 0:
            raise ConfigError(f"mine_every is {self.mine_every}; give steps, or 0 for no search")
        if not 0 <= self.augment < 1:
            raise ConfigError(f"augment is {self.augment}; give 0 or more and less than 1")
        if self.loss not in ("sigmoid", "infonce"):
            raise ConfigError(f"unknown loss {self.loss!r}; choose 'sigmoid' or 'infonce'")
        if not 0 <= self.slope < math.inf:
            raise ConfigError(f"slope is {self.slope}; give a weight, or 0 for cross-entropy alone")
        if self.slope and self.loss != "sigmoid":
            raise ConfigError(
                f"slope {self.slope:g} fits log-odds, which only --loss sigmoid does; leave --slope at 0"
            )
        for name in ("learning_rate", "clip_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a number above 0")
        for name in ("weight_decay", "text_spread"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 0 or more")
        if not 0 <= self.warmup <= 1:
            raise ConfigError(f"warmup is {self.warmup}; give a share of the steps, from 0 to 1")
