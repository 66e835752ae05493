"""`jaxvlm clip train DOMAIN`: train an embedded CLIP from captioned renders of our own environments."""

import hashlib
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from jaxvlm.cli.common import domain_called, domains, find_dataset, parse, split_positional
from jaxvlm.clip.train import ClipTrainConfig
from jaxvlm.names import short_name


@dataclass(frozen=True)
class ClipTrain:
    """Train an embedded CLIP from captioned renders; the result is a directory that `--clip` takes."""

    output: Path | None = None
    """Directory of the checkpoint; the default is runs/clip/DOMAIN. It may not exist yet and appears at the end."""
    camera: tuple[str, ...] = ()
    """Views to learn from, their pictures an equal share each; the default is the dataset's."""
    states: tuple[Path, ...] = ()
    """Files of states that agents visited, to learn from besides the dataset's own; of the humanoid, such as
    `jaxvlm evaluate RUN --fooled 12` writes."""
    config: ClipTrainConfig = field(default_factory=ClipTrainConfig)


def run(arguments: Sequence[str]) -> None:
    """Trains, measures and exports."""
    domain, _, rest = split_positional(arguments, [])
    if domain is None:
        print(
            f"usage: jaxvlm clip train DOMAIN [--output DIR] [--seed N] [...]\n\ndomains: {', '.join(domains())},\n"
            "  and a Python file of yours that declares captions, see docs/your-own.md"
        )
        raise SystemExit(0 if {"-h", "--help"} & set(rest) else 2)
    options = parse(ClipTrain, rest, prog=f"jaxvlm clip train {domain}")
    dataset = find_dataset(domain_called(domain), options.states)

    from jaxvlm.clip.captions import validate_dataset
    from jaxvlm.clip.train import train_clip
    from jaxvlm.errors import ConfigError
    from jaxvlm.runtime import Progress, enable_compilation_cache
    from jaxvlm.runtime.signals import interruptible

    enable_compilation_cache()
    validate_dataset(dataset)
    unknown = [name for name in options.camera if name not in dataset.environment.cameras]
    if unknown:
        raise ConfigError(
            f"unknown camera {unknown[0]!r}; {domain} has {', '.join(dataset.environment.cameras)}"
        )
    if options.camera:
        dataset = replace(dataset, cameras=options.camera)
    output = options.output or Path("runs/clip") / short_name(domain)
    if os.path.lexists(output):
        raise ConfigError(f"output directory {output} exists already; choose another --output")
    images = options.config.steps * options.config.batch_size
    print(
        f"{domain}: {options.config.steps} steps of {options.config.batch_size} pictures; compiling ...",
        flush=True,
    )
    # For the card. Absolute paths are of one machine: it has their names, and the digests of the files.
    _, _, given = split_positional(arguments, ["--output"])
    shown = [Path(part).name if os.path.isabs(part) else part for part in given]
    named = Path(domain).name if os.path.isabs(domain) else domain
    command = shlex.join(["jaxvlm", "clip", "train", named, *shown])
    states = [(path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in options.states]
    with Progress(images) as progress, interruptible():

        def report(step: int, metrics: dict[str, float]) -> None:
            progress.update(step * options.config.batch_size, loss=metrics["loss"])
            if step == options.config.steps:
                progress.announce(
                    f"measuring it on {options.config.evaluation_states:,} held-out states; then the files appear ..."
                )

        train_clip(dataset, options.config, output, progress=report, command=command, states=states)
    print(f"checkpoint  {output}")
    print(f"card        {output / 'README.md'}")
    print(f"try it      jaxvlm clip check TASK --clip {output}")
