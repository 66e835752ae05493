"""The command line as a user meets it: real processes, exit codes and what is printed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = [
    *(
        "--steps",
        "240",
        "--num-envs",
        "3",
        "--rollout-length",
        "40",
        "--learning-starts",
        "100",
        "--updates",
        "2",
    ),
    *("--batch-size", "8", "--buffer-size", "400", "--hidden-sizes", "8", "--episodes", "4"),
    *("--checkpoint-every", "4"),
]


def jaxvlm(*arguments, cwd, check=None, **environment):
    """Runs the command; returns the finished process."""
    process = subprocess.run(
        [sys.executable, "-m", "jaxvlm", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=command_environment(**environment),
        timeout=300,
    )
    if check is not None:
        assert process.returncode == check, process.stdout + process.stderr
    return process


def command_environment(**extra):
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]), **extra}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run from the sentence, to its end."""
    folder = tmp_path_factory.mktemp("trained")
    process = jaxvlm("train", "cartpole", *TINY, "--name", "first", cwd=folder, check=0)
    return folder, process


@pytest.mark.slow
def test_train_leaves_everything(trained):
    folder, process = trained
    run = folder / "runs/first"
    result = json.loads((run / "evaluation.json").read_text())
    assert result["task"] == "cartpole"
    assert result["episodes"] == 4
    assert result["seeds"] == [0]
    for key in ("success_rate", "upright_fraction", "mean_ground_truth_return", "mean_clip_reward"):
        assert isinstance(result[key], float)
    assert -200 <= result["mean_ground_truth_return"] <= 200
    assert result["versions"]["jax"]
    for path in (
        "videos/best.gif",
        "plots/learning_curves.png",
        "metrics.jsonl",
        "metrics.csv",
        "config.json",
    ):
        assert (run / path).stat().st_size > 0
        if "/" in path:
            assert str(Path("runs/first") / path) in process.stdout
    lines = process.stdout.splitlines()
    compiling = next(i for i, line in enumerate(lines) if "compiling" in line)
    assert compiling < next(i for i, line in enumerate(lines) if "steps/s" in line or "%" in line)


@pytest.mark.slow
def test_evaluate_repeats_the_figures(trained):
    folder, _ = trained
    before = json.loads((folder / "runs/first/evaluation.json").read_text())
    jaxvlm("evaluate", "first", "--episodes", 4, cwd=folder, check=0)
    after = json.loads((folder / "runs/first/evaluation.json").read_text())
    assert before["mean_ground_truth_return"] == after["mean_ground_truth_return"]
    assert before["mean_clip_reward"] == pytest.approx(after["mean_clip_reward"], abs=1e-5)


@pytest.mark.slow
def test_a_stopped_run_resumes_to_the_same_numbers(trained):
    folder, _ = trained
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "jaxvlm", "train", "cartpole", *TINY, "--name", "stopped"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
        env=command_environment(),
    )
    metrics = folder / "runs/stopped/metrics.jsonl"
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") >= 1):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=200)[0]
    if process.returncode == 0:
        pytest.fail(f"the run ended before it could be stopped:\n{output}")
    assert process.returncode == 130
    assert "jaxvlm resume runs/stopped" in output
    jaxvlm("resume", "stopped", cwd=folder, check=0)
    rows = [
        [json.loads(line) for line in (folder / "runs" / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("first", "stopped")
    ]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    for one, other in zip(*rows, strict=True):
        for clock in ("seconds", "steps_per_second"):
            one.pop(clock), other.pop(clock)
        assert one == other
    results = [
        json.loads((folder / "runs" / name / "evaluation.json").read_text()) for name in ("first", "stopped")
    ]
    assert results[0] == results[1]


BAD_INPUT = {
    "unknown task": (["train", "cartpol"], "unknown task 'cartpol'"),
    "unknown preset": (["train", "cartpole", "--preset", "papper"], "unknown preset 'papper'"),
    "empty prompt": (["train", "cartpole", "--prompt", " "], "needs at least one word"),
    "no prompt": (["train", "cartpole", "--prompt"], "no goal prompt"),
    "long prompt": (["train", "cartpole", "--prompt", "pole " * 60], "24"),
    "alpha": (["train", "cartpole", "--alpha", "1.5"], "alpha is 1.5"),
    "prompt lists": (["train", "cartpole", "--alpha", "0.5", "--negative", "cart"], "takes no baseline"),
    "no checkpoint": (["train", "cartpole", "--clip", "no/such/directory"], "no/such/directory"),
    "look": (["train", "cartpole", "--look", "textured"], "unknown look 'textured'"),
    "buffer": (["train", "cartpole", "--buffer-size", str(10**12)], "GB"),
    "steps": (["train", "cartpole", "--steps", "0"], "steps is 0"),
    "sink": (["train", "cartpole", "--sinks", "printer"], "printer"),
    "resume": (["resume", "nothing"], "no run named 'nothing'"),
    "evaluate": (["evaluate", "nothing"], "no run named 'nothing'"),
    "verb": (["trian"], "unknown verb 'trian'"),
    "domain": (["clip", "train", "humanoids"], "humanoids"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(case, tmp_path):
    arguments, expected = BAD_INPUT[case]
    process = jaxvlm(*arguments, cwd=tmp_path, check=2)
    lines = process.stderr.strip().splitlines()
    assert len(lines) == 1, process.stderr
    assert expected in lines[0]
    assert not list(tmp_path.iterdir())


def test_existing_run_directory(tmp_path):
    (tmp_path / "runs/taken").mkdir(parents=True)
    process = jaxvlm("train", "cartpole", "--name", "taken", cwd=tmp_path, check=2)
    assert "runs/taken exists already" in process.stderr
    assert not list((tmp_path / "runs/taken").iterdir())


def test_help_of_every_verb(tmp_path):
    usage = jaxvlm("--help", cwd=tmp_path, check=0).stdout
    for verb in ("train", "resume", "evaluate", "landscape", "clip train", "clip check"):
        assert verb in usage
        assert "usage" in jaxvlm(*verb.split(), "--help", cwd=tmp_path, check=0).stdout
    page = jaxvlm("train", "--help", cwd=tmp_path, check=0).stdout
    for word in ("cartpole-swingup", "mountain-car-plain", "paper", "default"):
        assert word in page
    flags = jaxvlm("train", "mountain-car", "--help", cwd=tmp_path, check=0).stdout
    for flag in ("--alpha", "--prompt", "--clip", "--seeds", "--actor-hidden-sizes", "--chunk"):
        assert flag in flags


@pytest.mark.slow
def test_landscape_and_check_write_pictures_and_tables(tmp_path):
    process = jaxvlm("landscape", "cartpole", "--alphas", 0, 1, "--output", "out", cwd=tmp_path, check=0)
    table = (tmp_path / "out/cartpole-tiny.csv").read_text().splitlines()
    assert table[0] == "angle,alpha_0,alpha_1"
    assert (tmp_path / "out/cartpole-tiny.png").stat().st_size > 0
    assert "highest at" in process.stdout
    process = jaxvlm("clip", "check", "cartpole", "--states", 300, "--output", "out", cwd=tmp_path, check=0)
    figures = json.loads((tmp_path / "out/cartpole-tiny.json").read_text())["rows"]
    assert figures["goal"]["auc"] > 0.99
    assert figures["opposite"]["auc"] < 0.5
    assert "training can work" in process.stdout


@pytest.mark.slow
def test_check_warns_of_an_untrained_checkpoint_and_unknown_words(tmp_path):
    process = jaxvlm(
        "clip",
        "check",
        "cartpole",
        "--clip",
        "untrained",
        "--states",
        300,
        "--prompt",
        "flamingo",
        cwd=tmp_path,
        check=0,
    )
    assert "has never seen 'flamingo'" in process.stdout
    assert "training can work" not in process.stdout
