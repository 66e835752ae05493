"""The server in a process of its own, without what finds runs: `python serve.py MODE PORT FOLDER ...`."""

import sys
from pathlib import Path

from jaxvlm.rating import Material, Session
from jaxvlm.rating.server import bind, serve

if __name__ == "__main__":
    mode, port, *folders = sys.argv[1:]
    materials = [Material.open(Path(folder)) for folder in folders]
    shown = [(each, each.frames if mode == "frame" else each.trajectories) for each in materials]
    serve(
        Session(shown, mode),  # pyright: ignore[reportArgumentType]
        bind(int(port), fixed=True),
        lambda address: print(address, flush=True),
    )
