"""What fools a reward: which states count, which are shown, and what is left of them for training."""

import json
import shlex
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from envs.humanoid.kinematics import pose_scene
from envs.humanoid.rollouts import read_states, visited_states
from envs.registry import make_task
from jaxvlm.cli import fooled
from jaxvlm.cli.fooled import INDEX, Played, measure, ranked, report, save
from jaxvlm.clip import resolve
from jaxvlm.runtime import Run
from tests.vlmrm.conftest import tiny_config


def played(count=40, **changes) -> Played:
    """Four episodes of two seeds; every second state meets the goal, and rewards rise with the row."""
    row = np.arange(count)
    arrays = {
        "observation": np.zeros((count, 45), np.float32),
        "reward": row / count,
        "success": row % 2 == 0,
        "phase": np.zeros(count, np.int32),
        "seed": (row % 4 // 2).astype(np.int32),
        "episode": (row // 4 % 2).astype(np.int32),
        "step": (row + 1).astype(np.int32),
        "margin": np.where(row % 2 == 0, 1.0, -2.0).astype(np.float32),
        **changes,
    }
    return Played(scene={"place": row}, **arrays)


def test_states_fool_that_earn_more_than_a_goal_state_and_miss_the_goal():
    """Of 40 states 20 miss the goal; of these 10 are in the upper half, five of them near misses."""
    states = played()
    states.margin[21:31:2] = -0.5
    figures = measure(states, 0.5)
    assert figures["states"] == 40
    assert figures["goal_share"][0] == pytest.approx(0.5)
    assert figures["fooled_share"][0] == pytest.approx(10 / 40)
    assert figures["clearly_fooled_share"][0] == pytest.approx(5 / 40)
    assert figures["auc"][0] == pytest.approx(0.475)
    low, high = figures["fooled_share"][1:]
    assert low <= 0.25 <= high


def test_a_threshold_that_nobody_knows_leaves_shares_out():
    figures = measure(played(), float("nan"))
    assert figures["fooled_share"] is None
    assert figures["clearly_fooled_share"] is None
    words = report({**figures, "task": "a-task", "seeds": 2, "usual_reward": float("nan"), "shown": []})
    assert "fooled     unknown" in words


def test_the_best_of_each_episode_is_shown_first():
    states = played()
    order = ranked(states)
    groups = states.groups[order]
    count = len(np.unique(states.groups[~states.success]))
    assert len(np.unique(groups[:count])) == count
    assert not states.success[order].any()
    leading = states.reward[order[:count]]
    assert (np.diff(leading) <= 0).all()
    assert order[0] == 39


def test_near_misses_are_not_shown():
    states = played(margin=np.full(40, -0.5, np.float32))
    assert len(ranked(states)) == 0
    assert len(ranked(played(margin=np.full(40, np.nan, np.float32)))) == 20  # no pose: every miss counts


@pytest.mark.slow
def test_what_is_saved_can_be_trained_on(tmp_path):
    qpos = visited_states()[:40]
    observation = np.concatenate([qpos[:, 2:], np.zeros((40, 23), np.float32)], axis=1)
    states = replace(played(observation=observation), scene=pose_scene(jnp.asarray(qpos)))
    save(tmp_path / "fooled.npz", make_task("humanoid-kneeling"), states)
    with np.load(tmp_path / "fooled.npz") as arrays:
        assert set(arrays) == {*INDEX, "qpos"}
        assert not arrays["success"][:20].any()  # those that fool most come first
        np.testing.assert_array_equal(arrays["step"][:3], [40, 38, 36])
    found = read_states(tmp_path / "fooled.npz")
    assert found.shape == (60, 24)
    np.testing.assert_allclose(found[0], qpos[39], atol=1e-5)


def test_where_every_state_meets_the_goal_nothing_is_shown_and_said_so():
    states = played(success=np.ones(40, bool))
    assert not len(ranked(states))
    text = report(
        {
            "task": "cartpole",
            "seeds": 1,
            "usual_reward": 0.5,
            "usual_reward_from": "states of the goal at play",
        }
        | {"shown": [], **measure(states, 0.5)}
    )
    assert "nan" not in text
    assert "none: every state at play meets the goal" in text


def test_where_the_goal_is_missed_by_little_nothing_is_shown_and_said_so():
    states = played(margin=np.full(40, -0.5, np.float32))
    settings = {"task": "a-pose", "seeds": 2, "usual_reward": 0.5, "usual_reward_from": "x", "shown": []}
    text = report({**settings, **measure(states, 0.5)})
    assert "none: those that miss the goal miss it by less than a tolerance of the pose" in text
    assert "every state" not in text


def test_figures_of_what_fools_are_written_last(tmp_path, monkeypatch, capsys):
    """The report takes them for the sign that the picture and the states are there."""
    run = Run.create(tiny_config().to_dict(), name="run", runs_dir=tmp_path)
    monkeypatch.setattr(fooled, "best_agent", lambda *_: None)
    monkeypatch.setattr(fooled, "other_weights", lambda *_: ("before", "now"))
    monkeypatch.setattr(fooled, "build_shown", lambda *_, **__: SimpleNamespace(clip_digest=None))
    monkeypatch.setattr(fooled, "play", lambda *_: played())
    monkeypatch.setattr(fooled, "usual_reward", lambda *_: (0.5, "x"))
    monkeypatch.setattr(fooled, "EPISODES", 2)
    monkeypatch.setattr(fooled, "draw", lambda *_: None)
    monkeypatch.setattr(fooled, "save", lambda *_: sys.exit("killed"))
    with pytest.raises(SystemExit):
        fooled.show_fooled(str(run.path), runs_dir=tmp_path, count=1, clip=None)
    assert not (run.path / "fooled.json").exists()
    monkeypatch.setattr(fooled, "save", lambda *_: None)
    fooled.show_fooled(str(run.path), runs_dir=tmp_path, count=1, clip=None)
    assert (run.path / "fooled.json").exists()
    words = "the CLIP is not the one that they learned from (digest before, now now)"
    assert capsys.readouterr().out.count(words) == 2


@pytest.mark.slow
def test_a_run_shows_what_fools_it(call, tmp_path, monkeypatch):
    monkeypatch.setattr(fooled, "EPISODES", 6)
    tiny = shlex.split(
        "--steps 160 --num-envs 2 --rollout-length 20 --learning-starts 60 --updates 2 --batch-size 8 "
        "--buffer-size 400 --hidden-sizes 8 --episodes 2 --name tiny"
    )
    assert call("train", "cartpole-swingup", *tiny)[0] == 0
    code, out, _ = call("evaluate", "tiny", "--fooled", 3)
    assert code == 0
    assert "AUC" in out
    run = tmp_path / "runs" / "tiny"
    figures = json.loads((run / "fooled.json").read_text())
    assert figures["episodes"] == 3
    assert len(figures["shown"]) == 3
    assert (run / "plots" / "fooled.png").stat().st_size > 1000
    assert (run / "fooled.npz").exists()
    shutil.copytree(resolve("tiny:cartpole"), tmp_path / "RN50" / "openai")
    for clip in ("untrained", "RN50/openai"):
        assert call("evaluate", "tiny", "--fooled", 2, "--clip", clip)[0] == 0
    for name in ("fooled-untrained", "fooled-RN50--openai"):
        assert (run / f"{name}.json").exists()
        assert (run / f"{name}.npz").exists()
        assert (run / "plots" / f"{name}.png").exists()


def test_another_checkpoint_scores_fooled_states_only(call):
    code, _, error = call("evaluate", "nothing", "--clip", "tiny")
    assert code == 2
    assert "give --fooled" in error
