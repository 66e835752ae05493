"""`jaxvlm rate` from a run to its report, and from a set of states to labels."""

import csv
import http.client
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from jaxvlm.cli import main
from jaxvlm.cli import rate as command
from jaxvlm.cli.common import find_task
from jaxvlm.cli.rate import Rate
from jaxvlm.cli.rate_material import _drawing, _goal, _goal_of
from jaxvlm.errors import ConfigError
from jaxvlm.evaluation.collect import make_player
from jaxvlm.rating import Answer, Material, Rule
from jaxvlm.rating.criteria import CRITERIA, FALLBACK
from jaxvlm.rating.material import new_id

# From the environment's own reward: nothing is drawn in training, so that little has to be compiled.
TINY = shlex.split(
    "--steps 80 --num-envs 2 --rollout-length 20 --learning-starts 30 --updates 2 --batch-size 8 --buffer-size 400 "
    "--hidden-sizes 8 --episodes 3 --checkpoint-every 1 --reward ground-truth --seeds 2 --seed 4"
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
    folder = tmp_path_factory.mktemp("finished")
    assert call("train", "cartpole", *TINY, "--name", "first", "--runs-dir", folder) == 0
    return folder / "first"


@pytest.fixture(scope="module")
def recorded(finished):
    """The run after its page was opened once, with two episodes of each seed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(command, "open_page", lambda session, options: session.close())
        assert call("rate", finished, "--episodes", 2, "--size", 32) == 0
    return finished


@pytest.fixture
def run(recorded, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(recorded, tmp_path / "copy")


@pytest.fixture
def page(monkeypatch):
    """Instead of the page: every session that would have been served is kept here."""
    sessions = []
    monkeypatch.setattr(command, "open_page", lambda session, options: sessions.append(session))
    yield sessions
    for session in sessions:
        session.close()


def answer_all(session, name, value=50):
    for number, item in enumerate(session.items):
        session.answer(Answer(name, item, value, f"{name}-{number}"))


@pytest.mark.slow
def test_episodes_are_those_that_the_evaluation_counted(recorded):
    material = Material.open(recorded / "rating")
    with (recorded / "evaluation-episodes.csv").open() as file:
        counted = {(int(row["seed"]), int(row["episode"])): row for row in csv.DictReader(file)}
    assert [(item.seed, item.episode) for item in material.trajectories] == [(4, 0), (4, 1), (5, 0), (5, 1)]
    for item, holds in zip(material.trajectories, material.read_holds(), strict=True):
        row = counted[item.seed, item.episode]
        assert item.steps == int(row["length"]) == 200
        assert item.share == pytest.approx(float(row["upright_fraction"]), abs=1e-5)
        assert holds.sum() == round(200 * item.share)
        assert item.success is bool(int(row["success"]))
    assert material.rule == Rule(length=200, window=200, threshold=0.9)
    assert material.drawing.every == 2
    assert material.drawing.fps == 25.0  # CartPole's own time: 50 steps a second
    assert "upright" in material.goal.criterion


@pytest.mark.slow
def test_sampled_episodes_are_those_that_the_evaluation_sampled_and_kept_apart(run, page, capsys):
    flags = ("--actions", "sampled", "--size", 16, "--episodes", 3)
    assert call("rate", run, *flags) == 0
    material, first = (Material.open(run / name) for name in ("rating-sampled", "rating"))
    assert (material.actions, first.actions) == ("sampled", "deterministic")
    assert json.loads((run / "rating-sampled" / "material.json").read_text())["actions"] == "sampled"
    sampled = json.loads((run / "evaluation.json").read_text())["stochastic"]["per_seed"]["upright_fraction"]
    shares = np.array([item.share for item in material.trajectories]).reshape(2, 3)
    np.testing.assert_allclose(shares.mean(1), sampled, atol=1e-5)
    assert not (material.read_holds()[:2] == first.read_holds()[:2]).all()
    answer_all(page[0], "ann")
    assert call("rate", run, *flags, "--report") == 0
    printed = capsys.readouterr().out
    assert "6 items of 2 seeds, after 80 steps, actions sampled" in printed
    report = json.loads((run / "rating-sampled" / "report-share.json").read_text())
    assert report["runs"][0]["actions"] == "sampled"
    # One folder does not hold both.
    (run / "rating-sampled").rename(run.parent / run.name / run.name)
    assert call("rate", run, "--output", run) == 2
    assert "whose actions are sampled: give --actions sampled to go on" in capsys.readouterr().err


@pytest.mark.slow
def test_nothing_is_played_or_drawn_twice(run, page, capsys):
    before = {path: path.stat().st_mtime_ns for path in (run / "rating").rglob("*.*z*")}
    assert call("rate", run) == 0
    printed = capsys.readouterr().out
    assert "playing" not in printed
    assert "drawing" not in printed
    assert {path: path.stat().st_mtime_ns for path in (run / "rating").rglob("*.*z*")} == before
    assert len(page[0].items) == 4


@pytest.mark.slow
def test_more_episodes_keep_the_names_of_the_first(run, page):
    before = Material.open(run / "rating").trajectories
    assert call("rate", run, "--episodes", 3) == 0
    after = Material.open(run / "rating").trajectories
    assert len(after) == 6
    assert after[:4] == before  # rows of the first stay where they are
    with (run / "evaluation-episodes.csv").open() as file:
        counted = {(int(row["seed"]), int(row["episode"])): row for row in csv.DictReader(file)}
    for item in after:
        share = float(counted[item.seed, item.episode]["upright_fraction"])
        assert item.share == pytest.approx(share, abs=1e-5)
    holds = Material.open(run / "rating").read_holds()
    np.testing.assert_allclose(holds.mean(1), [item.share for item in after], atol=1e-6)
    assert call("rate", run, "--episodes", 1) == 0
    assert [len(session.items) for session in page] == [6, 2]


@pytest.mark.slow
def test_episodes_of_other_agents_are_not_mixed_with_the_first(run, capsys):
    material = Material.open(run / "rating")
    replace(material, trained=material.trained - 40).save()  # as if the run had been trained further since
    before = {path: path.stat().st_mtime_ns for path in (run / "rating").rglob("*.*z*")}
    assert call("rate", run, "--episodes", 3) == 2
    assert "further ones would be of other agents: choose another --output" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (run / "rating").rglob("*.*z*")} == before


@pytest.mark.slow
def test_phases_begin_where_the_run_says(tmp_path, page, monkeypatch):
    seen = []

    def spied(*arguments, **settings):
        player = make_player(*arguments, **settings)

        def play(env_params, *rest):
            seen.append(np.asarray(env_params.starts).tolist())
            return player(env_params, *rest)

        return play

    monkeypatch.setattr("jaxvlm.rating.record.make_player", spied)
    monkeypatch.setattr("jaxvlm.evaluation.collect.make_player", spied)
    task, name = "gridworld-red-ball-then-blue-key", "phases"
    assert call("train", task, *TINY, "--at", 10, "--name", name, "--runs-dir", tmp_path) == 0
    assert call("rate", tmp_path / name, "--episodes", 3, "--size", 32) == 0
    material = Material.open(tmp_path / name / "rating")
    assert material.goal.criterion.startswith("Up to 31% of the episode:")
    assert material.rule == Rule(length=32, window=32, threshold=0.5, phases=2)
    with (tmp_path / name / "evaluation-episodes.csv").open() as file:
        counted = [bool(int(row["success"])) for row in csv.DictReader(file)]
    assert [item.success for item in material.trajectories] == counted
    assert seen == [[10]]
    sources = ("dataset", "make", tmp_path / name, "--episodes", 1, "--states", 0)
    assert call(*sources, "--output", tmp_path / "datasets") == 0
    assert seen == [[10], [10]]


@pytest.mark.slow
def test_another_size_and_frames_are_drawn_anew(run, page):
    names = [item.id for item in Material.open(run / "rating").trajectories]
    assert call("rate", run, "--size", 16, "--frames", 3) == 0
    material = Material.open(run / "rating")
    assert [item.id for item in material.trajectories] == names
    assert material.drawing.size == 16
    assert page[0].mode == "frame"
    assert len(page[0].items) == len(material.frames) == 12
    assert all(material.picture(item).exists() for item in material.frames)


@pytest.mark.slow
def test_material_of_earlier_versions_is_told_the_rule(run, page):
    path = run / "rating" / "material.json"
    data = json.loads(path.read_text())
    del data["rule"]
    path.write_text(json.dumps(data))
    assert Material.open(run / "rating").rule is None
    assert call("rate", run) == 0
    assert Material.open(run / "rating").rule == Rule(length=200, window=200, threshold=0.9)


@pytest.mark.slow
def test_runs_are_mixed_and_drawn_alike(run, recorded, tmp_path, page):
    other = shutil.copytree(recorded, tmp_path / "other")
    material = Material.open(other / "rating")  # as if it were another run's, drawn in another size
    fresh = tuple(replace(item, id=new_id()) for item in material.trajectories)
    for old, new in zip(material.trajectories, fresh, strict=True):
        material.picture(old).rename(material.picture(new))
    replace(material, drawing=replace(material.drawing, size=24), trajectories=fresh).save()
    assert call("rate", run, other, "--size", 32) == 0
    assert len(page[0].items) == 8
    assert {item.id for item in fresh} < set(page[0].items)
    assert {found.drawing for found, _ in page[0].items.values()} == {Material.open(run / "rating").drawing}
    answer_all(page[0], "ann")
    assert call("rate", run, other, "--report") == 0
    for each in (run, other):
        assert len(json.loads((each / "rating" / "report-share.json").read_text())["runs"]) == 2


def test_states_of_another_library_are_drawn_as_its_tasks_are():
    labels = {"on_back": np.array([True]), "nose_down": np.array([False])}
    dataset: Any = SimpleNamespace(domain="brax_halfcheetah", goals=tuple(labels), labels=labels)
    task, goal, asked = _goal_of(dataset, "nose_down")
    assert (task.name, goal) == ("brax:halfcheetah-nose-down", "nose_down")
    assert asked.prompt == "a robot cheetah standing on its nose"
    with pytest.raises(ConfigError, match="domain 'chess', of which no task is known"):
        _goal_of(cast(Any, SimpleNamespace(domain="chess", goals=("mate",), labels={})), None)


def test_looks_of_another_environment_have_no_say(recorded):
    known = [Material.open(recorded / "rating")]
    options = Rate(runs=("a", "b"))
    assert _drawing(options, find_task("cartpole"), known).look == known[0].drawing.look == "plain"
    car = find_task("mountain-car")
    assert _drawing(options, car, known).look == car.look == "textured"
    assert _drawing(options, car, known).size == known[0].drawing.size


@pytest.mark.slow
def test_report_and_export(run, page, tmp_path, capsys):
    assert call("rate", run) == 0
    answer_all(page[0], "ann")
    answer_all(page[0], "bob", 0)
    capsys.readouterr()
    assert call("rate", run, "--report", "--export", tmp_path / "answers.csv") == 0
    printed = capsys.readouterr().out
    assert "success: the goal holds in at least 90 % of the steps. The predicate tells it" in printed
    assert re.search(r"ann +of 4 +mean share 50.0% \[50%, 50%\]", printed)
    assert "Krippendorff's alpha" in printed
    report = json.loads((run / "rating" / "report-share.json").read_text())
    (entry,) = report["runs"]
    assert entry["folder"] == str(run.resolve())  # where it lies now: it was recorded elsewhere
    assert entry["by"]["bob"]["histogram"] == {"0": 4, "25": 0, "50": 0, "75": 0, "100": 0}
    with (run / "evaluation-episodes.csv").open() as file:
        counted = [int(row["success"]) for row in csv.DictReader(file) if int(row["episode"]) < 2]
    assert entry["by"]["predicate"]["successes"] == sum(counted)
    assert (run / "rating" / "report-share.png").stat().st_size > 1000
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 9


@pytest.mark.slow
def test_the_real_command_serves_and_ends(recorded):
    for name in ("uvicorn", "starlette"):
        pytest.importorskip(name, reason="the extra `rate` is not installed")
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxvlm", "rate", str(recorded), "--no-browser", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "DISPLAY": ""},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    port = int(re.search(r"4 to rate at http://127\.0\.0\.1:(\d+)/", line)[1])
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/api/tasks?rater=ann")
    assert len(json.loads(connection.getresponse().read())["items"]) == 4
    connection.close()
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=30)[0]
    assert process.returncode == 0
    assert f"jaxvlm rate {recorded} --report" in printed


@pytest.mark.slow
def test_states_are_labelled_and_taken_into_their_set(tmp_path, page, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert call("dataset", "make", "grid:cartpole", "--states", 20, "--name", "poles") == 0
    assert call("rate", "poles", "--frames", 6, "--size", 32) == 0
    assert page[0].mode == "frame"
    assert len(page[0].items) == 6
    states = [item.state for _, item in page[0].items.values()]
    assert len(set(states)) == 6
    assert call("rate", "poles", "--frames", 9, "--size", 32) == 0
    assert [item.state for _, item in page[1].items.values()][:6] == states
    for number, (name, (_, item)) in enumerate(page[1].items.items()):
        page[1].answer(Answer("ann", name, int(item.share), f"a{number}"))
    assert call("rate", "poles", "--report", "--export", "labels.csv") == 0
    printed = capsys.readouterr().out
    assert "same verdict 100.0%" in printed
    goal = next(iter(json.loads(Path("runs/datasets/poles/dataset.json").read_text())["goals"]))
    rows = list(csv.DictReader(Path("labels.csv").read_text().splitlines()))
    assert list(rows[0]) == ["state", "label", "rater"]
    assert sorted(int(row["state"]) for row in rows) == sorted(
        item.state for _, item in page[1].items.values()
    )
    assert call("dataset", "label", "poles", "--goal", goal, "--from", "labels.csv") == 0
    with np.load("runs/datasets/poles/states.npz") as arrays:
        human, truth = arrays[f"human/{goal}"], arrays[f"label/{goal}"]
    known = human >= 0
    assert known.sum() == 9
    assert (human[known] == truth[known]).all()
    # The set was replaced, and the answers are still there.
    assert call("rate", "poles", "--report") == 0
    assert call("rate", "poles", "--goal", "a pole that leans", "--frames", 2, "--size", 32) == 0
    assert page[2].goals[0].prompt == "a pole that leans"
    # A sentence of the same letters has the same folder, and is another question.
    for more in ((), ("--report",)):
        assert call("rate", "poles", "--goal", "a pole, that leans", "--size", 32, *more) == 2
        assert (
            "holds answers to 'a pole that leans' and not to 'a pole, that leans'" in capsys.readouterr().err
        )


def test_hints_are_commands_that_work(tmp_path, capsys, monkeypatch):
    """What is printed has the flags that were given, and reads as the same options."""
    monkeypatch.setattr("jaxvlm.rating.server.serve", lambda session, listener, ready: listener.close())
    given = command.Rate(
        runs=("a run", "b"),
        episodes=3,
        frames=2,
        output=tmp_path / "of mine",
        camera=("default", "side"),
        port=0,
        no_browser=True,
        runs_dir=tmp_path / "runs",
    )
    command.open_page(None, given)
    again, figures = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  "))
    seen = []
    monkeypatch.setattr("jaxvlm.cli.rate_material.gather", lambda options, only_read: seen.append(options))
    monkeypatch.setattr("jaxvlm.rating.session.Session", lambda *settings: None)
    monkeypatch.setattr("jaxvlm.rating.server.require_packages", lambda: None)
    monkeypatch.setattr(command, "open_page", lambda session, options: None)
    monkeypatch.setattr(command, "give_account", lambda session, options: None)
    for line in (again, figures):
        program, *words = shlex.split(line)
        assert program == "jaxvlm"
        assert call(*words) == 0
    assert seen == [given, replace(given, report=True, port=None, no_browser=False)]


@pytest.mark.slow
def test_the_hint_where_nothing_was_shown_yet_has_the_flags(run, tmp_path, page, capsys):
    output = tmp_path / "elsewhere"
    assert call("rate", run, "--output", output, "--episodes", 1, "--size", 16, "--report") == 2
    hint = capsys.readouterr().err.strip().partition("to anyone yet: jaxvlm ")[2]
    assert call(*shlex.split(hint)) == 0
    answer_all(page[0], "ann")
    assert call("rate", run, "--output", output, "--episodes", 1, "--size", 16, "--report") == 0


def test_refusals(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "datasets" / "set").mkdir(parents=True)
    (tmp_path / "runs" / "datasets" / "set" / "dataset.json").write_text("{}")
    for arguments, message in (
        ([], "no run is given"),
        (["nothing"], "no run named 'nothing'"),
        (["x", "--episodes", 0], "episodes is 0"),
        (["x", "--size", -1], "size is -1"),
        (["x", "--frames", -1], "frames is -1"),
        (["set", "x"], "a set of states is labelled alone"),
        (["set"], "its dataset.json names no format"),
        (["set", "--actions", "sampled"], "--actions says how agents of runs act"),
    ):
        assert call("rate", *arguments) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_missing_package_is_told_before_anything_is_played(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert call("rate", "anything") == 2
    assert capsys.readouterr().err == (
        "jaxvlm: the rating page needs starlette, which is not installed: pip install 'jaxvlm[rate]'\n"
    )


@pytest.mark.slow
def test_nothing_to_report_yet(run, capsys, tmp_path):
    assert call("rate", run, "--report") == 2
    assert "nobody has rated these yet" in capsys.readouterr().err
    shutil.rmtree(run / "rating")
    assert call("rate", run, "--report") == 2
    assert "shown to anyone yet: jaxvlm rate" in capsys.readouterr().err
    assert call("rate", run, run) == 2
    assert "would share a folder" in capsys.readouterr().err
    assert call("rate", run, "--camera", "moon") == 2
    assert "unknown camera 'moon'" in capsys.readouterr().err
    assert call("rate", run, "--look", "red") == 2
    assert "unknown look 'red'" in capsys.readouterr().err


def test_a_task_of_ones_own_says_what_to_look_for():
    task = find_task("cartpole")
    own = replace(task, name="/home/me/robot.py:kneel", concept="kneeling", goal_prompts=("kneel",))
    assert _goal(own, ()).criterion == FALLBACK  # and not that of our humanoid
    assert _goal(replace(own, criterion="It kneels."), ()).criterion == "It kneels."
    assert _goal(task, ()).criterion == CRITERIA["cartpole"]


def test_phases_are_asked_for_at_the_steps_of_the_run():
    goal = _goal(find_task("humanoid-stand-then-kneel"), (), (30,))
    assert goal.criterion.startswith("Up to 30% of the episode: It stands")


def test_phases_are_asked_for_one_after_the_other():
    goal = _goal(find_task("humanoid-stand-then-kneel"), ())
    assert goal.prompt == "a humanoid robot standing up, then a humanoid robot kneeling"
    assert goal.criterion.startswith("Up to 50% of the episode: It stands")
    assert "From then on: It kneels" in goal.criterion
