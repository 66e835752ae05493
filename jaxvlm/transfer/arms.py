"""Where a new task starts from: one similarity of instructions to known policies for each arm of the experiment.

An arm is a way to weigh known policies for a new instruction. Those that need no weights (random starts) and those that
need no language (uniform, oracle) are the controls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.errors import ConfigError
from jaxvlm.transfer.alignment import (
    AlignConfig,
    align,
    predict,
    project,
    ridge,
    soft_targets,
    standardised,
    unit,
)

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class Sources:
    """What is known of n policies."""

    instructions: Leaf  # f32[n, d], unit embeddings
    parameters: Leaf  # f32[n, p], flattened policies
    behaviour: Leaf  # f32[n, b], what they do on probe states


@struct.dataclass
class Targets:
    """What is known of t new tasks: the instruction, and for the oracle alone how near each source really is."""

    instructions: Leaf  # f32[t, d]
    nearness: Leaf  # f32[t, n], more is nearer; read by the oracle arm only


@dataclass(frozen=True)
class Arm:
    """How an arm weighs known policies.

    `similarity(key, sources, targets, config) -> f32[t, n]`; None for arms that start from no known policy.
    `weighting` is that of `similarity_weights`; with "softmax" there is a temperature to choose. `scales` are those
    of the last layers of actor and critic where they are not chosen but part of what the arm is.
    """

    summary: str
    similarity: Callable[[jax.Array, Sources, Targets, AlignConfig], jax.Array] | None
    weighting: str = "softmax"
    scales: tuple[float, float] | None = None


def lossless(features: Float[Array, "n f"], others: Float[Array, "m f"] | None = None) -> Float[Array, "k c"]:
    """Standardised features in a basis of their own, of at most n dimensions: distances and products stay.

    With `others`, theirs in the same basis, which loses what they have outside it.
    """
    scaled, mean, scale = standardised(features)
    left, singular, right = jnp.linalg.svd(scaled, full_matrices=False)
    rotated = left * singular
    # As large as an instruction's embedding, so that both heads learn at the same speed.
    size = jnp.sqrt(jnp.mean(jnp.sum(rotated**2, axis=1)) + 1e-12)
    if others is not None:
        # Centred features leave directions empty, where what comes from elsewhere would be noise.
        full = (singular > 1e-5 * singular[0])[:, None]
        rotated = jnp.matmul((others - mean) / scale, jnp.where(full, right, 0.0).T, precision="highest")
    return rotated / size


def behaviour_likeness(behaviour: Float[Array, "n b"]) -> Float[Array, "n n"]:
    """Cosines between policies' behaviour about its mean over policies."""
    directions = unit(behaviour - jnp.mean(behaviour, axis=0))
    return jnp.matmul(directions, directions.T, precision="highest")


def _language(key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig) -> jax.Array:
    return jnp.matmul(targets.instructions, sources.instructions.T, precision="highest")


def _uniform(key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig) -> jax.Array:
    return jnp.zeros((targets.instructions.shape[0], sources.instructions.shape[0]))


def _oracle(key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig) -> jax.Array:
    return targets.nearness


def _aligned(
    key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig, policies: jax.Array
) -> jax.Array:
    """Cosines of instructions in the space that InfoNCE over pairs made: language to language, as the paper queries."""
    heads, _ = align(key, sources.instructions, policies, config)
    new, known = (project(heads.instruction_head, x) for x in (targets.instructions, sources.instructions))
    return jnp.matmul(new, known.T, precision="highest")


def _clip_rl(key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig) -> jax.Array:
    return _aligned(key, sources, targets, config, lossless(sources.parameters))


def _shuffled(key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig) -> jax.Array:
    key, key_order = jax.random.split(key)
    order = jax.random.permutation(key_order, sources.parameters.shape[0])
    return _aligned(key, sources, targets, config, lossless(sources.parameters[order]))


def _random_policies(key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig) -> jax.Array:
    key, key_noise = jax.random.split(key)
    count = sources.parameters.shape[0]
    return _aligned(key, sources, targets, config, lossless(jax.random.normal(key_noise, (count, count))))


def _behaviour(key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig) -> jax.Array:
    return _aligned(key, sources, targets, config, lossless(sources.behaviour))


def _soft(key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig) -> jax.Array:
    """InfoNCE whose targets say how alike policies behave; a new instruction is compared with policies."""
    policies = lossless(sources.behaviour)
    wanted = soft_targets(behaviour_likeness(sources.behaviour), 0.2)
    heads, _ = align(key, sources.instructions, policies, config, wanted)
    new, known = project(heads.instruction_head, targets.instructions), project(heads.policy_head, policies)
    return jnp.matmul(new, known.T, precision="highest")


def _ridge(key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig) -> jax.Array:
    """Behaviour predicted from the instruction, compared with that of the known policies."""
    fitted = ridge(sources.instructions, sources.behaviour, 0.1)
    mean = jnp.mean(sources.behaviour, axis=0)
    new = unit(predict(fitted, targets.instructions) - mean)
    return jnp.matmul(new, unit(sources.behaviour - mean).T, precision="highest")


ARMS: MappingProxyType[str, Arm] = MappingProxyType(
    {
        "random": Arm("a fresh policy", None),
        "random-silent": Arm("a fresh policy whose critic says 0", None, scales=(1.0, 0.0)),
        "uniform": Arm("the mean of all known policies", _uniform, "plain"),
        "language-nearest": Arm("the policy of the most similar sentence", _language, "nearest"),
        "language": Arm("known policies weighed by similarity of sentences", _language),
        "clip-rl-identity": Arm("the paper's plain weights without heads", _language, "plain"),
        "clip-rl": Arm("InfoNCE of sentences and flattened policies", _clip_rl),
        "clip-rl-shuffled": Arm("the same on pairs put together by chance", _shuffled),
        "clip-rl-noise": Arm("the same with noise in place of policies", _random_policies),
        "soft-target": Arm("InfoNCE whose targets are likeness of behaviour", _soft),
        "ridge": Arm("behaviour predicted from the sentence", _ridge),
        "reptile": Arm("a start meta-learned on the known tasks", None),
        "oracle": Arm("known policies weighed by how near their goals are", _oracle),
        "clip-rl-behaviour": Arm("InfoNCE of sentences and what policies do in the probe states", _behaviour),
    }
)
# Those of the default experiment; the rest belong to open questions.
USUAL = tuple(name for name in ARMS if name != "clip-rl-behaviour")


def arm_similarity(
    name: str, key: jax.Array, sources: Sources, targets: Targets, config: AlignConfig
) -> Float[Array, "t n"]:
    """Similarity of each target to each source by an arm; pure, for the caller to jit.

    Raises `ConfigError` for an unknown arm or one that weighs nothing.
    """
    if name not in ARMS:
        raise ConfigError(f"unknown arm {name!r}; choose of {', '.join(ARMS)}")
    chosen = ARMS[name].similarity
    if chosen is None:
        raise ConfigError(f"arm {name!r} starts from no known policy, so it has no similarities")
    return chosen(key, sources, targets, config)
