"""Figures of a CLIP on captioned states: does a sentence rank pictures as the simulator would?"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvlm.clip.captions import CaptionedDataset, Concept, State, select
from jaxvlm.clip.model import CLIP
from jaxvlm.clip.tokenizer import Tokenizer
from jaxvlm.compiler import compiler_options
from jaxvlm.errors import ConfigError
from jaxvlm.reward.epic import pearson_distance
from jaxvlm.reward.ranking import auc, spearman
from jaxvlm.reward.similarity import goal_baseline

ALPHAS = (0.0, 0.5, 1.0)
GOAL_FIGURES = ("auc", "rank_correlation", "epic_indicator", "epic_graded")


Embed = Callable[[Any, State, tuple[Any, ...]], Array]  # (params, states, assets) -> f32[n, views, embed]


def make_embed(clip: CLIP, dataset: CaptionedDataset) -> Embed:
    """The compiled program of `embed_states`, for several calls with one dataset, whichever goal it is aimed at."""
    size = clip.config.image_size

    @partial(jax.jit, compiler_options=compiler_options())
    def embed(params: Any, states: State, assets: tuple[Any, ...]) -> Array:
        frames = dataset.frames(states, assets, size)
        flat: Any = clip.apply(params, frames.reshape(-1, *frames.shape[2:]), method="encode_image")
        out = flat.reshape(*frames.shape[:2], -1)
        return out / jnp.linalg.norm(out, axis=-1, keepdims=True)

    return embed


def embed_states(
    clip: CLIP,
    params: Any,
    dataset: CaptionedDataset,
    states: State,
    look: str,
    chunk: int = 64,
    embed: Embed | None = None,
) -> np.ndarray:
    """Unit image embeddings of states, float32[n, views, embed]; the last chunk is padded."""
    embed = embed or make_embed(clip, dataset)
    assets = dataset.assets(look)
    count = jax.tree.leaves(states)[0].shape[0]
    parts = []
    for start in range(0, count, chunk):
        index = np.minimum(np.arange(start, start + chunk), count - 1)
        parts.append(np.asarray(embed(params, select(states, index), assets)))
    return np.concatenate(parts)[:count]


def embed_texts(clip: CLIP, params: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """Unit text embeddings, float32[n, embed]; one compiled call, where `embed_prompts` runs operation by operation."""

    @partial(jax.jit, compiler_options=compiler_options())
    def embed(params: Any, ids: Array) -> Array:
        out = clip.apply(params, ids, method="encode_text")
        return out / jnp.linalg.norm(out, axis=-1, keepdims=True)

    return np.asarray(embed(params, jnp.asarray(tokenizer(texts))))


@jax.jit
def _goal_scores(images: Array, goal: Array, baseline: Array, alpha: Array) -> Array:
    one = jax.vmap(goal_baseline, (0, None, None, None))
    return jax.vmap(one, (0, None, None, None))(images, goal, baseline, alpha)


def goal_scores(
    images: Float[np.ndarray, "n v e"], goal: np.ndarray, baseline: np.ndarray, alpha: float
) -> np.ndarray:
    """Goal-baseline rewards of unit image embeddings for one goal and one baseline sentence, float32[n]."""
    rewards = _goal_scores(jnp.asarray(images), jnp.asarray(goal), jnp.asarray(baseline), jnp.float32(alpha))
    return np.asarray(rewards).mean(1)  # over views


def monotone_violation(scores: np.ndarray, distance: np.ndarray) -> float:
    """How much of a landscape's range it climbs again on the way from the goal, 0 for one that only falls.

    `distance[n]` orders the states by how far they are from the goal; where it is signed, the two sides of
    the goal are walked apart.
    """
    worst = 0.0
    for side in (distance >= 0, distance <= 0):
        walk = scores[side][np.argsort(np.abs(distance[side]), kind="stable")]
        if walk.size:
            worst = max(worst, float(np.max(walk - np.minimum.accumulate(walk))))
    return worst / max(float(scores.max() - scores.min()), 1e-12)


def evaluate_clip(
    clip: CLIP,
    params: Any,
    tokenizer: Tokenizer,
    dataset: CaptionedDataset,
    *,
    seed: int = 1,
    count: int = 2000,
    alphas: Sequence[float] = ALPHAS,
    wordings: int = 12,
) -> dict[str, Any]:
    """Held-out figures as plain numbers and lists, look by look.

    `count` fresh states are drawn from the dataset's sampler with a seed of their own. A look's entry has

    * `goal`: AUC against the goal being true, rank correlation with its graded truth and EPIC distances to
      the indicator and to the graded truth, each by alpha ("0.0", ...); the same under `grid` for the even grid
      of the sweep, the paper's states for toy environments; and `landscape`, the mean score along the sweep and
      its spread over contexts;
    * `concepts`: by name, AUC and rank correlation of the first wording, the median and the worst AUC of up
      to `wordings` trained ones, and the AUC of the held-out one.

    Raises `ConfigError` when there are fewer than two states.
    """
    if count < 2:
        raise ConfigError(f"count is {count}; figures need at least 2 states")
    states = dataset.sample_states(jax.random.key(seed), count)
    log_odds = np.asarray(jax.jit(dataset.log_odds)(states), np.float64)
    texts = {concept.name: _wordings(concept, wordings) for concept in dataset.concepts}
    flat = [text for group in texts.values() for text in group]
    embedded = embed_texts(clip, params, tokenizer, flat)
    split = np.split(embedded, np.cumsum([len(group) for group in texts.values()])[:-1])
    prompts = dict(zip(texts, split, strict=True))
    figures, embed = {}, make_embed(clip, dataset)
    for look in dataset.looks:
        images = embed_states(clip, params, dataset, states, look, embed=embed)
        mean_image = images.mean(1)  # its product with a sentence is the mean of those of the views
        goals = {
            goal.concept: _goal_figures(
                clip, params, dataset.aimed_at(goal.concept), images, log_odds, prompts, look, alphas, embed
            )
            for goal in dataset.goals
        }
        figures[look] = {
            "goal": goals[dataset.goal],
            "concepts": {
                concept.name: _concept_figures(mean_image @ prompts[concept.name].T, log_odds[:, k])
                for k, concept in enumerate(dataset.concepts)
            },
        }
        if len(goals) > 1:
            figures[look] |= {"goals": goals, "confusion": _confusion(dataset, mean_image, log_odds, prompts)}
    return figures


def _confusion(
    dataset: CaptionedDataset, images: np.ndarray, log_odds: np.ndarray, prompts: dict[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    """Mean score, in standard deviations over all states, of the states of each goal for the prompt of each."""
    names = [goal.concept for goal in dataset.goals]
    columns = [[concept.name for concept in dataset.concepts].index(name) for name in names]
    scores = np.stack([images @ prompts[name][1] for name in names], axis=1).astype(np.float64)
    scores = (scores - scores.mean(0)) / scores.std(0)
    rows = {}
    for name, column in zip(names, columns, strict=True):
        holds = log_odds[:, column] > 0
        means = scores[holds].mean(0) if holds.any() else np.full(len(names), np.nan)
        rows[name] = dict(zip(names, means.tolist(), strict=True))
    return rows


def _wordings(concept: Concept, count: int) -> list[str]:
    """The held-out wording, then up to `count` trained ones spread over the list, the first of them first."""
    chosen = np.unique(np.linspace(0, len(concept.wordings) - 1, count).astype(int))
    return [concept.held_out, *(concept.wordings[k] for k in chosen)]


def _goal_figures(
    clip: CLIP,
    params: Any,
    dataset: CaptionedDataset,
    images: np.ndarray,
    log_odds: np.ndarray,
    prompts: dict[str, np.ndarray],
    look: str,
    alphas: Sequence[float],
    embed: Embed,
) -> dict[str, Any]:
    goal, baseline = prompts[dataset.goal][1], prompts[dataset.baseline][1]
    graded = log_odds[:, [concept.name for concept in dataset.concepts].index(dataset.goal)]
    sweep = dataset.sweep
    values = jnp.asarray(sweep.values, jnp.float32)
    parts = [sweep.states(values, context) for context in sweep.contexts]
    line = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    line_images = embed_states(clip, params, dataset, line, look, embed=embed)
    line_graded = np.asarray(dataset.concept(dataset.goal).log_odds(line), np.float64)

    result: dict[str, Any] = {name: {} for name in GOAL_FIGURES}
    result["grid"] = {name: {} for name in GOAL_FIGURES}
    result["landscape"] = {"values": list(sweep.values), "mean": {}, "spread": {}}
    for alpha in alphas:
        name = str(float(alpha))
        scores = goal_scores(line_images, goal, baseline, alpha).astype(np.float64)
        pairs = (
            (result, goal_scores(images, goal, baseline, alpha).astype(np.float64), graded),
            (result["grid"], scores, line_graded),
        )
        for entry, score, truth in pairs:
            for figure, value in _ranking_figures(score, truth).items():
                entry[figure][name] = value
        rows = scores.reshape(len(sweep.contexts), -1)
        result["landscape"]["mean"][name] = rows.mean(0).tolist()
        result["landscape"]["spread"][name] = rows.std(0).tolist()
    return result


def _ranking_figures(scores: np.ndarray, log_odds: np.ndarray) -> dict[str, float]:
    truth = log_odds > 0
    values = (
        auc(scores, truth),
        spearman(scores, log_odds),
        float(pearson_distance(scores, truth)),
        float(pearson_distance(scores, log_odds)),
    )
    return dict(zip(GOAL_FIGURES, values, strict=True))


def _concept_figures(scores: np.ndarray, log_odds: np.ndarray) -> dict[str, float]:
    """`scores[n, 0]` are those of the held-out wording; AUC is not a number for a fact that always holds."""
    truth = log_odds > 0
    areas = [auc(column, truth) for column in scores.T]
    return {
        "auc": areas[1],
        "rank_correlation": spearman(scores[:, 1].astype(np.float64), log_odds),
        "auc_median": float(np.median(areas[1:])),
        "auc_worst": float(np.min(areas[1:])),
        "auc_held_out": areas[0],
    }
