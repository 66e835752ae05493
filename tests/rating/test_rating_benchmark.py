"""The benchmark of the rating page works and says whether the page keeps its promise; how fast it is, is not tested."""

import importlib.util
import sys
from pathlib import Path

import pytest
from rating.conftest import need_packages

PATH = Path(__file__).parents[2] / "benchmarks" / "rating.py"


@pytest.fixture(scope="module")
def benchmark():
    spec = importlib.util.spec_from_file_location("rating_benchmark", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_one_slow_kind_breaks_the_promise(benchmark):
    quick, slow = [0.01] * 96 + [0.9] * 4, [0.01] * 90 + [0.3] * 10
    kept, line = benchmark.judge({"answer": quick, "tasks": [0.05]})
    assert kept
    assert line == "kept: every 95th percentile is below 200 ms (most of tasks, 50 ms)"
    assert benchmark.judge({"answer": slow, "tasks": quick}) == (
        False,
        "TOO SLOW: 95th percentile of answer 300 ms, not below 200 ms",
    )


@pytest.mark.slow
def test_it_answers_everything_and_says_how_it_went(benchmark, monkeypatch, capsys):
    need_packages()
    monkeypatch.setattr(benchmark, "FRAMES", 4)
    monkeypatch.setattr(sys, "argv", ["rating.py", "--trajectories", "10", "--keys", "0", "--raters", "2"])
    monkeypatch.setattr(benchmark, "LIMIT", 0.0)  # which nothing stays below
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    assert ended.value.code == 1
    printed = capsys.readouterr().out
    assert "20 answers of 2 raters in" in printed
    assert "20 answers are in the file" in printed
    assert printed.splitlines()[-1].startswith("TOO SLOW: 95th percentile of picture ")
