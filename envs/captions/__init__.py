"""What the embedded CLIP of each domain is trained on: states to draw, sentences and their truth.

Nothing here is imported by `jaxvlm` outside its command line; training takes the dataset as an argument.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from jaxvlm.clip.captions import CaptionedDataset
from jaxvlm.errors import ConfigError

from ..adapters.sources import SOURCES
from .brax_halfcheetah import brax_halfcheetah_captions as brax_halfcheetah_captions
from .brax_reacher import brax_reacher_captions as brax_reacher_captions
from .cartpole import cartpole_captions as cartpole_captions
from .gridworld import gridworld_captions as gridworld_captions
from .humanoid import humanoid_captions as humanoid_captions
from .mountain_car import mountain_car_captions as mountain_car_captions

DATASETS: dict[str, Callable[[], CaptionedDataset]] = {
    "brax_halfcheetah": brax_halfcheetah_captions,
    "brax_reacher": brax_reacher_captions,
    "cartpole": cartpole_captions,
    "gridworld": gridworld_captions,
    "mountain_car": mountain_car_captions,
    "humanoid": humanoid_captions,
}


def captioned_dataset(domain: str, states: Sequence[Path] = ()) -> CaptionedDataset:
    """The dataset an embedded CLIP of `domain`, which may be a file or module of one's own, is trained on.

    `states` are files of further states to train on, of the humanoid.

    Raises:
      ConfigError: an unknown domain, or states that it cannot learn from.
    """
    from ..own import is_own_domain, own_captions

    if is_own_domain(domain) and not states:
        return own_captions(domain)
    library, _, rest = domain.partition("_")
    if domain not in DATASETS and library in SOURCES:
        raise ConfigError(
            f"nothing declares captions for {library}:{rest}; a Python file of yours can, see docs/your-own.md"
        )
    if domain not in DATASETS:
        raise ConfigError(
            f"no captions for domain {domain!r}; choose one of {', '.join(DATASETS)}, or a Python file that "
            "declares some"
        )
    if states and domain != "humanoid":
        raise ConfigError(f"the CLIP of {domain} learns from no file of states; only the humanoid's does")
    return humanoid_captions(states=states) if states else DATASETS[domain]()


def has_captions(domain: str) -> bool:
    """Whether there is a dataset of a domain; raises `ConfigError` where a file of one's own cannot be read."""
    from ..own import is_own_domain, load_own

    return domain in DATASETS or (is_own_domain(domain) and load_own(domain).captions is not None)
