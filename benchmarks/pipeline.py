"""What the end-to-end benchmarks share: one iteration of the library's program, stage by stage, and towers."""

import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any


def clip_of_shape(
    width: int, layers: int, heads: int, mlp: int, size: int, patch: int, projection: int
) -> Any:
    """The config of a CLIP with an image tower of this shape and hardly any text tower."""
    from jaxvlm.clip import CLIPConfig, TextConfig, VisionConfig

    return CLIPConfig(
        vision=VisionConfig(
            hidden_size=width,
            intermediate_size=mlp,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            image_size=size,
            patch_size=patch,
        ),
        text=TextConfig(
            vocab_size=64,
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=8,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=3,
        ),
        projection_dim=projection,
    )


def random_tower(name: str, config: Any) -> Any:
    """A tower of random weights without a tokenizer, in the dtype that `jaxvlm.clip.load` gives the backend."""
    import jax
    import jax.numpy as jnp

    from jaxvlm.clip import CLIP, random_init
    from jaxvlm.vlmrm import Tower

    dtype = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    params = jax.tree.map(lambda leaf: leaf.astype(dtype), random_init(config, jax.random.key(0)))
    return Tower(name=name, clip=CLIP(config), params=params, tokenizer=None)


def torch_tower(config: Any) -> Any:
    """transformers' CLIPModel of the same shape with random weights."""
    import torch
    from transformers import CLIPConfig, CLIPModel

    wanted = config.to_dict()
    torch.manual_seed(0)
    model = CLIPModel(
        CLIPConfig(**{key: wanted[key] for key in ("vision_config", "text_config", "projection_dim")})
    )
    return model.eval()


def torch_rewards(model: Any, pictures: list, chunk: int, goal: Any, mean: Any, std: Any) -> Any:
    """Similarities f32[n] of uint8 pictures to a goal embedding, `chunk` at a time."""
    import numpy as np
    import torch

    rewards = []
    with torch.inference_mode():
        for first in range(0, len(pictures), chunk):
            batch = torch.as_tensor(np.stack(pictures[first : first + chunk]))
            batch = (batch.permute(0, 3, 1, 2).float() / 255 - mean) / std
            embedding = model.get_image_features(pixel_values=batch)
            embedding = getattr(embedding, "pooler_output", embedding)
            rewards.append(torch.nn.functional.normalize(embedding, dim=-1) @ goal)
    return torch.cat(rewards).numpy()


def median_seconds(call: Callable[[], Any], repeats: int, clock: Callable[[], float]) -> float:
    """Median seconds of `call`, after one call that does not count."""
    call()
    times = []
    for _ in range(repeats):
        start = clock()
        call()
        times.append(clock() - start)
    return statistics.median(times)


def pin(cores: str) -> None:
    """Keeps this process on `cores`, such as 0 or 0,1; empty for all. Before jax is imported."""
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


def reuse_buffers(**variables: str) -> None:
    """Starts the script again so that glibc reuses the PyTorch side's large buffers instead of mapping them anew."""
    if "MALLOC_MMAP_THRESHOLD_" not in os.environ:  # read when a process starts
        keep = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str(1 << 31)}
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **keep, **variables})


class Ours:
    """One iteration of the library's program."""

    def __init__(self, task: Any, config: Any, tower: Any):
        import jax
        import jax.numpy as jnp

        from jaxvlm.reward import make_reward_params
        from jaxvlm.rl import make_replay_buffer, replay_spec
        from jaxvlm.vlmrm import Built, Inputs, Program
        from jaxvlm.vlmrm.build import build_agent, choose_chunk
        from jaxvlm.vlmrm.program import steps_of
        from jaxvlm.vlmrm.train import compile_iteration, init_state

        self.jax, params = jax, task.params
        goal = jax.random.normal(jax.random.key(1), (1, tower.clip.config.projection_dim))
        agent, hyper = build_agent(config, task.env, params)
        actions = task.env.action_space(params)
        spec = replay_spec(task.env.observation_space(params), actions)
        reward = make_reward_params(
            tower.params,
            tower.embed if tower.tokenizer else lambda prompts: goal / jnp.linalg.norm(goal),
            goal_prompts=task.goal_prompts,
            assets=task.env.assets(task.look),
            cameras=[task.env.cameras[task.cameras[0]]],  # one view, as the peer draws
        )
        program = Program(
            config=config,
            env=task.env,
            agent=agent,
            buffer=make_replay_buffer(config.buffer_rows, config.num_envs, spec),
            action_space=actions,
            encode=tower.encode,
            frame_size=tower.size,
            chunk=choose_chunk(tower),
        )
        self.built = Built(
            program=program, inputs=Inputs(params, reward, steps_of(config)), hyper=hyper, notes=()
        )
        state = init_state(self.built)
        self.compiled, self.compile_seconds = compile_iteration(self.built, state)
        memory = self.compiled.memory_analysis()
        self.temporary_mb = memory.temp_size_in_bytes / 1e6 if memory else float("nan")
        self.state = state
        self.iterate()  # random actions

    def iterate(self) -> int:
        """One iteration; how many transitions it made."""
        self.state, metrics = self.jax.block_until_ready(self.compiled(self.built.inputs, self.state))
        self.diverged = float(metrics["diverged"].sum())
        return int(metrics["transitions"].sum())

    def stages(self, repeats: int) -> dict[str, float]:
        """Median seconds of each stage, jitted alone; of processor time on a CPU."""
        from jaxvlm.compiler import compiler_options

        jax, program, inputs, state = self.jax, self.built.program, self.built.inputs, self.state
        rollout = jax.jit(program.rollout_stage)
        label = jax.jit(program.label_stage, compiler_options=compiler_options())
        render = jax.jit(self.render, compiler_options=compiler_options())
        insert = jax.jit(
            lambda state, *rest: state.replace(buffer=program.insert_stage(state, *rest)), donate_argnums=0
        )
        update = jax.jit(program.update_stage)
        next_rollout, rows = rollout(inputs, state)
        rewards = label(inputs, rows)
        spare = jax.tree.map(jax.numpy.copy, state)

        def insert_in_place() -> None:
            nonlocal spare
            spare = insert(spare, next_rollout, rows, rewards)
            jax.block_until_ready(spare.buffer)

        calls = {
            "rollout": lambda: jax.block_until_ready(rollout(inputs, state)),
            "label: render": lambda: jax.block_until_ready(render(inputs, rows.scene)),
            "label: encode": lambda: jax.block_until_ready(label(inputs, rows)),
            "insert": insert_in_place,
            "update": lambda: jax.block_until_ready(update(state, inputs.steps)),
        }
        clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter
        seconds = {name: median_seconds(call, repeats, clock) for name, call in calls.items()}
        # The stage draws, encodes and scores chunk by chunk; what drawing alone does not take is CLIP's.
        seconds["label: encode"] = max(0.0, seconds["label: encode"] - seconds["label: render"])
        return seconds

    def render(self, inputs: Any, scenes: Any) -> Any:
        """Draws every frame in the program's chunks; a sum stands in for CLIP, so that every pixel is needed."""
        from jaxvlm.reward.label import encode_scenes

        # The product and not -1: a leaf may be empty (a scene without lights of its own).
        flat = self.jax.tree.map(
            lambda leaf: leaf.reshape(math.prod(leaf.shape[:3]), *leaf.shape[3:]), scenes
        )
        return encode_scenes(
            inputs.reward,
            flat,
            encode=lambda _, frames: frames.sum((1, 2, 3), dtype="uint32")[:, None],
            render=self.built.program.env.render,
            size=self.built.program.frame_size,
            chunk=self.built.program.chunk,
        )
