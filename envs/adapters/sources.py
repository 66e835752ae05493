"""Where foreign environments come from: brax's registry, MuJoCo Playground's and model files, behind one small class.

Their libraries are imported when an environment is asked for, never before.
"""

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import partial_eval

from jaxvlm.errors import ConfigError

LIBRARIES = ("brax", "playground")
SOURCES = (*LIBRARIES, "mjcf")  # and model files of one's own


@dataclass(frozen=True, eq=False)
class Source:
    """A foreign environment with MJX physics, and which part of its state has to be carried from step to step.

    A state of theirs holds all of `mjx.Data`, several kilobytes. What neither a later step nor its observation,
    reward, end and frame depend on is left out: the step is traced once and followed backwards.
    """

    env: Any  # brax.envs.Env, mujoco_playground.MjxEnv or mjcf.ModelEnvironment
    model: Any  # mujoco.MjModel
    physics: Any  # mjx.Model that the environment steps
    data: str  # field of its state with the mjx.Data
    rest: Any  # f64[nq], positions that its resets are drawn around

    def reset(self, key: jax.Array) -> Any:
        """Their first state, for a raw key u32[2]."""
        with quietly():
            return self.env.reset(key)

    def step(self, carried: tuple[jax.Array, ...], action: jax.Array) -> Any:
        """Their next state from what `pack` kept of the one before."""
        leaves = [jnp.zeros(leaf.shape, leaf.dtype) for leaf in self._leaves]
        for index, leaf in zip(self._kept, carried, strict=True):
            leaves[index] = leaf
        return self._advance(leaves, action)

    def pack(self, state: Any) -> tuple[jax.Array, ...]:
        """What a step needs of their state."""
        leaves = jax.tree.leaves(state)
        return tuple(jnp.asarray(leaves[i], self._leaves[i].dtype) for i in self._kept)

    @cached_property
    def _shapes(self) -> Any:
        return jax.eval_shape(self.reset, jax.random.PRNGKey(0))

    @property
    def _leaves(self) -> list[Any]:
        return jax.tree.leaves(self._shapes)

    @cached_property
    def _advance(self) -> Any:
        """`_next`, traced once for all programs: it is seconds of Python. Inlined into each of them."""
        return jax.jit(self._next, inline=True)

    def _next(self, leaves: list[jax.Array], action: jax.Array) -> Any:
        structure = jax.tree.structure(self._shapes)
        with quietly():
            state = self.env.step(jax.tree.unflatten(structure, leaves), action)
        if jax.tree.structure(state) != structure:
            raise ConfigError(
                f"{type(self.env).__name__} steps to a state of another structure than it resets to; it cannot be "
                "stepped in a compiled loop"
            )
        return state

    @cached_property
    def _kept(self) -> tuple[int, ...]:
        """Positions of the leaves that observations, rewards, ends and frames of all later steps depend on."""
        count = len(self._leaves)
        action = jax.ShapeDtypeStruct((self.env.action_size,), jnp.float32)

        def step(leaves: list[jax.Array], action: jax.Array) -> list[jax.Array]:
            return [jnp.asarray(leaf) for leaf in jax.tree.leaves(self._advance(leaves, action))]

        program = jax.make_jaxpr(step)(self._leaves, action)
        numbered = jax.tree.unflatten(jax.tree.structure(self._shapes), range(count))
        data = getattr(numbered, self.data)
        seen = jax.tree.leaves(
            (numbered.obs, numbered.reward, numbered.done, data.qpos, data.mocap_pos, data.mocap_quat)
        )
        asked, needed = set(seen), set()
        while asked:
            wanted = needed | asked | set(seen)
            _, used = partial_eval.dce_jaxpr(program.jaxpr, [i in wanted for i in range(count)])
            asked = {i for i in range(count) if used[i]} - needed
            needed |= asked
        return tuple(sorted(needed))


@cache
def load_source(library: str, name: str) -> Source:
    """A foreign environment by the name its library knows.

    Args:
      library: `brax`, `playground` or `mjcf`.
      name: for instance `ant`, `CartpoleBalance`, or the path of a model's XML file.

    Raises:
      ConfigError: a library that is not installed, an unknown name, or an environment without MJX physics.
    """
    if library not in SOURCES:
        raise ConfigError(
            f"unknown library {library!r}; choose one of {', '.join(SOURCES)}, or name a Python file or an installed "
            "module of your own"
        )
    with quietly(), jax.ensure_compile_time_eval():  # it may be asked for while a step is being traced
        return {"brax": _load_brax, "playground": _load_playground, "mjcf": _load_mjcf}[library](name)


def whole_path(path: str) -> str:
    """A model file's path that still holds in another working directory."""
    return str(Path(path).expanduser().resolve())


def names_of(library: str) -> tuple[str, ...]:
    """The environments that a library has; errors as for `load_source`."""
    with quietly():
        if library == "brax":
            return tuple(name for name in _brax()._envs if name != "fast")  # a stub for brax's own tests
        return tuple(_playground().registry.ALL_ENVS)


def _brax() -> Any:
    try:
        from brax import envs
    except ImportError as error:
        raise ConfigError(f"brax cannot be imported ({error}): run pip install brax") from error
    return envs


def _playground() -> Any:
    try:
        import mujoco_playground  # pyright: ignore[reportMissingImports]  an extra
    except ImportError as error:
        raise ConfigError(
            f"MuJoCo Playground cannot be imported ({error}): run pip install 'jaxvlm[playground]'"
        ) from error
    return mujoco_playground


def _load_brax(name: str) -> Source:
    envs = _brax()
    if name not in names_of("brax"):
        raise ConfigError(f"brax has no environment {name!r}; it has {', '.join(names_of('brax'))}")
    try:
        # brax's other backends know the poses of bodies, not of what is drawn.
        env = envs.get_environment(name, backend="mjx")
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"brax's {name} does not run on MJX ({error}); choose another environment"
        ) from error
    rest = np.asarray(env.sys.init_q, np.float64)
    return Source(env=env, model=env.sys.mj_model, physics=env.sys, data="pipeline_state", rest=rest)


def _load_playground(name: str) -> Source:
    playground = _playground()
    registry, suite = playground.registry, playground.dm_control_suite.ALL_ENVS
    if name not in registry.ALL_ENVS:
        raise ConfigError(
            f"MuJoCo Playground has no environment {name!r}; of primitive shapes are {', '.join(suite)}"
        )
    if name not in suite and not _menagerie().exists():
        raise ConfigError(
            f"MuJoCo Playground's {name} is made of meshes, which it would download and which cannot be drawn; of "
            f"primitive shapes are {', '.join(suite)}"
        )
    # Its default is MJX-Warp, which needs an NVIDIA card.
    overrides = {"impl": "jax"} if "impl" in registry.get_default_config(name) else None
    env = registry.load(name, config_overrides=overrides)
    model = env.mj_model
    rest = np.array(model.key_qpos[0] if model.nkey else model.qpos0)
    return Source(env=env, model=model, physics=env.mjx_model, data="data", rest=rest)


def _load_mjcf(path: str) -> Source:
    from .mjcf import load_model

    env, rest = load_model(path)
    return Source(env=env, model=env.mj_model, physics=env.mjx_model, data="data", rest=rest)


def _menagerie() -> Any:
    from mujoco_playground._src import mjx_env  # pyright: ignore[reportMissingImports]

    return mjx_env.MENAGERIE_PATH


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keeps what these libraries say of themselves at import and while tracing from the user, and out of log files.

    brax warns that it is not maintained and reads `mjx.Data` by deprecated names; jaxopt, which it imports, that it
    is deprecated; MJX prints that its optional Warp is missing; MuJoCo logs a deprecated attribute of brax's cheetah.
    """
    import mujoco as package

    mujoco: Any = package
    before = mujoco.get_mju_user_warning()
    mujoco.set_mju_user_warning(lambda message: None)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.filterwarnings("ignore", message="Brax System, piplines and environments")
            warnings.filterwarnings("ignore", message="JAXopt is no longer maintained")
            warnings.filterwarnings("ignore", message="Accessing `.*` directly from `Data` is deprecated")
            yield
    finally:
        mujoco.set_mju_user_warning(before)
