import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.errors import RunError
from jaxvlm.runtime import Checkpoints


def make_state(seed: int = 0):
    key = jax.random.key(seed)
    return {
        "params": {"w": jax.random.normal(key, (3, 4)), "half": jnp.arange(3, dtype=jnp.bfloat16)},
        "opt": (jnp.int32(seed), None, [jnp.zeros((0, 3))]),
        "frames": jnp.full((2, 4), 255, jnp.uint8),
        "done": jnp.array([True, False]),
        "keys": jax.random.split(key, 4),
        "key": jax.random.key(seed, impl="rbg"),
        "host": np.arange(3, dtype=np.int64) + seed,
        "iteration": seed,
        "rate": 0.1 + seed,
        "name": "cartpole",
    }


def comparable(tree):
    def leaf(x):
        if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return str(x.dtype), np.asarray(jax.random.key_data(x)).tolist()
        if hasattr(x, "dtype"):
            return type(x).__name__, x.dtype, x.shape, np.asarray(x).tolist()
        return type(x), x

    leaves, structure = jax.tree.flatten(tree)
    return [leaf(x) for x in leaves], structure


def template():
    def leaf(x):
        return jax.eval_shape(lambda y: y, x) if isinstance(x, jax.Array) else x

    return jax.tree.map(leaf, make_state(7))


def test_round_trip_keeps_bits_dtypes_and_kinds(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    checkpoints.save(10, make_state(3))
    restored, step = checkpoints.restore(template())
    assert step == 10
    assert comparable(restored) == comparable(make_state(3))
    assert jax.random.normal(restored["key"]) == jax.random.normal(make_state(3)["key"])
    # From arrays instead of shapes as well, and without arrays at all.
    assert comparable(checkpoints.restore(make_state(7), 10)[0]) == comparable(make_state(3))
    checkpoints.save(11, {"iteration": 5})
    assert checkpoints.restore({"iteration": 0}) == ({"iteration": 5}, 11)


def test_restored_arrays_can_be_donated(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"x": jnp.arange(64.0)})
    state, _ = checkpoints.restore({"x": jax.ShapeDtypeStruct((64,), jnp.float32)})
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    assert step(state)["x"][0] == 1
    assert state["x"].is_deleted()


def test_buffers_may_be_donated_right_after_saving(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    overwrite = jax.jit(lambda x: x * 0 - 1, donate_argnums=0)
    x = jnp.arange(1 << 16, dtype=jnp.float32)
    checkpoints.save(1, {"x": x})
    overwrite(x).block_until_ready()
    restored, _ = checkpoints.restore({"x": jax.ShapeDtypeStruct((1 << 16,), jnp.float32)})
    np.testing.assert_array_equal(restored["x"], np.arange(1 << 16))


def test_newest_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.latest() is None
    for step in (5, 100, 20):
        checkpoints.save(step, {"i": step})
    assert checkpoints.steps() == [20, 100]
    assert checkpoints.latest() == 100
    checkpoints.save(100, {"i": -1})
    assert checkpoints.restore({"i": 0}) == ({"i": -1}, 100)
    checkpoints.discard_after(20)
    assert checkpoints.restore({"i": 0}) == ({"i": 20}, 20)
    assert sorted(os.listdir(tmp_path)) == ["20"]


def test_best_is_kept_apart(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.best() is None
    with pytest.raises(RunError, match="no best checkpoint"):
        checkpoints.restore_best({"i": 0})
    kept = [
        checkpoints.save_best(step, {"i": step}, metric)
        for step, metric in ((1, 0.2), (2, 0.5), (3, 0.5), (4, 0.4))
    ]
    assert kept == [True, True, True, False]
    assert not checkpoints.save_best(5, {"i": 5}, float("nan"))
    checkpoints.save(9, {"i": 9})
    assert checkpoints.best() == (3, 0.5)
    assert checkpoints.restore_best({"i": 0}) == ({"i": 3}, 3)
    assert checkpoints.steps() == [9]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"w": jax.ShapeDtypeStruct((4,), jnp.float32)}, r"w is float32\[3\], expected float32\[4\]"),
        ({"w": jax.ShapeDtypeStruct((3,), jnp.bfloat16)}, r"w is float32\[3\], expected bfloat16\[3\]"),
        ({"i": 1.0}, r"i is a Python int, expected a Python float"),
        (
            {"k": jax.eval_shape(lambda: jax.random.key(0, impl="rbg"))},
            r"key<fry>\[\], expected key<rbg>\[\]",
        ),
        ({"extra": 1}, "lacks extra"),
        ({"i": None}, "has surplus i"),
    ],
)
def test_mismatch_names_run_and_leaf(tmp_path, change, message):
    checkpoints = Checkpoints(tmp_path / "my-run" / "checkpoints")
    checkpoints.save(1, {"w": jnp.zeros(3), "i": 1, "k": jax.random.key(0)})
    wanted = {"w": jnp.zeros(3), "i": 1, "k": jax.random.key(0)} | change
    with pytest.raises(RunError, match=message) as caught:
        checkpoints.restore(wanted)
    assert "my-run" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_checkpoints_are_named(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    with pytest.raises(RunError, match="has no checkpoint yet"):
        checkpoints.restore({})
    checkpoints.save(1, {"i": 1})
    with pytest.raises(RunError, match="no checkpoint of step 3: it has 1"):
        checkpoints.restore({"i": 1}, step=3)
    with pytest.raises(RunError, match="cannot checkpoint a object"):
        checkpoints.save(2, {"i": object()})


@pytest.mark.parametrize("damage", ["arrays gone", "arrays cut", "manifest cut", "manifest gone"])
def test_damaged_newest_falls_back(tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"x": jnp.full(1000, step)})
    newest = tmp_path / "2"
    if damage == "arrays gone":
        shutil.rmtree(newest / "arrays" / "d", ignore_errors=True)
        shutil.rmtree(newest / "arrays" / "ocdbt.process_0")
    elif damage == "arrays cut":
        for path in (newest / "arrays").rglob("*"):
            if path.is_file() and path.name != "_METADATA":
                os.truncate(path, path.stat().st_size // 2)
    elif damage == "manifest cut":
        os.truncate(newest / "manifest.json", 20)
    else:
        (newest / "manifest.json").unlink()
    wanted = {"x": jax.ShapeDtypeStruct((1000,), jnp.int32)}
    with pytest.warns(UserWarning, match="damaged.*going back"):
        restored, step = checkpoints.restore(wanted)
    assert step == 1
    assert restored["x"][0] == 1
    with pytest.raises(RunError, match="damaged"):
        checkpoints.restore(wanted, step=2)


@pytest.mark.parametrize("fault", [MemoryError(), OSError(24, "Too many open files")])
def test_what_passes_is_not_taken_for_damage(tmp_path, monkeypatch, fault):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {"x": jnp.full(3, step)})

    def fail(*_, **__):
        raise fault

    with monkeypatch.context() as patch:
        patch.setattr("orbax.checkpoint.Checkpointer.restore", fail)
        with pytest.raises(
            RunError, match=r"cannot read checkpoint .*2: (not enough memory|too many open files)"
        ):
            checkpoints.restore({"x": jnp.zeros(3, jnp.int32)})
    assert checkpoints.restore({"x": jnp.zeros(3, jnp.int32)})[1] == 2


def test_numbers_without_an_end_come_back(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    saved = {"a": float("inf"), "b": -float("inf"), "c": 1.5, "d": float("nan"), "e": "inf"}
    checkpoints.save(1, saved)
    found, _ = checkpoints.restore({"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": ""})
    assert np.isnan(found.pop("d"))
    assert found == {"a": float("inf"), "b": -float("inf"), "c": 1.5, "e": "inf"}


def test_unfinished_directories_are_no_checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"i": 1})
    shutil.copytree(tmp_path / "1", tmp_path / ".2.draft")  # killed while writing 2
    (tmp_path / "1").rename(tmp_path / ".1.replaced")  # killed while replacing 1
    assert checkpoints.restore({"i": 0}) == ({"i": 1}, 1)
    checkpoints.save(2, {"i": 2})
    assert checkpoints.steps() == [1, 2]
    assert sorted(os.listdir(tmp_path)) == ["1", "2"]


def test_what_killed_processes_left_goes_with_the_next_save(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"i": 1})
    checkpoints.save_best(1, {"i": 1}, 0.5)
    for folder in (tmp_path, tmp_path / "best"):
        shutil.copytree(folder / "1", folder / ".7.draft")  # killed while writing 7, and never there again
        shutil.copytree(folder / "1", folder / ".1.replaced")  # killed after replacing 1
    shutil.copytree(tmp_path / "1", tmp_path / ".2.replaced")  # killed while replacing 2
    checkpoints.save(3, {"i": 3})
    assert not checkpoints.save_best(3, {"i": 3}, 0.4)
    assert sorted(os.listdir(tmp_path)) == ["2", "3", "best"]
    assert os.listdir(tmp_path / "best") == ["1"]
    assert checkpoints.restore({"i": 0}, 2) == ({"i": 1}, 2)


def test_full_disk_keeps_the_earlier_one(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    noise = np.random.default_rng(0).normal(size=(256, 256))
    checkpoints.save(1, {"x": np.zeros((256, 256))})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16_384, hard))  # a file cannot grow beyond this
    try:
        with pytest.raises(RunError, match=r"checkpoint .*/2: file too large; free some space") as caught:
            checkpoints.save(2, {"x": noise})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert os.listdir(tmp_path) == ["1"]
    assert checkpoints.restore({"x": noise})[1] == 1


@pytest.mark.slow
def test_killed_while_saving(tmp_path):
    program = (
        "import sys, numpy as np\n"
        "from jaxvlm.runtime import Checkpoints\n"
        "checkpoints = Checkpoints(sys.argv[1])\n"
        "state = {'x': np.random.default_rng(0).normal(size=2_000_000)}\n"
        "for step in range(1, 10_000):\n"
        "    state['step'] = step\n"
        "    checkpoints.save(step, state)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    checkpoints = Checkpoints(tmp_path)
    try:
        deadline = time.monotonic() + 600
        while (checkpoints.latest() or 0) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        while not list(tmp_path.glob(".*.draft")) and time.monotonic() < deadline:
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    state, step = checkpoints.restore({"x": np.zeros(2_000_000), "step": 0})
    assert state["step"] == step >= 2
    np.testing.assert_array_equal(state["x"], np.random.default_rng(0).normal(size=2_000_000))


def test_other_format_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    path = checkpoints.save(1, {"i": 1}) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(RunError, match="has format 99, expected 1"):
        checkpoints.restore({"i": 1})
