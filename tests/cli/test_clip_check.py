"""`jaxvlm clip check` and `jaxvlm landscape`: whose truth a sentence is held against, and what is refused at once."""

import importlib
import json

import pytest

from envs.registry import make_task

TASK = "gridworld-red-ball-then-blue-key"
NO_PROMPT = "there is no goal prompt; say what to check"


def forbidden(*arguments, **keywords):
    raise AssertionError("pictures were drawn before the refusal")


@pytest.mark.slow
def test_each_phase_is_judged_by_its_own_goal(call, tmp_path):
    (blue_key,) = make_task(TASK).then_prompts
    checked = ("clip", "check", TASK, "--states", 100, "--output", tmp_path)
    code, out, _ = call(*checked, "--prompt", blue_key)
    assert code == 0
    assert "at the goal at_blue_key" in out
    result = json.loads((tmp_path / f"{TASK}-tiny.json").read_text())
    assert result["goal"] == "at_blue_key"
    assert result["rows"]["goal"]["auc"] > 0.95
    code, out, _ = call(*checked)
    assert code == 0
    assert "at the goal at_red_ball" in out
    assert f"check the other phases on their own, with --prompt {blue_key!r}" in out


@pytest.mark.slow
def test_a_landscape_says_whose_goal_it_marks(call, tmp_path):
    (blue_key,) = make_task(TASK).then_prompts
    flags = ("--alphas", 0, "--output", tmp_path)
    code, out, _ = call("landscape", TASK, *flags, "--prompt", blue_key)
    assert (code, "goal at_blue_key" in out) == (0, True)
    assert (tmp_path / f"{TASK}-tiny.csv").read_text().startswith("steps from the blue key,")
    code, out, _ = call("landscape", TASK, *flags, "--prompt", "go to the ball, then to the key")
    assert (code, "no goal is known for this sentence" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("clip", "check", "cartpole", "--prompt", "--alpha", 0), NO_PROMPT),
        (("clip", "check", "humanoid", "--alpha", 0), NO_PROMPT),
        (("clip", "check", "humanoid"), NO_PROMPT),
        (("clip", "check", TASK, "--prompt", "to the ball, then the key"), f"no goal of {TASK} is known for"),
        (("clip", "check", "cartpole", "--output", "file/out"), "cannot write to file/out"),
        (("landscape", "cartpole", "--output", "file/out"), "cannot write to file/out"),
    ],
)
def test_what_cannot_be_checked_is_refused_before_anything_is_drawn(
    call, tmp_path, monkeypatch, arguments, said
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(importlib.import_module("jaxvlm.reward.label"), "encode_scenes", forbidden)
    code, _, err = call(*arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
