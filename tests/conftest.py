"""Settings of the whole test run; they have to stand before jax, jaxvlm and envs are imported."""

import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of a test's time is compilation; the second run finds the programs here.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).resolve().parents[1] / ".jax_cache"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# The programs of the tests are compiled more than they are run: without LLVM's optimisations they are ready three
# times as soon.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("JAXVLM_PROMPT_CACHE", "0")  # tests of the cache name a folder
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that needs the network is a mistake

from jaxtyping import install_import_hook

# Shapes and dtypes in annotations are checked at every call the tests make.
install_import_hook(["jaxvlm", "envs"], "typecheck.checked")
