"""Policies as vectors: any pytree of parameters flattened and back, and weighted averages of many.

A bank of policies is one pytree whose leaves lead with the number of policies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxvlm.errors import ConfigError


@dataclass(frozen=True)
class PolicySpec:
    """What a flattened policy holds, in order: names, shapes and dtypes of its leaves. Hashable."""

    names: tuple[str, ...]  # paths, as in "params/Linear_0/kernel"
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    treedef: Any

    @property
    def size(self) -> int:
        """Numbers in the vector."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    def slices(self) -> dict[str, slice]:
        """Where each leaf lies in the vector, by name."""
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])
        starts = np.concatenate([[0], ends[:-1]])
        return {name: slice(int(a), int(b)) for name, a, b in zip(self.names, starts, ends, strict=True)}


def policy_spec(params: Any) -> PolicySpec:
    """The structure of a policy's parameters; raises `ConfigError` for a leaf that is no array of floats."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(params)
    names = tuple(jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves)
    for name, (_, leaf) in zip(names, leaves, strict=True):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ConfigError(
                f"parameter {name!r} holds {jnp.result_type(leaf)}; only floating-point parameters can be averaged"
            )
    if not leaves:
        raise ConfigError("the policy has no parameters")
    return PolicySpec(
        names=names,
        shapes=tuple(tuple(jnp.shape(leaf)) for _, leaf in leaves),
        dtypes=tuple(str(jnp.result_type(leaf)) for _, leaf in leaves),
        treedef=treedef,
    )


def check_same_structure(spec: PolicySpec, params: Any, name: str = "policy") -> None:
    """Raises `ConfigError` that names the first difference between a policy and a structure."""
    other = policy_spec(params)
    missing = [leaf for leaf in spec.names if leaf not in other.names]
    unknown = [leaf for leaf in other.names if leaf not in spec.names]
    if missing or unknown:
        what = f"lacks {missing[0]!r}" if missing else f"has {unknown[0]!r} besides"
        raise ConfigError(f"{name} {what}; policies of one bank need the same parameters")
    shapes = dict(zip(other.names, other.shapes, strict=True))
    for leaf, shape in zip(spec.names, spec.shapes, strict=True):
        if shapes[leaf] != shape:
            raise ConfigError(f"{name} has {leaf!r} of shape {shapes[leaf]}, the others {shape}")
    if other.treedef != spec.treedef:
        raise ConfigError(f"{name} has the same parameters as the others in another kind of container")


def flatten_policy(params: Any) -> Float[Array, " p"]:
    """All parameters as one float32 vector, in the order of `policy_spec(params).names`; vmap it over a bank."""
    return jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in jax.tree.leaves(params)])


def unflatten_policy(spec: PolicySpec, vector: Float[Array, " p"]) -> Any:
    """Inverse of `flatten_policy`, dtypes restored."""
    chex.assert_shape(vector, (spec.size,))
    leaves = [
        vector[place].reshape(shape).astype(dtype)
        for place, shape, dtype in zip(spec.slices().values(), spec.shapes, spec.dtypes, strict=True)
    ]
    return jax.tree.unflatten(spec.treedef, leaves)


def stack_policies(policies: Sequence[Any], names: Sequence[str] = ()) -> Any:
    """A bank of policies, leaves [n, ...].

    Args:
      policies: parameters of the same structure.
      names: what errors call them; the default is "policy 0" and so on.

    Raises:
      ConfigError: no policy, one of another structure, or one that is not finite.
    """
    if not policies:
        raise ConfigError("no policy to stack")
    named = names or [f"policy {k}" for k in range(len(policies))]
    spec = policy_spec(policies[0])
    for name, policy in zip(named, policies, strict=True):
        check_same_structure(spec, policy, name)
    bank = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *policies)
    validate_bank(bank, named)
    return bank


def validate_bank(bank: Any, names: Sequence[str] = ()) -> int:
    """The number of policies in a bank; raises `ConfigError` for leaves that disagree on it or are not finite."""
    spec = policy_spec(bank)
    counts = {shape[0] if shape else None for shape in spec.shapes}
    if len(counts) != 1 or None in counts:
        raise ConfigError(
            f"the leaves of a bank lead with the number of policies, but these with {sorted(map(str, counts))}"
        )
    count = int(next(iter(counts)) or 0)
    for leaf_name, leaf in zip(spec.names, jax.tree.leaves(bank), strict=True):
        bad = np.flatnonzero(~np.isfinite(np.asarray(leaf)).reshape(count, -1).all(axis=1))
        if bad.size:
            which = names[bad[0]] if len(names) == count else f"policy {bad[0]}"
            raise ConfigError(
                f"{which} has numbers in {leaf_name!r} that are not finite; train it anew or leave it out"
            )
    return count


def average_policies(bank: Any, weights: Float[Array, " n"]) -> Any:
    """Weighted sum of a bank's policies, leaf by leaf: sum_i w_i theta_i, accumulated in float32.

    Weights are used as they are; `similarity_weights` gives some that sum to one. vmap it over rows of weights.
    """
    chex.assert_rank(weights, 1)

    def average(leaf: jax.Array) -> jax.Array:
        flat = leaf.reshape(leaf.shape[0], -1).astype(jnp.float32)
        mean = jnp.matmul(weights, flat, precision=jax.lax.Precision.HIGHEST)
        return mean.reshape(leaf.shape[1:]).astype(leaf.dtype)

    return jax.tree.map(average, bank)
