"""Tasks of a user's own file or module: what is filled in, and what is said where something is wrong."""

import hashlib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from envs.captions import captioned_dataset, has_captions
from envs.captions.scenes import goal_truth, scene_type
from envs.checks import check_environment
from envs.own import is_own, is_own_domain, own_tasks, source_digest
from envs.registry import make_task
from envs.wrappers import Judged, TimeLimit
from jaxvlm.clip.captions import validate_dataset
from jaxvlm.errors import ConfigError

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "balloon.py"
FILE = """
from dataclasses import dataclass, replace

import jax.numpy as jnp

from envs.cartpole import CartPole
from envs.registry import Task

POLE = CartPole()
TASKS = {"up": Task(env=POLE, goal_prompts=("a pole",), episode_length=7)}
"""


@pytest.fixture
def file(tmp_path):
    """Writes a file that declares a task, and more where it is given."""

    def write(more="", name="mine.py", text=FILE):
        path = tmp_path / name
        path.write_text(text + more)
        return path

    return write


def test_what_a_task_leaves_open_is_filled_in(file, monkeypatch):
    path = file()
    task = make_task(f"{path}:up")
    assert (task.name, task.domain) == (f"{path}:up", str(path))
    assert (task.algorithm, task.look, task.window, task.threshold) == ("dqn", "plain", 7, 0.5)
    assert isinstance(task.env, TimeLimit)
    assert task.env.max_steps == 7
    assert make_task(str(path)) is task  # its only one
    monkeypatch.chdir(path.parent)
    assert make_task("mine.py:up") is task  # however its path is written


@pytest.mark.slow
def test_the_example_is_what_the_docs_say():
    tasks = own_tasks(str(EXAMPLE))
    assert [task.name.rpartition(":")[2] for task in tasks] == ["cloud", "grass"]
    assert {task.algorithm for task in tasks} == {"sac"}
    dataset = captioned_dataset(str(EXAMPLE))
    validate_dataset(dataset)
    for task in tasks:
        dataset.concept(task.concept)
        assert task.goal_prompts[0] == dataset.concept(task.concept).wordings[0]
    states = dataset.sample_states(jax.random.key(0), 64)
    truth = dataset.log_odds(states)
    assert ((truth > 0).mean(0) > 0.05).all()  # each fact is true of some states
    assert scene_type(str(EXAMPLE)) is type(states)
    assert goal_truth(str(EXAMPLE), states) is None
    with pytest.raises(ConfigError, match=r"has several tasks: choose one of .*:cloud, .*:grass"):
        make_task(str(EXAMPLE))


@pytest.mark.slow
def test_success_in_the_example_is_the_truth_of_its_caption():
    dataset = captioned_dataset(str(EXAMPLE))
    states = dataset.sample_states(jax.random.key(1), 32)
    for task in own_tasks(str(EXAMPLE)):
        env = task.env.env
        still = jax.vmap(lambda s, e=env: e.step(jax.random.key(0), s, jnp.zeros(2), None))(states)
        assert (still[5]["success"] == dataset.concept(task.concept).holds(still[1])).all()
        assert 0 < still[5]["success"].sum() < 32


def test_a_module_is_named_without_a_file(file, monkeypatch):
    path = file(name="jaxvlm_test_poles.py")
    monkeypatch.syspath_prepend(path.parent)
    task = make_task("jaxvlm_test_poles:up")
    assert (task.name, task.domain) == ("jaxvlm_test_poles:up", "jaxvlm_test_poles")
    assert is_own_domain(task.domain)
    assert not has_captions(task.domain)
    with pytest.raises(ConfigError, match="jaxvlm_test_poles declares no captions: define `captions"):
        captioned_dataset(task.domain)


def test_a_file_finds_its_neighbours(file):
    file(name="jaxvlm_test_neighbour.py", text="LENGTH = 9\n")
    path = file(
        "from jaxvlm_test_neighbour import LENGTH\nTASKS['up'] = replace(TASKS['up'], episode_length=LENGTH)\n"
    )
    assert make_task(str(path)).env.max_steps == 9


def test_our_names_are_not_taken_for_files():
    for name in (
        "cartpole",
        "humanoid-standing-then-lotus",
        "brax:ant",
        "playground:CartpoleBalance",
        "nobody:ant",
    ):
        assert not is_own(name)
    for domain in ("cartpole", "brax_ant", "mjcf_/robot.xml"):
        assert not is_own_domain(domain)
    assert is_own_domain("brax_mine.py")  # however it begins


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("x = (", r"mine\.py, line \d+, cannot be imported: SyntaxError: .*never closed"),
        (
            "\nimport nothing_of_this_name",
            r"line 12, cannot be imported: ModuleNotFoundError: No module named",
        ),
        ("TASKS = {}", "has no TASKS: define a dictionary of envs.registry.Task by name"),
        ("TASKS = {'up': 3}", "has no TASKS: define a dictionary"),
        (
            "TASKS['up'] = replace(TASKS['up'], episode_length=0)",
            "episode_length of .*:up is 0; give its steps",
        ),
        ("TASKS['up'] = replace(TASKS['up'], label=0.5)", "label of .*:up is 0.5; give a function"),
        ("TASKS['up'] = replace(TASKS['up'], window=8)", "window of .*:up is 8 of 7 steps of an episode"),
        (
            "TASKS['up'] = replace(TASKS['up'], algorithm='sac')",
            "'sac', but its actions are discrete; leave it out",
        ),
        (
            "TASKS['up'] = replace(TASKS['up'], algorithm='ppo')",
            "algorithm of .* is 'ppo'; choose sac, for continuous actions, or dqn",
        ),
        ("def captions(): return 3", "returns a int and no CaptionedDataset"),
        ("def captions(): return nothing", r"line \d+, cannot make its captions: NameError"),
        ("import sys; sys.exit(3)", r"mine\.py, line \d+, cannot be imported: SystemExit: 3"),
        ("TASKS['a:b'] = TASKS['up']", "calls a task 'a:b'; give it a name that is a string without colons"),
        ("TASKS[3] = TASKS['up']", "calls a task 3; give it a name"),
        (
            "TASKS['up'] = replace(TASKS['up'], goal_prompts='a pole')",
            "goal_prompts of .* is 'a pole'; it has to be a",
        ),
        ("TASKS['up'] = replace(TASKS['up'], threshold=2)", "threshold of .* is 2; it is a share of steps"),
        (
            "TASKS['up'] = replace(TASKS['up'], look='nope')",
            "look of .* is 'nope'; its environment has plain",
        ),
        (
            "TASKS['up'] = replace(TASKS['up'], cameras=('top',))",
            "names a camera 'top'; its environment has default",
        ),
        (
            "TASKS['up'] = replace(TASKS['up'], config={})",
            "config of .* is a dict; give a jaxvlm.vlmrm.TrainConfig",
        ),
        (
            "from envs.wrappers import TimeLimit\nTASKS['up'] = replace(TASKS['up'], env=TimeLimit(CartPole(), 20))",
            "episode_length of .* is 7, but its environment has a TimeLimit of 20; leave the TimeLimit out",
        ),
        (
            "TASKS['up'] = replace(TASKS['up'], episode_length='7')",
            "episode_length of .* is '7'; give its steps",
        ),
    ],
)
def test_a_file_that_cannot_be_used_says_why_and_where(file, more, message):
    path = str(file(more))
    with pytest.raises(ConfigError, match=message):
        (make_task if "captions" not in more else captioned_dataset)(path)


def test_what_is_not_there_is_named(file):
    with pytest.raises(ConfigError, match=r"there is no file nowhere\.py"):
        make_task("nowhere.py:up")
    with pytest.raises(ConfigError, match=r"mine\.py has no task 'down': choose one of .*mine\.py:up"):
        make_task(f"{file()}:down")
    with pytest.raises(ConfigError, match=r"unknown library 'nobody'.* or name a Python file"):
        make_task("nobody:ant")
    with pytest.raises(ConfigError, match=r"json has no TASKS"):
        make_task("json:ant")


BROKEN = {
    "reset": (
        "return jnp.zeros(3), None",
        r"observation of Broken\.reset is float32\[3\]; it has to be float32\[4\]",
    ),
    "step": (
        "return POLE.step(*a, **k)[:5]",
        r"Broken\.step returns a tuple of 5; it has to be \(observation,",
    ),
    "scene": (
        "if a[0].x > 0: return a[0]",
        r"Broken\.scene cannot be traced by jax: Tracer.*mine\.py, line \d+\)",
    ),
    "render": ("return jnp.zeros((32, 32))", r"frame of Broken\.render at 32 pixels is float32\[32, 32\]"),
    "action_space": ("return 2", r"Broken\.action_space is 2; it has to be a Box or a Discrete"),
    "default_params": ("return 2", r"Broken\.observation_space fails|Broken\.reset cannot be traced"),
    "cameras": ("return 2", r"Broken\.cameras is a method; it has to be a dictionary"),
    "assets": ("return missing", r"Broken\.assets fails: NameError: name 'missing' is not defined"),
    "observation_space": ("return 2", r"Broken\.observation_space is 2; it has to be a jaxvlm\.spaces\.Box"),
}


@pytest.mark.parametrize("method", BROKEN)
def test_an_environment_that_breaks_the_contract_is_refused(file, method):
    body, message = BROKEN[method]
    path = file(
        f"""
@dataclass(frozen=True)
class Broken(CartPole):
    def {method}(self, *a, **k):
        {body}

TASKS = {{"up": Task(env=Broken(), goal_prompts=("a pole",), episode_length=7)}}
"""
    )
    with pytest.raises(ConfigError, match=message):
        make_task(str(path))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("jnp.nan", "from camera 'default' holds numbers that are not finite"),
        ("255.0", r"holds values from 255 to 255; they have to be in \[0, 1\], so divide"),
        ("-0.1", r"holds values from -0\.1 to -0\.1; they have to be in \[0, 1\]"),
        ("1.001", None),
    ],
)
def test_frames_outside_the_contract_are_refused(file, value, message):
    path = file(
        f"""
class Broken(CartPole):
    def render(self, scene, assets, camera, size):
        return jnp.full((size, size, 3), {value})

TASKS = {{"up": Task(env=Broken(), goal_prompts=("a pole",), episode_length=7)}}
"""
    )
    with nullcontext() if message is None else pytest.raises(ConfigError, match=message):
        make_task(str(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("(o, s, r, t, u, {})", "info of Broken.step lacks success"),
        ("(o, s, r, r, u, i)", r"terminated of Broken\.step is float32\[\]; it has to be bool\[\]"),
        ("(o, s, jnp.int32(1), t, u, i)", r"the reward of Broken\.step is int32\[\]; it has to be float32"),
        ("(o, (s, s), r, t, u, i)", r"returns a state of another structure than Broken\.reset"),
        (
            "(o, replace(s, x=jnp.int32(0)), r, t, u, i)",
            r"the state's \.x is float32\[\] after Broken\.reset and int32",
        ),
    ],
)
def test_a_step_that_breaks_the_contract_is_refused(file, change, message):
    path = file(
        f"""
@dataclass(frozen=True)
class Broken(CartPole):
    def step(self, *a):
        o, s, r, t, u, i = super().step(*a)
        return {change}

TASKS = {{"up": Task(env=Broken(), goal_prompts=("a pole",), episode_length=7)}}
"""
    )
    with pytest.raises(ConfigError, match=message):
        make_task(str(path))


def test_an_environment_lacks_a_method_a_hash_or_a_view():
    class Bare:
        name = "bare"

    with pytest.raises(ConfigError, match=r"the class Bare; give an instance, as in Bare\(\)"):
        check_environment(Bare)
    with pytest.raises(ConfigError, match="Bare lacks looks, default_params, cameras, reset, step"):
        check_environment(Bare())
    task = make_task("cartpole")
    for change, message in (
        ({"looks": ()}, r"looks is \(\); it has to be a tuple"),
        ({"looks": "plain"}, "looks is 'plain'; it has to be a tuple"),
        (
            {"cameras": {"front": None}},
            "cameras has front; it has to be a dictionary with one called default",
        ),
        ({"__hash__": None}, "cannot be hashed .*frozen dataclass"),
    ):
        kind = type("Other", (type(task.env.env),), change)
        with pytest.raises(ConfigError, match=message):
            check_environment(kind())


def _leans_right(state):
    return state.theta > 0


def test_success_can_be_judged_from_outside():
    inner = make_task("cartpole").env.env
    env = Judged(inner, _leans_right)
    check_environment(env)
    assert env == Judged(inner, _leans_right)
    params = env.default_params
    _, state = env.reset(jax.random.key(0), params)
    for theta in (-0.3, 0.3):
        *_, info = env.step(jax.random.key(0), replace(state, theta=jnp.float32(theta)), jnp.int32(0), params)
        assert bool(info["success"]) == (theta > 0)


def test_a_declaration_has_a_digest(file, monkeypatch):
    path = file(name="jaxvlm_test_digest.py")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert source_digest(str(path)) == source_digest(f"{path}:up") == digest
    monkeypatch.syspath_prepend(path.parent)
    assert source_digest("jaxvlm_test_digest:up") == digest
    assert source_digest(f"mjcf:{file(name='robot.xml')}") == digest
    assert source_digest("cartpole") is source_digest("brax:ant") is None
