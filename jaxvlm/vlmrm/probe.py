"""Searching states for what a reward likes best: the cross-entropy method in many chains, and what they found.

Pure functions; whoever calls them draws and scores the states that parameters stand for. `jaxvlm/cli/probe.py` does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxvlm.errors import ConfigError


@dataclass(frozen=True)
class CrossEntropy:
    """Settings of the search; static.

    Each chain draws `population` parameter vectors from its own normal distribution, keeps the best share `elites` of
    them, and moves mean and spread towards theirs.
    """

    population: int = 32
    elites: float = 0.125
    smoothing: float = 0.2  # share of the old mean and spread that stays
    least: float = 0.02  # the smallest spread, in spreads of the first round

    @property
    def kept(self) -> int:
        """Draws that count as elites."""
        return max(2, round(self.elites * self.population))


@struct.dataclass
class Chains:
    """Searches side by side, each with a distribution and the best vector that it has seen."""

    mean: jax.Array  # f32[chains, d], in the parameters' units
    spread: jax.Array  # f32[chains, d], standard deviation
    best: jax.Array  # f32[chains, d]
    score: jax.Array  # f32[chains], of `best`


def validate_search(search: CrossEntropy, chains: int, rounds: int) -> None:
    """Raises `ConfigError` that names the number with which nothing would be searched."""
    if chains < 1:
        raise ConfigError(f"chains is {chains}; give at least 1 search for each sentence")
    if search.population < 4:
        raise ConfigError(f"population is {search.population}; the best of fewer than 4 draws say nothing")
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds}; give at least 1 round of draws")


def start(
    first: Float[Array, "chains population d"],
    scores: Float[Array, "chains population"],
    scale: Float[Array | np.ndarray, " d"],
) -> Chains:
    """Chains that begin at the best of some scored vectors each, with `scale` for their first spread."""
    scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
    best = jnp.take_along_axis(first, jnp.argmax(scores, axis=1)[:, None, None], axis=1)[:, 0]
    spread = jnp.broadcast_to(jnp.asarray(scale), best.shape)
    return Chains(mean=best, spread=spread, best=best, score=jnp.max(scores, axis=1))


def draw(
    key: jax.Array,
    chains: Chains,
    low: Float[Array | np.ndarray, " d"],
    high: Float[Array | np.ndarray, " d"],
    search: CrossEntropy,
) -> Float[Array, "chains population d"]:
    """What a round scores: draws of every chain, within the bounds.

    A bound may be infinite, as those of an angle that goes round.
    """
    count, size = chains.mean.shape
    noise = jax.random.normal(key, (count, search.population, size))
    return jnp.clip(chains.mean[:, None] + chains.spread[:, None] * noise, low, high)


def improve(
    chains: Chains,
    drawn: Float[Array, "chains population d"],
    scores: Float[Array, "chains population"],
    scale: Float[Array | np.ndarray, " d"],
    search: CrossEntropy,
) -> Chains:
    """Chains after a round: distributions moved towards their elites, the best so far among them.

    Rubinstein 1999 (https://doi.org/10.1023/A:1010091220143), with smoothing and a least spread, without which a chain
    narrows before it has arrived.

    Args:
      chains: before the round.
      drawn: vectors that `draw` gave.
      scores: theirs; what is not a number loses against everything.
      scale: spread of the first round.
      search: the settings.
    """
    scores = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
    pool = jnp.concatenate([drawn, chains.best[:, None]], axis=1)
    values = jnp.concatenate([scores, chains.score[:, None]], axis=1)
    top, index = jax.lax.top_k(values, search.kept)
    elite = jnp.take_along_axis(pool, index[..., None], axis=1)
    # What has no score is no elite; a chain of which nothing has one stays where it is.
    known = jnp.isfinite(top)[..., None]
    count = jnp.sum(known, axis=1)
    old = jnp.where(count > 0, search.smoothing, 1.0)
    elite_mean = jnp.sum(jnp.where(known, elite, 0.0), axis=1) / jnp.maximum(count, 1)
    mean = old * chains.mean + (1 - old) * elite_mean
    # About the old mean and not their own: on a slope, where elites lie close together ahead of it, spread then grows.
    square = jnp.where(known, (elite - chains.mean[:, None]) ** 2, 0.0)
    about = jnp.sqrt(jnp.sum(square, axis=1) / jnp.maximum(count, 1))
    spread = old * chains.spread + (1 - old) * about
    return Chains(
        mean=mean,
        spread=jnp.maximum(spread, search.least * jnp.asarray(scale)),
        best=elite[:, 0],
        score=top[:, 0],
    )


def different(
    vectors: Float[np.ndarray, "n d"],
    scale: Float[np.ndarray, " d"],
    radius: float = 1.0,
    *,
    periods: Float[np.ndarray, " d"] | None = None,
    quaternion: bool = False,
) -> int:
    """How many of some vectors, best first, are more than `radius` from every one counted before.

    Distance is the root mean square over parameters of their differences in units of `scale`. A parameter comes round
    after its number of `periods`, or never where that is 0, as all do without it. With `quaternion` the first four
    are one: the other way round it is the same turn.
    """
    around = np.zeros(len(scale)) if periods is None else np.asarray(periods, np.float64)
    turn = np.where(around > 0, around, 1.0)
    counted: list[np.ndarray] = []

    def between(vector: np.ndarray, other: np.ndarray) -> np.ndarray:
        if quaternion and np.dot(vector[:4], other[:4]) < 0:
            other = np.concatenate([-other[:4], other[4:]])
        return vector - other

    for vector in np.asarray(vectors, np.float64):
        apart = (between(vector, other) for other in counted)
        short = (np.where(around > 0, step - turn * np.round(step / turn), step) for step in apart)
        if all(np.sqrt(np.mean((step / scale) ** 2)) > radius for step in short):
            counted.append(vector)
    return len(counted)


@dataclass(frozen=True)
class Counts:
    """How the chains of one sentence ended; they add up to their number."""

    met: int  # at the goal
    fooled: int  # not at the goal, and scored above the median of true goal states
    short: int  # neither: the search did not get as high as goal states are


def count_ends(scores: Float[np.ndarray, " n"], holds: Bool[np.ndarray, " n"], median: float) -> Counts:
    """Counts chains; with a `median` that is not a number, as where no goal state is known, nothing is fooled."""
    scores, holds = np.asarray(scores), np.asarray(holds)
    above = scores > median
    return Counts(int(holds.sum()), int((above & ~holds).sum()), int((~above & ~holds).sum()))


def say(
    counts: Counts, failing: Sequence[str], sentence: str = "this sentence", *, median: bool = True
) -> str:
    """The verdict in words.

    Args:
      counts: how chains ended.
      failing: for each fooled chain the measure by which it misses the goal most, in any order.
      sentence: what is judged.
      median: whether goal states have a median score; without one nothing is said of being above or below it.
    """
    total = counts.met + counts.fooled + counts.short
    chains = "chain" if total == 1 else "chains"
    if not median:
        return (
            f"the states {sentence} likes best meet the goal in {counts.met} of {total} {chains}; no random state "
            "meets the goal, so there is no median of goal states to compare with"
        )
    ending = f"; {counts.short} ended below the median of goal states" if counts.short else ""
    if counts.fooled:
        named = sorted(set(failing), key=lambda name: (-failing.count(name), name))
        where = f", failing on {', '.join(named[:3])}" if named else ""
        met = f"{counts.met} meet the goal" if counts.met else "none meets the goal"
        return f"fooled: {counts.fooled} of {total}{where}; {met}{ending}"
    if counts.met == 0:
        return (
            f"no state that {sentence} likes best meets the goal, and none scores as high as goal states do: "
            "the search finds no way up to them"
        )
    return f"the states {sentence} likes best meet the goal in {counts.met} of {total} {chains}{ending}"
