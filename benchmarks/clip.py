"""Images per second that CLIP's image towers encode, and their share of the device's peak, beside PyTorch.

    python benchmarks/clip.py                               # ViT-B/32 at batches 1, 8, 32, one core, beside PyTorch
    python benchmarks/clip.py l14 h14 bigg --batch 256      # on a GPU: other models and batches
    python benchmarks/clip.py b32 --attention xla cudnn --scan no yes      # how the same numbers are computed
    python benchmarks/clip.py l14 --quantise int8 fp8       # in 8-bit numbers, by qwix
    python benchmarks/clip.py tiny:humanoid-112 --quantise int8   # a checkpoint, and how far its embeddings move
    python benchmarks/clip.py l14 --xla xla_gpu_enable_triton_gemm=false   # with a compiler option as well
    python benchmarks/clip.py rn50 --no-peer --json out.json

Weights are random but for checkpoints, which changes no speed; how far 8-bit numbers move embeddings is said of
checkpoints alone, as the least cosine over frames of noise. Both sides start from uint8 frames of the tower's size on
the device and end with embeddings; normalising them is part of it. Ours computes in float32 on a CPU, in bfloat16
elsewhere, as `load` does; the peer is transformers' CLIPModel in the same dtype in eager mode under `inference_mode`,
with PyTorch's own choice of attention. Repeats alternate between all sides; medians; compiling is timed apart. On a
single CPU core the clock is the process's own, so that what else runs there counts less.

MFU (model FLOP utilisation): operations of the model's matrix products, without what an implementation adds, over time
and the device's peak. `--peak` is in TFLOP/s; for the H100 and H200 it is 790 in bfloat16, what a large matrix product
reaches there.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

from pipeline import clip_of_shape, pin, reuse_buffers, torch_tower

# Width, layers, heads, MLP, pixels, patch, projection.
MODELS = {
    "b32": (768, 12, 12, 3072, 224, 32, 512),
    "b16": (768, 12, 12, 3072, 224, 16, 512),
    "l14": (1024, 24, 16, 4096, 224, 14, 768),
    "l14-336": (1024, 24, 16, 4096, 336, 14, 768),
    "h14": (1280, 32, 16, 5120, 224, 14, 1024),
    "bigg": (1664, 48, 16, 8192, 224, 14, 1280),
}
RESNETS = {"rn50": ((3, 4, 6, 3), 64, 224, 1024)}  # blocks, width, pixels, projection
PEAKS = {"H100": 790e12, "H200": 790e12}


@dataclass(frozen=True)
class Case:
    """One side of a comparison."""

    model: str
    batch: int
    side: str  # jaxvlm or pytorch
    attention: str = "auto"
    scan: bool = False
    dtype: str = ""  # as `load` chooses it
    quantise: str = "none"
    xla: str = ""  # NAME=VALUE, one compiler option more

    def __str__(self) -> str:
        extra = [self.attention] * (self.attention != "auto") + ["scan"] * self.scan
        extra += (
            [self.dtype] * bool(self.dtype)
            + [self.quantise] * (self.quantise != "none")
            + [self.xla] * bool(self.xla)
        )
        return " ".join([self.side, *extra])


def config_of(model: str) -> Any:
    """The config of a model with hardly any text tower."""
    if model in MODELS:
        return clip_of_shape(*MODELS[model])
    if model not in RESNETS:
        from jaxvlm.clip import load_config

        return load_config(model)
    from jaxvlm.clip.config import ResNetConfig

    layers, width, size, projection = RESNETS[model]
    resnet = ResNetConfig(layers=layers, width=width, image_size=size)
    return replace(clip_of_shape(*MODELS["b32"]), vision=resnet, projection_dim=projection)


def image_flops(config: Any) -> float:
    """Operations of the matrix products for one image, two for each multiplication and addition."""
    from jaxvlm.clip.config import ResNetConfig

    vision = config.vision
    if isinstance(vision, ResNetConfig):
        return resnet_flops(vision, config.projection_dim)
    width, tokens = vision.hidden_size, vision.num_positions
    dense = tokens * width * (4 * width + 2 * vision.intermediate_size)
    attention = 2 * tokens * tokens * width
    patches = (tokens - 1) * vision.patch_size**2 * 3 * width
    return 2.0 * (vision.num_hidden_layers * (dense + attention) + patches + width * config.projection_dim)


def resnet_flops(vision: Any, projection: int) -> float:
    """The same of a residual network."""
    side, width = vision.image_size // 2, vision.width
    total = side**2 * 9 * (3 * width // 2 + (width // 2) ** 2 + width // 2 * width)
    side, channels = side // 2, width
    for stage, blocks in enumerate(vision.layers):
        inner, outer = width * 2**stage, 4 * width * 2**stage
        for block in range(blocks):
            after = side // 2 if stage and not block else side
            total += side**2 * (channels * inner + 9 * inner * inner) + after**2 * inner * outer
            total += after**2 * channels * outer if channels != outer else 0
            side, channels = after, outer
    tokens = side**2 + 1
    total += 3 * tokens * channels**2 + 2 * tokens * channels + channels * projection
    return 2.0 * total


def random_params(config: Any, dtype: Any) -> Any:
    """Parameters of a model, drawn on the device: products of random numbers draw more power than those of zeros."""
    import jax
    import jax.numpy as jnp

    from jaxvlm.clip import param_shapes

    shapes = param_shapes(config)
    most = max(leaf.size for leaf in jax.tree.leaves(shapes))
    noise = jax.random.normal(jax.random.key(0), (most,), dtype) * 0.02

    def draw(path: tuple, leaf: Any) -> Any:
        is_scale = path[-1].key == "scale"
        return jnp.ones(leaf.shape, dtype) if is_scale else noise[: leaf.size].reshape(leaf.shape)

    return jax.tree.map_with_path(draw, shapes)


def ours(case: Case, config: Any, frames: Any) -> tuple[Callable[[], Any], dict[str, float]]:
    """A call that encodes the frames, and seconds of compiling and megabytes beside weights and frames."""
    import jax
    import jax.numpy as jnp

    from jaxvlm.clip import CLIP, load, quantise, stack_layers
    from jaxvlm.compiler import compiler_options

    dtype = jnp.dtype(case.dtype or ("float32" if jax.default_backend() == "cpu" else "bfloat16"))
    if (kept := CACHE.get(case.model)) is None or jax.tree.leaves(kept["params"]["visual"])[0].dtype != dtype:
        CACHE.clear()
        known = case.model in {**MODELS, **RESNETS}
        CACHE[case.model] = random_params(config, dtype) if known else load(case.model, dtype)[1]
    exact = stack_layers(CACHE[case.model]) if case.scan else CACHE[case.model]
    plain = CLIP(config, attention=case.attention, scan=case.scan)
    clip, params = plain, exact
    if case.quantise != "none":
        clip, params = quantise(plain, exact, case.quantise)
    frames = jnp.asarray(frames)
    options: dict[str, Any] = dict(compiler_options())
    if case.xla:
        name, _, value = case.xla.partition("=")
        options[name] = {"true": True, "false": False}.get(value, value)
    start = time.perf_counter()
    encode = (
        jax.jit(
            lambda params, frames: clip.apply(params, frames, method="encode_image"), compiler_options=options
        )
        .lower(params, frames)
        .compile()
    )
    figures = {"compile_seconds": time.perf_counter() - start}
    figures["temporary_mb"] = getattr(encode.memory_analysis(), "temp_size_in_bytes", float("nan")) / 1e6
    if case.quantise != "none" and case.model not in MODELS:
        few = frames[: min(16, len(frames))]
        a = jax.jit(lambda params, frames: plain.apply(params, frames, method="encode_image"))(exact, few)
        b = encode(params, frames)[: len(few)]
        cosine = (a * b).sum(-1) / (jnp.linalg.norm(a, axis=-1) * jnp.linalg.norm(b, axis=-1))
        figures["least_cosine"] = float(cosine.min())
    return lambda: jax.block_until_ready(encode(params, frames)), figures


CACHE: dict[str, Any] = {}  # parameters of the model that is measured


def peer(config: Any, frames: Any, name: str) -> Callable[[], Any]:
    """The same by transformers' CLIPModel; frames of a residual network have no peer."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, name or ("float32" if device == "cpu" else "bfloat16"))
    with torch.device(device):
        model = torch_tower(config).to(dtype)
    scale = torch.tensor(config.image_std, device=device, dtype=torch.float32)[:, None, None]
    shift = torch.tensor(config.image_mean, device=device, dtype=torch.float32)[:, None, None]
    pixels = torch.as_tensor(frames, device=device)

    def call() -> Any:
        with torch.inference_mode():
            batch = ((pixels.permute(0, 3, 1, 2).float() / 255 - shift) / scale).to(dtype)
            embedding = model.get_image_features(pixel_values=batch)
            if device == "cuda":
                torch.cuda.synchronize()
            return embedding

    return call


def measure(cases: list[Case], options: argparse.Namespace, peak: float | None) -> list[dict[str, Any]]:
    """Medians of alternating repeats of cases of one model and batch."""
    import numpy as np

    config = config_of(cases[0].model)
    size = config.image_size
    frames = np.random.default_rng(0).integers(0, 256, (cases[0].batch, size, size, 3), np.uint8)
    calls, figures = {}, {}
    for case in cases:
        try:
            if case.side == "jaxvlm":
                calls[case], figures[case] = ours(case, config, frames)
            else:
                calls[case], figures[case] = peer(config, frames, case.dtype), {}
            calls[case]()
        except Exception as error:
            calls.pop(case, None)
            print(
                f"{case.model} {case.batch} {case}: {type(error).__name__}: {str(error).splitlines()[0][:150]}"
            )
    times: dict[Case, list[float]] = {case: [] for case in calls}
    for call in calls.values():
        call()
    import jax

    alone = jax.default_backend() == "cpu" and options.cores and "," not in options.cores
    clock = time.process_time if alone else time.perf_counter
    for _ in range(options.repeats):
        for case, call in calls.items():
            start = clock()
            for _ in range(options.calls):
                call()
            times[case].append((clock() - start) / options.calls)
    flops, rows = image_flops(config), []
    for case in calls:
        seconds = statistics.median(times[case])
        rate = case.batch / seconds
        rows.append(
            {
                "model": case.model,
                "batch": case.batch,
                "side": str(case),
                "images_per_second": rate,
                "tflops": rate * flops / 1e12,
                "mfu": rate * flops / peak if peak and case.dtype != "float32" else None,
                "spread": [case.batch / max(times[case]), case.batch / min(times[case])],
                **figures[case],
            }
        )
        print(row_of(rows[-1], rows), flush=True)
    return rows


def row_of(row: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """A line of the table."""
    low, high = row["spread"]
    beside = [other["images_per_second"] for other in rows if other["side"].startswith("pytorch")]
    ratio = f"{row['images_per_second'] / beside[0]:.2f}" if beside else "-"
    share = f"{row['mfu']:.1%}" if row["mfu"] else "-"
    cosine = f"{row['least_cosine']:.5f}" if "least_cosine" in row else "-"
    compiling = (
        f"{row['compile_seconds']:.1f} | {row['temporary_mb']:,.0f}" if "compile_seconds" in row else "- | -"
    )
    return (
        f"| {row['model']} | {row['batch']} | {row['side']} | {row['images_per_second']:,.1f} "
        f"({low:,.1f} to {high:,.1f}) | {row['tflops']:.2f} | {share} | {ratio} | "
        f"{compiling} | {cosine} |"
    )


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = [*MODELS, *RESNETS]
    parser.add_argument("models", nargs="*", help=f"of {', '.join(known)}, or checkpoints; by default b32")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument(
        "--dtype", nargs="+", default=[""], help="float32, bfloat16, float16; by default the backend's"
    )
    parser.add_argument("--attention", nargs="+", default=["auto"], help="auto, xla, cudnn")
    parser.add_argument("--scan", nargs="+", default=["no"], choices=["no", "yes"])
    parser.add_argument("--quantise", nargs="+", default=[], help="int8, fp8: measured as well, by qwix")
    parser.add_argument("--xla", nargs="+", default=[], help="NAME=VALUE: measured as well, each one alone")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1, help="of one repeat, for small batches on a GPU")
    parser.add_argument("--peak", type=float, help="of the device, TFLOP/s")
    parser.add_argument("--cores", default="0", help="run on these alone; empty for all")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if unknown := {name for name in options.models if name not in known and not set(":/") & set(name)}:
        parser.error(
            f"unknown model {', '.join(sorted(unknown))}; choose of {', '.join(known)}, or name a checkpoint: "
            "tiny:..., owner/name, ./directory"
        )
    if min(*options.batch, options.repeats, options.calls, 1) < 1:
        parser.error("--batch, --repeats and --calls have to be at least 1")
    with_peer = not options.no_peer and find_spec("torch") is not None
    pin(options.cores)
    if with_peer:
        reuse_buffers(OMP_NUM_THREADS=str(max(1, len(options.cores.split(",")))))
    import jax

    device = jax.devices()[0].device_kind
    peak = (
        options.peak * 1e12
        if options.peak
        else next((value for name, value in PEAKS.items() if name in device), None)
    )
    if with_peer:
        import torch

        torch.set_num_threads(max(1, len(options.cores.split(","))) if options.cores else os.cpu_count() or 1)
        if jax.default_backend() == "gpu" and not torch.cuda.is_available():
            print("PyTorch sees no GPU here and is left out")
            with_peer = False
    packages = {
        name: _version(name) for name in ("jax", "flax", *(["torch", "transformers"] if with_peer else []))
    }
    print(f"{device}, {', '.join(f'{name} {number}' for name, number in packages.items())}")
    if jax.default_backend() == "cpu":
        print("on a CPU: float32, one process; nothing here says how fast a GPU or TPU is")
    print(
        "| model | batch | side | images/s (least to most) | TFLOP/s | MFU | times PyTorch | compiling, s | "
        "temporary MB | least cosine |\n|---|---|---|---|---|---|---|---|---|---|"
    )
    results = []
    for model, dtype, batch in product(options.models or ["b32"], options.dtype, options.batch):
        cases = [Case(model, batch, "pytorch", dtype=dtype)] if with_peer and model in MODELS else []
        for attention, scan in product(options.attention, options.scan):
            if model in RESNETS and (attention, scan) != (options.attention[0], options.scan[0]):
                continue
            cases.append(Case(model, batch, "jaxvlm", attention, scan == "yes", dtype))
        cases += [
            Case(model, batch, "jaxvlm", options.attention[0], quantise=kind) for kind in options.quantise
        ]
        results += measure(cases, options, peak)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(
            json.dumps({"device": device, "versions": packages, "rows": results}, indent=1)
        )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


if __name__ == "__main__":
    sys.exit(main())
