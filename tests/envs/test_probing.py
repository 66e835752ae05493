"""Search spaces: every domain's vectors become states, and what states miss is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envs.captions import captioned_dataset
from envs.humanoid.examples import EXAMPLES, example_qpos
from envs.humanoid.kinematics import pose_scene
from envs.humanoid.measures import measure
from envs.humanoid.predicates import GOALS, condition_margins, holds
from envs.probing import SPACES, Shortfall, search_space
from envs.probing.humanoid import canonical, hold_poses, pose_of, vector_of
from jaxvlm.errors import ConfigError


@pytest.fixture(scope="module")
def spaces():
    return {domain: search_space(domain) for domain in SPACES}


@pytest.mark.slow
@pytest.mark.parametrize("domain", list(SPACES))
def test_starts_are_within_bounds_and_become_states_that_captions_know(spaces, domain):
    space = spaces[domain]
    key_start, key_context = jax.random.split(jax.random.key(0))
    vectors = space.starts(key_start, 6)
    assert vectors.shape == (6, len(space.names)) == (6, space.scale.size)
    assert (np.asarray(vectors) >= space.low).all()
    assert (np.asarray(vectors) <= space.high).all()
    contexts = space.contexts(key_context, 6)
    states_of = jax.jit(space.states)
    states = states_of(vectors, contexts)
    dataset = captioned_dataset(domain)
    goal = jax.jit(dataset.concept(dataset.goal).log_odds)(states)
    assert goal.shape == (6,)
    assert np.isfinite(goal).all()
    # The canonical vector is the same state, and its own canonical vector.
    canonical = jax.jit(space.canonical)
    same = canonical(vectors)
    np.testing.assert_allclose(canonical(same), same, atol=1e-6)
    scenes = jax.jit(jax.vmap(dataset.environment.scene, (0, None)))
    before, after = (scenes(states_of(v, contexts), dataset.params) for v in (vectors, same))
    for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_allclose(b, a, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("domain", list(SPACES))
def test_shortfalls_are_named_exactly_where_a_goal_is_missed(spaces, domain):
    """Of the goals whose conditions are known; by random states, some of which meet them."""
    space, dataset = spaces[domain], captioned_dataset(domain)
    states = dataset.sample_states(jax.random.key(3), 64)
    for goal in dataset.goals:
        truth = np.asarray(dataset.concept(goal.concept).holds(states))
        missed = space.shortfalls(goal.concept, states)
        assert [not rows for rows in missed] == truth.tolist()
        for row in missed:
            for shortfall in row:
                below = shortfall.low is not None and shortfall.value <= shortfall.low
                above = shortfall.high is not None and shortfall.value >= shortfall.high
                assert below or above, shortfall
    assert space.shortfalls("scene", states) == [[] for _ in range(64)]


def test_a_shortfall_in_short():
    assert Shortfall("torso_tilt", 43.21, high=30.0, unit="degrees").short == "torso_tilt 43.2 > 30"
    assert Shortfall("hand_forward", 0.01, low=0.05, high=0.48, unit="m").short == "hand_forward 0.01 < 0.05"


@pytest.mark.slow
def test_an_agents_room_stays_as_it_is(spaces):
    space = spaces["gridworld"]
    rooms = space.contexts(jax.random.key(0), 3)
    states = space.states(jnp.asarray([[0.5, 7.9, -1.0], [8.0, 3.0, 5.5], [2.2, 2.8, 0.0]]), rooms)
    np.testing.assert_array_equal(states.cells, rooms.cells)
    np.testing.assert_array_equal(states.position, [[0, 7], [7, 3], [2, 2]])
    np.testing.assert_array_equal(states.direction, [3, 1, 0])


def examples() -> jax.Array:
    """A textbook pose of every goal that has one, as vectors."""
    return vector_of(jnp.asarray(example_qpos(*[EXAMPLES[goal][0][0] for goal in GOALS])))


@jax.jit
def textbook(vectors):
    scenes = pose_scene(pose_of(vectors))
    measures = measure(scenes)
    truth = jnp.stack([jnp.min(condition_margins(goal, measures), axis=-1) > 0 for goal in GOALS])
    return scenes, measures, truth


@pytest.mark.slow
def test_textbook_poses_survive_the_way_through_vectors():
    _, measures, truth = textbook(examples())
    for k, goal in enumerate(GOALS):
        assert bool(truth[k, k]), goal
    np.testing.assert_allclose(measures.lowest, 0.0, atol=1e-5)  # on the floor


def test_quaternions_of_any_length_and_sign_are_one_pose():
    vectors = examples()[:2]
    other = jnp.concatenate([-0.4 * vectors[:, :4], vectors[:, 4:]], axis=1)
    np.testing.assert_allclose(canonical(other), canonical(vectors), atol=1e-6)
    none = jnp.concatenate([jnp.zeros((2, 4)), vectors[:, 4:]], axis=1)
    np.testing.assert_array_equal(canonical(none)[:, :4], [[1.0, 0.0, 0.0, 0.0]] * 2)


@pytest.mark.slow
def test_half_a_second_of_physics_tells_what_falls_from_what_stays():
    """Kneeling rests on the floor; a body on its toes that leans by 40 degrees does not."""
    kneeling = examples()[GOALS.index("kneeling")]
    standing = examples()[GOALS.index("standing")]
    leaning = standing.at[:4].set(jnp.asarray([np.cos(0.35), 0.0, np.sin(0.35), 0.0]))
    ends = hold_poses(jnp.stack([kneeling, leaning]))
    assert bool(holds("kneeling", ends.scene)[0])
    tilt = np.asarray(ends.measures.torso_tilt)
    assert tilt[0] < 25.0 < 50.0 < tilt[1]


def test_a_domain_without_parameters_is_refused():
    with pytest.raises(ConfigError, match=r"states of 'brax_reacher' cannot be searched.*cartpole"):
        search_space("brax_reacher")
