"""Tasks of one's own, from a Python file or from a module that is installed.

    jaxvlm train balloon.py:cloud             # TASKS["cloud"] of the file
    jaxvlm train my_package.balloon:cloud     # of a module
    jaxvlm clip train balloon.py              # a CLIP for them, from the captions that the file declares

The file defines `TASKS`, a dictionary of `registry.Task` by name, and may define `captions()`, which returns the
`CaptionedDataset` of their scenes. Its path, or the module's name, is the domain of its tasks.
"""

import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from jaxvlm.clip.captions import CaptionedDataset
from jaxvlm.errors import ConfigError
from jaxvlm.spaces import Box
from jaxvlm.vlmrm.config import TrainConfig

from .adapters.sources import SOURCES
from .checks import check_environment, check_frame
from .registry import Task
from .wrappers import TimeLimit

SUFFIX = ".py"


@dataclass(frozen=True)
class Own:
    """What a file or module declares."""

    domain: str  # absolute path of the file, or name of the module
    tasks: Mapping[str, Task]  # by the name after the colon
    captions: Callable[[], CaptionedDataset] | None


def is_own(name: str) -> bool:
    """Whether a task's name means one of a file or module."""
    reference, colon, _ = name.rpartition(":")
    if name.endswith(SUFFIX) or reference.endswith(SUFFIX):
        return True
    return bool(colon) and reference not in SOURCES and _is_module(reference)


def is_own_domain(domain: str) -> bool:
    """Whether a domain is a file or module, and not one of ours or another library's."""
    from .captions import DATASETS

    return domain not in DATASETS and (domain.endswith(SUFFIX) or _is_module(domain))


def own_task(name: str) -> Task:
    """The task `FILE.py:TASK` or `MODULE:TASK`; of a file with one task its name suffices.

    Raises:
      ConfigError: what cannot be read, has no such task, or breaks the environments' contract.
    """
    reference, _, task = (name, "", "") if name.endswith(SUFFIX) else name.rpartition(":")
    own = load_own(reference)
    if not task and len(own.tasks) == 1:
        (task,) = own.tasks
    if task not in own.tasks:
        known = ", ".join(f"{reference}:{each}" for each in own.tasks)
        fault = f"has no task {task!r}" if task else "has several tasks"
        raise ConfigError(f"{reference} {fault}: choose one of {known}")
    return _finished(own.domain, task)


def own_tasks(domain: str) -> list[Task]:
    """All tasks of a file or module; errors as for `own_task`."""
    return [_finished(load_own(domain).domain, name) for name in load_own(domain).tasks]


def own_captions(domain: str) -> CaptionedDataset:
    """What a CLIP of a file's or module's scenes is trained on.

    Raises:
      ConfigError: what cannot be read, or declares no captions.
    """
    own = load_own(domain)
    if own.captions is None:
        raise ConfigError(
            f"{domain} declares no captions: define `captions()`, which returns a jaxvlm.clip.captions.CaptionedDataset"
        )
    try:
        dataset = own.captions()
    except Exception as error:  # whatever somebody else's code raises
        raise _failure(own.domain, error, "cannot make its captions") from error
    if not isinstance(dataset, CaptionedDataset):
        raise ConfigError(
            f"captions() of {domain} returns a {type(dataset).__name__} and no CaptionedDataset"
        )
    return dataset


def own_scene_type(domain: str) -> type:
    """The class of the scenes of a file's or module's tasks."""
    task = own_tasks(domain)[0]
    params = task.params
    _, state = jax.eval_shape(task.env.reset, jax.random.key(0), params)
    return type(jax.eval_shape(task.env.scene, state, params))


def source_digest(name: str) -> str | None:
    """SHA-256 of the file that a task is declared in, or of its MuJoCo model, as hexadecimal digits; None for ours.

    What such a file imports or includes is not looked at. Errors as for `own_task`.
    """
    if is_own(name):
        domain = load_own(name if name.endswith(SUFFIX) else name.rpartition(":")[0]).domain
        file = domain if domain.endswith(SUFFIX) else sys.modules[domain].__file__
    else:
        library, _, file = name.partition(":")
        if library != "mjcf":
            return None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None


def load_own(reference: str) -> Own:
    """What the file or module called `reference` declares; it is imported once.

    Raises:
      ConfigError: it cannot be found or imported, or has no `TASKS`.
    """
    if reference.endswith(SUFFIX):
        path = Path(reference).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"there is no file {reference}; give the path of a Python file that defines TASKS"
            )
        reference = str(path.resolve())
    return _load(reference)


@cache
def _load(reference: str) -> Own:
    module = _import_file(Path(reference)) if reference.endswith(SUFFIX) else _import_module(reference)
    tasks = getattr(module, "TASKS", None)
    if (
        not isinstance(tasks, Mapping)
        or not tasks
        or not all(isinstance(task, Task) for task in tasks.values())
    ):
        raise ConfigError(
            f"{reference} has no TASKS: define a dictionary of envs.registry.Task by name, as in "
            'TASKS = {"cloud": Task(env=..., goal_prompts=("...",), episode_length=100)}'
        )
    for name in tasks:
        if not isinstance(name, str) or not name or {":", ","} & set(name):
            raise ConfigError(
                f"{reference} calls a task {name!r}; give it a name that is a string without colons and commas"
            )
    return Own(reference, dict(tasks), getattr(module, "captions", None))


@cache
def _finished(domain: str, name: str) -> Task:
    """A declared task with everything filled in that it leaves open, its environment checked."""
    task: Any = load_own(domain).tasks[name]
    full, env = f"{domain}:{name}", task.env
    if not isinstance(task.episode_length, int) or task.episode_length < 1:
        raise ConfigError(f"episode_length of {full} is {task.episode_length!r}; give its steps, at least 1")
    _check_fields(task, full)
    check_environment(env)
    for limited in (env, *task.variants.values()):
        if isinstance(limited, TimeLimit) and limited.max_steps != task.episode_length:
            raise ConfigError(
                f"episode_length of {full} is {task.episode_length}, but its environment has a TimeLimit of "
                f"{limited.max_steps}; leave the TimeLimit out"
            )
    if not isinstance(env, TimeLimit):
        env = TimeLimit(env, task.episode_length)
    variants = {
        key: value if isinstance(value, TimeLimit) else TimeLimit(value, task.episode_length)
        for key, value in task.variants.items()
    }
    continuous = isinstance(env.action_space(env.default_params), Box)
    algorithm = task.algorithm or ("sac" if continuous else "dqn")
    if algorithm not in ("sac", "dqn"):
        raise ConfigError(
            f"algorithm of {full} is {algorithm!r}; choose sac, for continuous actions, or dqn, for discrete ones"
        )
    if algorithm != ("sac" if continuous else "dqn"):
        kind = "continuous" if continuous else "discrete"
        raise ConfigError(f"algorithm of {full} is {algorithm!r}, but its actions are {kind}; leave it out")
    window = task.window or task.episode_length
    if not 0 < window <= task.episode_length:
        raise ConfigError(f"window of {full} is {window} of {task.episode_length} steps of an episode")
    look = task.look or env.looks[0]
    if look not in env.looks:
        raise ConfigError(f"look of {full} is {look!r}; its environment has {', '.join(env.looks)}")
    for camera in task.cameras:
        if camera not in env.cameras:
            raise ConfigError(
                f"{full} names a camera {camera!r}; its environment has {', '.join(env.cameras)}"
            )
    check_frame(env, look, task.cameras)
    return replace(
        task,
        name=full,
        summary=task.summary or f"{name} of {Path(domain).name}",
        env=env,
        variants=variants,
        algorithm=algorithm,
        domain=domain,
        look=look,
        window=window,
    )


def _check_fields(task: Any, full: str) -> None:
    """Refuses what would fail much later, or never be noticed."""
    for field in ("goal_prompts", "baseline_prompts", "opposite_prompts", "cameras"):
        value = getattr(task, field)
        if not isinstance(value, tuple) or not all(isinstance(part, str) and part.strip() for part in value):
            raise ConfigError(
                f'{field} of {full} is {value!r}; it has to be a tuple of strings, as in ("...",)'
            )
    if not 0 < task.threshold <= 1:
        raise ConfigError(
            f"threshold of {full} is {task.threshold!r}; it is a share of steps, above 0 and at most 1"
        )
    if task.label is not None and not callable(task.label):
        raise ConfigError(
            f"label of {full} is {task.label!r}; give a function (clip, truth, seen) of the reward to learn from"
        )
    if task.config is not None and not isinstance(task.config, TrainConfig):
        raise ConfigError(
            f"config of {full} is a {type(task.config).__name__}; give a jaxvlm.vlmrm.TrainConfig"
        )


def _is_module(name: str) -> bool:
    try:
        return bool(name) and importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a parent that is missing, a name that cannot be one
        return False
    except Exception:  # a parent that is there and fails, which importing it will say
        return True


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever somebody else's code raises
        raise _failure(name, error) from error


def _import_file(path: Path) -> ModuleType:
    """Imports a file under a name of its own; modules beside it can be imported by it, as by a script."""
    name = f"jaxvlm_own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # the path ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failure(str(path), error) from error
    return module


def _failure(name: str, error: BaseException, what: str = "cannot be imported") -> ConfigError:
    """One line that says what went wrong where: the last line of the file itself in the traceback."""
    if isinstance(error, ConfigError):
        return ConfigError(f"{name} {what}: {error}")
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    lines = lines or ([error.lineno] if isinstance(error, SyntaxError) else [])
    place = f", line {lines[-1]}," if lines else ""
    return ConfigError(f"{name}{place} {what}: {type(error).__name__}: {error}")
