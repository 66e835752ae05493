"""The command line as a user meets it: real processes, exit codes and what is printed."""

import errno
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxvlm.clip import resolve
from jaxvlm.runtime import Run

# Six iterations, so that there is time to stop one.
TINY = shlex.split(
    "--steps 240 --num-envs 2 --rollout-length 20 --learning-starts 60 --updates 2 --batch-size 8 --buffer-size 400 "
    "--hidden-sizes 8 --episodes 4 --checkpoint-every 4"
)


def jaxvlm(*arguments, cwd, check=None, **environment):
    """Runs the command; returns the finished process."""
    process = subprocess.run(
        [sys.executable, "-m", "jaxvlm", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=command_environment(**environment),
        timeout=900,
    )
    if check is not None:
        assert process.returncode == check, process.stdout + process.stderr
    return process


def command_environment(**extra):
    root = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]), **extra}


@pytest.mark.slow
def test_a_reader_that_has_enough_ends_it_quietly(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxvlm", "transfer", "--help"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=command_environment(),
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.communicate(timeout=300)[1] == ""
    assert process.returncode == 141


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
def test_evaluate_repeats_the_figures(trained, call):
    run = trained[0] / "runs/first"
    before = json.loads((run / "evaluation.json").read_text())
    assert call("evaluate", run, "--episodes", 4)[0] == 0
    after = json.loads((run / "evaluation.json").read_text())
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
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and not (metrics.exists() and metrics.read_text().count("\n") >= 1):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=600)[0]
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


# Nothing can be written below a regular file, by root neither.
NO_FOLDER = f"{__file__}/folder"

BAD_INPUT = {
    "unknown task": (["train", "cartpol"], "unknown task 'cartpol'"),
    "unknown preset": (["train", "cartpole", "--preset", "papper"], "unknown preset 'papper'"),
    "empty prompt": (["train", "cartpole", "--prompt", " "], "needs at least one word"),
    "no prompt": (["train", "cartpole", "--prompt"], "no goal prompt"),
    "long prompt": (["train", "cartpole", "--prompt", "pole " * 60], "24"),
    "alpha": (["train", "cartpole", "--alpha", "1.5"], "alpha is 1.5"),
    "prompt lists": (["train", "cartpole", "--alpha", "0.5", "--negative", "cart"], "takes no baseline"),
    "sigmoid and negatives": (
        ["train", "cartpole", "--sigmoid", "True", "--alpha", "0", "--negative", "cart"],
        "select the softmax",
    ),
    "sigmoid": (["train", "cartpole", "--sigmoid", "True", "--alpha", "0"], "the CLIP has no logit_bias"),
    "no checkpoint": (["train", "cartpole", "--clip", "no/such/directory"], "no/such/directory"),
    "look": (["train", "cartpole", "--look", "textured"], "unknown look 'textured'"),
    "camera": (["train", "cartpole", "--camera", "below"], "unknown camera 'below'; this task has default"),
    "camera of the control": (
        ["train", "cartpole", "--reward", "ground-truth", "--camera", "below"],
        "unknown camera 'below'; this task has default",
    ),
    "no camera": (["train", "cartpole", "--reward", "ground-truth", "--camera"], "no camera is given"),
    "buffer": (["train", "cartpole", "--buffer-size", str(10**12)], "GB"),
    "steps": (["train", "cartpole", "--steps", "0"], "steps is 0"),
    "too many steps": (
        ["train", "cartpole", "--steps", "3000000000"],
        "steps is 3000000000, in whole iterations 3000000576; give fewer, they are counted up to 2147483647",
    ),
    "target entropy": (
        ["train", "mountain-car", "--reward", "ground-truth", "--target-entropy", "nan"],
        "target_entropy is nan; it has to be finite",
    ),
    "temperature": (["train", "cartpole", "--temperature", "0"], "temperature is 0.0"),
    "home of a name": (
        ["train", "cartpole", "--reward", "ground-truth", "--name", "~nosuchuser"],
        "'~nosuchuser' is in no home directory that is known",
    ),
    "home of a checkpoint": (
        ["train", "cartpole", "--clip", "~nosuchuser/clip"],
        "'~nosuchuser/clip' is in no home directory that is known",
    ),
    "home of a run": (["evaluate", "~nosuchuser/run"], "'~nosuchuser/run' is in no home directory"),
    "home of runs": (["resume", "x", "--runs-dir", "~nosuchuser"], "'~nosuchuser' is in no home directory"),
    "checkpoint of what fools": (
        ["evaluate", "x", "--fooled", "12", "--checkpoint", "last"],
        "leave --checkpoint out",
    ),
    "episodes of what fools": (
        ["evaluate", "x", "--fooled", "12", "--episodes", "5"],
        "--fooled plays the best agents for a number of episodes of its own; leave --episodes out",
    ),
    "sink": (["train", "cartpole", "--sinks", "printer"], "printer"),
    "resume": (["resume", "nothing"], "no run named 'nothing'"),
    "evaluate": (["evaluate", "nothing"], "no run named 'nothing'"),
    "verb": (["trian"], "unknown verb 'trian'"),
    "clip verb": (["clip", "chek"], "'clip' is followed by train or check, not chek"),
    "run directory": (
        ["train", "cartpole", "--reward", "ground-truth", "--runs-dir", NO_FOLDER],
        f"cannot create run directory {NO_FOLDER}",
    ),
    "two environments": (
        ["train", "humanoid-lotus,cartpole"],
        "cartpole cannot be trained in one program with humanoid-lotus",
    ),
    "one pose twice": (["train", "humanoid-lotus,humanoid-lotus"], "a task is named twice"),
    "alphas for each of two poses": (
        ["train", "humanoid-lotus,humanoid-splits", "--each-alpha", "0", "1"],
        "--each-prompt and --each-alpha are of one task",
    ),
    "alphas for each of two poses, spelt otherwise": (
        ["train", "humanoid-lotus,humanoid-splits", "--each_alpha", "0", "1"],
        "--each-prompt and --each-alpha are of one task",
    ),
    "a sentence and several": (
        ["train", "cartpole", "--prompt", "a", "--each-prompt", "b", "c"],
        "--prompt and --each-prompt are given",
    ),
    "an alpha twice": (["train", "cartpole", "--each-alpha", "0.5", "0.50"], "--each-alpha has 0.5 twice"),
    "alphas that nothing hears": (
        ["train", "cartpole", "--reward", "ground-truth", "--each-alpha", "0", "1"],
        "--reward ground-truth has no CLIP",
    ),
    "no name for two alphas": (
        ["train", "cartpole", "--each-alpha", "0", "1", "--name", "."],
        "run name '.' names no new directory",
    ),
    "a weight without a mix": (
        ["train", "cartpole", "--clip-weight", "2"],
        "weights are those of --reward mix",
    ),
    "a reward that the task lacks": (
        ["train", "cartpole", "--reward", "own"],
        "cartpole has no reward of its own: give its Task a `label`",
    ),
    "one sentence for two poses": (
        ["train", "humanoid-lotus,humanoid-splits", "--prompt", "a robot"],
        "give --prompt, --then, --baseline or --negative with one task",
    ),
    "no name for two poses": (
        ["train", "humanoid-lotus,humanoid-splits", "--name", "."],
        "run name '.' names no new directory: choose another --name",
    ),
    "the root as a name": (
        ["train", "humanoid-lotus,humanoid-splits", "--name", "/"],
        "run name '/' names no new directory",
    ),
    "long run": (["resume", "x" * 300], "file name too long"),
    "unknown pose": (["train", "humanoid-lotus,humanoid-flying"], "unknown task 'humanoid-flying'"),
    "landscape task": (["landscape", "cartpol"], "unknown task 'cartpol'"),
    "landscape alpha": (["landscape", "cartpole", "--alphas", "0.5", "2"], "alpha is 2.0"),
    "landscape no alpha": (["landscape", "cartpole", "--alphas"], "no alpha is given"),
    "landscape look": (["landscape", "cartpole", "--look", "textured"], "unknown look 'textured'"),
    "landscape prompt": (["landscape", "cartpole", "--prompt", " "], "needs at least one word"),
    "landscape long prompt": (["landscape", "cartpole", "--prompt", "pole " * 60], "tower takes 24"),
    "landscape checkpoint": (["landscape", "cartpole", "--clip", "no/such/directory"], "no/such/directory"),
    "check task": (["clip", "check", "cartpol"], "unknown task 'cartpol'"),
    "check states": (["clip", "check", "cartpole", "--states", "1"], "states is 1"),
    "check alpha": (["clip", "check", "cartpole", "--alpha", "-1"], "alpha is -1.0"),
    "check seed": (["clip", "check", "cartpole", "--seed", str(2**70)], f"seed is {2**70}"),
    "check look": (["clip", "check", "cartpole", "--look", "textured"], "unknown look 'textured'"),
    "check prompt": (["clip", "check", "cartpole", "--prompt", " "], "needs at least one word"),
    "check long prompt": (["clip", "check", "cartpole", "--prompt", "pole " * 60], "tower takes 24"),
    "check checkpoint": (["clip", "check", "cartpole", "--clip", "no/such/directory"], "no/such/directory"),
    "domain": (["clip", "train", "humanoids"], "humanoids"),
    "batch": (
        ["clip", "train", "mountain_car", "--batch-size", "63"],
        "batch_size 63 does not split over 2 looks",
    ),
    "image": (["clip", "train", "cartpole", "--image-size", "60"], "image_size 60 is not a multiple"),
    "patch": (["clip", "train", "cartpole", "--patch-size", "0"], "patch_size is 0"),
    "width": (["clip", "train", "cartpole", "--width", "100"], "width 100 does not divide into 3"),
    "text width": (
        ["clip", "train", "cartpole", "--text-width", "98"],
        "text_width 98 does not divide into 3",
    ),
    "context": (["clip", "train", "cartpole", "--context", "6"], "context 6 is too short"),
    "image std": (["clip", "train", "cartpole", "--image-std", "0"], "image_std is 0.0"),
    "evaluation": (["clip", "train", "cartpole", "--evaluation-states", "1"], "evaluation_states is 1"),
    "seed": (["clip", "train", "cartpole", "--seed", str(2**31)], f"seed is {2**31}"),
    "clip output": (["clip", "train", "cartpole", "--output", NO_FOLDER], f"cannot write to {NO_FOLDER}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_and_leaves_nothing(case, tmp_path, call, monkeypatch):
    def not_refused(*arguments):
        pytest.fail("the training of a CLIP began")  # it would go on for minutes

    monkeypatch.setattr("jaxvlm.clip.train.train_steps", not_refused)
    arguments, expected = BAD_INPUT[case]
    code, _, error = call(*arguments)
    assert code == 2
    assert len(error.strip().splitlines()) == 1, error
    assert expected in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("task", ["cartpole", "humanoid-standing,humanoid-lotus"])
def test_what_is_refused_is_not_announced(task, call):
    code, printed, error = call("train", task, "--alpha", "1.5")
    assert (code, printed) == (2, "")
    assert "alpha is 1.5" in error


@pytest.mark.slow
@pytest.mark.parametrize("verb", [["landscape"], ["clip", "check"]])
def test_output_that_cannot_be_written(verb, tmp_path, call):
    code, _, error = call(*verb, "cartpole", "--output", NO_FOLDER)
    assert code == 2
    assert len(error.strip().splitlines()) == 1, error
    assert f"cannot write to {NO_FOLDER}" in error
    assert not list(tmp_path.iterdir())


def tensors(change):
    """What rewrites the weights of a checkpoint directory."""

    def rewrite(directory):
        content = load_file(directory / "model.safetensors")
        change(content)
        save_file(content, directory / "model.safetensors")

    return rewrite


def image_size(size):
    """What changes the size that a checkpoint says its image tower takes."""

    def edit(directory):
        config = json.loads((directory / "config.json").read_text())
        config["vision_config"]["image_size"] = size
        (directory / "config.json").write_text(json.dumps(config))

    return edit


PROJECTION = "visual_projection.weight"  # f32[64, 128]

BROKEN_CHECKPOINT = {
    "config": (lambda path: (path / "config.json").unlink(), "has no config.json"),
    "weights": (lambda path: (path / "model.safetensors").unlink(), "has no model.safetensors"),
    "preprocessor": (
        lambda path: (path / "preprocessor_config.json").unlink(),
        "has no preprocessor_config.json",
    ),
    "tokenizer": (lambda path: (path / "tokenizer.json").unlink(), "has no tokenizer"),
    "missing": (tensors(lambda content: content.pop(PROJECTION)), f"missing {PROJECTION}"),
    "misshapen": (
        tensors(lambda content: content.update({PROJECTION: np.zeros((64, 127), np.float16)})),
        f"{PROJECTION} is [64, 127] instead of [64, 128]",
    ),
    "left over": (
        tensors(lambda content: content.update(extra=np.zeros(3, np.float16))),
        "left over extra",
    ),
    "size": (image_size(60), "image_size 60 is not a multiple of patch_size 16"),
    "other size": (image_size(48), "position_embedding.weight is [17, 128] instead of [10, 128]"),
}


@pytest.fixture(scope="module", params=BROKEN_CHECKPOINT)
def broken_checkpoint(request, tmp_path_factory):
    """A copy of the embedded CLIP with something wrong in it, and what has to be said of it."""
    change, expected = BROKEN_CHECKPOINT[request.param]
    directory = shutil.copytree(resolve("tiny:cartpole"), tmp_path_factory.mktemp("broken") / "clip")
    change(directory)
    return directory, expected


@pytest.mark.parametrize("verb", [["train"], ["landscape"], ["clip", "check"]], ids=" ".join)
def test_broken_checkpoint_is_named_and_leaves_nothing(verb, broken_checkpoint, tmp_path, call):
    directory, expected = broken_checkpoint
    before = sorted(directory.iterdir())
    code, _, error = call(*verb, "cartpole", "--clip", directory)
    assert code == 2
    assert len(error.strip().splitlines()) == 1, error
    assert expected in error
    assert not list(tmp_path.iterdir())
    assert sorted(directory.iterdir()) == before


def test_clip_train_leaves_a_taken_output_alone(tmp_path, call):
    taken = tmp_path / "taken"
    taken.mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("taken", "link"):
        code, _, error = call("clip", "train", "cartpole", "--output", name)
        assert (code, f"output directory {name} exists already" in error) == (2, True)
    assert not list(taken.iterdir())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "taken"]


def test_clip_train_names_a_camera_that_is_not_there(call):
    code, _, error = call("clip", "train", "cartpole", "--camera", "below")
    assert (code, "unknown camera 'below'; cartpole has default" in error) == (2, True)


@pytest.mark.parametrize("output", [None, "kept/deeper/clip"])
def test_an_interrupted_clip_train_leaves_nothing(output, tmp_path, call, monkeypatch):
    (tmp_path / "kept").mkdir()
    while_training = []

    def interrupted(dataset, config, tokenizer):
        while_training.extend(path.name for path in tmp_path.rglob("tokenizer.json"))
        assert not (tmp_path / (output or "runs/clip/cartpole")).exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxvlm.clip.train.train_steps", interrupted)
    code, _, error = call("clip", "train", "cartpole", *([] if output is None else ["--output", output]))
    assert (code, error.strip()) == (130, "jaxvlm: interrupted")
    assert while_training == ["tokenizer.json"]
    assert [path.name for path in tmp_path.rglob("*")] == ["kept"]


@pytest.mark.parametrize("step", ["build_word_tokenizer", "export"])
def test_a_full_disk_during_clip_train_leaves_nothing(step, tmp_path, call, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "hidden")

    monkeypatch.setattr(
        "jaxvlm.clip.train.train_steps",
        lambda dataset, config, tokenizer: iter([(config.steps, {"loss": 0.0}, None, None)]),
    )
    monkeypatch.setattr(f"jaxvlm.clip.train.{step}", fail)
    code, _, error = call("clip", "train", "cartpole", "--output", "here/clip")
    assert code == 2
    assert error == "jaxvlm: cannot write to here/clip: No space left on device; choose another --output\n"
    assert not list(tmp_path.iterdir())


def test_the_exit_code_of_a_process(tmp_path):
    process = jaxvlm("trian", cwd=tmp_path, check=2)
    assert process.stderr.startswith("jaxvlm: unknown verb 'trian'")


def test_existing_run_directory(tmp_path, call):
    (tmp_path / "runs/taken").mkdir(parents=True)
    code, printed, error = call("train", "cartpole", "--name", "taken")
    assert (code, "runs/taken exists already" in error) == (2, True)
    assert printed == ""  # nothing was loaded for it
    assert not list((tmp_path / "runs/taken").iterdir())


@pytest.mark.parametrize(
    ("name", "folder"),
    [("x", "runs/TASK-x"), ("./x", "TASK-x"), ("y/", "TASK-y"), ("deep/z", "deep/TASK-z")],
)
def test_the_folder_of_a_name_is_that_of_each_of_several_tasks(name, folder, tmp_path, call, monkeypatch):
    tasks = ("gridworld-red-ball", "gridworld-blue-key")
    given = []
    monkeypatch.setattr(
        "jaxvlm.cli.together.train_together", lambda configs, *, names, **_: given.extend(names)
    )
    assert call("train", ",".join(tasks), "--name", name)[0] == 0
    created = [Run.create({}, name=name, runs_dir="runs").path for name in given]
    assert [path.resolve() for path in created] == [tmp_path / folder.replace("TASK", task) for task in tasks]
    # A name that is taken is refused before anything is loaded.
    code, _, error = call("train", ",".join(tasks), "--name", name)
    assert (code, f"{created[0]} exists already" in error) == (2, True)
    assert len(given) == 2


@pytest.mark.slow
def test_help_of_every_verb(call):
    code, usage, _ = call("--help")
    assert code == 0
    for verb in ("train", "resume", "evaluate", "landscape", "clip train", "clip check"):
        assert verb in usage
        code, page, _ = call(*verb.split(), "--help")
        assert (code, "usage" in page) == (0, True)
    code, page, _ = call("clip", "--help")
    assert (code, "clip train" in page, "clip check" in page, "landscape" in page) == (0, True, True, False)
    page = call("train", "--help")[1]
    for word in ("cartpole-swingup", "mountain-car-plain", "paper", "default"):
        assert word in page
    for verb in ("train", "landscape", "clip check"):
        code, page, _ = call(*verb.split())  # without its task
        assert code == 2
        assert "cartpole-swingup" in page
        assert f"jaxvlm {verb} TASK" in page
    flags = call("train", "mountain-car", "--preset", "paper", "--help")[1]
    assert "(default: paper)" in flags
    assert "(default: 3000000)" in flags
    for flag in ("--preset", "--alpha", "--prompt", "--clip", "--seeds", "--actor-hidden-sizes", "--chunk"):
        assert flag in flags
    for word in ("laptop", "theirs", "mountain-car has no variants."):
        assert word in flags
    assert (
        "humanoid-lotus has variants: compact, full, paper, graded."
        in call("train", "humanoid-lotus", "--help")[1]
    )


@pytest.mark.slow
def test_every_flag_of_transfer_says_what_it_is(call):
    page = " ".join(
        word for line in call("transfer", "--help")[1].splitlines() for word in line.strip("│").split()
    )
    metavar = r"(?: (?:\{\S+|\[\w+ \[\w+ \.\.\.\]\]|[A-Z]+))"
    assert len(re.findall(rf"--[\w.-]+{metavar}", page)) > 40
    assert re.findall(rf"(--[\w.-]+){metavar} \(default", page) == []


@pytest.mark.slow
def test_landscape_and_check_write_pictures_and_tables(tmp_path, call):
    code, printed, _ = call("landscape", "cartpole", "--alphas", 0, 1, "--output", "out")
    assert (code, "highest at" in printed) == (0, True)
    table = (tmp_path / "out/cartpole-tiny.csv").read_text().splitlines()
    assert table[0] == "angle,alpha_0,alpha_1"
    assert (tmp_path / "out/cartpole-tiny.png").stat().st_size > 0
    code, printed, _ = call("clip", "check", "cartpole", "--states", 300, "--output", "out")
    assert (code, "training can work" in printed) == (0, True)
    figures = json.loads((tmp_path / "out/cartpole-tiny.json").read_text())["rows"]
    assert figures["goal"]["auc"] > 0.99
    assert figures["opposite"]["auc"] < 0.5


@pytest.mark.slow
def test_check_warns_of_an_untrained_checkpoint_and_unknown_words(call):
    checked = ("clip", "check", "cartpole", "--clip", "untrained", "--states", 300, "--prompt", "flamingo")
    code, printed, _ = call(*checked)
    assert code == 0
    assert "has never seen 'flamingo'" in printed
    assert "training can work" not in printed


def test_each_sentence_and_alpha_has_a_run_of_its_own(call, monkeypatch):
    given = []

    def train_together(configs, *, names, **_):
        given.extend(zip(names, configs, strict=True))

    monkeypatch.setattr("jaxvlm.cli.together.train_together", train_together)
    sweep = ("--each-prompt", "a pole", "a cart", "--each-alpha", 0, 0.5)
    assert call("train", "cartpole", *sweep, "--name", "deep/x", "--seeds", 3)[0] == 0
    assert [(name, config.reward.prompt, config.reward.alpha) for name, config in given] == [
        ("deep/x-prompt-1-alpha-0.0", ("a pole",), 0.0),
        ("deep/x-prompt-1-alpha-0.5", ("a pole",), 0.5),
        ("deep/x-prompt-2-alpha-0.0", ("a cart",), 0.0),
        ("deep/x-prompt-2-alpha-0.5", ("a cart",), 0.5),
    ]
    assert {config.seeds for _, config in given} == {3}
    given.clear()
    assert call("train", "mountain-car", "--each-alpha", 1, 0)[0] == 0
    assert [name[-10:] for name, _ in given] == ["-alpha-1.0", "-alpha-0.0"]
    assert all(name.startswith("mountain-car-") for name, _ in given)
    assert len({config.reward.prompt for _, config in given}) == 1
