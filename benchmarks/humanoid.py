"""Environment steps per second of training the humanoid end to end, stage by stage, beside the same work in PyTorch.

    python benchmarks/humanoid.py                              # both sides, 64 and 96 pixels, one core
    python benchmarks/humanoid.py humanoid-64 --preset paper   # gymnasium's 376 observations, batch 512, limb contacts
    python benchmarks/humanoid.py --clip tiny                  # a checkpoint in place of random weights
    python benchmarks/humanoid.py humanoid-64 vit-l14 --cores "" --preset default --num-envs 2048 4096   # on a GPU

A case is a CLIP with random weights, which are as fast as trained ones: `humanoid-<pixels>` is of the embedded model's
shape (patches of 16, width 128, 4 layers, projection 64), `vit-l14` and `vit-b32` are the published ones at 224 pixels.
Ours is one iteration of `humanoid-kneeling` with the numbers of a preset, after learning has started: an episode of
every environment, its frames drawn, encoded and scored, rows inserted, gradient steps of SAC. With `--num-envs`, the
gradient steps change in proportion. `--update-every 16 --hidden 256` is the work of the earlier figures in RESULTS.md,
whatever the preset: one gradient step for 16 environment steps, plain networks of two layers of 256.

The peers (extra `peers`) do the same work with gymnasium's Humanoid, MuJoCo's renderer, transformers' CLIPModel and
stable-baselines3's SAC: the same observation, camera, frame size, network widths, batch size and gradient steps per
environment step (their critics are not normalised, as ours are in the presets laptop and default; `--hidden` makes both
plain), in one process without environment workers, frames of a rollout encoded in batches.

`tuned` is what a careful user makes of it: our model and solver settings in MuJoCo's C, one renderer for all
environments, no shadows, reflections or multisampling, software OpenGL told of its one core, CLIP in batches that fit
the cache, observations in float32. `default` is gymnasium's own model (RK4, its looks) drawn as MuJoCo's renderer
comes; it takes a few steps only, at the same number of gradient steps each.

Repeats alternate between all sides, pinned to the same core. Rates are of wall time; beside their ratio stands that of
processor time, which other programs on the machine disturb less. On an accelerator only ours is measured.
"""

import argparse
import json
import os
import statistics
import time
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline import Ours, clip_of_shape, pin, random_tower, reuse_buffers, torch_rewards, torch_tower

TASK = "humanoid-kneeling"
EPISODE = 100  # steps
# width, layers, heads, MLP width, image size, patch size, projection
LARGE = {"vit-b32": (768, 12, 12, 3072, 224, 32, 512), "vit-l14": (1024, 24, 16, 4096, 224, 14, 768)}
CASES = ("humanoid-64", "humanoid-96")
VIEW = ((0.0, 0.0, 1.0), 3.5, 180.0, -10.0)  # VLM-RM's camera: look-at, distance, azimuth, elevation
ENCODE = 16  # frames that the peers encode at a time: 1.5 times as fast as 256 of them on one core


@dataclass(frozen=True)
class Work:
    """What one repeat consists of, the same for both sides."""

    preset: str
    num_envs: int
    updates: int  # gradient steps per 100 steps of every environment
    batch: int
    hidden: tuple[int, ...]  # widths of the critics, and of the actor
    normalised: bool  # our critics
    observation: str  # "compact" or "full"
    contacts: str
    learning_rate: float
    discount: float
    tau: float


def shape_of(case: str) -> tuple[int, ...]:
    """The tower of a case."""
    return LARGE.get(case) or (128, 4, 4, 512, int(case.rsplit("-", 1)[1]), 16, 64)


def make_work(preset_name: str, num_envs: int | None, every: int | None, hidden: int | None):
    """The config of a preset for any number of environments, and what of it the peers need.

    `every` and `hidden` are, if given, environment steps for one gradient step and the width of networks of two layers
    without normalisation.
    """
    from envs.registry import make_task
    from jaxvlm.vlmrm import preset

    config = preset(TASK, "sac", preset_name)
    task = make_task(TASK, config.variant)
    envs = num_envs or config.num_envs
    updates = max(1, round(config.updates * envs / config.num_envs))
    if every:
        updates = max(1, round(envs * EPISODE / every))
    rows = envs * config.rollout_length
    # Random actions in the first iteration only, so that every measured one acts and learns.
    config = replace(
        config,
        num_envs=envs,
        updates=updates,
        learning_starts=1,
        buffer_size=max(rows, min(config.buffer_size, 400_000)),
    )
    if hidden:
        sizes = (hidden, hidden)
        plain = replace(
            config.algorithm, actor_hidden_sizes=sizes, critic_hidden_sizes=sizes, critic_layer_norm=False
        )
        config = replace(config, algorithm=plain)
    settings, humanoid = config.algorithm, task.env.env
    work = Work(
        preset=preset_name,
        num_envs=envs,
        updates=updates,
        batch=config.batch_size,
        hidden=settings.critic_hidden_sizes,
        normalised=settings.critic_layer_norm,
        observation=humanoid.observation,
        contacts=humanoid.contacts,
        learning_rate=settings.learning_rate,
        discount=settings.discount,
        tau=settings.tau,
    )
    return task, config, work


def make_peer_env(work: Work, tuned: bool):
    """Makes a function that makes gymnasium's humanoid: with our model if tuned, else with its own.

    The observation is float32 and, where the program's is compact, cut down to positions and velocities.
    """
    import copy

    import gymnasium
    import numpy as np
    from gymnasium.envs.mujoco.humanoid_v4 import HumanoidEnv

    from envs.humanoid.model import load_model

    size = 376 if work.observation == "full" else 45

    class Humanoid(HumanoidEnv):
        """Gymnasium's environment; the program's observation of it."""

        def __init__(self):
            super().__init__(terminate_when_unhealthy=False)
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)

        def _initialize_simulation(self):
            if not tuned:
                return super()._initialize_simulation()
            import mujoco

            model = copy.copy(load_model("textured", work.contacts))
            return model, mujoco.MjData(model)

        def _get_obs(self):
            if size == 376:
                return super()._get_obs().astype(np.float32)
            return np.concatenate((self.data.qpos[2:], self.data.qvel), dtype=np.float32)

    return lambda: gymnasium.wrappers.TimeLimit(Humanoid(), EPISODE)


class Peer:
    """The same work with gymnasium, MuJoCo's renderer, transformers and stable-baselines3."""

    def __init__(self, work: Work, tower, tuned: bool, steps: int):
        import copy

        import mujoco
        import numpy as np
        import torch
        from stable_baselines3 import SAC
        from stable_baselines3.common.logger import Logger
        from stable_baselines3.common.vec_env import DummyVecEnv

        torch.set_num_threads(1)
        self.np, self.torch, self.flags = np, torch, mujoco.mjtRndFlag
        self.work, self.tuned, self.steps = work, tuned, steps
        self.updates = max(1, round(work.updates * steps / EPISODE))
        self.env = DummyVecEnv([make_peer_env(work, tuned)] * work.num_envs)
        self.data = [env.unwrapped.data for env in self.env.envs]
        self.scale = self.env.action_space.high
        model = copy.copy(self.env.envs[0].unwrapped.model)
        if tuned:
            model.vis.quality.offsamples = 0
            os.environ["LP_NUM_THREADS"] = "1"  # of Mesa's software renderer, read when a context is made
        self.renderer = mujoco.Renderer(model, tower.size, tower.size)
        os.environ.pop("LP_NUM_THREADS", None)
        self.camera = mujoco.MjvCamera()
        self.camera.lookat[:], self.camera.distance, self.camera.azimuth, self.camera.elevation = VIEW
        config = tower.clip.config
        self.model = torch_tower(config)
        self.goal = torch.nn.functional.normalize(torch.randn(config.projection_dim), dim=0)
        self.mean = torch.tensor(config.image_mean)[:, None, None]
        self.std = torch.tensor(config.image_std)[:, None, None]
        self.agent = SAC(
            "MlpPolicy",
            self.env,
            learning_rate=work.learning_rate,
            buffer_size=100_000,
            batch_size=work.batch,
            tau=work.tau,
            gamma=work.discount,
            policy_kwargs={"net_arch": list(work.hidden)},
            device="cpu",
            seed=0,
        )
        self.agent.set_logger(Logger(folder=None, output_formats=[]))
        self.observation = self.env.reset()
        self.seconds: dict[str, float] = {}  # of processor time in the last call of `iterate`

    def frame(self, data):
        """A frame at the tower's size."""
        self.renderer.update_scene(data, self.camera)
        if self.tuned:
            self.renderer.scene.flags[self.flags.mjRND_SHADOW] = 0
            self.renderer.scene.flags[self.flags.mjRND_REFLECTION] = 0
        return self.renderer.render()

    def iterate(self) -> int:
        """A rollout with its share of gradient steps; how many transitions it made."""
        np, torch, agent = self.np, self.torch, self.agent
        start = time.process_time()
        drawing, pictures, rows = 0.0, [], []
        for _ in range(self.steps):
            with torch.inference_mode():
                action = agent.actor(torch.as_tensor(self.observation)).numpy()  # in [-1, 1]
            observation, _, done, infos = self.env.step(action * self.scale)
            began = time.process_time()
            pictures.extend(self.frame(data) for data in self.data)
            drawing += time.process_time() - began
            after = observation.copy()
            for index in np.flatnonzero(done):
                after[index] = infos[index]["terminal_observation"]
            rows.append((self.observation, after, action, done, infos))
            self.observation = observation
        drawn = time.process_time()
        reward = torch_rewards(self.model, pictures, ENCODE, self.goal, self.mean, self.std).reshape(
            self.steps, -1
        )
        encoded = time.process_time()
        for row, (before, after, action, done, infos) in enumerate(rows):
            agent.replay_buffer.add(before, after, action, reward[row], done, infos)
        inserted = time.process_time()
        agent.train(gradient_steps=self.updates, batch_size=self.work.batch)
        end = time.process_time()
        self.seconds = {
            "rollout": drawn - start - drawing,
            "label: render": drawing,
            "label: encode": encoded - drawn,
            "insert": inserted - encoded,
            "update": end - inserted,
        }
        return self.steps * self.work.num_envs


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the ratios of pairs."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def run_case(case: str, tower, num_envs: int | None, options: argparse.Namespace, peer: bool) -> dict:
    """Alternates all sides and returns medians and ranges."""
    task, config, work = make_work(options.preset, num_envs, options.update_every, options.hidden)
    print(f"{case}, {work.num_envs} environments: compiling ...", flush=True)
    ours = Ours(task, config, tower)
    sides = {"jaxvlm": ours}
    if peer:
        sides["tuned"] = Peer(work, tower, True, options.tuned_steps)
        if options.default_steps:
            sides["default"] = Peer(work, tower, False, options.default_steps)
    rates: dict[str, list[float]] = {side: [] for side in sides}
    busy: dict[str, list[float]] = {side: [] for side in sides}  # steps a second of processor time
    stages: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for side in sides.values():
        side.iterate()
    for index in range(options.repeats):
        for name, side in sides.items():
            start, start_busy = time.perf_counter(), time.process_time()
            steps = side.iterate()
            busy[name].append(steps / (time.process_time() - start_busy))
            rates[name].append(steps / (time.perf_counter() - start))
            if name != "jaxvlm":
                stages[name].append(side.seconds)
        line = ", ".join(f"{name} {rate[-1]:,.1f}" for name, rate in rates.items())
        print(f"  repeat {index + 1}/{options.repeats}: {line} environment steps/s", flush=True)
    result = {
        "case": case,
        "frame_size": tower.size,
        "clip": options.clip or "random weights",
        "clip_dtype": str(ours.jax.tree.leaves(tower.params)[0].dtype),
        "work": vars(work),
        "compile_seconds": ours.compile_seconds,
        "temporary_mb": ours.temporary_mb,
        "diverged": ours.diverged,
        "sides": {
            name: {"median": statistics.median(rate), "low": min(rate), "high": max(rate)}
            for name, rate in rates.items()
        },
        "busy_steps_per_second": {name: statistics.median(rate) for name, rate in busy.items()},
        "ratios": {name: ratio(rates["jaxvlm"], rates[name]) for name in list(rates)[1:]},
        "busy_ratios": {name: ratio(busy["jaxvlm"], busy[name]) for name in list(busy)[1:]},
        "stages_seconds": {"jaxvlm": ours.stages(options.repeats)},
    }
    for name, found in stages.items():
        if found:
            result["stages_seconds"][name] = {
                stage: statistics.median(seconds[stage] for seconds in found) for stage in found[0]
            }
    return result


def report(result: dict) -> str:
    """A case in lines of text."""
    work = result["work"]
    lines = [
        f"{result['case']}: {result['frame_size']} pixels, CLIP {result['clip']} in {result['clip_dtype']}, "
        f"preset {work['preset']}",
        f"  {work['num_envs']} environments, {work['updates']} gradient steps of batch {work['batch']} per "
        f"{work['num_envs'] * EPISODE:,} environment steps, networks {work['hidden']}"
        f"{', ours normalised' if work['normalised'] else ''}, {work['observation']} "
        f"observation, contacts: {work['contacts']}",
        f"  jaxvlm compiles in {result['compile_seconds']:.1f} s, {result['temporary_mb']:,.0f} MB temporary"
        + (f", {result['diverged']:.0f} rows diverged in the last iteration" if result["diverged"] else ""),
    ]
    for name, found in result["sides"].items():
        line = f"  {name:<9} {found['median']:>9,.1f} environment steps/s ({found['low']:,.1f} to {found['high']:,.1f})"
        if name in result["ratios"]:
            line += (
                f", ours is {result['ratios'][name]:.2f} times as fast, "
                f"{result['busy_ratios'][name]:.2f} by processor time"
            )
        lines.append(line)
        stages = result["stages_seconds"][name]
        total = sum(stages.values())
        lines += [
            f"    {stage:<14} {seconds / total:>4.0%}, {seconds:.3f} s" for stage, seconds in stages.items()
        ]
    return "\n".join(lines)


def versions() -> str:
    """What was measured, with versions."""
    found = []
    for package in (
        "jax",
        "mujoco",
        "mujoco-mjx",
        "gymnasium",
        "stable-baselines3",
        "torch",
        "transformers",
    ):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def main() -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "cases", nargs="*", help=f"humanoid-<pixels>, {', '.join(LARGE)}; by default {', '.join(CASES)}"
    )
    parser.add_argument("--preset", default="laptop", help="whose numbers: laptop, default or paper")
    parser.add_argument("--clip", help="measure this checkpoint: a directory, a hub name, or tiny")
    parser.add_argument("--num-envs", type=int, nargs="+", help="in place of the preset's number")
    parser.add_argument(
        "--update-every", type=int, help="environment steps for one gradient step, in place of the preset's"
    )
    parser.add_argument("--hidden", type=int, help="width of plain networks, in place of the preset's")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--tuned-steps", type=int, default=50, help="steps of each environment a repeat, tuned"
    )
    parser.add_argument("--default-steps", type=int, default=2, help="as shipped; 0 leaves it out")
    parser.add_argument(
        "--warm", action="store_true", help="use the compilation cache; compile times then mean nothing"
    )
    parser.add_argument("--no-peer", action="store_true", help="measure jaxvlm alone")
    parser.add_argument("--cores", default="0", help="cores to run on, such as 0 or 0,1; empty for all")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    for name in ("update_every", "hidden"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} is {value}; give at least 1")
    for case in options.cases:
        size = case.removeprefix("humanoid-")
        if case not in LARGE and (size == case or not size.isdigit() or int(size) < 16 or int(size) % 16):
            parser.error(
                f"unknown case {case!r}; choose of {', '.join(LARGE)} or humanoid-<pixels>, multiples of 16"
            )
    if options.clip and options.cases:
        parser.error("a checkpoint says its own frame size; give either cases or --clip")
    reuse_buffers()
    os.environ.setdefault("MUJOCO_GL", "egl")  # read when mujoco is imported
    pin(options.cores)
    import jax

    jax.config.update("jax_enable_compilation_cache", options.warm)
    peer = not options.no_peer and jax.default_backend() == "cpu"
    if options.clip:
        from jaxvlm.vlmrm import load_tower

        tower = load_tower(options.clip, "humanoid")
        towers = {f"humanoid-{tower.size}": tower}
    else:
        towers = {case: random_tower(case, clip_of_shape(*shape_of(case))) for case in options.cases or CASES}
    results = []
    for case, tower in towers.items():
        for num_envs in options.num_envs or [None]:
            results.append(run_case(case, tower, num_envs, options, peer))
            print(report(results[-1]), flush=True)
    print(
        f"{versions()}; {jax.devices()[0].device_kind}, cores {options.cores or 'all'}, "
        "float32 but for what is said of CLIP"
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
