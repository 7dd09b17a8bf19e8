"""The index lists every notebook of the book, and the figures of the method are those that the code draws."""

import ast
import json
import re
import shutil
import sys

import make_diagram
import make_readme
import pytest
from source_tree import ROOT

NBS = ROOT / "nbs"
LINK = re.compile(r"\]\(([^)\s]+)\)")
IMAGE = re.compile(r"images/(method\w*\.svg)")


def markdown(path):
    "The text of a notebook."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def listed(text):
    "The notebooks that the rows of tables link to, in their order."
    rows = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    return [target for target in LINK.findall(rows) if target.endswith(".ipynb")]


def below(pattern):
    return sorted(p.relative_to(NBS).as_posix() for p in NBS.glob(pattern))


def test_the_index_lists_the_notebooks_in_reading_order():
    chapters = [path for path in listed(markdown(NBS / "index.ipynb")) if path[0].isdigit()]
    assert chapters == sorted([*below("[0-9]*_*/[0-9]*.ipynb"), *below("[0-9]*.ipynb")])


def test_the_index_lists_every_notebook_once():
    paths = listed(markdown(NBS / "index.ipynb"))
    others = [path for path in [*below("*.ipynb"), *below("*/*.ipynb")] if path != "index.ipynb"]
    assert sorted(paths) == sorted(others)
    assert len(paths) > 60


def test_a_notebook_that_is_only_mentioned_is_not_listed():
    assert listed("see [a](a.ipynb)\n| [b](x/b.ipynb), [c](c.md) | [d](d.ipynb) |") == [
        "x/b.ipynb",
        "d.ipynb",
    ]


@pytest.mark.parametrize("path", ["index.ipynb", *below("*/*.ipynb")])
def test_links_between_notebooks_lead_somewhere(path):
    for target in LINK.findall(markdown(NBS / path)):
        file = target.split("#")[0]
        if file.endswith((".ipynb", ".svg", ".png")) and "://" not in file:
            assert (NBS / path).parent.joinpath(file).is_file(), target


# ---------------------------------------------------------------- the figures of the method


def check_diagrams(monkeypatch, folder):
    "The exit code of `make_diagram.py --check`."
    monkeypatch.setattr(make_diagram, "FOLDER", folder)
    monkeypatch.setattr(sys, "argv", ["make_diagram.py", "--check"])
    return make_diagram.main()


def test_diagrams_are_up_to_date(monkeypatch, capsys):
    assert check_diagrams(monkeypatch, NBS / "images") == 0
    assert capsys.readouterr().out == ""


def test_a_diagram_that_is_not_would_be_named(monkeypatch, capsys, tmp_path):
    for path in (NBS / "images").glob("*.svg"):
        shutil.copy(path, tmp_path)
    changed = tmp_path / "method_vae.svg"
    changed.write_text(changed.read_text().replace("Mask VAE", "VAE"))
    assert check_diagrams(monkeypatch, tmp_path) == 1
    output = capsys.readouterr().out
    assert "method_vae.svg" in output
    assert output.count(".svg") == 1


def test_each_notebook_of_the_method_shows_its_diagram():
    for path in below("30_method/*.ipynb"):
        name = re.sub(r"^\d\d_", "", (NBS / path).stem)
        assert f"method_{name}.svg" in IMAGE.findall(markdown(NBS / path)), path
    assert "method.svg" in IMAGE.findall(markdown(NBS / "index.ipynb"))


def test_numbers_in_pages_are_those_of_the_results():
    "A page names results between two comments; other numbers there are found, and written anew."
    page = make_readme.FILLED[0]
    text = "Claim\n\n<!-- verdicts of table1_pseudo_labels -->\nsupported: by hand\n<!-- end -->\n\nText\n"
    filled = make_readme.fill(text, page)
    assert "by hand" not in filled and filled.endswith("<!-- end -->\n\nText\n")
    assert "* " in filled and "](../results/table1_pseudo_labels/results.md)" in filled
    assert make_readme.fill(filled, page) == filled
    table = make_readme.fill(filled.replace("verdicts of", "table of"), "results/summary.md")
    assert "| method |" in table and "](table1_pseudo_labels/results.md)" in table
    assert "Not measured yet." in make_readme.fill(text.replace("table1_pseudo_labels", "table9"), page)


def test_headers_of_tables_are_words():
    table = "| method | fetal_head, dice | lung, dice |\n| --- | --- | --- |\n| _x_, dice | 0.9 | 0.8 |"
    header, *lines = table.splitlines()
    assert make_readme.plain_header(table).splitlines() == ["| method | fetal head | lung |", *lines]


def test_a_table_of_the_readme_can_show_some_rows():
    "Rows are named in the notebook; header and note stay, and an unknown row is refused."
    table = "| method | dice |\n| --- | --- |\n| ours | 0.9 |\n| half | 0.8 |\n| all | 0.95 |\n\nMean."
    shown = "| method | dice |\n| --- | --- |\n| all | 0.95 |\n| ours | 0.9 |\n\nMean."
    assert make_readme.only_rows(table, ["all", "ours"]) == shown
    with pytest.raises(ValueError, match="no row 'none'; it has ours, half, all"):
        make_readme.only_rows(table, ["none"])
    rows = "5 % of the masks;\n100 % of the masks"
    page = make_readme.markdown(f"<!-- results: table3_annotation_efficiency, rows: {rows} -->\n\nText")
    assert "| 5 % of the masks |" in page and "| 10 % of the masks |" not in page


def calls(code):
    "What a cell calls, such as 'plt.hist', not within functions that it defines."
    lines = [line for line in code.splitlines() if not line.lstrip().startswith(("%", "!"))]
    statements = ast.parse("\n".join(lines)).body
    run = [node for node in statements if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    return {
        ast.unparse(node.func) for part in run for node in ast.walk(part) if isinstance(node, ast.Call)
    }


def draws(code):
    "Whether a cell leaves a figure open, which a notebook shows."
    names = calls(code) - {"plt.imsave"}  # which writes a file
    drawn = "show_images" in names or any(name.startswith("plt.") for name in names)
    return drawn and "plt.close" not in names


def without_their_picture(notebook):
    "The ids of code cells that draw and keep no picture."
    missing = []
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code" and draws("".join(cell["source"])):
            kinds = [kind for output in cell["outputs"] for kind in output.get("data", {})]
            if not any(kind.startswith("image/") for kind in kinds):
                missing.append(cell["id"])
    return missing


@pytest.mark.parametrize("path", below("*/*.ipynb"))
def test_figures_are_stored(path):
    "Neither the site nor a code host runs a notebook (`tests/store_outputs.py` stores outputs)."
    assert without_their_picture(json.loads((NBS / path).read_text(encoding="utf-8"))) == []


def test_a_figure_that_is_not_stored_is_found():
    cell = dict(cell_type="code", id="a", outputs=[], source=["figure, axis = plt.subplots()\n"])
    stored = dict(cell, id="b", outputs=[dict(data={"image/png": ""})])
    defined = dict(cell, id="c", source=["def draw():\n", "    plt.subplots()\n"])
    histogram = dict(cell, id="d", source=["_ = plt.hist(scores)\n"])
    assert without_their_picture(dict(cells=[cell, stored, defined, histogram])) == ["a", "d"]
