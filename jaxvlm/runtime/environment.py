"""What the bits of a run depend on besides its configuration: versions, devices and flags."""

import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import jax

PACKAGES = (
    "jaxvlm",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "mujoco",
    "mujoco-mjx",
    "transformers",
)
FLAGS = ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "TF_CUDNN_DETERMINISTIC", "CUDA_VISIBLE_DEVICES")
SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)


def package_versions() -> dict[str, str | None]:
    """Versions of the distributions that figures depend on, None of those that are not installed; asks no device."""
    return {name: _version(name) for name in PACKAGES}


def describe_environment(**extra: Any) -> dict[str, Any]:
    """Versions, platform, devices and flags of this process, plus `extra` (chunk size, dtype, ...).

    Starts the JAX backend, as it names the devices. Distributions that are not installed are None.
    """
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        "versions": package_versions(),
        "platform": {
            "system": platform.system(),
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "command": [os.path.basename(sys.argv[0]), *sys.argv[1:]],
        },
        "devices": {
            "backend": jax.default_backend(),
            "kind": devices[0].device_kind,
            "count": len(devices),
        },
        "flags": {name: os.environ.get(name) for name in FLAGS},
        "settings": {name: getattr(jax.config, name, None) for name in SETTINGS},
        **extra,
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What changed between two descriptions, one line each, such as `versions.jax: 0.10.1 -> 0.10.2`.

    The command line and the number of cores are left out: no figure depends on them.
    """
    old, new = _flatten(before), _flatten(now)
    ignored = ("platform.command", "platform.cores")
    return [
        f"{name}: {old.get(name)} -> {new.get(name)}"
        for name in dict.fromkeys((*old, *new))
        if not name.startswith(ignored) and old.get(name) != new.get(name)
    ]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
