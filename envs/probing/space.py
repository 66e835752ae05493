"""What a search of states needs to know of a domain."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

State = Any  # of the domain's captions, batched
Context = Any  # pytree of arrays that lead with the number of states


@dataclass(frozen=True)
class Shortfall:
    """A condition that a state misses, and by how much."""

    measure: str
    value: float  # of the state, in `unit`
    low: float | None = None  # what is asked for: at least this
    high: float | None = None  # at most this
    unit: str = ""

    @property
    def short(self) -> str:
        """As it fits under a picture: `torso_tilt 43 > 30`."""
        sign, bound = ("<", self.low) if self.low is not None and self.value < self.low else (">", self.high)
        return f"{self.measure} {self.value:.3g} {sign} {bound:.3g}"


def no_context(key: jax.Array, count: int) -> Context:
    """For domains whose parameters are all of a state."""
    del key
    return jnp.zeros((count, 0))


def as_they_are(vectors: Any) -> Any:
    """For domains in which two vectors are never the same state."""
    return vectors


@dataclass(frozen=True)
class SearchSpace:
    """States as vectors of bounded numbers.

    `contexts` draws what a chain of the search is given and cannot change, such as where the objects of a room lie.
    """

    names: tuple[str, ...]  # d parameters, with units
    low: np.ndarray  # f32[d]; -inf where a parameter goes round, as angles do
    high: np.ndarray  # f32[d]
    scale: np.ndarray  # f32[d], a step that is large and not yet anywhere
    starts: Callable[[jax.Array, int], Any]  # (key, n) -> f32[n, d]
    states: Callable[[Any, Context], State]  # (f32[n, d], contexts) -> states; runs under jit
    shortfalls: Callable[
        [str, State], list[list[Shortfall]]
    ]  # of a concept, worst first; none where it holds
    contexts: Callable[[jax.Array, int], Context] = no_context
    canonical: Callable[[Any], Any] = (
        as_they_are  # f32[n, d] -> f32[n, d], the same for all vectors of a state
    )
    periods: np.ndarray | None = (
        None  # f32[d], after how much a canonical parameter comes round; 0 where never
    )
    quaternion: bool = False  # whether the first four parameters are one
    hold: Callable[[Any], State] | None = None  # f32[n, d] -> states after some physics that holds them still
    hold_seconds: float = 0.0
    free: str = ""  # what the search leaves out that a real state has, a remark for the output
