"""What a run's figures depend on besides settings and versions: its CLIP's weights, and the file of its task."""

from typing import Any

import jax

from jaxvlm.cli.common import import_ours
from jaxvlm.errors import RunError
from jaxvlm.runtime import Run
from jaxvlm.vlmrm import Built


def refuse_other_weights(run: Run, built: Built) -> None:
    """Raises `RunError` where the CLIP that is to score a run's next frames is not the one that scored those before."""
    other = other_weights(run, built)
    if other is not None:
        before, now = other
        raise RunError(
            f"run {run.path} learned from CLIP {built.program.config.reward.clip} with other weights (digest {before}, "
            f"now {now}): the reward would be another one, and the replay buffer holds the old one; put the old "
            "checkpoint back, or train anew"
        )


def other_weights(run: Run, built: Built) -> tuple[str, str] | None:
    """Digests of the CLIP that a run learned from and of this one; None where they are one, or nobody knows."""
    cpu = jax.default_backend() == "cpu"
    for session in reversed(run.sessions()):
        # A CPU holds weights in float32 and an accelerator in bfloat16, whose digests differ.
        if "clip_digest" in session and (session.get("devices", {}).get("backend") == "cpu") == cpu:
            before, now = session["clip_digest"], built.clip_digest
            return None if before == now else (str(before)[:12], str(now)[:12])
    return None


def facts(built: Built) -> dict[str, Any]:
    """What figures depend on besides settings and versions, for `environment.json`."""
    clip = getattr(getattr(built.program.encode, "__self__", None), "clip", None)
    found = {"chunk": built.program.config.reward.chunk, "clip_digest": built.clip_digest}
    if (source := source_of(built)) is not None:
        found["task_digest"] = source
    # Which patches are left out is found anew each time, from random actions.
    keep = getattr(clip, "keep", None)
    return found if keep is None else {**found, "patches": list(keep)}


def source_of(built: Built) -> str | None:
    """Digest of the file that a task of one's own comes from; None for other tasks."""
    return import_ours("envs.own").source_digest(built.program.config.task)
