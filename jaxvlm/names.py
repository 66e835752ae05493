"""Names of tasks and domains as parts of file names and of titles."""

import re


def plain_name(name: str) -> str:
    """A task or a domain without folders, for titles: `balloon.py:cloud` for `/home/me/balloon.py:cloud`."""
    return name.replace("\\", "/").rpartition("/")[2]


def short_name(name: str) -> str:
    """A task or a domain without folders, endings and colons, which are not allowed in file names everywhere.

    `brax:ant` is `brax-ant`, `/home/me/balloon.py:cloud` is `balloon-cloud`, `/home/me/balloon.py` `balloon` and
    `mjcf:/home/me/robot.xml` `robot`.
    """
    return re.sub(r"\.(py|xml)(?=:|$)", "", plain_name(name)).replace(":", "-")
