"""How the states of each domain are searched: parameters with bounds, and what a state misses its goal by.

`jaxvlm probe` looks for the states that a sentence rewards most, by pictures alone: no physics, so a state that it
finds may be one that no policy reaches or can hold.
"""

from collections.abc import Callable

from jaxvlm.errors import ConfigError

from .humanoid import humanoid_search
from .space import SearchSpace as SearchSpace
from .space import Shortfall as Shortfall
from .toys import cartpole_search, gridworld_search, mountain_car_search

SPACES: dict[str, Callable[[], SearchSpace]] = {
    "cartpole": cartpole_search,
    "gridworld": gridworld_search,
    "humanoid": humanoid_search,
    "mountain_car": mountain_car_search,
}


def search_space(domain: str) -> SearchSpace:
    """The parameters of a domain's states; raises `ConfigError` for a domain that has none."""
    if domain not in SPACES:
        raise ConfigError(
            f"states of {domain!r} cannot be searched: they have no parameters here; domains that do are "
            f"{', '.join(SPACES)}"
        )
    return SPACES[domain]()
