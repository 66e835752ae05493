"""How long imports take beyond `import jax`: the median and range of several interpreters each.

    python benchmarks/imports.py [--repeats 7]

What they pull in is tested in tests/test_import.py; this only times it, in processor seconds.
"""

import argparse
import statistics
import subprocess
import sys

import jax

STATEMENTS = {
    "import jaxvlm": "import jaxvlm",
    "load a CLIP": "from jaxvlm.clip import load, load_tokenizer",
    "the README's example": (
        "from envs.registry import make_task; from jaxvlm.render import to_uint8; "
        "from jaxvlm.reward import goal_baseline; from jaxvlm.vlmrm import load_tower"
    ),
}


def seconds(statement: str) -> float:
    """Processor seconds that `statement` takes in a new interpreter that has imported jax."""
    program = (
        f"import time, jax, jax.numpy, numpy\nstart = time.process_time()\n{statement}\n"
        "print(time.process_time() - start)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(result.stdout)


def main() -> None:
    """Prints a line for each statement."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    print(f"python {sys.version.split()[0]}, jax {jax.__version__}, {repeats} interpreters each")
    for name, statement in STATEMENTS.items():
        seconds(statement)  # writes the bytecode
        times = [seconds(statement) for _ in range(repeats)]
        print(f"{name:<24}{statistics.median(times):8.3f} s   ({min(times):.3f} to {max(times):.3f})")


if __name__ == "__main__":
    main()
