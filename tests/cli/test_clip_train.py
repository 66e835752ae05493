"""`jaxvlm clip train`: what it hands on to the training, and what an end from outside leaves."""

import hashlib
import os
import shlex
import signal
from pathlib import Path

import pytest

from jaxvlm.cli import clip_train
from jaxvlm.clip import train
from tests.clip.tiny_dataset import bar_dataset


@pytest.fixture
def trainings(monkeypatch):
    """Keywords of the trainings that the command asks for, none of which is done."""
    given = []
    monkeypatch.setattr(clip_train, "find_dataset", lambda domain, states: bar_dataset())
    monkeypatch.setattr(train, "train_clip", lambda *_, **keywords: given.append(keywords))
    return given


def test_the_card_is_told_the_true_command_and_the_files(call, trainings, tmp_path):
    Path("near.npz").write_bytes(b"near")
    (tmp_path / "my far.npz").write_bytes(b"far")
    files = ("near.npz", tmp_path / "my far.npz")
    code, _, err = call(
        "clip", "train", "humanoid", "--states", *files, "--output", tmp_path / "x", "--seed", 3
    )
    assert code == 0, err
    (given,) = trainings
    # Where it lies is no part of it, and no folder of this machine.
    kept = shlex.split(given["command"])
    assert kept == [
        "jaxvlm",
        "clip",
        "train",
        "humanoid",
        "--states",
        "near.npz",
        "my far.npz",
        "--seed",
        "3",
    ]
    digests = [hashlib.sha256(content).hexdigest() for content in (b"near", b"far")]
    assert given["states"] == list(zip(("near.npz", "my far.npz"), digests, strict=True))


def test_a_training_that_is_terminated_leaves_nothing(call, trainings, tmp_path, monkeypatch):
    def killed(dataset, config, output, **keywords):
        with train._draft_of(output):
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()

    monkeypatch.setattr(train, "train_clip", killed)
    before = signal.signal(signal.SIGTERM, lambda *_: pytest.fail("SIGTERM was not taken"))
    try:
        code, _, err = call("clip", "train", "humanoid", "--output", tmp_path / "deep" / "clip")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (code, "interrupted" in err) == (130, True)
    assert list(tmp_path.iterdir()) == []
