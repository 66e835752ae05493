"""What the second run of the same program finds on disk: compiled programs, embeddings of prompts."""

import hashlib
import os
import platform
import tempfile
from pathlib import Path

import jax


def enable_compilation_cache(directory: str | Path | None = None) -> Path | None:
    """Keeps compiled programs on disk, small ones too.

    Args:
        directory: where; None takes `JAX_COMPILATION_CACHE_DIR`, else `jaxvlm` in the user's cache folder
            (`XDG_CACHE_HOME`, `~/.cache`), in a sub-folder per kind of CPU, because machines that share a
            home must not run each other's code. Delete the folder to empty the cache.

    Returns:
        The folder; None for a URL, which JAX opens itself, and where the folder cannot be written: then nothing is
        cached and nothing fails.
    """
    given = directory or os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if given and "://" in str(given):  # a bucket: for JAX to open
        _use_cache(str(given))
        return None
    try:
        folder = Path(given).expanduser() if given else _user_cache() / "jaxvlm" / f"xla-{_processor()}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError):  # RuntimeError: there is no home directory
        jax.config.update("jax_enable_compilation_cache", False)
        return None
    _use_cache(str(folder))
    return folder


def _use_cache(place: str) -> None:
    jax.config.update("jax_compilation_cache_dir", place)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def prompt_cache_folder() -> Path | None:
    """Where prompt embeddings are kept; None where they are not.

    `JAXVLM_PROMPT_CACHE` names a folder, and 0 turns the cache off; without it, `jaxvlm/prompts` in the user's cache
    folder. Delete the folder to empty the cache.
    """
    given = os.environ.get("JAXVLM_PROMPT_CACHE", "")
    if given == "0":
        return None
    try:
        return Path(given).expanduser() if given else _user_cache() / "jaxvlm" / "prompts"
    except RuntimeError:  # there is no home directory
        return None


class CacheCounter:
    """Counts programs found in the cache and programs compiled, from its creation on."""

    def __init__(self) -> None:
        self.hits = 0
        self.misses = 0
        jax.monitoring.register_event_listener(self._listen)

    def __str__(self) -> str:
        return f"{self.hits} programs from the compilation cache, {self.misses} compiled"

    def _listen(self, event: str, **_: object) -> None:
        self.hits += event == "/jax/compilation_cache/cache_hits"
        self.misses += event == "/jax/compilation_cache/cache_misses"


def _user_cache() -> Path:
    configured = os.environ.get("XDG_CACHE_HOME", "")
    return Path(configured) if os.path.isabs(configured) else Path.home() / ".cache"


def _processor() -> str:
    """Short digest of the architecture and its instruction set extensions."""
    description = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        description += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:
        description += platform.processor()
    return hashlib.sha256(description.encode()).hexdigest()[:8]
