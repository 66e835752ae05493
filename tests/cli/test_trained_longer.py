"""`jaxvlm resume RUN --steps N`: a run that goes on to more steps than it was to have."""

import json
import shlex

import jax
import numpy as np
import pytest

from jaxvlm.cli import session as sessions
from jaxvlm.cli.longer import set_apart, what_changes
from jaxvlm.errors import ConfigError
from jaxvlm.runtime import Run
from jaxvlm.vlmrm import TrainConfig
from jaxvlm.vlmrm.config import trained_to, validate_config
from jaxvlm.vlmrm.program import steps_of
from tests.vlmrm.conftest import tiny_config

# From the environment's own reward: nothing is drawn, so that little has to be compiled.
TINY = shlex.split(
    "--num-envs 2 --rollout-length 20 --learning-starts 30 --updates 2 --batch-size 8 --buffer-size 400 "
    "--hidden-sizes 8 --exploration-fraction 1 --checkpoint-every 1 --reward ground-truth --runs-dir . --name"
)


def rows(run):
    """Its metrics without clocks."""
    return [
        {name: value for name, value in json.loads(line).items() if "second" not in name}
        for line in (run / "metrics.jsonl").read_text().splitlines()
    ]


@pytest.mark.slow
def test_it_equals_one_training_where_schedules_are_those_of_the_longer_one(call, tmp_path, monkeypatch):
    def finish(built, run, agent, **_):
        leaves = jax.tree.leaves(agent)
        (run.path / "evaluation.json").write_text(json.dumps([np.asarray(leaf).tolist() for leaf in leaves]))
        return {"trained_steps": run.checkpoints.latest(), "per_seed": {}}

    monkeypatch.setattr(sessions, "finish", finish)  # what is evaluated is enough
    assert call("train", "cartpole", "--steps", 160, *TINY, "once")[0] == 0
    assert call("train", "cartpole", "--steps", 80, "--schedule-steps", 160, *TINY, "short")[0] == 0
    assert call("train", "cartpole", "--steps", 80, *TINY, "other")[0] == 0
    once, short, other = (tmp_path / name for name in ("once", "short", "other"))
    before = (short / "evaluation.json").read_bytes()

    code, out, err = call("resume", short, "--steps", 160)
    assert (code, "numbers are those of one training of 160 steps" in out) == (0, True), err
    assert rows(short) == rows(once)
    # Numbers and not bytes: a checkpoint does not keep the sign of an array of zeros.
    ours, theirs = (json.loads((run / "evaluation.json").read_text()) for run in (short, once))
    assert ours == theirs
    assert (short / "evaluation-after-80.json").read_bytes() == before
    kept = json.loads((short / "config.json").read_text())
    assert (kept["steps"], kept["earlier_steps"], kept["schedule_steps"]) == (160, [80], 160)
    assert kept["sinks"] == []

    # Epsilon of a run that was to have 80 steps fell by step 80, of one of 160 by step 160.
    code, out, err = call("resume", other, "--steps", 160)
    assert (code, "falls to 0.05 by step 80, as it was to, and then stays" in out) == (0, True), err
    assert [row["step"] for row in rows(other)] == [40, 80, 120, 160]
    assert rows(other)[1:] != rows(once)[1:]
    kept = json.loads((other / "config.json").read_text())
    assert (kept["steps"], kept["earlier_steps"], kept["schedule_steps"]) == (160, [80], 80)

    for steps, said in ((160, "has been trained for 160 already"), (0, "steps is 0")):
        code, out, err = call("resume", other, "--steps", steps)
        assert (code, said in err) == (2, True)
    assert json.loads((other / "config.json").read_text()) == kept


def test_what_has_fallen_goes_on_as_it_was_to():
    config = tiny_config(learning_rate_end=0.1)  # 120 steps, 30 an iteration
    longer = trained_to(config, 120, 240)
    assert (longer.steps, longer.schedule_steps, longer.earlier_steps) == (240, 120, (120,))
    assert steps_of(longer) == steps_of(config) == 120
    again = trained_to(longer, 240, 360)
    assert (again.steps, again.schedule_steps, again.earlier_steps) == (360, 120, (120, 240))
    assert TrainConfig.from_dict(json.loads(json.dumps(again.to_dict()))) == again
    # Before anything was trained, schedules are those of the new number.
    anew = trained_to(config, 0, 240)
    assert (anew.falling_steps, steps_of(anew), anew.earlier_steps) == (240, 240, (120,))
    # The same iterations are the same run.
    assert trained_to(config, 60, 100) == config
    stopped = trained_to(config, 60, 90)
    assert (stopped.iterations, stopped.falling_steps) == (3, 120)
    with pytest.raises(ConfigError, match="steps is 120, but the run has been trained for 120 already"):
        trained_to(config, 120, 120)
    with pytest.raises(ConfigError, match="counted up to 2147483647"):
        trained_to(config, 120, 2**31)
    with pytest.raises(ConfigError, match="schedule-steps is -1"):
        validate_config(tiny_config(schedule_steps=-1))


def test_notes_say_what_becomes_of_schedules_and_buffer():
    falls = trained_to(tiny_config(learning_rate_end=0.1), 120, 240)
    (note, buffer) = what_changes(falls, 120)
    assert "the learning rate falls to 10% of its first value by step 120 and the share of random" in note
    assert "`jaxvlm train --schedule-steps 240` makes" in note
    assert "holds 120 transitions of each seed, as before" in buffer
    constant = tiny_config("mountain-car", buffer_size=3000)
    (note,) = what_changes(trained_to(constant, 120, 240), 120)
    assert "the numbers are those of one training of 240 steps" in note


def test_figures_so_far_are_kept(tmp_path):
    run = Run.create({}, name="run", runs_dir=tmp_path)
    set_apart(run, 80)  # a run that was stopped has none
    (run.path / "evaluation.json").write_text("1")
    (run.path / "evaluation-episodes.csv").write_text("2")
    set_apart(run, 80)
    assert (run.path / "evaluation-after-80.json").read_text() == "1"
    assert (run.path / "evaluation-after-80-episodes.csv").read_text() == "2"
    assert not (run.path / "evaluation.json").exists()
