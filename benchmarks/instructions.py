"""Makes the file of instruction vectors that comes with the package, with a sentence encoder in a directory.

    python benchmarks/instructions.py PATH/TO/all-MiniLM-L6-v2

It writes envs/gridworld/minilm.npz: every built-in instruction and its vector in float16.
"""

import argparse
from pathlib import Path


def main() -> None:
    """Encodes and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoder", type=Path, help="directory of a sentence encoder")
    parser.add_argument("--output", type=Path, default=Path("envs/gridworld/minilm.npz"))
    options = parser.parse_args()

    import numpy as np

    from envs.gridworld.families import all_instructions
    from envs.gridworld.house import house_instructions
    from jaxvlm.transfer.bert import load_sentence_encoder

    instructions = sorted({*all_instructions(), *house_instructions()})
    vectors = load_sentence_encoder(options.encoder)(instructions)
    np.savez_compressed(
        options.output, instructions=np.array(instructions), vectors=vectors.astype(np.float16)
    )
    print(f"{len(instructions)} instructions, {options.output.stat().st_size:,} bytes in {options.output}")


if __name__ == "__main__":
    main()
