"""What a Weights & Biases user would see, played by a stand-in with the signatures of wandb 0.22 to 0.31."""

import importlib.machinery
import math
import sys
from types import ModuleType

import pytest

from jaxvlm.errors import ConfigError
from jaxvlm.runtime import MetricsWriter, Run, make_sinks
from jaxvlm.runtime.metrics import read_rows


class Error(Exception):
    """wandb's base of UsageError, CommError and the like."""


class FakeRun:
    """A session of a run; `history` is the server's, and outlives it."""

    def __init__(self, init, history):
        self.init, self.history = init, history
        self.axes, self.finished = {}, 0
        # A resumed run goes on one past its last step, as wandb's does.
        self.step = history[-1][0] + 1 if history else 0

    def define_metric(self, name, step_metric=None):
        self.axes[name] = step_metric

    def log(self, data, step=None, commit=None):
        assert not self.finished, "wandb refuses to log to a finished run"
        assert step is None or step >= self.step, "wandb ignores such a row, with a warning"
        assert commit or (commit is None and step is None), "wandb keeps the row back until the next one"
        step = self.step if step is None else step
        self.history.append((step, dict(data)))
        self.step = step + 1

    def finish(self):
        self.finished += 1


class FakeWandb(ModuleType):
    """The module, with its server."""

    Error = Error

    def __init__(self):
        super().__init__("wandb")
        self.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
        self.histories, self.sessions = {}, []

    def init(self, *, project, name, config, dir, id, resume, reinit):
        assert resume == "allow"
        assert reinit == "create_new"  # or a second task's run would be the first's
        init = {"project": project, "name": name, "config": config, "dir": dir, "id": id}
        session = FakeRun(init, self.histories.setdefault(id, []))
        self.sessions.append(session)
        return session


@pytest.fixture
def wandb(monkeypatch):
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", fake)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return fake


def train(run, steps, first_step=0):
    """What a session logs: two seeds whose rewards follow from the step."""
    with MetricsWriter(run.metrics_path, make_sinks(["wandb"], run, first_step)) as writer:
        writer.truncate(first_step)
        for step in steps:
            writer.write(step, {"reward": [step / 10, step / 10 + 2], "loss": step / 100})


def test_wandb_shows_the_run_directory(tmp_path, wandb):
    run = Run.create({"steps": 90, "reward": {"alpha": 0.5}}, name="x", runs_dir=tmp_path)
    train(run, [30, 60, 90])
    (session,) = wandb.sessions
    assert session.init == {
        "project": "jaxvlm",
        "name": "x",
        "config": {"steps": 90, "reward": {"alpha": 0.5}},
        "dir": str(run.path),
        "id": (run.path / "wandb_id.txt").read_text().strip(),
    }
    assert session.axes == {"*": "env_steps"}
    assert session.finished == 1


def test_wandb_gets_each_row_once_with_means_and_seeds(tmp_path, wandb):
    run = Run.create({}, name="x", runs_dir=tmp_path)
    with MetricsWriter(run.metrics_path, make_sinks(["wandb"], run)) as writer:
        writer.write(30, {"reward": [1.0, 3.0], "loss": [math.nan, 0.5], "one": [7.0], "iteration": 1})
        # A row is on the server when it is written, not when the next one comes.
        ((step, row),) = wandb.sessions[0].history
        writer.write(60, {"reward": [2.0, 5.0]})
    assert step == 30
    assert math.isnan(row.pop("loss/seed0"))
    assert row == {
        "env_steps": 30,
        "reward": 2.0,
        "reward/seed0": 1.0,
        "reward/seed1": 3.0,
        "loss": 0.5,  # the mean of the seeds that have one
        "loss/seed1": 0.5,
        "one": 7.0,
        "iteration": 1.0,
    }
    second = {"env_steps": 60, "reward": 3.5, "reward/seed0": 2.0, "reward/seed1": 5.0}
    assert wandb.sessions[0].history[1:] == [(60, second)]


def test_wandb_gets_the_evaluation_at_the_last_step_once(tmp_path, wandb):
    run = Run.create({}, name="x", runs_dir=tmp_path)
    for _ in range(2):  # evaluated again by a resume, with nothing left to train
        with MetricsWriter(run.metrics_path, make_sinks(["wandb"], run)) as writer:
            writer.write(90, {"reward": 1.0})
            writer.conclude(90, {"success_rate": [0.5, 1.0]})
    (_, row), (place, evaluation) = wandb.sessions[-1].history
    assert row == {"env_steps": 90, "reward": 1.0}
    assert evaluation == {
        "env_steps": 90,
        "evaluation/success_rate": 0.75,
        "evaluation/success_rate/seed0": 0.5,
        "evaluation/success_rate/seed1": 1.0,
    }
    assert place == 91  # wandb's own count, which takes one row a step


def test_wandb_goes_on_with_the_same_curves(tmp_path, wandb):
    run = Run.create({}, name="x", runs_dir=tmp_path)
    train(run, [30, 60, 90])
    train(Run.open(run.path), [90, 120], first_step=60)  # killed after 90, with a checkpoint of 60
    first, second = wandb.sessions
    assert first.init == second.init
    # As in the run's own file, every step is there once.
    assert [row["env_steps"] for _, row in second.history] == [30, 60, 90, 120]
    assert [row["step"] for row in read_rows(run.metrics_path)] == [30, 60, 90, 120]
    assert [row["reward"] for _, row in second.history] == [4.0, 7.0, 10.0, 13.0]
    assert second.finished == 1
    other = Run.create({}, name="y", runs_dir=tmp_path)
    train(other, [30])
    assert wandb.sessions[-1].init["id"] != first.init["id"]
    assert len(wandb.sessions[-1].history) == 1


def test_wandb_is_finished_when_training_fails(tmp_path, wandb):
    run = Run.create({}, name="x", runs_dir=tmp_path)
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        MetricsWriter(run.metrics_path, make_sinks(["wandb"], run)),
    ):
        raise RuntimeError("out of memory")
    assert wandb.sessions[0].finished == 1


def test_wandb_project_is_the_users(tmp_path, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "poles")
    train(Run.create({}, name="x", runs_dir=tmp_path), [30])
    assert wandb.sessions[0].init["project"] == "poles"


def test_wandb_that_cannot_start_is_one_line(tmp_path, wandb, monkeypatch):
    def refuse(**_):
        raise Error("No API key configured. Use `wandb login` to log in.\nmore")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(
        ConfigError, match=r"^the metric sink wandb cannot be started: No API key .*$"
    ) as caught:
        make_sinks(["wandb"], Run.create({}, name="x", runs_dir=tmp_path))
    assert "WANDB_MODE=offline" in str(caught.value)
    assert "\n" not in str(caught.value)
