import csv
import json
import math
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import ConfigError, RunError
from jaxvlm.runtime import MetricsWriter, Run, make_sinks, read_rows
from jaxvlm.runtime.metrics import mean


class Recorder:
    def __init__(self):
        self.rows, self.closed = [], False

    def write(self, step, scalars):
        self.rows.append((step, dict(scalars)))

    def close(self):
        self.closed = True


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_rows_reach_both_files_at_once(tmp_path):
    writer = MetricsWriter(tmp_path / "metrics.jsonl")
    writer.write(10, {"reward": [0.25, 0.75], "loss": jnp.float32(0.5), "done": np.array([1, 2])})
    expected = {"step": 10, "reward": [0.25, 0.75], "loss": 0.5, "done": [1, 2]}
    assert read_rows(tmp_path / "metrics.jsonl") == [expected]  # the writer is still open
    assert read_csv(tmp_path / "metrics.csv") == [
        {"step": "10", "reward": "0.5", "loss": "0.5", "done": "1.5"}
    ]
    writer.close()


def test_nan_is_null_and_empty(tmp_path):
    with MetricsWriter(tmp_path / "metrics.jsonl") as writer:
        writer.write(1, {"a": math.nan, "b": [math.inf, 2.0], "c": [math.nan]})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {
        "step": 1,
        "a": None,
        "b": [None, 2.0],
        "c": [None],
    }
    assert read_csv(tmp_path / "metrics.csv") == [{"step": "1", "a": "", "b": "2.0", "c": ""}]


def test_late_keys_become_columns(tmp_path):
    with MetricsWriter(tmp_path / "metrics.jsonl") as writer:
        writer.write(1, {"a": 1})
        writer.write(2, {"odd, name": 5})
        writer.write(3, {"a": 3, "odd, name": 6})
    assert read_csv(tmp_path / "metrics.csv") == [
        {"step": "1", "a": "1", "odd, name": ""},
        {"step": "2", "a": "", "odd, name": "5"},
        {"step": "3", "a": "3", "odd, name": "6"},
    ]


def test_resuming_gives_the_files_of_a_run_that_never_stopped(tmp_path):
    def write(writer, steps):
        for step in steps:
            writer.write(step, {"a": step / 3} | ({"late": step} if step > 3 else {}))

    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    with MetricsWriter(whole) as writer:
        write(writer, range(8))
    with MetricsWriter(resumed) as writer:
        write(writer, range(6))
    with resumed.open("a") as file:
        file.write('{"step": 6, "a": 2.')  # killed while writing
    assert [row["step"] for row in read_rows(resumed)] == list(range(6))
    with MetricsWriter(resumed) as writer:
        writer.truncate(2)
        write(writer, range(3, 8))
    assert resumed.read_text() == whole.read_text()
    assert resumed.with_suffix(".csv").read_text() == whole.with_suffix(".csv").read_text()


def test_opening_mends_a_half_written_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "a": 1.0}\n{"step": 2, "a"')
    with MetricsWriter(path) as writer:
        writer.write(2, {"a": 2.0})
    assert [row["a"] for row in read_rows(path)] == [1.0, 2.0]


def test_foreign_lines_are_reported(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('hello\n{"step": 2}\n')
    with pytest.raises(RunError, match="line 1 is not a metrics row: 'hello'"):
        read_rows(path)
    assert read_rows(tmp_path / "absent.jsonl") == []


def test_full_disk_is_one_line(tmp_path):
    writer = MetricsWriter(tmp_path / "metrics.jsonl")
    writer.write(1, {"a": 1.0})
    writer._close_files()
    full = open("/dev/full", "a")  # noqa: SIM115  closed by the writer
    writer._files = (full, full)
    with pytest.raises(RunError, match=r"cannot write .*: no space left on device"):
        writer.write(2, {"a": 2.0})
    writer.close()


def test_mean_ignores_what_is_not_finite():
    assert mean([1.0, None, 3.0, math.inf]) == 2.0
    assert mean(4.0) == 4.0
    assert math.isnan(mean(None))
    assert math.isnan(mean([]))


def test_sinks_get_means_and_seeds(tmp_path):
    recorder = Recorder()
    with MetricsWriter(tmp_path / "metrics.jsonl", [recorder], first_seed=7) as writer:
        writer.write(5, {"reward": [1.0, 3.0], "loss": 0.5, "one": [7.0]})
    assert recorder.rows == [
        (5, {"reward": 2.0, "loss": 0.5, "one": 7.0, "reward/seed7": 1.0, "reward/seed8": 3.0})
    ]
    assert read_rows(tmp_path / "metrics.jsonl") == [
        {"step": 5, "reward": [1.0, 3.0], "loss": 0.5, "one": [7.0]}
    ]
    assert recorder.closed


def test_an_evaluation_goes_to_the_sinks_alone(tmp_path):
    recorder = Recorder()
    with MetricsWriter(tmp_path / "metrics.jsonl", [recorder]) as writer:
        writer.write(5, {"reward": 0.5})
        writer.conclude(5, {"success_rate": [0.25, 0.75], "mean_clip_reward": [math.nan]})
        writer.truncate(5)
    (_, (step, scalars)) = recorder.rows
    assert step == 5
    assert math.isnan(scalars.pop("evaluation/mean_clip_reward"))
    assert scalars == {
        "evaluation/success_rate": 0.5,
        "evaluation/success_rate/seed0": 0.25,
        "evaluation/success_rate/seed1": 0.75,
    }
    assert read_rows(tmp_path / "metrics.jsonl") == [{"step": 5, "reward": 0.5}]


@pytest.mark.parametrize("name", ["tensorboard", "wandb"])
def test_missing_extra_is_named(tmp_path, monkeypatch, name):
    for module in [module for module in sys.modules if module.split(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    run = Run.create({}, name="x", runs_dir=tmp_path)
    with pytest.raises(ConfigError, match=rf"pip install 'jaxvlm\[{name}\]'"):
        make_sinks([name], run)
    with pytest.raises(ConfigError, match="unknown metric sink 'mlflow': choose of tensorboard, wandb"):
        make_sinks(["mlflow"], run)


@pytest.mark.parametrize("checkpoint", [2, 0])
def test_tensorboard_reads_what_was_written(tmp_path, checkpoint):
    """Killed after step 3, and resumed from a checkpoint or, before the first one, from the beginning."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = Run.create({}, name="x", runs_dir=tmp_path)
    for first_step, steps in ((0, (1, 2, 3)), (checkpoint, range(checkpoint + 1, 5))):
        with MetricsWriter(run.metrics_path, make_sinks(["tensorboard"], run, first_step)) as writer:
            writer.truncate(first_step)
            for step in steps:
                writer.write(step, {"reward": [step + first_step, step + first_step + 2.0]})
            writer.conclude(steps[-1], {"success_rate": [0.5]})
    written = {2: [(1, 2.0), (2, 3.0), (3, 6.0), (4, 7.0)], 0: [(1, 2.0), (2, 3.0), (3, 4.0), (4, 5.0)]}
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    points = [(event.step, event.value) for event in events.Scalars("reward")]
    assert points == written[checkpoint]
    assert events.Tags()["scalars"] == ["reward", "reward/seed0", "reward/seed1", "evaluation/success_rate"]
    assert [(event.step, event.value) for event in events.Scalars("evaluation/success_rate")] == [(4, 0.5)]
    assert "tensorflow" not in sys.modules
