"""Any brax or MuJoCo Playground environment of primitive geoms, under our contract.

    env = Foreign("brax", "ant")

Stepped with MJX, drawn by our ray caster, with their reward as ground truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxvlm.errors import ConfigError
from jaxvlm.render import RayAssets, RayCamera, RayScene, make_ray_assets, render_ray, scene_from_data
from jaxvlm.spaces import Box

from .goals import goals_of
from .sources import Source, load_source, quietly
from .views import fit_cameras, looks_of, painted

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis


@struct.dataclass
class ForeignState:
    """One environment of theirs, without what no later step depends on."""

    qpos: Leaf  # f32[nq], generalised positions: what a frame is drawn from
    mocap_pos: Leaf  # f32[nmocap, 3], m, of the bodies that only commands move
    mocap_quat: Leaf  # f32[nmocap, 4], wxyz
    carried: tuple[
        Leaf, ...
    ] = ()  # arrays of their state that their step reads; empty in states made to be drawn


@struct.dataclass
class ForeignParams:
    """What all environments share: never vmapped, never closed over."""

    model: Any  # mjx.Model, for the kinematics of a frame
    pool: Any  # initial states with their observations, [pool, ...]


@dataclass(frozen=True)
class Foreign:
    """An environment of `library` (`brax` or `playground`) called `environment` there.

    Actions are theirs, in [-1, 1]; observations are flat, and of several the one called `state`. The reward is
    theirs and serves as ground truth. `info["success"]` says whether `goal`, one of `goals.goals_of`, holds;
    without a goal it says "not at their end", which most environments define as healthy.

    With `early_termination` episodes end where theirs do. Without, as in VLM-RM, only a time limit ends them: with
    a reward that may be negative an early end would be worth seeking, and many poses are an end to their authors.

    Resets draw from `pool_size` of their initial states, made once. A step whose physics leaves the finite numbers
    keeps the state before it, is truncated, and sets `info["diverged"]`.
    """

    library: str
    environment: str
    goal: str | None = None
    early_termination: bool = True
    pool_size: int = 256

    def __post_init__(self) -> None:
        if self.goal is not None and self.goal not in goals_of(self.name):
            known = ", ".join(goals_of(self.name)) or "none"
            raise ConfigError(f"unknown goal {self.goal!r} of {self.name}; it has {known}")
        if self.pool_size < 1:
            raise ConfigError(f"pool_size is {self.pool_size}; a reset needs at least one initial state")

    @property
    def source(self) -> Source:
        """The environment itself; loads its library. Raises `ConfigError`, see `load_source`."""
        return load_source(self.library, self.environment)

    @property
    def name(self) -> str:
        return f"{self.library}_{self.environment}"

    @property
    def looks(self) -> tuple[str, ...]:
        return looks_of(self.name)

    @property
    def default_params(self) -> ForeignParams:
        """The model and a pool of initial states; compiles their reset."""
        return _make_params(self.library, self.environment, self.pool_size)

    @property
    def drawing_params(self) -> ForeignParams:
        """Parameters that suffice for `scene`: without initial states, so nothing is compiled."""
        return ForeignParams(model=self.source.physics, pool=())

    @property
    def cameras(self) -> dict[str, RayCamera]:
        """`free`, fitted to the robot at rest, the model's own by name, and `default`; see `views.fit_cameras`."""
        return dict(fit_cameras(self.library, self.environment))

    def reset(self, key: jax.Array, params: ForeignParams) -> tuple[Float[Array, " obs"], ForeignState]:
        """Picks an initial state from the pool."""
        count = params.pool[0].shape[0]
        chosen = jax.random.randint(key, (), 0, count)
        return jax.tree.map(lambda leaf: leaf[chosen], params.pool)

    def step(
        self, key: jax.Array, state: ForeignState, action: Float[Array, " actions"], params: ForeignParams
    ) -> tuple[
        Float[Array, " obs"],
        ForeignState,
        Float[Array, ""],
        Bool[Array, ""],
        Bool[Array, ""],
        dict[str, jax.Array],
    ]:
        """One step of theirs."""
        theirs = self.source.step(state.carried, action)
        observation, new = _observed(self.source, theirs)
        reward = jnp.asarray(theirs.reward, jnp.float32)
        finite = jnp.all(
            jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves((observation, new, reward))])
        )
        new = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
        ended = finite & (jnp.asarray(theirs.done) > 0)
        success = ~ended if self.goal is None else goals_of(self.name)[self.goal].holds(new.qpos)
        return (
            jnp.where(finite, observation, 0.0),
            new,
            jnp.where(finite, reward, 0.0),
            ended & self.early_termination,
            ~finite,
            {"success": success & finite, "diverged": ~finite},
        )

    def observation_space(self, params: ForeignParams) -> Box:
        return Box(-np.inf, np.inf, params.pool[0].shape[1:])

    def action_space(self, params: ForeignParams) -> Box:
        return Box(-1.0, 1.0, (int(self.source.env.action_size),))

    def posed(self, qpos: Float[Array, "*batch nq"]) -> ForeignState:
        """States with the given positions, made to be drawn; they cannot be stepped."""
        shape = (*qpos.shape[:-1], self.source.model.nmocap)
        return ForeignState(qpos, jnp.zeros((*shape, 3)), jnp.zeros((*shape, 4)).at[..., 0].set(1.0))

    def scene(self, state: ForeignState, params: ForeignParams) -> RayScene:
        """Forward kinematics, so that a frame shows the state and not, as their poses do, the sub-step before it."""
        with quietly():
            from mujoco import mjx

            data = mjx.make_data(params.model).replace(qpos=state.qpos)
            if state.mocap_pos.shape[0]:
                data = data.replace(mocap_pos=state.mocap_pos, mocap_quat=state.mocap_quat)
            data = mjx.camlight(params.model, mjx.com_pos(params.model, mjx.kinematics(params.model, data)))
            return scene_from_data(data, self.source.model)

    def assets(self, look: str) -> RayAssets:
        """`model` is their own look; `clear`, where there is one, tells apart what they paint alike.

        Raises `ConfigError` for another look, and for what cannot be drawn, such as a mesh, with the geom's name.
        """
        if look not in self.looks:
            raise ConfigError(f"{self.name} has no look {look!r}: choose one of {', '.join(self.looks)}")
        model = self.source.model
        return make_ray_assets(painted(model, self.name) if look == "clear" else model)

    def render(
        self, scene: RayScene, assets: RayAssets, camera: RayCamera, size: int
    ) -> Float[Array, "size size 3"]:
        """Casts a ray for each pixel."""
        return render_ray(scene, assets, camera, size)


def _observed(source: Source, theirs: Any) -> tuple[jax.Array, ForeignState]:
    """Observation and slim state of a state of theirs."""
    observation = theirs.obs
    if isinstance(observation, Mapping):
        if "state" not in observation:
            raise ConfigError(f"of the observations {', '.join(observation)} none is called 'state'")
        observation = observation["state"]
    data = getattr(theirs, source.data)
    state = ForeignState(data.qpos, data.mocap_pos, data.mocap_quat, source.pack(theirs))
    return jnp.asarray(observation, jnp.float32).reshape(-1), state


@cache
def _make_params(library: str, environment: str, pool_size: int) -> ForeignParams:
    source = load_source(library, environment)
    # Kept for later, so nothing of a trace that asks first may stay in it: keys are numbers, and the program is there
    # before it is called. Not traced under `ensure_compile_time_eval`, which runs what depends on the model alone
    # operation by operation, hundreds of them.
    with jax.ensure_compile_time_eval():
        keys = jax.random.split(jax.random.PRNGKey(0), pool_size)  # their resets expect raw keys
    with jax.default_matmul_precision("highest"):
        reset = jax.jit(jax.vmap(lambda key: _observed(source, source.reset(key)))).lower(keys).compile()
    pool = reset(keys)
    return ForeignParams(model=source.physics, pool=pool)
