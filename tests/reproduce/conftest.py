"""What tests of the report share."""

from pathlib import Path

import fake_jaxvlm
import pytest

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


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """All figures of the two papers, made by the stand-in."""
    names = ["fig2", "classic", "table1", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8", "clip-rl"]
    return filled(tmp_path_factory.mktemp("made"), names)
