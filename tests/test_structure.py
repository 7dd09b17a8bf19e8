"""The package has the parts of the book, and a part imports only parts before it."""

import ast
import json
import re

import pytest
from source_tree import MODULES, PARTS, ROOT, imported, part

HOW_TO = ROOT / "nbs/how_to"  # exports nothing
NOTEBOOKS = sorted(p for p in (ROOT / "nbs").rglob("[0-9]*_*.ipynb") if p.parent != HOW_TO)
EXPORT = re.compile(r"^#\|\s*default_exp\s+(\S+)", re.M)


def exported_module(path):
    "The module that a notebook writes."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = [m[1] for c in cells if (m := EXPORT.search("".join(c["source"])))]
    assert len(found) == 1, f"{path} must have one default_exp"
    return found[0]


ORDER = {exported_module(p): k for k, p in enumerate(NOTEBOOKS)}  # in the order of reading


def test_imported_finds_every_form():
    source = (
        "import aeseg.core.runs\nfrom aeseg.method.vae import x\nfrom aeseg.data import masks\n"
        "from .networks import x\nfrom ..data.images import y\nfrom . import dgcc\n"
        "def f():\n    from aeseg.app.fit import x\nimport os, aeseg.cli as h\nfrom math import pi"
    )
    found = {"core.runs", "method.vae", "data.masks", "method.networks", "data.images", "method.dgcc"}
    assert imported(source, "method.x") == found | {"app.fit", "cli"}


def test_one_notebook_owns_one_module():
    assert len(ORDER) == len(NOTEBOOKS)
    assert set(ORDER) == set(MODULES)
    for path in NOTEBOOKS:
        module = exported_module(path)
        name = re.sub(r"^\d\d_", "", path.stem)
        folder = re.sub(r"^\d\d_", "", path.parent.name)
        assert module == (f"{folder}.{name}" if folder != "nbs" else "cli"), path


@pytest.mark.parametrize("module", MODULES)
def test_the_summary_of_a_notebook_is_one_line(module):
    "Or the module's docstring, which nbdev makes from that line, would end in the middle."
    docstring = ast.get_docstring(ast.parse(MODULES[module]))
    assert docstring.endswith((".", "?"))
    assert "\n" not in docstring


def test_notebooks_are_numbered_without_gaps():
    for folder in {HOW_TO, *(p.parent for p in NOTEBOOKS)} - {ROOT / "nbs"}:
        numbers = sorted(int(p.stem[:2]) for p in folder.glob("[0-9]*.ipynb"))
        assert numbers == list(range(1, len(numbers) + 1)), folder


@pytest.mark.parametrize("module", MODULES)
def test_a_part_imports_only_parts_before_it(module):
    for other in imported(MODULES[module], module):
        if other in MODULES:
            assert PARTS.index(part(other)) <= PARTS.index(part(module)), f"{module} imports {other}"
            assert {part(module), part(other)} != {"method", "evaluation"}, f"{module} imports {other}"


@pytest.mark.parametrize("module", MODULES)
def test_a_notebook_imports_only_notebooks_before_it(module):
    later = {m for m in imported(MODULES[module], module) if ORDER.get(m, -1) >= ORDER[module]}
    assert later == set()
