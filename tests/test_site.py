"""The site: built with warnings as errors, its links and anchors, its pages in Chromium, its sources."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from browser import CHROMIUM, chromium
from commands import ONE_CORE, ROOT

sys.path.insert(0, str(ROOT / "docs"))
import api
import stage

PAGES = (
    "index.html",
    "README.html",
    "nbs/30_method/02_vae.html",
    "api/aeseg.method.losses.html",
    "results/table1_pseudo_labels/results.html",
)
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}


class Page(HTMLParser):
    "Anchors, links, loaded files and pictures of a page."

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loaded, self.without_words = set(), [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        self.ids |= {a[key] for key in ("id", "name") if a.get(key)}
        if tag == "a" and a.get("href"):
            self.links.append(a["href"])
        if tag in LOADED and a.get(LOADED[tag]):
            self.loaded.append(a[LOADED[tag]])
        if tag == "img" and not a.get("alt"):
            self.without_words.append(a.get("src"))


def read_pages(folder):
    "Path -> page, of a whole site."
    paths = [p for p in sorted(folder.rglob("*.html")) if "_static" not in p.parts]
    return {p: Page(p.read_text(encoding="utf-8")) for p in paths}


def is_outside(url):
    return re.match(r"[a-z]+:", url) is not None or url.startswith("//")


def dead_links(pages, folder):
    "Links and loaded files of a site that lead nowhere."
    dead = []
    for path, page in pages.items():
        for url in [*page.links, *page.loaded]:
            if is_outside(url):
                continue
            place, _, anchor = url.partition("#")
            place = unquote(place.partition("?")[0])
            target = Path(os.path.normpath(path.parent / place)) if place else path
            if not target.is_file():
                dead.append(f"{path.relative_to(folder)}: {url}")
            elif anchor and target in pages and unquote(anchor) not in pages[target].ids:
                dead.append(f"{path.relative_to(folder)}: {url}")
    return dead


# ---------------------------------------------------------------- the built site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    "The site, built in a process of its own."
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, ROOT / "docs/build.py", "--out", folder]
    done = subprocess.run(command, env=ONE_CORE, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-3000:]
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    return read_pages(site)


@pytest.mark.slow
def test_links_and_anchors_lead_somewhere(pages, site):
    assert len(pages) > 200
    assert dead_links(pages, site) == []


@pytest.mark.slow
def test_nothing_is_loaded_from_another_place(pages, site):
    outside = [
        (p.relative_to(site), url) for p, page in pages.items() for url in page.loaded if is_outside(url)
    ]
    assert [pair for pair in outside if not pair[1].startswith("data:")] == []


@pytest.mark.slow
def test_every_picture_has_an_alternative_text(pages, site):
    assert [
        (p.relative_to(site), page.without_words) for p, page in pages.items() if page.without_words
    ] == []


@pytest.mark.slow
def test_every_exported_name_has_its_place(pages, site):
    missing = []
    for module in api.read_package():
        ids = pages[site / f"api/{module.name}.html"].ids
        missing += [f"{module.name}.{n}" for n in module.exported if f"{module.name}.{n}" not in ids]
    assert missing == []


@pytest.mark.slow
def test_every_notebook_has_its_page(pages, site):
    notebooks = [p.relative_to(ROOT) for p in (ROOT / "nbs").rglob("*.ipynb") if p.stem != "index"]
    assert [p for p in notebooks if site / p.with_suffix(".html") not in pages] == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_open_as_files_without_a_fault(site, scheme):
    with chromium() as (page, faults):
        page.emulate_media(color_scheme=scheme)
        for name in PAGES:
            page.set_viewport_size(dict(width=1360, height=820))
            page.goto((site / name).as_uri())
            assert page.locator("h1").first.is_visible()
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            page.set_viewport_size(dict(width=390, height=844))
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        page.goto((site / PAGES[2]).as_uri())
        page.locator("mjx-container svg").first.wait_for()
        assert page.locator("mjx-merror").count() == 0
        assert faults == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")
def test_the_search_works_on_files(site):
    with chromium() as (page, faults):
        page.goto((site / "search.html").as_uri() + "?q=channel+calibration")
        page.locator("#search-results li a").first.wait_for()
        titles = page.locator("#search-results li a").all_inner_texts()
        assert any("DGCC" in title for title in titles), titles
        assert faults == []


# ---------------------------------------------------------------- its sources


def test_a_dead_link_would_be_named(tmp_path):
    (tmp_path / "a.html").write_text(
        "<h1 id='top'></h1><a href='b.html#x'></a><a href='#top'></a><img src='c.png'>"
    )
    (tmp_path / "b.html").write_text(
        "<a href='a.html#top'></a><a href='d.html'></a><a href='https://x.org/#q'></a>"
    )
    dead = dead_links(read_pages(tmp_path), tmp_path)
    assert dead == ["a.html: b.html#x", "a.html: c.png", "b.html: d.html"]


SOURCE = '''"""A module."""

__all__ = ['f', 'C', 'LIMIT']

# %% ../../nbs/30_method/02_vae.ipynb #abc
LIMIT = 3  # the largest `f`


def f(
    z,  # (N, 1) in [0, 1];
    # two lines
    *,
    scale: float = 2.0,
) -> int:  # number of `z`
    "What it is."


def g(a, b=1) -> str:  # not exported
    "Other."

# %% ../../nbs/30_method/02_vae.ipynb #def
class C(NamedTuple):
    "A thing."

    size: int = 4  # in pixels

    @property
    def area(self):
        "Square pixels."
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    monkeypatch.setattr(api, "ROOT", tmp_path)
    path = tmp_path / "aeseg/x.py"
    path.parent.mkdir()
    path.write_text(SOURCE)
    return api.read_module(path)


def test_comments_of_parameters_are_theirs(module):
    notes = api.comments(module.source)
    f, g = (n for n in module.tree.body if isinstance(n, api.ast.FunctionDef))
    assert api.parameters_of(f, notes) == [("z", "", "(N, 1) in [0, 1]; two lines"), ("scale", "float", "")]
    assert api.parameters_of(g, notes) == [("a", "", ""), ("b", "", "")]
    assert api.signature(f, "f") == "f(z, *, scale: float=2.0) -> int"
    assert api.function_fields(f, notes)[-2] == ":returns: number of \\ ``z``"


def test_a_page_has_every_exported_name_and_its_cell(module):
    page = api.module_page(module)
    for line in (
        ".. py:function:: f(z, *, scale: float=2.0) -> int",
        ".. py:class:: C",
        ".. py:data:: LIMIT",
        "   .. py:attribute:: size",
        "   .. py:property:: area",
        "<cell-02_vae-abc>`",
        "<cell-02_vae-def>`",
    ):
        assert line in page, line
    assert "py:function:: g" not in page


@pytest.mark.parametrize(
    "text, expected",
    [
        ("plain", "plain"),
        ("a `b` c", "a \\ ``b``\\  c"),
        ("*a* |b| c_", "\\*a\\* \\|b\\| c\\_"),
        ("a ` b", "a ' b"),
        ("a `b`", "a \\ ``b``"),
    ],
)
def test_prose_as_restructured_text(text, expected):
    assert api.to_rst(text) == expected


def test_links_of_the_repository_become_those_of_the_site(tmp_path):
    s = stage.Stage(tmp_path)
    for page, url, expected in (
        ("docs/index.md", "../nbs/images/method.svg", "nbs/images/method.svg"),
        ("docs/guide/faq.md", "../../README.md", "../README.md"),
        ("README.md", "data", "data/README.md"),
        ("README.md", "results/", "results/index.md"),
        ("nbs/30_method/02_vae.ipynb", "../images/method_vae.svg", "../images/method_vae.svg"),
        ("README.md", "https://arxiv.org", "https://arxiv.org"),
    ):
        assert stage.link_target(s, page, url) == expected
    assert {p.relative_to(tmp_path).as_posix() for p in s.paths} == {
        "nbs/images/method.svg",
        "nbs/images/method_vae.svg",
    }


def test_staged_outputs_need_no_kernel_and_pictures_have_words():
    cell = dict(
        metadata={},
        outputs=[
            dict(output_type="stream", name="stderr", text="remark"),
            dict(output_type="display_data", data={"application/vnd.jupyter.widget-view+json": {}}),
            dict(output_type="display_data", data={"image/png": "", "text/plain": ""}),
        ],
    )
    stage.stage_outputs(cell, stage.alternative('plt.title("Dice")', "## A\n\nOne. Two of `them`:", ""))
    assert [list(o["data"]) for o in cell["outputs"]] == [["image/png", "text/plain"]]
    assert cell["metadata"]["mystnb"]["image"]["alt"] == "Figure: Dice: Two of them:"


def test_files_that_did_not_change_keep_their_date_and_others_go(tmp_path):
    first = stage.Stage(tmp_path)
    first.write("a.md", "a")
    first.write("b/c.md", "c")
    before = (tmp_path / "a.md").stat().st_mtime_ns
    second = stage.Stage(tmp_path)
    second.write("a.md", "a")
    second.remove_others()
    assert (tmp_path / "a.md").stat().st_mtime_ns == before
    assert not (tmp_path / "b/c.md").exists()


def test_the_sources_of_the_site_hold_no_large_file():
    files = [p for p in (ROOT / "docs").rglob("*") if p.is_file() and "_build" not in p.parts]
    assert [p for p in files if p.stat().st_size > 20_000 and p.suffix != ".pyc"] == []
