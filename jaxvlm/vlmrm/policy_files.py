"""Agents as small files: what they act with, and nothing that only their training needs.

    runs/<name>/policies.safetensors    actor/params/Linear_0/kernel  f32[seed, ...]   of SAC
                                        params/params/Linear_0/kernel  f32[seed, ...]   of DQN
                                        hyper/...                     f32[seed]        of either
    runs/<name>/policies/12000.safetensors    the same, of the agents as they were after 12,000 steps

The first holds a run's best agents. The others are kept along the whole training, at most `--keep-policies` of them: a
whole checkpoint holds the replay buffer, so of these there are two. Which steps they are of follows from the
configuration alone, so a run that was killed and resumed has the same ones as one that never stopped. One that is
trained longer keeps those of before beside the new ones.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxvlm.errors import RunError
from jaxvlm.runtime import Run
from jaxvlm.runtime.files import reason, replace_file
from jaxvlm.vlmrm.config import TrainConfig

FILE = "policies.safetensors"
FOLDER = "policies"
PARTS = ("actor", "params", "hyper")  # of `SACState` and `DQNState`: what `act` reads


def write_policies(path: Path, run: Run, agent: Any, step: int) -> Path:
    """Writes what agents act with, whole or not at all.

    Args:
      path: the file.
      run: whose task and seeds it names.
      agent: agent states, leading axis seed.
      step: environment steps after which they were so.

    Raises:
      RunError: the folder cannot be written or the disk is full; an earlier file is left as it was.
    """
    from safetensors.numpy import save

    leaves = {name: np.asarray(leaf) for name, leaf in _named(agent).items() if _acts(name)}
    config = run.config
    about = {
        "format": "jaxvlm policies 1",
        "task": str(config.get("task", "")),
        "first_seed": str(config.get("seed", 0)),
        "step": str(step),
    }
    data = save(leaves, metadata=about)
    return replace_file(path, lambda draft: Path(draft).write_bytes(data))


def read_policies(path: Path, template: Any) -> Any:
    """Agents from a file. All that `act` does not read is NaN, or 0 where it counts: they can play and not learn.

    Args:
      path: the file.
      template: agent states, leading axis seed, of which shapes and dtypes count.

    Raises:
      RunError: it cannot be read, or is of another configuration.
    """
    found = _read(path, lambda opened: {name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
    wanted = _named(template)
    different = set(found) ^ set(filter(_acts, wanted))
    if different:
        raise RunError(
            f"{path} and the run's configuration differ in {sorted(different)[0]}: use the version it was made with"
        )
    leaves = []
    for name, leaf in wanted.items():
        if name not in found:
            missing = np.nan if np.issubdtype(leaf.dtype, np.floating) else 0
            leaves.append(np.full(leaf.shape, missing, leaf.dtype))
            continue
        if (found[name].shape, found[name].dtype) != (leaf.shape, leaf.dtype):
            raise RunError(
                f"{path}: {name} is {found[name].dtype}{list(found[name].shape)}, expected "
                f"{leaf.dtype}{list(leaf.shape)}; use the configuration it was made with"
            )
        leaves.append(found[name])
    return jax.tree.unflatten(jax.tree.structure(template), leaves)


def read_step(path: Path) -> int:
    """Environment steps after which the agents of a file were written; raises `RunError` where it cannot be read."""
    return _read(path, lambda opened: int((opened.metadata() or {})["step"]))


def kept_file(run: Run, step: int) -> Path:
    """The file of the agents as they were after `step` environment steps."""
    return run.path / FOLDER / f"{step}.safetensors"


def kept_steps(run: Run) -> list[int]:
    """Steps of whose agents a run keeps a file, ascending; none in runs of earlier versions."""
    found = (path.stem for path in (run.path / FOLDER).glob("*.safetensors"))
    return sorted(int(stem) for stem in found if stem.isdigit())


def kept_iterations(config: TrainConfig) -> set[int]:
    """Iterations after which agents are kept: at most `keep_policies`, as far apart as can be, the last one of them."""
    most, last = config.keep_policies, config.iterations
    return {-(-last * place // most) for place in range(1, most + 1)}


def discard_kept_after(run: Run, step: int) -> None:
    """Forgets the kept agents after `step`, which a resumed run writes again, and what a killed one left half done."""
    later = [kept_file(run, kept) for kept in kept_steps(run) if kept > step]
    for path in (*later, *(run.path / FOLDER).glob(".*.safetensors")):
        with contextlib.suppress(OSError):
            path.unlink()


def _named(agent: Any) -> dict[str, Any]:
    """Leaves by their path, such as actor/params/Linear_0/kernel, in the tree's order."""
    leaves = jax.tree_util.tree_flatten_with_path(agent)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _acts(name: str) -> bool:
    return name.partition("/")[0] in PARTS


def _read(path: Path, what: Callable[[Any], Any]) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as opened:
            return what(opened)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(
            f"{path} cannot be read ({reason(error)}); fetch it again, or train the run anew"
        ) from error
