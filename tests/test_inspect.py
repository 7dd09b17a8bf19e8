"""The inspector in a real browser: JupyterLab, and `aeseg inspect`."""

import shutil
import urllib.request

import numpy as np
import pytest
from browser import CHROMIUM, Inspected, Lab, app, chromium, make_run, restart_kernel, run_cell

from aeseg.app.decisions import read_reviews
from aeseg.app.cases import Cases
from aeseg.app.reviews import Reviews

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium here; install it, for example by apt-get install chromium"
)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    "A run of 300 phantom cases. Not to be changed: copy it."
    return make_run(tmp_path_factory.mktemp("many"), 300)


@pytest.fixture
def run(many, tmp_path):
    return shutil.copytree(many, tmp_path / "run")


def look_around(it, run):
    "Sort, filter, threshold, layers, rounds, pages."
    assert it.data("order") == "score/all/300" and it.data("page") == "0"
    cases = Cases(run)
    assert int(it.tile(0).get_attribute("data-k")) == cases.order()[0]
    it.root.get_by_label("Order").select_option("change")
    it.until("order", "^change/all/300$")
    assert int(it.tile(0).get_attribute("data-k")) == cases.order("change")[0]
    it.root.get_by_label("Filter").select_option("dropped")
    it.until("order", f"^change/dropped/{len(cases.order(show='dropped'))}$")
    it.root.get_by_label("Filter").select_option("all")
    it.root.get_by_label("Order").select_option("dice")  # all masks are compared first
    it.until("order", "^dice/all/300$")
    cases.compare()
    assert int(it.tile(0).get_attribute("data-k")) == cases.order("dice")[0]
    it.root.get_by_label("Order").select_option("score")
    it.until("order", "^score/all/300$")
    it.tab("Selection")
    threshold = it.root.get_by_label("Threshold")
    it.until("updates", ".")
    it.root.locator(".ai-strips .ai-tile img").first.wait_for()
    it.page.wait_for_timeout(500)  # until nothing moves any more
    before, updates = it.root.locator(".ai-big b").first.inner_text(), int(it.data("updates"))
    box = threshold.bounding_box()
    it.page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + box["height"] / 2)
    it.page.mouse.down()
    for k in range(20):
        it.page.mouse.move(box["x"] + box["width"] * (0.1 + 0.03 * k), box["y"] + box["height"] / 2)
    it.page.mouse.up()
    assert (
        int(it.data("updates")) >= updates + 15 and it.root.locator(".ai-big b").first.inner_text() != before
    )
    it.tab("Overview")
    it.until("scatter", "^300$")
    place, points = it.root.locator(".ai-scatter canvas").bounding_box(), np.load(
        run / ".inspect/latent_2.npy"
    )
    low, wide = points.min(0), np.ptp(points, 0)
    x, y = ((points[123] - low) / wide).tolist()
    it.page.mouse.click(
        place["x"] + 10 + x * (place["width"] - 20),
        place["y"] + place["height"] - 10 - y * (place["height"] - 20),
    )
    opened = points[int(it.data("open"))]
    assert np.abs((opened - points[123]) / wide).max() < 0.01  # that point, or one beside it
    it.tab("Gallery")
    it.tile(0).click()
    k = it.tile(0).get_attribute("data-k")
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
    "Accept, reject, undo, and an ellipse, by keyboard; the ids."
    it.tile(2).click()
    order = Cases(run).order()
    ids = [Cases(run).ids[k] for k in order[2:6]]
    it.press("a")
    it.until_decided(accepted=1)
    it.press("ArrowRight", "r")
    it.until_decided(accepted=1, rejected=1)
    it.press("ArrowRight", "a")
    it.until_decided(accepted=2)
    it.press("u")
    it.until_decided(accepted=1, rejected=1)
    it.press("ArrowRight")
    it.until("shown", f"^{order[5]}/")
    it.press("e")
    it.root.get_by_role("button", name="Apply").wait_for()
    box = it.root.locator(".ai-stage canvas").bounding_box()
    it.page.mouse.move(
        box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    )  # the picture can be moved meanwhile
    it.press("Enter")
    it.until_decided(accepted=1, rejected=1, corrected=1)
    rows, problems = read_reviews(run / "reviews.csv")
    assert problems == [] and [rows[i]["decision"] if i in rows else "" for i in ids] == [
        "accepted",
        "rejected",
        "",
        "corrected",
    ]
    assert Reviews(run).corrected(ids[3]).any()
    return ids


def test_jupyterlab(run, tmp_path):
    lab = Lab(tmp_path, run)
    try:
        with chromium(dict(width=1600, height=1000)) as (page, wrong):
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
            assert wrong == []
            restart_kernel(page)  # the new one knows what is on the disk only
            run_cell(page)
            Inspected(page).ready().until_decided(accepted=1, rejected=1, corrected=1)
            assert wrong == []
    finally:
        lab.close()


def test_the_app(run):
    with app(run) as address:
        with chromium() as (page, wrong):
            page.goto(address, wait_until="commit")
            it = Inspected(page).ready()
            look_around(it, run)
            decide(it, run)
            it.root.get_by_role("button", name="Train on…").click()
            assert "--resume --reviews" in it.root.locator(".ai-pop pre").inner_text()
            assert wrong == []
            page.reload(wait_until="commit")  # a kernel of its own
            Inspected(page).ready().until_decided(accepted=1, rejected=1, corrected=1)
            assert all(
                "403" in w for w in wrong
            ), wrong  # Voilà refuses its own page's wish to end the old kernel, which is ended when it has been idle
        bare = urllib.request.urlopen(address.split("?")[0], timeout=30)
        assert "login" in bare.url  # without the token there is nothing to see


def test_a_broken_run_in_the_app(run):
    "Deleted images and predictions: what is there is shown, and what is missing is said."
    shutil.rmtree(run / "predictions")
    (run / "config.yaml").unlink()
    with app(run, "--images", run) as address, chromium() as (page, wrong):
        page.goto(address, wait_until="commit")
        page.wait_for_selector(".aeseg-inspector[data-page]", timeout=180000)
        said = page.locator(".ai-notes").text_content()
        assert "config.yaml is missing" in said and "predictions/ is missing" in said and "images" in said
        assert wrong == []
