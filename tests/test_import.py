"""What `import jaxvlm` costs and pulls in, seen in interpreters of their own."""

import json
import subprocess
import sys

import pytest

HEAVY = ("mujoco", "transformers", "brax", "orbax", "matplotlib", "flax", "optax", "envs", "tyro", "rich")


def run(program: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    )
    return result.stdout


def modules_after(statement: str) -> set[str]:
    program = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    return {name.split(".")[0] for name in json.loads(run(program))}


def test_import_is_cheap():
    """Under a second more than jax alone; the best of three, as other work may slow any one."""
    program = (
        "import time, jax, jax.numpy, numpy\nstart = time.process_time()\nimport jaxvlm\n"
        "print(time.process_time() - start)"
    )
    assert min(float(run(program)) for _ in range(3)) < 1.0


def test_import_pulls_in_nothing_heavy():
    assert not modules_after("import jaxvlm") & set(HEAVY)


@pytest.mark.parametrize("module", ["reward", "rl", "render", "runtime"])
def test_blocks_leave_out_what_they_do_not_need(module):
    loaded = modules_after(f"import jaxvlm.{module}")
    assert not loaded & {"mujoco", "transformers", "brax", "envs", "matplotlib", "orbax", "torch"}


def test_command_line_answers_without_jax():
    """`--help` has to come at once."""
    program = (
        "import sys\nfrom jaxvlm.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\nprint('jax' in sys.modules)"
    )
    assert run(program).splitlines()[-1] == "False"
