import jax
import pytest

from jaxvlm.compiler import compiler_options


@pytest.fixture(autouse=True)
def fresh():
    compiler_options.cache_clear()
    yield
    compiler_options.cache_clear()


def test_a_cpu_needs_no_options():
    assert compiler_options() == {}


def test_a_gpus_autotuner_of_loops_is_left_out_where_xla_knows_it(monkeypatch):
    # XLA's options are the same for every backend, so this machine's compiler takes the GPU's as well.
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    options = compiler_options()
    assert options == {"xla_gpu_experimental_enable_fusion_autotuner": False}
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2


def test_an_xla_without_the_option_gets_none(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr("jaxvlm.compiler._FUSION_AUTOTUNER", "xla_gpu_no_such_option")
    assert compiler_options() == {}
