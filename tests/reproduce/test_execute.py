"""Rows are run in processes of their own: failures, interruptions, kills and what is left of them."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jaxvlm.cli.reproduce import expected
from jaxvlm.errors import ConfigError
from jaxvlm.reproduce import Figure, Place, Row
from jaxvlm.reproduce.execute import estimate, last_words, lock, run_plan
from jaxvlm.reproduce.figure import BUDGETS, Section
from jaxvlm.reproduce.plan import enter, ledger, make_plan
from jaxvlm.reproduce.scaling import epic_rows

FAKE = Path(__file__).with_name("fake_jaxvlm.py")


def fake(arguments):
    return [sys.executable, "-S", str(FAKE), *arguments]


def plan_of(place, *rows, runs=()):
    figure = Figure("figx", "Figure x", lambda place: rows, lambda found: Section(found=""))
    return make_plan(
        [figure], place, lambda row: {"task": row.task, "reward": {}} if row.task else None, runs
    )


def run(plan, at_once=1):
    lines, reports = [], []
    outcome = run_plan(plan, reports.append, at_once=at_once, program=fake, tell=lines.append)
    return outcome, lines, reports


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def test_rows_run_in_order_and_the_report_follows_each(place):
    row = place.train("humanoid-kneeling-a0", "humanoid-kneeling")
    control, episodes = place.control(row.name, "random"), place.episodes(row.name)
    outcome, lines, reports = run(plan_of(place, control, episodes, row))
    assert not outcome.failed
    assert len(reports) == 2  # the table of episodes came with the training
    assert all((place.folder / each.product).exists() for each in (row, control, episodes))
    assert lines[0].startswith("[1/2] humanoid-kneeling-a0  (about 33m00s left in all)")
    assert "jaxvlm train humanoid-kneeling" in lines[1]
    entry = ledger(place.folder)[row.name]
    assert entry["code"] == 0
    assert entry["command"] == row.command
    assert "$ jaxvlm train" in (place.folder / "logs" / f"{row.name}.log").read_text()
    again, lines, _ = run(plan_of(place, control, episodes, row))
    assert (again.failed, lines) == ({}, [])


def test_a_row_that_fails_is_told_and_the_others_go_on(place, monkeypatch):
    bad, good = place.clip_train("bad", "humanoid"), place.clip_train("good", "humanoid")
    needs = place.train("humanoid-kneeling-bad", "humanoid-kneeling", needs=(bad.name,))
    monkeypatch.setenv("FAKE_FAILS", "bad")
    outcome, lines, _ = run(plan_of(place, bad, needs, good))
    assert outcome.failed == {"clip-bad": "jaxvlm: made to fail"}
    assert outcome.skipped == {needs.name: "clip-bad"}
    assert (place.folder / good.product).exists()
    assert any("left out, it needs clip-bad" in line for line in lines)
    monkeypatch.delenv("FAKE_FAILS")
    outcome, _, _ = run(plan_of(place, bad, needs, good))
    assert not outcome.failed
    assert (place.folder / needs.product).exists()


def test_figures_of_earlier_agents_do_not_stand_in_for_an_evaluation_that_failed(place, monkeypatch):
    agents = place.train("humanoid-kneeling-a0", "humanoid-kneeling")
    control = place.control(agents.name, "random")
    fooled = Row(
        name="fooled",
        arguments=("evaluate", str(place.folder / "runs" / agents.name), "--fooled", "6"),
        product=f"runs/{agents.name}/fooled.json",
        needs=(agents.name,),
    )
    run(plan_of(place, agents))
    product = place.folder / fooled.product
    product.write_text('{"of": "earlier agents"}')
    monkeypatch.setenv("FAKE_FAILS", agents.name)  # fails whatever works on that run
    enter(
        place.folder,
        [fooled.name],
        {"ended": "2001-01-01T00:00:00+00:00", "code": 0, "seconds": 60, "guess": 3},
    )
    plan = plan_of(place, agents, fooled, control)
    assert plan.states[fooled.name] == "missing"
    assert set(run(plan)[0].failed) == {fooled.name, control.name}
    # The same command tries them again.
    plan = plan_of(place, agents, fooled, control)
    assert (plan.states[fooled.name], plan.states[agents.name]) == ("missing", "finished")


def test_what_is_outdated_is_set_aside_and_made_again(tmp_path, monkeypatch):
    place = Place(tmp_path, clips=("A", "C"))
    *_, states, epic = epic_rows(place)
    states, epic = replace(states, needs=()), replace(epic, needs=(states.name,))
    figure = Figure("figx", "Figure x", lambda place: [states, epic], lambda found: Section(found=""))
    outcome, _, _ = run(make_plan([figure], place, expected))
    assert not outcome.failed
    assert not make_plan([figure], place, expected).left
    dataset = tmp_path / states.product
    dataset.write_text("{}")
    monkeypatch.setenv("FAKE_FAILS", place.named("humanoid-play"))
    outcome, lines, _ = run(make_plan([figure], place, expected))
    assert outcome.failed
    assert outcome.skipped == {epic.name: states.name}
    assert sum("made of other things, it is now" in line for line in lines) == 2
    assert not (tmp_path / epic.product).exists()  # distances on states that are gone count no more
    monkeypatch.delenv("FAKE_FAILS")
    outcome, _, _ = run(make_plan([figure], place, expected))
    assert not outcome.failed
    assert not make_plan([figure], place, expected).left
    assert (dataset.parent.with_name(f"{dataset.parent.name}-before") / "dataset.json").read_text() == "{}"


def test_rows_run_side_by_side(place, monkeypatch):
    monkeypatch.setenv("FAKE_MEETS", "2")
    rows = [place.train(f"cartpole-a{k}", "cartpole") for k in range(3)]
    outcome, lines, reports = run(plan_of(place, *rows), at_once=2)
    assert not outcome.failed
    assert len(reports) == 3
    assert sum(line.startswith("[") for line in lines) == 3
    assert "(about 9m00s left in all)" in lines[0]  # three times six minutes, two at once
    alone = replace(place, folder=place.folder / "alone")
    outcome, _, _ = run(plan_of(alone, *(alone.train(f"cartpole-a{k}", "cartpole") for k in range(2))))
    assert outcome.failed == {"cartpole-a0": "jaxvlm: nobody came"}


def test_side_by_side_needs_are_waited_for_and_a_run_has_one_writer(place):
    row = place.train("cartpole-a0", "cartpole")
    rows = [row, place.control(row.name, "random"), place.control(row.name, "zero"), place.episodes(row.name)]
    events = []
    outcome = run_plan(
        plan_of(place, *rows),
        lambda outcome: events.append("ended"),
        at_once=4,
        program=fake,
        tell=lambda line: events.append(line[:6]) if line.startswith("[") else None,
    )
    assert not outcome.failed
    assert events == ["[1/3] ", "ended", "[2/3] ", "ended", "[3/3] ", "ended"]


def test_side_by_side_a_failure_costs_only_what_needs_it(place, monkeypatch):
    monkeypatch.setenv("FAKE_FAILS", "bad")
    bad, good = place.clip_train("bad", "humanoid"), place.clip_train("good", "humanoid")
    needs = [
        place.train(f"humanoid-kneeling-{clip.name}", "humanoid-kneeling", needs=(clip.name,))
        for clip in (bad, good)
    ]
    outcome, _, reports = run(plan_of(place, bad, good, *needs), at_once=3)
    assert outcome.failed == {"clip-bad": "jaxvlm: made to fail"}
    assert outcome.skipped == {needs[0].name: "clip-bad"}
    assert (place.folder / needs[1].product).exists()
    assert len(reports) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="affinity of Linux")
def test_rows_side_by_side_share_the_cores(place, monkeypatch):
    given = []
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3, 4})
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: given.append(cores))
    rows = [place.train(f"cartpole-a{k}", "cartpole") for k in range(2)]
    run(plan_of(place, *rows), at_once=2)
    assert sorted(given) == [[0, 2, 4], [1, 3]]
    given.clear()
    place = replace(place, folder=place.folder / "one")
    run(plan_of(place, place.train("cartpole-a0", "cartpole")))
    assert given == []


@pytest.mark.skipif(sys.platform != "linux", reason="affinity of Linux")
def test_cores_that_may_not_be_parted_are_shared(place, monkeypatch):
    def refused(pid, cores):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "sched_setaffinity", refused)
    outcome, _, _ = run(plan_of(place, place.train("cartpole-a0", "cartpole")), at_once=2)
    assert not outcome.failed


def test_a_row_without_its_product_has_failed(place):
    row = Row(
        "lost", ("clip", "train", "humanoid", "--output", str(place.folder / "elsewhere")), "nothing/here"
    )
    outcome, _, _ = run(plan_of(place, row))
    assert "left no nothing/here" in outcome.failed["lost"]


def test_a_run_that_stopped_is_resumed(place):
    row = place.train("cartpole-a0", "cartpole")
    folder = place.folder / "runs" / row.name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"task": "cartpole", "seeds": 2, "reward": {}}))
    _, lines, _ = run(plan_of(place, row))
    assert any(f"jaxvlm resume {folder}" in line for line in lines)
    assert (folder / "evaluation.json").exists()


def test_a_run_of_another_folder_is_copied_not_run(place, tmp_path):
    other = Place(tmp_path / "other")
    row = place.train("cartpole-a0", "cartpole")
    run(plan_of(other, other.train("mine", "cartpole")))
    outcome, _, _ = run(plan_of(place, row, runs=[other.folder / "runs"]))
    assert not outcome.failed
    folder = place.folder / "runs" / row.name
    assert json.loads((folder / "reused.json").read_text())["from"].endswith("other/runs/mine")
    assert not (other.folder / "runs" / "mine" / "reused.json").exists()


def test_poses_of_a_group_are_one_command(tmp_path):
    place = Place(tmp_path, BUDGETS["gpu"])
    rows = [place.train(f"humanoid-{pose}-a0", f"humanoid-{pose}") for pose in ("kneeling", "lotus")]
    outcome, lines, reports = run(plan_of(place, *rows))
    assert not outcome.failed
    assert len(reports) == 1
    assert any("train humanoid-kneeling,humanoid-lotus" in line for line in lines)
    # The time of both: the ledger holds that of each.
    assert lines[0] == "[1/1] humanoid-kneeling-a0, humanoid-lotus-a0  (about 4m00s left in all)"
    assert all((place.folder / row.product).exists() for row in rows)


def test_time_left_follows_the_rows_that_were_run(place):
    rows = [Row("a", (), "a", minutes=10.0), Row("b", (), "b", minutes=20.0), Row("c", (), "c", minutes=99.0)]
    states = {"a": "missing", "b": "stopped", "c": "reused"}
    assert estimate(rows, states, {}) == 30.0
    known = {
        "x": {"seconds": 300.0, "guess": 10.0, "code": 0},
        "y": {"seconds": 9e9, "guess": 1.0, "code": 1},
    }
    assert estimate(rows, states, known) == 15.0


def test_a_folder_has_one_user(tmp_path):
    with lock(tmp_path), pytest.raises(ConfigError, match="in use by another"), lock(tmp_path):
        pass
    with lock(tmp_path):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="choose another --folder"), lock(tmp_path / "file"):
        pass


def test_last_words(tmp_path):
    log = tmp_path / "log"
    assert last_words(log) == "it said nothing"
    log.write_text("one\n 10%\r 20%\n\n")
    assert last_words(log) == "20%"


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test run in the background has not inherited
from test_execute import Place, plan_of, run_plan, fake
from pathlib import Path
place = Place(Path(sys.argv[1]))
rows = [place.train("cartpole-a0", "cartpole"), place.train("cartpole-a1", "cartpole")]
outcome = run_plan(
    plan_of(place, *rows), lambda outcome: None, at_once=int(sys.argv[2]), program=fake,
    tell=lambda line: print(line, flush=True),
)
print("stopped" if outcome.stopped else "done", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_the_row_and_the_same_command_goes_on(tmp_path, number):
    folder = tmp_path / "all"
    environment = {
        **os.environ,
        "FAKE_HANGS": "cartpole-a0",
        "PYTHONPATH": os.pathsep.join([str(FAKE.parent), *sys.path]),
    }
    command = [sys.executable, "-c", SCRIPT, str(folder), "1"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    log = folder / "logs" / "cartpole-a0.log"
    deadline = time.monotonic() + 60
    while not (log.exists() and "learning" in log.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    printed = process.communicate(timeout=30)[0]
    if number == signal.SIGKILL:  # the row outlives us and keeps the folder to itself
        with pytest.raises(ConfigError, match="row that it left running"), lock(folder):
            pass
        os.kill(int((folder / "runs" / "cartpole-a0" / "asked").read_text()), signal.SIGTERM)
        for _ in range(100):
            try:
                with lock(folder):
                    break
            except ConfigError:
                time.sleep(0.1)
    else:
        assert printed.splitlines()[-1] == "stopped"
    place = Place(folder)
    plan = plan_of(place, place.train("cartpole-a0", "cartpole"), place.train("cartpole-a1", "cartpole"))
    assert plan.states == {"cartpole-a0": "stopped", "cartpole-a1": "missing"}
    outcome, lines, _ = run(plan)
    assert not outcome.failed
    assert any("jaxvlm resume" in line for line in lines)


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interruption_reaches_all_rows_that_run(tmp_path):
    environment = {
        **os.environ,
        "FAKE_HANGS": "cartpole-a0,cartpole-a1",
        "PYTHONPATH": os.pathsep.join([str(FAKE.parent), *sys.path]),
    }
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "all"), "2"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    logs = [tmp_path / "all" / "logs" / f"cartpole-a{k}.log" for k in range(2)]
    deadline = time.monotonic() + 60
    while not all(log.exists() and "learning" in log.read_text() for log in logs):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed = process.communicate(timeout=30)[0].splitlines()
    assert printed[-1] == "stopped"
    assert any("stopping: the rows save their state" in line for line in printed)
    place = Place(tmp_path / "all")
    plan = plan_of(place, place.train("cartpole-a0", "cartpole"), place.train("cartpole-a1", "cartpole"))
    assert set(plan.states.values()) == {"stopped"}
    outcome, _, _ = run(plan, at_once=2)
    assert not outcome.failed


def test_rows_are_not_left_alone_when_the_report_cannot_be_written(place, monkeypatch):
    monkeypatch.setenv("FAKE_HANGS", "cartpole-a0")

    def full(outcome):
        raise OSError("no space left")

    started = time.monotonic()
    with pytest.raises(OSError, match="no space left"):
        run_plan(
            plan_of(place, place.train("cartpole-a0", "cartpole"), place.clip_train("xs", "humanoid")),
            full,
            at_once=2,
            program=fake,
            tell=lambda line: None,
        )
    assert time.monotonic() - started < 50  # it hangs for 60
    with lock(place.folder):
        pass
