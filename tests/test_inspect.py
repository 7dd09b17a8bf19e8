"""The inspector in a real browser: JupyterLab, `aeseg inspect`, and an exported page."""

import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, MARK_OLD, Inspected, Lab, app, chromium, restart_kernel, run_cell

from aeseg.app.cases import Cases
from aeseg.app.decisions import read_reviews
from aeseg.app.inspector import free_port, join_modules
from aeseg.app.reviews import Reviews

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None, reason="no Chromium here; install it, for example by apt-get install chromium"
    ),
]
NOTEBOOK = Path(__file__).resolve().parents[1] / "nbs/50_app/15_inspector.ipynb"


@pytest.fixture
def run(many, tmp_path):
    return shutil.copytree(many, tmp_path / "run")


def look_around(it, run):
    "Use every part of the view that decides nothing."
    check_orders(it, Cases(run))
    check_threshold(it)
    check_scatter(it, run / ".inspect/latent_2.npy")
    check_layers_and_pages(it)


def first_case(it):
    return int(it.tile(0).get_attribute("data-k"))


def check_orders(it, cases):
    "Sort and filter."
    assert it.data("order") == "score/all/300"
    assert it.data("page") == "0"
    assert first_case(it) == cases.order()[0]
    it.root.get_by_label("Order").select_option("change")
    it.until("order", "^change/all/300$")
    assert first_case(it) == cases.order("change")[0]
    it.root.get_by_label("Filter").select_option("dropped")
    it.until("order", f"^change/dropped/{len(cases.order(show='dropped'))}$")
    it.root.get_by_label("Filter").select_option("all")
    it.root.get_by_label("Order").select_option("dice")  # all masks are compared first
    it.until("order", "^dice/all/300$")
    cases.compare()
    assert first_case(it) == cases.order("dice")[0]
    it.root.get_by_label("Order").select_option("score")
    it.until("order", "^score/all/300$")


def check_threshold(it):
    "Drag the threshold."
    it.tab("Selection")
    it.until("updates", ".")
    it.root.locator(".ai-strips .ai-tile img").first.wait_for()
    it.page.wait_for_timeout(500)  # until nothing moves any more
    kept = it.root.locator(".ai-big b").first
    before, updates = kept.inner_text(), int(it.data("updates"))
    box = it.root.get_by_label("Threshold", exact=True).bounding_box()
    y = box["y"] + box["height"] / 2
    it.page.mouse.move(box["x"] + box["width"] * 0.1, y)
    it.page.mouse.down()
    for k in range(20):
        it.page.mouse.move(box["x"] + box["width"] * (0.1 + 0.03 * k), y)
    it.page.mouse.up()
    assert int(it.data("updates")) >= updates + 15
    assert kept.inner_text() != before


def check_scatter(it, path):
    "Click a point of the latent space; its places are written to `path`."
    it.tab("Overview")
    it.until("scatter", "^300$")
    box = it.root.locator(".ai-scatter canvas").bounding_box()
    points = np.load(path)
    low, extent = points.min(0), np.ptp(points, 0)
    x, y = ((points[123] - low) / extent).tolist()
    left = box["x"] + 10 + x * (box["width"] - 20)
    top = box["y"] + box["height"] - 10 - y * (box["height"] - 20)
    it.page.mouse.click(left, top)
    opened = points[int(it.data("open"))]
    assert np.abs((opened - points[123]) / extent).max() < 0.01  # that point, or one beside it


def check_layers_and_pages(it):
    "Switch layers and rounds, and turn a page."
    it.tab("Gallery")
    it.tile(0).click()
    k = first_case(it)
    it.until("shown", f"^{k}/2/label,corrected$")
    it.press("3", "4", "6")  # prediction, truth, uncertainty
    it.until("shown", f"^{k}/2/label,corrected,prediction,truth,uncertainty$")
    it.press("4", "6")
    it.root.locator(".ai-round").fill("0")
    it.until("shown", f"^{k}/1/")
    it.root.locator(".ai-round").fill("1")
    it.root.get_by_title("Next page").click()
    it.until("page", "^1$")
    it.root.get_by_title("Previous page").click()
    it.until("page", "^0$")


def decide(it, run):
    "Accept, reject, undo, and an ellipse, by keyboard."
    order = Cases(run).order()
    it.tile(2).click()
    it.press("a")
    it.until_decided(accepted=1)
    it.press("r")  # the next case was opened
    it.until_decided(accepted=1, rejected=1)
    it.press("a")
    it.until_decided(accepted=2)
    it.press("u")
    it.until_decided(accepted=1, rejected=1)
    it.until("shown", f"^{order[4]}/")
    it.press("ArrowRight")
    it.until("shown", f"^{order[5]}/")
    it.press("e")
    it.root.get_by_role("button", name="Apply").wait_for()
    box = it.root.locator(".ai-stage canvas").bounding_box()
    it.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)  # does not disturb Enter
    it.press("Enter")
    it.until_decided(accepted=1, rejected=1, corrected=1)
    rows, problems = read_reviews(run / "reviews.csv")
    ids = [Cases(run).ids[k] for k in order[2:6]]
    assert problems == []
    assert [rows.get(id, {}).get("decision") for id in ids] == ["accepted", "rejected", None, "corrected"]
    assert Reviews(run).corrected(ids[3]).any()


def test_jupyterlab(run, tmp_path):
    lab = Lab(tmp_path, run)
    try:
        with chromium(dict(width=1600, height=1000)) as (page, faults):
            page.goto(lab.address, wait_until="commit")
            run_cell(page)
            it = Inspected(page).ready()
            look_around(it, run)
            decide(it, run)
            assert page.locator(".jp-Notebook .jp-Cell").count() == 1  # the key a added none
            page.keyboard.press("Control+s")
            page.wait_for_timeout(1500)
            page.reload(wait_until="commit")  # the kernel lives on
            Inspected(page).ready().until_decided(accepted=1, rejected=1, corrected=1)
            assert faults == []
            restart_kernel(page)  # the new one knows what is on the disk only
            lost = page.get_by_role("alert").filter(has_text="run the cell again")
            lost.wait_for()
            page.locator(".aeseg-inspector").press("r")
            run_cell(page)
            Inspected(page).ready().until_decided(accepted=1, rejected=1, corrected=1)
            assert faults == []
    finally:
        lab.close()


def test_the_app(run):
    with app(run) as address:
        with chromium() as (page, faults):
            page.goto(address, wait_until="commit")
            it = Inspected(page).ready()
            look_around(it, run)
            decide(it, run)
            it.root.get_by_role("button", name="Train on…").click()
            assert "--resume --reviews" in it.root.locator(".ai-pop pre").first.inner_text()
            assert faults == []
            page.reload(wait_until="commit")  # a kernel of its own
            Inspected(page).ready().until_decided(accepted=1, rejected=1, corrected=1)
            # Voilà's page asks to end the old kernel and is refused; the kernel ends when it has been idle
            assert all("403" in fault for fault in faults), faults
        bare = urllib.request.urlopen(address.split("?")[0], timeout=30)
        assert "login" in bare.url  # without the token there is nothing to see


def test_the_page_of_the_app_outlives_its_server(run):
    "The server ends and is started again: the page says so, decides nothing, and connects by itself."
    port = str(free_port(8900))
    with chromium() as (page, _):
        with app(run, "--port", port) as address:
            page.goto(address, wait_until="commit")
            it = Inspected(page).ready()
            it.press("r")
            it.until_decided(rejected=1)
        it.until("connected", "^false$")
        assert "nothing is saved" in it.root.get_by_role("alert").inner_text()
        it.press("r")
        page.evaluate(MARK_OLD)
        with app(run, "--port", port) as again:
            assert again == address
            it.ready().until_decided(rejected=1)
            it.press("r")
            it.until_decided(rejected=2)
    assert [row["decision"] for row in read_reviews(run / "reviews.csv")[0].values()] == ["rejected"] * 2


def test_a_broken_run_in_the_app(run):
    "Deleted images and predictions: what is there is shown, and what is missing is said."
    shutil.rmtree(run / "predictions")
    (run / "config.yaml").unlink()
    with app(run, "--images", run) as address, chromium() as (page, faults):
        page.goto(address, wait_until="commit")
        page.wait_for_selector(".aeseg-inspector[data-page]", timeout=180000)
        text = page.locator(".ai-notes").text_content()
        for words in ("config.yaml is missing", "predictions/ is missing", "images"):
            assert words in text
        assert faults == []


MODULES = {
    "count.js": (
        """export const calls = []
export function note(x) {
  calls.push(x)
  return calls.length
}
"""
    ),
    "first.js": (
        """import {note} from './count.js'
const own = 'first'
export const first = () => note(own)
"""
    ),
    "second.js": (
        """import {note} from './count.js'
const own = 'second'
export class Second {
  get value() {
    return note(own)
  }
}
"""
    ),
    "index.js": (
        """import {calls} from './count.js'
import {first} from './first.js'
import {
  Second,
} from './second.js'
export default {calls, first, second: new Second()}
"""
    ),
}
IMPORT = """async text => {
  const {default: it} = await import(URL.createObjectURL(new Blob([text], {type: 'text/javascript'})))
  return [it.first(), it.second.value, it.first(), it.calls]
}"""


def test_joined_modules_keep_their_scopes_and_share_imports(tmp_path):
    for name, text in MODULES.items():
        (tmp_path / name).write_text(text)
    with chromium() as (page, faults):
        assert page.evaluate(IMPORT, join_modules(tmp_path / "index.js")) == [
            1,
            2,
            3,
            ["first", "second", "first"],
        ]
        assert faults == []


def test_an_exported_page_shows_the_static_picture(tmp_path):
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", tmp_path, NOTEBOOK]
    subprocess.run(command, check=True, capture_output=True)
    with chromium() as (page, _):
        page.route("https://**", lambda route: route.abort())  # scripts of nbconvert's page
        page.goto((tmp_path / "15_inspector.html").as_uri(), wait_until="load")
        output = page.locator(".jp-Cell", has_text="overview(inspector.cases)").locator(
            ".jp-RenderedImage img"
        )
        output.scroll_into_view_if_needed()
        assert output.is_visible()
        assert output.evaluate("e => e.naturalWidth") > 400
