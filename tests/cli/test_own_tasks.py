"""A task of a user's own file, through the verbs."""

import json

import pytest

FILE = """
from envs.captions import cartpole_captions as captions
from envs.cartpole import CartPole
from envs.registry import Task
from jaxvlm.vlmrm import TrainConfig

TASKS = {
    "up": Task(
        env=CartPole(),
        goal_prompts=("pole vertically upright on top of the cart",),
        episode_length=9,
        metric="upright_fraction",
    ),
    "quick": Task(
        env=CartPole(),
        goal_prompts=("a pole",),
        episode_length=9,
        config=TrainConfig(task="", num_envs=3, rollout_length=10, seeds=2),
    ),
}
"""
SHORT = (
    *("--steps", 160, "--learning-starts", 40, "--num-envs", 4, "--rollout-length", 10, "--updates", 2),
    *("--episodes", 2, "--clip", "tiny:cartpole"),
)


@pytest.fixture
def poles(tmp_path):
    path = tmp_path / "code" / "poles.py"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


@pytest.mark.slow
def test_it_is_trained_and_evaluated_from_anywhere(call, poles, tmp_path, monkeypatch):
    monkeypatch.chdir(poles.parent)
    code, out, err = call("train", "poles.py:up", "--runs-dir", tmp_path / "runs", *SHORT)
    monkeypatch.chdir(tmp_path)
    assert code == 0, err
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("poles-up-")
    assert json.loads((run / "config.json").read_text())["task"] == f"{poles}:up"
    assert json.loads((run / "evaluation.json").read_text())["upright_fraction"] >= 0
    assert "finite" not in out
    code, out, err = call("resume", run)
    assert (code, "all 160 steps are done" in out) == (0, True), err
    code, out, err = call(
        "dataset", "make", run, f"sampler:{poles}", "--states", 60, "--name", "poles", "--episodes", 2
    )
    assert (code, f"sampler:{poles}" in out) == (0, True), err
    code, out, err = call("epic", "poles", "--clip", "tiny:cartpole", "--alphas", 0, "--resamples", 2)
    assert (code, "upright" in out) == (0, True), err
    code, _, err = call("clip", "check", f"{poles}:up", "--clip", "tiny:cartpole", "--states", 16)
    assert code == 0, err
    assert (tmp_path / "runs" / "clip-check" / "poles-up-tiny-cartpole.json").is_file()
    code, out, _ = call("evaluate", run)
    assert (code, "task_digest" in out) == (0, False)
    poles.write_text(FILE + "# changed\n")
    code, out, _ = call("evaluate", run)
    assert (code, "not the same as in training, so figures may differ: task_digest" in out) == (0, True)
    poles.unlink()
    code, _, err = call("evaluate", run)
    assert (code, f"there is no file {poles}" in err) == (2, True)


def test_its_settings_are_whole_episodes_or_its_own(poles):
    from jaxvlm.cli.train import settings

    config = settings(f"{poles}:up", "default", []).config
    assert config.task == f"{poles}:up"
    assert (config.rollout_length % 10, config.reward.look) == (0, "plain")
    assert config.rollout_length == 200  # of about 201
    paper = settings(f"{poles}:up", "paper", []).config
    assert (paper.rollout_length, paper.batch_size) == (200, 32)
    own = settings(f"{poles}:quick", "laptop", ["--num-envs", "5"]).config
    assert (own.num_envs, own.rollout_length, own.seeds, own.preset) == (5, 10, 2, "laptop")
    assert own.reward.prompt == ("a pole",)
    assert settings(f"{poles}:quick", "paper", []).config.num_envs == 8


def test_a_reward_of_its_own_is_the_default_and_can_be_left_out(poles):
    from jaxvlm.cli.common import find_task
    from jaxvlm.cli.session import describe, label_in
    from jaxvlm.cli.train import settings

    poles.write_text(
        FILE + 'TASKS["up"] = replace(TASKS["up"], label=lambda clip, truth, seen: clip - truth)\n'
    )
    poles.write_text("from dataclasses import replace\n" + poles.read_text())
    name = f"{poles}:up"
    config, task = settings(name, "default", []).config, find_task(name)
    assert (config.reward.reward, label_in(config, task)) == ("own", task.label)
    assert 'from its own reward and "pole vertically' in describe(config)
    alone = settings(name, "default", ["--reward", "clip"]).config
    assert (alone.reward.reward, label_in(alone, task)) == ("clip", None)
    assert settings(f"{poles}:quick", "default", []).config.reward.reward == "clip"


def test_without_a_clip_the_way_out_is_named(call, poles):
    code, _, err = call("train", f"{poles}:up")
    assert (code, "Traceback" in err) == (2, False)
    assert f"clip train {poles}" in err
    assert "--clip" in err


def test_a_checkpoint_is_trained_for_it(call, poles, monkeypatch):
    from jaxvlm.clip import train

    given = []
    monkeypatch.setattr(
        train, "train_clip", lambda *arguments, **keywords: given.append((arguments, keywords))
    )
    code, _, err = call("clip", "train", poles)
    assert code == 0, err
    ((dataset, _, output), keywords) = given[0]
    assert dataset.domain == "cartpole"
    assert str(output) == "runs/clip/poles"
    assert keywords["command"] == "jaxvlm clip train poles.py"
