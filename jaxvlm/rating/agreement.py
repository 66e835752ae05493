"""Do raters agree? Cohen's kappa for two of them, Krippendorff's alpha for any number, with answers missing."""

from typing import Literal

import numpy as np

from jaxvlm.errors import ConfigError

Level = Literal["nominal", "ordinal"]


def cohen_kappa(
    first: np.ndarray, second: np.ndarray, weights: Literal["nominal", "quadratic"] | np.ndarray = "nominal"
) -> float:
    """Agreement of two raters beyond chance: 1 minus observed over expected disagreement.

    Cohen 1960 (https://doi.org/10.1177/001316446002000104), and 1968 (https://doi.org/10.1037/h0026256) with weights.

    Args:
      first: answers [items] of one rater; items with NaN on either side are left out.
      second: of the other.
      weights: what a disagreement counts: all alike, with the square of the difference of the values, or a matrix
        [categories, categories] over the values in ascending order.

    Returns:
      1 where they always agree, 0 where as often as by chance; NaN without a pair, or where both gave one answer only.

    Raises:
      ConfigError: not two lists of one length, or a matrix of another size.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ConfigError(f"kappa compares two lists of one length, not {first.shape} and {second.shape}")
    both = ~(np.isnan(first) | np.isnan(second))
    categories, index = np.unique(np.concatenate([first[both], second[both]]), return_inverse=True)
    count = int(both.sum())
    if isinstance(weights, str):
        difference = categories[:, None] - categories[None, :]
        costs = difference**2 if weights == "quadratic" else (difference != 0).astype(np.float64)
    else:
        costs = np.asarray(weights, np.float64)
        if costs.shape != (categories.size, categories.size):
            raise ConfigError(f"weights of shape {costs.shape} do not fit {categories.size} categories")
    table = np.zeros((categories.size, categories.size))
    np.add.at(table, (index[:count], index[count:]), 1.0)
    if not count:
        return float("nan")
    expected = float((costs * np.outer(table.sum(1), table.sum(0))).sum()) / count
    return 1.0 - float((costs * table).sum()) / expected if expected > 0 else float("nan")


def krippendorff_alpha(answers: np.ndarray, level: Level = "nominal") -> float:
    """Agreement of any number of raters beyond chance, whoever answered what.

    Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability" (https://repository.upenn.edu/asc_papers/43).

    Args:
      answers: [raters, items], NaN where there is none.
      level: `nominal`, in which all disagreements count alike, or `ordinal`, where they count by how many answers
        lie between them.

    Returns:
      1 where all agree, 0 where as often as by chance; NaN where no item has two answers, or all answers are the same.

    Raises:
      ConfigError: not a matrix.
    """
    answers = np.asarray(answers, np.float64)
    if answers.ndim != 2:
        raise ConfigError(f"alpha takes answers [raters, items], not an array of shape {answers.shape}")
    given = ~np.isnan(answers)
    answers, given = answers[:, given.sum(0) >= 2], given[:, given.sum(0) >= 2]
    if not answers.size:
        return float("nan")
    values = np.unique(answers[given])
    # counts[item, value]: how many raters gave that value to that item.
    counts = ((answers[:, :, None] == values) & given[:, :, None]).sum(0).astype(np.float64)
    pairs = counts / (counts.sum(1, keepdims=True) - 1.0)
    coincidences = pairs.T @ counts - np.diag(pairs.sum(0))
    totals = coincidences.sum(1)
    number = totals.sum()
    costs = _costs(totals, level)
    expected = (costs * np.outer(totals, totals)).sum() / (number - 1.0)
    return 1.0 - float((costs * coincidences).sum() / expected) if expected > 0 else float("nan")


def _costs(totals: np.ndarray, level: Level) -> np.ndarray:
    """Squared difference of every two values, [values, values]."""
    size = totals.size
    if level == "nominal":
        return 1.0 - np.eye(size)
    if level != "ordinal":
        raise ConfigError(f"unknown level {level!r}; choose nominal or ordinal")
    # Answers from one value to the other, of the two ends' own half.
    through = np.cumsum(totals)
    middle = through - totals / 2.0
    return (middle[:, None] - middle[None, :]) ** 2
