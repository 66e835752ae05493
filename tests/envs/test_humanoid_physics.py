"""MJX against MuJoCo with gymnasium's own XML: single steps, forward kinematics, observations."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from humanoid_states import gymnasium_env, gymnasium_model, random_states, step_all

from envs.humanoid.env import Humanoid, HumanoidState, observe
from envs.humanoid.kinematics import locate
from envs.humanoid.measures import measure
from envs.humanoid.model import load_model
from envs.humanoid.physics import Motion, put_model, simulate
from envs.humanoid.predicates import goal_log_odds
from jaxvlm.errors import ConfigError
from jaxvlm.rl import collect, env_keys, init_rollout, random_policy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def states():
    return random_states(gymnasium_model(), 500)


def mjx_steps(model, states):
    qpos, qvel, warm_start, ctrl = (jnp.asarray(x, jnp.float32) for x in states)

    @jax.jit
    def run(model, motions, ctrl):
        return jax.vmap(lambda motion, ctrl: simulate(model, motion, ctrl, 1)[0], (0, 0))(motions, ctrl)

    motion = run(model, Motion(qpos, qvel, warm_start), ctrl)
    return np.asarray(motion.qpos), np.asarray(motion.qvel)


def test_single_steps_are_mujocos(states):
    """500 states, three quarters of them in contact, solvers converged on both sides.

    MJX turns the friction pyramid of a capsule on the floor another way than MuJoCo where the capsule points
    upwards, so a state in fifty slides a little differently; all others agree to the digits of float32.
    """
    results = step_all(gymnasium_model(iterations=100, ls_iterations=50), states)
    touching = np.array([data.ncon > 0 for data in results])
    assert 0.6 < touching.mean() < 0.9
    qpos, qvel = mjx_steps(put_model("floor", iterations=20, ls_iterations=40), states)
    off_qpos = np.abs(qpos - [data.qpos for data in results]).max(1)
    off_qvel = np.abs(qvel - [data.qvel for data in results]).max(1)
    assert (off_qpos < 1e-4).mean() >= 0.98
    assert off_qpos.max() < 2e-3
    assert off_qpos[~touching].max() < 1e-5
    assert np.median(off_qpos) < 1e-6
    assert np.median(off_qvel) < 1e-4
    assert off_qvel[~touching].max() < 5e-3


def test_the_solvers_iterations_cost_little(states):
    """What three iterations leave undone, against the converged solution: the price of the default's speed."""
    results = step_all(gymnasium_model(iterations=100, ls_iterations=50), states)
    qpos, _ = mjx_steps(put_model(), states)
    off_qpos = np.abs(qpos - [data.qpos for data in results]).max(1)
    assert np.median(off_qpos) < 1e-6
    assert (off_qpos < 1e-4).mean() > 0.85
    assert np.quantile(off_qpos, 0.99) < 1e-2


def test_forward_kinematics_is_mujocos(states):
    qpos = states[0][:40]
    model = load_model()
    poses = jax.jit(jax.vmap(locate))(jnp.asarray(qpos, jnp.float32))
    for k, positions in enumerate(qpos):
        data = mujoco.MjData(model)
        data.qpos[:] = positions
        mujoco.mj_forward(model, data)
        np.testing.assert_allclose(poses.scene.geom_pos[k], data.geom_xpos, atol=2e-6)
        np.testing.assert_allclose(poses.com[k], data.subtree_com[1], atol=2e-6)
        np.testing.assert_allclose(poses.scene.camera_pos[k], data.cam_xpos, atol=2e-6)
        matrix = np.zeros(9)
        for geom in range(model.ngeom):
            mujoco.mju_quat2Mat(matrix, np.asarray(poses.scene.geom_quat[k, geom], np.float64))
            np.testing.assert_allclose(matrix, data.geom_xmat[geom], atol=5e-6)


@pytest.fixture(scope="module")
def stepped(states):
    """Five substeps in both simulators from 24 states of a fall, same solver settings, full observation."""
    chosen = [x[::21] for x in states]
    env = Humanoid(goal="standing", observation="full")
    params = env.default_params
    model = load_model()

    @jax.jit
    def run(params, qpos, qvel, warm_start, ctrl):
        def one(qpos, qvel, warm_start, ctrl):
            pose = locate(qpos)
            state = HumanoidState(Motion(qpos, qvel, warm_start), pose, pose.com)
            return env.step(jax.random.key(0), state, ctrl, params)

        return jax.vmap(one)(qpos, qvel, warm_start, ctrl)

    ours = run(params, *(jnp.asarray(x, jnp.float32) for x in chosen))
    theirs = step_all(model, chosen, steps=5)
    for data in theirs:
        mujoco.mj_rnePostConstraint(model, data)
    return chosen, ours, theirs


BLOCKS = {"qpos": 22, "qvel": 23, "cinert": 140, "cvel": 84, "qfrc_actuator": 23, "cfrc_ext": 84}


def test_each_block_of_the_observation_is_gymnasiums(stepped):
    _, (observation, *_), theirs = stepped
    expected = np.stack([observe(data, "full") for data in theirs])
    assert observation.shape == expected.shape == (24, 376)
    start = 0
    for name, width in BLOCKS.items():
        block, wanted = np.asarray(observation)[:, start : start + width], expected[:, start : start + width]
        start += width
        off = np.abs(block - wanted).max(1) / (1.0 + np.abs(wanted).max(1))
        # A friction pyramid that is turned another way costs a few states more than rounding.
        assert np.median(off) < 1e-4, name
        assert (off < 2e-2).mean() >= 0.8, name
    assert np.abs(expected[:, -84:]).max() > 10  # contact forces are live
    assert not expected[:, -84:-78].any()  # the world's row


def test_the_reward_is_gymnasiums(stepped, monkeypatch):
    """Gymnasium's own step, with our model in place of its."""
    (qpos, qvel, warm_start, ctrl), (_, state, reward, terminated, truncated, info), theirs = stepped
    assert not terminated.any()
    assert not truncated.any()
    assert not info["diverged"].any()
    env = gymnasium_env(monkeypatch)
    env.model = load_model()
    for k, data in enumerate(theirs):
        env.data = mujoco.MjData(env.model)
        env.data.qpos[:], env.data.qvel[:], env.data.qacc_warmstart[:] = qpos[k], qvel[k], warm_start[k]
        mujoco.mj_kinematics(env.model, env.data)  # where the centre of mass is before
        _, expected, *_, terms = env.step(ctrl[k])
        np.testing.assert_array_equal(env.data.qpos, data.qpos)
        assert float(reward[k]) == pytest.approx(expected, abs=0.02)
        velocity = float(reward[k]) - terms["reward_alive"] - terms["reward_quadctrl"]
        assert velocity == pytest.approx(terms["reward_linvel"], abs=0.02)
    assert state.com.shape == (24, 3)


def test_the_compact_observation_is_positions_and_tenths_of_velocities():
    env = Humanoid()
    pool = env.default_params.pool
    assert pool.observation.shape == (env.pool_size, 45)
    np.testing.assert_allclose(pool.observation[:, :22], pool.motion.qpos[:, 2:], rtol=1e-6)
    np.testing.assert_allclose(pool.observation[:, 22:], 0.1 * np.asarray(pool.motion.qvel), rtol=1e-5)
    observation, state = env.reset(jax.random.key(0), env.default_params)
    step, action = jax.jit(env.step), jnp.full(17, 0.2)
    observation, state, *_, info = step(jax.random.key(1), state, action, env.default_params)
    np.testing.assert_allclose(observation[22:], 0.1 * np.asarray(state.motion.qvel), rtol=1e-5)
    assert info["success"]  # without a goal: healthy
    broken = state.replace(motion=state.motion.replace(qvel=state.motion.qvel.at[7].set(1e30)))
    *_, info = step(jax.random.key(1), broken, action, env.default_params)
    assert info["diverged"]
    assert not info["success"]


def depth_of_forearms(contacts, qpos):
    """How far each of f32[n, 24] has a forearm or hand inside one of the other arm, m."""
    model = load_model("textured", contacts)
    data, depths = mujoco.MjData(model), []
    lower = [[model.geom(f"{side}_{part}").id for part in ("larm", "hand")] for side in ("right", "left")]
    for positions in np.asarray(qpos, np.float64):
        data.qpos[:] = positions
        mujoco.mj_kinematics(model, data)
        apart = [mujoco.mj_geomDistance(model, data, a, b, 1.0, None) for a in lower[0] for b in lower[1]]
        depths.append(max(0.0, -min(apart)))
    return np.asarray(depths)


def test_limbs_keep_forearms_apart_that_motors_push_together():
    """A third of a second of a body that folds its arms before its chest, by MJX; beside it MuJoCo's own steps."""
    ctrl = np.zeros(17, np.float32)
    ctrl[11:] = 0.4, 0.4, -0.4, -0.4, -0.4, -0.4  # shoulders and elbow, right then left
    start = load_model().qpos0
    native = {}
    for contacts in ("floor", "limbs"):
        data, path = mujoco.MjData(load_model("textured", contacts)), []
        data.ctrl[:] = ctrl
        for _ in range(110):
            mujoco.mj_step(load_model("textured", contacts), data)
            path.append(data.qpos.copy())
        native[contacts] = depth_of_forearms(contacts, path)

    @jax.jit
    def run(model, motion):
        def step(motion, _):
            motion = simulate(model, motion, jnp.asarray(ctrl), 1)[0]
            return motion, motion.qpos

        return jax.lax.scan(step, motion, None, 110)[1]

    motion = Motion(jnp.asarray(start, jnp.float32), jnp.zeros(23), jnp.zeros(23))
    limbs = depth_of_forearms("limbs", run(put_model("limbs"), motion))
    assert native["floor"].max() > 0.06  # a forearm's thickness: one is inside the other
    assert native["floor"][-50:].mean() > 0.04
    assert 0.0 < limbs.max() < 0.035  # the blow, at 3 m/s
    assert limbs[-30:].max() < 0.01  # pressed, they lie on each other
    np.testing.assert_allclose(limbs, native["limbs"], atol=0.005)


def test_graded_truth_as_reward():
    """The way from a state's pose to the number, by the same steps in the same program."""
    env = Humanoid(goal="standing", reward="graded")
    _, state = jax.jit(env.reset)(jax.random.key(0), env.default_params)
    _, new, reward, *_ = jax.jit(env.step)(jax.random.key(1), state, jnp.zeros(17), env.default_params)
    assert float(reward) == pytest.approx(float(goal_log_odds("standing", measure(new.pose.scene))), abs=1e-4)
    assert not np.isclose(float(reward), 0.0)


def test_physics_that_leaves_the_finite_numbers_is_marked_and_not_learned_from():
    env = Humanoid(goal="standing", reward="goal")
    params = env.default_params
    start = jax.jit(lambda key: init_rollout(env, params, env_keys(key, 3)))(jax.random.key(0))
    qvel = start.env_state.motion.qvel.at[1, 7].set(1e30)
    broken = start.replace(
        env_state=start.env_state.replace(motion=start.env_state.motion.replace(qvel=qvel))
    )

    @jax.jit
    def run(params, state):
        policy = random_policy(env.action_space(params))
        return collect(env, params, policy, state, jax.random.key(1), 3)

    state, rows = run(params, broken)
    np.testing.assert_array_equal(rows.diverged[:, 1], [True, False, False])
    np.testing.assert_array_equal(rows.valid[:, 1], [False, False, True])  # broken, reset, well again
    np.testing.assert_array_equal(rows.truncated[:, 1], [True, False, False])
    assert rows.valid[:, 0].all()
    assert rows.valid[:, 2].all()
    assert not rows.diverged[:, ::2].any()
    assert all(
        np.isfinite(leaf).all()
        for leaf in jax.tree.leaves((rows.reward, rows.scene, rows.observation[1:], state.observation))
    )


def test_resets_are_gymnasiums_noise_about_the_initial_state():
    env = Humanoid(observation="full")
    pool = env.default_params.pool
    assert pool.observation.shape == (env.pool_size, 376)
    noise = np.asarray(pool.motion.qpos) - load_model().qpos0
    assert np.abs(noise).max() <= 0.01
    assert np.abs(noise).mean() == pytest.approx(0.005, rel=0.1)
    assert np.abs(pool.motion.qvel).max() <= 0.01
    first = env.make_pool()
    np.testing.assert_array_equal(first.motion.qpos, pool.motion.qpos)
    assert (np.asarray(env.make_pool(seed=1).motion.qpos) != np.asarray(first.motion.qpos)).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"goal": "dancing"}, "unknown goal 'dancing'"),
        ({"observation": "pixels"}, "unknown observation 'pixels'"),
        ({"reward": "goal"}, "'goal' needs a goal"),
        ({"reward": "graded"}, "'graded' needs a goal"),
        ({"reward": "money"}, "unknown humanoid reward 'money'"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(ConfigError, match=message):
        Humanoid(**changes)


def test_a_solver_without_iterations_is_refused():
    with pytest.raises(ConfigError, match="0 iterations"):
        put_model(iterations=0)
