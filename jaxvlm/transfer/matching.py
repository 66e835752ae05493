"""Hidden units of one policy put into the order of another's: networks mean the same in any order of their units.

Weight matching (Ainsworth, Hayase and Srinivasa 2022, "Git Re-Basin", arXiv 2209.04836, algorithm 1), with signs for
odd activations: tanh(-x) = -tanh(x), so a unit may change sign with all that goes in and out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import linear_sum_assignment

from jaxvlm.errors import ConfigError


@dataclass(frozen=True)
class Units:
    """The hidden units of one layer: which axes of which parameters run over them.

    `axes` holds (name, axis), names as in `policy_spec`. A unit's sign flips all of them alike.
    """

    axes: tuple[tuple[str, int], ...]


def dense_units(params: Any) -> tuple[Units, ...]:
    """The hidden layers of every chain of dense layers in a pytree of parameters.

    A chain is what lies in one folder: entries with a `kernel` [in, out] and a `bias`, in the order of the numbers in
    their names; entries without a number at the end (several heads) all follow the last numbered one. Leading axes
    (ensembles) are not supported.

    Raises:
      ConfigError: a kernel that is no matrix, or layers whose sizes do not follow each other.
    """
    named = _leaves(params)
    chains: dict[str, list[str]] = {}
    for name, leaf in named.items():
        folder, _, last = name.rpartition("/")
        if last == "kernel":
            if leaf.ndim != 2:
                raise ConfigError(
                    f"{name!r} has shape {leaf.shape}; units are matched in dense layers, [in, out]"
                )
            chains.setdefault(folder.rpartition("/")[0], []).append(folder)
    units = []
    for folders in chains.values():
        numbered = sorted((f for f in folders if _number(f) is not None), key=lambda f: _number(f) or 0)
        heads = [f for f in folders if _number(f) is None]
        stages = [[f] for f in numbered] + ([heads] if heads else [])
        for (layer,), following in pairwise(stages):
            size = named[f"{layer}/kernel"].shape[1]
            for other in following:
                if named[f"{other}/kernel"].shape[0] != size:
                    raise ConfigError(
                        f"{layer!r} has {size} outputs but {other!r} takes {named[f'{other}/kernel'].shape[0]}"
                    )
            own = [(f"{layer}/kernel", 1), *([(f"{layer}/bias", 0)] if f"{layer}/bias" in named else [])]
            # A normalisation follows the layer of its number, with a scale and an offset for each unit.
            folder, _, _ = layer.rpartition("/")
            norm = f"{folder}/" * bool(folder) + f"LayerNorm_{_number(layer)}"
            own += [(f"{norm}/{leaf}", 0) for leaf in ("scale", "bias") if f"{norm}/{leaf}" in named]
            units.append(Units((*own, *((f"{other}/kernel", 0) for other in following))))
    return tuple(units)


def match_permutations(
    params: Any,
    reference: Any,
    units: Sequence[Units] | None = None,
    *,
    signs: bool = False,
    rounds: int = 100,
    seed: int = 0,
) -> Any:
    """Reorders hidden units so that parameters lie as near to a reference's as coordinate descent gets them.

    Layer by layer, in a random order and until nothing changes, the permutation is found that maximises the inner
    product with the reference (a linear assignment). The network computes what it computed before. Runs on the host.

    Args:
      params: parameters to reorder.
      reference: parameters of the same structure.
      units: what may be permuted; the default is `dense_units(params)`.
      signs: let units change sign as well; right for odd activations (tanh) only.
      rounds: passes over the layers at most.
      seed: of the order of the layers.

    Returns:
      Parameters like `params`, NumPy leaves.

    Raises:
      ConfigError: structures that differ, units whose axes disagree on their number, or signs of units that are
        normalised together.
    """
    from jaxvlm.transfer.policies import check_same_structure, policy_spec

    spec = policy_spec(reference)
    check_same_structure(spec, params, "the policy to reorder")
    layers = tuple(units) if units is not None else dense_units(params)
    ours, theirs = _leaves(params), _leaves(reference)
    for layer in layers:
        sizes = {ours[name].shape[axis] for name, axis in layer.axes}
        if len(sizes) != 1:
            raise ConfigError(f"units run over axes of {sorted(sizes)} entries: {layer.axes}")
        if signs and any("LayerNorm" in name for name, _ in layer.axes):
            raise ConfigError(
                f"signs of {layer.axes[0][0]!r} cannot change: a LayerNorm follows it, whose units depend on each "
                "other; "
                "match without signs"
            )
    generator = np.random.default_rng(seed)
    for _ in range(rounds):
        changed = False
        for index in generator.permutation(len(layers)):
            axes = layers[index].axes
            gain = np.sum(
                [_rows(theirs[name], axis) @ _rows(ours[name], axis).T for name, axis in axes], axis=0
            )
            order = linear_sum_assignment(np.abs(gain) if signs else gain, maximize=True)[1]
            best = gain[np.arange(len(order)), order]
            sign = np.where(best < 0, -1.0, 1.0) if signs else np.ones(len(order))
            now, then = np.trace(gain), float(np.sum(sign * best))
            if then > now + 1e-9 * max(1.0, abs(now)):
                changed = True
                for name, axis in axes:
                    shape = [-1 if k == axis else 1 for k in range(ours[name].ndim)]
                    ours[name] = np.take(ours[name], order, axis) * sign.reshape(shape)
        if not changed:
            break
    leaves = [ours[name].astype(dtype) for name, dtype in zip(spec.names, spec.dtypes, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(params), leaves)


def _leaves(params: Any) -> dict[str, np.ndarray]:
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(jnp.asarray(leaf), np.float64)
        for path, leaf in paths
    }


def _rows(leaf: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(leaf, axis, 0).reshape(leaf.shape[axis], -1)


def _number(name: str) -> int | None:
    found = re.search(r"(\d+)$", name)
    return int(found.group(1)) if found else None
