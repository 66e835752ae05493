"""The best agents of a run as one small file: what they act with, and nothing that only their training needs.

    runs/<name>/policies.safetensors    actor/params/Linear_0/kernel  f32[seed, ...]   of SAC
                                        params/params/Linear_0/kernel  f32[seed, ...]   of DQN
                                        hyper/...                     f32[seed]        of either

A run directory that was passed on without its checkpoints is played, shown, rated and searched for what fools its
reward from this file. Training cannot go on from it: critics, optimiser states and replay buffer are not in it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.errors import RunError
from jaxvlm.rl import DQN, SAC
from jaxvlm.runtime import Run
from jaxvlm.runtime.files import reason, replace_file
from jaxvlm.vlmrm.build import Built, build_agent
from jaxvlm.vlmrm.config import TrainConfig
from jaxvlm.vlmrm.program import Best
from jaxvlm.vlmrm.train import abstract_state

FILE = "policies.safetensors"
PARTS = ("actor", "params", "hyper")  # of `SACState` and `DQNState`: what `act` reads


def save_policies(run: Run, agent: Any, step: int) -> Path:
    """Writes what the best agents of a run act with.

    Args:
      run: the run directory, which holds them as its best checkpoint.
      agent: their states, leading axis seed.
      step: of that checkpoint.

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
    return replace_file(run.path / FILE, lambda draft: Path(draft).write_bytes(data))


def best_step(run: Run) -> int | None:
    """Environment steps after which the best agents were written; None where a run has none."""
    if not _from_file(run):
        best = run.checkpoints.best()
        return None if best is None else best[0]
    return _read(run, lambda opened: int((opened.metadata() or {})["step"]))


def best_agent(run: Run, built: Built) -> Any:
    """The best agents of a run: from its best checkpoint, or where it came without, from their file.

    In agents from the file all that `act` does not read is NaN, or 0 where it counts: they can play and not learn.

    Args:
      run: the run directory.
      built: what the run's configuration gives.

    Returns:
      Agent states, leading axis seed.

    Raises:
      RunError: there is neither, or it is damaged, or of another configuration.
    """
    return _restore(run, abstract_state(built).best)


def load_policy(run: Run | str | Path, env: Any, env_params: Any) -> tuple[DQN | SAC, Any]:
    """A run's algorithm and its best agents, to act with in code of one's own; neither a CLIP nor a buffer is loaded.

    ```python
    task = make_task("humanoid-kneeling", "compact")  # of envs.registry; the run's task and variant
    algorithm, agents = load_policy("runs/kneeling", task.env, task.params)
    agent = jax.tree.map(lambda leaf: leaf[0], agents)  # of the first seed
    action = algorithm.act(agent, observation, deterministic=True)
    ```

    Args:
      run: a run, or the path of its directory, with or without its checkpoints.
      env: the environment that it was trained in.
      env_params: its parameters.

    Returns:
      Pure functions, of which `act` is meant, and agent states with a leading axis seed, as `best_agent` gives them.

    Raises:
      RunError: the run cannot be read, or is of another environment.
    """
    run = run if isinstance(run, Run) else Run.open(run)
    config = TrainConfig.from_dict({name: value for name, value in run.config.items() if name != "sinks"})
    algorithm, hyper = build_agent(config, env, env_params)

    def start(seed: jax.Array) -> Best:
        agent = jax.vmap(algorithm.init, in_axes=(0, None))(jax.vmap(jax.random.key)(seed), hyper)
        return Best(agent=agent, reward=jnp.zeros(seed.shape), step=seed)

    return algorithm, _restore(run, jax.eval_shape(start, jnp.arange(config.seeds)))


def _restore(run: Run, template: Best) -> Any:
    """The agents of a run's best checkpoint, or of its file; `template` has shapes and dtypes."""
    if not _from_file(run):
        if run.checkpoints.best() is None and not run.checkpoints.steps():
            why = "stopped before its first checkpoint: resume it"
            if came_without_checkpoints(run):
                why = "passed on without them: train anew under another --name"
            raise RunError(f"run {run.path} has no agents; it was {why}")
        return run.checkpoints.restore_best(template)[0].agent
    found = _read(run, lambda opened: {name: opened.get_tensor(name) for name in opened.keys()})  # noqa: SIM118
    wanted = _named(template.agent)
    different = set(found) ^ set(filter(_acts, wanted))
    if different:
        raise RunError(
            f"{run.path / FILE} and the run's configuration differ in {sorted(different)[0]}: use the version it was "
            "made with"
        )
    leaves = []
    for name, leaf in wanted.items():
        if name not in found:
            missing = np.nan if np.issubdtype(leaf.dtype, np.floating) else 0
            leaves.append(np.full(leaf.shape, missing, leaf.dtype))
            continue
        if (found[name].shape, found[name].dtype) != (leaf.shape, leaf.dtype):
            raise RunError(
                f"{run.path / FILE}: {name} is {found[name].dtype}{list(found[name].shape)}, expected "
                f"{leaf.dtype}{list(leaf.shape)}; use the configuration it was made with"
            )
        leaves.append(found[name])
    return jax.tree.unflatten(jax.tree.structure(template.agent), leaves)


def came_without_checkpoints(run: Run) -> bool:
    """Whether a run was passed on without its checkpoints: there are results, and nothing to go on from."""
    results = (run.path / FILE).exists() or (run.path / "evaluation.json").exists()
    return not run.checkpoints.steps() and (results or run.checkpoints.best() is not None)


def _from_file(run: Run) -> bool:
    """Whether the file is what the agents are taken from: beside checkpoints it may be of an earlier time."""
    checkpoints = run.checkpoints
    return (run.path / FILE).exists() and checkpoints.best() is None and not checkpoints.steps()


def _named(agent: Any) -> dict[str, Any]:
    """Leaves by their path, such as actor/params/Linear_0/kernel, in the tree's order."""
    leaves = jax.tree_util.tree_flatten_with_path(agent)[0]
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _acts(name: str) -> bool:
    return name.partition("/")[0] in PARTS


def _read(run: Run, what: Callable[[Any], Any]) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(run.path / FILE, framework="numpy") as opened:
            return what(opened)
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise RunError(
            f"{run.path / FILE} cannot be read ({reason(error)}); fetch it again, or train the run anew"
        ) from error
