"""The transfer experiment on a small room: who meets whom, what starts are, what is chosen and what is written."""

import csv
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvlm.cli.common import import_ours
from jaxvlm.cli.transfer import defaults
from jaxvlm.cli.transfer_worlds import make_setting
from jaxvlm.errors import ConfigError
from jaxvlm.transfer import AlignConfig, LearnConfig, Learned, flatten_policy
from jaxvlm.transfer.arms import (
    ARMS,
    Sources,
    Targets,
    arm_similarity,
    behaviour_likeness,
    lossless,
)
from jaxvlm.transfer.config import TransferConfig
from jaxvlm.transfer.experiment import (
    ArmResult,
    Choice,
    Experiment,
    alike,
    choose,
    jobs_of,
    matched,
    prepare_seed,
    run_experiment,
    split_tasks,
    weighting_of,
)
from jaxvlm.transfer.report import against, difference, table, write_report

ARMS_HERE = ("random", "uniform", "language", "ridge", "oracle")
CONFIG = TransferConfig(
    sources=24, seeds=2, validation=2, targets=3, arms=ARMS_HERE, temperatures=(0.1, 0.5), actor_scales=(0.5, 1.0),
    critic_scales=(0.0,), chunk=12, align=AlignConfig(steps=20),
    base=LearnConfig(num_envs=16, updates=30, hidden_sizes=(24,)),
    fine=LearnConfig(num_envs=8, updates=10, hidden_sizes=(24,)),
)  # fmt: skip


def make_experiment(config=CONFIG):
    options = replace(defaults(6, "default"), config=config)
    setting = make_setting(options)
    return Experiment(config, setting.env, setting.learner_of, setting.evaluate, setting.worlds)


@pytest.fixture(scope="module")
def finished():
    experiment = make_experiment()
    states = [prepare_seed(experiment, seed) for seed in range(2)]
    choices = choose(experiment, states)
    return experiment, states, choices, run_experiment(experiment, states, choices)


@pytest.mark.slow
def test_sources_validation_and_targets_never_meet_and_libraries_are_nested():
    small, large = make_experiment(replace(CONFIG, sources=4)), make_experiment(replace(CONFIG, sources=48))
    for seed in range(2):
        one, other = small.split(seed), large.split(seed)
        for split, count in ((one, 4), (other, 48)):
            tasks = np.concatenate([split.sources, split.validation, split.targets])
            assert len(set(tasks.tolist())) == len(tasks) == count + 5
        assert set(one.sources.tolist()) <= set(other.sources.tolist())
        np.testing.assert_array_equal(one.targets, other.targets)
    assert small.split(0).targets.tolist() != small.split(1).targets.tolist()


@pytest.mark.slow
@pytest.mark.parametrize(("grid", "cells"), [(6, 32), (8, 60), (12, 72)])
def test_no_known_task_is_a_held_out_one_in_other_words(grid, cells):
    config = replace(CONFIG, seeds=4, targets=8, validation=8)
    setting = make_setting(replace(defaults(grid, "default"), config=config))
    experiment = Experiment(config, setting.env, setting.learner_of, setting.evaluate, setting.worlds)
    for seed, world in enumerate(setting.worlds):
        goals = np.asarray(world.params.goal_cells).reshape(72, -1).argmax(1)
        assert len(set(goals)) == cells
        split = experiment.split(seed)
        held = goals[np.concatenate([split.validation, split.targets])]
        assert len(set(held)) == len(held)  # each asks for something of its own
        assert not set(goals[split.sources]) & set(held)


@pytest.mark.slow
def test_houses_hold_out_tasks_that_differ():
    """Six wordings ask for each of four rooms; 24 of 72 instructions ask for four things."""
    houses = import_ours("envs.gridworld.house")
    config = defaults(family="house").config
    for seed in range(20):
        kind = alike(houses.make_house(8, config.seed_of(seed)).params)
        split = split_tasks(config, seed, kind)
        held = kind[np.concatenate([split.validation, split.targets])]
        assert len(set(held)) == len(held) == 10
        assert len(split.sources) == 40
        assert not set(kind[split.sources]) & set(held)


def test_a_room_too_small_for_so_many_sources_is_refused_with_the_numbers():
    with pytest.raises(
        ConfigError, match=r"seed 0 has 72 instructions for 32 different tasks; apart from 8 targets"
    ):
        make_experiment(replace(CONFIG, sources=56, targets=8, validation=8))


@pytest.mark.slow
def test_starts_are_what_their_arms_say(finished):
    experiment, states, _, _ = finished
    choice, rows = Choice(0.5, 1.0, 1.0), slice(2, None)
    bank = np.asarray(jax.vmap(flatten_policy)(states[0].bank), np.float64)
    (uniform, *_) = experiment.starts("uniform", 0, states[0], choice, rows)
    np.testing.assert_allclose(flatten_policy(uniform), bank.mean(0), atol=1e-5)
    starts = experiment.starts("language", 0, states[0], choice, rows)
    world, split = experiment.worlds[0], states[0].split
    cosines = world.embeddings[split.targets] @ world.embeddings[split.sources].T
    weights = np.exp(cosines / 0.5) / np.exp(cosines / 0.5).sum(1, keepdims=True)
    for start, row in zip(starts, weights @ bank, strict=True):
        np.testing.assert_allclose(flatten_policy(start), row, atol=1e-4)
    fresh = [flatten_policy(start) for start in experiment.starts("random", 0, states[0], choice, rows)]
    assert np.abs(fresh[0] - fresh[1]).max() > 0.1
    softened = experiment.starts("uniform", 0, states[0], Choice(0.5, 0.5, 0.0), rows)[0]
    np.testing.assert_allclose(
        softened["actor"]["network"]["Dense_1"]["kernel"],
        0.5 * uniform["actor"]["network"]["Dense_1"]["kernel"],
        rtol=1e-5,
    )
    np.testing.assert_array_equal(softened["critic"]["Dense_1"]["bias"], 0.0)
    np.testing.assert_array_equal(
        softened["actor"]["network"]["Dense_0"]["kernel"], uniform["actor"]["network"]["Dense_0"]["kernel"]
    )


@pytest.mark.slow
def test_results_count_and_knowing_the_goals_helps(finished):
    _, _, choices, results = finished
    assert set(results) == set(ARMS_HERE)
    assert all(choices[arm].temperature in CONFIG.temperatures for arm in ARMS_HERE)
    assert all(choices[arm].actor_scale in CONFIG.actor_scales for arm in ARMS_HERE)
    for result in results.values():
        assert result.steps.shape == (2, 3)
        assert result.curve.shape == (2, 3, 11)
        assert (result.curve <= 1 + 1e-4).all()
        first = np.argmax(result.curve >= CONFIG.threshold, axis=-1)
        for index in np.ndindex(2, 3):
            if result.reached[index]:
                assert result.steps[index] == result.curve_steps[index][first[index]]
            else:
                assert result.curve[index].max() < CONFIG.threshold
                assert result.steps[index] == result.curve_steps[index][-1]
    summary = {arm: result.summary(4) for arm, result in results.items()}
    assert summary["oracle"]["steps"] < 0.7 * summary["random"]["steps"]
    assert summary["oracle"]["zero_shot"] > summary["uniform"]["zero_shot"]
    assert results["random"].similarity is None
    assert results["ridge"].similarity.shape == (2, 3, 24)


@pytest.mark.slow
def test_the_report_holds_every_run(finished, tmp_path):
    _, _, _, results = finished
    report = write_report(tmp_path / "new", "a small room", results, CONFIG)
    text = report.read_text()
    assert all(f"| {arm} |" in text for arm in ARMS_HERE)
    rows = list(csv.DictReader((tmp_path / "new" / "runs.csv").read_text().splitlines()))
    assert len(rows) == len(ARMS_HERE) * 6
    for name in ("curves.png", "steps.png", "similarities.png"):
        assert (tmp_path / "new" / name).stat().st_size > 5000


@pytest.mark.slow
def test_an_arm_draws_the_same_numbers_whichever_others_are_run():
    similarity = []
    for arms in (("clip-rl-shuffled",), ("uniform", "language", "clip-rl-shuffled")):
        experiment = make_experiment(replace(CONFIG, arms=arms, sources=6))
        bank = jax.vmap(experiment.learner.init)(jax.random.split(jax.random.key(0), 72))
        similarity.append(experiment.similarities(0, bank, experiment.split(0))["clip-rl-shuffled"])
    np.testing.assert_array_equal(*similarity)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_independent_policies_are_matched_and_do_what_they_did(activation):
    base, fine = (replace(part, activation=activation) for part in (CONFIG.base, CONFIG.fine))
    config = replace(CONFIG, initialisation="independent", sources=4, seeds=1, base=base, fine=fine)
    experiment = make_experiment(config)
    keys = jax.random.split(jax.random.key(0), 5)
    bank = jax.vmap(experiment.learner.init)(keys)
    bank = jax.tree.map(lambda leaf: leaf + 0.1 * jax.random.normal(keys[0], leaf.shape), bank)
    together = matched(bank, 2, signs=activation == "tanh")
    before, after = (np.asarray(experiment.behaviour(0, policies)) for policies in (bank, together))
    np.testing.assert_allclose(before, after, atol=1e-5)
    vectors = [np.asarray(jax.vmap(flatten_policy)(policies)) for policies in (bank, together)]
    np.testing.assert_allclose(vectors[0][2], vectors[1][2], atol=1e-6)
    far = [np.linalg.norm(v - v[2], axis=1)[[0, 1, 3, 4]] for v in vectors]
    assert (far[1] < 0.95 * far[0]).all()


def made_up(steps):
    steps = np.asarray(steps, float)
    curve = np.zeros((*steps.shape, 2))
    return ArmResult(Choice(0.1, 1.0, 1.0), steps, np.ones(steps.shape, bool), curve, curve, None)


def test_a_difference_that_may_be_none_is_a_tie():
    results = {
        "language": made_up([[100, 100], [110, 110], [90, 90]]),
        "ridge": made_up([[50, 50], [60, 60], [40, 40]]),
        "uniform": made_up([[60, 60], [160, 160], [90, 90]]),
        "random": made_up([[140, 140], [180, 180], [100, 100]]),
        "oracle": made_up([[0, 0], [0, 0], [0, 0]]),
    }
    interval, error = difference(results["ridge"].steps, results["language"].steps)
    # What half of language leaves of ridge is 0, 5 and -5.
    assert (interval.value, error) == (pytest.approx(-0.5), pytest.approx(5 / 3**0.5 / 100))
    assert against(results, "ridge") == "-50% ± 3%"
    assert against(results, "uniform").endswith("a tie")
    # Beyond two standard errors, 0.15; of three seeds 95 % ask for 4.3.
    assert against(results, "random") == "+40% ± 15%, a tie"
    assert difference(results["random"].steps, results["ridge"].steps)[0].low > -1
    assert against(results, "oracle") == "-100% ± 0%"
    assert np.isnan(difference(results["ridge"].steps, results["oracle"].steps)[0].value)
    assert difference(results["oracle"].steps, results["oracle"].steps)[0].value == 0
    assert against(results, "language") == "-"
    text = table(results, TransferConfig(arms=("language", "ridge", "uniform")))
    assert text.index("| ridge |") > text.index("| language |")  # fewest steps last


def test_a_single_seed_is_given_no_verdict(tmp_path):
    results = {"language": made_up([[1000, 1000]]), "ridge": made_up([[10, 10]])}
    assert against(results, "ridge") == "-99% (one seed)"
    text = table(results, TransferConfig(seeds=1, arms=("language", "ridge")))
    assert "| ridge | 10 | -99% (one seed) |" in text
    assert "nan" not in text


def test_similarities_are_drawn_where_an_arm_that_is_shown_has_some(tmp_path):
    results = {
        "random": made_up([[9]]),
        "clip-rl-noise": replace(made_up([[5]]), similarity=np.ones((1, 1, 2))),
    }
    config = TransferConfig(seeds=1, targets=1, arms=tuple(results))
    report = write_report(tmp_path, "small", results, config).read_text()
    assert "similarities.png" not in report
    assert not (tmp_path / "similarities.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", [arm for arm in ARMS if ARMS[arm].similarity is not None])
def test_similarities_of_every_arm_are_finite_and_its_own(name):
    rng = np.random.default_rng(0)
    unit = lambda x: (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)  # noqa: E731
    sources = Sources(
        jnp.asarray(unit(rng.normal(size=(10, 6)))), jnp.asarray(rng.normal(size=(10, 40)), jnp.float32),
        jnp.asarray(rng.random((10, 12)), jnp.float32),
    )  # fmt: skip
    targets = Targets(
        jnp.asarray(unit(rng.normal(size=(3, 6)))), jnp.asarray(rng.normal(size=(3, 10)), jnp.float32)
    )
    found = np.asarray(arm_similarity(name, jax.random.key(0), sources, targets, AlignConfig(steps=5)))
    assert found.shape == (3, 10)
    assert np.isfinite(found).all()
    if name == "oracle":
        np.testing.assert_array_equal(found, targets.nearness)
    elif name.startswith(("clip-rl-", "clip-rl")) and name != "clip-rl-identity":
        assert np.abs(found - np.asarray(targets.instructions @ sources.instructions.T)).max() > 0.01


def test_a_basis_of_their_own_keeps_angles_between_policies():
    x = jax.random.normal(jax.random.key(0), (6, 50))
    centred = np.asarray(x - x.mean(0), np.float64)
    gram = centred @ centred.T
    ours = np.asarray(lossless(x), np.float64)
    scaled = ours @ ours.T
    np.testing.assert_allclose(scaled / scaled[0, 0], gram / gram[0, 0], atol=1e-3)
    likeness = np.asarray(behaviour_likeness(x))
    np.testing.assert_allclose(likeness, gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram))), atol=1e-4)


@pytest.mark.parametrize(("change", "words"), [
    ({"sources": 1}, "sources is 1; an alignment needs at least two pairs"), ({"targets": 0}, "targets is 0"),
    ({"threshold": 1.5}, "threshold is 1.5"), ({"initialisation": "mixed"}, "unknown initialisation 'mixed'"),
    (
        {"base": replace(CONFIG.base, hidden_sizes=(8,))},
        r"base.hidden_sizes is \(8,\) and fine.hidden_sizes is \(24,\)",
    ),
    ({"fine": replace(CONFIG.fine, activation="relu")}, "base.activation is tanh and fine.activation is relu"),
    ({"retries": -1}, "retries is -1"), ({"learned": 1.5}, "learned is 1.5"),
    ({"algorithm": "a2c"}, "unknown algorithm 'a2c'; choose one of ppo, dqn, sac"),
    ({"algorithm": "sac", "initialisation": "independent"}, "two critics are kept as one stack"),
    ({"arms": ("magic",)}, "unknown arm 'magic'"), ({"temperatures": ()}, "temperatures is empty"),
    ({"arms": ("language", "language")}, "arms is language language; give each once"),
    ({"temperatures": (0.1, 0.0)}, "one of temperatures is 0; give numbers above 0"),
    ({"actor_scales": (float("nan"),)}, "one of actor_scales is nan; give numbers of 0 or more"),
])  # fmt: skip
def test_numbers_that_cannot_work_are_named(change, words):
    with pytest.raises(ConfigError, match=words):
        replace(CONFIG, **change)


def test_too_few_tasks_are_named():
    with pytest.raises(
        ConfigError, match=r"70 sources, 2 validation tasks and 3 targets are 75 tasks, .* 72"
    ):
        make_experiment(replace(CONFIG, sources=70))


def test_presets():
    assert defaults(25, "default").config.base.updates > defaults(8, "default").config.base.updates
    paper = defaults(12, "paper").config
    assert (paper.sources, paper.tune, paper.plain) == (4, False, True)
    ways = {arm: weighting_of(arm, paper) for arm in ("language", "clip-rl", "language-nearest", "oracle")}
    assert ways == {
        "language": "plain",
        "clip-rl": "plain",
        "language-nearest": "nearest",
        "oracle": "softmax",
    }
    assert weighting_of("clip-rl", CONFIG) == "softmax"
    with pytest.raises(ConfigError, match="unknown preset 'quick'"):
        defaults(12, "quick")


@pytest.mark.slow
def test_policies_that_collapsed_learn_again_and_the_better_one_stays(monkeypatch):
    """With a `learn` that fails whenever its key says so: values are made up, the bookkeeping is not."""
    experiment = make_experiment(replace(CONFIG, retries=2))
    best, asked = experiment.worlds[0].best, []

    def learn(config, tasks, start, evaluation, keys, *, curve):
        number = len(asked)
        rows = len(jax.tree.leaves(start)[0])
        asked.append(rows)
        failing = {0: [3, 5], 1: [0], 2: []}[
            number
        ]  # the second attempt holds tasks 3 and 5, and fails the first
        of = np.arange(72) if number == 0 else np.resize([[], [3, 5], [3]][number], rows)
        value = np.stack([np.zeros(rows), best[of]], axis=1).astype(np.float32)
        value[failing, 1] = 0.1 * number * best[of][failing]
        value[5 if number == 0 else [], 1] = np.nan  # one whose numbers broke
        params = jax.tree.map(lambda leaf: jnp.full_like(leaf, number), start)
        return Learned(params=params, value=value, steps=np.full((rows, 2), number))

    monkeypatch.setattr(experiment, "_learn", learn)
    learned = experiment.train_bank(0)
    assert asked == [72, 8, 8]
    np.testing.assert_allclose(learned.value[:, -1], best, rtol=1e-6)
    origin = np.zeros(72)
    origin[[3, 5]] = [2, 1]
    np.testing.assert_array_equal(learned.steps[:, 0], origin)
    np.testing.assert_array_equal(jax.tree.leaves(learned.params)[0].reshape(72, -1)[:, 0], origin)

    asked.clear()
    experiment = make_experiment(replace(CONFIG, retries=0))
    monkeypatch.setattr(experiment, "_learn", learn)
    assert experiment.train_bank(0).value[3, -1] == 0
    assert asked == [72]


@pytest.mark.slow
def test_a_second_try_learns_what_the_first_did_not_finish(finished, tmp_path, monkeypatch):
    experiment, states, choices, _ = finished
    store = tmp_path / "unfinished"
    jobs = jobs_of(experiment, states, "ridge", choices["ridge"], targets=True)
    jobs += jobs_of(experiment, states, "random", choices["random"], targets=True)
    monkeypatch.setattr(experiment, "store", store)
    monkeypatch.setattr(experiment, "config", replace(experiment.config, chunk=4))
    expected = [
        (job.label, learned.value, learned.steps) for job, learned in experiment.fine_tune(jobs, "a test")
    ]
    kept = sorted(store.iterdir())
    assert [path.name for path in kept] == ["a-test-0.npz", "a-test-4.npz", "a-test-8.npz"]

    whole = kept[1].read_bytes()
    kept[1].write_bytes(whole[:100])  # cut short
    learned_again = []
    real = experiment._learn
    monkeypatch.setattr(experiment, "_learn", lambda *a: learned_again.append(1) or real(*a))
    again = [
        (job.label, learned.value, learned.steps) for job, learned in experiment.fine_tune(jobs, "a test")
    ]
    assert len(learned_again) == 1
    for one, other in zip(expected, again, strict=True):
        assert one[0] == other[0]
        np.testing.assert_array_equal(one[1], other[1])
        np.testing.assert_array_equal(one[2], other[2])
    list(experiment.fine_tune(jobs[::-1], "a test"))  # other jobs in the same places
    assert len(learned_again) == 4


def test_a_silent_critic_is_not_chosen_but_given(finished):
    experiment, states, *_ = finished
    config = replace(experiment.config, arms=("random", "random-silent"), tune=False)
    quiet = Experiment(config, experiment.env, experiment.learner_of, experiment.evaluate, experiment.worlds)
    chosen = choose(quiet, states)
    assert (chosen["random"].critic_scale, chosen["random-silent"].critic_scale) == (1.0, 0.0)
    assert chosen["random-silent"].actor_scale == 1.0
    loud, silent = (
        quiet.starts(arm, 0, states[0], chosen[arm], slice(0, 2)) for arm in ("random", "random-silent")
    )
    np.testing.assert_array_equal(
        *(start[0]["actor"]["network"]["Dense_1"]["kernel"] for start in (loud, silent))
    )
    assert not np.any(silent[0]["critic"]["Dense_1"]["kernel"])
    assert np.any(loud[0]["critic"]["Dense_1"]["kernel"])
