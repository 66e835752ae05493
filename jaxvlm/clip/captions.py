"""What an embedded CLIP is trained from: states of an environment and sentences whose truth is computed.

Captions come from predicates over simulator states, so the truth of *every* caption is known for *every*
image and no pair has to be guessed negative. Truth is graded: a concept gives log-odds, and since a sigmoid
loss makes `scale * cosine + bias` approach the log-odds it is shown, the shape declared here is the shape of
the reward.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, UInt8

from jaxvlm.errors import ConfigError
from jaxvlm.render import draw_batch

State = Any  # an environment's state; batched over its leading axis where a docstring says "states"
Sampler = Any  # (key, count) -> states; a function or a `jax.tree_util.Partial`
Predicted = Callable[[State, Array], Array]  # (states, index of a goal for each) -> log-odds by the CLIP

_CHOICE = re.compile(r"\[([^\]]*)\]")


@dataclass(frozen=True)
class Concept:
    """One fact about a state, the sentences that say it and how true they are.

    `log_odds(state)` works element-wise, on one state or on a batch, and returns float32; `held_out` is a
    wording kept out of training, made of trained words, that measures whether the text tower reads or
    recites. The fact counts as true, in figures, where the log-odds are positive.
    """

    name: str
    wordings: tuple[str, ...]
    held_out: str
    log_odds: Callable[[State], Float[Array, "..."]]

    def holds(self, state: State) -> Bool[Array, "..."]:
        """Whether the fact counts as true."""
        return self.log_odds(state) > 0


@dataclass(frozen=True)
class Sweep:
    """A line through state space along which the goal's score should climb: the reward landscape.

    `states(values, context)` puts the swept coordinate at `values[n]` and the rest at `context`, one of
    `contexts`. A coordinate without a unit has `unit=""`.
    """

    coordinate: str
    unit: str
    values: tuple[float, ...]
    contexts: tuple[float, ...]
    states: Callable[[Float[Array, " n"], float], State]

    @property
    def label(self) -> str:
        """The coordinate with its unit, for an axis."""
        return f"{self.coordinate} ({self.unit})" if self.unit else self.coordinate


@dataclass(frozen=True)
class Goal:
    """What a reward is made of and measured by.

    `concept` and `opposite` name concepts whose first wordings are the prompts.
    """

    concept: str
    opposite: str
    sweep: Sweep


@dataclass(frozen=True)
class CaptionedDataset:
    """Images drawn on the fly and the concepts that describe them.

    `environment` follows the contract of `envs/api.py` (only `scene`, `assets`, `render` and `cameras` are
    used); `sample_states(key, n)` draws states far beyond those a policy visits. Large arrays that it needs
    are given to it by `jax.tree_util.Partial`, so that they are arguments of the training program. Several
    looks share one model: a batch is split evenly over them. `baseline` names the concept whose first wording
    is the baseline prompt of all goals; the first goal is the one aimed at.

    Training may draw from elsewhere than figures do: from the sampler that `training_sampler()` makes, and from
    what `mine(key, sampler, predicted)` makes of that now and then, a sampler of the same structure that also draws
    states on which the CLIP is wrong; it runs under `jit`.
    """

    domain: str
    environment: Any
    params: Any
    sample_states: Sampler
    concepts: tuple[Concept, ...]
    goals: tuple[Goal, ...]
    baseline: str
    looks: tuple[str, ...] = ("plain",)
    cameras: tuple[str, ...] = ("default",)  # views that scores average over
    training_sampler: Callable[[], Sampler] | None = None
    mine: Callable[[jax.Array, Sampler, Predicted], Sampler] | None = None

    @property
    def goal(self) -> str:
        """Concept of the goal aimed at."""
        return self.goals[0].concept

    @property
    def opposite(self) -> str:
        """Concept that should score lowest where the goal scores highest."""
        return self.goals[0].opposite

    @property
    def sweep(self) -> Sweep:
        """The line along which the goal's score should climb."""
        return self.goals[0].sweep

    @property
    def prompts(self) -> tuple[str, ...]:
        """Concepts that rewards are made of, each once."""
        named = [name for goal in self.goals for name in (goal.concept, goal.opposite)]
        return tuple(dict.fromkeys([*named, self.baseline]))

    def aimed_at(self, concept: str | None) -> "CaptionedDataset":
        """The dataset with another of its goals first, or as it is for None; raises `ConfigError` for no goal of it."""
        if concept is None:
            return self
        chosen = [goal for goal in self.goals if goal.concept == concept]
        if not chosen:
            known = ", ".join(goal.concept for goal in self.goals)
            raise ConfigError(f"domain {self.domain!r} has no goal {concept!r}; choose one of {known}")
        return replace(self, goals=(*chosen, *(goal for goal in self.goals if goal.concept != concept)))

    def concept(self, name: str) -> Concept:
        """The concept called `name`; raises `ConfigError` when there is none."""
        for concept in self.concepts:
            if concept.name == name:
                return concept
        known = ", ".join(c.name for c in self.concepts)
        raise ConfigError(f"domain {self.domain!r} has no concept {name!r}; choose one of {known}")

    def assets(self, look: str | None = None) -> tuple[Any, ...]:
        """What the frames of one look, or of every look, share; an argument of `frames`."""
        looks = self.looks if look is None else (look,)
        return tuple(self.environment.assets(name) for name in looks)

    def frames(
        self, states: State, assets: tuple[Any, ...], size: int
    ) -> UInt8[Array, "n views size size 3"]:
        """Draws states; with several assets the k-th of as many equal blocks gets the k-th look."""
        count = jax.tree.leaves(states)[0].shape[0]
        if count % len(assets):
            raise ConfigError(
                f"{count} states cannot be split evenly over {len(assets)} looks; use a multiple"
            )
        block = count // len(assets)
        views = jax.tree.map(
            lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]),
            *(self.environment.cameras[name] for name in self.cameras),
        )
        scenes = self.scenes(states)
        with jax.default_matmul_precision("highest"):
            parts = [
                draw_batch(
                    self.environment.render,
                    select(scenes, slice(k * block, (k + 1) * block)),
                    look,
                    views,
                    size,
                )
                for k, look in enumerate(assets)
            ]
        return jnp.concatenate(parts)

    def scenes(self, states: State) -> Any:
        """What is drawn of each state, leaves [n, ...]; compile it: operation by operation it is many programs."""
        return jax.vmap(self.environment.scene, (0, None))(states, self.params)

    def log_odds(self, states: State) -> Float[Array, "n concepts"]:
        """The truth of every concept for every state, as log-odds."""
        count = jax.tree.leaves(states)[0].shape[0]
        columns = [jnp.broadcast_to(concept.log_odds(states), (count,)) for concept in self.concepts]
        return jnp.stack(columns, axis=1).astype(jnp.float32)


def expand(*templates: str) -> tuple[str, ...]:
    """All sentences of templates with choices: `expand("[a|the] pole")` is `("a pole", "the pole")`.

    A choice may be empty; blanks are collapsed and repeats dropped; the order is that of the templates.
    """
    sentences: dict[str, None] = {}
    for template in templates:
        pieces = _CHOICE.split(template)
        choices = [piece.split("|") if k % 2 else [piece] for k, piece in enumerate(pieces)]
        for words in itertools.product(*choices):
            sentences[" ".join("".join(words).split())] = None
    return tuple(sentences)


def both(*log_odds: Float[Array, "..."]) -> Float[Array, "..."]:
    """Log-odds of a conjunction: a smooth minimum, `-log(sum(exp(-l)))`."""
    return -jax.nn.logsumexp(-jnp.stack(jnp.broadcast_arrays(*log_odds)), axis=0)


def truth_matrix(log_odds: Float[Array, "n concepts"], caption_concepts: Array) -> Float[Array, "n captions"]:
    """M[i, j]: the probability that caption j, saying concept `caption_concepts[j]`, is true of image i."""
    return jax.nn.sigmoid(log_odds[:, caption_concepts])


def words(text: str) -> list[str]:
    """Lower-case words of a sentence, punctuation dropped."""
    return re.findall(r"[a-z0-9]+", text.lower())


def vocabulary(dataset: CaptionedDataset) -> list[str]:
    """The words of all trained wordings, sorted."""
    return sorted({word for concept in dataset.concepts for text in concept.wordings for word in words(text)})


def validate_dataset(dataset: CaptionedDataset, least_wordings: int = 20) -> None:
    """Raises `ConfigError` for a declaration that cannot be trained or measured.

    Checked: there are goals with sweeps, looks and cameras, the named concepts exist, every concept has
    `least_wordings` wordings, no wording says two concepts, and every held-out wording is neither trained nor made of
    unknown words.
    """
    if not dataset.goals or not dataset.looks or not dataset.cameras:
        raise ConfigError(
            f"captions of {dataset.domain!r} have {len(dataset.goals)} goals, {len(dataset.looks)} looks and "
            f"{len(dataset.cameras)} cameras; declare at least one of each"
        )
    if not all(goal.sweep.values and goal.sweep.contexts for goal in dataset.goals):
        raise ConfigError(
            f"a sweep of {dataset.domain!r} has no values or no contexts; give at least one of each"
        )
    for name in dataset.prompts:
        dataset.concept(name)
    owner: dict[str, str] = {}
    for concept in dataset.concepts:
        if len(concept.wordings) < least_wordings:
            raise ConfigError(
                f"concept {concept.name!r} has {len(concept.wordings)} wordings; "
                f"give at least {least_wordings}"
            )
        for text in concept.wordings:
            key = " ".join(words(text))
            if owner.setdefault(key, concept.name) != concept.name:
                raise ConfigError(
                    f"wording {text!r} is said by {owner[key]!r} and {concept.name!r}; keep it in one"
                )
    known = set(vocabulary(dataset))
    for concept in dataset.concepts:
        if " ".join(words(concept.held_out)) in owner:
            raise ConfigError(f"held-out wording {concept.held_out!r} is also trained; remove one of them")
        unknown = [word for word in words(concept.held_out) if word not in known]
        if unknown:
            raise ConfigError(
                f"held-out wording {concept.held_out!r} has untrained words {unknown}; reword it"
            )


def select(states: State, index: Array | np.ndarray | slice) -> State:
    """Rows of a batched state."""
    return jax.tree.map(lambda leaf: leaf[index], states)
