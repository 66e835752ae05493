"""The Python loop around the compiled iteration: metrics, checkpoints and interruptions happen here, nothing else."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.compiler import compiler_options
from jaxvlm.runtime import MetricsWriter, Run
from jaxvlm.vlmrm.build import Built
from jaxvlm.vlmrm.config import TrainConfig
from jaxvlm.vlmrm.policy_files import kept_file, kept_iterations, write_policies
from jaxvlm.vlmrm.program import Inputs, TrainState


@dataclass
class Session:
    """A training between two iterations."""

    config: TrainConfig
    inputs: Inputs
    state: TrainState
    compiled: Callable[..., Any] | None  # an iteration; None where none is left
    compile_seconds: float
    iteration: int = 0
    env_steps: int = 0  # of each seed, reset rows included

    def states(self) -> Iterator[TrainState]:
        """The state that each run directory keeps; one here."""
        yield self.state

    def agents(self) -> Iterator[Any]:
        """The agents of each of these states, leading axis seed; nothing else of them is copied."""
        yield self.state.agent

    def metrics(self, fetched: dict[str, Any]) -> list[dict[str, Any]]:
        """The metrics that belong into each run directory."""
        return [dict(fetched)]


def seeds_of(built: Built) -> jax.Array:
    """The run's seeds, i32[seed]."""
    config = built.program.config
    return config.seed + jnp.arange(config.seeds, dtype=jnp.int32)


def init_state(built: Built) -> TrainState:
    """First training state, made on the device by one compiled program."""
    return jax.jit(built.program.init)(built.inputs, seeds_of(built), built.hyper)


def abstract_state(built: Built) -> TrainState:
    """Shapes and dtypes of the training state, without computing it."""
    return jax.eval_shape(built.program.init, built.inputs, seeds_of(built), built.hyper)


def compile_iteration(built: Built, state: TrainState) -> tuple[Callable[..., Any], float]:
    """Compiles a program's iteration with its state donated; returns it and the seconds it took."""
    return compile_ahead(built.program.iteration, built.inputs, state)


def compile_ahead(
    iteration: Callable[..., Any], inputs: Inputs, state: TrainState
) -> tuple[Callable[..., Any], float]:
    """Compiles `(inputs, state) -> (state, metrics)` ahead of time, `state` donated; with the seconds it took.

    A compiled program refuses other shapes instead of compiling anew, so no iteration can recompile unseen.
    """
    start = time.perf_counter()
    jitted = jax.jit(iteration, donate_argnums=1, compiler_options=compiler_options())
    compiled = jitted.lower(inputs, state).compile()
    return compiled, time.perf_counter() - start


def start(built: Built, run: Run | None = None) -> Session:
    """A session at the beginning, or, given a run, at its newest checkpoint; nothing is compiled at the end.

    The best agents of that checkpoint are written where those on disk are older or missing: a process may have been
    killed between the one and the other.

    Raises:
      RunError: the run has no checkpoint, or one of another configuration; the best agents cannot be written.
    """
    if run is None:
        state = init_state(built)
    else:
        state, step = run.checkpoints.restore(abstract_state(built))
        kept = run.checkpoints.best()
        if kept is None or kept[0] < step:
            save_best(run, step, state)
    config, iteration = built.program.config, int(state.iteration)
    left = iteration < config.iterations
    compiled, seconds = compile_iteration(built, state) if left else (None, 0.0)
    env_steps = iteration * config.steps_per_iteration
    return Session(config, built.inputs, state, compiled, seconds, iteration, env_steps)


def save(session: Session, runs: Sequence[Run]) -> None:
    """Writes a checkpoint of everything, and the best agents by reward without the buffer, for each run directory."""
    # A function of its own: what a session of several tasks copies out for one of them is freed at its end.
    for run, state in zip(runs, session.states(), strict=True):
        run.checkpoints.save(session.env_steps, state)
        save_best(run, session.env_steps, state)


def keep_policies(session: Session, runs: Sequence[Run]) -> None:
    """Writes what the agents act with now, beside those of before, for each run directory."""
    for run, agent in zip(runs, session.agents(), strict=True):
        write_policies(kept_file(run, session.env_steps), run, agent, session.env_steps)


def save_best(run: Run, step: int, state: TrainState) -> None:
    """Writes the best agents of a state, after `step` environment steps; nothing before learning starts."""
    run.checkpoints.save_best(step, state.best, float(jnp.mean(state.best.reward)))


def iterate(
    session: Session,
    runs: Sequence[Run],
    writers: Sequence[MetricsWriter],
    should_stop: Callable[[], bool],
) -> Iterator[dict[str, Any]]:
    """Trains to the end or until `should_stop()`; yields each iteration's metrics after writing them.

    Every run directory gets its metrics after each iteration, and a checkpoint of everything with the best agents by
    reward every `checkpoint_every` iterations, at the end, and on stopping. What its agents act with is kept beside
    that at most `keep_policies` times, evenly over the whole training.

    Args:
      session: at the beginning or between two iterations; it moves on.
      runs: the run directory of each of the session's states; empty to keep nothing.
      writers: of their metrics; empty without run directories.
      should_stop: asked after every iteration.

    Yields:
      `step` and `steps_per_second`, of all states together, and the program's metrics, f64[..., seed].
    """
    config = session.config
    kept = kept_iterations(config)
    clock = time.perf_counter()
    while session.iteration < config.iterations:
        compiled = session.compiled
        assert compiled is not None
        session.state, fetched = compiled(session.inputs, session.state)
        fetched = {name: np.asarray(value, np.float64) for name, value in fetched.items()}
        now = time.perf_counter()
        seconds, clock = now - clock, now
        session.iteration += 1
        session.env_steps += config.steps_per_iteration
        for writer, own in zip(writers, session.metrics(fetched) if writers else (), strict=True):
            speed = float(own.pop("transitions").sum()) / seconds
            row = {"iteration": session.iteration, "seconds": seconds, "steps_per_second": speed}
            writer.write(session.env_steps, row | {name: value.tolist() for name, value in own.items()})
        stopping = should_stop()
        finished = session.iteration == config.iterations
        if runs and session.iteration in kept:
            keep_policies(session, runs)
            clock = time.perf_counter()
        if runs and (stopping or finished or session.iteration % config.checkpoint_every == 0):
            save(session, runs)
            clock = time.perf_counter()
        speed = float(fetched.pop("transitions").sum()) / seconds
        yield {"step": session.env_steps, "steps_per_second": speed, **fetched}
        if stopping:
            return
