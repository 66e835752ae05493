"""What a run directory is good for when things do not go to plan; all inside the test process."""

import json
import shlex
import shutil
import sys
from types import SimpleNamespace
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxvlm.cli import main, outcome
from jaxvlm.cli import session as sessions
from jaxvlm.errors import RunError
from jaxvlm.runtime import Checkpoints, Run
from jaxvlm.vlmrm import Episodes
from jaxvlm.vlmrm import train as training
from tests.vlmrm.conftest import build_random, tiny_config

# From the environment's own reward: nothing is drawn, so that little has to be compiled.
TINY = shlex.split(
    "--steps 80 --num-envs 2 --rollout-length 20 --learning-starts 30 --updates 2 --batch-size 8 --buffer-size 400 "
    "--hidden-sizes 8 --episodes 3 --checkpoint-every 1 --reward ground-truth"
)


def call(*arguments):
    """Runs the command; returns its exit code."""
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code
    return 0


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A tiny run to its end."""
    folder = tmp_path_factory.mktemp("finished")
    assert call("train", "cartpole", *TINY, "--name", "first", "--runs-dir", folder) == 0
    return folder / "first"


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the run that a test may spoil."""
    return shutil.copytree(finished, tmp_path / "copy")


def rows(run):
    """Its metrics without clocks."""
    return [
        {name: value for name, value in json.loads(line).items() if "second" not in name}
        for line in (run / "metrics.jsonl").read_text().splitlines()
    ]


def test_two_trainings_of_a_run_at_once_are_refused(tmp_path):
    run = Run.create({}, name="busy", runs_dir=tmp_path, environment={})
    refused = pytest.raises(RunError, match="busy is being trained by another process")
    with sessions.in_use(run), refused, sessions.in_use(run):
        pass
    with sessions.in_use(run):  # free again
        pass


@pytest.mark.slow
def test_other_episodes_get_a_file_of_their_own(copied, capsys):
    before = (copied / "evaluation.json").read_bytes()
    assert call("evaluate", copied, "--episodes", 2) == 0
    assert "evaluation-best-2.json" in capsys.readouterr().out
    assert json.loads((copied / "evaluation-best-2.json").read_text())["episodes"] == 2
    assert call("evaluate", copied, "--checkpoint", "last") == 0
    assert json.loads((copied / "evaluation-last-3.json").read_text())["checkpoint"] == "last"
    assert (copied / "evaluation.json").read_bytes() == before


@pytest.mark.slow
def test_agents_that_are_not_finished_are_told(copied, capsys):
    assert call("evaluate", copied) == 0
    assert "not finished" not in capsys.readouterr().out
    result = json.loads((copied / "evaluation.json").read_text())
    assert (result["trained_steps"], result["steps"]) == (80, 80)
    shutil.rmtree(copied / "checkpoints" / "80")
    assert call("evaluate", copied) == 0
    printed = capsys.readouterr().out
    assert "trained for 40 of 80 steps, so these agents are not finished" in printed
    assert f"jaxvlm resume {copied}" in printed
    result = json.loads((copied / "evaluation.json").read_text())
    assert (result["trained_steps"], result["steps"]) == (40, 80)


def test_steps_of_a_copy_without_checkpoints_are_those_of_its_metrics(tmp_path):
    run = fresh(tmp_path)
    assert sessions.trained_steps(run) == 0
    save_file({}, run.path / "policies.safetensors", metadata={"step": "30"})
    assert sessions.trained_steps(run) == 30
    run.metrics_path.write_text('{"step": 20}\n{"step": 40}\n')
    assert sessions.trained_steps(run) == 40
    (run.path / "checkpoints" / "20").mkdir()  # metrics of a run that was killed are ahead of it
    assert sessions.trained_steps(run) == 20


@pytest.mark.slow
def test_a_run_is_evaluated_from_its_agents_alone_and_not_trained_on(copied, capsys):
    for folder in ("checkpoints", "policies"):
        shutil.rmtree(copied / folder)
    before = json.loads((copied / "evaluation.json").read_text())
    agents = (copied / "policies.safetensors").read_bytes()
    assert call("evaluate", copied) == 0
    assert f"agents     {copied / 'policies.safetensors'}" in capsys.readouterr().out
    assert json.loads((copied / "evaluation.json").read_text()) == before
    assert (copied / "policies.safetensors").read_bytes() == agents
    for arguments in (("resume", copied), ("evaluate", copied, "--checkpoint", "last")):
        assert call(*arguments) == 2
        assert "came without its checkpoints" in capsys.readouterr().err
    assert rows(copied)  # its metrics are still there
    (copied / "policies.safetensors").unlink()
    for left, words in ((None, "passed on without them: train anew"), ("evaluation.json", "resume it")):
        if left:
            (copied / left).unlink()
        assert call("evaluate", copied) == 2
        assert "has no agents" in (error := capsys.readouterr().err)
        assert words in error


@pytest.mark.slow
def test_agents_that_were_replaced_while_they_were_judged_are_not_kept(copied, capsys, monkeypatch):
    """By a training that goes on beside the evaluation: its own agents are in the file then."""
    (copied / "policies.safetensors").write_bytes(b"of the training")
    play, best = sessions.play, copied / "checkpoints" / "best"

    def played(*arguments, **settings):
        result = play(*arguments, **settings)
        (step,) = best.iterdir()
        step.rename(best / "90")
        return result

    monkeypatch.setattr(sessions, "play", played)
    before = (copied / "evaluation.json").read_bytes()
    assert call("evaluate", copied) == 0
    assert (copied / "evaluation.json").read_bytes() == before
    assert (copied / "evaluation-best-3.json").exists()
    assert "better agents by now" in capsys.readouterr().out
    assert (copied / "policies.safetensors").read_bytes() == b"of the training"


@pytest.mark.slow
def test_the_evaluation_is_there_once_its_pictures_are(copied, monkeypatch):
    (copied / "evaluation.json").unlink()
    monkeypatch.setattr(sessions, "draw_episodes", lambda *_: sys.exit("killed"))
    assert call("evaluate", copied) == "killed"
    assert not (copied / "evaluation.json").exists()


@pytest.mark.slow
def test_the_best_agents_are_evaluated_where_the_replay_buffer_would_not_fit(copied, capsys, monkeypatch):
    monkeypatch.setattr("jaxvlm.rl.buffer.free_memory", lambda device=None: 1000)
    for checkpoint in ("best", "last"):
        assert call("evaluate", copied, "--checkpoint", checkpoint) == 0
    shutil.rmtree(
        copied / "policies"
    )  # as of an earlier version, whose last agents are in the checkpoint alone
    assert call("evaluate", copied, "--checkpoint", "zero") == 0
    capsys.readouterr()
    for arguments in (("resume", copied), ("evaluate", copied, "--checkpoint", "last")):
        assert call(*arguments) == 2
        assert "the replay buffer needs" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("left", ["nothing", "an earlier one"])
def test_a_run_killed_before_its_best_agents_were_written_gets_them_when_it_resumes(
    copied, left, capsys, monkeypatch
):
    """Its last checkpoint is there, so no iteration is left that would write them."""
    best = copied / "checkpoints" / "best"
    expected = Checkpoints(copied / "checkpoints").best()
    assert expected is not None
    if left == "nothing":
        shutil.rmtree(best)
    else:
        (best / str(expected[0])).rename(best / "40")
        manifest = best / "40" / "manifest.json"
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"step": 40, "metric": -1e9}))
    # Nothing is left to train: nothing is compiled for it, and it is no session that did.
    monkeypatch.setattr(training, "compile_iteration", lambda *_: pytest.fail("compiled"))
    before = (copied / "environment.json").read_bytes()
    assert call("resume", copied) == 0
    assert "all 80 steps are done" in capsys.readouterr().out
    assert (copied / "environment.json").read_bytes() == before
    assert Checkpoints(copied / "checkpoints").best() == expected
    assert call("evaluate", copied) == 0


@pytest.mark.slow
def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_anew(copied, monkeypatch):
    """Its metrics, and in the end its evaluation, go where they were asked to."""
    sent, closed = [], []
    sink = SimpleNamespace(
        write=lambda step, scalars: sent.append((step, scalars)), close=lambda: closed.append(len(sent))
    )
    monkeypatch.setattr(sessions, "make_sinks", lambda names, run, step: [sink])
    expected = rows(copied)
    result = json.loads((copied / "evaluation.json").read_text())
    for path in (copied / "checkpoints").iterdir():
        shutil.rmtree(path)
    for left in ("policies.safetensors", "evaluation.json"):
        (copied / left).unlink()
    assert call("resume", copied) == 0
    assert rows(copied) == expected
    assert [step for step, _ in sent] == [40, 80, 80]
    assert closed == [3]
    names = ("success_rate", "upright_fraction", "mean_ground_truth_return")
    assert sent[-1][1] == {f"evaluation/{name}": pytest.approx(result[name]) for name in names}


@pytest.mark.slow
def test_stopping_at_once_says_how_to_go_on(finished, tmp_path, capsys, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sessions, "start", interrupted)
    assert call("train", "cartpole", *TINY, "--name", "cut", "--runs-dir", tmp_path) == 130
    assert f"jaxvlm resume {tmp_path / 'cut'}" in capsys.readouterr().out
    monkeypatch.undo()
    assert call("resume", tmp_path / "cut") == 0
    assert rows(tmp_path / "cut") == rows(finished)


@pytest.mark.slow
def test_an_interrupted_evaluation_says_how_to_repeat_it(copied, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sessions, "finish", interrupted)
    assert call("resume", copied) == 130
    assert f"jaxvlm evaluate {copied}" in capsys.readouterr().out


@pytest.mark.slow
def test_other_weights_are_noted(copied, capsys):
    path = copied / "environment.json"
    facts = json.loads(path.read_text())
    facts[-1]["clip_digest"] = "0" * 64
    path.write_text(json.dumps(facts))
    assert call("evaluate", copied) == 0
    assert f"clip_digest: {'0' * 64} -> None" in capsys.readouterr().out


def fresh(folder, **changes):
    """A run directory as it is before anything was trained."""
    config = tiny_config(reward_reward="ground-truth", **changes)
    return Run.create(config.to_dict(), name="fresh", runs_dir=folder, environment={"clip_digest": None})


def test_other_weights_are_not_trained_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sessions, "_train", lambda *_, **__: print("trained"))
    path = fresh(tmp_path).path / "environment.json"
    facts = json.loads(path.read_text())
    facts[-1]["clip_digest"] = "0" * 64
    path.write_text(json.dumps(facts))
    for _ in range(2):  # asked again it refuses again
        assert call("resume", path.parent) == 2
        printed = capsys.readouterr()
        assert (
            "with other weights (digest 000000000000, now None): the reward would be another" in printed.err
        )
        assert "trained" not in printed.out
        assert json.loads(path.read_text()) == facts
    # An accelerator holds the same weights in other numbers.
    facts[-1]["devices"]["backend"] = "gpu"
    path.write_text(json.dumps(facts))
    assert call("resume", path.parent) == 0
    printed = capsys.readouterr().out
    assert "differ in their last digits: clip_digest" in printed
    assert "trained" in printed


@pytest.mark.slow
def test_a_control_is_evaluated_before_anything_was_trained(tmp_path, capsys):
    run = fresh(tmp_path)
    assert call("evaluate", run.path, "--checkpoint", "zero") == 0
    assert "curves" not in capsys.readouterr().out
    assert not list(run.plots.iterdir())
    assert [path.suffix for path in sorted(run.videos.glob("zero-*"))] == [".gif", ".png"]


def test_pictures_of_an_episode_that_ended_early_hold_its_last_frame(monkeypatch):
    """Two seeds, two episodes of 7 steps; a scene is its own brightness."""
    monkeypatch.setattr(outcome, "GIF_SIZE", 1)
    seed, time, episode = np.ogrid[:2, :7, :2]
    scene = {"level": (100 * seed + 10 * time + 5 * episode).astype(np.float32)}
    render = lambda scene, assets, camera, size: jnp.full((size, size, 3), scene["level"] / 255)  # noqa: E731
    env = SimpleNamespace(assets=lambda look: {}, cameras={"default": np.zeros(1)}, render=render)
    # The first whole, one after four steps, one after three, and one that diverged in its first; a third is not shown.
    length: Any = np.array([[7, 4, 7], [3, 0, 7]])
    unused: Any = None
    episodes = Episodes(unused, unused, unused, None, scene, length)
    built = build_random(tiny_config(reward_reward="ground-truth"))
    frames = outcome.draw_episodes(built, cast(Any, SimpleNamespace(env=env)), episodes)
    assert frames.shape == (4, 4, 1, 1, 3)  # time, then episode by episode the seeds
    assert frames[..., 0, 0, 0].T.tolist() == [
        [0, 20, 40, 60],
        [100, 120, 120, 120],
        [5, 25, 35, 35],
        [105, 105, 105, 105],
    ]


@pytest.mark.slow
def test_two_tasks_in_one_program_leave_a_run_each(tmp_path, capsys):
    tiny = shlex.split(
        "--seeds 2 --steps 80 --num-envs 2 --rollout-length 10 --learning-starts 30 --updates 2 --batch-size 8 "
        "--buffer-size 400 --hidden-sizes 8 --episodes 2 --checkpoint-every 1 --name pair --runs-dir"
    )
    tasks = "gridworld-red-ball,gridworld-blue-key"
    assert call("train", tasks, *tiny, tmp_path) == 0
    printed = capsys.readouterr().out
    assert "one program for 2 tasks" in printed
    for task in tasks.split(","):
        run = tmp_path / f"{task}-pair"
        assert [row["step"] for row in rows(run)] == [20, 40, 60, 80]
        result = json.loads((run / "evaluation.json").read_text())
        assert result["task"] == task
        assert len(result["per_seed"]["success_rate"]) == 2
        assert (run / "videos" / "best.png").exists()
    # Each is a run like any other: its last steps can be taken again, alone.
    first = tmp_path / "gridworld-red-ball-pair"
    expected = rows(first)
    chunk = json.loads((first / "config.json").read_text())["reward"]["chunk"]
    shutil.rmtree(first / "checkpoints" / "80")
    assert call("resume", first) == 0
    # Alone it is another program, which is said.
    printed = capsys.readouterr().out
    assert (
        "not the same as before, so figures may differ in their last digits: together: 2 -> None" in printed
    )
    assert f"chunk: {chunk // 2} -> {chunk}" in printed
    again = rows(first)
    assert [row["step"] for row in again] == [20, 40, 60, 80]
    assert again[:-1] == expected[:-1]
    # A name that is taken leaves no other run behind; it may be a path.
    shutil.rmtree(first)
    by_path = [*tiny[: tiny.index("--name")], "--name", tmp_path / "pair"]
    assert call("train", tasks, *by_path) == 2
    assert "exists already" in capsys.readouterr().err
    assert not first.exists()
