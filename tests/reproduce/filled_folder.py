"""A folder of the report whose rows were made by the stand-in."""

from pathlib import Path

import fake_jaxvlm

from jaxvlm.reproduce import Place, find_figures
from jaxvlm.reproduce.plan import make_plan


def filled(folder: Path, names, *, clips=(), leave=()):
    """A plan whose rows are all made by the stand-in, but those that are left out."""
    place = Place(folder, clips=clips)
    plan = make_plan(find_figures(names), place, lambda row: None)
    for row in plan.rows:
        if row.name not in leave and not (folder / row.product).exists():
            fake_jaxvlm.main(list(row.arguments))
    return make_plan(find_figures(names), place, lambda row: None)
