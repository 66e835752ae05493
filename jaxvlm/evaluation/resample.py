"""Bootstrap of distances and rankings in one go: a thousand resamples of thousands of states in part of a second.

The figures of a resample depend on how often each group was drawn. So a correlation needs six sums of each group, and
an area under the ROC curve one sort of all states. The draws are those of `intervals.bootstrap`, and so are the ends.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from jaxvlm.errors import ConfigError
from jaxvlm.evaluation.intervals import Interval
from jaxvlm.reward.epic import goal_distance, pearson_distance
from jaxvlm.reward.ranking import auc

BLOCK = 100  # resamples whose weights of all states are in memory at a time


@dataclass(frozen=True)
class Resampler:
    """Draws whole groups of states with replacement, the same draws for every figure; of a single one the ends are NaN.

    Args:
      groups: [n], the group of every state, such as its episode.
      resamples: how many are drawn.
      level: share of them between the ends of an interval.
      seed: of the draws.
    """

    groups: np.ndarray
    resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if not len(self.groups) or self.resamples < 1:
            raise ConfigError(
                f"{self.resamples} resamples of {len(self.groups)} states are no bootstrap; give at least one of each"
            )

    @cached_property
    def _inverse(self) -> Int[np.ndarray, " n"]:
        """Groups numbered from 0."""
        return np.unique(self.groups, return_inverse=True)[1].reshape(-1)

    @property
    def count(self) -> int:
        """Number of groups."""
        return int(self._inverse.max()) + 1

    @cached_property
    def _drawn(self) -> Float[np.ndarray, "resamples groups"]:
        """How often each group is in each resample."""
        generator = np.random.default_rng(self.seed)
        draws = [generator.integers(self.count, size=self.count) for _ in range(self.resamples)]
        return np.stack([np.bincount(drawn, minlength=self.count) for drawn in draws]).astype(np.float64)

    def distance(self, scores: Num[np.ndarray, " n"], truth: np.ndarray) -> Interval:
        """EPIC distance of a reward of states to `truth`: the indicator of goal states, bool[n], or a reward, f[n]."""
        exact = goal_distance if truth.dtype == bool else pearson_distance
        value = float(exact(scores, truth))
        a, b = (v - v.mean() for v in (scores.astype(np.float64), truth.astype(np.float64)))
        columns = np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], axis=1)
        sums = np.zeros((self.count, 6))
        np.add.at(sums, self._inverse, columns)
        total, mean_a, mean_b, square_a, square_b, product = (self._drawn @ sums).T
        mean_a, mean_b = mean_a / total, mean_b / total
        variance_a, variance_b = square_a / total - mean_a**2, square_b / total - mean_b**2
        # What is left of the variance of a constant by rounding is not one.
        varied = (variance_a > 1e-12 * a.var()) & (variance_b > 1e-12 * b.var())
        scale = np.sqrt(np.where(varied, variance_a * variance_b, 1.0))
        correlation = np.where(varied, (product / total - mean_a * mean_b) / scale, np.nan)
        return self._interval(value, np.sqrt(np.maximum(0.0, (1.0 - correlation) / 2)))

    def auc(self, scores: Num[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> Interval:
        """Area under the ROC curve, see `reward.auc`."""
        order = np.argsort(scores, kind="stable")
        first = np.flatnonzero(np.diff(scores[order], prepend=np.nan) != 0)  # of each run of equal scores
        found = []
        for start in range(0, self.resamples, BLOCK):
            weights = self._drawn[start : start + BLOCK, self._inverse[order]]
            true = np.add.reduceat(weights * truth[order], first, axis=1)
            false = np.add.reduceat(weights, first, axis=1) - true
            below = np.cumsum(false, axis=1) - false / 2  # false items that a true one beats, ties half
            pairs = true.sum(1) * false.sum(1)
            found.append(np.where(pairs > 0, (true * below).sum(1) / np.where(pairs > 0, pairs, 1.0), np.nan))
        return self._interval(auc(scores, truth), np.concatenate(found))

    def _interval(self, value: float, spread: Float[np.ndarray, " resamples"]) -> Interval:
        spread = spread[np.isfinite(spread)]
        if self.count < 2 or not spread.size or not np.isfinite(value):
            return Interval(value, float("nan"), float("nan"))
        low, high = np.quantile(spread, [0.5 - self.level / 2, 0.5 + self.level / 2])
        return Interval(value, float(low), float(high))
