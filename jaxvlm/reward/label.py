"""Labelling whole rollouts: draw, encode and score scenes in chunks of bounded memory."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float, Int

from jaxvlm.errors import ConfigError
from jaxvlm.render import draw_batch
from jaxvlm.reward.similarity import (
    goal_baseline,
    sigmoid_similarity,
    softmax_negatives,
    validate_alpha,
    validate_phases,
)


@struct.dataclass
class RewardParams:
    """Everything numeric that a reward depends on; an argument of the training program, so none of it recompiles."""

    clip: Any  # variables of the CLIP module, {"params": ...}; the image tower's suffice
    goal: jax.Array  # f32[e], mean of normalised goal prompt embeddings; f32[phase, e] in a task of phases
    baseline: jax.Array  # f32[e], mean of normalised baseline prompt embeddings
    alpha: jax.Array  # f32[], goal-baseline regularisation in [0, 1]
    negatives: jax.Array | None  # f32[k, e], normalised; given, they select the softmax
    temperature: jax.Array  # f32[], of the softmax over goal and negatives
    assets: Any  # look of the scenes, as `env.assets(look)` gives it
    cameras: Any  # pytree of cameras with a leading axis of views; rewards average over it
    logit_scale: jax.Array | None = (
        None  # f32[], log of the factor of SigLIP's sigmoid; given, it selects the sigmoid
    )
    logit_bias: jax.Array | None = None  # f32[], added inside the sigmoid


def make_reward_params(
    clip_params: Any,
    embed: Callable[[Sequence[str]], Float[Array, "p e"]],
    *,
    goal_prompts: Sequence[str],
    then_prompts: Sequence[str] = (),
    baseline_prompts: Sequence[str] = (),
    negative_prompts: Sequence[str] = (),
    alpha: float = 0.0,
    temperature: float = 0.01,
    sigmoid: bool = False,
    assets: Any,
    cameras: Sequence[Any],
) -> RewardParams:
    """Embeds the prompts once and packs what `label` needs.

    Args:
      clip_params: variables of the CLIP module.
      embed: maps prompts to normalised embeddings, f32[p, e].
      goal_prompts: at least one; their embeddings are averaged and, as in VLM-RM, not renormalised.
      then_prompts: one for each later phase of a task of several, whose first phase has the goal prompts; `label` then
        wants to know the phase of each scene. Baseline, negatives and alpha are those of all phases.
      baseline_prompts: needed where alpha is above 0.
      negative_prompts: where given, the reward is the softmax probability of the goal among them.
      alpha: goal-baseline regularisation strength in [0, 1].
      temperature: of the softmax, above 0.
      sigmoid: the reward is the sigmoid of the similarity with `logit_scale` and `logit_bias` of the CLIP, which SigLIP
        and a few other checkpoints have; several goal prompts are averaged, and the mean renormalised, inside it.
      assets: the look of the scenes.
      cameras: at least one view.

    Raises:
      ConfigError: prompts, alpha or temperature that cannot work; `sigmoid` with a CLIP that has no `logit_bias`.
    """
    alpha = validate_alpha(alpha)
    validate_phases(goal_prompts, then_prompts, baseline_prompts, negative_prompts, alpha, sigmoid)
    if not 0 < temperature < float("inf"):
        raise ConfigError(f"temperature is {temperature!r}; the softmax over prompts needs one above 0")
    if not cameras:
        raise ConfigError("no camera is given; name at least one view")
    logits: dict[str, jax.Array] = {}
    if sigmoid:
        for name in ("logit_scale", "logit_bias"):
            if name not in clip_params["params"]:
                raise ConfigError(
                    f"sigmoid is set, but the CLIP has no {name}: only models trained with SigLIP's loss have one; "
                    "choose such a checkpoint or leave sigmoid out"
                )
            logits[name] = jnp.asarray(clip_params["params"][name], jnp.float32)
    goal = jnp.mean(embed(goal_prompts), axis=0)
    # Without baseline prompts alpha is 0, where the baseline has no weight.
    baseline = jnp.mean(embed(baseline_prompts), axis=0) if baseline_prompts else jnp.zeros_like(goal)
    return RewardParams(
        clip=clip_params,
        goal=jnp.concatenate([goal[None], embed(then_prompts)]) if then_prompts else goal,
        baseline=baseline,
        alpha=jnp.float32(alpha),
        negatives=embed(negative_prompts) if negative_prompts else None,
        temperature=jnp.float32(temperature),
        assets=assets,
        cameras=jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *cameras),
        **logits,
    )


def phases_of(params: RewardParams) -> int:
    """How many phases a reward has: 1 where one goal serves a whole episode."""
    return params.goal.shape[0] if params.goal.ndim == 2 else 1


def in_phase(params: RewardParams, phase: int) -> RewardParams:
    """The reward of one phase alone, as that of a task without phases; of such a task itself in any phase."""
    return replace(params, goal=params.goal[phase]) if params.goal.ndim == 2 else params


def score(
    params: RewardParams, embeddings: Float[Array, "*batch e"], phases: Int[Array, "*batch"] | None = None
) -> Float[Array, "*batch"]:
    """Scores image embeddings of any leading shape against the prompts in `params`.

    `phases` says which of its goals counts for each; a reward of one goal has no use for it.

    Raises:
      ConfigError: a reward of several phases without `phases`.
    """
    if params.goal.ndim == 1:
        goals, axis = params.goal, None
    elif phases is None:
        raise ConfigError(
            f"the reward has {params.goal.shape[0]} phases; say which one each state belongs to, or take one `in_phase`"
        )
    else:
        goals, axis = params.goal[phases.reshape(-1)], 0

    def one(state: jax.Array, goal: jax.Array) -> jax.Array:
        if params.logit_scale is not None and params.logit_bias is not None:
            return sigmoid_similarity(state, goal, params.logit_scale, params.logit_bias)
        if params.negatives is None:
            return goal_baseline(state, goal, params.baseline, params.alpha)
        return softmax_negatives(state, goal, params.negatives, params.temperature)

    with jax.default_matmul_precision("highest"):
        flat = jax.vmap(one, in_axes=(0, axis))(embeddings.reshape(-1, embeddings.shape[-1]), goals)
    return flat.reshape(embeddings.shape[:-1])


def encode_scenes(
    params: RewardParams,
    scenes: Any,
    *,
    encode: Callable[[Any, jax.Array], jax.Array],
    render: Callable[[Any, Any, Any, int], jax.Array],
    size: int,
    chunk: int,
) -> Float[Array, "m v e"]:
    """Draws and encodes scenes, leaves [m, ...], from every camera, `chunk` frames at a time.

    The last chunk is padded, so that one program serves all of them and memory is bounded by the chunk.
    """
    num_scenes = jax.tree.leaves(scenes)[0].shape[0]
    num_views = jax.tree.leaves(params.cameras)[0].shape[0]
    per_chunk = max(1, min(chunk // num_views, num_scenes))
    num_chunks = -(-num_scenes // per_chunk)
    padding = num_chunks * per_chunk - num_scenes

    def to_chunks(leaf: jax.Array) -> jax.Array:
        padded = (
            jnp.concatenate([leaf, jnp.broadcast_to(leaf[:1], (padding, *leaf.shape[1:]))])
            if padding
            else leaf
        )
        return padded.reshape(num_chunks, per_chunk, *leaf.shape[1:])

    def one_chunk(chunk_scenes: Any) -> jax.Array:
        with jax.named_scope("render"), jax.default_matmul_precision("highest"):
            frames = draw_batch(render, chunk_scenes, params.assets, params.cameras, size)
        with jax.named_scope("encode"):
            embeddings = encode(params.clip, frames.reshape(-1, size, size, 3))
        return embeddings.reshape(per_chunk, num_views, -1)

    embeddings = jax.lax.map(one_chunk, jax.tree.map(to_chunks, scenes))
    return embeddings.reshape(num_chunks * per_chunk, num_views, -1)[:num_scenes]


def embed_scenes(
    params: RewardParams,
    scenes: Any,
    *,
    encode: Callable[[Any, jax.Array], jax.Array],
    render: Callable[[Any, Any, Any, int], jax.Array],
    size: int,
    chunk: int,
    batch_ndim: int = 2,
) -> Float[Array, "*batch v e"]:
    """`encode_scenes` of scenes with `batch_ndim` leading axes; arguments are those of `label`."""
    batch_shape = jax.tree.leaves(scenes)[0].shape[:batch_ndim]
    # The product and not -1: a leaf may be empty (a scene without cameras of its own).
    flat = jax.tree.map(lambda leaf: leaf.reshape(math.prod(batch_shape), *leaf.shape[batch_ndim:]), scenes)
    embeddings = encode_scenes(params, flat, encode=encode, render=render, size=size, chunk=chunk)
    return embeddings.reshape(*batch_shape, *embeddings.shape[1:])


def score_views(
    params: RewardParams, embeddings: Float[Array, "*batch v e"], phases: Int[Array, "*batch"] | None = None
) -> Float[Array, "*batch"]:
    """Rewards of scenes whose views are embedded: the mean of the views' scores; `phases` as for `label`."""
    with jax.named_scope("score"):
        if phases is not None:  # the same from every view
            phases = jnp.broadcast_to(phases[..., None], embeddings.shape[:-1])
        return jnp.mean(score(params, embeddings, phases), axis=-1)


def label(
    params: RewardParams,
    scenes: Any,
    *,
    encode: Callable[[Any, jax.Array], jax.Array],
    render: Callable[[Any, Any, Any, int], jax.Array],
    size: int,
    chunk: int,
    batch_ndim: int = 2,
    phases: Int[Array, "*batch"] | None = None,
) -> Float[Array, "*batch"]:
    """Rewards of scenes by their pictures: draws, encodes and scores, averaged over views.

    Args:
      params: towers, prompt embeddings, look and cameras.
      scenes: pytree of scenes; every leaf leads with the same batch axes, say [time, environment].
      encode: `(clip_params, u8[b, size, size, 3]) -> f32[b, e]`.
      render: `(scene, assets, camera, size) -> f32[size, size, 3]`, unbatched.
      size: side of a frame in pixels, the tower's own.
      chunk: frames drawn and encoded at a time.
      batch_ndim: how many leading axes are batch axes.
      phases: i32, which phase each scene belongs to, of the batch shape; for a reward of several.

    Returns:
      f32 rewards of the batch shape.
    """
    embeddings = embed_scenes(
        params, scenes, encode=encode, render=render, size=size, chunk=chunk, batch_ndim=batch_ndim
    )
    return score_views(params, embeddings, phases)
