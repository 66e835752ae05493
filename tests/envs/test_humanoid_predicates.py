"""Success of the humanoid's poses: poses by hand, and every measure against MuJoCo or numbers worked out by hand."""

from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from envs.humanoid.examples import EXAMPLES, JOINTS, Example, example_qpos
from envs.humanoid.kinematics import pose_scene
from envs.humanoid.measures import ARM_PAIRS, GEOMS, INDEX, LEG_PAIRS, measure, segment_distance
from envs.humanoid.model import load_model
from envs.humanoid.predicates import CONDITIONS, GOALS, condition_margins, goal_log_odds, holds, margin
from jaxvlm.errors import ConfigError


@jax.jit
def _judge(qpos):
    m = measure(pose_scene(qpos))
    return m, {goal: condition_margins(goal, m) for goal in GOALS}


def judge(qpos):
    """Measures and, by goal, margins of the conditions; batches are filled up to share one compiled program."""
    rows = 64 * -(-len(qpos) // 64)
    padded = np.concatenate([qpos, np.tile(qpos[:1], (rows - len(qpos), 1))]).astype(np.float32)
    found = [_judge(padded[k : k + 64]) for k in range(0, rows, 64)]
    return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(qpos)], *found)


def measures_of(qpos):
    return judge(qpos)[0]


def margins_of(qpos):
    """The least margin by goal."""
    return {goal: margins.min(-1) for goal, margins in judge(qpos)[1].items()}


@pytest.fixture(scope="module")
def random_qpos():
    generator = np.random.default_rng(0)
    low, high = load_model().jnt_range[1:].T
    joints = generator.uniform(low, high, (40, 17))
    root = np.hstack(
        [generator.normal(0.0, 0.5, (40, 3)) + np.asarray([0.0, 0.0, 1.0]), generator.normal(size=(40, 4))]
    )
    return np.hstack([root, joints]).astype(np.float32)


@pytest.fixture(scope="module")
def random_data(random_qpos):
    """MuJoCo's own kinematics of the random poses."""
    model, states = load_model(), []
    for qpos in random_qpos:
        data = mujoco.MjData(model)
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        states.append(data)
    return states


@pytest.mark.slow
@pytest.mark.parametrize("goal", GOALS)
def test_poses_by_hand(goal):
    positives, near_misses = EXAMPLES[goal]
    assert len(positives) >= 2
    assert len(near_misses) >= 4
    examples = (*positives, *near_misses)
    found = margins_of(example_qpos(*examples))[goal] > 0
    wrong = [e.title for k, e in enumerate(examples) if found[k] != (k < len(positives))]
    assert not wrong


@pytest.mark.slow
def test_mirrored_poses_are_judged_alike():
    swap = {"right": "left", "left": "right"}
    for goal, (positives, near_misses) in EXAMPLES.items():
        examples = [e for e in (*positives, *near_misses) if len(e.arms) == 3]
        mirrored = []
        for example in examples:
            joints = {}
            for name, angle in example.joints.items():
                side, _, rest = name.partition("_")
                joints[f"{swap[side]}_{rest}" if side in swap else name] = angle
            mirrored.append(
                Example("", joints, example.arms, (example.tilt[0], -example.tilt[1]), example.height)
            )
        ours, theirs = (margins_of(example_qpos(*es))[goal] for es in (examples, mirrored))
        np.testing.assert_allclose(ours, theirs, atol=5e-3)


@pytest.mark.slow
def test_goals_that_exclude_each_other():
    everything = [e for positives, near in EXAMPLES.values() for e in (*positives, *near)]
    true = {goal: found > 0 for goal, found in margins_of(example_qpos(*everything)).items()}
    for group in (
        ("kneeling", "lotus", "standing", "splits", "one-leg"),
        ("arms-raised", "hands-on-hips", "arms-crossed"),
    ):
        assert np.stack([true[goal] for goal in group]).sum(0).max() == 1


def test_constants_are_those_of_the_model():
    model = load_model()
    assert [model.geom(k).name for k in range(model.ngeom)] == list(GEOMS)
    masses = np.zeros(model.nbody)
    for k, (radius, half_length, mass) in enumerate(GEOMS.values()):
        masses[model.geom_bodyid[k]] += mass
        if k == 0:
            continue
        assert model.geom_size[k, 0] == pytest.approx(radius)
        capsule = model.geom_type[k] == mujoco.mjtGeom.mjGEOM_CAPSULE
        assert (model.geom_size[k, 1] if capsule else 0.0) == pytest.approx(half_length)
    np.testing.assert_allclose(masses, model.body_mass, rtol=1e-5)
    assert [model.joint(k).name for k in range(1, model.njnt)] == list(JOINTS)


def test_kinematics_are_mujocos(random_qpos, random_data):
    scene = jax.tree.map(np.asarray, jax.jit(pose_scene)(random_qpos))
    for k, data in enumerate(random_data):
        np.testing.assert_allclose(scene.geom_pos[k], data.geom_xpos, atol=1e-5)
        for geom in range(18):
            matrix = np.zeros(9)
            mujoco.mju_quat2Mat(matrix, scene.geom_quat[k, geom].astype(np.float64))
            np.testing.assert_allclose(matrix, data.geom_xmat[geom], atol=1e-5)
    one = jax.jit(pose_scene)(random_qpos[3])
    np.testing.assert_allclose(one.geom_pos, scene.geom_pos[3], atol=1e-6)


def test_clearances_and_penetration_are_mujocos_distances(random_qpos, random_data):
    model, m = load_model(), measures_of(random_qpos)

    def gap(data, a, b):
        return mujoco.mj_geomDistance(model, data, a, b, 10.0, None)

    for k, data in enumerate(random_data[:12]):
        floor = [gap(data, 0, geom) for geom in range(1, 18)]
        assert m.lowest[k] == pytest.approx(min(floor), abs=1e-4)
        assert m.pelvis_clearance[k] == pytest.approx(floor[INDEX["butt"] - 1], abs=1e-4)
        assert m.foot_clearance[k] == pytest.approx(
            [floor[INDEX[f"{s}_foot"] - 1] for s in ("right", "left")], abs=1e-4
        )
        # Overlapping capsules: MuJoCo's depth is that of their axes too, except where those cross.
        arms, legs = (
            np.asarray([gap(data, *pair) for pair in pairs.tolist()]) for pairs in (ARM_PAIRS, LEG_PAIRS)
        )
        assert m.arm_penetration[k] == pytest.approx(-arms.min(), abs=2e-4)
        assert m.leg_penetration[k] == pytest.approx(-legs.min(), abs=2e-4)
        hips = [
            [gap(data, INDEX[f"{s}_hand"], INDEX[g]) for g in ("butt", "lwaist")] for s in ("right", "left")
        ]
        assert m.hand_to_hip[k] == pytest.approx(np.min(hips, axis=1), abs=1e-4)
        across = [
            gap(data, INDEX["right_hand"], INDEX["left_larm"]),
            gap(data, INDEX["left_hand"], INDEX["right_larm"]),
        ]
        assert m.hand_to_other_forearm[k] == pytest.approx(across, abs=1e-4)


def test_angles_and_frames_against_numpy(random_qpos, random_data):
    model, m = load_model(), measures_of(random_qpos)

    def angle(a, b):
        return np.rad2deg(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b)))

    for k, data in enumerate(random_data):
        torso = data.body("torso").xmat.reshape(3, 3)
        assert m.torso_tilt[k] == pytest.approx(angle(torso[:, 2], np.array([0, 0, 1.0])), abs=0.05)
        for side, name in enumerate(("right", "left")):
            hip, knee = data.body(f"{name}_thigh").xpos, data.body(f"{name}_shin").xpos
            shin = -data.body(f"{name}_shin").xmat.reshape(3, 3)[:, 2]
            thigh = data.geom(f"{name}_thigh1").xpos - hip
            assert m.knee_flexion[k, side] == pytest.approx(angle(thigh, shin), abs=0.05)
            assert m.hip_over_knee[k, side] == pytest.approx(hip[2] - knee[2], abs=1e-4)
            hand = torso.T @ (data.geom(f"{name}_hand").xpos - data.geom("torso1").xpos)
            assert m.hand_forward[k, side] == pytest.approx(hand[0], abs=1e-4)
            assert m.hand_out[k, side] == pytest.approx(hand[1] * (-1, 1)[side], abs=1e-4)
            assert m.hand_up[k, side] == pytest.approx(hand[2], abs=1e-4)
        lower = min(("right_foot", "left_foot"), key=lambda name: data.geom(name).xpos[2])
        if abs(np.diff(m.foot_clearance[k])[0]) > 0.06:
            line = data.subtree_com[1] - (data.geom(lower).xpos - [0, 0, 0.075])
            assert m.lean[k] == pytest.approx(angle(line, np.array([0, 0, 1.0])), abs=0.05)
    assert model.njnt == 18


def test_standing_by_hand():
    m = measures_of(example_qpos(Example("straight", {"knee": 0.0})))
    # The published pose: torso at 1.4, pelvis' middle at 0.975, feet at 0.182 with radius 0.075.
    assert m.pelvis_clearance[0] == pytest.approx(0.975 - 0.09 - 0.107, abs=0.002)
    assert m.head_clearance[0] == pytest.approx(1.59 - 0.09 - 0.107, abs=0.002)
    # The limit of the knee is 2 degrees; thighs slant by atan(0.01 / 0.34) = 1.7 degrees.
    assert m.knee_flexion[0] == pytest.approx([2.6, 2.6], abs=0.1)
    assert m.thigh_spread[0] == pytest.approx(2 * 1.685, abs=0.01)


def test_segments_by_hand():
    x, z = jnp.asarray([1.0, 0.0, 0.0]), jnp.asarray([0.0, 0.0, 1.0])
    zero = jnp.zeros(3)
    assert float(segment_distance(zero, x, 2.0 * z, jnp.asarray([0.0, 1.0, 0.0]))) == pytest.approx(
        2.0
    )  # crossing
    assert float(segment_distance(zero, x, z, x)) == pytest.approx(1.0)  # parallel
    assert float(segment_distance(zero, x, 4.0 * x, x)) == pytest.approx(2.0)  # in line
    assert float(segment_distance(zero, x, 3.0 * x + z, zero)) == pytest.approx(
        np.sqrt(5.0)
    )  # a point past the end
    assert float(segment_distance(zero, zero, z, zero)) == pytest.approx(1.0)  # two points


@pytest.mark.slow
def test_batches_of_any_shape(random_qpos):
    def margins(position, quat):
        scene = SimpleNamespace(geom_pos=position, geom_quat=quat)
        return margin("arms-crossed", scene), holds("arms-crossed", scene)

    scene = jax.jit(pose_scene)(random_qpos)
    position, quat = scene.geom_pos, scene.geom_quat
    found, true = jax.jit(margins)(position, quat)
    assert found.shape == true.shape == (40,)
    np.testing.assert_array_equal(true, found > 0)
    np.testing.assert_allclose(found, margins_of(random_qpos)["arms-crossed"], atol=1e-3)
    np.testing.assert_allclose(margins(position[:2], quat[:2])[0], found[:2], atol=1e-3)  # without jit
    folded, _ = jax.jit(margins)(position.reshape(4, 10, 18, 3), quat.reshape(4, 10, 18, 4))
    np.testing.assert_allclose(folded.reshape(40), found, atol=1e-3)
    np.testing.assert_allclose(jax.jit(jax.vmap(margins))(position, quat)[0], found, atol=1e-3)
    np.testing.assert_allclose(jax.jit(margins)(position[7], quat[7])[0], found[7], atol=1e-3)


def test_turning_and_moving_on_the_floor_change_nothing(random_qpos):
    turned = random_qpos.copy()
    turned[:, :2] += 3.0
    c, s = np.cos(0.7), np.sin(0.7)
    w, x, y, z = random_qpos[:, 3:7].T
    turned[:, 3:7] = np.stack([c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w], axis=1)
    before, after = margins_of(random_qpos), margins_of(turned)
    for goal in GOALS:
        np.testing.assert_allclose(before[goal], after[goal], atol=5e-3)


def test_margins_are_continuous_and_reach_far():
    steps = np.linspace(0.0, 1.0, 401)[:, None].astype(np.float32)
    ways = [(Example("", {}), EXAMPLES[goal][0][0]) for goal in GOALS]
    for goal, (start, end) in zip(GOALS, ways, strict=True):
        a, b = example_qpos(start, end)
        margins = margins_of(a + steps * (b - a))[goal]
        assert np.abs(np.diff(margins)).max() < 0.25


@pytest.mark.slow
def test_graded_truth_climbs_before_a_threshold_is_met():
    """From standing with arms down to raised arms, and from leaning within the threshold to standing straight."""
    lean = [Example("", {}, tilt=(angle, 0.0)) for angle in (0.0, 8.0, 14.0, 22.0, 45.0)]
    arms = [
        Example("", {}, (35.0 - 96.0 * k, -48.0 + 65.0 * k, -60.0 - 12.0 * k))
        for k in (0, 0.25, 0.5, 0.75, 1)
    ]
    m = measures_of(example_qpos(*lean, *arms))
    graded = np.asarray(goal_log_odds("arms-raised", m))
    assert (np.diff(graded[:5]) < -0.05).all()
    assert (np.diff(graded[5:]) > 0.1).all()
    assert graded[-1] > 0 > graded[-2]
    assert np.asarray(goal_log_odds("standing", m))[0] > 1.0


def test_forearms_alone_are_no_raised_arms():
    (near_miss,) = (x for x in EXAMPLES["arms-raised"][1] if x.title == "hands up, elbows down")
    margins = judge(example_qpos(near_miss))[1]["arms-raised"][0]
    failed = [c.measure for c, m in zip(CONDITIONS["arms-raised"], margins, strict=True) if m < 0]
    assert failed == ["elbow_up"]


def test_every_condition_can_fail_and_says_why():
    generator = np.random.default_rng(1)
    low, high = load_model().jnt_range[1:].T
    joints = generator.uniform(low, high, (3000, 17))
    root = np.hstack(
        [
            generator.normal(0, 0.2, (3000, 2)),
            generator.uniform(0.1, 1.6, (3000, 1)),
            generator.normal(size=(3000, 4)),
        ]
    )
    for goal, margins in judge(np.hstack([root, joints]))[1].items():
        assert (margins > 0).any(0).all()
        assert (margins < 0).any(0).all()
        for condition in CONDITIONS[goal]:
            assert condition.reason
            assert condition.tolerance > 0
            assert (condition.unit == "degrees") == (
                max(abs(condition.low or 0), abs(condition.high or 0)) > 2
            )


@pytest.mark.slow
def test_an_unknown_goal_is_named():
    with pytest.raises(ConfigError, match="unknown goal 'headstand': choose one of kneeling, lotus"):
        margin("headstand", pose_scene(jnp.zeros(24).at[3].set(1.0)))


def test_the_table_in_the_docs_is_what_the_code_says():
    text = (Path(__file__).resolve().parents[2] / "docs/humanoid.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and line.count("|") == 5]
    for goal, conditions in CONDITIONS.items():
        assert any(line.startswith(f"| **{goal}**") for line in rows), goal
        for c in conditions:
            bounds = " and ".join(
                f"{word} {value:g}"
                for word, value in (("above", c.low), ("below", c.high))
                if value is not None
            )
            assert f"| `{c.measure}` | {bounds} {c.unit} | {c.tolerance:g} | {c.reason} |" in rows, (goal, c)
