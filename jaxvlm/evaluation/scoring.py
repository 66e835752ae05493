"""Scores of labelled states by CLIP rewards, and what they are worth: EPIC distance and AUROC with their intervals.

Frames are drawn and encoded once for each model; prompts, alphas and views are then cheap.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxvlm.compiler import compiler_options
from jaxvlm.errors import ConfigError
from jaxvlm.evaluation.drawing import make_drawer
from jaxvlm.evaluation.intervals import Interval
from jaxvlm.evaluation.resample import Resampler
from jaxvlm.evaluation.states import StateDataset
from jaxvlm.reward.label import RewardParams, encode_scenes, score
from jaxvlm.reward.similarity import validate_alpha, validate_prompts
from jaxvlm.runtime import Progress
from jaxvlm.vlmrm.build import Tower, choose_chunk

BLOCK = 256  # states in a compiled call, so that progress is shown


@dataclass(frozen=True)
class Prompts:
    """What a reward of one goal is made of."""

    goal: tuple[str, ...]
    baseline: tuple[str, ...] = ()


@dataclass(frozen=True)
class Views:
    """How states are drawn."""

    env: Any  # environment that draws the scenes
    look: str
    cameras: tuple[str, ...] = ("default",)

    def validate(self) -> None:
        """Raises `ConfigError` for a look or camera that the environment lacks."""
        if self.look not in self.env.looks:
            raise ConfigError(
                f"unknown look {self.look!r}; these states can be drawn as {', '.join(self.env.looks)}"
            )
        if not self.cameras:
            raise ConfigError(f"no camera is given; name at least one of {', '.join(self.env.cameras)}")
        for camera in self.cameras:
            if camera not in self.env.cameras:
                raise ConfigError(
                    f"unknown camera {camera!r}; these states can be seen from {', '.join(self.env.cameras)}"
                )

    def stacked(self) -> Any:
        """The cameras with a leading axis of views."""
        cameras = [self.env.cameras[name] for name in self.cameras]
        return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *cameras)

    def drawer(self, size: int) -> Callable[[Any], np.ndarray]:
        """Draws scenes, leaves [n, ...], for the eye: u8[n, size, views * size, 3]; compiled for each n."""
        cameras = [self.env.cameras[name] for name in self.cameras]
        return make_drawer(self.env.render, self.env.assets(self.look), cameras, size)


def embed_scenes(
    tower: Tower, scenes: Any, views: Views, progress: Progress | None = None, done: int = 0
) -> Float[np.ndarray, "n v e"]:
    """Image embeddings of scenes, leaves [n, ...], from every view, not normalised; drawn at the tower's own size.

    Args:
      tower: the CLIP.
      scenes: as the environment gives them.
      views: how they are drawn.
      progress: told of the states embedded so far, `done` of them before.

    Raises:
      ConfigError: an unknown look or camera.
    """
    views.validate()
    count = jax.tree.leaves(scenes)[0].shape[0]
    block = min(BLOCK, count)
    zeros = jnp.zeros(1)
    params = RewardParams(  # the prompts have no part in it
        clip={"params": {"visual": tower.params["params"]["visual"]}},
        goal=zeros,
        baseline=zeros,
        alpha=jnp.float32(0),
        negatives=None,
        temperature=jnp.float32(1),
        assets=views.env.assets(views.look),
        cameras=views.stacked(),
    )

    @partial(jax.jit, compiler_options=compiler_options())
    def embed(params: RewardParams, scenes: Any) -> jax.Array:
        return encode_scenes(
            params,
            scenes,
            encode=tower.encode,
            render=views.env.render,
            size=tower.size,
            chunk=choose_chunk(tower),
        )

    parts = []
    for start in range(0, count, block):
        rows = np.minimum(np.arange(start, start + block), count - 1)  # the last block is padded
        parts.append(
            np.asarray(embed(params, jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], scenes)))
        )
        if progress is not None:
            progress.update(done + min(start + block, count))
    return np.concatenate(parts)[:count]


def score_embeddings(
    tower: Tower, embeddings: Float[np.ndarray, "n v e"], prompts: Prompts, alphas: Sequence[float]
) -> Float[np.ndarray, "alphas n v"]:
    """Goal-baseline rewards of embedded states for every alpha and view.

    Raises:
      ConfigError: prompts or alphas that cannot work.
    """
    alphas = [validate_alpha(alpha) for alpha in alphas]
    validate_prompts(prompts.goal, prompts.baseline, (), max(alphas, default=0.0))
    goal = jnp.mean(tower.embed(prompts.goal), axis=0)
    baseline = jnp.mean(tower.embed(prompts.baseline), axis=0) if prompts.baseline else jnp.zeros_like(goal)
    params = RewardParams(
        clip=None,
        goal=goal,
        baseline=baseline,
        alpha=jnp.float32(0),
        negatives=None,
        temperature=jnp.float32(1),
        assets=None,
        cameras=None,
    )
    run = jax.jit(score)
    return np.stack(
        [np.asarray(run(replace(params, alpha=jnp.float32(alpha)), embeddings)) for alpha in alphas]
    )


def score_states(
    tower: Tower,
    scenes: Any,
    prompts: Mapping[str, Prompts],
    views: Views,
    alphas: Sequence[float] = (0.0,),
    progress: Progress | None = None,
) -> dict[str, Float[np.ndarray, "alphas n v"]]:
    """Rewards of scenes by goal, for every alpha and view; a reward of several views is the mean over the last axis.

    Raises:
      ConfigError: prompts, alphas, a look or a camera that cannot work.
    """
    embeddings = embed_scenes(tower, scenes, views, progress)
    return {goal: score_embeddings(tower, embeddings, given, alphas) for goal, given in prompts.items()}


def parameters_of(tower: Tower) -> int:
    """Numbers in both towers."""
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tower.params))


def measure(
    dataset: StateDataset,
    goal: str,
    scores: Float[np.ndarray, "alphas n v"],
    *,
    alphas: Sequence[float],
    cameras: Sequence[str],
    labels: str = "predicate",
    each_camera: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """What scores of a dataset's states are worth, a row for each alpha: EPIC distance and AUROC with their intervals.

    Args:
      dataset: the states, in the order of `scores`.
      goal: whose truth they are held against.
      scores: as `score_states` gives them.
      alphas: of the first axis.
      cameras: of the last axis; a row is of the mean over it.
      labels: `predicate` or `human`; states that nobody labelled are left out.
      each_camera: rows of each camera alone besides.
      resamples: of the bootstrap, which draws whole episodes.
      seed: of the bootstrap.

    Returns:
      Rows with goal, camera, alpha, epic, auc and epic_graded (to the graded truth; NaN for people's labels), each of
      the three with `_low` and `_high`, n states, positives and groups.

    Raises:
      ConfigError: the labels are missing, or all states are alike.
    """
    holds, known = dataset.truth(goal, labels)
    holds = holds[known]
    if holds.all() or not holds.any():
        which = "every" if holds.size and holds.all() else "no"
        raise ConfigError(f"{which} labelled state is a state of {goal!r}: there is nothing to compare")
    resampler = Resampler(dataset.groups[known], resamples=resamples, seed=seed)
    graded = dataset.graded.get(goal) if labels == "predicate" else None
    if graded is not None:
        graded = graded[known] if np.all(np.isfinite(graded)) else None
    means = {"+".join(cameras): scores[:, known].mean(-1)}
    if each_camera and len(cameras) > 1:
        means |= {camera: scores[:, known, place] for place, camera in enumerate(cameras)}
    unknown = Interval(float("nan"), float("nan"), float("nan"))
    return [
        {
            "goal": goal,
            "camera": camera,
            "alpha": float(alpha),
            **_named("epic", resampler.distance(values, holds)),
            **_named("auc", resampler.auc(values, holds)),
            **_named("epic_graded", unknown if graded is None else resampler.distance(values, graded)),
            "n": int(holds.size),
            "positives": int(holds.sum()),
            "groups": resampler.count,
        }
        for camera, of_alphas in means.items()
        for alpha, values in zip(alphas, of_alphas, strict=True)
    ]


def histogram(
    values: Float[np.ndarray, " n"], holds: Bool[np.ndarray, " n"], bins: int = 40
) -> dict[str, Any]:
    """How rewards of goal states and of others are distributed: edges [bins + 1], counts of both, and their means."""
    edges = np.histogram_bin_edges(values.astype(np.float64), bins)
    return {
        "edges": edges.tolist(),
        "goal_counts": np.histogram(values[holds], edges)[0].tolist(),
        "other_counts": np.histogram(values[~holds], edges)[0].tolist(),
        "goal_mean": float(values[holds].mean()),
        "other_mean": float(values[~holds].mean()),
    }


def _named(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
