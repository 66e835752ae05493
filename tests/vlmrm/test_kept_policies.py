"""Agents that travel without their checkpoints play as those in the checkpoint do."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from envs.registry import make_task
from jaxvlm.errors import RunError
from jaxvlm.runtime import Run
from jaxvlm.vlmrm import load_policy
from jaxvlm.vlmrm.policies import (
    agent_after,
    best_agent,
    best_step,
    came_without_checkpoints,
    save_policies,
    step_called,
    steps_along,
)
from jaxvlm.vlmrm.policy_files import FILE, discard_kept_after, kept_file, kept_iterations, kept_steps
from jaxvlm.vlmrm.train import init_state, iterate, save_best, start
from tests.vlmrm.conftest import build_random, tiny_config


def kept_run(built, folder):
    """A run whose best checkpoint is its first state, and that state."""
    state = init_state(built)
    state = replace(state, best=replace(state.best, reward=jnp.ones(2)))
    run = Run.create(built.program.config.to_dict(), name="run", runs_dir=folder)
    save_best(run, 40, state)
    (run.path / "checkpoints" / "40").mkdir()
    return run, state.best.agent


def without_checkpoints(run, folder):
    """What is left of a run that is passed on with its agents alone."""
    alone = Run.create(run.config, name="alone", runs_dir=folder)
    (alone.path / FILE).write_bytes((run.path / FILE).read_bytes())
    return alone


def other(task):
    """An environment and its parameters that the run is not of, with actions of the same kind."""
    there = make_task("gridworld-red-ball" if task == "cartpole" else "humanoid-kneeling")
    return there.env, there.params


@pytest.mark.slow
@pytest.mark.parametrize("task", ["cartpole", "mountain-car"])
def test_they_act_alike(task, tmp_path):
    """All that `act` does not read is NaN in them, so nothing that it reads is left out."""
    noisy = {"algorithm_action_noise": 0.3} if task == "mountain-car" else {}
    built = build_random(tiny_config(task, reward_reward="ground-truth", **noisy))
    run, agent = kept_run(built, tmp_path)
    assert not came_without_checkpoints(run)
    save_policies(run, agent, 40)
    alone = without_checkpoints(run, tmp_path)
    assert came_without_checkpoints(alone)
    assert (best_step(run), best_step(alone)) == (40, 40)
    found, checkpoint = best_agent(alone, built), best_agent(run, built)
    observation = jnp.linspace(-1.0, 1.0, 8).reshape(2, 4)[:, : 4 if task == "cartpole" else 2]
    keys = jax.random.split(jax.random.key(0), 2)
    for deterministic in (True, False):

        @jax.jit
        @jax.vmap
        def act(state, observation, key, deterministic=deterministic):
            return built.program.agent.act(state, observation, key, jnp.int32(500), deterministic)

        actions = [np.asarray(act(state, observation, keys)) for state in (agent, checkpoint, found)]
        np.testing.assert_array_equal(actions[0], actions[1])
        np.testing.assert_array_equal(actions[0], actions[2])
        assert np.isfinite(actions[2]).all()
    there = make_task(task)
    algorithm, loaded = load_policy(alone.path, there.env, there.params)
    first = [jax.tree.map(lambda leaf: leaf[0], state) for state in (agent, loaded)]
    expected, action = (algorithm.act(state, observation[0], None, None, True) for state in first)
    np.testing.assert_array_equal(action, expected)
    with pytest.raises(RunError, match="use the"):
        load_policy(run, *other(task))
    assert (run.path / FILE).stat().st_size < sum(leaf.nbytes for leaf in jax.tree.leaves(agent))
    optimizer = found.actor_optimizer if task == "mountain-car" else found.optimizer
    assert all(np.isnan(leaf).all() for leaf in jax.tree.leaves(optimizer) if leaf.dtype == np.float32)


def test_files_of_other_agents_are_refused(built, tmp_path):
    run, agent = kept_run(built, tmp_path)
    save_policies(run, agent, 40)
    alone = without_checkpoints(run, tmp_path)
    leaves = load_file(alone.path / FILE)
    first = min(leaves)
    for changed, words in (
        ({**leaves, first: leaves[first][:1]}, f"{first} is float32"),
        ({name: leaf for name, leaf in leaves.items() if name != first}, f"differ in {first}"),
        ({**leaves, "actor/more": leaves[first]}, "differ in actor/more"),
    ):
        save_file(changed, alone.path / FILE, metadata={"step": "40"})
        with pytest.raises(RunError, match="made with") as error:
            best_agent(alone, built)
        assert words in str(error.value)
    (alone.path / FILE).write_bytes((run.path / FILE).read_bytes()[:-100])
    for read in (lambda: best_agent(alone, built), lambda: best_step(alone)):
        with pytest.raises(RunError, match=r"policies.safetensors cannot be read .*; fetch it again"):
            read()


def test_a_run_with_neither_says_so(built, tmp_path):
    run = Run.create(built.program.config.to_dict(), name="run", runs_dir=tmp_path)
    assert best_step(run) is None
    assert not came_without_checkpoints(run)
    with pytest.raises(RunError, match="before its first checkpoint: resume it"):
        best_agent(run, built)


def test_a_file_beside_checkpoints_may_be_of_an_earlier_time(built, tmp_path):
    """A run that was evaluated, trained on and then lost its best checkpoint: better none than other agents."""
    run, agent = kept_run(built, tmp_path)
    save_policies(run, agent, 40)
    assert best_step(run) == 40
    shutil.rmtree(run.path / "checkpoints" / "best")
    assert best_step(run) is None
    with pytest.raises(RunError, match="no best checkpoint"):
        best_agent(run, built)


def test_a_full_disk_is_one_clear_error(built, tmp_path, monkeypatch):
    run, agent = kept_run(built, tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(RunError, match=r"cannot write .*policies.safetensors: no space left"):
        save_policies(run, agent, 40)
    assert not list(run.path.glob("*policies*"))


@pytest.mark.parametrize(
    ("iterations", "most", "kept"),
    [
        (6, 4, [2, 3, 5, 6]),
        (6, 6, [1, 2, 3, 4, 5, 6]),
        (4, 20, [1, 2, 3, 4]),
        (115, 5, [23, 46, 69, 92, 115]),
        (115, 0, []),
    ],
)
def test_agents_are_kept_evenly(iterations, most, kept):
    config = tiny_config(steps=30 * iterations, keep_policies=most)
    assert config.iterations == iterations
    assert sorted(kept_iterations(config)) == kept


def test_a_step_is_looked_for_in_files_and_checkpoints(tmp_path):
    run = Run.create({}, name="run", runs_dir=tmp_path)
    assert steps_along(run) == kept_steps(run) == []
    with pytest.raises(RunError, match="no agents of step 40: leave --checkpoint out"):
        step_called(run, "40")
    for step in (60, 90):
        (run.path / "checkpoints" / str(step)).mkdir()
    assert steps_along(run) == [60, 90]  # of an earlier version
    (run.path / "policies").mkdir()
    for name in ("20", "40", "80", ".80.x1", "notes"):
        (run.path / "policies" / f"{name}.safetensors").touch()
    # Stopped after 90 steps, which were none of those that are kept.
    assert steps_along(run) == [20, 40, 80, 90]
    assert [step_called(run, name) for name in ("last", "40", "60")] == [90, 40, 60]
    with pytest.raises(RunError, match="no agents of step 50: choose one of 20, 40, 60, 80, 90"):
        step_called(run, "50")
    shutil.rmtree(run.path / "checkpoints")
    assert step_called(run, "last") == 80  # as it was passed on
    discard_kept_after(run, 40)
    left = ["20.safetensors", "40.safetensors", "notes.safetensors"]
    assert sorted(path.name for path in (run.path / "policies").iterdir()) == left


@pytest.mark.slow
def test_kept_agents_are_those_of_the_checkpoints_and_come_back(tmp_path):
    """Of a run that was killed after its last agents were kept and before their checkpoint was."""
    built = build_random(tiny_config(reward_reward="ground-truth", checkpoint_every=1, keep_policies=3))
    run = Run.create(built.program.config.to_dict(), name="run", runs_dir=tmp_path)
    list(iterate(start(built), [run], [], lambda: False))
    kept = {step: load_file(kept_file(run, step)) for step in kept_steps(run)}
    assert list(kept) == [60, 90, 120]
    from_file = agent_after(run, built, 120)
    kept_file(run, 120).write_bytes(b"half")
    with pytest.raises(RunError, match=r"120.safetensors cannot be read"):
        agent_after(run, built, 120)
    kept_file(run, 120).unlink()
    from_checkpoint = agent_after(run, built, 120)
    for one, other in zip(*map(jax.tree.leaves, (from_file.params, from_checkpoint.params)), strict=True):
        np.testing.assert_array_equal(one, other)
    assert np.isnan(jax.tree.leaves(from_file.target_params)[0]).all()
    shutil.rmtree(run.path / "checkpoints" / "120")
    discard_kept_after(run, 90)
    list(iterate(start(built, run), [run], [], lambda: False))
    assert kept_steps(run) == list(kept)
    for name, leaf in load_file(kept_file(run, 120)).items():
        np.testing.assert_array_equal(leaf, kept[120][name])
