"""The humanoid as an environment: Gymnasium's Humanoid-v4 on MJX, without early termination, as in VLM-RM.

Actions are torques for 17 motors in [-0.4, 0.4] of their gear; one step is 5 physics steps of 3 ms.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxvlm.errors import ConfigError
from jaxvlm.render import (
    RayAssets,
    RayCamera,
    RayScene,
    free_camera,
    make_ray_assets,
    model_cameras,
    render_ray,
)
from jaxvlm.spaces import Box

from .handwritten import REWARDS
from .kinematics import Pose, locate
from .looks import LOOKS
from .measures import measure
from .model import Contacts, load_model
from .predicates import GOALS, condition_margins, goal_log_odds

if TYPE_CHECKING:
    from .physics import Motion

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis

SUBSTEPS = 5
TIME_STEP = 0.003  # s
OBSERVATIONS = {"full": 376, "compact": 45}
VELOCITY_SCALE = 0.1  # of the compact observation: joints turn at up to 20 rad/s
HEALTHY_HEIGHT = (1.0, 2.0)  # m, of the torso


@struct.dataclass
class Pool:
    """Initial states, drawn once: a reset picks one. Leading axis: states."""

    motion: "Motion"
    pose: Pose
    com: Leaf  # f32[n, 3], as `HumanoidState.com`
    observation: Leaf  # f32[n, obs]


@struct.dataclass
class HumanoidParams:
    """What all environments share: never vmapped, never closed over."""

    model: Any  # mjx.Model
    pool: Pool
    forward_weight: Leaf = 1.25  # of the velocity of the centre of mass along x, per m/s
    healthy_reward: Leaf = 5.0  # while the torso is between 1 and 2 m high
    control_weight: Leaf = 0.1  # of the sum of squared actions
    goal: Leaf = 0  # i32[], which of the environment's goals, where it has several


@struct.dataclass
class HumanoidState:
    """One humanoid."""

    motion: "Motion"
    pose: Pose
    com: Leaf  # f32[3], m, centre of mass as gymnasium's reward sees it: one physics step behind


@dataclass(frozen=True)
class Humanoid:
    """Gymnasium's humanoid with a pose for its goal, or none.

    `observation="full"` is gymnasium's, f32[376]: positions without x and y (22), velocities (23), inertias
    (14 x 10) and velocities (14 x 6) of the bodies about the centre of mass, motor torques (23), contact forces
    (14 x 6). `"compact"`, f32[45], is its first two blocks, velocities in tenths, so that all numbers are of order one.

    `goal` names a predicate of `predicates.GOALS`; `info["success"]` says whether it holds. Without a goal, success is
    gymnasium's "healthy". Given several names, `params.goal` says which one holds for whom: one program for many.

    `reward="gymnasium"` is Humanoid-v4's: forward velocity, health and control cost. `"goal"` is 1 where the
    goal holds, `"graded"` is `predicates.goal_log_odds`: what the embedded CLIP is taught to say, known exactly;
    `"handwritten"` is that of `handwritten.REWARDS`, for kneeling.

    A step whose physics leaves the finite numbers keeps the state before it, is truncated, and sets
    `info["diverged"]`.
    """

    goal: str | tuple[str, ...] | None = None
    observation: Literal["full", "compact"] = "compact"
    reward: Literal["gymnasium", "goal", "graded", "handwritten"] = "gymnasium"
    contacts: Contacts = "floor"
    reset_noise: float = 0.01
    pool_size: int = 1024  # of 100 episodes about five begin as another one

    def __post_init__(self) -> None:
        if self.observation not in OBSERVATIONS:
            raise ConfigError(f"unknown observation {self.observation!r}: choose 'full' or 'compact'")
        for goal in self._goals:
            if goal not in GOALS:
                raise ConfigError(f"unknown goal {goal!r}: choose one of {', '.join(GOALS)}")
        if self.reward not in ("gymnasium", "goal", "graded", "handwritten"):
            raise ConfigError(
                f"unknown humanoid reward {self.reward!r}: choose 'gymnasium', 'goal', 'graded' or 'handwritten'"
            )
        if self.reward != "gymnasium" and not self._goals:
            raise ConfigError(f"the humanoid's reward {self.reward!r} needs a goal")
        if self.reward == "handwritten" and not set(self._goals) <= set(REWARDS):
            raise ConfigError(
                f"nobody wrote a reward by hand for {self.goal!r}; there is one for {', '.join(REWARDS)}"
            )

    @property
    def _goals(self) -> tuple[str, ...]:
        if isinstance(self.goal, str):
            return (self.goal,)
        return self.goal or ()

    @property
    def name(self) -> str:
        return "humanoid"

    @property
    def looks(self) -> tuple[str, ...]:
        return tuple(LOOKS)

    @property
    def default_params(self) -> HumanoidParams:
        """The model on the device and a pool of initial states; loads MuJoCo."""
        return _make_params(self)

    @property
    def cameras(self) -> dict[str, RayCamera]:
        """Views by name.

        `default` and `modified` are VLM-RM's frontal view, fixed in the world; `side` is the same from a quarter
        turn away, where leaning towards the first one shows; `original` is gymnasium's, which follows the body from
        the side.
        """
        return dict(_make_cameras())

    def make_pool(self, seed: int = 0) -> Pool:
        """Draws initial states as gymnasium does, noise on every number of qpos and qvel, with MuJoCo on the host."""
        from .physics import host_pool

        model = load_model("textured", self.contacts)
        motion, com, observation = host_pool(
            model, self.pool_size, self.reset_noise, seed, lambda data: observe(data, self.observation)
        )
        # One program, and not the hundred of its operations, each of which would be compiled at every start.
        pose = jax.jit(jax.vmap(locate)).lower(motion.qpos).compile()(motion.qpos)
        # Kept for later: nothing of a trace that asks first may stay in it.
        with jax.ensure_compile_time_eval():
            return jax.tree.map(jnp.asarray, Pool(motion, pose, com, observation))

    def reset(self, key: jax.Array, params: HumanoidParams) -> tuple[Float[Array, " obs"], HumanoidState]:
        """Picks an initial state from the pool."""
        size = params.pool.observation.shape[0]
        chosen = jax.random.randint(key, (), 0, size)
        pool = jax.tree.map(lambda leaf: leaf[chosen], params.pool)
        return pool.observation, HumanoidState(motion=pool.motion, pose=pool.pose, com=pool.com)

    def step(
        self, key: jax.Array, state: HumanoidState, action: Float[Array, "17"], params: HumanoidParams
    ) -> tuple[
        Float[Array, " obs"],
        HumanoidState,
        Float[Array, ""],
        Bool[Array, ""],
        Bool[Array, ""],
        dict[str, jax.Array],
    ]:
        """Five physics steps; never terminates."""
        from .physics import TORSO, contact_forces, simulate

        motion, data = simulate(params.model, state.motion, action, SUBSTEPS)
        finite = jnp.all(jnp.isfinite(motion.qpos)) & jnp.all(jnp.isfinite(motion.qvel))
        new = HumanoidState(motion, locate(motion.qpos), data.subtree_com[TORSO])
        new = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
        observation = observe(data, self.observation, lambda: contact_forces(params.model, data))
        success = self.achieved(new, params)
        if self.reward == "goal":
            reward = success.astype(jnp.float32)
        elif self.reward == "graded":
            seen = measure(new.pose.scene)
            reward = self._by_goal(lambda goal: goal_log_odds(goal, seen), params)
        elif self.reward == "handwritten":
            seen, speed = measure(new.pose.scene), jnp.linalg.norm(new.motion.qvel[:3])
            reward = self._by_goal(lambda goal: REWARDS[goal](seen, speed), params)
        else:
            velocity = (new.com[0] - state.com[0]) / (SUBSTEPS * TIME_STEP)
            reward = (
                params.forward_weight * velocity
                + params.healthy_reward * _healthy(new)
                - params.control_weight * jnp.sum(action**2)
            )
        info = {"success": success & finite, "diverged": ~finite}
        return (
            jnp.where(finite, observation, 0.0),
            new,
            jnp.where(finite, reward, 0.0),
            jnp.zeros((), bool),
            ~finite,
            info,
        )

    def achieved(self, state: HumanoidState, params: HumanoidParams) -> Bool[Array, "..."]:
        """Whether the goal holds, in one state or in a batch of them."""
        if not self._goals:
            return _healthy(state)
        seen = measure(state.pose.scene)  # once, not in each branch of the switch: it is most of the program
        return self._by_goal(lambda goal: jnp.min(condition_margins(goal, seen), axis=-1) > 0, params)

    def _by_goal(self, value: Callable[[str], jax.Array], params: HumanoidParams) -> jax.Array:
        """`value(goal)` of the goal that `params` point at."""
        if len(self._goals) == 1:
            return value(self._goals[0])
        return jax.lax.switch(params.goal, [partial(value, goal) for goal in self._goals])

    def observation_space(self, params: HumanoidParams) -> Box:
        return Box(-np.inf, np.inf, (OBSERVATIONS[self.observation],))

    def action_space(self, params: HumanoidParams) -> Box:
        return Box(-0.4, 0.4, (17,))

    def scene(self, state: HumanoidState, params: HumanoidParams) -> RayScene:
        return state.pose.scene

    def assets(self, look: str) -> RayAssets:
        """Textures, colours and lights of a look; raises `ConfigError` for one not in `looks`."""
        return make_ray_assets(load_model(look))

    def render(
        self, scene: RayScene, assets: RayAssets, camera: RayCamera, size: int
    ) -> Float[Array, "size size 3"]:
        """Casts a ray for each pixel."""
        return render_ray(scene, assets, camera, size)


@cache
def _make_params(env: Humanoid) -> HumanoidParams:
    from .physics import put_model

    pool = env.make_pool()
    with jax.ensure_compile_time_eval():
        params = HumanoidParams(model=put_model(env.contacts), pool=pool, goal=jnp.int32(0))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf) if isinstance(leaf, float) else leaf, params)


@cache
def _make_cameras() -> dict[str, RayCamera]:
    with (
        jax.ensure_compile_time_eval()
    ):  # kept for later, so nothing of a trace that asks first may stay in it
        modified = free_camera((0.0, 0.0, 1.0), distance=3.5, azimuth=180.0, elevation=-10.0)
        side = free_camera((0.0, 0.0, 1.0), distance=3.5, azimuth=90.0, elevation=-10.0)
        return {
            "default": modified,
            "modified": modified,
            "side": side,
            "original": model_cameras(load_model())["track"],
        }


def observe(data: Any, kind: str, contact_forces: Any = None) -> Any:
    """`Humanoid.observation` of a `mujoco.MjData`, or of `mjx.Data` with `contact_forces()` for `cfrc_ext`."""
    blocks = [data.qpos[2:], data.qvel if kind == "full" else VELOCITY_SCALE * data.qvel]
    if kind == "full":
        inertia = data.cinert if contact_forces is None else data._impl.cinert
        forces = data.cfrc_ext if contact_forces is None else contact_forces()
        blocks += [inertia.reshape(-1), data.cvel.reshape(-1), data.qfrc_actuator, forces.reshape(-1)]
    return (np if contact_forces is None else jnp).concatenate(blocks).astype(np.float32)


def _healthy(state: HumanoidState) -> Bool[Array, "..."]:
    height = state.motion.qpos[..., 2]
    return (height > HEALTHY_HEIGHT[0]) & (height < HEALTHY_HEIGHT[1])
