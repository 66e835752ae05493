"""Names of tasks and domains as parts of file names."""

import re


def short_name(name: str) -> str:
    """A task or a domain without folders, endings and colons, which are not allowed in file names everywhere.

    `brax:ant` is `brax-ant`, `/home/me/balloon.py:cloud` is `balloon-cloud`, `/home/me/balloon.py` `balloon` and
    `mjcf:/home/me/robot.xml` `robot`.
    """
    last = name.replace("\\", "/").rpartition("/")[2]
    return re.sub(r"\.(py|xml)(?=:|$)", "", last).replace(":", "-")
