"""What the inspector's page does, in Chromium but without Jupyter: see `direct.py`."""

import csv
import re
import shutil
import time

import numpy as np
import pytest
from browser import ARGUMENTS, CHROMIUM, VIEW, Inspected, collect_faults
from direct import Direct
from PIL import Image
from run_folders import unfinish
from source_tree import ROOT

from aeseg.app.cases import Cases
from aeseg.app.decisions import read_reviews
from aeseg.app.reviews import Reviews
from aeseg.data.images import write_mask

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here"),
]
AXE = ROOT / "node_modules/axe-core/axe.min.js"  # npm install --no-save axe-core


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def run(many, tmp_path):
    return shutil.copytree(many, tmp_path / "run")


@pytest.fixture
def direct(run):
    server = Direct(run)
    yield server
    server.stop()


class Page(Inspected):
    "A window of the inspector."

    def __init__(self, context, direct):
        super().__init__(context.new_page())
        self.page.set_default_timeout(30000)
        self.direct, self.faults = direct, collect_faults(self.page)
        self.load()

    def load(self):
        self.page.goto(self.direct.address)
        self.ready()
        self.kernel = list(self.direct.kernels.values())[-1]

    @property
    def open(self):
        return int(self.data("open"))

    def button(self, name):
        return self.root.get_by_role("button", name=name, exact=True)

    def until_open(self, k):
        self.until("open", f"^{k}$")

    def until_shown(self, k):
        self.until("shown", f"^{k}/")
        self.until("numbers", f"^{k}$")

    def place(self, x, y):
        "A place of the open image in CSS pixels of the page, given in pixels of the image."
        return self.page.evaluate(PLACE, [x, y])

    def stroke(self, *points):
        "Press, drag through points of the image, and release."
        first, *others = [self.place(x, y) for x, y in points]
        self.page.mouse.move(*first)
        self.page.mouse.down()
        for point in others:
            self.page.mouse.move(*point, steps=4)
        self.page.mouse.up()

    def click(self, x, y):
        self.page.mouse.click(*self.place(x, y))


PLACE = """([x, y]) => {
  const canvas = document.querySelector('.ai-stage canvas')
  const [height, width] = document.querySelector('.aeseg-inspector').dataset.full.split('x').map(Number)
  const box = canvas.getBoundingClientRect()
  const scale = Math.min(box.width / width, box.height / height)
  const [left, top] = [box.left + box.width / 2, box.top + box.height / 2]
  return [left + (x - width / 2) * scale, top + (y - height / 2) * scale]
}"""


@pytest.fixture
def window(browser, direct):
    "Opens windows; each gets a kernel of its own."
    contexts = []

    def create(**options):
        contexts.append(browser.new_context(viewport=VIEW, accept_downloads=True, **options))
        return Page(contexts[-1], direct)

    yield create
    for context in contexts:
        context.close()


def decisions(run):
    "{id: decision} in the file."
    rows, problems = read_reviews(run / "reviews.csv")
    assert problems == []
    return {id: row["decision"] for id, row in rows.items()}


# ---------------------------------------------------------------- a connection that is lost


def test_a_lost_connection_is_said_and_nothing_is_decided(window, direct, run):
    it = window()
    ids = Cases(run).ids
    it.press("r")
    it.until_decided(rejected=1)
    first, second = int(it.tile(0).get_attribute("data-k")), it.open
    direct.stop()
    it.until("connected", "^false$")
    banner = it.root.get_by_role("alert")
    assert "nothing is saved" in banner.inner_text()
    assert "aeseg inspect" in banner.inner_text()
    it.press("r")
    assert it.button("Accept").is_disabled()
    assert it.open == second  # no decision, so no next case
    it.page.evaluate("document.querySelector('.aeseg-inspector').dataset.old = 1")
    direct.start()  # a new server, a new kernel: the page finds it by itself
    it.ready().until("connected", "^true$|^$")
    assert it.open == second
    it.until_decided(rejected=1)
    it.press("r")
    it.until_decided(rejected=2)
    assert decisions(run) == {ids[first]: "rejected", ids[second]: "rejected"}


def test_a_kernel_that_is_silent_for_a_while_makes_a_change_once(window, run):
    it = window()
    it.kernel.deaf = True  # the request is lost on its way
    it.press("r")
    it.until("connected", "^false$")
    assert "1 decision waits" in it.root.get_by_role("alert").inner_text()
    it.kernel.deaf = False
    it.until("connected", "^true$")
    it.until_decided(rejected=1)
    it.kernel.lose = {"made", "alive", "rows"}  # the reply is lost on its way
    it.press("a")
    it.until("connected", "^false$")
    it.kernel.lose = set()
    it.until("connected", "^true$")
    it.until_decided(rejected=1, accepted=1)
    it.until("unconfirmed", "^0$")
    assert sorted(decisions(run).values()) == ["accepted", "rejected"]
    it.press("u", "u")  # two steps were made, and no third one
    it.until_decided(rejected=0, accepted=0)
    assert it.kernel.reviews.history == []


def test_a_change_outlives_a_page_that_is_loaded_again(window, run):
    it = window()
    k = it.open
    it.kernel.deaf = True
    it.press("a")
    it.until("unconfirmed", "^1$")
    it.load()
    it.until_decided(accepted=1)
    assert decisions(run) == {Cases(run).ids[k]: "accepted"}


def test_a_change_that_comes_late_overwrites_no_later_one(window, run):
    it = window()
    id = Cases(run).ids[it.open]
    it.kernel.deaf = True
    it.press("a")
    it.until("unconfirmed", "^1$")
    Reviews(run).decide(id, "rejected", 2)  # by another inspector
    it.load()
    it.until("unconfirmed", "^0$")
    assert "was decided elsewhere" in it.root.locator(".ai-toast").inner_text()
    it.until_decided(rejected=1)
    assert decisions(run) == {id: "rejected"}


def test_numbers_never_belong_to_another_case(window):
    it = window()
    it.until_shown(it.open)
    it.page.wait_for_timeout(300)  # the neighbours came
    it.kernel.lose = {"case"}
    it.press("PageDown")
    assert it.data("numbers") == ""
    assert it.root.locator(".ai-numbers").inner_text() == ""


# ---------------------------------------------------------------- keyboard and names


def focus_by_mouse(it):
    "Acts by the mouse after which keys used to be lost."
    yield "loading", lambda: None
    yield "a page", lambda: it.button("Next page").click()
    yield "an order", lambda: it.root.get_by_label("Order").select_option("change")
    yield "a filter by its list", lambda: choose_by_mouse(it)
    yield "a slider", lambda: it.root.get_by_label("contrast").click()
    yield "a layer", lambda: it.root.get_by_role("checkbox", name="VAE").click()
    yield "ellipse and cancel", lambda: propose(it, "Cancel")
    yield "ellipse and apply", lambda: propose(it, "Apply")


def choose_by_mouse(it):
    it.root.get_by_label("Filter").click()
    it.press("ArrowDown", "Enter")


def propose(it, button):
    it.press("e")
    it.button(button).click()


def test_keys_work_wherever_the_focus_is(window):
    it = window()
    for name, act in focus_by_mouse(it):
        act()
        it.page.wait_for_timeout(200)
        order = it.data("order")
        before = it.data("open")
        it.press("ArrowRight")
        it.page.wait_for_timeout(50)
        assert it.data("open") != before, name
        assert it.data("order") == order, name
    it.root.get_by_label("Note").click()
    before = it.data("open")
    it.page.keyboard.type("are #blurred")
    it.press("Enter")
    assert it.data("open") == before  # text is text
    it.until("saved", ".")
    it.press("ArrowLeft")
    it.page.wait_for_timeout(50)
    assert it.data("open") != before


FOCUSED = """() => {
  const e = document.activeElement
  const name = e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || e.title
  return [e.className || e.tagName, e.type ?? e.tagName, (name ?? '').trim()]
}"""


def test_the_tab_key_reaches_everything_and_everything_has_a_name(window):
    it = window()
    reached = []
    for _ in range(120):
        it.press("Tab")
        reached.append(it.page.evaluate(FOCUSED))
        if reached[-1][0].startswith("aeseg") or reached[-1][0] == "BODY":
            break
    assert [entry for entry in reached[:-1] if not entry[2]] == []
    classes = " ".join(entry[0] for entry in reached)
    for name in ("ai-tile", "ai-switch", "ai-round", "yes"):
        assert name in classes
    assert sum(kind == "range" for _, kind, _ in reached) >= 4
    tile = it.tile(3)
    tile.focus()
    it.press("Enter")
    it.until_open(tile.get_attribute("data-k"))
    it.root.get_by_role("checkbox", name="truth").press(" ")
    it.until("shown", "truth")


@pytest.mark.skipif(not AXE.exists(), reason="npm install --no-save axe-core")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(window, scheme):
    it = window(color_scheme=scheme)
    it.press("r", "a")
    it.until_decided(rejected=1, accepted=1)
    it.page.add_script_tag(path=str(AXE))
    for tab in ("Gallery", "Selection", "Overview"):
        it.tab(tab)
        it.page.wait_for_timeout(800)
        assert serious_faults(it) == [], tab
    it.press("b", "?")
    it.until("painting", ".")
    it.kernel.deaf = True
    it.until("connected", "^false$")
    assert serious_faults(it) == []


def serious_faults(it):
    result = it.page.evaluate("() => axe.run(document.querySelector('.aeseg-inspector'))")
    serious = [v for v in result["violations"] if v["impact"] in ("serious", "critical")]
    return [(v["id"], v["nodes"][0]["html"][:120]) for v in serious]


# ---------------------------------------------------------------- corrections by hand


@pytest.fixture
def square(run):
    "The label of the case that is opened first: a square with a hole, and a piece beside it."
    cases = Cases(run)
    id = cases.ids[cases.order()[0]]
    label = np.zeros(cases.mask(id).shape, bool)
    label[10:30, 10:30] = True
    label[18:22, 18:22] = False
    label[40:44, 60:64] = True
    write_mask(cases.labels[2][id], label)
    return id, label


def corrected(it, run, id):
    "Save what was painted; the mask that was written."
    it.press("Enter")
    it.until_decided(corrected=1)
    return Reviews(run).corrected(id)


def test_a_hole_is_filled_and_a_piece_deleted_by_a_click(window, square, run):
    id, label = square
    it = window()
    it.press("f")
    it.until("painting", ".")
    it.click(20.5, 20.5)
    it.until("steps", "^1$")
    it.click(50, 50)  # outside is no hole
    assert "is no hole" in it.root.locator(".ai-toast").inner_text()
    it.press("d")
    it.click(62, 42)
    it.until("steps", "^2$")
    expected = label.copy()
    expected[18:22, 18:22] = True
    expected[40:44, 60:64] = False
    assert (corrected(it, run, id) == expected).all()
    it.press("u")  # the correction is one step of the reviews
    it.until_decided(corrected=0)
    assert Reviews(run).corrected(id) is None


def test_brush_eraser_and_polygon_change_the_pixels_below_them(window, square, run):
    id, label = square
    it = window()
    it.press("b")
    it.until("painting", ".")
    for _ in range(3):
        it.press("]")
    size = float(it.root.get_by_label("Size of brush and eraser").input_value())
    it.page.mouse.move(*it.place(40, 20))
    it.page.mouse.wheel(0, -100)
    assert float(it.root.get_by_label("Size of brush and eraser").input_value()) > size
    it.stroke((40, 20), (60, 20))
    it.until("steps", "^1$")
    it.press("x")
    it.stroke((10, 10), (10, 30))
    it.press("g")
    for corner in ((5, 50), (15, 50), (15, 58), (5, 58)):
        it.click(*corner)
    it.press("Enter")
    it.until("steps", "^3$")
    it.stroke((70, 10))  # one corner
    it.press("Backspace", "b")
    it.stroke((70, 50))
    it.until("steps", "^4$")
    it.press("u")
    it.until("steps", "^3$")
    mask = corrected(it, run, id)
    assert mask[20, 40] and mask[20, 50] and mask[20, 60] and not mask[30, 50]
    assert not mask[20, 10] and mask[20, 28]
    polygon = np.zeros_like(label)
    polygon[50:58, 5:15] = True
    assert (mask[48:, :20] == polygon[48:, :20]).all()
    assert not mask[50, 70]


def test_what_was_painted_is_saved_when_its_case_or_the_page_is_left(window, run):
    it = window()
    ids = Cases(run).ids
    first = it.open
    it.press("b")
    it.until("painting", ".")
    it.stroke((30, 20), (40, 20))
    it.press("ArrowRight")
    it.until_decided(corrected=1)
    second = it.open
    it.press("b")
    it.until("painting", f"^{second}$")
    it.stroke((30, 20), (40, 20))
    it.until("steps", "^1$")
    it.load()
    it.until_decided(corrected=2)
    assert set(decisions(run)) == {ids[first], ids[second]}
    it.press("b")
    it.until("painting", ".")
    it.stroke((30, 20), (40, 20))
    it.press("Escape", "ArrowRight")
    it.page.wait_for_timeout(300)
    assert len(decisions(run)) == 2  # Escape leaves the label as it was


def test_another_mask_is_taken_as_the_label(window, run):
    it = window()
    cases = Cases(run)
    id = cases.ids[it.open]
    it.press("p")
    it.button("Apply").wait_for()
    assert (corrected(it, run, id) == cases.prediction(id)).all()
    it.root.get_by_label("Take another mask as the label").select_option("round_1")
    it.button("Apply").wait_for()
    it.press("Enter")
    it.until("saved", "^2$")
    assert (Reviews(run).corrected(id) == cases.mask(id, 1)).all()


STROKE = """() => new Promise(done => {
  const canvas = document.querySelector('.ai-stage canvas')
  const box = canvas.getBoundingClientRect()
  const times = []
  let n = 0
  const send = (type, x, y) => canvas.dispatchEvent(new PointerEvent(type, {
    clientX: box.left + x, clientY: box.top + y, pointerId: 1, button: 0, buttons: 1, bubbles: true}))
  canvas.setPointerCapture = () => {}
  send('pointerdown', 100, 100)
  const step = last => {
    const now = performance.now()
    if (n) times.push(now - last)
    if (++n > 40) {
      send('pointerup', 100, 100)
      return done(times.sort((a, b) => a - b))
    }
    send('pointermove', 100 + 8 * n, 100 + 60 * Math.sin(n / 4))
    requestAnimationFrame(() => step(now))
  }
  step(performance.now())
})"""


def test_a_large_image_is_painted_on_without_lag(browser, tmp_path, run):
    cases = Cases(run)
    id = cases.ids[cases.order()[0]]
    large = np.random.default_rng(0).integers(0, 255, (2000, 2000), np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(large).save(tmp_path / "images" / f"{id}.png")
    label = np.zeros((2000, 2000), bool)
    label[500:1500, 500:1500] = True
    write_mask(cases.labels[2][id], label)
    direct = Direct(run, images=tmp_path / "images")
    context = browser.new_context(viewport=VIEW)
    try:
        it = Page(context, direct)
        it.press("b")
        it.until("painting", ".")
        times = it.page.evaluate(STROKE)
        print(f"median frame {times[20]:.0f} ms, slowest {times[-1]:.0f} ms")
        assert times[20] < 100  # 17 to 33 on a quiet core
        it.stroke((1000, 400), (1000, 450))
        it.until("steps", "^2$")
        mask = corrected(it, run, id)
        assert mask.shape == (2000, 2000)
        assert mask[420, 1000] and mask[499, 499] <= mask[500, 500]
    finally:
        context.close()
        direct.stop()


# ---------------------------------------------------------------- orders, and many cases at once


def test_the_most_suspicious_come_first_and_say_why(window, run):
    it = window()
    it.root.get_by_label("Order").select_option("suspicion")
    it.until("order", "^suspicion/all/300$")
    it.until("page", "^0$")
    cases = Cases(run)
    cases.compare()
    order = cases.order("suspicion")
    tiles = it.root.locator(".ai-gallery .ai-tile")
    shown = [int(k) for k in tiles.evaluate_all("tiles => tiles.map(tile => tile.dataset.k)")]
    assert shown == order[: len(shown)].tolist()
    reason = cases.reasons()[order[0]]
    words = it.tile(0).locator(".ai-reason").inner_text()
    assert words.endswith(f"{cases.table[reason].iloc[order[0]]:.2f}")
    it.root.get_by_label("Order").select_option("disagreement")
    it.until("order", "^disagreement/all/300$")
    worst = cases.order("disagreement")[0]
    value = cases.table["disagreement"].iloc[worst]
    assert it.tile(0).locator(".ai-reason").inner_text() == f"prediction differs {value:.2f}"
    it.load()  # the masks are compared, and the place is kept
    it.until("order", "^disagreement/all/300$")


def test_many_labels_are_decided_at_once_and_taken_back(window, run):
    it = window()
    it.tile(1).click(modifiers=["Shift"])
    it.tile(3).click(modifiers=["Shift"])
    it.tile(4).click(modifiers=["Shift"])
    it.tile(4).click(modifiers=["Shift"])
    it.until("chosen", "^2$")
    it.press("r")
    it.until_decided(rejected=2)
    it.press("u")
    it.until_decided(rejected=0)
    it.tab("Overview")
    it.until("scatter", "^300$")
    box = it.root.locator(".ai-scatter canvas").bounding_box()
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    places = [
        (box["x"] + 1 + x * (box["width"] - 2), box["y"] + 1 + y * (box["height"] - 2)) for x, y in corners
    ]
    it.page.mouse.move(*places[0])
    it.page.mouse.down()
    for place in places[1:]:
        it.page.mouse.move(*place, steps=3)
    it.page.mouse.up()
    it.until("chosen", "^300$")
    it.press("Escape")
    it.until("chosen", "^0$")
    it.tab("Selection")
    it.until("updates", ".")
    reject = it.root.get_by_role("button", name=re.compile("^Reject the"))
    count = int(re.search(r"\d+", reject.inner_text())[0])
    reject.click()
    it.until_decided(rejected=count)
    cases = Cases(run)
    assert {cases.number[id] for id in decisions(run)} == set(cases.order()[:count].tolist())
    it.press("u")
    it.until_decided(rejected=0)


def test_search_pages_tags_and_the_table(window, run, tmp_path):
    it = window()
    ids = Cases(run).ids
    it.press("/")
    it.page.keyboard.type("_0123")
    it.until("order", "^score/all/1$")
    it.press("Enter")
    it.until_open(123)
    it.root.get_by_label("Note").fill("dark #artefact #dim")
    it.press("Enter")
    it.until("saved", "^1$")
    it.press("/")
    it.root.get_by_label("Search for an id").fill("")
    it.press("Escape")
    it.root.get_by_label("Page", exact=True).fill("3")
    it.press("Enter")
    it.until("page", "^2$")
    it.root.get_by_label("Filter").select_option("#dim")
    it.until("order", "^score/all/1$")
    with it.page.expect_download() as download:
        it.button("CSV: save this list as a table").click()
    download.value.save_as(tmp_path / "list.csv")
    (row,) = csv.DictReader((tmp_path / "list.csv").open())
    assert (row["id"], row["note"], row["tags"]) == (ids[123], "dark #artefact #dim", "artefact dim")
    assert abs(float(row["score"]) - Cases(run).table["score"].iloc[123]) < 1e-4


def test_the_next_case_is_opened_after_a_decision_unless_that_is_off(window):
    it = window()
    order = [int(it.tile(n).get_attribute("data-k")) for n in range(3)]
    it.press("r")
    it.until_open(order[1])
    it.until_decided(rejected=1)
    assert "1 of 300 reviewed" in it.root.inner_text()
    it.root.get_by_label("next", exact=True).uncheck()
    it.press("a")
    it.until_decided(rejected=1, accepted=1)
    assert it.open == order[1]
    it.press("a")  # takes it back
    it.until_decided(rejected=1, accepted=0)


def test_help_names_every_key_and_number(window):
    it = window()
    it.press("?")
    text = it.root.get_by_role("dialog", name="Help").inner_text()
    for name in it.root.locator(".ai-numbers span").evaluate_all("all => all.map(e => e.firstChild.data)"):
        assert name in text
    assert it.root.locator(".ai-numbers span").first.get_attribute("title").startswith("Quality")
    it.press("Escape")
    assert not it.root.get_by_role("dialog", name="Help").is_visible()


def test_the_selection_has_axes_and_a_sensible_limit(window, run):
    it = window()
    it.tab("Selection")
    it.page.get_by_text("bad: Dice below 0.50").wait_for()  # most of these labels are poor
    words = it.root.locator(".ai-words").inner_text()
    for word in ("score", "precision", "recall", "100 %", "0 %", "labels"):
        assert word in words
    assert len(it.root.locator(".ai-words .tick").all()) == 5
    value = float(it.root.locator(".ai-value").inner_text())
    assert abs(value - float(it.root.get_by_label("Threshold", exact=True).input_value())) < 0.01
    assert it.root.get_by_role("button", name="-p keep_fraction=0.950").is_visible()


# ---------------------------------------------------------------- pictures


def test_marks_beside_colours_zoom_title_and_messages(window):
    it = window()
    it.press("r", "a")
    it.until_decided(rejected=1, accepted=1)
    assert it.root.locator(".ai-counts").inner_text().split()[-3:] == ["✓1", "✕1", "✎0"]
    assert "2 of 300 reviewed" in it.page.title()
    it.button("Larger (wheel)").click()
    it.button("Larger (wheel)").click()
    zoom = it.data("zoom")
    it.press("ArrowRight")
    it.until_shown(it.open)
    assert it.data("zoom") == zoom != "1"
    it.kernel.reply("error", text="a message " * 20)
    toast = it.root.locator(".ai-toast")
    toast.wait_for()
    box = toast.bounding_box()
    for button in it.root.locator("button:visible").all():
        assert not overlap(box, button.bounding_box())


def overlap(a, b):
    across = a["x"] < b["x"] + b["width"] and b["x"] < a["x"] + a["width"]
    return across and a["y"] < b["y"] + b["height"] and b["y"] < a["y"] + a["height"]


def test_a_layer_without_a_picture_says_why(window, run):
    cases = Cases(run)
    it = window()
    assert not cases.table["kept"].iloc[it.open]
    it.press("5")
    legend = it.root.locator(".ai-legend")
    assert "evaluated" in legend.inner_text()
    it.page.get_by_text("weights: 0.00 everywhere, dropped by the selection").wait_for()


@pytest.mark.parametrize("width", [1360, 900, 600, 400])
def test_nothing_is_cut_in_a_narrow_window(window, width):
    it = window()
    it.page.set_viewport_size(dict(width=width, height=800))
    it.page.wait_for_timeout(200)
    for tab in ("Gallery", "Selection", "Overview"):
        it.tab(tab)
        for control in it.root.locator("button:visible, select:visible").all():
            box = control.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= width + 1, (tab, control.inner_text())


def test_the_app_follows_the_dark_scheme_of_the_system(window):
    backgrounds = []
    for scheme in ("light", "dark"):
        it = window(color_scheme=scheme)
        colour = it.root.evaluate("e => getComputedStyle(e).backgroundColor")
        backgrounds.append(sum(map(int, re.findall(r"\d+", colour)[:3])))
    assert backgrounds[0] > 700 > 100 > backgrounds[1]


def test_the_steps_of_a_label_and_its_neighbours_stand_below_it(browser, run, tmp_path):
    for path in sorted(run.rglob("*.png")):
        path.rename(path.with_name(path.name.replace("fetal_head_", "scan_slice")))
    for name in ("quality.csv", "metrics.csv"):
        if (run / name).exists():
            (run / name).write_text((run / name).read_text().replace("fetal_head_", "scan_slice"))
    shutil.copytree(run / "pseudo_labels", run / "gan_labels")
    direct = Direct(run)
    context = browser.new_context(viewport=VIEW)
    try:
        it = Page(context, direct)
        names = it.root.locator(".ai-strip button").all_inner_texts()
        k = it.open
        beside = [n for n in (k - 2, k - 1, k + 1, k + 2) if 0 <= n < 300]
        assert names == ["E", "refined", "round 2", "final", *[f"{n:04}" for n in beside]]
        it.root.locator(".ai-strip button").last.click()
        it.until_open(beside[-1])
        it.root.locator(".ai-strip button").first.click()
        it.until("shown", f"^{beside[-1]}/0/")
    finally:
        context.close()
        direct.stop()


def test_an_unfinished_run_is_shown_as_one(browser, run):
    (run / "metrics.csv").touch()
    unfinish(run)
    direct = Direct(run)
    context = browser.new_context(viewport=VIEW)
    try:
        it = Page(context, direct)
        assert "the run is not finished" in it.root.locator(".ai-notes").text_content()
        assert it.root.get_by_label("Order").input_value() == "id"
        assert "nan" not in it.root.inner_text().lower()
    finally:
        context.close()
        direct.stop()


# ---------------------------------------------------------------- a session


def test_a_session_with_every_interruption_loses_nothing(window, direct, run):
    "Two windows on 300 cases; a reload, a kernel and a server that end: the file holds what was decided."
    ids, order = Cases(run).ids, Cases(run).order()
    one, two = window(), window()
    expected = {}

    def judge(it, n, key):
        "Open the case at a position of the order and decide."
        k = int(order[n])
        it.root.get_by_label("Search for an id").fill(ids[k])
        it.until("order", "/1$")
        it.press("Enter")
        it.until_open(k)
        it.press(key)
        expected[ids[k]] = dict(a="accepted", r="rejected")[key]

    def paint(it, n):
        k = int(order[n])
        it.root.get_by_label("Search for an id").fill(ids[k])
        it.until("order", "/1$")
        it.press("Enter")
        it.until_shown(k)
        it.press("b")
        it.until("painting", f"^{k}$")
        it.stroke((20, 20), (40, 30))
        it.press("Enter")
        expected[ids[k]] = "corrected"

    for n in range(0, 8, 2):
        judge(one, n, "ar"[n % 4 // 2])
        judge(two, n + 1, "r")
    paint(one, 8)
    paint(two, 9)
    one.until("unconfirmed", "^0$")
    one.page.reload()
    one.ready()
    judge(one, 10, "a")
    one.kernel = list(direct.kernels.values())[-1]
    one.until("unconfirmed", "^0$")
    direct.kernels.clear()  # all kernels end; each page finds that out and gets a new one
    for it in (one, two):
        it.page.evaluate("document.querySelector('.aeseg-inspector').dataset.old = 1")
    for n, it in ((11, one), (12, two)):
        it.ready()
        judge(it, n, "r")
        it.until("unconfirmed", "^0$")
    kernels = list(direct.kernels.values())
    for kernel in kernels:
        kernel.deaf = True
    judge(one, 13, "a")  # on its way when the server ends
    one.until("unconfirmed", "^1$")
    two.press("b")
    two.until("open", ".")
    direct.stop()
    two.until("connected", "^false$")
    for it in (one, two):
        it.page.evaluate("document.querySelector('.aeseg-inspector').dataset.old = 1")
    direct.start()
    for it in (one, two):
        it.ready()
        it.until("unconfirmed", "^0$")
    paint(two, 14)
    judge(one, 15, "r")
    ends = time.monotonic() + 20  # a key that was just pressed is not counted yet
    while decisions(run) != expected and time.monotonic() < ends:
        one.page.wait_for_timeout(200)
    assert decisions(run) == expected
    sums = {d: list(expected.values()).count(d) for d in ("accepted", "rejected", "corrected")}
    for it in (one, two):
        it.until_decided(**sums)
    masks = [Reviews(run).corrected(ids[order[n]]) for n in (8, 9, 14)]
    assert all(mask[22:28, 25:36].any() for mask in masks)
    names = {path.name for path in (run / "corrected").iterdir()}
    assert len(names) == 3  # no correction was applied twice to what it had made
    assert one.page.locator(".ai-tile").count() > 0
