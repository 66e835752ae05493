"""Signals and the compilation cache: state of the process, tried in processes of their own where it stays."""

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from jaxvlm.runtime import cache, stop_flag


def test_signals_only_set_the_flag(capfd):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_flag() as flag:
        assert not flag
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag
        assert flag.signal is signal.SIGTERM
        assert "press Ctrl-C again" in capfd.readouterr().err
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_second_interrupt_raises_and_restores():
    before = signal.getsignal(signal.SIGINT)

    def ask_twice():
        with stop_flag() as flag:
            signal.raise_signal(signal.SIGINT)
            assert flag
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ask_twice()
    assert signal.getsignal(signal.SIGINT) == before


def test_other_threads_get_a_flag_without_handlers():
    seen = []

    def work():
        with stop_flag() as flag:
            seen.append(bool(flag))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


CACHE_PROGRAM = """
import jax, jax.numpy as jnp
from jaxvlm.runtime import CacheCounter, enable_compilation_cache
counter, folder = CacheCounter(), enable_compilation_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
print(folder, counter.hits > 0, counter.misses > 0, sep="|")
"""


def run_cache_program(**environment):
    inherited = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    result = subprocess.run(
        [sys.executable, "-c", CACHE_PROGRAM],
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    )
    return result.stdout.strip().split("|")


@pytest.mark.slow
def test_compilation_cache_in_the_users_folder(tmp_path):
    folder, hit, missed = run_cache_program(XDG_CACHE_HOME=str(tmp_path))
    assert folder.startswith(str(tmp_path / "jaxvlm" / "xla-"))
    assert (hit, missed) == ("False", "True")
    assert run_cache_program(XDG_CACHE_HOME=str(tmp_path)) == [folder, "True", "False"]


def test_compilation_cache_elsewhere_or_not_at_all(tmp_path, monkeypatch):
    settings = {}
    config = SimpleNamespace(update=settings.__setitem__)
    monkeypatch.setattr(cache, "jax", SimpleNamespace(config=config))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "chosen"))
    assert cache.enable_compilation_cache() == tmp_path / "chosen"
    assert settings["jax_compilation_cache_dir"] == str(tmp_path / "chosen")
    assert cache.enable_compilation_cache(tmp_path / "given") == tmp_path / "given"
    assert cache.enable_compilation_cache("gs://bucket/programs") is None  # JAX opens it
    assert settings["jax_compilation_cache_dir"] == "gs://bucket/programs"
    assert "jax_enable_compilation_cache" not in settings
    (tmp_path / "file").write_text("")
    assert cache.enable_compilation_cache(tmp_path / "file" / "x") is None
    assert settings["jax_enable_compilation_cache"] is False
