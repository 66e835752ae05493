"""Whether an alignment did what it was meant to: a figure for each way in which CLIP-RL says that it can fail.

* Collapse: all instructions land in one place of the shared space. Spread is the variance of their unit vectors,
  summed over dimensions: 0 where all are one, 1 where they cancel out.
* Linguistic bias: the space only repeats what the sentence encoder said. Spearman's rank correlation of new-to-known
  similarities with those of the raw sentence embeddings, and beside it with how near the goals really are.
* Memory instead of alignment: pairs are found only if they were trained on. Share of instructions whose own policy is
  the most similar of all, among the known pairs and among held-out ones, which chance finds in one of as many.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from jaxvlm.transfer.alignment import AlignConfig, align, project, soft_targets
from jaxvlm.transfer.arms import Sources, Targets, behaviour_likeness, lossless

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@dataclass(frozen=True)
class Alignment:
    """What an arm's alignment is trained on."""

    summary: str
    shuffled: bool = False
    behaviour: bool = False  # features and soft targets of what policies do, in place of their parameters


ALIGNMENTS = {
    "clip-rl": Alignment("pairs of instructions and flattened policies"),
    "clip-rl-shuffled": Alignment("pairs put together by chance", shuffled=True),
    "soft-target": Alignment("instructions and behaviour, likeness as target", behaviour=True),
}


@struct.dataclass
class Diagnostics:
    """Figures of one alignment; all scalars."""

    loss: Leaf  # at the last step
    spread: Leaf  # of known instructions in the shared space, 0 to 1
    spread_raw: Leaf  # of their sentence embeddings
    rank_language: Leaf  # Spearman, new-to-known similarities against those of raw sentences, -1 to 1
    rank_truth: Leaf  # the same against nearness of goals
    retrieval_known: Leaf  # share of known instructions that find their own policy
    retrieval_held: Leaf  # the same on pairs that were not trained on
    chance_held: Leaf  # what guessing would find of them


def spread(vectors: Float[Array, "n e"]) -> Float[Array, ""]:
    """Variance of vectors over the batch, summed over dimensions."""
    return jnp.sum(jnp.var(vectors, axis=0))


def rank_correlation(a: Float[Array, "t n"], b: Float[Array, "t n"]) -> Float[Array, ""]:
    """Spearman's rank correlation, its mean over rows; ties share their mean rank, a constant row counts as 0."""

    def ranks(row: jax.Array) -> jax.Array:
        below = jnp.sum(row[None, :] < row[:, None], axis=1)
        upto = jnp.sum(row[None, :] <= row[:, None], axis=1)
        return 0.5 * (below + upto + 1.0)

    def one(x: jax.Array, y: jax.Array) -> jax.Array:
        x, y = (ranks(row) - 0.5 * (row.shape[0] + 1.0) for row in (x, y))
        length = jnp.sqrt(jnp.sum(x * x) * jnp.sum(y * y))
        return jnp.where(length > 0, jnp.sum(x * y) / jnp.where(length > 0, length, 1.0), 0.0)

    return jnp.mean(jax.vmap(one)(a, b))


def retrieval(instructions: Float[Array, "n e"], policies: Float[Array, "n e"]) -> Float[Array, ""]:
    """Share of instructions that are more similar to their own policy than to any other."""
    similarity = jnp.matmul(instructions, policies.T, precision="highest")
    others = jnp.where(jnp.eye(similarity.shape[0], dtype=bool), -jnp.inf, similarity)
    return jnp.mean(jnp.diag(similarity) > jnp.max(others, axis=1))


def diagnose(
    name: str, key: jax.Array, known: Sources, held: Sources, targets: Targets, config: AlignConfig
) -> Diagnostics:
    """Trains an arm's alignment as `arm_similarity` does with the same key, and looks at it; pure, for you to jit.

    Args:
      name: of `ALIGNMENTS`.
      key: the arm's own, of the heads and of chance.
      known: pairs that are trained on.
      held: pairs that are not, of the same tasks as `targets`.
      targets: instructions and nearness of the held-out tasks.
      config: of the alignment.
    """
    which = ALIGNMENTS[name]
    order = jnp.arange(known.instructions.shape[0])
    if which.shuffled:
        key, key_order = jax.random.split(key)
        order = jax.random.permutation(key_order, order)
    seen, unseen = (
        (known.behaviour, held.behaviour) if which.behaviour else (known.parameters, held.parameters)
    )
    wanted = soft_targets(behaviour_likeness(known.behaviour), 0.2) if which.behaviour else None
    heads, losses = align(key, known.instructions, lossless(seen[order]), config, wanted)
    words = [project(heads.instruction_head, side.instructions) for side in (known, held)]
    policies = [
        project(heads.policy_head, features)
        for features in (lossless(seen[order]), lossless(seen[order], unseen))
    ]
    similarity = jnp.matmul(words[1], (policies[0] if which.behaviour else words[0]).T, precision="highest")
    raw = jnp.matmul(targets.instructions, known.instructions.T, precision="highest")
    return Diagnostics(
        loss=losses[-1],
        spread=spread(words[0]),
        spread_raw=spread(known.instructions),
        rank_language=rank_correlation(similarity, raw),
        rank_truth=rank_correlation(similarity, targets.nearness),
        retrieval_known=retrieval(words[0], policies[0]),
        retrieval_held=retrieval(words[1], policies[1]),
        chance_held=jnp.float32(1.0 / held.instructions.shape[0]),
    )
