"""Stopping a run between two iterations, where its state is whole."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class StopFlag:
    """False until somebody asks the run to stop."""

    message = "\nstopping: finishing this iteration, then saving; press Ctrl-C again to stop at once\n"

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt  # asked twice: the user does not want to wait for the checkpoint
        self.signal = signal.Signals(number)
        # A handler may run in the middle of another print, which the file object's own write would refuse.
        os.write(2, self.message.encode())


@contextlib.contextmanager
def stop_flag() -> Iterator[StopFlag]:
    """Within the block SIGINT and SIGTERM only set the flag; the handlers before come back at its end.

    A second Ctrl-C raises KeyboardInterrupt. Outside the main thread, where Python allows no handlers, the
    flag is never set by a signal.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    before = {number: signal.signal(number, flag._handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            # None stands for a handler that was not installed from Python and cannot be put back by it
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the block SIGTERM interrupts like Ctrl-C, so that what was begun is ended or cleared away."""

    def handle(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, handle)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
