"""How well a reward ranks states by their truth, on the host."""

import numpy as np

from jaxvlm.errors import ConfigError
from jaxvlm.reward.epic import pearson


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 0, ties sharing their mean rank, float64[n]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts) - 1
    return (last - (counts - 1) / 2)[inverse]


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """Probability that a true item scores above a false one, ties half: the area under the ROC curve.

    Not a number when all items are true or all false, or a score is not finite.

    Raises:
      ConfigError: a truth that is not bool: labels by people hold -1 where nobody knows.
    """
    if truth.dtype != bool:
        raise ConfigError(f"truth is {truth.dtype}; give bool, such as `labels == 1` of those that are known")
    if not np.isfinite(scores).all():
        return float("nan")
    positives = int(truth.sum())
    negatives = truth.size - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    rank_sum = float(ranks(scores)[truth].sum())
    return (rank_sum - positives * (positives - 1) / 2) / (positives * negatives)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of ranks; not a number when either side is constant or holds what is none."""
    if np.isnan(a).any() or np.isnan(b).any():
        return float("nan")
    return float(pearson(ranks(a), ranks(b)))
