"""Agents that a training keeps on its way are evaluated by their step and played for states."""

import json
import shlex
import shutil

import pytest

from jaxvlm.cli.dataset import Make, _run_plans
from jaxvlm.evaluation.states import StateDataset
from jaxvlm.runtime import Run
from jaxvlm.vlmrm.policy_files import kept_steps

# Six iterations of 40 steps, a checkpoint after each, of which there are two in the end; four agents are kept.
TINY = shlex.split(
    "--steps 240 --num-envs 2 --rollout-length 20 --learning-starts 30 --updates 2 --batch-size 8 --buffer-size 400 "
    "--hidden-sizes 8 --episodes 2 --checkpoint-every 1 --reward ground-truth --keep-policies 4"
)


@pytest.mark.slow
def test_they_are_evaluated_and_played(tmp_path, call):
    assert call("train", "cartpole", *TINY, "--name", "along")[0] == 0
    run = Run.open("along")
    assert run.checkpoints.steps() == [200, 240]
    assert kept_steps(run) == [80, 120, 200, 240]

    code, out, _ = call("evaluate", "along", "--checkpoint", 120)
    assert (code, "not finished" in out) == (0, False)
    found = json.loads((run.path / "evaluation-step-120-2.json").read_text())
    assert (found["checkpoint"], found["trained_steps"], found["steps"]) == ("step-120", 120, 240)
    assert (run.videos / "step-120-2.gif").exists()
    code, _, error = call("evaluate", "along", "--checkpoint", 40)
    assert (code, "has no agents of step 40: choose one of 80, 120, 200, 240" in error) == (2, True)
    code, _, error = call("evaluate", "along", "--checkpoint", "middle")
    assert (code, "checkpoint is 'middle'; choose best, last, random, zero or a number" in error) == (2, True)

    flags = ("--checkpoint", "all", "--episodes", 1, "--states", 0, "--name", "along", "--output", "sets")
    assert call("dataset", "make", "along", *flags)[0] == 0
    dataset = StateDataset.load("sets/along")
    best = run.checkpoints.best()
    assert best is not None
    steps = [("step", step) for step in (80, 120, 200, 240)]
    assert [(source["checkpoint"], source["step"]) for source in dataset.sources] == [
        ("best", best[0]),
        *steps,
    ]
    assert len(dataset) == 5 * 200  # whole episodes, one of each

    # The newest without its replay buffer; where a run has files of none, its checkpoints are what there is.
    options = Make(("along",), checkpoint=("last", "all"))
    assert [plan.source["step"] for plan in _run_plans("along", options)] == [240, best[0], 80, 120, 200]
    shutil.rmtree(run.path / "policies")
    assert [plan.source["step"] for plan in _run_plans("along", options)] == [240, best[0], 200]
