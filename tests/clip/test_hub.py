"""Checkpoints by name over HTTP, from a hub on the loopback."""

import json
import os
import pty
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import jax
import numpy as np
import pytest
from clip.hub import serve
from safetensors.numpy import load_file, save_file

from jaxvlm.clip import load, save_checkpoint
from tests.clip.recipes import ODD, openclip_model, random_params, write_openclip

ROOT = Path(__file__).resolve().parents[2]

# For each name: the sum over all parameters, or the class and the text of the error.
LOAD = """
import json, sys
import jax, numpy as np
from jaxvlm.clip import load
for name in sys.argv[1:]:
    try:
        print(json.dumps(sum(float(np.abs(x).sum()) for x in jax.tree.leaves(load(name)[1]))))
    except Exception as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""


def environment(tmp_path, address, offline=False):
    """Of a process of its own: the hub's client reads it when it is imported."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": address,
        "HF_HOME": str(tmp_path / "hub"),
        "HF_HUB_OFFLINE": str(int(offline)),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
    }


def loaded(tmp_path, address, *names, offline=False):
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *names],
        env=environment(tmp_path, address, offline), cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def total(directory):
    return sum(float(np.abs(x).sum()) for x in jax.tree.leaves(load(directory)[1]))


def sharded(directory):
    """Splits the weights of a checkpoint into two files with an index."""
    tensors = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    files = {name: f"model-0000{k % 2 + 1}-of-00002.safetensors" for k, name in enumerate(sorted(tensors))}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in files if files[name] == file}, directory / file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return directory


@pytest.fixture(scope="module")
def repositories(tmp_path_factory):
    """Every kind of repository, with the files beside it that nobody needs."""
    root = tmp_path_factory.mktemp("repositories")
    config = ODD["mixed"]
    plain = save_checkpoint(root / "plain", config, random_params(config))
    shards = sharded(shutil.copytree(plain, root / "shards"))
    network = root / "network"
    network.mkdir()
    write_openclip(network, "resnet", openclip_model("resnet")[1])
    (network / "config.json").write_text(json.dumps({"architecture": "resnet50_clip"}))
    for folder in (plain, shards, network):
        for name in (
            "pytorch_model.bin",
            "open_clip_pytorch_model.bin",
            "tf_model.h5",
            "model.fp16.safetensors",
        ):
            (folder / name).write_bytes(b"what is not needed")
    return {"some/plain": plain, "some/shards": shards, "timm/resnet50_clip.openai": network}


@pytest.mark.slow
def test_names_are_fetched_once_and_only_what_is_needed(tmp_path, repositories):
    names = ("some/plain", "some/shards", "RN50/openai")
    expected = [total(folder) for folder in repositories.values()]
    with serve(repositories) as hub:
        *found, absent = loaded(tmp_path, hub.address, *names, "some/absent")
        assert found == expected
        assert absent[0] == "CheckpointError"
        assert "'some/absent' is neither a directory nor in the hub's cache" in absent[1]
        assert "RepositoryNotFoundError" in absent[1]
        assert "put config.json, model.safetensors" in absent[1]
        assert "\n" not in absent[1]
    shards = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    assert sorted(hub.sent) == sorted(
        [f"some/plain/{x}" for x in ("config.json", "model.safetensors", "preprocessor_config.json")]
        + [
            f"some/shards/{x}"
            for x in ("config.json", "preprocessor_config.json", "model.safetensors.index.json", *shards)
        ]
        + [
            f"timm/resnet50_clip.openai/{x}"
            for x in ("config.json", "open_clip_config.json", "open_clip_model.safetensors")
        ]
    )
    # The hub is gone: what was fetched is there, and what was not says what to do.
    *found, absent = loaded(tmp_path, hub.address, *names, "other/absent", offline=True)
    assert found == expected
    assert absent[0] == "CheckpointError"
    assert "'other/absent' is neither" in absent[1]
    assert "without network, put config.json, model.safetensors" in absent[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "file"),
    [("some/plain", "model.safetensors"), ("some/shards", "model-00002-of-00002.safetensors")],
)
def test_a_download_that_was_cut_off_is_no_checkpoint(tmp_path, repositories, name, file):
    with serve(repositories) as hub:
        hub.cut.add(f"{name}/{file}")
        [error] = loaded(tmp_path, hub.address, name)
        assert error[0] == "CheckpointError"
        assert f"'{name}' is neither a directory nor" in error[1]
        assert "the hub did not give it" in error[1]
        assert "\n" not in error[1]
        [error] = loaded(tmp_path, hub.address, name, offline=True)
        assert error[0] == "CheckpointError"
        assert f"has no {file}" in error[1]
        # Whole again: the rest is fetched.
        hub.cut.clear()
        assert loaded(tmp_path, hub.address, name) == [total(repositories[name])]


@pytest.mark.slow
def test_a_terminal_shows_how_far_the_download_is(tmp_path, repositories):
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, 100))
    try:
        with serve(repositories) as hub:
            process = subprocess.Popen(
                [sys.executable, "-c", LOAD, "some/plain"],
                env=environment(tmp_path, hub.address), cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=slave,
            )  # fmt: skip
            os.close(slave)
            text = b""
            while True:
                try:
                    part = os.read(master, 65536)
                except OSError:  # the other side is closed
                    break
                if not part:
                    break
                text += part
            assert process.wait(timeout=60) == 0
    finally:
        os.close(master)
    # The small files, then the weights, in bytes; the words are the client's and change between its versions.
    assert text.count(b"Fetching") >= 2
    assert b"MB" in text
    assert b"100%" in text
