"""Exact values of small worlds: every reachable state in a table, and dynamic programming over it.

An oracle for tests, and for learning curves without the noise of sampled episodes. Works for any environment of the
contract with finitely many states, discrete actions and deterministic steps.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Bool, Float

from jaxvlm.errors import ConfigError

from .env import REACH, GridParams, GridState, GridWorld

Leaf = Any  # an array, or what jax puts in its place: a tracer, a shape, an axis
Number = float | Float[Array, ""]


@struct.dataclass
class Table:
    """A finite decision process. S states, A actions; may have leading axes of tasks."""

    states: Any  # pytree, [S, ...]
    observation: Leaf  # [S, ...]
    successor: Leaf  # i32[S, A], row of the state an action leads to
    reward: Leaf  # f32[S, A]
    terminated: Leaf  # bool[S, A]
    start: Leaf  # f32[S], how often an episode starts there, sums to 1


def table_of_places(env: GridWorld, params: GridParams) -> Table:
    """A state for every cell, in their order, for tasks to reach a place in a world that nobody changes.

    Pure, so it may be vmapped over tasks. Rows of cells that cannot be stood in are there and never reached.

    Raises:
      ConfigError: an environment whose direction or hands matter.
    """
    if env.control != "moves" or env.observation in ("view", "summary"):
        raise ConfigError(
            f"with control {env.control!r} and observation {env.observation!r} a cell is not all there is to a state; "
            "use reachable_table"
        )
    count = env.height * env.width
    index = jnp.arange(count)
    states = GridState(
        cells=jnp.broadcast_to(params.cells, (count, env.height, env.width)),
        position=jnp.stack([index // env.width, index % env.width], axis=1).astype(jnp.int32),
        direction=jnp.zeros(count, jnp.int32),
        carrying=jnp.zeros(count, jnp.uint8),
    )
    actions = jnp.arange(env.action_space(params).n)
    over_actions = jax.vmap(env.step, in_axes=(None, None, 0, None))
    _, new, reward, terminated, _, _ = jax.vmap(over_actions, in_axes=(None, 0, None, None))(
        jax.random.key(0), states, actions, params
    )
    listed = jnp.arange(params.starts.shape[0]) < params.num_starts
    start = jnp.zeros(count).at[params.starts].add(listed / params.num_starts)
    return Table(
        states=states,
        observation=jax.vmap(env.observe, in_axes=(0, None))(states, params),
        successor=new.position[..., 0] * env.width + new.position[..., 1],
        reward=reward,
        terminated=terminated,
        start=start,
    )


def reachable_table(env: Any, params: Any, starts: Any, limit: int = 200_000) -> Table:
    """All states that can be reached from `starts`, found breadth first, on the host.

    Args:
      env: environment with discrete actions and deterministic steps, its observation a function of the state.
      params: its parameters.
      starts: states [n, ...] an episode starts in, equally often.
      limit: states at most.

    Raises:
      ConfigError: more states than `limit`.
    """
    actions = jnp.arange(env.action_space(params).n)
    over_actions = jax.vmap(env.step, in_axes=(None, None, 0, None))
    step = jax.jit(jax.vmap(over_actions, in_axes=(None, 0, None, None)))

    def rows_of(states: Any) -> list[bytes]:
        """The bytes of each state."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(states)]
        flat = [np.ascontiguousarray(leaf).reshape(len(leaf), -1).view(np.uint8) for leaf in leaves]
        return [row.tobytes() for row in np.concatenate(flat, axis=1)]

    number: dict[bytes, int] = {}
    found: list[Any] = []

    def take(states: Any) -> np.ndarray:
        """Numbers states, new ones in order of appearance; returns the numbers."""
        numbers, fresh = np.empty(jax.tree.leaves(states)[0].shape[0], np.int32), []
        for k, row in enumerate(rows_of(states)):
            if row not in number:
                number[row] = len(number)
                fresh.append(k)
            numbers[k] = number[row]
        if fresh:
            found.append(jax.tree.map(lambda leaf: np.asarray(leaf)[fresh], states))
        if len(number) > limit:
            raise ConfigError(
                f"more than {limit:,} states can be reached; raise limit or take a smaller world"
            )
        return numbers

    start = np.bincount(take(starts)).astype(np.float32)

    def outcomes(states: Any) -> Any:
        """What every action leads to, pays and ends, as NumPy arrays [n, A, ...]."""
        count = jax.tree.leaves(states)[0].shape[0]
        padded = 1 << (count - 1).bit_length()  # few shapes, so few compilations
        states = jax.tree.map(lambda leaf: np.resize(leaf, (padded, *leaf.shape[1:])), states)
        _, new, paid, ended, _, _ = step(jax.random.key(0), states, actions, params)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], (new, paid, ended))

    successor, reward, terminated = [], [], []
    for batch in found:  # grows as successors are found
        new, paid, ended = outcomes(batch)
        flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), new)
        successor.append(take(flat).reshape(paid.shape))
        reward.append(paid)
        terminated.append(ended)
    states = jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *found)
    return Table(
        states=states,
        observation=jax.jit(jax.vmap(env.observe, in_axes=(0, None)))(states, params),
        successor=jnp.asarray(np.concatenate(successor)),
        reward=jnp.asarray(np.concatenate(reward), jnp.float32),
        terminated=jnp.asarray(np.concatenate(terminated)),
        start=jnp.asarray(
            np.resize(start, len(number)) * (np.arange(len(number)) < len(start)) / start.sum()
        ),
    )


def all_starts(env: GridWorld, params: GridParams) -> GridState:
    """Every state that `env.reset` may draw, [n, ...], each once."""
    cells = np.asarray(params.starts)[: int(params.num_starts)]
    facing = range(4) if int(params.start_direction) < 0 else [int(params.start_direction)]
    index, direction = (grid.reshape(-1) for grid in np.meshgrid(cells, facing, indexing="ij"))
    count = index.size
    return GridState(
        cells=jnp.broadcast_to(params.cells, (count, *params.cells.shape)),
        position=jnp.asarray(np.stack(np.divmod(index, env.width), axis=1), jnp.int32),
        direction=jnp.asarray(direction, jnp.int32),
        carrying=jnp.zeros(count, jnp.uint8),
    )


def grid_table(env: GridWorld, params: GridParams) -> Table:
    """The smaller table that does for a task: of places where that is all there is, else of all that can be reached."""
    places = (
        env.control == "moves" and env.observation not in ("view", "summary") and int(params.goal) == REACH
    )
    return table_of_places(env, params) if places else reachable_table(env, params, all_starts(env, params))


def action_values(table: Table, values: Float[Array, " s"], discount: Number) -> Float[Array, "s a"]:
    """One Bellman backup: Q(s, a) = r + discount V(s'), nothing after an end."""
    return table.reward + discount * jnp.where(table.terminated, 0.0, values[table.successor])


def optimal_values(
    table: Table, discount: Number, horizon: int
) -> tuple[Float[Array, " s"], Bool[Array, "s a"]]:
    """Value iteration over `horizon` steps: the best discounted return of each state, and which actions attain it.

    The actions are those of the first of the steps.
    """

    def backup(values: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        return (jnp.max(action_values(table, values[0], discount), axis=1), values[0]), None

    nothing = jnp.zeros(table.start.shape[0])
    (values, rest), _ = jax.lax.scan(backup, (nothing, nothing), None, length=horizon)
    q = action_values(table, rest, discount)  # one step, and the best of one step less
    return values, q >= jnp.max(q, axis=1, keepdims=True) - 1e-6


def policy_values(
    table: Table, probabilities: Float[Array, "s a"], discount: Number, horizon: int
) -> Float[Array, " s"]:
    """Exact expected discounted return of a policy over `horizon` steps, from each state."""

    def backup(values: Array, _: None) -> tuple[Array, None]:
        return jnp.sum(probabilities * action_values(table, values, discount), axis=1), None

    return jax.lax.scan(backup, jnp.zeros(table.start.shape[0]), None, length=horizon)[0]


def expected_return(table: Table, values: Float[Array, " s"]) -> Float[Array, ""]:
    """Mean value over where episodes start."""
    return jnp.sum(table.start * values)
