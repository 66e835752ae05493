from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from envs.registry import make_task
from jaxvlm.clip import CLIP, CLIPConfig, TextConfig, VisionConfig, random_init
from jaxvlm.reward import make_reward_params
from jaxvlm.rl import make_replay_buffer, replay_spec
from jaxvlm.vlmrm import Built, Inputs, Program, Tower, preset
from jaxvlm.vlmrm.build import build_agent
from jaxvlm.vlmrm.program import steps_of


def tiny_config(task_name: str = "cartpole", **changes):
    """A run of a few iterations that compiles in seconds."""
    task = make_task(task_name)
    config = preset(task.name, task.algorithm, "default")
    small = (
        {"hidden_sizes": (8,)}
        if task.algorithm == "dqn"
        else {"actor_hidden_sizes": (8,), "critic_hidden_sizes": (8,)}
    )
    config = replace(
        config,
        steps=120,
        num_envs=3,
        rollout_length=10,
        learning_starts=30,
        updates=2,
        batch_size=8,
        buffer_size=120,
        seeds=2,
        episodes=3,
        checkpoint_every=2,
        algorithm=replace(config.algorithm, **small),
        reward=replace(
            config.reward, prompt=task.goal_prompts, baseline=task.baseline_prompts, look=task.look, chunk=7
        ),
    )
    reward = {name[7:]: changes.pop(name) for name in list(changes) if name.startswith("reward_")}
    algorithm = {name[10:]: changes.pop(name) for name in list(changes) if name.startswith("algorithm_")}
    return replace(
        config,
        **changes,
        reward=replace(config.reward, **reward),
        algorithm=replace(config.algorithm, **algorithm),
    )


def random_tower() -> Tower:
    """A CLIP of a few thousand random parameters."""
    config = CLIPConfig(
        vision=VisionConfig(
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=32,
            patch_size=16,
        ),
        text=TextConfig(
            vocab_size=8,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=4,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=3,
        ),
        projection_dim=8,
    )
    tokenizer = SimpleNamespace(unknown_words=lambda text: [])
    return Tower(
        name="random", clip=CLIP(config), params=random_init(config, jax.random.key(0)), tokenizer=tokenizer
    )


def build_random(config) -> Built:
    """`build` with a random CLIP and made-up prompt embeddings: nothing is read from disk."""
    task = make_task(config.task)
    env, params = task.env, task.params
    agent, hyper = build_agent(config, env, params)
    tower = random_tower()
    reward = None
    if config.reward.reward == "clip":
        directions = {
            prompt: jax.random.normal(jax.random.key(len(prompt)), (8,))
            for prompt in (*config.reward.prompt, *config.reward.baseline, *config.reward.negative)
        }

        def embed(prompts):
            stacked = jnp.stack([directions[prompt] for prompt in prompts])
            return stacked / jnp.linalg.norm(stacked, axis=-1, keepdims=True)

        reward = make_reward_params(
            tower.params,
            embed,
            goal_prompts=config.reward.prompt,
            baseline_prompts=config.reward.baseline,
            negative_prompts=config.reward.negative,
            alpha=config.reward.alpha,
            assets=env.assets(config.reward.look),
            cameras=[env.cameras["default"]],
        )
    spec = replay_spec(env.observation_space(params), env.action_space(params))
    program = Program(
        config=config,
        env=env,
        agent=agent,
        buffer=make_replay_buffer(config.buffer_rows, config.num_envs, spec, num_seeds=config.seeds),
        action_space=env.action_space(params),
        encode=tower.encode,
        frame_size=tower.size,
        chunk=config.reward.chunk,
    )
    return Built(
        program=program,
        inputs=Inputs(env_params=params, reward=reward, steps=steps_of(config)),
        hyper=hyper,
        notes=(),
    )


@pytest.fixture(scope="session")
def built():
    """CartPole from pictures, two seeds."""
    return build_random(tiny_config(reward_alpha=0.5))
