"The report in a real browser: wide and narrow, light, dark and printed, without scripts and network."

import pytest
from browser import CHROMIUM, chromium

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
CASES = [(width, scheme) for width in (800, 1280) for scheme in ("light", "dark")]
VISIBLE = "[...document.querySelectorAll('.chart > .enlarge image')].filter(e => e.getClientRects().length)"


def colours(page):
    "Background of the page, and the classes of the charts that are shown."
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    return background, set(page.evaluate(f"{VISIBLE}.map(e => e.getAttribute('class'))"))


@pytest.mark.slow
@pytest.mark.parametrize("width, scheme", CASES)
def test_the_report_in_a_browser(finished, width, scheme):
    with chromium(dict(width=width, height=900)) as (page, faults):
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.emulate_media(color_scheme=scheme)
        page.goto((finished / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate("document.querySelectorAll('script').length") == 0
        dark = scheme == "dark"
        assert colours(page) == ("rgb(21, 24, 28)", {"dark"}) if dark else ("rgb(255, 255, 255)", {"light"})
        small = page.get_by_role("img", name="label of").first
        before = small.bounding_box()["width"]
        small.click()
        large = page.locator(":popover-open")
        assert large.locator("svg").bounding_box()["width"] > 2 * before
        page.keyboard.press("Escape")
        assert large.count() == 0
        # by the keyboard as well
        page.locator(".chart .enlarge").first.press("Enter")
        assert large.count() == 1
        page.keyboard.press("Escape")
        assert "overlap" in page.locator("th abbr", has_text="Dice").first.get_attribute("title")
        page.locator(".copy").first.click()
        assert page.evaluate("getSelection().toString()") == f"aeseg inspect {finished.resolve()}"
        page.emulate_media(media="print", color_scheme=scheme)
        assert colours(page) == ("rgb(255, 255, 255)", {"light"})
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        assert faults == []
