"""Declarations of the embedded CLIPs' captions: wordings, truth worked out by hand, states and frames."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.adapters.goals import SHOWN
from envs.captions import DATASETS, captioned_dataset
from envs.captions.cartpole import close
from envs.captions.scenes import goal_truth
from envs.cartpole import CartPoleState
from envs.mountain_car import MountainCar, MountainCarState, at_goal
from envs.registry import TASKS, make_task
from jaxvlm.clip.captions import validate_dataset, words
from jaxvlm.errors import ConfigError

TABLE_3 = {
    "cartpole": ("pole vertically upright on top of the cart", "pole and cart"),
    "mountain_car": ("a car at the peak of the mountain, next to the yellow flag", "a car in the mountain"),
    "humanoid": ("a humanoid robot kneeling", "a humanoid robot"),
    # Not the paper's: the grid-world and the two brax environments that are shown.
    "gridworld": ("the agent is at the red ball", "an agent in a room with objects"),
    **{domain: (next(iter(shown.goals.values())).prompt, shown.baseline) for domain, shown in SHOWN.items()},
}


def pole(degrees, x=0.0) -> CartPoleState:
    theta = jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    zero = jnp.zeros_like(theta)
    return CartPoleState(x=zero + x, x_dot=zero, theta=theta, theta_dot=zero)


def car(position) -> MountainCarState:
    position = jnp.asarray(position, jnp.float32)
    return MountainCarState(position=position, velocity=jnp.zeros_like(position))


@pytest.mark.slow
@pytest.mark.parametrize("domain", DATASETS)
def test_declarations_are_complete(domain):
    dataset = captioned_dataset(domain)
    validate_dataset(dataset, least_wordings=20)
    goal, baseline = TABLE_3[domain]
    assert dataset.concept(dataset.goal).wordings[0] == goal
    assert dataset.concept(dataset.baseline).wordings[0] == baseline
    longest = max(len(words(text)) for c in dataset.concepts for text in (*c.wordings, c.held_out))
    assert longest + 2 <= 24  # the context, with the first and the last token


@pytest.mark.parametrize("name", TASKS)
def test_prompts_of_the_tasks_are_trained(name):
    task = make_task(name)
    if task.domain not in DATASETS:
        pytest.skip("no embedded CLIP for this domain")
    dataset = captioned_dataset(task.domain).aimed_at(task.concept)
    uses = ((task.goal_prompts, dataset.goal), (task.baseline_prompts, dataset.baseline))
    for prompts, concept in (*uses, (task.opposite_prompts, dataset.opposite)):
        assert set(prompts) <= set(dataset.concept(concept).wordings)
    assert task.look in dataset.looks


def test_an_unknown_domain_is_named():
    with pytest.raises(ConfigError, match=r"no captions for domain 'chess'; choose one of .*cartpole"):
        captioned_dataset("chess")


def test_upright_by_hand():
    concept = captioned_dataset("cartpole").concept("upright")
    # (12 - d) / 8 up to 20 degrees, then -1 - (d - 20) / 70.
    np.testing.assert_allclose(
        concept.log_odds(pole([0.0, 4.0, -20.0, 90.0, 450.0])), [1.5, 1.0, -1.0, -2.0, -2.0], atol=1e-4
    )
    assert concept.holds(pole([11.0, -11.0, 13.0, 180.0])).tolist() == [True, True, False, False]


@pytest.mark.parametrize(("name", "angle", "x"), [
    ("upright", 0, 0), ("hanging", 180, 0), ("fallen", 120, 0), ("above", -60, 0), ("below", 130, 0),
    ("leaning_left", -45, 0), ("leaning_right", 45, 0), ("leaning", 45, 0), ("slightly_tilted", -20, 0),
    ("horizontal_left", -90, 0), ("horizontal_right", 90, 0), ("hanging_left", -135, 0), ("hanging_right", 135, 0),
    ("cart_left", 77, -2), ("cart_middle", 77, 0), ("cart_right", 77, 2), ("cart_edge", 77, -2.3),
    ("upright_cart_left", 0, -2), ("hanging_cart_right", 180, 2), ("leaning_right_cart_left", 45, -2),
])  # fmt: skip
def test_cartpole_concepts_tell_left_from_right_and_up_from_down(name, angle, x):
    concept = captioned_dataset("cartpole").concept(name)
    assert bool(concept.holds(pole(angle, x)))
    mirrored = bool(concept.holds(pole(-angle, -x)))
    assert mirrored != ("_left" in name or "_right" in name)
    if "cart" not in name and name != "fallen":  # a pole can fall to either side
        assert not bool(concept.holds(pole(angle + 180, x)))


def test_the_tail_of_the_goal_never_levels():
    distance = jnp.linspace(0.0, 180.0, 361)
    assert float(jnp.max(jnp.diff(close(distance)))) < -0.5 / 80  # log-odds per half degree


def test_flag_by_hand():
    concept = captioned_dataset("mountain_car").concept("at_flag")
    valley, peak = -np.pi / 6, np.pi / 6
    np.testing.assert_allclose(concept.log_odds(car(valley)), -4.0, atol=1e-5)
    # On the peak height is 1 and the ramp (peak - .34796) / .1: -4 + 2.5 + 1.5 * 1.756.
    np.testing.assert_allclose(concept.log_odds(car(peak)), 1.1346, atol=1e-3)
    assert concept.holds(car([0.46, 0.6, 0.44, -1.2])).tolist() == [True, True, False, False]


def test_the_flag_is_reached_where_the_environment_says_so():
    positions, params = car([0.449, 0.4499, 0.45, 0.451]), MountainCar().default_params
    reached = captioned_dataset("mountain_car").concept("at_flag").holds(positions)
    at_the_flag = jax.vmap(at_goal, (0, None))(positions, params)
    assert reached.tolist() == at_the_flag.tolist() == [False, False, True, True]


def test_the_way_to_the_flag_rises_and_the_left_slope_is_no_punishment():
    log_odds = captioned_dataset("mountain_car").concept("at_flag").log_odds
    right, left = log_odds(car(np.linspace(-0.52, 0.5, 103))), log_odds(car(np.linspace(-1.04, -0.53, 52)))
    assert float(jnp.min(jnp.diff(right))) > 0
    assert float(jnp.max(jnp.diff(left))) < 0
    assert float(jnp.max(left)) < float(right[-1]) - 3


@pytest.mark.parametrize(("name", "position"), [
    ("valley", -0.52), ("not_at_flag", -0.2), ("high", 0.5), ("low", -0.5), ("left_slope", -0.9),
    ("right_slope", 0.0), ("left_side", -1.0), ("right_side", 0.2), ("left_end", -1.15),
    ("just_before_flag", 0.35), ("middle_right", 0.0),
])  # fmt: skip
def test_mountain_car_concepts(name, position):
    concept = captioned_dataset("mountain_car").concept(name)
    assert bool(concept.holds(car(position)))
    positions = jnp.linspace(-1.2, 0.6, 50)
    assert not bool(jnp.all(concept.holds(car(positions))))


@pytest.mark.slow
@pytest.mark.parametrize("domain", [domain for domain in DATASETS if domain not in SHOWN])
def test_states_reach_far_beyond_a_policy_and_frames_differ(domain):
    dataset = captioned_dataset(domain)
    states = dataset.sample_states(jax.random.key(0), 2000)
    if domain == "cartpole":
        assert float(jnp.max(jnp.abs(states.x))) > 2.3
        turns = np.histogram(np.rad2deg(np.angle(np.exp(1j * np.asarray(states.theta)))), 12, (-180, 180))[0]
        assert turns.min() > 60
    elif domain == "humanoid":
        assert np.ptp(np.asarray(states.measures.torso_facing)) > 350  # degrees
        assert np.ptp(np.asarray(states.measures.torso_clearance)) > 1.2  # m
    elif domain == "gridworld":
        assert np.histogram2d(*np.asarray(states.position).T, bins=8)[0].min() > 5
    else:
        assert np.histogram(np.asarray(states.position), 9, (-1.2, 0.6))[0].min() > 80
    few = dataset.sample_states(jax.random.key(1), 2 * len(dataset.looks))
    frames = jax.jit(dataset.frames, static_argnums=2)(few, dataset.assets(), 32)
    assert frames.shape == (2 * len(dataset.looks), len(dataset.cameras), 32, 32, 3)
    assert frames.dtype == jnp.uint8
    assert len({frame.tobytes() for frame in np.asarray(frames)}) == len(frames)


def test_states_that_do_not_split_over_the_looks_are_refused():
    dataset = captioned_dataset("mountain_car")
    with pytest.raises(ConfigError, match="3 states cannot be split evenly over 2 looks"):
        dataset.frames(car([0.0, 0.1, 0.2]), (None, None), 32)


def test_truth_of_goals_is_asked_of_known_domains_only():
    with pytest.raises(ConfigError, match="no captions for domain 'nonsense'; choose one of"):
        goal_truth("nonsense", None)
    assert goal_truth("brax_ant", None) is None  # scenes of other libraries do not tell


def test_captions_without_a_goal_or_a_sweep_are_refused_before_training():
    dataset = captioned_dataset("cartpole")
    with pytest.raises(ConfigError, match="captions of 'cartpole' have 0 goals, 1 looks and 1 cameras"):
        validate_dataset(replace(dataset, goals=()))
    still = replace(dataset.goals[0], sweep=replace(dataset.goals[0].sweep, values=()))
    with pytest.raises(ConfigError, match="a sweep of 'cartpole' has no values or no contexts"):
        validate_dataset(replace(dataset, goals=(still,)))
    with pytest.raises(
        ConfigError, match=r"nothing declares captions for mjcf:/x/arm\.xml; a Python file of yours can"
    ):
        captioned_dataset("mjcf_/x/arm.xml")
