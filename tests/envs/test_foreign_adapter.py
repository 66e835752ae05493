"""brax's environments under our contract, against brax's own stepping; goals, views, names and errors."""

import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from flax import struct

from envs.adapters import foreign, sources
from envs.adapters.foreign import Foreign
from envs.adapters.foreign_task import foreign_lines, is_foreign, make_foreign_task
from envs.adapters.goals import SHOWN, pitch, tip_to_ball
from envs.adapters.sources import load_source, quietly
from envs.adapters.views import bounding_sphere
from envs.api import Environment
from envs.captions.brax_halfcheetah import brax_halfcheetah_captions, ground_clearance
from envs.captions.brax_reacher import brax_reacher_captions
from jaxvlm.clip.captions import select, validate_dataset
from jaxvlm.errors import ConfigError
from jaxvlm.render import render_buffers

CAPTIONS = {"brax_reacher": brax_reacher_captions, "brax_halfcheetah": brax_halfcheetah_captions}
SMALL = Foreign("brax", "inverted_pendulum", pool_size=2)


def both_ways(env: Foreign, steps: int):
    """Observations, rewards and ends by brax and by us, from the same state under the same actions."""
    source, params = env.source, env.default_params
    key = jax.random.split(jax.random.PRNGKey(0), env.pool_size)[1]  # of the pool's second state
    size = env.action_space(params).shape
    actions = jax.random.uniform(jax.random.key(5), (steps, *size), minval=-1.0, maxval=1.0)

    def theirs(key):
        def step(state, action):
            state = source.env.step(state, action)
            state = state.replace(metrics=jax.tree.map(jnp.float32, state.metrics))
            return state, (state.obs, state.reward, state.done > 0)

        return jax.lax.scan(step, source.env.reset(key), actions)[1]

    def ours(params):
        def step(state, action):
            observation, state, reward, terminated, truncated, info = env.step(key, state, action, params)
            return state, (observation, reward, terminated, truncated | info["diverged"])

        state = jax.tree.map(lambda leaf: leaf[1], params.pool)[1]
        return jax.lax.scan(step, state, actions)[1]

    with quietly(), jax.default_matmul_precision("highest"):
        return jax.jit(theirs)(key), jax.jit(ours)(params)


@pytest.mark.slow
def test_a_small_environment_of_brax_steps_as_in_brax():
    assert isinstance(SMALL, Environment)
    assert hash(SMALL) == hash(replace(SMALL))
    theirs, ours = both_ways(SMALL, 40)
    for a, b in zip(theirs, ours, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert ours[2].any()  # it falls
    assert not ours[3].any()
    # Far less is carried than a state of theirs holds.
    state = SMALL.default_params.pool[1]
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / SMALL.pool_size
    whole = jax.eval_shape(SMALL.source.reset, jax.random.PRNGKey(0))
    assert size < 0.5 * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(whole))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ant", "halfcheetah", "reacher"])
def test_larger_environments_of_brax_step_as_in_brax(name):
    theirs, ours = both_ways(Foreign("brax", name, pool_size=2), 10)
    for a, b in zip(theirs, ours, strict=False):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_ends_are_theirs_or_none_and_broken_physics_keeps_the_state():
    params = SMALL.default_params
    _, state = jax.tree.map(lambda leaf: leaf[0], params.pool)
    endless = replace(SMALL, early_termination=False)

    @jax.jit
    def step(state, action):
        key = jax.random.key(0)
        return SMALL.step(key, state, action, params), endless.step(key, state, action, params)[3]

    fallen = state
    for _ in range(30):
        (_, fallen, _, terminated, truncated, info), ended = step(fallen, jnp.ones(1))
    assert (bool(terminated), bool(truncated), bool(info["success"])) == (True, False, False)
    assert not bool(ended)
    (observation, after, reward, terminated, truncated, info), _ = step(state, jnp.full(1, jnp.nan))
    assert (bool(terminated), bool(truncated), bool(info["diverged"])) == (False, True, True)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((observation, after, reward)))
    jax.tree.map(np.testing.assert_array_equal, after, state)


def test_measures_by_hand():
    # Straight along x the fingertip is 21 cm out; folded by 180 degrees 1 cm behind the shoulder.
    reacher = jnp.array([[0.0, 0.0, 0.21, 0.0], [0.0, np.pi, 0.0, 0.0], [np.pi / 2, -np.pi / 2, 0.11, 0.08]])
    np.testing.assert_allclose(tip_to_ball(reacher), [0.0, 0.01, 0.02], atol=1e-6)
    cheetah = jnp.zeros((4, 9)).at[:, 2].set(jnp.array([0.0, -np.pi / 2, np.pi / 3, 3.0 * np.pi]))
    np.testing.assert_allclose(jnp.abs(pitch(cheetah)), [0.0, 90.0, 60.0, 180.0], atol=1e-3)
    assert float(pitch(cheetah)[1]) > 0 > float(pitch(cheetah)[2])
    goals = SHOWN["brax_halfcheetah"].goals
    assert goals["on-back"].holds(cheetah).tolist() == [False, False, False, True]
    assert goals["nose-down"].holds(cheetah).tolist() == [False, False, True, False]


@pytest.mark.slow
@pytest.mark.parametrize("domain", CAPTIONS)
def test_captions_of_the_shown_environments(domain):
    dataset = CAPTIONS[domain]()
    validate_dataset(dataset, least_wordings=20)
    states = jax.jit(dataset.sample_states, static_argnums=1)(jax.random.key(0), 400)
    truth = np.asarray(jax.jit(dataset.log_odds)(states)) > 0
    for concept, column in zip(dataset.concepts, truth.T, strict=True):
        assert concept.name == "scene" or 0.02 < column.mean() < 0.98, concept.name
    sweep = dataset.sweep
    line = jax.jit(lambda values: sweep.states(values, sweep.contexts[0]))(jnp.asarray(sweep.values))
    for goal in SHOWN[domain].goals.values():
        concept = dataset.concept(goal.concept)
        np.testing.assert_array_equal(goal.holds(states.qpos), concept.holds(states))
        assert concept.wordings[0] == goal.prompt
        assert dataset.aimed_at(goal.concept).opposite in {c.name for c in dataset.concepts}
        assert 0 < concept.holds(line).mean() < 0.5
    # The robot is in view in all frames: pixels of geoms other than the floor.
    env = dataset.environment
    camera, assets = env.cameras["default"], env.assets(dataset.looks[0])
    few = jax.jit(jax.vmap(env.scene, in_axes=(0, None)))(select(states, slice(0, 12)), dataset.params)
    geoms = jax.jit(lambda s, a, c: jax.lax.map(lambda x: render_buffers(x, a, c, 48)[2], s))
    seen = np.asarray(geoms(few, assets, camera))
    floor = env.source.model.geom("ground" if domain == "brax_reacher" else "floor").id
    robot = (seen >= 0) & (seen != floor)
    assert (robot.mean(axis=(1, 2)) > 0.01).all()
    # Nothing of it is cut off by the left, the right or the upper edge.
    assert not robot[:, 0].any()
    assert not robot[:, :, [0, -1]].any()


@pytest.mark.slow
def test_cheetahs_on_the_floor_touch_it_as_mujoco_has_it():
    dataset = brax_halfcheetah_captions()
    states = jax.jit(dataset.sample_states, static_argnums=1)(jax.random.key(2), 8)
    lowest = np.asarray(jax.jit(ground_clearance)(states))
    model = dataset.environment.source.model
    data = mujoco.MjData(model)
    for qpos, expected in zip(np.asarray(states.qpos), lowest, strict=True):
        data.qpos[:] = qpos
        mujoco.mj_kinematics(model, data)
        axis = data.geom_xmat.reshape(-1, 3, 3)[1:, 2, 2]
        bottom = data.geom_xpos[1:, 2] - np.abs(axis) * model.geom_size[1:, 1] - model.geom_size[1:, 0]
        np.testing.assert_allclose(bottom.min(), expected, atol=1e-4)


def test_tasks_and_their_names():
    task = make_foreign_task("brax:halfcheetah-on-back")
    assert (task.domain, task.look, task.concept) == ("brax_halfcheetah", "clear", "on_back")
    assert task.env.env == Foreign("brax", "halfcheetah", "on-back", early_termination=False)
    assert make_foreign_task("brax:inverted_pendulum").goal_prompts == ()
    assert task.variants["theirs"].env.early_termination
    assert is_foreign("brax:ant")
    assert not is_foreign("humanoid-kneeling")
    assert [line.split()[0] for line in foreign_lines()] == [
        "brax:reacher-touching",
        "brax:halfcheetah-on-back",
        "brax:halfcheetah-nose-down",
        "brax:ENVIRONMENT",
        "playground:ENVIRONMENT",
        "mjcf:FILE.xml",
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("brax:ants", "brax has no environment 'ants'; it has ant, halfcheetah, hopper"),
        ("brax:swimmer", "swimmer does not run on MJX"),
        (
            "brax:reacher-waving",
            "has no goal 'waving'; known tasks are brax:reacher-touching, or name brax:reacher",
        ),
        ("isaac:ant", "unknown library 'isaac'; choose one of brax, playground"),
    ],
)
def test_unknown_names_are_answered_with_known_ones(name, message):
    with pytest.raises(ConfigError, match=message):
        make_foreign_task(name)


@pytest.mark.parametrize(
    ("module", "task"), [("brax", "brax:ant"), ("mujoco_playground", "playground:PointMass")]
)
def test_a_missing_library_says_how_to_install_it(monkeypatch, module, task):
    monkeypatch.setitem(sys.modules, module, None)
    load_source.cache_clear()
    with pytest.raises(ConfigError, match=r"cannot be imported .*run pip install"):
        make_foreign_task(task)


def test_other_set_ups_are_refused():
    with pytest.raises(ConfigError, match="unknown goal 'fly' of brax_ant; it has none"):
        Foreign("brax", "ant", goal="fly")
    with pytest.raises(ConfigError, match="pool_size is 0"):
        Foreign("brax", "ant", pool_size=0)
    with pytest.raises(ConfigError, match="brax_inverted_pendulum has no look 'clear': choose one of model"):
        SMALL.assets("clear")


PENDULUM = """
<mujoco>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 1"/>
    <body pos="0 0 1">
      <joint name="hinge" axis="0 1 0"/>
      <geom name="rod" type="{kind}" {size} contype="0" conaffinity="0" mass="1"/>
    </body>
  </worldbody>
  <actuator><motor joint="hinge" gear="0.5"/></actuator>
  <asset>
    <mesh name="wedge" vertex="0 0 0  .1 0 0  0 .1 0  0 0 -.5"/>
  </asset>
</mujoco>
"""
RODS = {"capsule": 'fromto="0 0 0 0 0 -0.5" size="0.05"', "mesh": 'mesh="wedge"'}


@struct.dataclass
class StandInState:
    """The fields of Playground's State."""

    data: Any
    obs: Any
    reward: Any
    done: Any
    metrics: dict
    info: dict


class StandIn:
    """What Playground's MjxEnv promises, with a dict of observations, a clock in `info` and a mocap-free model."""

    action_size = 1

    def __init__(self, kind: str) -> None:
        from mujoco import mjx

        self.mjx = mjx
        self.mj_model = mujoco.MjModel.from_xml_string(PENDULUM.format(kind=kind, size=RODS[kind]))
        self.mjx_model = mjx.put_model(self.mj_model)

    def reset(self, rng):
        data = self.mjx.make_data(self.mjx_model)
        data = self.mjx.forward(self.mjx_model, data.replace(qpos=jax.random.uniform(rng, (1,))))
        zero = jnp.zeros(())
        return StandInState(data, self._look(data), zero, zero, {}, {"steps": jnp.int32(0), "rng": rng})

    def step(self, state, action):
        data = self.mjx.step(self.mjx_model, state.data.replace(ctrl=action))
        steps = state.info["steps"] + 1
        done = (steps >= 3).astype(jnp.float32)
        info = {**state.info, "steps": steps}
        return StandInState(data, self._look(data), -jnp.abs(data.qpos[0]), done, {}, info)

    def _look(self, data):
        return {"state": jnp.concatenate([data.qpos, data.qvel]), "privileged_state": data.qacc}


def stand_in(monkeypatch, kind: str) -> Foreign:
    registry = SimpleNamespace(
        ALL_ENVS=(kind,),
        get_default_config=lambda name: {"impl": "warp"},
        load=lambda name, config_overrides: StandIn(name) if config_overrides == {"impl": "jax"} else None,
    )
    suite = SimpleNamespace(ALL_ENVS=(kind,))
    monkeypatch.setattr(
        sources, "_playground", lambda: SimpleNamespace(registry=registry, dm_control_suite=suite)
    )
    return Foreign("playground", kind, pool_size=2)


@pytest.mark.slow
def test_playgrounds_interface_by_a_stand_in(monkeypatch):
    env = stand_in(monkeypatch, "capsule")
    load_source.cache_clear()
    params, source = env.default_params, env.source
    assert source.model.geom("rod").type[0] == mujoco.mjtGeom.mjGEOM_CAPSULE
    theirs, ours = both_ways(env, 4)
    np.testing.assert_allclose(theirs[0]["state"], ours[0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(theirs[1], ours[1], rtol=1e-5, atol=1e-5)
    assert theirs[2].tolist() == ours[2].tolist() == [False, False, True, True]
    # Its clock decides when it ends, so it is carried; its key decides nothing.
    kept = [leaf.dtype for leaf in jax.tree.leaves(params.pool[1].carried)]
    assert jnp.int32 in kept
    assert jnp.uint32 not in kept
    # The fitted camera holds the rod and a little more.
    centre, radius = bounding_sphere(source.model, source.rest)
    np.testing.assert_allclose(centre, [0.0, 0.0, 0.75], atol=1e-6)
    np.testing.assert_allclose(radius, 0.3, atol=1e-6)
    assert set(env.cameras) == {"free", "default"}


@struct.dataclass
class Positions:
    """What is read of mjx.Data."""

    qpos: Any
    mocap_pos: Any
    mocap_quat: Any


class Marked:
    """Moves by its action past a mocap body that is only drawn."""

    action_size = 1

    def reset(self, rng):
        place, zero = jax.random.uniform(rng, (1,)), jnp.zeros(())
        data = Positions(place, jnp.full((1, 3), 2.0), jnp.full((1, 4), 0.5))
        return StandInState(data, place, zero, zero, {}, {})

    def step(self, state, action):
        moved = state.data.qpos + action
        return state.replace(data=state.data.replace(qpos=moved), obs=moved)


def test_bodies_that_are_only_drawn_stay_and_parameters_asked_for_in_a_trace_are_arrays(monkeypatch):
    source = sources.Source(env=Marked(), model=None, physics=None, data="data", rest=None)
    monkeypatch.setattr(foreign, "load_source", lambda library, name: source)
    env = Foreign("playground", "marked", pool_size=2)
    traced = jax.jit(lambda: env.default_params.pool[0])()
    params = env.default_params
    np.testing.assert_array_equal(params.pool[0], traced)
    _, state = jax.tree.map(lambda leaf: leaf[1], params.pool)
    for _ in range(2):
        _, state, *_ = env.step(jax.random.key(0), state, jnp.ones(1), params)
    np.testing.assert_allclose(state.qpos, params.pool[1].qpos[1] + 2.0, rtol=1e-6)
    np.testing.assert_array_equal(state.mocap_pos, np.full((1, 3), 2.0))
    np.testing.assert_array_equal(state.mocap_quat, np.full((1, 4), 0.5))


def test_lights_that_move_are_where_mujoco_has_them(monkeypatch):
    lamp = '<light name="lamp" mode="trackcom" pos="0 -1 2" dir="0 .4 -1"/>'
    monkeypatch.setattr(
        f"{__name__}.PENDULUM", PENDULUM.replace('<joint name="hinge"', lamp + '<joint name="hinge"')
    )
    env = stand_in(monkeypatch, "capsule")
    load_source.cache_clear()
    scene = jax.jit(env.scene)(env.posed(jnp.array([0.7])), env.drawing_params)
    model = env.source.model
    data = mujoco.MjData(model)
    data.qpos[:] = 0.7
    mujoco.mj_forward(model, data)
    np.testing.assert_allclose(scene.light_pos, data.light_xpos, atol=1e-6)
    np.testing.assert_allclose(scene.light_dir, data.light_xdir, atol=1e-6)
    draw = partial(env.render, size=8)
    assert jax.eval_shape(draw, scene, env.assets("model"), env.cameras["free"]).shape == (8, 8, 3)


def test_a_mesh_is_refused_by_its_name(monkeypatch):
    env = stand_in(monkeypatch, "mesh")
    load_source.cache_clear()
    with pytest.raises(ConfigError, match="geom 'rod' is a mesh, which cannot be drawn"):
        env.assets("model")
