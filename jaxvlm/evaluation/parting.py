"""How a reward and the success that it stands for part as optimisation goes on.

A reward that only stands for what is wanted is at first learned together with it; later an optimiser gains by what the
two differ in (Goodhart's law; Gao, Schulman and Hilton 2022, https://arxiv.org/abs/2210.10760, measure it for language
models).
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxvlm.errors import ConfigError

WINDOW = 5  # rollouts that are averaged before anything is compared


class Parting(NamedTuple):
    """One agent's training; what cannot be told is NaN."""

    early: float  # rank correlation of reward and success over the first half of the rollouts, in [-1, 1]
    late: float  # the same over the second half
    gain_after: (
        float  # share of the reward's rise over its first that came after success was highest, in [0, 1]
    )
    lost: float  # highest success minus success where the reward is highest: what choosing by reward costs


def smooth(values: Float[np.ndarray, " n"], window: int = WINDOW) -> Float[np.ndarray, " m"]:
    """Running mean, f64[n - window + 1]; a mean over all where there are fewer than `window`."""
    window = min(window, len(values))
    # Rounded, so that windows of the same values are a tie wherever they lie.
    return np.round(np.convolve(values, np.ones(window) / window, mode="valid"), 12)


def parting(
    reward: Float[np.ndarray, " n"], success: Float[np.ndarray, " n"], window: int = WINDOW
) -> Parting:
    """How far reward and success part.

    Args:
      reward: mean reward of each rollout, in time's order.
      success: share of its steps that met the goal.
      window: rollouts averaged.

    Raises:
      ConfigError: arrays of different lengths, or fewer than two windows.
    """
    from jaxvlm.reward import spearman

    reward, success = np.asarray(reward, np.float64), np.asarray(success, np.float64)
    if reward.shape != success.shape or reward.ndim != 1 or len(reward) < 2 * window:
        raise ConfigError(
            f"rewards {list(reward.shape)} and success {list(success.shape)} of rollouts are compared; give two lists "
            f"of one length, at least {2 * window}"
        )
    reward, success = smooth(reward, window), smooth(success, window)
    half = len(reward) // 2
    # The last place where success is highest: what comes before it is not after.
    peak, top = len(success) - 1 - int(np.argmax(success[::-1])), int(np.argmax(reward))
    rise = float(reward.max() - reward[0])
    gained = float(reward[peak:].max() - reward[peak])
    return Parting(
        early=_correlation(spearman, reward[:half], success[:half]),
        late=_correlation(spearman, reward[half:], success[half:]),
        # More than the whole where the reward was lower at the peak of success than in the beginning.
        gain_after=min(1.0, gained / rise) if rise > 0 and success.max() > 0 else math.nan,
        lost=float(success.max() - success[top]),
    )


def _correlation(spearman, reward: np.ndarray, success: np.ndarray) -> float:
    """NaN where either never changes."""
    if np.ptp(reward) == 0 or np.ptp(success) == 0:
        return math.nan
    return float(spearman(reward, success))
