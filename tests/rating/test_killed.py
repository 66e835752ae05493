"""Nothing that was acknowledged is lost, whenever the server or the browser is killed."""

import http.client
import os
import random
import signal
import threading
import time

import pytest
from rating.conftest import until, wait_until
from rating.material import make_material

from jaxvlm.rating import Store

VALUES = (0, 25, 50, 75, 100)
KILLS = 6


class Rater(threading.Thread):
    """Answers one item after the other, over and over, as the page does: again and again until it is acknowledged."""

    def __init__(self, server, name, items, stop):
        super().__init__(daemon=True)
        self.server, self.name_, self.items, self.stop_ = server, name, items, stop
        self.sent, self.acknowledged, self.retries = [], [], 0

    def run(self):
        for number in range(10**6):
            if self.stop_.is_set():
                return
            answer = (self.items[number % len(self.items)], VALUES[number % 5], f"{self.name_}-{number}")
            self.sent.append(answer)
            while not self.stop_.is_set():
                try:
                    assert self.server.answer(self.name_, *answer)[0] == 200
                except (OSError, http.client.HTTPException):  # refused, or the reply was cut off
                    self.retries += 1
                    time.sleep(0.02)
                else:
                    self.acknowledged.append(answer)
                    break


@pytest.mark.slow
def test_a_server_that_is_killed_while_answers_stream_in(serve, tmp_path):
    material = make_material(tmp_path / "rating", episodes=6)
    server, stop, generator = serve(material.folder), threading.Event(), random.Random(0)
    items = [item.id for item in material.trajectories]
    raters = [Rater(server, name, items, stop) for name in ("ann", "bob", "cas")]
    for rater in raters:
        rater.start()
    for _ in range(KILLS):
        before = [len(rater.acknowledged) for rater in raters]
        wait_until(
            lambda before=before: all(len(r.acknowledged) > b for r, b in zip(raters, before, strict=True))
        )
        time.sleep(generator.uniform(0.0, 0.25))
        assert server.stop(signal.SIGKILL)[0] == -signal.SIGKILL
        server.start()
    stop.set()
    for rater in raters:
        rater.join(20)
    server.stop(signal.SIGKILL)

    store = Store(material.answers)
    assert store._connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    kept = [(answer.rater, answer.item, answer.value, answer.token) for answer in store.history()]
    assert len(kept) == len(set(kept))  # what was sent again is there once
    assert sum(rater.retries for rater in raters) >= KILLS
    for rater in raters:
        mine = [entry[1:] for entry in kept if entry[0] == rater.name_]
        assert len(rater.acknowledged) > 2 * KILLS
        # All that was acknowledged is there in its order, and at most the one that was under way beside it.
        assert mine[: len(rater.acknowledged)] == rater.acknowledged
        assert mine == rater.sent[: len(mine)]
        newest = {item: value for item, value, _ in mine}
        assert {answer.item: answer.value for answer in store.current(rater.name_)} == newest
    store.close()


@pytest.mark.slow
def test_a_browser_that_is_killed(serve, launch, tmp_path):
    material = make_material(tmp_path / "rating", episodes=10)
    server = serve(material.folder)
    shown = 0
    for _ in range(2):
        browser = launch()
        page = browser.new_page()
        page.goto(server.address)
        page.fill("#name", "ann")
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-shown]")
        # What an earlier browser showed as saved is there.
        assert int(page.evaluate("document.body.dataset.saved")) >= shown
        for number in range(4):
            page.keyboard.press("12345"[number])
            until(page, f"document.body.dataset.saved >= {shown + 1}")
            shown = int(page.evaluate("document.body.dataset.saved"))
        page.keyboard.press("5")  # under way
        kill(browser)
    assert len(server.tasks("ann")["answers"]) >= shown >= 8


def kill(browser):
    """SIGKILL, without a word to the page."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    main = next(each["id"] for each in processes if each["type"] == "browser")
    os.kill(main, signal.SIGKILL)
    wait_until(lambda: not browser.is_connected() or _gone(browser))


def _gone(browser):
    try:
        browser.new_context()
    except Exception:
        return True
    return False
