import contextlib
import gc
import math
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.cartpole import CartPole
from envs.humanoid.env import HumanoidState
from envs.humanoid.examples import EXAMPLES, example_qpos
from envs.humanoid.kinematics import locate
from envs.humanoid.physics import Motion
from envs.phases import Phased, PhasedParams
from envs.registry import make_task, one_environment
from envs.wrappers import TimeLimit
from jaxvlm.clip import CLIP
from jaxvlm.errors import ConfigError
from jaxvlm.runtime import MetricsWriter, Run, read_rows
from jaxvlm.vlmrm.build import build
from jaxvlm.vlmrm.joint import join, join_states, start_joint, task_state
from jaxvlm.vlmrm.train import compile_iteration, init_state, iterate
from tests.vlmrm.conftest import build_random, tiny_config

SENTENCES = (("a pole",), ("a longer sentence",))


@pytest.fixture(scope="module")
def tasks():
    """CartPole from two sentences, two seeds each."""
    return [build_random(tiny_config(reward_prompt=prompt)) for prompt in SENTENCES]


@pytest.fixture(scope="module")
def joint(tasks):
    program = tasks[0].program
    return join(tasks, program.env, [built.inputs.env_params for built in tasks])


def train(session, folder, stop=False):
    """Trains to the end, or an iteration; the run directories, and what each iteration said."""
    runs = [Run.create({}, name=f"run-{index}", runs_dir=folder) for index, _ in enumerate(session.states())]
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(MetricsWriter(run.metrics_path)) for run in runs]
        return runs, list(iterate(session, runs, writers, lambda: stop))


@pytest.mark.slow
def test_a_training_may_keep_nothing(joint, tmp_path):
    kept = train(start_joint(joint), tmp_path)[1]
    rows = list(iterate(start_joint(joint), [], [], lambda: False))
    assert [row["step"] for row in rows] == [row["step"] for row in kept]
    for row, other in zip(rows, kept, strict=True):
        np.testing.assert_array_equal(row["reward"], other["reward"])


@pytest.mark.slow
def test_a_task_learns_the_same_among_others_as_alone(tasks, joint, tmp_path):
    session = start_joint(joint)
    runs, rows = train(session, tmp_path)
    assert [row["step"] for row in rows] == [30, 60, 90, 120]
    for index, built in enumerate(tasks):
        state = init_state(built)
        compiled, _ = compile_iteration(built, state)
        for row in read_rows(runs[index].metrics_path):
            state, metrics = compiled(built.inputs, state)
            np.testing.assert_allclose(row["reward"], metrics["reward"], atol=1e-5)
            np.testing.assert_allclose(row["success"], metrics["success"], atol=1e-6)
        own = task_state(session.state, index)
        chex.assert_trees_all_equal_shapes_and_dtypes(own, state)
        chex.assert_trees_all_close(own.agent.params, state.agent.params, atol=1e-4)
        restored, step = runs[index].checkpoints.restore(jax.eval_shape(lambda state=state: state))
        assert step == 120
        chex.assert_trees_all_equal(restored.agent.params, own.agent.params)
    chex.assert_trees_all_equal(
        join_states([task_state(session.state, 0), task_state(session.state, 1)]).agent.params,
        session.state.agent.params,
    )


def test_only_what_differs_is_stacked(joint):
    assert joint.axes.reward.goal == 0
    assert joint.inputs.reward.goal.shape == (2, 8)
    assert all(axis is None for axis in jax.tree.leaves(joint.axes.reward.clip, is_leaf=lambda a: a is None))
    assert joint.axes.reward.baseline is None


def test_alphas_are_numbers_of_each_task_and_what_a_reward_is_of_all():
    alphas = [build_random(tiny_config(reward_alpha=alpha)) for alpha in (0.2, 0.9)]
    env, params = alphas[0].program.env, alphas[0].inputs.env_params
    both = join(alphas, env, [params, params])
    np.testing.assert_allclose(both.inputs.reward.alpha, [0.2, 0.9])
    assert both.axes.reward.goal is None  # one sentence
    assert [both.alone(index).program.config.reward.alpha for index in range(2)] == [0.2, 0.9]
    mix = replace(alphas[0].program.config, reward=replace(alphas[0].program.config.reward, reward="mix"))
    other = replace(alphas[0], program=replace(alphas[0].program, config=mix))
    with pytest.raises(ConfigError, match=r"different settings \(reward.reward: 'mix' and 'clip'\)"):
        join([alphas[0], other], env, [params, params])


@pytest.mark.slow
def test_stopping_saves_every_task(joint, tmp_path):
    runs, rows = train(start_joint(joint), tmp_path, stop=True)
    assert [row["step"] for row in rows] == [30]
    assert [run.checkpoints.latest() for run in runs] == [30, 30]


def test_tasks_of_other_settings_are_refused(tasks):
    other = build_random(tiny_config(updates=3))
    with pytest.raises(ConfigError, match=r"have different settings \(updates: 3 and 2\)"):
        join([tasks[0], other], tasks[0].program.env, [tasks[0].inputs.env_params] * 2)
    with pytest.raises(ConfigError, match="no task"):
        join([], tasks[0].program.env, [])


@pytest.mark.slow
def test_poses_share_an_environment_and_a_pose_is_a_number():
    goals = ("kneeling", "standing", "lotus")
    env, params = one_environment([make_task(f"humanoid-{goal}", "compact") for goal in goals])
    assert env.env.goal == goals
    assert [int(own.goal) for own in params] == [0, 1, 2]
    qpos = jnp.asarray(example_qpos(*(EXAMPLES[goal][0][0] for goal in goals)))
    motion = Motion(qpos, jnp.zeros((3, 23)), jnp.zeros((3, 23)))
    state = HumanoidState(motion, jax.vmap(locate)(qpos), jnp.zeros((3, 3)))
    for index, goal in enumerate(goals):
        held = np.asarray(env.env.achieved(state, params[index]))
        alone = make_task(f"humanoid-{goal}", "compact").env.env.achieved(state, params[index])
        np.testing.assert_array_equal(held, alone)
        np.testing.assert_array_equal(held, np.arange(3) == index)


def test_the_schedule_that_was_asked_for_is_kept():
    env = Phased(TimeLimit(CartPole(), 20), goals=(0, 1), starts=(10,))
    params = PhasedParams(
        inner=CartPole().default_params, starts=jnp.asarray([10]), goals=jnp.asarray([0, 1])
    )
    built = build_random(tiny_config())
    asked = replace(built, program=replace(built.program, config=replace(built.program.config, at=(4,))))
    assert join([asked, asked], env, [params, params]).params[1].starts.tolist() == [4]
    assert join([built, built], env, [params, params]).params[1].starts.tolist() == [10]


def test_other_environments_are_refused():
    with pytest.raises(ConfigError, match="cartpole cannot be trained in one program with humanoid-lotus"):
        one_environment([make_task("humanoid-lotus"), make_task("cartpole")])
    with pytest.raises(ConfigError, match="cannot be trained in one program"):
        one_environment([make_task("humanoid-lotus"), make_task("humanoid-splits", "full")])
    with pytest.raises(ConfigError, match="cannot be trained in one program"):
        one_environment([make_task("humanoid-splits"), make_task("humanoid")])
    # The one that is named is the first that does not fit, not the one it does not fit to.
    with pytest.raises(ConfigError, match="humanoid has no pose of its own"):
        one_environment([make_task("humanoid"), make_task("humanoid-splits")])
    with pytest.raises(ConfigError, match="cartpole-swingup cannot be trained in one program with cartpole:"):
        one_environment([make_task("cartpole"), make_task("cartpole"), make_task("cartpole-swingup")])
    with pytest.raises(ConfigError, match="humanoid-lotus cannot be trained in one program with cartpole:"):
        one_environment([make_task("cartpole"), make_task("humanoid-lotus")])
    car = make_task("mountain-car")
    env, params = one_environment([car, replace(car, goal_prompts=("a car",))])
    assert env == car.env
    assert len(params) == 2


@pytest.mark.slow
def test_one_task_or_equal_ones_make_a_program_too(tasks, tmp_path):
    for several in ([tasks[0]], [tasks[0], tasks[0]]):
        joint = join(several, tasks[0].program.env, [built.inputs.env_params for built in several])
        _, (row,) = train(start_joint(joint), tmp_path / str(len(several)), stop=True)
        assert row["reward"].shape == (len(several), 2)
        np.testing.assert_allclose(row["reward"], np.tile(row["reward"][:1], (len(several), 1)), atol=1e-6)


@pytest.mark.slow
def test_a_clip_of_another_kind_is_refused_and_an_equal_one_is_held_once(tasks):
    first = tasks[0]
    tower = first.program.encode.__self__
    config = replace(tower.clip.config, image_std=(0.5, 0.5, 0.5))
    other = replace(tower, clip=CLIP(config))
    changed = replace(tasks[1], program=replace(tasks[1].program, encode=other.encode))
    params = [built.inputs.env_params for built in tasks]
    with pytest.raises(ConfigError, match=r"have different settings \(CLIP\)"):
        join([first, changed], first.program.env, params)
    named = [replace(built, clip_digest="the same") for built in tasks]
    copied = replace(
        named[1],
        inputs=replace(
            named[1].inputs,
            reward=replace(named[1].inputs.reward, clip=jax.tree.map(jnp.copy, named[1].inputs.reward.clip)),
        ),
    )
    joint = join([named[0], copied], first.program.env, params)
    ours, theirs = (jax.tree.leaves(built.inputs.reward.clip) for built in joint.tasks)
    assert all(a is b for a, b in zip(ours, theirs, strict=True))
    # As `build` makes them, nothing else keeps the copy alive: not the encoder of the task that it was made for.
    task = make_task("cartpole")
    several = [
        build(tiny_config(reward_prompt=(prompt,)), task.env, task.params, domain=task.domain)
        for prompt in ("pole", "cart")
    ]
    shapes = [leaf.shape for leaf in jax.tree.leaves(several[0].inputs.reward.clip)]
    largest = max(shapes, key=math.prod)

    def alive():
        gc.collect()
        return len({leaf.unsafe_buffer_pointer() for leaf in jax.live_arrays() if leaf.shape == largest})

    before = alive()
    joint = join(several, task.env, [task.params] * 2)
    del several
    assert alive() == before - shapes.count(largest)
    assert len(joint.tasks) == 2


def test_tasks_go_together_whatever_memory_was_free_for_each(tasks):
    """The chunk is cut to what fits, which changes from one task to the next."""
    chunks = (7, 9)
    given = []
    for built, chunk in zip(tasks, chunks, strict=True):
        config = replace(built.program.config, reward=replace(built.program.config.reward, chunk=chunk))
        given.append(replace(built, program=replace(built.program, config=config, chunk=chunk)))
    both = join(given, tasks[0].program.env, [built.inputs.env_params for built in given])
    assert both.program.chunk == 7 // 2
