import io

from rich.console import Console

from jaxvlm.runtime import Progress
from jaxvlm.runtime.progress import duration


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def plain_console():
    return Console(file=io.StringIO(), highlight=False, soft_wrap=True, force_terminal=False)


def test_plain_lines_every_few_seconds():
    console, clock = plain_console(), Clock()
    with Progress(1000, console=console, interval=5.0, clock=clock) as progress:
        progress.announce("compiling [x] ...")
        for step in range(0, 1001, 100):
            progress.update(step, reward=0.25 + step / 10_000, success=step / 1000)
            clock.now += 2.0
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "compiling [x] ..."
    assert lines[1].startswith("  0%  0/1,000  reward 0.25  success 0")
    assert "50 steps/s" in lines[2]
    assert "reward 0.28  success 0.3  6s elapsed  14s left" in lines[2]
    assert lines[-1].startswith("100%  1,000/1,000")
    assert len(lines) == 6  # after 0, 6, 12 and 18 s, and the end


def test_rate_leaves_out_what_was_before_the_first_update():
    clock = Clock()
    with Progress(1000, initial=500, console=plain_console(), clock=clock) as progress:
        clock.now += 60.0  # compilation
        progress.update(510)
        assert progress.rate != progress.rate
        clock.now += 1.0
        progress.update(530)
        assert progress.rate == 20.0


def test_the_first_update_tells_a_rate_when_everything_is_compiled():
    console, clock = plain_console(), Clock()
    with Progress(100, unit="x 4 steps", compiled=True, console=console, clock=clock) as progress:
        clock.now += 2.0
        progress.update(20)
    assert console.file.getvalue() == " 20%  20/100  10 x 4 steps/s  2s elapsed  8s left\n"
    with Progress(10, unit="episodes", compiled=True, console=console, clock=clock) as progress:
        clock.now += 4.0
        progress.update(1)
    assert "1/10  0.25 episodes/s" in console.file.getvalue()
    console = plain_console()
    with Progress(100, compiled=True, console=console):
        pass
    assert console.file.getvalue() == ""


def test_rate_forgets():
    clock = Clock()
    with Progress(10**6, console=plain_console(), clock=clock) as progress:
        progress.update(0)
        for step in range(1, 101):
            clock.now += 1.0
            progress.update(step * 10 if step <= 50 else 500 + (step - 50) * 100)
        assert progress.rate == 100.0


def test_terminal_shows_a_bar():
    console = Console(file=io.StringIO(), force_terminal=True, width=160, color_system=None)
    with Progress(100, console=console) as progress:
        progress.announce("compiling ...")
        progress.update(10, reward=0.5)
        progress.update(100, reward=0.75)
    output = console.file.getvalue()
    assert "compiling ..." in output
    assert "100%" in output
    assert "reward 0.75" in output


def test_nothing_but_announcements_without_updates():
    console = plain_console()
    with Progress(10, console=console):
        pass
    assert console.file.getvalue() == ""


def test_duration():
    assert [duration(s) for s in (0, 59.4, 59.6, 185, 7_620)] == ["0s", "59s", "1m00s", "3m05s", "2h07m"]
