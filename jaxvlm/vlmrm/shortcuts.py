"""The image tower computed otherwise, where a run asks for it: scanned layers, 8-bit products, fewer patches."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jaxvlm.clip import covered_patches, quantise, stack_layers
from jaxvlm.clip.quantise import check_quantisation
from jaxvlm.render import draw_batch
from jaxvlm.rl import collect, env_keys, init_rollout
from jaxvlm.rl.rollout import random_policy
from jaxvlm.vlmrm.config import RewardSettings

EPISODES, ROWS = 32, 32  # of random actions that frames are drawn from
COMPARED = 64  # frames whose embeddings are compared


def with_shortcuts(
    tower: Any, settings: RewardSettings, env: Any, env_params: Any
) -> tuple[Any, tuple[str, ...]]:
    """The `Tower` as `settings` want it computed, and a note for each thing that moves its embeddings.

    `settings.patches` and `settings.quantise` are judged by frames of random actions, the same in every call.
    Raises ConfigError for a residual network, which neither is for, and where qwix is missing.
    """
    # The text tower has done its part.
    clip, params, notes = tower.clip, {"params": {"visual": tower.params["params"]["visual"]}}, []
    if settings.layers == "scanned" or settings.patches == "covered":
        clip.config.patched  # noqa: B018  # refuses a residual network before anything is drawn
    if settings.quantise != "none":
        check_quantisation(clip.config, settings.quantise)
    if settings.patches == "all" and settings.quantise == "none":
        if settings.layers == "scanned":
            clip, params = clip.clone(scan=True), stack_layers(params)
        return replace(tower, clip=clip, params=params), ()
    frames = random_frames(tower, settings, env, env_params)
    if settings.patches == "covered":
        views = [covered_patches(view, clip.config.patched.patch_size) for view in np.moveaxis(frames, 1, 0)]
        keep = tuple(sorted(set().union(*views)))
        clip = clip.clone(keep=keep)
        notes.append(
            f"--patches covered: {len(keep)} of {clip.config.num_patches} patches are kept, those where {EPISODES} "
            f"episodes of random actions show anything and their neighbours{compared(tower, clip, params, frames)}"
        )
    if settings.layers == "scanned":
        clip, params = clip.clone(scan=True), stack_layers(params)
    if settings.quantise != "none":
        clip, params = quantise(clip, params, settings.quantise)
        notes.append(f"--quantise {settings.quantise}{compared(tower, clip, params, frames)}")
    return replace(tower, clip=clip, params=params), tuple(notes)


def random_frames(
    tower: Any, settings: RewardSettings, env: Any, env_params: Any
) -> UInt8[np.ndarray, "n views size size 3"]:
    """What `EPISODES` episodes of random actions look like from every view of a run, `ROWS` steps of each."""
    cameras = [env.cameras[name] for name in settings.camera]
    views = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *cameras)

    @jax.jit
    def play(env_params: Any, assets: Any, views: Any) -> jax.Array:
        start_key, key = jax.random.split(jax.random.key(0))
        start = init_rollout(env, env_params, env_keys(start_key, EPISODES))
        policy = random_policy(env.action_space(env_params))
        with jax.default_matmul_precision("highest"):
            scene = collect(env, env_params, policy, start, key, ROWS, scenes=True)[1].scene
        # Row by row, so that memory is bounded.
        return jax.lax.map(lambda row: draw_batch(env.render, row, assets, views, tower.size), scene)

    frames = np.asarray(play(env_params, env.assets(settings.look), views))
    return frames.reshape(-1, *frames.shape[2:])


def compared(tower: Any, clip: Any, params: Any, frames: np.ndarray) -> str:
    """How far embeddings move, in words: the least cosine over a few frames."""
    flat = frames.reshape(-1, *frames.shape[2:])
    few = jnp.asarray(flat[np.linspace(0, len(flat) - 1, COMPARED).astype(int)])

    def embed(clip: Any, params: Any) -> np.ndarray:
        encode = jax.jit(lambda params, frames: clip.apply(params, frames, method="encode_image"))
        embeddings = np.asarray(encode(params, few))
        return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)

    cosine = (embed(tower.clip, tower.params) * embed(clip, params)).sum(-1)
    return (
        f"; cosine to the tower as it is: least {cosine.min():.4f}, median {np.median(cosine):.4f} "
        f"of {COMPARED} frames"
    )
