"""The page in a real Chromium: keys, reloads, several raters, and that it says nothing of runs."""

import signal

import pytest
from rating.conftest import one_server, until, wait_until
from rating.material import make_material

from jaxvlm.rating import Store

RUN = "secret-run"
PLACES = """() => Object.fromEntries([...document.querySelectorAll(
  '#prompt, #criterion, #picture, #time, #question, #answers button, #status, #bar, #count, #hints, #who')]
  .map((element, number) => { const box = element.getBoundingClientRect();
    return [element.id || number, [box.x, box.y, box.width, box.height].map(Math.round).join(' ')]; }))"""


@pytest.fixture
def visit(browser):
    """Opens pages; at the end of the test none of them may have complained or asked anyone else."""
    contexts, complaints, foreign = [], [], []

    def visit(server, name=None, context=None, **options):
        if context is None:
            context = browser.new_context(**options)
            contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda sent: (
                None if sent.url.startswith((server.address, "data:", "blob:")) else foreign.append(sent.url)
            ),
        )
        page.goto(server.address)
        if name is not None:
            page.fill("#name", name)
            page.keyboard.press("Enter")
            page.wait_for_selector("body[data-shown]")
        return page

    visit.complaints = complaints
    yield visit
    for context in contexts:
        context.close()
    assert complaints == []
    assert foreign == []


def shown(page):
    return page.evaluate("document.body.dataset.shown")


def press(page, key, saved):
    """Presses a key and waits until so many answers are saved; returns the item it was about."""
    item = shown(page)
    page.keyboard.press(key)
    until(page, f"document.body.dataset.saved === '{saved}'")
    return item


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return make_material(tmp_path_factory.mktemp("runs") / RUN / "rating", source=RUN)


@pytest.fixture(scope="module")
def server(material):
    """One for all tests that leave it alone; each comes under a name of its own."""
    yield from one_server(material.folder)


@pytest.mark.slow
def test_keys_from_the_first_to_the_last(server, visit):
    page = visit(server, "Ann")
    assert page.inner_text("#prompt") == "“a humanoid robot kneeling”"
    assert "knees" in page.inner_text("#criterion")
    given = {}
    for number, key in enumerate("12345", 1):
        given[press(page, key, number)] = 25 * (number - 1)
        assert page.inner_text("#status") == f"Saved: {25 * (number - 1)} %."
        assert page.inner_text("#count") == f"{number} of 6 answered"
    page.keyboard.down("3")  # the row of digits; held down, it counts once
    until(page, "document.body.dataset.saved === '6'")
    for _ in range(3):
        page.keyboard.down("3")
    given[shown(page)] = 50
    assert "All are answered" in page.inner_text("#status")
    assert len(given) == 6
    assert server.tasks("Ann")["answers"] == given
    assert page.get_attribute("#answers button:nth-child(3)", "aria-pressed") == "true"


def test_back_undo_and_other_keys(server, visit, material):
    page = visit(server, "Ben")
    first = press(page, "1", 1)
    second = press(page, "2", 2)
    page.keyboard.press("ArrowLeft")
    until(page, f"document.body.dataset.shown === '{second}'")
    assert page.get_attribute("#answers button:nth-child(2)", "aria-pressed") == "true"
    press(page, "4", 2)  # changed, and on to the next
    until(page, f"document.body.dataset.shown !== '{second}'")
    wait_until(lambda: server.tasks("Ben")["answers"] == {first: 0, second: 75})
    press(page, "u", 1)
    assert shown(page) == second
    assert server.tasks("Ben")["answers"] == {first: 0}
    press(page, "Backspace", 0)
    assert shown(page) == first
    page.keyboard.press("u")
    until(page, "document.querySelector('#status').textContent === 'There is nothing to undo.'")
    page.keyboard.press("ArrowLeft")
    assert page.inner_text("#status") == "This is the first."
    page.keyboard.press("ArrowRight")  # left open for later
    until(page, f"document.body.dataset.shown === '{second}'")
    for key in ("6", "0", "y", "a", "Control+1"):
        page.keyboard.press(key)
    assert server.tasks("Ben")["answers"] == {}
    store = Store(material.answers)
    history = [answer.value for answer in store.history() if answer.rater == "Ben"]
    assert history == [0, 25, 75, None, None]
    store.close()


def test_loops_run_pause_and_go_frame_by_frame(server, visit):
    page = visit(server, "Cas")
    played = lambda: page.evaluate("document.querySelector('#played').style.transform")  # noqa: E731
    before = played()
    wait_until(lambda: played() != before)
    page.keyboard.press("Space")
    stopped = played()
    page.wait_for_timeout(400)
    assert played() == stopped
    page.keyboard.press(".")
    after = played()
    assert after != stopped
    page.keyboard.press(",")
    assert played() == stopped
    page.keyboard.press("Space")
    wait_until(lambda: played() not in (stopped, after))


def test_a_reload_in_the_middle_goes_on(server, visit):
    page = visit(server, "Dan")
    done = [press(page, "2", 1), press(page, "3", 2)]
    here = shown(page)
    page.reload()
    page.wait_for_selector("body[data-shown]")
    assert page.is_hidden("#welcome")  # the browser kept the name
    assert page.inner_text("#rater") == "Dan"
    assert shown(page) == here
    assert page.inner_text("#count") == "2 of 6 answered"
    press(page, "u", 1)  # also what an earlier visit said last
    assert shown(page) == done[1]


def test_two_raters_at_once(server, visit):
    pages = {name: visit(server, name) for name in ("Eve", "Eve B")}
    given = {name: {} for name in pages}
    for number in range(1, 7):
        for name, page in pages.items():
            key = str(number % 5 + 1) if name == "Eve" else str(5 - number % 5)
            given[name][press(page, key, number)] = 25 * (int(key) - 1)
    for name in pages:
        assert server.tasks(name)["answers"] == given[name]
    assert list(given["Eve"]) != list(given["Eve B"])  # an order of each one's own


def test_someone_else_at_the_same_browser(server, visit):
    page = visit(server, "Fay")
    press(page, "5", 1)
    page.click("#leave")
    page.wait_for_selector("#name", state="visible")
    assert page.input_value("#name") == ""
    until(page, "document.querySelector('#names').children.length >= 1")
    page.fill("#name", "Fay B")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#count').textContent === '0 of 6 answered'")
    assert page.inner_text("#rater") == "Fay B"


def test_the_page_is_blind_to_runs(serve, visit, tmp_path):
    folders = [make_material(tmp_path / name / "rating", source=name).folder for name in (RUN, "other-run")]
    server = serve(*folders)
    context_urls, bodies = [], []
    page = visit(server)
    page.on("response", lambda response: bodies.append((response.url, str(response.headers), response)))
    page.on("request", lambda request: context_urls.append(request.url + str(request.post_data)))
    page.fill("#name", "Ann")
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-shown]")
    for number in range(1, 13):
        press(page, "3", number)
    texts = [page.content(), page.title(), page.evaluate("JSON.stringify(localStorage)"), *context_urls]
    texts += [url + headers for url, headers, _ in bodies]
    texts += [response.text() for url, _, response in bodies if "/api/" in url]
    for word in (RUN, "other-run", "seed", "checkpoint", "trained", str(tmp_path)):
        assert not [text for text in texts if word in text.lower()], word


def test_nothing_moves_when_an_answer_is_given(server, visit):
    for size in ({"width": 1280, "height": 800}, {"width": 390, "height": 700}):
        page = visit(server, f"Gus {size['width']}", viewport=size)
        before = page.evaluate(PLACES)
        assert len(before) > 10
        for number, key in enumerate("15", 1):
            press(page, key, number)
            assert page.evaluate(PLACES) == before
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")


def test_pictures_are_fetched_before_they_are_shown(server, visit):
    page = visit(server, "Hal")
    until(
        page, "performance.getEntriesByType('resource').filter(e => e.name.includes('/images/')).length >= 4"
    )


def test_without_a_mouse_by_tab_and_enter(server, visit):
    page = visit(server, "Ida")
    labels = []
    for _ in range(5):
        page.keyboard.press("Tab")
        labels.append(page.evaluate("document.activeElement.getAttribute('aria-label')"))
    assert labels == [f"{value} per cent of the time" for value in (0, 25, 50, 75, 100)]
    item = press(page, "Enter", 1)
    assert server.tasks("Ida")["answers"] == {item: 100}
    assert page.get_attribute("#picture", "aria-label") == "Episode 2 of 6"
    assert page.get_by_role("progressbar", name="Answered").is_visible()
    assert page.get_by_role("group", name="For how much of the time").is_visible()


def test_frames_are_answered_with_y_and_n(serve, visit, tmp_path):
    material = make_material(tmp_path / "rating", frames=1)
    server = serve(material.folder, mode="frame")
    page = visit(server, "Ann")
    assert page.is_hidden("#time")
    given = {press(page, "y", 1): 1, press(page, "n", 2): 0}
    page.keyboard.press("1")  # no answer here
    assert server.tasks("Ann")["answers"] == given


@pytest.mark.slow
def test_a_server_that_is_away_and_comes_back(serve, visit, tmp_path):
    server = serve(make_material(tmp_path / "rating").folder)
    page = visit(server, "Ann")
    first = press(page, "1", 1)
    server.stop(signal.SIGKILL)
    second = shown(page)
    page.keyboard.press("5")
    until(page, "document.querySelector('#status').textContent.startsWith('Not saved yet')")
    page.keyboard.press("2")  # nothing else is taken meanwhile
    assert shown(page) == second
    server.start()
    until(page, "document.body.dataset.saved === '2'")
    assert server.tasks("Ann")["answers"] == {first: 0, second: 100}
    assert visit.complaints
    # Chromium's own words: of requests that are sent, and of those that were under way when the server died.
    assert all("net::ERR_CONNECTION" in text or "net::ERR_EMPTY" in text for text in visit.complaints)
    visit.complaints.clear()


def test_a_disk_that_is_full_is_told_and_the_answer_sent_again(server, visit):
    page = visit(server, "Zoe")
    full = {"error": "the answer could not be written to the disk"}
    page.route("**/api/answers", lambda route: route.fulfill(status=500, json=full))
    page.keyboard.press("5")
    until(page, "document.querySelector('#status').textContent.includes('could not be written to the disk')")
    page.unroute("**/api/answers")
    until(page, "document.body.dataset.saved === '1'")
    assert list(server.tasks("Zoe")["answers"].values()) == [100]
    assert all("500" in text for text in visit.complaints)
    visit.complaints.clear()


def test_names_that_are_none_are_told(server, visit):
    page = visit(server)
    page.fill("#name", "   ")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#name-problem').textContent.includes('1 to 40 characters')")
    assert all("400" in text for text in visit.complaints)
    visit.complaints.clear()
