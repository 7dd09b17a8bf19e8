"""Lines of modules, notebooks and tests: their length, one statement each, functions bound by `def`."""

import ast
import io
import json
import re
import tokenize

import pytest
from source_tree import PACKAGE, ROOT

COLUMNS = 110
MODULES = [p for p in sorted(PACKAGE.rglob("*.py")) if p.name != "_modidx.py"]  # nbdev writes the index
NOTEBOOKS = [p for p in sorted((ROOT / "nbs").rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
TESTS = sorted([*(ROOT / "tests").glob("*.py"), *(ROOT / "docs").glob("*.py")])
EXPORTED_NAMES = re.compile(r"^__all__ = \[.*?\]$", re.M | re.S)  # at the top of a module, by nbdev
MAGIC = re.compile(r"^(\s*)[%!]\S.*$", re.M)  # a command of IPython in a code cell


# ---------------------------------------------------------------- faults of a source


def long_lines(source):
    "(line, fault) of each line that is too long."
    for number, line in enumerate(source.splitlines(), 1):
        if len(line) > COLUMNS:
            yield number, f"{len(line)} columns"


def semicolons(source):
    "(line, fault) of each semicolon that ends a statement."
    if ";" not in source:
        return
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.OP and token.string == ";":
            yield token.start[0], "semicolon"


def bound_values(node):
    "(target, value) of an assignment, those of `a, b = x, y` each for itself."
    if isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
        return [(node.target, node.value)]
    if not isinstance(node, ast.Assign):
        return []
    pairs = []
    for target in node.targets:
        if isinstance(target, (ast.Tuple, ast.List)) and isinstance(node.value, (ast.Tuple, ast.List)):
            pairs += zip(target.elts, node.value.elts)
        else:
            pairs.append((target, node.value))
    return pairs


def named_lambdas(source):
    "(line, fault) of each name that is bound to a lambda."
    if "lambda" not in source:
        return
    for node in ast.walk(ast.parse(source)):
        for target, value in bound_values(node):
            if isinstance(target, ast.Name) and isinstance(value, ast.Lambda):
                yield node.lineno, f"lambda bound to {target.id}"


def code_faults(source):
    "(line, fault) of Python code; commands of IPython count by their length only."
    python = MAGIC.sub(r"\1pass", source)
    return [*long_lines(source), *semicolons(python), *named_lambdas(python)]


def prose_faults(source):
    "(line, fault) of Markdown; rows of tables, links and formulas may be longer."
    lines = source.splitlines()
    return [
        (number, fault)
        for number, fault in long_lines(source)
        if not (lines[number - 1].startswith("|") or "](" in lines[number - 1] or "$" in lines[number - 1])
    ]


def module_faults(source):
    "(line, fault) of a module; the block of exported names is nbdev's."
    return code_faults(EXPORTED_NAMES.sub(lambda block: "\n" * block[0].count("\n"), source, count=1))


def notebook_faults(notebook):
    "(cell, line, fault) of a notebook."
    for cell in notebook["cells"]:
        faults = dict(code=code_faults, markdown=prose_faults).get(cell["cell_type"])
        if faults:
            for number, fault in faults("".join(cell["source"])):
                yield cell["id"], number, fault


# ---------------------------------------------------------------- the files


def relative(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_modules(path):
    assert module_faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=relative)
def test_notebooks(path):
    assert list(notebook_faults(json.loads(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize("path", TESTS, ids=relative)
def test_tests(path):
    assert code_faults(path.read_text(encoding="utf-8")) == []


# ---------------------------------------------------------------- controls

LONG = "x = " + "1" * 107  # one column too many
FAULTY_CODE = {
    LONG: (1, "111 columns"),
    f"y = 1\n%time {LONG}": (2, "117 columns"),
    "x = 1; y = 2": (1, "semicolon"),
    "x = 1\nplt.plot(x);": (2, "semicolon"),
    "%matplotlib inline\nx = 1;": (2, "semicolon"),
    "f = lambda x: x": (1, "lambda bound to f"),
    "f: Callable = lambda x: x": (1, "lambda bound to f"),
    "a, f = 1, lambda x: x": (1, "lambda bound to f"),
    "f = g = lambda x: x": (1, "lambda bound to g"),
    "def f():\n    if (g := lambda: 0):\n        return g": (2, "lambda bound to g"),
}


@pytest.mark.parametrize("source", FAULTY_CODE)
def test_faulty_code_is_seen(source):
    assert FAULTY_CODE[source] in code_faults(source)


@pytest.mark.parametrize(
    "source",
    [
        LONG[:-1],
        "s = 'a; b'  # c; d",
        "sorted(x, key=lambda v: v[1])",
        "table = dict(f=lambda x: x)",
        "stage.step = lambda k: {}",
        "!ls; pwd\n%time f = lambda x: x",
        "if True:\n    %time x = 1; y = 2\nelse:\n    x = 3",
    ],
)
def test_good_code_has_no_fault(source):
    assert code_faults(source) == []


def test_exported_names_of_a_module_may_be_long():
    block = f"__all__ = ['{'a' * COLUMNS}',\n           'b']"
    assert module_faults(f"{block}\nx = 1;") == [(3, "semicolon")]
    assert module_faults(f"x = ['{'a' * COLUMNS}']") != []
    assert module_faults(f"{block}\n{block}") != []  # one block only


def test_prose_is_wrapped_but_for_tables_links_and_formulas():
    words = "word " * 23
    assert prose_faults(f"# Title\n{words}") == [(2, "115 columns")]
    for longer in (f"| {words} |", f"{words}[link](x.md)", f"$${words}$$", words[:COLUMNS]):
        assert prose_faults(longer) == []


def test_both_kinds_of_cells_of_a_notebook_are_read():
    cells = [
        dict(id="a", cell_type="markdown", source=["# Title\n", "word " * 23]),
        dict(id="b", cell_type="code", source=["x = 1\n", "y = 2;"]),
        dict(id="c", cell_type="raw", source=["word " * 23]),
    ]
    assert list(notebook_faults(dict(cells=cells))) == [("a", 2, "115 columns"), ("b", 2, "semicolon")]


def test_files_of_each_kind_are_read():
    assert min(len(MODULES), len(NOTEBOOKS), len(TESTS)) > 20
    assert {p.suffix for p in (*MODULES, *TESTS)} == {".py"}
