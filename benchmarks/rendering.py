"""Frames per second of the ray caster, beside MuJoCo's own renderer in the same process.

    python benchmarks/rendering.py                       # all cases, one core
    python benchmarks/rendering.py textured-64           # a case is <look>-<size>
    python benchmarks/rendering.py --no-native --batches 256 1024 4096 8192   # on a GPU: frames at a time

Frames show the 18 geoms of the humanoid in random poses, in full quality: textures, sky, highlights, hard shadows and,
in the original look, the floor's reflection. `alone` draws one frame a call, `batch` a batch in one program (frame by
frame on a CPU, together elsewhere) as uint8. MuJoCo's figures include kinematics, the scene's update and reading the
frame back.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

CASES = [f"{look}-{size}" for look in ("textured", "original") for size in (64, 112, 224)]
VIEW = ((0.0, 0.0, 1.0), 3.5, 180.0, -10.0)
POSES = 16
SHADOWS = "MuJoCo, shadows"


def random_states(model):
    """Random joint angles within their limits and random yaw, a little above the floor."""
    import numpy as np

    rng = np.random.default_rng(0)
    states = np.tile(model.qpos0, (POSES, 1))
    for joint in np.flatnonzero(model.jnt_limited):
        states[:, model.jnt_qposadr[joint]] = rng.uniform(*model.jnt_range[joint], POSES)
    yaw = rng.uniform(0.0, 2.0 * np.pi, POSES)
    states[:, 3:7] = np.stack([np.cos(yaw / 2), 0 * yaw, 0 * yaw, np.sin(yaw / 2)], axis=1)
    return states


def timed(calls: dict, repeats: int, seconds: float = 0.3) -> dict[str, list[float]]:
    """Seconds of each call, several runs that each last a while; the calls take turns, as other load comes and goes."""
    counts = {}
    for name, call in calls.items():
        call()
        start = time.perf_counter()
        call()
        counts[name] = max(1, int(seconds / max(time.perf_counter() - start, 1e-6)))
    results: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                call()
            results[name].append((time.perf_counter() - start) / counts[name])
    return results


def rate(seconds: list[float], frames: int = 1) -> dict[str, float]:
    """Median and range of frames a second."""
    rates = [frames / s for s in seconds]
    return {"median": statistics.median(rates), "low": min(rates), "high": max(rates)}


def compiled(function, *arguments) -> tuple[object, float, float]:
    """A compiled program, the seconds it took, and its temporary memory in MB."""
    import jax

    from jaxvlm.compiler import compiler_options

    lowered = jax.jit(function, compiler_options=compiler_options()).lower(*arguments)
    start = time.perf_counter()
    program = lowered.compile()
    seconds = time.perf_counter() - start
    memory = program.memory_analysis()
    return program, seconds, (memory.temp_size_in_bytes if memory else float("nan")) / 1e6


def native_renderer(model, states, size: int):
    """MuJoCo's own renderer and calls that draw with and without shadows; nothing where OpenGL is missing."""
    import mujoco

    try:
        renderer = mujoco.Renderer(model, size, size)
    except Exception as error:  # a missing driver shows as ImportError, AttributeError or a GL error
        print(f"  MuJoCo's renderer is not available: {error}", flush=True)
        return None, {}
    data, camera, index = mujoco.MjData(model), mujoco.MjvCamera(), 0
    camera.lookat[:], camera.distance, camera.azimuth, camera.elevation = VIEW

    def draw(shadows: int) -> None:
        nonlocal index
        data.qpos[:] = states[index % POSES]
        index += 1
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        renderer.update_scene(data, camera)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        renderer.render()

    return renderer, {SHADOWS: lambda: draw(1), "MuJoCo, no shadows": lambda: draw(0)}


def run_case(case: str, batches: list[int], repeats: int, native: bool) -> dict:
    """Measures one look at one size."""
    import jax
    import jax.numpy as jnp
    import mujoco

    from envs.humanoid.model import load_model
    from jaxvlm.render import draw_batch, free_camera, make_ray_assets, render_ray, scene_from_data

    look, size = case.rsplit("-", 1)[0], int(case.rsplit("-", 1)[1])
    model = load_model(look)
    states, data, scenes = random_states(model), mujoco.MjData(model), []
    for qpos in states:
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
        scenes.append(scene_from_data(data))
    assets, camera = make_ray_assets(model), free_camera(*VIEW)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *scenes)
    result: dict = {"case": case, "rates": {}, "compile_seconds": {}, "temporary_mb": {}}

    calls, frames = {}, {}

    def prepare(name: str, count: int, function, *arguments) -> None:
        program, result["compile_seconds"][name], result["temporary_mb"][name] = compiled(
            function, *arguments
        )
        calls[name] = lambda: jax.block_until_ready(program(*arguments))
        frames[name] = count

    prepare("alone", 1, lambda s, a, c: render_ray(s, a, c, size), scenes[0], assets, camera)
    views = jax.tree.map(lambda leaf: leaf[None], camera)
    for batch in batches:
        index = jnp.arange(batch) % POSES
        batched = jax.tree.map(lambda leaf, index=index: leaf[index], stacked)
        prepare(
            f"batch {batch}",
            batch,
            lambda s, a, c: draw_batch(render_ray, s, a, c, size),
            batched,
            assets,
            views,
        )
    renderer, native_calls = native_renderer(model, states, size) if native else (None, {})
    seconds = timed(calls | native_calls, repeats)
    if renderer is not None:
        renderer.close()
    result["rates"] = {name: rate(found, frames.get(name, 1)) for name, found in seconds.items()}
    if SHADOWS in seconds:
        pairs = zip(seconds["alone"], seconds[SHADOWS], strict=True)
        result["ratio"] = statistics.median(theirs / ours for ours, theirs in pairs)
    return result


def report(result: dict) -> str:
    """A case in lines of text."""
    lines = [result["case"]]
    for name, found in result["rates"].items():
        line = f"  {name:<20} {found['median']:>9,.0f} frames/s ({found['low']:,.0f} to {found['high']:,.0f})"
        if name in result["compile_seconds"]:
            line += (
                f", compile {result['compile_seconds'][name]:.1f} s, {result['temporary_mb'][name]:,.1f} MB"
            )
        lines.append(line)
    if "ratio" in result:
        lines.append(f"  {'alone / shadows':<20} {result['ratio']:>9.1f} (median of pairs)")
    return "\n".join(lines)


def main() -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", default=CASES, help=f"of {', '.join(CASES)}")
    parser.add_argument(
        "--batches", type=int, nargs="*", help="frames at a time; by default 64, on a GPU 256 to 8192"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-native", action="store_true", help="leave MuJoCo's own renderer out")
    parser.add_argument("--cores", default="0", help="cores to run on, such as 0 or 0,1; empty for all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    unknown = set(options.cases) - set(CASES)
    if unknown:
        parser.error(f"unknown case {', '.join(sorted(unknown))}; choose of {', '.join(CASES)}")
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported
    if options.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in options.cores.split(",")})
    import jax
    import mujoco

    jax.config.update("jax_enable_compilation_cache", False)  # compile times are measured
    batches = options.batches
    if batches is None:
        batches = [64] if jax.default_backend() == "cpu" else [256, 1024, 4096, 8192]
    results = []
    for case in options.cases:
        results.append(run_case(case, batches, options.repeats, not options.no_native))
        print(report(results[-1]), flush=True)
    print(
        f"jax {jax.__version__}, MuJoCo {mujoco.__version__}, {jax.devices()[0].device_kind}, "
        f"cores {options.cores or 'all'}, float32"
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
