"""`jaxvlm transfer` on a small room, and what it refuses."""

import csv
import json

import pytest

SMALL = (
    "--grid", "6", "--seeds", "1", "--sources", "4", "--validation", "1", "--targets", "2", "--tune", "False",
    "--arms", "random", "uniform", "language", "--chunk", "2", "--base.updates", "2", "--base.num-envs", "4",
    "--fine.updates", "3", "--fine.num-envs", "4",
)  # fmt: skip


@pytest.fixture
def transfer(call):
    """Runs the verb; returns exit code and output."""

    def transfer(*arguments):
        code, out, error = call("transfer", *arguments)
        return code, out + error

    return transfer


@pytest.mark.slow
def test_a_report_and_a_bank_that_a_second_try_reads(tmp_path, transfer):
    code, out = transfer(*SMALL)
    assert code == 0, out
    folder = tmp_path / "runs" / "transfer" / "colour-6-4-default"
    assert {"report.md", "runs.csv", "curves.png", "steps.png", "similarities.png", "bank"} <= {
        path.name for path in folder.iterdir()
    }
    assert "| uniform |" in out
    assert "raise --base.updates" in out  # two updates learn little, and it says so
    code, out = transfer(*SMALL)
    assert (code, "holds a report already; choose another --name" in out) == (2, True)
    first = (folder / "runs.csv").read_text()
    (folder / "report.md").unlink()
    code, out = transfer(*SMALL)
    assert (code, "raise --base.updates" in out) == (0, False)  # read, not learned again
    assert (folder / "runs.csv").read_text() == first
    (folder / "report.md").unlink()
    code, out = transfer(*SMALL, "--base.learning-rate", "0.1")
    assert (code, "was made with other numbers; choose another --name" in out) == (2, True)


@pytest.mark.slow
def test_an_open_question_is_answered_with_a_figure(tmp_path, transfer):
    base = [x for x in SMALL if x not in ("--arms", "random", "uniform", "language")]
    code, out = transfer("--preset", "negative", *base, "--runs-dir", "q")
    assert code == 0, out
    assert "of 2 targets take longer than from a fresh policy" in out
    folder = next((tmp_path / "q").iterdir())
    names = {path.name for path in folder.iterdir()}
    assert names == {"answer.md", "bank", "negative.png", "series.csv"}
    assert "negative.png" in (folder / "answer.md").read_text()
    code, out = transfer("--preset", "negative", *base, "--runs-dir", "q")
    assert (code, "holds a report already" in out) == (2, True)


TINY = (
    "--seeds", "1", "--sources", "4", "--validation", "1", "--targets", "2", "--tune", "False", "--retries", "0",
    "--arms", "random", "language", "ridge", "oracle", "--chunk", "4", "--base.num-envs", "4", "--fine.num-envs", "4",
    "--base.updates", "2", "--fine.updates", "2",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "name"), [
    (("--family", "house", "--grid", "7"), "house-7-4-default"), (("--preset", "continuous"), "cartpole-4-continuous"),
])  # fmt: skip
def test_other_worlds_go_through_the_same_program(tmp_path, transfer, arguments, name):
    code, out = transfer(*arguments, *TINY)
    assert code == 0, out
    folder = tmp_path / "runs" / "transfer" / name
    rows = list(csv.DictReader((folder / "runs.csv").read_text().splitlines()))
    assert len(rows) == 4 * 2
    # Shares of the best return: a policy that has learned next to nothing has some of it and not more.
    assert all(0 <= float(row["final"]) <= 1.001 for row in rows)
    assert name.startswith("house") or any(float(row["final"]) > 0 for row in rows)
    bank = json.loads((folder / "bank" / "0" / "bank.json").read_text())
    assert bank["made_with"]["algorithm"] == {"house": "ppo", "cartpole": "sac"}[name.split("-")[0]]


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "words"), [
    (("--family", "moon"), "unknown family 'moon'; choose one of colour, shape"),
    (("--family", "cartpole"), "--family cartpole and --preset default do not go together"),
    (("--family", "shape", "--preset", "continuous"), "--family shape and --preset continuous do not go together"),
    (("--algorithm", "sac"), "--algorithm sac does not learn the tasks of colour; choose ppo or dqn"),
    (("--preset", "continuous", "--algorithm", "ppo"), "does not learn the tasks of cartpole; choose sac"),
    (("--preset", "continuous", "--grid", "8"), "--grid 8 is a room's size and CartPole has none"),
    (("--family", "house", "--algorithm", "dqn"), "--algorithm dqn is for open rooms"),
    (("--family", "house", "--preset", "paper"), "--preset paper is for open rooms"),
    (("--family", "house", "--grid", "6"), "size is 6; a house of four rooms has at least 7"),
    (("--grid", "0"), "--grid is 0; give a number of cells"),
    (("--algorithm", "a2c"), "unknown algorithm 'a2c'; choose one of ppo, dqn, sac"),
    (("--grid", "large"), "--grid is 'large'"), (("--grid", "5"), "size is 5"),
    (("--family", "smell"), "unknown family 'smell'"),
    (("--preset", "quick"), "library, representation, networks, negative"),
    (("--sources", "70"), "70 sources, 8 validation tasks and 8 targets are 86 tasks"),
    (("--encoder", "nowhere"), "nowhere has no config.json"),
])  # fmt: skip
def test_what_cannot_be_run_is_named(transfer, arguments, words):
    code, out = transfer(*arguments)
    assert (code, words in out) == (2, True), out
