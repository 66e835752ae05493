"""Settings of the whole test run; they have to stand before jax, jaxvlm and envs are imported."""

import os
import shutil
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of a test's time is compilation; the second run finds the programs here.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# The programs of the tests are compiled more than they are run: without LLVM's optimisations they are ready three
# times as soon, and with XLA's former way to write loops, which later versions no longer have, twice as soon again.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + (" --xla_cpu_use_fusion_emitters=false" if version("jaxlib").startswith("0.10.") else ""),
)
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("JAXVLM_PROMPT_CACHE", "0")  # tests of the cache name a folder
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that needs the network is a mistake

import pytest
from jaxtyping import install_import_hook

# Shapes and dtypes in annotations are checked at every call the tests make.
install_import_hook(["jaxvlm", "envs"], "typecheck.checked")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_addoption(parser):
    parser.addoption(
        "--slow-part",
        default="1/1",
        metavar="K/N",
        help="run all tests, but of the slow ones only the K-th of N parts, or with not-K/N all but that one: "
        "several runs share them",
    )


def pytest_collection_modifyitems(config, items):
    option = config.getoption("--slow-part")
    part, _, parts = option.removeprefix("not-").partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise pytest.UsageError(f"--slow-part takes K/N or not-K/N such as 1/4, not {option!r}")
    # By function and not by case: cases share what they compile. Those beside a peer are not parted, since a run that
    # shares them may not have that peer.
    parity = Path(__file__).with_name("parity")
    slow = [
        item for item in items if item.get_closest_marker("slow") and not item.path.is_relative_to(parity)
    ]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(map(_function_of, slow)))}
    others = option.startswith("not-")
    left_out = {
        item for item in slow if (numbers[_function_of(item)] % int(parts) == int(part) - 1) == others
    }
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]


def _function_of(item):
    return item.nodeid.partition("[")[0]


@pytest.fixture(scope="session")
def launch():
    """Launches headless Chromium; `launch()` gives a new browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        # No sandbox: a container's root may not make one.
        yield lambda: playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])


@pytest.fixture(scope="session")
def browser(launch):
    """One browser for all tests; each takes a context of its own."""
    opened = launch()
    yield opened
    opened.close()
