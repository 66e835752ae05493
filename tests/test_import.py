"""What importing jaxvlm and its parts pulls in, seen in interpreters of their own.

`benchmarks/imports.py` times the same statements.
"""

import json
import subprocess
import sys

import pytest

HEAVY = ("mujoco", "transformers", "brax", "orbax", "matplotlib", "flax", "optax", "envs", "tyro", "rich")
# What nothing imports before it is used: MuJoCo to simulate, transformers for a foreign tokenizer, Orbax to save, ...
LATE = {"mujoco", "transformers", "brax", "orbax", "matplotlib", "torch", "tensorboard", "wandb", "imageio"}
# The imports of the README's example.
EXAMPLE = (
    "from envs.registry import make_task; from jaxvlm.render import to_uint8; "
    "from jaxvlm.reward import goal_baseline; from jaxvlm.vlmrm import load_tower"
)
LOAD = "from jaxvlm.clip import load, load_tokenizer"


def run(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    return result.stdout


def modules_after(statement: str) -> set[str]:
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    return {name.split(".")[0] for name in json.loads(run(program))}


def test_import_pulls_in_nothing_heavy():
    assert not modules_after("import jaxvlm") & set(HEAVY)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["reward", "rl", "render", "runtime", "clip", "vlmrm", "evaluation", "rating"]
)
def test_blocks_leave_out_what_they_do_not_need(module):
    loaded = modules_after(f"import jaxvlm.{module}")
    assert not loaded & (LATE | {"envs"})


@pytest.mark.slow
def test_the_example_imports_nothing_before_it_is_used():
    assert not modules_after(EXAMPLE) & LATE


def test_the_embedded_clip_loads_without_heavy_modules():
    """Nor does using it need them: `transformers` and `torch` read other checkpoints."""
    loaded = modules_after(f"{LOAD}\nload('tiny:cartpole')\nload_tokenizer('tiny:cartpole')(['a pole'])")
    assert not loaded & (LATE | {"envs", "optax", "tyro"})


def test_command_line_answers_without_jax():
    """`--help` has to come at once."""
    program = (
        "import sys\nfrom jaxvlm.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\nprint('jax' in sys.modules)"
    )
    assert run(program).splitlines()[-1] == "False"
