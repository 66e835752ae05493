"""The Python loop around the compiled iteration: metrics, checkpoints and interruptions happen here, nothing else."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxvlm.compiler import compiler_options
from jaxvlm.runtime import MetricsWriter, Run
from jaxvlm.vlmrm.build import Built
from jaxvlm.vlmrm.program import TrainState


@dataclass
class Session:
    """A training run between two iterations."""

    built: Built
    state: TrainState
    compiled: Callable[..., Any] | None  # an iteration; None where none is left
    compile_seconds: float
    iteration: int = 0
    env_steps: int = 0  # of each seed, reset rows included
    losses: dict[str, Any] = field(default_factory=dict)


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
    """Compiles the iteration ahead of time with its state donated; returns it and the seconds it took.

    A compiled program refuses other shapes instead of compiling anew, so no iteration can recompile unseen.
    """
    start = time.perf_counter()
    iteration = jax.jit(built.program.iteration, donate_argnums=1, compiler_options=compiler_options())
    compiled = iteration.lower(built.inputs, state).compile()
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
    iteration = int(state.iteration)
    left = iteration < built.program.config.iterations
    compiled, seconds = compile_iteration(built, state) if left else (None, 0.0)
    return Session(
        built=built,
        state=state,
        compiled=compiled,
        compile_seconds=seconds,
        iteration=iteration,
        env_steps=iteration * built.program.config.steps_per_iteration,
    )


def save(session: Session, run: Run) -> None:
    """Writes a checkpoint of everything, and the best agents by reward without the buffer."""
    run.checkpoints.save(session.env_steps, session.state)
    save_best(run, session.env_steps, session.state)


def save_best(run: Run, step: int, state: TrainState) -> None:
    """Writes the best agents of a state, after `step` environment steps; nothing before learning starts."""
    run.checkpoints.save_best(step, state.best, float(jnp.mean(state.best.reward)))


def iterate(
    session: Session, run: Run, metrics: MetricsWriter, should_stop: Callable[[], bool]
) -> Iterator[dict[str, Any]]:
    """Trains to the end or until `should_stop()`; yields each iteration's metrics after writing them.

    A checkpoint is written every `checkpoint_every` iterations, at the end, and on stopping.
    """
    config = session.built.program.config
    clock = time.perf_counter()
    while session.iteration < config.iterations:
        compiled = session.compiled
        assert compiled is not None
        session.state, fetched = compiled(session.built.inputs, session.state)
        fetched = {name: np.asarray(value, np.float64) for name, value in fetched.items()}
        now = time.perf_counter()
        transitions = fetched.pop("transitions")
        session.iteration += 1
        session.env_steps += config.steps_per_iteration
        row = {
            "iteration": session.iteration,
            "seconds": now - clock,
            "steps_per_second": float(transitions.sum()) / (now - clock),
            **{name: value.tolist() for name, value in fetched.items()},
        }
        clock = now
        metrics.write(session.env_steps, row)
        stopping = should_stop()
        finished = session.iteration == config.iterations
        if stopping or finished or session.iteration % config.checkpoint_every == 0:
            save(session, run)
            clock = time.perf_counter()
        yield {"step": session.env_steps, **row}
        if stopping:
            return
