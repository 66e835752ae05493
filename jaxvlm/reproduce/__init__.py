"""The papers' figures and tables by one command: rows that are run where they are missing, and one HTML report."""

import importlib
import importlib.util
from collections.abc import Sequence

from jaxvlm.errors import ConfigError
from jaxvlm.reproduce.figure import BUDGETS as BUDGETS
from jaxvlm.reproduce.figure import Figure as Figure
from jaxvlm.reproduce.figure import Place as Place
from jaxvlm.reproduce.figure import Row as Row

# In the order of the report; each is a module of this package.
FIGURES = (
    "fig2",
    "classic",
    "table1",
    "fig3",
    "fig4",
    "fig5",
    "fig6",
    "fig7",
    "fig8",
    "misspecification",
    "sequence",
    "clip_rl",
)


def find_figures(names: Sequence[str]) -> list[Figure]:
    """The figures of these names, in the order of the report; `all` is every one.

    Raises:
      ConfigError: a name is not known.
    """
    known = {module.replace("_", "-"): module for module in FIGURES}
    known = {
        name: module for name, module in known.items() if importlib.util.find_spec(f"{__name__}.{module}")
    }
    unknown = [name for name in names if name not in known and name != "all"]
    if unknown or not names:
        what = f"unknown figure {unknown[0]!r}" if unknown else "no figure is named"
        raise ConfigError(f"{what}; choose of {', '.join(known)}, or all")
    wanted = [module for name, module in known.items() if name in names or "all" in names]
    return [importlib.import_module(f"{__name__}.{module}").FIGURE for module in wanted]
