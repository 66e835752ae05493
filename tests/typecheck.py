"""The type checker of the test run: beartype, taking an int where a float is asked for, as PEP 484 does.

Constructors are left out: jax rebuilds its dataclasses with tracers, shapes, axes and placeholders as leaves, which no
annotation of a field describes.
"""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with its annotations checked at every call, unless it constructs an object."""
    if getattr(function, "__name__", "") == "__init__":
        return function
    return _beartype(function)
