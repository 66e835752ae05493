"""Several tasks in one program, each with a run directory as if it had been trained alone."""

import gc
import json
import weakref
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from jaxvlm.cli import together
from jaxvlm.cli.session import train_on
from jaxvlm.errors import RunError
from jaxvlm.runtime import Run
from jaxvlm.vlmrm.policy_files import kept_steps
from tests.vlmrm.conftest import build_random, tiny_config

# From the environment's own reward, so that little has to be compiled.
CONFIG = tiny_config(reward_reward="ground-truth", checkpoint_every=1)


def train(folder, names=("one", "two")):
    return together.train_together([CONFIG] * len(names), names=names, runs_dir=folder, sinks=())


def steps(run):
    return [json.loads(line)["step"] for line in run.metrics_path.read_text().splitlines()]


@pytest.mark.slow
def test_each_task_has_a_run_of_its_own(tmp_path, capsys, monkeypatch):
    sent = {"one": [], "two": []}

    def make_sinks(names, run, first_step):
        write = lambda step, scalars: sent[run.name].append((step, scalars))  # noqa: E731
        return [SimpleNamespace(write=write, close=lambda: None)]

    monkeypatch.setattr(together, "make_sinks", make_sinks)
    runs = train(tmp_path)
    assert [run.name for run in runs] == ["one", "two"]
    for run in runs:
        assert steps(run) == [30, 60, 90, 120]
        found = json.loads((run.path / "evaluation.json").read_text())
        assert found["trained_steps"] == 120
        assert found["seeds"] == [0, 1]
        assert run.sessions()[0]["together"] == 2
        assert (run.videos / "best.gif").stat().st_size > 1000
        assert kept_steps(run) == [30, 60, 90, 120]
        assert [step for step, _ in sent[run.name]] == [30, 60, 90, 120, 120]
        assert sent[run.name][-1][1]["evaluation/success_rate"] == pytest.approx(found["success_rate"])
    assert capsys.readouterr().out.count("success  ") == 2


@pytest.mark.slow
def test_a_task_that_was_stopped_goes_on_alone(tmp_path, capsys, monkeypatch):
    asked = []

    def iterate(session, runs, writers, should_stop):
        def stopping():
            asked.append(should_stop())
            return len(asked) == 2

        return real(session, runs, writers, stopping)

    real = together.iterate
    monkeypatch.setattr(together, "iterate", iterate)
    with pytest.raises(SystemExit) as stopped:
        train(tmp_path)
    assert stopped.value.code == 130
    assert asked == [False, False]
    said = capsys.readouterr().out
    assert "stopped at step 60 of 120; everything is saved" in said
    assert all(f"  jaxvlm resume {tmp_path / name}\n" in said for name in ("one", "two"))
    train_on(str(tmp_path / "two"), runs_dir=tmp_path)
    run = Run.open("two", runs_dir=tmp_path)
    assert steps(run) == [30, 60, 90, 120]
    assert (run.path / "evaluation.json").exists()
    # In another program, of which a note speaks.
    assert "differ in their last digits: together: 2 -> None" in capsys.readouterr().out
    assert not (tmp_path / "one" / "evaluation.json").exists()


def test_no_run_is_left_where_one_name_is_taken(tmp_path):
    Run.create({}, name="two", runs_dir=tmp_path)
    with pytest.raises(RunError, match="two"):
        train(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["two"]


@pytest.mark.slow
def test_never_more_than_two_copies_of_a_clip_are_in_memory(monkeypatch):
    made, alive = [], []

    def build(config, task):
        built = build_random(config)
        clip = jax.tree.map(jnp.copy, built.inputs.reward.clip)
        made.append(weakref.ref(jax.tree.leaves(clip)[0]))
        gc.collect()
        alive.append(sum(leaf() is not None for leaf in made))
        reward = replace(built.inputs.reward, clip=clip)
        return replace(built, inputs=replace(built.inputs, reward=reward), clip_digest="the same")

    monkeypatch.setattr(together, "_build", build)
    builts = together._build_all([tiny_config()] * 4, [None] * 4)
    assert alive == [1, 2, 2, 2]
    assert len({id(jax.tree.leaves(built.inputs.reward.clip)[0]) for built in builts}) == 1
