"""How a run is getting on: a live bar on a terminal, a plain line every few seconds elsewhere."""

import time
from collections import deque
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

RATE_SPAN = 30.0  # seconds the rate is measured over


class Progress:
    """Fraction, environment steps, steps a second, figures, elapsed and remaining time.

    ```
    with Progress(total=100_000) as progress:
        progress.announce("compiling ...")
        progress.update(512, reward=0.31, success=0.0)
    ```

    The rate counts from the first update on, so compilation is not in it; `compiled=True` lets it count from the start.
    """

    def __init__(
        self,
        total: int,
        *,
        initial: int = 0,
        unit: str = "steps",
        compiled: bool = False,
        console: Console | None = None,
        interval: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Prepares the display; it appears with the `with` block.

        Args:
            total: environment steps at the end.
            initial: steps already taken, by the run that is resumed.
            unit: what is counted, if not environment steps.
            compiled: whether nothing is left to compile, so that the first update already tells a rate.
            console: where to; None is standard output.
            interval: seconds between plain lines.
            clock: seconds, for tests.
        """
        self.total = total
        self.unit = unit
        self.compiled = compiled
        self.console = console or Console(highlight=False, soft_wrap=True)
        self.interval = interval
        self._clock = clock
        self._start = clock()
        self._step = initial
        self._figures = ""
        self._marks: deque[tuple[float, int]] = deque()
        self._last_line = -float("inf")
        self._shown_step: int | None = None
        self._bar: Bar | None = None

    def __enter__(self) -> "Progress":
        self._start = self._clock()
        if self.compiled:
            self._marks.append((self._start, self._step))
        if self.console.is_terminal:
            bar = Bar(
                BarColumn(bar_width=24),
                TaskProgressColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[text]}"),
                console=self.console,
            )
            bar.start()
            self._task = bar.add_task("", total=self.total, completed=self._step, text="")
            self._bar = bar
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif self._shown_step != self._step and len(self._marks) > self.compiled:
            self._print_line()

    def announce(self, message: str) -> None:
        """Prints a line of its own at once: before compiling, after a checkpoint, a video."""
        self.console.print(message, markup=False)

    def update(self, step: int, **figures: float) -> None:
        """Shows the step reached and the latest figures, in the order given; call it every iteration."""
        now = self._clock()
        self._step = step
        if figures:
            self._figures = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        self._marks.append((now, step))
        while len(self._marks) > 2 and self._marks[1][0] <= now - RATE_SPAN:
            self._marks.popleft()
        if self._bar is not None:
            self._bar.update(self._task, completed=step, text=self._describe())
        elif now - self._last_line >= self.interval:
            self._print_line()

    @property
    def rate(self) -> float:
        """Environment steps a second over the last half minute; NaN before the second update."""
        if len(self._marks) < 2:
            return float("nan")
        (then, before), (now, step) = self._marks[0], self._marks[-1]
        return (step - before) / (now - then) if now > then else float("nan")

    def _describe(self) -> str:
        rate = self.rate
        left = (self.total - self._step) / rate if rate > 0 else float("nan")
        number = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        parts = [f"{number} {self.unit}/s"] if rate > 0 else []
        parts += [self._figures] * bool(self._figures)
        parts += [f"{duration(self._clock() - self._start)} elapsed"]
        parts += [f"{duration(left)} left"] if left > 0 else []
        return "  ".join(parts)

    def _print_line(self) -> None:
        self._last_line = self._clock()
        self._shown_step = self._step
        percent = 100 * self._step / max(self.total, 1)
        self.console.print(
            f"{percent:3.0f}%  {self._step:,}/{self.total:,}  {self._describe()}", markup=False
        )


def duration(seconds: float) -> str:
    """`7s`, `3m05s` or `2h07m`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m{rest:02d}s" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"
