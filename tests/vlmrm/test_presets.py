import dataclasses
import json
import shutil

import pytest

from envs.registry import TASKS, make_task
from jaxvlm.clip.checkpoint import resolve
from jaxvlm.errors import ConfigError
from jaxvlm.vlmrm import PRESETS, TrainConfig, preset
from jaxvlm.vlmrm.build import build, build_agent
from jaxvlm.vlmrm.config import validate_config
from tests.vlmrm.conftest import tiny_config


def test_paper_preset_holds_the_values_of_appendix_c():
    dqn = preset("cartpole", "dqn", "paper")
    assert dqn.steps == 3_000_000
    assert dqn.learning_starts == 75_000
    assert dqn.updates == 200
    assert dqn.algorithm.learning_rate == 2.3e-3
    assert dqn.algorithm.hidden_sizes == (256, 256)
    assert not dqn.algorithm.bootstrap_at_truncation
    assert not dqn.reward.standardise
    sac = preset("mountain-car", "sac", "paper")
    assert sac.algorithm.tau == 0.01
    assert sac.algorithm.discount == 0.9999
    assert sac.algorithm.learning_rate == 1e-4
    assert (sac.algorithm.entropy, sac.algorithm.entropy_coefficient) == ("fixed", 0.1)
    assert sac.algorithm.actor_hidden_sizes == (64, 64)


def test_paper_preset_of_the_humanoid_holds_the_values_of_appendix_c():
    config = preset("humanoid-kneeling", "sac", "paper")
    assert config.steps == 10_000_000
    assert (config.num_envs, config.rollout_length - 1) == (
        32,
        100,
    )  # 3,200 steps a rollout, beside a reset's rows
    assert (config.learning_starts, config.updates, config.batch_size) == (50_000, 100, 512)
    assert config.buffer_size == 1_000_000
    assert config.checkpoint_every * config.num_envs * (config.rollout_length - 1) == 128_000
    assert (config.learning_rate_end, config.hold) == (1.0, 1)  # a constant rate, random actions of one step
    sac = config.algorithm
    assert (sac.learning_rate, sac.discount, sac.tau) == (6e-4, 0.95, 0.005)
    assert sac.actor_hidden_sizes == sac.critic_hidden_sizes == (256, 256)
    assert not sac.critic_layer_norm
    assert (sac.entropy, sac.entropy_coefficient, sac.target_entropy) == ("auto", 1.0, None)
    assert sac.action_noise == 0.0
    assert not sac.bootstrap_at_truncation  # the reference code stores the horizon as an end
    assert (config.reward.alpha, config.reward.standardise) == (0.0, False)
    task = make_task("humanoid-kneeling", config.variant)
    env = task.env.env
    assert (env.observation, env.contacts, env.reset_noise) == ("full", "limbs", 0.01)
    assert (task.episode_length, task.threshold, task.look, task.cameras) == (
        100,
        0.5,
        "textured",
        ("default",),
    )
    assert preset("humanoid", "sac", "paper-text").algorithm.bootstrap_at_truncation


def test_paper_text_updates_once_a_step_and_bootstraps():
    config = preset("cartpole", "dqn", "paper-text")
    assert config.updates == config.steps_per_iteration
    assert config.algorithm.bootstrap_at_truncation


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("algorithm", ["dqn", "sac"])
def test_presets_are_valid_and_survive_a_config_file(name, algorithm):
    config = preset("task", algorithm, name)
    validate_config(config)
    import json

    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("task", ["humanoid-kneeling", "brax:ant"])
def test_presets_of_other_tasks_are_valid(name, task):
    config = preset(task, "sac", name)
    validate_config(config)
    assert config.task == task
    if task.startswith("humanoid"):
        assert config.algorithm.critic_layer_norm == (name in ("laptop", "default"))
        assert make_task(task, config.variant).episode_length + 1 == config.rollout_length


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("task", [task for task in TASKS if not task.startswith("humanoid-")])
def test_rollouts_are_whole_episodes(name, task):
    """Among parts of episodes the best agent cannot be told."""
    algorithm = make_task(task).algorithm
    config = preset(task, algorithm, name)
    assert config.rollout_length % (make_task(task, config.variant).episode_length + 1) == 0


def test_the_grid_world_has_numbers_of_its_own():
    config = preset("gridworld-red-ball", "dqn", "default")
    validate_config(config)
    assert make_task("gridworld-red-ball").episode_length + 1 == config.rollout_length
    assert config.algorithm.discount < preset("cartpole", "dqn", "default").algorithm.discount


def test_the_graded_variant_is_of_poses_alone():
    assert make_task("humanoid-lotus", "graded").env.env.reward == "graded"
    assert make_task("humanoid-lotus").env.env.reward == "goal"
    with pytest.raises(ConfigError, match="no variant 'graded'"):
        make_task("humanoid", "graded")


def test_a_setting_reaches_the_critics():
    task = make_task("mountain-car")
    config = tiny_config("mountain-car", algorithm_critic_layer_norm=True)
    agent, _ = build_agent(config, task.env, task.params)
    assert agent.config.critic_layer_norm


def test_agents_of_an_observation_that_is_no_more_are_refused():
    old = preset("humanoid-kneeling", "sac", "laptop").to_dict()
    del old["hold"]
    with pytest.raises(ConfigError, match=r"tenths.*train anew"):
        TrainConfig.from_dict(old)


def test_unknown_preset_and_unknown_setting():
    with pytest.raises(ConfigError, match="'fast'"):
        preset("cartpole", "dqn", "fast")
    with pytest.raises(ConfigError, match="train anew"):
        TrainConfig.from_dict({**tiny_config().to_dict(), "colour": "red"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"hold": 0}, "hold is 0"),
        ({"num_envs": 0}, "num-envs is 0"),
        ({"seed": -1}, "seeds -1 to 0 are not all between"),
        ({"seed": 2**31 - 1}, "seeds 2147483647 to 2147483648 are not all between"),
        (
            {"steps": 30, "learning_starts": 0},
            "steps is 30 and one iteration takes 30.*raise --steps above that",
        ),
        ({"learning_starts": -1}, "learning-starts is -1"),
        ({"keep_policies": -1}, "keep-policies is -1"),
        ({"learning_starts": 10**9}, "the last rollout begins at step 90"),
        ({"learning_starts": 90}, "the last rollout begins at step 90"),
        ({"algorithm_exploration_fraction": -2.0}, "exploration-fraction is -2"),
        ({"buffer_size": 10}, "buffer-size is 10"),
        ({"algorithm_discount": 1.2}, "discount is 1.2"),
        ({"reward_chunk": -3}, "chunk is -3"),
        ({"reward_clip_size": -112}, "clip-size is -112"),
        ({"learning_rate_end": 0.0}, "learning-rate-end is 0; give a share above 0"),
        ({"learning_rate_end": 1.5}, "learning-rate-end is 1.5"),
    ],
)
def test_settings_that_cannot_work(changes, message):
    config = tiny_config(**changes)
    assert dataclasses.is_dataclass(config)
    with pytest.raises(ConfigError, match=message):
        validate_config(config)


@pytest.mark.parametrize(
    ("task_name", "changes", "message"),
    [
        ("cartpole", {"algorithm_epsilon_start": 5.0}, "epsilon_start is 5"),
        ("cartpole", {"algorithm_target_period": 0}, "target_period is 0"),
        ("cartpole", {"algorithm_max_grad_norm": -1.0}, "max_grad_norm is -1"),
        ("mountain-car", {"algorithm_action_noise": -3.0}, "action_noise is -3"),
        ("mountain-car", {"algorithm_entropy_coefficient": -1.0}, "entropy_coefficient is -1"),
    ],
)
def test_numbers_of_an_algorithm_are_checked_before_anything_is_compiled(task_name, changes, message):
    task = make_task(task_name)
    with pytest.raises(ConfigError, match=message):
        build_agent(tiny_config(task_name, **changes), task.env, task.params)


@pytest.mark.slow
def test_a_program_knows_which_weights_it_was_built_with(tmp_path, monkeypatch):
    """A folder's place is kept whole, for runs that are resumed elsewhere, and its weights have a digest."""
    task = make_task("cartpole")
    shutil.copytree(resolve("tiny:cartpole"), tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    shipped, copied, untrained = (
        build(tiny_config(reward_clip=name), task.env, task.params, domain=task.domain)
        for name in ("tiny", "copy", "untrained")
    )
    assert shipped.program.config.reward.clip == "tiny"
    assert copied.program.config.reward.clip == str(tmp_path / "copy")
    drawn = build(tiny_config(reward_clip="untrained:copy:3"), task.env, task.params, domain=task.domain)
    assert drawn.program.config.reward.clip == f"untrained:{tmp_path / 'copy'}:3"
    assert shipped.clip_digest == copied.clip_digest != untrained.clip_digest
    assert len(shipped.clip_digest) == 64


def test_frames_of_another_size_reach_the_program_and_the_config_file():
    task = make_task("cartpole")
    own, small = (
        build(tiny_config(reward_clip_size=size), task.env, task.params, domain=task.domain)
        for size in (0, 32)
    )
    assert own.program.frame_size == 64
    assert small.program.frame_size == 32
    assert (
        small.inputs.reward.clip["params"]["visual"]["pos"].shape[0]
        < (own.inputs.reward.clip["params"]["visual"]["pos"].shape[0])
    )
    assert small.clip_digest != own.clip_digest
    saved = json.loads(json.dumps(small.program.config.to_dict()))
    again = TrainConfig.from_dict(saved)
    assert again.reward.clip_size == 32
    assert build(again, task.env, task.params, domain=task.domain).clip_digest == small.clip_digest
    del saved["reward"]["clip_size"]  # of a version without the setting
    assert TrainConfig.from_dict(saved).reward.clip_size == 0
    with pytest.raises(ConfigError, match=r"frames of 100 pixels do not divide.*take 96 or 112"):
        build(tiny_config(reward_clip_size=100), task.env, task.params, domain=task.domain)
