"""Similarity rewards over CLIP embeddings. Each function is the formula for one state; callers vmap it."""

import math
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Scalar

from jaxvlm.errors import ConfigError

# Guards divisions by a norm; far below any norm that float32 embeddings of real towers have.
_TINY = 1e-12


def normalise(embedding: Float[Array, "*batch e"]) -> Float[Array, "*batch e"]:
    """Scales embeddings to unit L2 norm over the last axis; the zero vector stays zero."""
    chex.assert_type(embedding, float)
    return embedding / jnp.maximum(jnp.linalg.norm(embedding, axis=-1, keepdims=True), _TINY)


def check_vectors(**embeddings: ArrayLike) -> None:
    """Raises ConfigError for embeddings, by their names, that are not one vector each and of one size."""
    shapes = {name: np.shape(embedding) for name, embedding in embeddings.items()}
    for name, shape in shapes.items():
        if len(shape) != 1:
            raise ConfigError(
                f"{name} has shape {shape}, but a reward is that of one embedding f32[e]: vmap it, as in "
                "jax.vmap(goal_baseline, in_axes=(0, None, None, None))(states, goal, baseline, alpha)"
            )
    if len(set(shapes.values())) > 1:
        found = ", ".join(f"{name} {shape[0]}" for name, shape in shapes.items())
        raise ConfigError(f"embeddings of one CLIP have one size, and these have several: {found}")


def similarity(state: Float[Array, " e"], goal: Float[Array, " e"]) -> Float[Array, ""]:
    """Cosine similarity of a state and a goal embedding.

    VLM-RM, equation 2 (https://arxiv.org/abs/2310.12921).

    Args:
      state: f32[e], an image embedding of any norm.
      goal: f32[e], a prompt embedding of any norm.

    Returns:
      f32[], in [-1, 1].
    """
    check_vectors(state=state, goal=goal)
    return jnp.vdot(normalise(state), normalise(goal))


def goal_baseline(
    state: Float[Array, " e"],
    goal: Float[Array, " e"],
    baseline: Float[Array, " e"],
    alpha: Scalar | float,
) -> Float[Array, ""]:
    """Goal-baseline regularised reward in a form of O(e) operations.

    VLM-RM, definition 1 and equation 3 (https://arxiv.org/abs/2310.12921): with `s` the normalised state, `P` the
    projection onto the direction `d = goal - baseline` and `L` the line through goal and baseline, the reward is
    `1 - |alpha proj_L(s) + (1 - alpha) s - goal|^2 / 2`. As `proj_L(s) - goal = P (s - goal)`, the square splits
    into the part along `d`, which alpha leaves alone, and the part across it, which shrinks by `1 - alpha`:
    `r = 1 - ((1 - alpha)^2 |s - goal|^2 + (1 - (1 - alpha)^2) t^2) / 2` with `t = d . (s - goal) / |d|`.

    Args:
      state: f32[e], an image embedding of any norm.
      goal: f32[e], normalised goal prompt embedding, or the mean of several.
      baseline: f32[e], the same of the baseline prompts.
      alpha: f32[], regularisation strength in [0, 1]. With one goal prompt, 0 gives the cosine similarity.

    Returns:
      f32[], at most 1. Where goal and baseline coincide, the direction and with it `t` are taken as zero.
    """
    check_vectors(state=state, goal=goal, baseline=baseline)
    direction = goal - baseline
    direction = direction / jnp.maximum(jnp.linalg.norm(direction), _TINY)
    offset = normalise(state) - goal
    along = jnp.vdot(direction, offset)
    across_weight = (1.0 - alpha) ** 2
    return 1.0 - 0.5 * (across_weight * jnp.vdot(offset, offset) + (1.0 - across_weight) * along**2)


def softmax_negatives(
    state: Float[Array, " e"],
    goal: Float[Array, " e"],
    negatives: Float[Array, "k e"],
    temperature: Scalar | float,
) -> Float[Array, ""]:
    """Probability of the goal prompt among negative prompts.

    Baumli et al. 2023 (https://arxiv.org/abs/2312.09187): the softmax over cosine similarities divided by a
    temperature, read at the goal.

    Args:
      state: f32[e], an image embedding of any norm.
      goal: f32[e], a goal prompt embedding of any norm.
      negatives: f32[k, e], embeddings of what the state should not look like.
      temperature: f32[], positive; CLIP's own is about 0.01.

    Returns:
      f32[], in [0, 1].
    """
    check_vectors(state=state, goal=goal)
    if negatives.ndim != 2 or negatives.shape[1] != goal.shape[0]:
        raise ConfigError(f"negatives have shape {negatives.shape}; give one row of {goal.shape[0]} for each")
    candidates = normalise(jnp.concatenate([goal[None], negatives]))
    return jax.nn.softmax(candidates @ normalise(state) / temperature)[0]


def sigmoid_similarity(
    state: Float[Array, " e"],
    goal: Float[Array, " e"],
    logit_scale: Scalar | float,
    logit_bias: Scalar | float,
) -> Float[Array, ""]:
    """Probability that a state and the goal belong together, as SigLIP was trained to say it.

    Zhai et al. 2023, algorithm 1 (https://arxiv.org/abs/2303.15343): the sigmoid of `t c + b` with the cosine
    similarity `c`, `t = exp(logit_scale)` and `b = logit_bias`, both of them learned with the towers.

    Args:
      state: f32[e], an image embedding of any norm.
      goal: f32[e], a prompt embedding of any norm.
      logit_scale: f32[], log of the factor of the similarity.
      logit_bias: f32[], added to the scaled similarity.

    Returns:
      f32[], in [0, 1].
    """
    return jax.nn.sigmoid(jnp.exp(logit_scale) * similarity(state, goal) + logit_bias)


def validate_alpha(alpha: float) -> float:
    """Returns `alpha`; raises `ConfigError` when it is no number in [0, 1]."""
    if (
        isinstance(alpha, bool)
        or not isinstance(alpha, (int, float))
        or math.isnan(alpha)
        or not 0 <= alpha <= 1
    ):
        raise ConfigError(f"alpha is {alpha!r}, but goal-baseline regularisation takes a number from 0 to 1")
    return float(alpha)


def validate_prompts(
    goal: Sequence[str],
    baseline: Sequence[str],
    negatives: Sequence[str],
    alpha: float,
    sigmoid: bool = False,
) -> None:
    """Checks that the prompt lists fit together and the reward; raises `ConfigError` naming the list otherwise."""
    for use, prompts in (("goal", goal), ("baseline", baseline), ("negative", negatives)):
        if isinstance(prompts, str):
            raise ConfigError(f"the {use} prompts are the single string {prompts!r}; give a list of prompts")
        for prompt in prompts:
            if not isinstance(prompt, str) or not prompt.strip():
                raise ConfigError(f"a {use} prompt is {prompt!r}; a prompt needs at least one word")
    if not goal:
        raise ConfigError("there is no goal prompt; say what to learn with --prompt '...'")
    if sigmoid and negatives:
        raise ConfigError(
            f"sigmoid is set and negative prompts {list(negatives)!r} are given, which select the softmax; use one"
        )
    if sigmoid and alpha > 0:
        raise ConfigError(
            f"sigmoid is set with alpha {alpha:g}; the sigmoid reward takes no baseline, so set alpha to 0"
        )
    if negatives and alpha > 0:
        raise ConfigError(
            f"negative prompts are given with alpha {alpha:g}; the softmax reward takes no baseline, so set alpha to 0"
        )
    if alpha > 0 and not baseline:
        raise ConfigError(f"alpha is {alpha:g} but there is no baseline prompt; give one or set alpha to 0")
    if alpha > 0 and set(goal) == set(baseline):
        raise ConfigError(
            f"goal and baseline prompts are both {list(goal)!r}; with alpha {alpha:g} they have to differ"
        )


def validate_phases(
    goal: Sequence[str],
    then: Sequence[str],
    baseline: Sequence[str],
    negatives: Sequence[str],
    alpha: float,
    sigmoid: bool = False,
) -> None:
    """`validate_prompts` for every phase: the first has the prompts `goal`, each later one its sentence of `then`."""
    validate_prompts(goal, baseline, negatives, alpha, sigmoid)
    if isinstance(then, str):
        raise ConfigError(
            f"the sentences of later phases are the single string {then!r}; give a list of them"
        )
    for sentence in then:
        validate_prompts((sentence,), baseline, negatives, alpha, sigmoid)
