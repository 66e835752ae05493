"""How much memory loading takes, and that what is wrong with weights is found before any of it is taken."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxvlm.clip import CLIPConfig, ResNetConfig, TextConfig, VisionConfig, param_shapes
from jaxvlm.clip.checkpoint import _problems
from jaxvlm.clip.layout import huggingface_entries, leaf
from jaxvlm.clip.openclip import openclip_entries

ROOT = Path(__file__).resolve().parents[2]

# Prints the bytes of the parameters and how far the process's peak went beyond what it held before.
MEASURE = """
import resource, sys
import jax
from jaxvlm.clip import load

def status(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024

load("tiny:cartpole", sys.argv[2])  # imports and first calls
try:
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
except OSError:
    pass
before, peak = status("VmRSS"), status("VmHWM")
params = load(sys.argv[1], sys.argv[2])[1]
rise = max(status("VmHWM"), peak) - before
print(sum(leaf.nbytes for leaf in jax.tree.leaves(params)), rise)
"""


def write_shards(directory: Path, config: CLIPConfig, shards: int, kind: type) -> int:
    """Random weights in files of about the same size, as transformers cuts them; the largest's bytes.

    Names follow each other in the layout's order but one: the keys of the first block lie in the last file, so that a
    parameter has to be put together from two.
    """
    shapes, generator = param_shapes(config)["params"], np.random.default_rng(0)
    sizes = {}
    for entry in huggingface_entries(config):
        blank = np.broadcast_to(np.float32(0), leaf(shapes, entry.path).shape)
        sizes |= {name: part.shape for name, part in zip(entry.names, entry.write(blank), strict=True)}
    total, passed, files = sum(map(np.prod, sizes.values())), 0, {}
    for name, shape in sizes.items():
        files.setdefault(int(passed * shards / (total + 1)), []).append(name)
        passed += np.prod(shape)
    stray = "vision_model.encoder.layers.0.self_attn.k_proj.weight"
    next(names for names in files.values() if stray in names).remove(stray)
    files[shards - 1].append(stray)
    (directory / "config.json").write_text(json.dumps(config.to_dict()))
    (directory / "preprocessor_config.json").write_text(json.dumps(config.preprocessor_dict()))
    index, largest = {}, 0
    for number, names in files.items():
        tensors = {name: np.asarray(generator.random(sizes[name], np.float32) - 0.5, kind) for name in names}
        file = "model.safetensors" if shards == 1 else f"model-{number + 1:05}-of-{shards:05}.safetensors"
        save_file(tensors, directory / file)
        largest = max(largest, (directory / file).stat().st_size)
        index |= dict.fromkeys(names, file)
    if shards > 1:
        (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return largest


def measured(directory: Path, dtype: str) -> tuple[int, int]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
        # Memory that is free again goes back to the system at once and not when the allocator likes.
        "MALLOC_TRIM_THRESHOLD_": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(directory), dtype],
        env=environment, cwd=directory, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    params, rise = map(int, done.stdout.split()[-2:])
    return params, rise


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured with Linux's /proc")
@pytest.mark.parametrize(
    ("shards", "kind", "dtypes"), [(4, np.float32, ("float32", "bfloat16")), (4, np.float16, ("float32",)),
                                   (1, np.float16, ("float32", "bfloat16"))],
)  # fmt: skip
def test_memory_above_the_parameters_is_less_than_a_shard(tmp_path, shards, kind, dtypes):
    """ViT-B/32 of transformers' defaults: 151 million parameters."""
    largest = write_shards(tmp_path, CLIPConfig(), shards, kind)
    for dtype in dtypes:
        params, rise = measured(tmp_path, dtype)
        mega = 1e-6
        print(
            f"{shards} files of {np.dtype(kind)}, largest {largest * mega:.0f} MB, to {dtype}: parameters "
            f"{params * mega:.0f} MB, peak {rise * mega:.0f} MB, above {(rise - params) * mega:.0f} MB, "
            f"{(rise - params) / largest:.2f} of the largest"
        )
        assert params == pytest.approx(151.277e6 * (4 if dtype == "float32" else 2), rel=1e-3)
        # That many bytes were really written to: a peak below the parameters would have measured nothing.
        assert rise > 0.9 * params
        assert rise < params + 1.3 * largest


BIG_G = CLIPConfig(
    vision=VisionConfig(1664, 8192, 48, 16, 224, 14, "gelu"),
    text=TextConfig(49408, 1280, 5120, 32, 20, 77, "gelu"),
    projection_dim=1280,
)


@pytest.mark.slow
@pytest.mark.parametrize("config", [BIG_G, CLIPConfig(vision=ResNetConfig())])
def test_shapes_are_compared_without_the_memory_of_the_weights(config):
    """The 2.5 billion parameters of bigG/14 would be 10 GB."""
    layout = openclip_entries(config, []) if isinstance(config.vision, ResNetConfig) else None
    tracemalloc.start()
    try:
        shapes = param_shapes(config)["params"]
        entries = list(layout or huggingface_entries(config))
        problems = list(_problems(entries, shapes, {}))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(problems) == sum(len(entry.names) for entry in entries)
    assert peak < 60e6
