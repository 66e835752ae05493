import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from jaxvlm.errors import RunError
from jaxvlm.runtime import Run
from jaxvlm.runtime.environment import differences
from jaxvlm.runtime.files import plain, replace_file, write_json


@dataclass(frozen=True)
class Config:
    alpha: float = 0.5
    path: Path = Path("clip")
    sizes: tuple[int, ...] = (1, 2)


def test_create_lays_out_the_directory(tmp_path):
    run = Run.create({"train": Config()}, name="first", runs_dir=tmp_path, environment={"chunk": 256})
    assert run.path == tmp_path / "first"
    assert run.name == "first"
    assert run.config == {"train": {"alpha": 0.5, "path": "clip", "sizes": [1, 2]}}
    assert sorted(path.name for path in run.path.iterdir()) == [
        "checkpoints",
        "config.json",
        "environment.json",
        "plots",
        "videos",
    ]
    (session,) = json.loads((run.path / "environment.json").read_text())
    assert session["chunk"] == 256
    assert session["versions"]["jax"]
    assert session["devices"]["backend"] == "cpu"
    assert os.listdir(tmp_path) == ["first"]


def test_default_names_are_unique(tmp_path):
    runs = [Run.create({}, task="cartpole", runs_dir=tmp_path) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert all(run.name.startswith("cartpole-2") for run in runs)


def test_named_directory_is_never_overwritten(tmp_path):
    run = Run.create({"a": 1}, name="mine", runs_dir=tmp_path)
    with pytest.raises(RunError, match=r"mine exists already: choose another --name, or resume"):
        Run.create({"a": 2}, name="mine", runs_dir=tmp_path)
    assert run.config == {"a": 1}
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="exists already"):
        Run.create({}, name="empty", runs_dir=tmp_path)


def test_name_may_be_a_path(tmp_path):
    run = Run.create({}, name=str(tmp_path / "deep" / "run"), runs_dir="unused")
    assert run.path == tmp_path / "deep" / "run"
    with pytest.raises(RunError, match="names no new directory"):
        Run.create({}, name="..", runs_dir=tmp_path)


def test_unwritable_place_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot create run directory .* --runs-dir") as caught:
        Run.create({}, name="x", runs_dir=tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("jaxvlm.runtime.files.os.replace", fail)
    with pytest.raises(RunError, match="no space left"):
        Run.create({}, name="x", runs_dir=tmp_path)
    assert os.listdir(tmp_path) == []


def test_open_by_path_and_by_name(tmp_path):
    created = Run.create({"a": 1}, name="mine", runs_dir=tmp_path)
    assert Run.open(created.path).config == {"a": 1}
    assert Run.open("mine", runs_dir=tmp_path).path == created.path
    assert Run.open(str(created.path) + "/").name == "mine"
    for folder in ("checkpoints", "videos", "plots"):
        (created.path / folder).rmdir()
    assert Run.open(created.path).checkpoints.latest() is None
    assert sorted(os.listdir(created.path)) == ["config.json", "environment.json"]  # looked at and left alone


def test_the_checkpoint_of_a_clip_is_no_run_and_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(RunError, match=r"mine is not a run directory: it has no environment\.json"):
        Run.open("mine")
    run = Run.create({"a": 1}, name="mine")
    assert Run.open("mine").path == run.path == Path("runs/mine")
    assert os.listdir(tmp_path / "mine") == ["config.json"]


def test_a_home_that_is_not_known_is_one_line(tmp_path):
    for call in (
        lambda: Run.create({}, name="~nosuchuser", runs_dir=tmp_path),
        lambda: Run.create({}, name="x", runs_dir="~nosuchuser/runs"),
        lambda: Run.open("~nosuchuser/run", runs_dir=tmp_path),
        lambda: Run.open("x", runs_dir="~nosuchuser"),
    ):
        with pytest.raises(RunError, match=r"'~nosuchuser.*' is in no home directory that is known; .* \./"):
            call()
    assert os.listdir(tmp_path) == []


def test_open_says_what_is_wrong(tmp_path):
    with pytest.raises(RunError, match="no run named 'absent'"):
        Run.open("absent", runs_dir=tmp_path)
    (tmp_path / "other").mkdir()
    with pytest.raises(RunError, match=r"is not a run directory: it has no config\.json"):
        Run.open("other", runs_dir=tmp_path)
    (tmp_path / "other" / "config.json").write_text("{")
    with pytest.raises(RunError, match=r"cannot read config\.json"):
        Run.open("other", runs_dir=tmp_path)
    (tmp_path / "other" / "config.json").write_text("[]")
    with pytest.raises(RunError, match="holds list, not an object"):
        Run.open("other", runs_dir=tmp_path)


def test_a_name_that_is_too_long_is_one_line(tmp_path):
    long = "x" * 300
    with pytest.raises(
        RunError, match=r"cannot create run directory .*: file name too long; choose another --name"
    ):
        Run.create({}, name=long, runs_dir=tmp_path)
    with pytest.raises(RunError, match=r"cannot open run 'x{300}': file name too long"):
        Run.open(long, runs_dir=tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_folder_that_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    def refused(path, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(RunError, match=r"cannot create run directory .*: permission denied"):
        Run.create({}, name="x", runs_dir=tmp_path)
    with pytest.raises(RunError, match="cannot open run 'x': permission denied"):
        Run.open("x", runs_dir=tmp_path)


def test_a_colon_is_no_part_of_a_folder_that_is_named_after_its_task(tmp_path):
    assert Run.create({}, task="brax:ant", runs_dir=tmp_path).name.startswith("brax-ant-2")


def test_record_session_reports_what_changed(tmp_path):
    run = Run.create({}, name="x", runs_dir=tmp_path, environment={"chunk": 256})
    assert run.record_session(chunk=256) == []
    assert run.record_session(chunk=128) == ["chunk: 256 -> 128"]
    assert len(json.loads((run.path / "environment.json").read_text())) == 3


def test_differences_leave_out_what_moves_no_figure():
    before = {"platform": {"cores": 2, "command": ["train"]}, "versions": {"jax": "1"}}
    now = {"platform": {"cores": 8, "command": ["resume"]}, "versions": {"jax": "2"}}
    assert differences(before, now) == ["versions.jax: 1 -> 2"]


def test_plain_holds_anything():
    value = {"nan": float("nan"), 1: np.float32(2.0), "array": np.arange(2), "type": int, "none": None}
    assert plain(value) == {"nan": None, "1": 2.0, "array": [0, 1], "type": "<class 'int'>", "none": None}


def test_failed_write_keeps_the_earlier_file(tmp_path):
    path = tmp_path / "config.json"
    write_json(path, {"a": 1})

    def fail(draft: str) -> None:
        Path(draft).write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(RunError, match="no space left"):
        replace_file(path, fail)
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["config.json"]
