"""Intervals of figures: what a number of episodes, seeds or states leaves open."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from jaxvlm.errors import ConfigError


class Interval(NamedTuple):
    """A figure with the ends of its confidence interval; ends are not numbers where there is nothing to tell from."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def rate_interval(successes: int, trials: int, level: float = 0.95) -> Interval:
    """A share of independent trials with Wilson's interval.

    Wilson 1927 (https://doi.org/10.2307/2276774): stays within [0, 1] and is not empty at 0 or `trials` successes.

    Raises:
      ConfigError: no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ConfigError(f"{successes} successes of {trials} trials are no share")
    interval = stats.binomtest(int(successes), int(trials)).proportion_ci(level, method="wilson")
    return Interval(successes / trials, float(interval.low), float(interval.high))


def mean_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """The mean of independent values, say one a seed, with Student's interval; one value has no ends."""
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not values.size:
        raise ConfigError(f"the mean of an array of shape {values.shape} is asked for; give a list of values")
    mean = float(values.mean())
    if values.size == 1:
        return Interval(mean, float("nan"), float("nan"))
    half = float(stats.t.ppf(0.5 + level / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size))
    return Interval(mean, mean - half, mean + half)


def bootstrap(
    statistic: Callable[..., float],
    arrays: Sequence[np.ndarray],
    *,
    groups: np.ndarray | None = None,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a statistic of paired arrays.

    Efron 1979 (https://doi.org/10.1214/aos/1176344552). States of one episode resemble each other: with `groups` whole
    groups are drawn with replacement, and not single rows, which would promise too narrow an interval.

    Args:
      statistic: maps the arrays, or a resample of their rows, to a number; where that is NaN the resample is left out.
        A single group, or row, tells of no spread: its ends are not numbers.
      arrays: of one length.
      groups: the group of every row, such as its episode; None for rows that are independent.
      resamples: how many are drawn.
      level: share of them between the ends.
      seed: of the draws.

    Raises:
      ConfigError: no arrays, or arrays of different lengths.
    """
    arrays = [np.asarray(array) for array in arrays]
    lengths = {array.shape[0] for array in arrays} | ({len(groups)} if groups is not None else set())
    if len(lengths) != 1 or 0 in lengths:
        raise ConfigError(f"a bootstrap takes arrays of one length above 0, not of {sorted(lengths)}")
    count, generator = lengths.pop(), np.random.default_rng(seed)
    members = None
    if groups is not None:
        _, inverse = np.unique(np.asarray(groups), return_inverse=True)
        members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(np.bincount(inverse))[:-1])
    if (count if members is None else len(members)) < 2:
        return Interval(float(statistic(*arrays)), float("nan"), float("nan"))
    found = []
    for _ in range(resamples):
        if members is None:
            rows = generator.integers(count, size=count)
        else:
            drawn = generator.integers(len(members), size=len(members))
            rows = np.concatenate([members[group] for group in drawn])
        found.append(statistic(*(array[rows] for array in arrays)))
    spread = np.asarray(found, np.float64)
    spread = spread[np.isfinite(spread)]
    value = float(statistic(*arrays))
    if not spread.size:
        return Interval(value, float("nan"), float("nan"))
    low, high = np.quantile(spread, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(value, float(low), float(high))
