"""Physics steps per second of the humanoid on MJX, beside MuJoCo on one thread, and how far the two drift apart.

    python benchmarks/physics.py                         # all cases, one core
    python benchmarks/physics.py floor-3-6               # a case is <contacts>-<iterations>-<line search iterations>
    python benchmarks/physics.py floor-3-6 floor-3-6-29  # and -<contact points kept>, in place of the model's limit
    python benchmarks/physics.py floor-3-6 --num-envs 256 1024 4096 8192     # on a GPU
    python benchmarks/physics.py --drift docs/images/physics_drift.png       # 20-step open loops instead of speed

Random actions, changed every 5 steps; 100 steps of every environment a run. `published-euler` and `published-rk4` are
gymnasium's XML as it is, but for the solver, which MJX does not have.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

CASES = ("floor-2-4", "floor-3-6", "floor-4-8", "limbs-3-6", "all-3-6", "published-euler", "published-rk4")
STEPS, SUBSTEPS = 100, 5


def host_model(case: str):
    """The `mujoco.MjModel` of a case."""
    import copy

    import mujoco

    from envs.humanoid.model import load_model

    contacts, *numbers = case.split("-")
    if contacts != "published":
        model = copy.copy(load_model("textured", contacts))
        model.opt.iterations, model.opt.ls_iterations, *kept = (int(number) for number in numbers)
        if kept:
            model.numeric("max_contact_points").data[:] = kept
        return model
    import gymnasium

    path = Path(gymnasium.__file__).parent / "envs/mujoco/assets/humanoid.xml"
    model = mujoco.MjModel.from_xml_path(str(path))
    model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    euler = numbers == ["euler"]
    model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER if euler else mujoco.mjtIntegrator.mjINT_RK4
    return model


def measure(case: str, num_envs: int, repeats: int) -> dict:
    """Compiles and times one case; MuJoCo's figure is of the same model, step by step from Python."""
    import jax
    import jax.numpy as jnp
    import mujoco
    import numpy as np

    from envs.humanoid.physics import Motion, mjx, simulate

    model = host_model(case)
    device = mjx.put_model(model, impl="jax")

    def run(device, motion, key):
        def one(motion, key):
            ctrl = jax.random.uniform(key, (num_envs, model.nu), minval=-0.4, maxval=0.4)
            step = jax.vmap(lambda motion, ctrl: simulate(device, motion, ctrl, SUBSTEPS)[0])
            return step(motion, ctrl), None

        return jax.lax.scan(one, motion, jax.random.split(key, STEPS // SUBSTEPS))[0]

    qpos = jnp.tile(jnp.asarray(model.qpos0, jnp.float32), (num_envs, 1))
    zeros = jnp.zeros((num_envs, model.nv))
    motion = Motion(qpos, zeros, zeros)
    start = time.perf_counter()
    program = jax.jit(run).lower(device, motion, jax.random.key(0)).compile()
    compile_seconds = time.perf_counter() - start
    data, generator = mujoco.MjData(model), np.random.default_rng(0)
    ours, theirs, ours_alone, theirs_alone = [], [], [], []
    # From standing to lying: the first two runs are falls and are not counted.
    for repeat in range(repeats + 2):
        start, start_cpu = time.perf_counter(), time.process_time()
        motion = jax.block_until_ready(program(device, motion, jax.random.key(repeat)))
        middle, middle_cpu = time.perf_counter(), time.process_time()
        for step in range(2000):
            if step % SUBSTEPS == 0:
                data.ctrl[:] = generator.uniform(-0.4, 0.4, model.nu)
            mujoco.mj_step(model, data)
        if repeat >= 2:
            ours.append(num_envs * STEPS / (middle - start))
            theirs.append(2000 / (time.perf_counter() - middle))
            # On a core that is shared with other programs: what of it was ours.
            ours_alone.append(num_envs * STEPS / (middle_cpu - start_cpu))
            theirs_alone.append(2000 / (time.process_time() - middle_cpu))
    return {
        "case": case,
        "num_envs": num_envs,
        "compile_seconds": compile_seconds,
        "steps_per_second": {"median": statistics.median(ours), "low": min(ours), "high": max(ours)},
        "mujoco_steps_per_second": {
            "median": statistics.median(theirs),
            "low": min(theirs),
            "high": max(theirs),
        },
        "steps_per_cpu_second": statistics.median(ours_alone),
        "mujoco_steps_per_cpu_second": statistics.median(theirs_alone),
        "finite": bool(jnp.isfinite(motion.qpos).all()),
    }


def drift(path: Path, count: int = 200) -> dict[str, list[float]]:
    """Plots how far MJX and a converged MuJoCo are apart after each of 20 steps from the same states."""
    import jax
    import jax.numpy as jnp
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import mujoco
    import numpy as np

    from envs.humanoid.physics import Motion, mjx, simulate

    reference = host_model("floor-100-50")
    generator, data = np.random.default_rng(0), mujoco.MjData(reference)
    starts, references = [], []
    while len(starts) < count:
        mujoco.mj_resetData(reference, data)
        data.qpos += generator.uniform(-0.01, 0.01, reference.nq)
        for step in range(500):
            if step % SUBSTEPS == 0:
                data.ctrl[:] = generator.uniform(-0.4, 0.4, reference.nu)
            if step % 50 == 25:
                starts.append([x.copy() for x in (data.qpos, data.qvel, data.qacc_warmstart, data.ctrl)])
            mujoco.mj_step(reference, data)
    for qpos, qvel, warm_start, ctrl in starts:
        data.qpos[:], data.qvel[:], data.qacc_warmstart[:], data.ctrl[:] = qpos, qvel, warm_start, ctrl
        path_of = []
        for _ in range(20):
            mujoco.mj_step(reference, data)
            path_of.append(data.qpos.copy())
        references.append(path_of)
    qpos, qvel, warm_start, ctrl = (jnp.asarray(np.stack(x), jnp.float32) for x in zip(*starts, strict=True))
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    result = {}
    for case in ("floor-20-40", "floor-4-8", "floor-3-6", "floor-2-4"):
        device = mjx.put_model(host_model(case), impl="jax")

        def one(device, motion, ctrl):
            def step(motion, _):
                motion = simulate(device, motion, ctrl, 1)[0]
                return motion, motion.qpos

            return jax.lax.scan(step, motion, None, 20)[1]

        run = jax.jit(jax.vmap(one, (None, 0, 0)))
        ours = np.asarray(run(device, Motion(qpos, qvel, warm_start), ctrl))
        apart = np.abs(ours - np.asarray(references)).max(-1)
        low, middle, high = np.quantile(apart, (0.25, 0.5, 0.9), axis=0)
        iterations, line = case.split("-")[1:]
        (drawn,) = axes.plot(range(1, 21), middle, label=f"{iterations} iterations, {line} of line search")
        axes.fill_between(range(1, 21), low, high, color=drawn.get_color(), alpha=0.15)
        result[case] = middle.tolist()
    axes.set(
        yscale="log", xlabel="physics steps of 3 ms", ylabel="largest difference of a coordinate (m, rad)"
    )
    axes.set_title("MJX apart from a converged MuJoCo: median, quartile to 90 %", fontsize=10)
    axes.legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return result


def main() -> None:
    """Prints a line for each case, and JSON with `--json`."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", help=f"of {', '.join(CASES)}, or others of that form")
    parser.add_argument("--num-envs", type=int, nargs="+", default=[64])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--cores", type=int, default=1, help="processor cores to use; 0 leaves them as they are"
    )
    parser.add_argument("--drift", type=Path, help="draw the drift into this PNG instead")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-options.cores :]))
    import jax
    import mujoco

    if options.drift:
        for case, median in drift(options.drift).items():
            print(f"{case:<14} median after 1, 5, 20 steps: {median[0]:.1e} {median[4]:.1e} {median[19]:.1e}")
        return
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}, mujoco {mujoco.__version__}, float32")
    rows = []
    for case in options.cases or CASES:
        for num_envs in options.num_envs:
            row = measure(case, num_envs, options.repeats)
            rows.append(row)
            ours, theirs = row["steps_per_second"], row["mujoco_steps_per_second"]
            print(
                f"{case:<16} {num_envs:>6} environments  compile {row['compile_seconds']:5.1f} s  "
                f"{ours['median']:>10,.0f} steps/s ({ours['low']:,.0f} to {ours['high']:,.0f})  "
                f"MuJoCo {theirs['median']:,.0f}  by processor time {row['steps_per_cpu_second']:,.0f}, "
                f"MuJoCo {row['mujoco_steps_per_cpu_second']:,.0f}"
                + ("" if row["finite"] else "  NOT FINITE"),
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
