"""What tests of the report share."""

import pytest
from filled_folder import filled


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """All figures of the two papers, made by the stand-in."""
    names = ["fig2", "classic", "table1", "fig3", "fig4", "fig5", "fig6", "fig7", "fig8", "clip-rl"]
    return filled(tmp_path_factory.mktemp("made"), names)
