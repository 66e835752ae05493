"""A task of two phases as one program: rewards, metrics, evaluation and what is refused before it starts."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.registry import make_task
from jaxvlm.errors import ConfigError
from jaxvlm.reward import in_phase, make_reward_params
from jaxvlm.vlmrm import (
    Built,
    Inputs,
    Program,
    TrainConfig,
    build,
    episode_table,
    join_episodes,
    run_episodes,
    summarise,
)
from jaxvlm.vlmrm.build import build_agent
from jaxvlm.vlmrm.evaluate import Episodes, _phase_fractions
from jaxvlm.vlmrm.program import steps_of
from jaxvlm.vlmrm.train import compile_iteration, init_state, seeds_of
from tests.vlmrm.conftest import random_tower, tiny_config

TASK = "gridworld-red-ball-then-blue-key"


def phased(**changes) -> Built:
    """Two phases of the grid-world's room from pictures, with a random CLIP."""
    from jaxvlm.rl import make_replay_buffer, replay_spec

    task = make_task(TASK)
    config = tiny_config(TASK, rollout_length=33, steps=400, buffer_size=400, **changes)
    config = replace(config, reward=replace(config.reward, then=task.then_prompts), at=task.starts)
    env, params, tower = task.env, task.params, random_tower()
    agent, hyper = build_agent(config, env, params)

    def embed(prompts):
        return jnp.stack([jax.random.normal(jax.random.key(len(prompt)), (8,)) for prompt in prompts])

    reward = make_reward_params(
        tower.params, embed, goal_prompts=config.reward.prompt, then_prompts=config.reward.then,
        assets=env.assets("plain"), cameras=[env.cameras["default"]],
    )  # fmt: skip
    spec = replay_spec(env.observation_space(params), env.action_space(params))
    program = Program(
        config=config, env=env, agent=agent,
        buffer=make_replay_buffer(config.buffer_rows, config.num_envs, spec, num_seeds=config.seeds),
        action_space=env.action_space(params), encode=tower.encode, frame_size=tower.size, chunk=7,
    )  # fmt: skip
    return Built(program, Inputs(params, reward, steps_of(config)), hyper, ())


@pytest.fixture(scope="module")
def two():
    return phased()


@pytest.mark.slow
def test_rows_are_scored_by_the_sentence_of_their_phase(two):
    program, inputs = two.program, two.inputs
    _, rows = jax.jit(program.rollout_stage)(inputs, init_state(two))
    assert rows.phase.shape == rows.valid.shape
    np.testing.assert_array_equal(rows.phase[0, :32, 0], [0] * 16 + [1] * 16)
    rewards = np.asarray(jax.jit(program.label_stage)(inputs, rows))
    for phase in range(2):
        alone = replace(inputs, reward=in_phase(inputs.reward, phase))
        expected = np.asarray(jax.jit(program.label_stage)(alone, rows))
        here = np.asarray(rows.phase) == phase
        np.testing.assert_allclose(rewards[here], expected[here], rtol=1e-5)


@pytest.mark.slow
def test_metrics_tell_phases_apart_and_schedules_do_not_recompile(two):
    compiled, _ = compile_iteration(two, init_state(two))
    _, metrics = compiled(two.inputs, init_state(two))
    weights = np.asarray([16, 16]) / 32
    both = np.stack([metrics["reward_phase_1"], metrics["reward_phase_2"]])
    np.testing.assert_allclose(weights @ both, metrics["reward"], rtol=1e-4, atol=1e-6)
    assert {"success_phase_1", "success_phase_2"} <= set(metrics)
    # A compiled program takes another schedule and other sentences, or refuses them: it never compiles anew.
    params = two.program.env.with_starts(two.inputs.env_params, (22,))
    reward = replace(two.inputs.reward, goal=two.inputs.reward.goal[::-1])
    _, other = compiled(replace(two.inputs, env_params=params, reward=reward), init_state(two))
    weights = np.asarray([22, 10]) / 32
    both = np.stack([other["reward_phase_1"], other["reward_phase_2"]])
    np.testing.assert_allclose(weights @ both, other["reward"], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_tasks_phases_are_evaluated_apart(two):
    program, inputs = two.program, two.inputs
    agent = init_state(two).agent
    play = jax.jit(
        lambda inputs, agent, seeds: run_episodes(
            program, inputs, agent, seeds, episodes=3, length=32, window=32, threshold=0.5, deterministic=True,
            score=False,
        )
    )  # fmt: skip
    episodes = play(inputs, agent, seeds_of(two))
    assert episodes.phase_fraction.shape == (2, 3, 2)
    assert episodes.step_success.shape == (2, 3, 32)
    np.testing.assert_allclose(episodes.fraction, episodes.phase_fraction.min(-1))
    host = join_episodes([jax.device_get(episodes)] * 2, 5)
    assert host.phase_fraction.shape == (2, 5, 2)
    summary = summarise(host, "goal_fraction")
    assert np.asarray(summary["per_seed"]["success_by_step"]).shape == (2, 32)
    assert np.asarray(summary["per_seed"]["phase_fraction"]).shape == (2, 2)
    lines = episode_table(host, "goal_fraction", [0, 1]).splitlines()
    assert lines[0].endswith(",length,phase_1,phase_2")
    assert all(len(line.split(",")) == len(lines[0].split(",")) for line in lines)


def test_shares_leave_out_transitions():
    """Two phases of four steps; of each the first does not count, and the episode ends a step early."""

    class Env:
        phases, transition = 2, 1

    phase = jnp.asarray([0, 0, 0, 0, 1, 1, 1, 1])[None, :, None]
    success = jnp.asarray([1, 1, 0, 1, 1, 0, 1, 1], bool)[None, :, None]
    counted = jnp.asarray([1, 1, 1, 1, 1, 1, 1, 0], bool)[None, :, None]
    whole, starts = jnp.zeros((1, 1), bool), jnp.asarray([4])
    shares = _phase_fractions(Env, success, counted, phase, whole, starts)
    np.testing.assert_allclose(shares, [[[2 / 3, 1 / 2]]], rtol=1e-6)
    # Where it ended for good, what it misses of a phase counts as failures.
    shares = _phase_fractions(Env, success, counted, phase, ~whole, starts)
    np.testing.assert_allclose(shares, [[[2 / 3, 1 / 3]]], rtol=1e-6)
    assert _phase_fractions(Env, success, counted, None, whole, None) is None


def test_a_task_of_one_phase_has_no_columns_of_phases():
    zeros = np.zeros((1, 2))
    plain = Episodes(zeros > 0, zeros, zeros, None, None, zeros.astype(int))
    assert (
        episode_table(plain, "share", [0]).splitlines()[0]
        == "seed,episode,success,share,ground_truth_return,length"
    )
    assert "phase_fraction" not in summarise(plain, "share")


def settings(name, **changes):
    task = make_task(name)
    config = replace(
        tiny_config(name, **{k: v for k, v in changes.items() if k != "at"}), at=changes.get("at", ())
    )
    return build(config, task.env, task.params, domain=task.domain)


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("cartpole", {"reward_then": ("pole hanging down below the cart",)}, "cartpole has one phase"),
        ("cartpole", {"at": (50,)}, "--at 50 is given, but cartpole has one phase"),
        (TASK, {"reward_then": ("a", "b")}, "--then gives 2 sentences"),
        (TASK, {"at": (40,)}, "after steps \\(40,\\) of 32"),
    ],
)
def test_sentences_and_steps_of_no_phase_are_refused(name, changes, words):
    with pytest.raises(ConfigError, match=words):
        settings(name, **changes)


def test_settings_survive_their_file():
    config = replace(tiny_config(TASK, reward_then=("a sentence",)), at=(12,))
    assert TrainConfig.from_dict(config.to_dict()) == config
    earlier = config.to_dict()
    del earlier["at"], earlier["reward"]["then"]
    found = TrainConfig.from_dict(earlier)
    assert (found.at, found.reward.then) == ((), ())
