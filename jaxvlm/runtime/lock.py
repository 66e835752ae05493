"""One process at a time in a folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jaxvlm.errors import JaxvlmError


@contextlib.contextmanager
def locked(folder: Path, refusal: JaxvlmError) -> Iterator[IO[str]]:
    """Keeps other processes out of an existing folder as long as this one, or one that inherits the file, is alive.

    The system takes the lock back when a process ends, however it ends. Where files cannot be locked, nobody is.

    Raises:
      refusal: another process is in the folder.
      OSError: the folder cannot be written.
    """
    with (folder / ".lock").open("a", encoding="utf-8") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise refusal from None
        except (ImportError, OSError):  # Windows, or a file system without locks
            pass
        yield file
