"""The published report in a real Chromium, opened from disk."""

from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "report" / "index.html"
BROKEN = """async () => {
  const images = [...document.images];
  const decoded = await Promise.allSettled(images.map(image => image.decode()));
  return images.filter((image, k) => decoded[k].status === 'rejected' || !image.complete || !image.naturalWidth)
    .map(image => image.alt);
}"""


@pytest.fixture
def opened(browser):
    """Opens a file; returns the page, what it asked for and what it complained of."""
    context = browser.new_context()
    asked, complaints = [], []

    def opened(path):
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        return page, asked, complaints

    yield opened
    context.close()


@pytest.mark.slow
def test_the_published_report_opens_from_disk_and_asks_for_nothing_else(opened):
    page, asked, complaints = opened(PAGE)
    assert page.evaluate("document.images.length") > 20
    assert page.evaluate(BROKEN) == []
    assert [url for url in asked if not url.startswith("data:")] == [PAGE.as_uri()]
    assert complaints == []
    # Nothing is wider than the page, but what scrolls by itself.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_requests_complaints_and_broken_pictures_are_seen(opened, tmp_path):
    """What the test above would say of a page that is not whole."""
    bad = tmp_path / "page.html"
    bad.write_text('<img src="data:image/png;base64,AAAA" alt="broken"><img src="gone.png" alt="gone">')
    page, asked, complaints = opened(bad)
    assert page.evaluate(BROKEN) == ["broken", "gone"]
    assert (tmp_path / "gone.png").as_uri() in asked
    assert complaints
