from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.render import to_uint8
from jaxvlm.reward import goal_baseline
from jaxvlm.rl import Rows
from jaxvlm.runtime import Checkpoints
from jaxvlm.vlmrm.program import RewardStats, _accumulate, _by_phase, _keep_best, _standardisation
from jaxvlm.vlmrm.train import abstract_state, compile_iteration, init_state, seeds_of
from tests.vlmrm.conftest import build_random, tiny_config

HOST_OPERATIONS = ("callback", "infeed", "outfeed", "host_compute", "SendToHost", "RecvFromHost")

BACKEND_COMPILE = "/jax/core/compile/backend_compile_duration"


@contextmanager
def compilations() -> Iterator[list[str]]:
    """Lists the programs that XLA is asked for inside the block, one entry each time, found in a cache on disk or not.

    Counting traces is not enough: an argument that is committed to its device, where it was not before, makes jit
    compile the program anew without tracing it.
    """
    names = []

    def listen(event: str, duration_secs: float, **labels: str | int) -> None:
        if event == BACKEND_COMPILE:
            names.append(str(labels["fun_name"]))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def jit_iteration(built):
    """The iteration as `compile_iteration` jits it, but free to compile again, and with a cache of its own."""

    def iteration(inputs, state):
        return built.program.iteration(inputs, state)

    return jax.jit(iteration, donate_argnums=1)


@pytest.fixture(scope="module")
def compiled(built):
    return compile_iteration(built, init_state(built))[0]


@pytest.mark.slow
def test_random_actions_last_and_those_of_the_agent_do_not():
    built = build_random(tiny_config("mountain-car", hold=5, reward_reward="ground-truth"))
    rollout = jax.jit(built.program.rollout_stage)
    state = init_state(built)
    _, rows = rollout(built.inputs, state)
    _, later = rollout(built.inputs, state.replace(step=jnp.int32(30)))
    for seed in range(2):
        for env in range(3):
            assert len(np.unique(rows.action[seed, :, env])) in (2, 3)  # of 10 rows, in spells of 5
            assert len(np.unique(later.action[seed, :, env])) > 4  # those at the bounds are alike


@pytest.mark.slow
def test_iteration_learns_after_learning_starts(built, compiled):
    state = init_state(built)
    before = jax.tree.map(np.asarray, state.agent.params)
    state, metrics = compiled(built.inputs, state)
    assert jnp.isnan(metrics["loss"]).all()  # 30 rows are there, and learning starts after 30
    assert jax.tree.all(
        jax.tree.map(lambda a, b: bool((a == b).all()), before, jax.tree.map(np.asarray, state.agent.params))
    )
    state, metrics = compiled(built.inputs, state)
    assert jnp.isfinite(metrics["loss"]).all()
    assert int(state.step) == 60
    assert int(state.iteration) == 2
    changed = jax.tree.map(
        lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()), before, state.agent.params
    )
    assert all(jax.tree.leaves(changed))


@pytest.mark.slow
def test_rewards_in_the_buffer_are_those_of_the_pictures(built):
    program, inputs = built.program, built.inputs
    state = init_state(built)
    rollout, rows = jax.jit(program.rollout_stage)(inputs, state)
    rewards = jax.jit(program.label_stage)(inputs, rows)
    buffer = jax.jit(program.insert_stage)(state, rollout, rows, rewards)
    assert rewards.shape == (2, 10, 3)
    np.testing.assert_array_equal(buffer.data.reward[:, :10], rewards)
    np.testing.assert_array_equal(buffer.data.observation[:, 10], rollout.observation)
    # One picture at a time, without chunks or padding, scored by the formula.
    reward, camera = inputs.reward, program.env.cameras["default"]
    for seed, time, env in [(0, 0, 0), (0, 9, 2), (1, 4, 1)]:
        scene = jax.tree.map(lambda leaf, index=(seed, time, env): leaf[index], rows.scene)
        frame = to_uint8(program.env.render(scene, reward.assets, camera, program.frame_size))
        embedding = program.encode(reward.clip, frame[None])[0]
        expected = goal_baseline(embedding, reward.goal, reward.baseline, reward.alpha)
        np.testing.assert_allclose(rewards[seed, time, env], expected, atol=1e-5)
        # The row's picture is that of the state its action led to.
        if time < 9:
            np.testing.assert_array_equal(scene.theta, rows.observation[seed, time + 1, env, 2])


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 60, 1000])
def test_chunk_does_not_change_rewards(built, chunk):
    state = init_state(built)
    _, rows = jax.jit(built.program.rollout_stage)(built.inputs, state)
    expected = jax.jit(built.program.label_stage)(built.inputs, rows)
    other = replace(built.program, chunk=chunk)
    np.testing.assert_allclose(jax.jit(other.label_stage)(built.inputs, rows), expected, atol=1e-5)


@pytest.mark.slow
def test_a_seed_draws_the_same_numbers_alone():
    together = build_random(tiny_config(seeds=2))
    alone = build_random(tiny_config(seeds=1, seed=1))
    outcomes = []
    for built in (together, alone):
        state = init_state(built)
        run = compile_iteration(built, state)[0]
        for _ in range(3):
            state, metrics = run(built.inputs, state)
        outcomes.append((jax.tree.map(lambda leaf: leaf[-1], state.agent.params), metrics["reward"][-1]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *outcomes)


def test_the_count_of_compilations_sees_each_one():
    """The control of the tests below."""
    traces = []

    def double(x):
        traces.append(x)
        return 2 * x

    jitted = jax.jit(double)
    three, again, four = jnp.ones(3), jnp.zeros(3), jnp.ones(4)
    committed = jax.device_put(three, jax.devices()[0])
    for argument, count in ((three, 1), (again, 0), (committed, 1), (committed, 0), (four, 1), (four, 0)):
        with compilations() as names:
            jitted(argument)
        assert names == count * ["jit(double)"]
    assert len(traces) == 2  # the committed array was not traced
    jitted(jnp.ones(5))
    assert names == []  # nobody listens after the block


@pytest.mark.slow
def test_numbers_do_not_recompile(built, compiled):
    """Prompt, environment and hyperparameters are arguments: the compiled program takes any of them."""
    prompt = ("a sentence of another length",)
    other = build_random(tiny_config(reward_alpha=1.0, reward_prompt=prompt, algorithm_learning_rate=0.01))
    params = other.inputs.env_params.replace(gravity=jnp.float32(3.7))
    inputs = other.inputs.replace(env_params=params)
    iteration = jit_iteration(built)
    state, _ = iteration(built.inputs, init_state(built))
    _, first = iteration(built.inputs, state)
    expected = init_state(other)
    state = init_state(other)
    with compilations() as names:
        for _ in range(2):
            state, second = iteration(inputs, state)
            # The command line's program is compiled ahead and would refuse what does not fit.
            expected, metrics = compiled(inputs, expected)
    assert names == []
    for name in ("reward", "loss"):
        assert not np.allclose(first[name], second[name]), name
    jax.tree.map(np.testing.assert_array_equal, metrics, second)


@pytest.mark.slow
def test_one_compilation_for_all_iterations(built):
    state = init_state(built)
    iteration = jit_iteration(built)
    with compilations() as names:
        for _ in range(4):
            state, metrics = iteration(built.inputs, state)
    assert names == ["jit(iteration)"]
    assert jnp.isfinite(metrics["loss"]).all()


@pytest.mark.slow
def test_a_restored_state_gives_the_same_numbers_without_compiling_again(built, compiled, tmp_path):
    iteration = jit_iteration(built)
    state = init_state(built)
    for _ in range(2):
        state, _ = iteration(built.inputs, state)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(60, state)
    for _ in range(2):
        state, expected = iteration(built.inputs, state)
    outcomes = []
    for program in (iteration, compiled):
        restored, step = checkpoints.restore(abstract_state(built))
        assert step == 60
        # Restoring may compile small programs once, training on may not.
        with compilations() as names:
            for _ in range(2):
                restored, resumed = program(built.inputs, restored)
        assert names == []
        outcomes.append((resumed, restored.agent, restored.buffer))
    for outcome in outcomes:
        jax.tree.map(np.testing.assert_array_equal, outcome, (expected, state.agent, state.buffer))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["cartpole", "mountain-car"])
def test_nothing_leaves_the_device(task):
    built = build_random(tiny_config(task))
    state = jax.eval_shape(built.program.init, built.inputs, seeds_of(built), built.hyper)
    jaxpr = str(jax.make_jaxpr(built.program.iteration)(built.inputs, state))
    lowered = jax.jit(built.program.iteration, donate_argnums=1).lower(built.inputs, state)
    texts = {"jaxpr": jaxpr, "StableHLO": lowered.as_text(), "HLO": lowered.compile().as_text()}
    for name, text in texts.items():
        found = [word for word in HOST_OPERATIONS if word.lower() in text.lower()]
        assert not found, f"{found} in the {name} of an iteration of {task}"


def test_the_search_for_host_operations_finds_one():
    """The control of the test above: a callback does leave a trace in all three texts."""

    def talkative(x):
        jax.debug.callback(lambda x: None, x)
        return x

    lowered = jax.jit(talkative).lower(jnp.ones(3))
    for text in (str(jax.make_jaxpr(talkative)(jnp.ones(3))), lowered.as_text(), lowered.compile().as_text()):
        assert any(word.lower() in text.lower() for word in HOST_OPERATIONS)


@pytest.mark.slow
def test_the_state_is_donated_and_the_buffer_written_in_place():
    built = build_random(tiny_config(buffer_size=30_000))
    state = init_state(built)
    compiled = jax.jit(built.program.iteration, donate_argnums=1).lower(built.inputs, state).compile()
    memory = compiled.memory_analysis()
    buffer_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state.buffer.data))
    assert memory.alias_size_in_bytes >= buffer_bytes
    assert memory.temp_size_in_bytes < buffer_bytes / 2
    old = state.buffer.data.observation
    compiled(built.inputs, state)
    assert old.is_deleted()


@pytest.mark.slow
@pytest.mark.parametrize("task", ["cartpole", "mountain-car"])
def test_exports_for_accelerators(task):
    built = build_random(tiny_config(task))
    state = jax.eval_shape(built.program.init, built.inputs, seeds_of(built), built.hyper)
    exported = jax.export.export(jax.jit(built.program.iteration), platforms=("cuda", "tpu"))(
        built.inputs, state
    )
    assert set(exported.platforms) == {"cuda", "tpu"}


@pytest.mark.slow
def test_ground_truth_goes_through_the_same_program():
    built = build_random(tiny_config(reward_reward="ground-truth"))
    state = init_state(built)
    run = compile_iteration(built, state)[0]
    for _ in range(2):
        state, metrics = run(built.inputs, state)
    np.testing.assert_array_equal(metrics["reward"], metrics["ground_truth_reward"])


def test_reward_statistics_are_those_of_the_warm_up():
    rng = np.random.default_rng(0)
    rewards = rng.normal(3.0, 2.0, size=(2, 20, 4)).astype(np.float32)
    valid = rng.random((2, 20, 4)) < 0.9
    stats = RewardStats(count=jnp.zeros(()), mean=jnp.zeros(()), m2=jnp.zeros(()))
    for batch, mask in zip(rewards, valid, strict=True):
        stats = _accumulate(stats, jnp.array(batch), jnp.array(mask))
    kept = rewards[valid].astype(np.float64)
    np.testing.assert_allclose(stats.mean, kept.mean(), rtol=1e-5)
    np.testing.assert_allclose(stats.m2 / stats.count, kept.var(), rtol=1e-5)


def test_a_probability_that_hardly_varied_is_worth_100_at_most():
    """Far from the goal a softmax over prompts varies by 1e-17; the goal's 1 would be 1e16 of that."""
    seen = RewardStats(
        count=jnp.full(3, 10.0),
        mean=jnp.array([1.1e-17, 1.2e-7, 0.4]),
        m2=10 * jnp.array([4.4e-17, 1.7e-7, 0.2]) ** 2,
    )
    shift, scale = _standardisation(seen, probabilities=True)
    np.testing.assert_allclose(shift, seen.mean)
    np.testing.assert_allclose(scale, [100.0, 100.0, 5.0], rtol=1e-5)
    nothing = jax.tree.map(jnp.zeros_like, seen)  # learning from the first step on
    for probabilities in (True, False):
        np.testing.assert_array_equal(_standardisation(nothing, probabilities), [[0.0] * 3, [1.0] * 3])
    np.testing.assert_allclose(
        _standardisation(seen, probabilities=False)[1][1:], [1 / 1.7e-7, 5.0], rtol=1e-5
    )


def test_a_phase_that_a_rollout_did_not_come_to_has_no_figures():
    rows = Rows(
        **dict.fromkeys(("observation", "action", "reward", "terminated", "truncated", "scene")),
        valid=jnp.array([[[True], [True], [False]]]),
        success=jnp.array([[[True], [False], [True]]]),
        phase=jnp.array([[[0], [0], [1]]]),
    )
    found = _by_phase(rows, jnp.array([[[2.0], [4.0], [6.0]]]), 2)
    assert (float(found["reward_phase_1"][0]), float(found["success_phase_1"][0])) == (3.0, 0.5)
    assert np.isnan(found["reward_phase_2"][0])
    assert np.isnan(found["success_phase_2"][0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stats", "shift", "scale"),
    [
        ((10.0, 0.5, 40.0), 0.5, 0.5),  # a variance of 4
        ((10.0, -1.0, 0.0), -1.0, 1.0),  # never varied: shifted only
        ((0.0, 0.0, 0.0), 0.0, 1.0),  # none seen
        ((10.0, -16.27, 10 * 1.7e-5**2), -16.27, 1.0),  # never varied: what rounding makes of equal rewards
        ((10.0, 1.2e-7, 10 * 1.7e-7**2), 1.2e-7, 1 / 1.7e-7),  # as little as it varied
        ((10.0, 0.0, 1e-44), 0.0, 1.0),  # no number is so small that the scale is infinite
    ],
)
def test_rewards_are_standardised_by_what_was_seen(built, compiled, stats, shift, scale):
    state = init_state(built)
    for _ in range(2):
        state, _ = compiled(built.inputs, state)
    plain_config = replace(
        built.program.config, reward=replace(built.program.config.reward, standardise=False)
    )
    plain = replace(built.program, config=plain_config)
    data = replace(state.buffer.data, reward=(state.buffer.data.reward - shift) * scale)
    stored = replace(state, buffer=replace(state.buffer, data=data))
    seen = replace(state, reward_stats=RewardStats(*(jnp.full(2, number) for number in stats)))
    for metric, expected in jax.jit(plain.update_stage)(stored, built.inputs.steps)[1].items():
        np.testing.assert_allclose(
            jax.jit(built.program.update_stage)(seen, built.inputs.steps)[1][metric],
            expected,
            rtol=1e-4,
            err_msg=metric,
        )


def test_best_agents_are_kept_seed_by_seed(built, compiled):
    state = init_state(built)
    seen = []
    for _ in range(4):
        agents = jax.tree.map(np.asarray, state.agent.params)
        learned = int(state.step) > built.program.config.learning_starts
        state, metrics = compiled(built.inputs, state)
        if learned:
            seen.append((np.asarray(metrics["reward"]), agents))
    rewards = np.stack([reward for reward, _ in seen])
    np.testing.assert_array_equal(state.best.reward, rewards.max(0))
    for seed in range(2):
        best = seen[int(rewards[:, seed].argmax())][1]
        jax.tree.map(
            lambda kept, agent, seed=seed: np.testing.assert_array_equal(kept[seed], agent[seed]),
            state.best.agent.params,
            best,
        )


@pytest.mark.slow
def test_of_equally_good_agents_the_later_is_kept(built):
    state = init_state(built)
    earlier = jax.tree.map(lambda leaf: leaf + 1, state.best.agent)
    state = replace(state, step=jnp.int32(7), best=replace(state.best, agent=earlier, reward=jnp.ones(2)))
    for reward, later in (((1.0, 1.0), True), ((-jnp.inf, jnp.nan), False), ((0.5, 0.9), False)):
        best = _keep_best(state, jnp.array(reward))
        chex.assert_trees_all_equal(best.agent, state.agent if later else earlier)
        np.testing.assert_array_equal(best.step, jnp.full(2, 7) if later else state.best.step)
        np.testing.assert_array_equal(best.reward, jnp.ones(2))
    unlearned = _keep_best(init_state(built), jnp.full(2, -jnp.inf))
    np.testing.assert_array_equal(unlearned.step, init_state(built).best.step)


@pytest.mark.slow
def test_sac_runs_through_the_program():
    built = build_random(tiny_config("mountain-car"))
    state = init_state(built)
    run = compile_iteration(built, state)[0]
    for _ in range(2):
        state, metrics = run(built.inputs, state)
    assert all(np.isfinite(np.asarray(value)).all() for value in metrics.values())


@pytest.mark.slow
def test_the_learning_rate_falls_to_its_end_and_the_agents_keep_theirs():
    """The first step of Adam moves a parameter by the learning rate, whatever the gradient."""
    moved = {}
    for end in (1.0, 0.25):
        built = build_random(
            tiny_config("mountain-car", reward_reward="ground-truth", learning_rate_end=end, updates=1)
        )
        fresh = init_state(built)
        filled, _ = compile_iteration(built, fresh)[0](built.inputs, init_state(built))
        config, update = built.program.config, jax.jit(built.program.update_stage)
        for share in (0, 1):
            step = jnp.int32(share * config.iterations * config.steps_per_iteration)
            agent, _ = update(replace(filled, agent=fresh.agent, step=step), built.inputs.steps)
            np.testing.assert_array_equal(agent.hyper.learning_rate, fresh.agent.hyper.learning_rate)
            change = jax.tree.map(
                lambda new, old: jnp.max(jnp.abs(new - old)), agent.actor, fresh.agent.actor
            )
            moved[end, share] = float(max(jax.tree.leaves(change)))
    rate = built.program.config.algorithm.learning_rate
    expected = {(1.0, 0): rate, (1.0, 1): rate, (0.25, 0): rate, (0.25, 1): 0.25 * rate}
    assert moved == pytest.approx(expected, rel=1e-2)


@pytest.mark.slow
def test_preset_paper_syncs_the_target_once_a_vector_step():
    frozen = build_random(tiny_config(algorithm_target_sync="vector-step", algorithm_learning_rate=1e-9))
    state = init_state(frozen)
    apart = jax.tree.map(jnp.zeros_like, state.agent.target_params)
    state = state.replace(agent=state.agent.replace(target_params=apart), step=jnp.int32(1000))
    params = jax.tree.map(np.asarray, state.agent.params)
    state, _ = compile_iteration(frozen, state)[0](frozen.inputs, state)
    share = 1 - (1 - 0.005) ** 10  # ten rows of the rollout
    jax.tree.map(
        lambda target, online: np.testing.assert_allclose(target, share * online, atol=1e-6),
        state.agent.target_params,
        params,
    )
