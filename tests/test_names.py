"""Names of tasks in titles and file names."""

import pytest

from jaxvlm.names import plain_name, short_name


@pytest.mark.parametrize(
    ("name", "plain", "short"),
    [
        ("humanoid-kneeling", "humanoid-kneeling", "humanoid-kneeling"),
        ("brax:ant", "brax:ant", "brax-ant"),
        ("/home/me/balloon.py:cloud", "balloon.py:cloud", "balloon-cloud"),
        ("/home/me/balloon.py", "balloon.py", "balloon"),
        ("C:\\me\\balloon.py:cloud", "balloon.py:cloud", "balloon-cloud"),
        ("mjcf:/home/me/my-robot.xml", "my-robot.xml", "my-robot"),
        ("my_package.tasks:cloud", "my_package.tasks:cloud", "my_package.tasks-cloud"),
    ],
)
def test_names_lose_their_folders_and_colons(name, plain, short):
    assert (plain_name(name), short_name(name)) == (plain, short)
