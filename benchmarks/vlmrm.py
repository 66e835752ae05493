"""Environment steps per second end to end, stage by stage, beside the same work in PyTorch.

    python benchmarks/vlmrm.py                     # ours and the peer, embedded patch-16 tower, one core
    python benchmarks/vlmrm.py tiny-p8             # another tower
    python benchmarks/vlmrm.py vit-b32 --steps 50 --repeats 3   # a large one: fewer steps and updates a repeat
    python benchmarks/vlmrm.py --no-peer --first-iteration

One case is a tower. Both sides act in 16 CartPole environments for 200 steps (`--steps`), draw every state at the
tower's input, encode all frames, and take as many DQN updates of batch 128: what one iteration of the default preset
does. The peer is what a careful user writes with gymnasium's renderer, transformers' CLIPModel and stable-baselines3's
DQN (extra `peers`): frames of a rollout encoded in batches, no environment processes, memory kept by the allocator.
Repeats alternate between the two sides, and both run pinned to the same core (`--cores`). Rates are of wall time, the
stages' seconds of processor time on a CPU.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from pipeline import Ours, clip_of_shape, pin, random_tower, reuse_buffers, torch_rewards, torch_tower

# width, layers, heads, MLP width, image size, patch size, projection
TOWERS = {
    "tiny-p16": (128, 4, 4, 512, 64, 16, 64),
    "tiny-p8": (128, 4, 4, 512, 64, 8, 64),
    "vit-b32": (768, 12, 12, 3072, 224, 32, 512),
}
NUM_ENVS, BATCH = 16, 128


def make_ours(tower: str, steps: int) -> Ours:
    """The library's side of a case; random weights are as fast as trained ones."""
    from envs.registry import make_task
    from jaxvlm.vlmrm import preset

    config = replace(
        preset("cartpole", "dqn", "default"),
        num_envs=NUM_ENVS,
        rollout_length=steps + 1,
        updates=steps,
        batch_size=BATCH,
        learning_starts=1,  # random actions in the first iteration only
    )
    return Ours(make_task("cartpole"), config, random_tower(tower, clip_of_shape(*TOWERS[tower])))


class Peer:
    """The same work with gymnasium, transformers and stable-baselines3."""

    def __init__(self, tower: str, steps: int):
        import gymnasium
        import numpy as np
        import torch
        from stable_baselines3 import DQN
        from stable_baselines3.common.logger import Logger
        from stable_baselines3.common.vec_env import DummyVecEnv

        torch.set_num_threads(1)
        self.steps = steps
        self.np, self.torch = np, torch
        self.model = torch_tower(clip_of_shape(*TOWERS[tower]))
        self.size = TOWERS[tower][4]
        self.goal = torch.nn.functional.normalize(torch.randn(TOWERS[tower][6]), dim=0)
        self.mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
        self.std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
        envs = [
            lambda: gymnasium.make("CartPole-v1", render_mode="rgb_array", max_episode_steps=200)
            for _ in range(NUM_ENVS)
        ]
        self.env = DummyVecEnv(envs)
        # SB3's `train_freq` counts vector steps; the loop below calls collect and train itself.
        self.agent = DQN(
            "MlpPolicy",
            self.env,
            learning_rate=1e-3,
            buffer_size=200_000,
            batch_size=BATCH,
            tau=0.005,
            target_update_interval=1,
            policy_kwargs={"net_arch": [128, 128]},
            device="cpu",
            seed=0,
        )
        self.agent.set_logger(Logger(folder=None, output_formats=[]))
        self.observation = self.env.reset()

    def frames(self):
        """One frame of every environment at the tower's size: cut down at once, so that a rollout fits in memory."""
        from PIL import Image

        images = [Image.fromarray(env.render()) for env in self.env.envs]
        return [
            self.np.asarray(image.resize((self.size, self.size), Image.Resampling.BILINEAR))
            for image in images
        ]

    def iterate(self) -> float:
        """Seconds of one iteration."""
        np, torch, agent = self.np, self.torch, self.agent
        start = time.perf_counter()
        pictures, rows = [], []
        for _ in range(self.steps):
            with torch.inference_mode():
                greedy = agent.q_net(torch.as_tensor(self.observation)).argmax(1).numpy()
            explore = np.random.random(NUM_ENVS) < 0.1
            action = np.where(explore, np.random.randint(0, 2, NUM_ENVS), greedy)
            observation, _, done, infos = self.env.step(action)
            pictures.extend(self.frames())
            rows.append((self.observation, observation, action, done, infos))
            self.observation = observation
        reward = torch_rewards(self.model, pictures, 64, self.goal, self.mean, self.std).reshape(
            self.steps, NUM_ENVS
        )
        for index, (before, after, action, done, infos) in enumerate(rows):
            agent.replay_buffer.add(before, after, action[:, None], reward[index], done, infos)
        for _ in range(
            self.steps
        ):  # one by one, with the soft target update that train() leaves to the rollout
            agent.train(gradient_steps=1, batch_size=BATCH)
            agent._on_step()
        return time.perf_counter() - start


def run_case(tower: str, repeats: int, peer: bool, steps: int) -> dict:
    """Alternates both sides and returns medians."""
    print(f"{tower}: compiling ...", flush=True)
    ours = make_ours(tower, steps)
    theirs = Peer(tower, steps) if peer else None
    if theirs:
        theirs.iterate()
    times: dict[str, list[float]] = {"jaxvlm": [], "peer": []}
    for index in range(repeats):
        start = time.perf_counter()
        ours.iterate()
        times["jaxvlm"].append(time.perf_counter() - start)
        if theirs:
            times["peer"].append(theirs.iterate())
        print(
            f"  repeat {index + 1}/{repeats}: "
            + ", ".join(f"{k} {v[-1]:.2f} s" for k, v in times.items() if v),
            flush=True,
        )
    total = NUM_ENVS * steps
    result = {
        "tower": tower,
        "compile_seconds": ours.compile_seconds,
        "steps_per_second": total / statistics.median(times["jaxvlm"]),
        "stages_seconds": ours.stages(repeats),
    }
    if theirs:
        result["peer_steps_per_second"] = total / statistics.median(times["peer"])
        result["ratio"] = statistics.median(
            b / a for a, b in zip(times["jaxvlm"], times["peer"], strict=True)
        )
    return result


def report(result: dict) -> str:
    """A case in lines of text."""
    stages = result["stages_seconds"]
    total = sum(stages.values())
    lines = [
        f"{result['tower']}",
        f"  compile                  {result['compile_seconds']:.1f} s",
        f"  jaxvlm                   {result['steps_per_second']:,.0f} environment steps/s",
    ]
    if "ratio" in result:
        lines += [
            f"  PyTorch pipeline         {result['peer_steps_per_second']:,.0f} environment steps/s",
            f"  ratio (median of pairs)  {result['ratio']:.2f}",
        ]
    lines += [f"  {name:<24} {seconds / total:.0%}, {seconds:.3f} s" for name, seconds in stages.items()]
    return "\n".join(lines)


FIRST_ITERATION = """
import time; start = time.perf_counter()
from jaxvlm.runtime import enable_compilation_cache; enable_compilation_cache()
import dataclasses, jax
from envs.registry import make_task
from jaxvlm.vlmrm import build, preset
from jaxvlm.vlmrm.train import compile_iteration, init_state
task = make_task("cartpole"); config = preset("cartpole", "dqn", "default")
reward = dataclasses.replace(config.reward, prompt=task.goal_prompts, look=task.look)
config = dataclasses.replace(config, reward=reward)
built = build(config, task.env, task.params, domain=task.domain)
state = init_state(built); compiled, _ = compile_iteration(built, state)
jax.block_until_ready(compiled(built.inputs, state)); print(time.perf_counter() - start)
"""


def first_iteration() -> tuple[float, float]:
    """Seconds from the first import to the end of the first iteration, with an empty and a warm compilation cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
        seconds = [
            float(
                subprocess.run(
                    [sys.executable, "-c", FIRST_ITERATION],
                    env=environment,
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.split()[-1]
            )
            for _ in range(2)
        ]
    return seconds[0], seconds[1]


def main() -> None:
    """Runs the cases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("towers", nargs="*", default=["tiny-p16"], help=f"of {', '.join(TOWERS)}")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--steps", type=int, default=200, help="steps of each environment and updates, a repeat"
    )
    parser.add_argument("--no-peer", action="store_true", help="measure jaxvlm alone")
    parser.add_argument("--cores", default="0", help="cores to run on, such as 0 or 0,1; empty for all")
    parser.add_argument(
        "--first-iteration", action="store_true", help="also time a first iteration, compilation included"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    unknown = set(options.towers) - set(TOWERS)
    if unknown:
        parser.error(f"unknown tower {', '.join(sorted(unknown))}; choose of {', '.join(TOWERS)}")
    reuse_buffers(SDL_VIDEODRIVER="dummy")
    pin(options.cores)
    results = []
    for tower in options.towers:
        results.append(run_case(tower, options.repeats, not options.no_peer, options.steps))
        print(report(results[-1]), flush=True)
    if options.first_iteration:
        cold, warm = first_iteration()
        print(
            f"first iteration, imports and compilation included: {cold:.1f} s cold, {warm:.1f} s with a warm cache"
        )
        results.append({"first_iteration_cold": cold, "first_iteration_warm": warm})
    import jax

    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    print(
        f"jax {jax.__version__}, {jax.devices()[0].device_kind}, cores {options.cores or 'all'}, CLIP in {dtype}"
    )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
