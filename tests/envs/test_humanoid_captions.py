"""What the humanoid's embedded CLIP is trained from: poses, their balance, captions and their truth."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.captions import humanoid as captions
from envs.captions.humanoid import humanoid_captions, mine, way_to
from envs.captions.humanoid_concepts import OF_DEFAULT_VIEW
from envs.captions.humanoid_facts import describe
from envs.humanoid.arms import PAIRS, find_arms
from envs.humanoid.env import Humanoid
from envs.humanoid.examples import EXAMPLES, Example, example_qpos
from envs.humanoid.kinematics import locate, pose_scene, skeleton
from envs.humanoid.measures import measure
from envs.humanoid.poses import (
    MIRROR_JOINTS,
    MIRROR_SIGNS,
    keep_found,
    make_library,
    sample_qpos,
    with_extra,
    with_found,
)
from envs.humanoid.postures import FAMILIES, drop, find_postures
from envs.humanoid.predicates import GOALS, condition_margins, goal_log_odds, holds
from envs.humanoid.search import climb
from jaxvlm.clip.captions import validate_dataset, words

TABLE_3 = {
    "kneeling": "a humanoid robot kneeling",
    "lotus": "a humanoid robot seated down, meditating in the lotus position",
    "standing": "a humanoid robot standing up",
    "arms-raised": "a humanoid robot standing up, with both arms raised",
    "splits": "a humanoid robot practicing gymnastics, doing the side splits",
    "hands-on-hips": "a humanoid robot standing up with hands on hips",
    "one-leg": "a humanoid robot standing up on one leg",
    "arms-crossed": "a humanoid robot standing up, with its arms crossed",
}

state_of = jax.jit(lambda qpos: describe(pose_scene(qpos)))


@pytest.fixture(scope="module")
def dataset():
    return humanoid_captions()


@pytest.fixture(scope="module")
def states(dataset):
    return dataset.sample_states(jax.random.key(0), 4000)


@pytest.fixture(scope="module")
def qpos():
    return np.asarray(jax.jit(sample_qpos, static_argnums=1)(jax.random.key(1), 4000, make_library()))


def test_declaration_is_complete(dataset):
    validate_dataset(dataset, least_wordings=20)
    for goal, prompt in TABLE_3.items():
        assert dataset.concept(goal).wordings[0] == prompt
    assert dataset.concept(dataset.baseline).wordings[0] == "a humanoid robot"
    assert dataset.concept(dataset.opposite).wordings[0] == "a humanoid robot lying on the floor"
    assert tuple(goal.concept for goal in dataset.goals) == GOALS
    longest = max(len(words(text)) for c in dataset.concepts for text in (*c.wordings, c.held_out))
    assert longest + 2 <= 24


@pytest.mark.parametrize(("text", "concept"), [
    ("the robot kneels", "kneeling"), ("a robot on its knees", "kneeling"), ("a kneeling robot", "kneeling"),
    ("hands up", "arms-raised"), ("the robot stands up", "standing"), ("flamingo pose", "one-leg"),
    ("a robot with its arms folded over its chest", "arms-crossed"), ("arms akimbo", "hands-on-hips"),
    ("a meditating robot", "lotus"), ("the robot does the splits", "splits"),
])  # fmt: skip
def test_phrases_people_use_are_trained(dataset, text, concept):
    assert text in dataset.concept(concept).wordings


@pytest.mark.slow
@pytest.mark.parametrize("goal", GOALS)
def test_log_odds_of_a_goal_have_the_sign_of_its_predicate(dataset, states, goal):
    log_odds = np.asarray(dataset.concept(goal).log_odds(states))
    true = np.asarray(holds(goal, states.scene))
    clear = np.abs(np.asarray(jnp.min(condition_margins(goal, states.measures), -1))) > 1e-3
    np.testing.assert_array_equal((log_odds > 0)[clear], true[clear])
    assert 0.04 < true.mean() < (0.4 if goal == "standing" else 0.12)
    assert log_odds.min() < -5
    assert log_odds.max() > 1


@pytest.mark.slow
@pytest.mark.parametrize("goal", GOALS)
def test_the_way_to_a_goal_climbs(dataset, goal):
    sweep = dataset.aimed_at(goal).sweep
    for yaw in sweep.contexts:
        log_odds = np.asarray(dataset.concept(goal).log_odds(sweep.states(jnp.asarray(sweep.values), yaw)))
        assert log_odds[-1] > 0.5
        assert log_odds[0] < -1.0
        assert (np.diff(log_odds) > -0.1).all()


def test_far_from_a_goal_its_log_odds_still_differ(states):
    for goal in GOALS:
        log_odds = np.asarray(goal_log_odds(goal, states.measures))
        far = log_odds[log_odds < -2.0]
        assert np.std(far) > 0.2
        assert np.mean(log_odds < -6.9) < 0.1  # few at the end of the scale


@pytest.mark.slow
@pytest.mark.parametrize(("concept", "example", "other"), [
    ("lying_back", Example("", tilt=(-90.0, 0.0)), Example("", tilt=(90.0, 0.0))),
    ("lying_front", Example("", tilt=(90.0, 0.0)), Example("", tilt=(-90.0, 0.0))),
    ("lying", Example("", tilt=(0.0, 90.0)), Example("")),
    ("sitting", Example("", {"hip_y": -90.0}), Example("")),
    ("sitting_legs_ahead", Example("", {"hip_y": -90.0}), EXAMPLES["splits"][0][0]),
    ("crouching", Example("", {"hip_y": -85.0, "knee": -130.0}, tilt=(20.0, 0.0)), Example("", {"knee": -90.0})),
    ("one_knee", EXAMPLES["kneeling"][1][0], Example("", {"knee": -90.0})),
    ("falling", Example("", tilt=(50.0, 0.0)), Example("")),
    ("airborne", Example("", height=0.3), Example("")),
    ("grounded", Example(""), Example("", height=0.3)),
    ("bowing", Example("", {"abdomen_y": -60.0, "hip_y": -20.0}, tilt=(60.0, 0.0)), Example("")),
    ("arms_down", Example(""), EXAMPLES["arms-raised"][0][0]),
    ("arms_sideways", Example("", {}, (-51.0, -53.0, -52.0)), Example("")),
    ("arms_forward", Example("", {}, (0.0, 31.0, -57.0)), Example("")),
    ("one_arm_raised", EXAMPLES["arms-raised"][1][0], EXAMPLES["arms-raised"][0][0]),
    ("hands_before_face", Example("", {}, (-20.0, 40.0, -20.0)), Example("")),
    ("legs_apart", EXAMPLES["splits"][0][0], Example("")),
    ("legs_together", Example(""), EXAMPLES["splits"][0][0]),
    ("knees_bent", Example("", {"knee": -90.0}), Example("")),
    ("knees_straight", Example(""), Example("", {"knee": -90.0})),
    ("head_high", Example(""), Example("", {"knee": -90.0})),
    ("head_low", Example("", tilt=(90.0, 0.0)), Example("")),
    ("upside_down", Example("", tilt=(180.0, 0.0)), Example("")),
    ("leaning_right", Example("", tilt=(0.0, -40.0)), Example("", tilt=(0.0, 40.0))),
    ("leaning_left", Example("", tilt=(0.0, 40.0)), Example("", tilt=(0.0, -40.0))),
    ("facing_camera", Example(""), Example("", tilt=(180.0, 180.0))),
])  # fmt: skip
def test_facts_by_hand(dataset, concept, example, other):
    fact = dataset.concept(concept)
    assert np.asarray(fact.holds(state_of(example_qpos(example, other)))).tolist() == [True, False]


@pytest.mark.parametrize(("concept", "x", "y", "yaw"), [
    ("facing_right", 0.0, 0.0, 90.0), ("facing_left", 0.0, 0.0, -90.0), ("facing_away", 0.0, 0.0, 180.0),
    ("right_of_picture", 0.0, 0.5, 0.0), ("left_of_picture", 0.0, -0.5, 0.0),
    ("near_camera", 0.5, 0.0, 0.0), ("far_from_camera", -0.5, 0.0, 0.0),
])  # fmt: skip
def test_places_and_directions(dataset, concept, x, y, yaw):
    pose = example_qpos(Example(""), Example(""))
    pose[0, :2] = x, y
    pose[0, [3, 6]] = np.cos(0.5 * np.deg2rad(yaw)), np.sin(0.5 * np.deg2rad(yaw))
    assert np.asarray(dataset.concept(concept).holds(state_of(pose))).tolist() == [True, False]


def test_the_right_of_the_picture_is_where_y_points(dataset):
    poses = example_qpos(Example(""), Example(""))
    poses[:, 1] = 0.6, -0.6
    frames = jax.jit(dataset.frames, static_argnums=2)(state_of(poses), dataset.assets(), 32)
    # Below the sky; the robot is the brightest.
    right, left = np.asarray(frames, np.float32)[:, 0, 8:].mean((1, 3))
    assert (right - left)[16:].max() > 20 > 5 > (right - left)[:16].max()


def test_concepts_are_neither_always_nor_never_true(dataset, states):
    share = np.mean(np.asarray(jax.jit(dataset.log_odds)(states)) > 0, axis=0)
    for concept, value in zip(dataset.concepts, share, strict=True):
        assert 0.004 < value < 0.99 or concept.name == "scene", concept.name


@pytest.mark.slow
def test_samples_stay_in_the_limits_and_on_the_floor(qpos):
    body = skeleton()
    assert (qpos[:, 7:] >= body.low - 1e-5).all()
    assert (qpos[:, 7:] <= body.high + 1e-5).all()
    np.testing.assert_allclose(np.linalg.norm(qpos[:, 3:7], axis=1), 1.0, atol=1e-5)
    lowest = np.asarray(jax.jit(lambda q: measure(pose_scene(q)).lowest)(qpos))
    assert lowest.min() > -0.013
    assert 0.88 < np.mean(lowest < 1e-4) < 0.96
    assert np.unique(qpos.round(4), axis=0).shape == qpos.shape


def test_samples_follow_the_key(qpos):
    draw = jax.jit(sample_qpos, static_argnums=1)
    np.testing.assert_array_equal(draw(jax.random.key(1), 4000, make_library()), qpos)
    assert np.abs(np.asarray(draw(jax.random.key(2), 4000, make_library())) - qpos).max() > 0.1


@pytest.mark.slow
def test_libraries_follow_the_seed():
    first, again, other = (find_postures(seed, 8, tries=200) for seed in (3, 3, 4))
    assert first.shape == (len(FAMILIES), 8, 15)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1
    arms, same = (find_arms(5, 8, tries=2000) for _ in range(2))
    assert arms.shape == (len(PAIRS), 8, 6)
    np.testing.assert_array_equal(arms, same)


@pytest.mark.slow
def test_a_family_meets_its_goal_and_its_neighbour_misses_it():
    library = make_library()
    arms_ahead = np.deg2rad(np.asarray([0.0, 31.0, -57.0, 0.0, -31.0, -57.0], np.float32))
    size = library.postures.shape[1]
    for k, family in enumerate(FAMILIES.values()):
        if family.goal is None:
            continue
        rows = np.hstack([np.zeros((size, 3)), library.postures[k], np.tile(arms_ahead, (size, 1))]).astype(
            np.float32
        )
        m = jax.jit(lambda q: measure(pose_scene(drop(q))))(rows)
        found = np.asarray(jnp.min(condition_margins(family.goal, m), -1))
        low, high = family.between
        assert ((found > low - 1e-2) & (found < high + 1e-2)).all()


def test_the_mirror_is_its_own_inverse_and_keeps_the_body(qpos):
    flipped = qpos.copy()
    flipped[:, 7:] = qpos[:, 7:][:, MIRROR_JOINTS] * MIRROR_SIGNS
    flipped[:, 3:7] *= (1, -1, 1, -1)
    flipped[:, 1] *= -1
    np.testing.assert_array_equal(flipped[:, 7:][:, MIRROR_JOINTS] * MIRROR_SIGNS, qpos[:, 7:])
    swapped = [0, 1, 2, 3, 4, 5, 9, 10, 11, 6, 7, 8, 15, 16, 17, 12, 13, 14]
    before, after = (jax.jit(pose_scene)(q).geom_pos for q in (qpos[:100], flipped[:100]))
    np.testing.assert_allclose(after[:, swapped] * jnp.asarray([1, -1, 1]), before, atol=1e-4)


@pytest.mark.slow
def test_extra_states_get_their_share():
    mined = np.tile(example_qpos(Example("", tilt=(33.0, 0.0))), (5, 1))
    library = with_extra(make_library(), mined, 0.25)
    drawn = np.asarray(jax.jit(sample_qpos, static_argnums=1)(jax.random.key(0), 4000, library))
    assert np.mean(np.abs(drawn - mined[0]).max(1) < 1e-6) == pytest.approx(0.25, abs=0.03)


@pytest.mark.slow
def test_frames_and_truth_in_one_program(dataset):
    def batch(sampler, key, assets):
        states = sampler(key, 4)
        return dataset.frames(states, assets, 32), dataset.log_odds(states)

    frames, log_odds = jax.jit(batch)(dataset.sample_states, jax.random.key(0), dataset.assets())
    assert frames.shape == (4, 1, 32, 32, 3)
    assert frames.dtype == jnp.uint8
    assert log_odds.shape == (4, len(dataset.concepts))
    assert len({frame.tobytes() for frame in np.asarray(frames)}) == 4


@pytest.mark.slow
def test_states_of_single_scenes_work_too(dataset):
    state = state_of(example_qpos(Example(""))[0])
    assert state.measures.torso_tilt.shape == ()
    assert bool(dataset.concept("standing").holds(state))
    assert way_to("standing", jnp.asarray([1.0]), 30.0).measures.torso_facing[0] == pytest.approx(
        30.0, abs=0.1
    )


def margins_of(qpos) -> np.ndarray:
    def all_goals(qpos):
        measures = measure(pose_scene(qpos))
        return jnp.stack([jnp.min(condition_margins(goal, measures), -1) for goal in GOALS])

    return np.asarray(jax.jit(all_goals)(qpos))


@pytest.mark.slow
def test_jitter_moves_turns_and_mirrors_without_changing_what_is_true(qpos):
    rows = jnp.asarray(qpos[:1])
    library = with_extra(make_library(), qpos[:1], 1.0, jitter=0.1)
    drawn = np.asarray(jax.jit(sample_qpos, static_argnums=1)(jax.random.key(3), 400, library))
    np.testing.assert_allclose(margins_of(drawn), np.repeat(margins_of(rows), 400, 1), atol=2e-3)
    same = np.abs(drawn[:, 7:] - qpos[0, 7:]).max(1) < 1e-6
    assert 0.4 < same.mean() < 0.6  # the others are mirrored
    assert 0.08 < np.std(drawn[:, 0]) < 0.12
    yaw = 2 * np.arctan2(drawn[same][:, 6], drawn[same][:, 3])
    assert 0.05 < np.std(yaw) < 0.2


def test_joint_jitter_moves_joints_within_their_limits_or_where_they_were(qpos):
    beyond = qpos[:1].copy()
    limits = skeleton()
    beyond[0, 7] = limits.high[0] + 0.1  # as an agent that presses against a limit
    library = with_extra(make_library(), beyond, 1.0, joint_jitter=0.1)
    drawn = np.asarray(jax.jit(sample_qpos, static_argnums=1)(jax.random.key(3), 4000, library))
    moved = drawn[:, 7:] - beyond[0, 7:]
    assert moved[:, 0].max() < 1e-6
    assert moved[:, 0].min() < -0.05
    free = (np.abs(beyond[0, 7:] - limits.low) > 0.5) & (np.abs(beyond[0, 7:] - limits.high) > 0.5)
    assert free.any()
    # A uniform scale below 0.1: the mean of its squares is a third of 0.01.
    np.testing.assert_allclose(np.std(moved[:, free], axis=0), 0.1 / np.sqrt(3), rtol=0.1)
    np.testing.assert_allclose(drawn[:, :7], np.repeat(beyond[:, :7], 4000, 0), atol=1e-6)


@pytest.mark.slow
def test_found_poses_are_a_ring(qpos):
    library = with_found(with_extra(make_library(), qpos[:1], 0.25), qpos[1:5], 0.5)
    drawn = np.asarray(jax.jit(sample_qpos, static_argnums=1)(jax.random.key(3), 4000, library))
    extra = (np.abs(drawn - qpos[0]).max(1) < 1e-6).mean()
    found = (np.abs(drawn[:, None] - qpos[None, 1:5]).max(-1) < 1e-6).any(1).mean()
    assert abs(extra - 0.25) < 0.03
    assert abs(found - 0.5) < 0.03
    kept = keep_found(library, jnp.asarray(qpos[10:13])).found
    np.testing.assert_array_equal(kept, np.concatenate([qpos[10:13], qpos[1:2]]))


@pytest.mark.slow
def test_climbing_keeps_what_scores_higher(qpos):
    start = jnp.asarray(qpos[:64])

    def reach(q):
        height = measure(pose_scene(q)).head_clearance
        return jnp.where(jnp.all(q == start[0], axis=1), jnp.nan, height)  # one pose has no score

    end, best = jax.jit(lambda q: climb(jax.random.key(0), q, reach, 8))(start)
    before = np.asarray(jax.jit(reach)(start))
    assert np.isnan(before[0])
    assert np.isfinite(best).all()
    assert (np.asarray(best)[1:] >= before[1:] - 1e-5).all()
    assert np.mean(np.asarray(best) > before + 0.02) > 0.5
    np.testing.assert_allclose(jax.jit(reach)(end), best, atol=1e-5)


@pytest.mark.slow
def test_mining_finds_what_is_predicted_wrongly(dataset, monkeypatch):
    """A CLIP that takes a low head for every goal is wrong about who lies, and about who stands and meets one."""
    monkeypatch.setattr(captions, "CHAINS", 8)
    monkeypatch.setattr(captions, "STARTS", 512)
    monkeypatch.setattr(captions, "ROUNDS", 6)
    library = with_found(make_library(), jnp.tile(jnp.eye(1, 24, 3), (200, 1)), 0.5)
    sampler = jax.tree_util.Partial(captions.sample_states, library)

    def predicted(states, goal):
        return 4.0 - 5.0 * states.measures.head_clearance

    mined = jax.jit(lambda key: mine(key, sampler, predicted))(jax.random.key(0))
    assert jax.tree.structure(mined) == jax.tree.structure(sampler)
    found = np.asarray(mined.args[0].found)
    assert found.shape == (200, 24)
    np.testing.assert_array_equal(found[64:], np.eye(1, 24, 3).repeat(136, 0))
    goal, negative = np.repeat(np.arange(8), 8), np.arange(64) % 2 == 1
    states = state_of(found[:64])
    log_odds = np.stack([np.asarray(goal_log_odds(name, states.measures)) for name in GOALS])[
        goal, np.arange(64)
    ]
    ours = np.asarray(predicted(states, goal))
    assert np.mean(log_odds[negative] > 0) > 0.9
    assert np.mean(log_odds[~negative] < 0) > 0.9
    assert ours[~negative].mean() > ours[negative].mean() + 1.0
    assert ours[~negative].mean() > 1.0


@pytest.mark.slow
def test_training_draws_states_that_policies_visited(dataset):
    """Held-out figures do not: they stay comparable between versions."""
    (library,) = dataset.training_sampler().args
    assert len(library.extra) > len(captions.random_falls())
    assert library.found.shape == (captions.FOUND, 24)
    (held_out,) = dataset.sample_states.args
    assert float(held_out.found_share) == 0.0
    np.testing.assert_array_equal(held_out.extra, captions.random_falls())
    visited = captions.visited_states()
    np.testing.assert_allclose(np.linalg.norm(visited[:, 3:7], axis=1), 1.0, atol=2e-3)
    assert np.asarray(state_of(visited).measures.lowest).min() > -0.4


@pytest.mark.parametrize("cameras", [("default", "side"), ("side",), ("original",)])
def test_facts_of_the_default_view_are_not_said_of_others(dataset, cameras):
    """Where it faces, leans and stands in the picture; all that is left can still be trained and measured."""
    seen = dataclasses.replace(dataset, cameras=cameras)
    assert type(seen) is type(dataset)
    names = [concept.name for concept in dataset.concepts]
    kept = [concept.name for concept in seen.concepts]
    assert kept == [name for name in names if name not in OF_DEFAULT_VIEW]
    assert len(names) - len(kept) == len(OF_DEFAULT_VIEW) == 10
    assert set(names) >= OF_DEFAULT_VIEW
    validate_dataset(seen)
    text = " ".join(wording for concept in seen.concepts for wording in concept.wordings)
    assert not {"camera", "viewer", "left", "right"} & set(words(text))


@pytest.mark.slow
def test_pictures_can_be_taken_by_the_camera_of_the_body(dataset):
    """Rewards from gymnasium's side view are checked on these states before a training."""
    poses = example_qpos(Example(""), Example(""), EXAMPLES["kneeling"][0][0])
    poses[1, :2] = 3.0, -2.0  # the camera goes along
    poses[2, :2] = 0.5, 0.5
    side = dataclasses.replace(dataset, cameras=("original",))
    frames = jax.jit(side.frames, static_argnums=2)(state_of(poses), side.assets(), 48)
    frames = np.asarray(frames[:, 0], float)
    env = Humanoid()
    scene = jax.vmap(lambda q: locate(q).scene)(jnp.asarray(poses))
    draw = jax.jit(jax.vmap(lambda s: env.render(s, side.assets()[0], env.cameras["original"], 48)))
    np.testing.assert_allclose(frames, 255 * np.asarray(draw(scene)), atol=1.0)
    light = frames[:, :, 8:-8].max(-1) > 200
    assert np.abs(frames[0] - frames[2]).max() > 100
    assert light.mean((1, 2)).min() > 0.01
