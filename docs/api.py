"""The API reference: what the modules' code says, parsed and not imported, as reStructuredText."""

import ast
import io
import re
import textwrap
import tokenize
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "aeseg"
CELL = re.compile(r"^# %% (?:\.\./)+(\S+\.ipynb) #(\S+)$", re.M)
ESCAPED = re.compile(r"([\\*_|:\[\]<>])")
LONGEST_VALUE = 60  # characters of a constant that are shown


class Module(NamedTuple):
    "A module of the package, as text."

    name: str  # such as aeseg.method.vae
    source: str
    tree: ast.Module
    exported: tuple  # names of __all__


def read_module(
    path: Path,
) -> Module:
    "Parse a module."
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    exported = ()
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            is_list = isinstance(node.value, ast.List)
            exported = tuple(ast.literal_eval(node.value)) if is_list else ()
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return Module(name, source, tree, exported)


def read_package() -> list:  # of `Module`, in the order of the book
    "All modules that a notebook writes."
    modules = [read_module(p) for p in sorted(PACKAGE.rglob("*.py")) if not p.name.startswith("_")]
    modules = [m for m in modules if CELL.search(m.source)]
    return sorted(modules, key=lambda m: CELL.search(m.source)[1])


def notebook_of(
    module: Module,
) -> str:  # such as nbs/30_method/02_vae.ipynb
    "The notebook that writes a module."
    return CELL.search(module.source)[1]


def cell_of(
    module: Module,
    line: int,  # of the module, from 1
) -> str:  # id of a cell
    "The cell that wrote a line."
    before = "\n".join(module.source.splitlines()[:line])
    return CELL.findall(before)[-1][1]


def exported_names() -> dict:  # name -> name with its module; without names that two modules export
    "Where each exported name of the package is."
    places = {}
    for module in read_package():
        for name in module.exported:
            places.setdefault(name, []).append(f"{module.name}.{name}")
    return {name: full[0] for name, full in places.items() if len(full) == 1}


# ---------------------------------------------------------------- text


def to_rst(
    text: str,  # prose with `code` in single backticks
) -> str:
    "Prose as reStructuredText on one line."
    pieces = " ".join(text.split()).split("`")
    if len(pieces) % 2 == 0:  # a lone backtick
        pieces = ["'".join(pieces)]
    written = []
    for i, piece in enumerate(pieces):
        is_code = i % 2 and piece.strip()
        written.append(f"\\ ``{piece.strip()}``\\ " if is_code else ESCAPED.sub(r"\\\1", piece))
    return "".join(written).strip().removeprefix("\\ ").removesuffix("\\")


def doc_lines(
    node,  # a function, class or module
) -> list:
    "The lines of a docstring: its paragraphs, and literal blocks where it is indented."
    lines = []
    for paragraph in (ast.get_docstring(node) or "").split("\n\n"):
        if not paragraph.strip():
            continue
        if paragraph.startswith(" "):
            lines += ["::", "", textwrap.indent(textwrap.dedent(paragraph), "   "), ""]
        else:
            lines += [to_rst(paragraph), ""]
    return lines


def comments(
    source: str,
) -> dict:  # line -> text of the comment on it
    "The comments of a module."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


# ---------------------------------------------------------------- signatures


def parameters_of(
    function,  # an `ast.FunctionDef`
    notes: dict,  # of `comments`
) -> list:  # of (name, type, comment)
    "The parameters of a function as docments describe them."
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + a.defaults
    pairs = list(zip(positional, defaults))
    pairs += [(p, None) for p in [a.vararg] if p]
    pairs += list(zip(a.kwonlyargs, a.kw_defaults))
    pairs += [(p, None) for p in [a.kwarg] if p]
    pairs = [(p, d) for p, d in pairs if p.arg not in ("self", "cls")]
    starts = [*[p.lineno for p, _ in pairs[1:]], return_line(function)]
    described = []
    for (p, default), stop in zip(pairs, starts):
        # a comment behind several parameters is about none of them
        lines = range((default or p).end_lineno, stop)
        kind = ast.unparse(p.annotation) if p.annotation else ""
        described.append((p.arg, kind, " ".join(notes[n] for n in lines if n in notes)))
    return described


def return_line(
    function,
) -> int:
    "The line on which a signature ends."
    if function.returns:
        return function.returns.end_lineno
    a = function.args
    known = [*a.posonlyargs, *a.args, *a.kwonlyargs, *a.defaults, *filter(None, a.kw_defaults)]
    known += [p for p in (a.vararg, a.kwarg) if p]
    last = max((node.end_lineno for node in known), default=function.lineno)
    return last if last == function.lineno else max(last, function.body[0].lineno - 1)


def signature(
    function,
    name: str,
) -> str:
    "A signature with types and defaults, on one line."
    copied = ast.parse(ast.unparse(function)).body[0]
    arguments = copied.args
    for group in (arguments.posonlyargs, arguments.args):
        group[:] = [p for p in group if p.arg not in ("self", "cls")]
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"{name}({ast.unparse(arguments)}){returns}"


def function_fields(
    function,
    notes: dict,
) -> list:
    "The fields :param:, :type: and :returns: of a function."
    lines = []
    for name, kind, text in parameters_of(function, notes):
        if not kind and not text:
            continue
        lines.append(f":param {name}: {to_rst(text)}".rstrip())
        if kind:
            lines.append(f":type {name}: {kind}")
    returned = notes.get(return_line(function), "")
    if function.returns and returned:
        lines.append(f":returns: {to_rst(returned)}")
    return [*lines, ""]


# ---------------------------------------------------------------- objects


def indented(
    lines: list,
) -> list:
    return [textwrap.indent(line, "   ") if line else line for line in lines]


def source_line(
    module: Module,
    node,
) -> list:
    "The link to the cell of the notebook."
    cell = cell_of(module, node.lineno)
    notebook = notebook_of(module).removeprefix("nbs/")
    return [f":ref:`written in {notebook} <cell-{Path(notebook).stem}-{cell}>`", ""]


def decorators(
    node,
) -> set:
    return {ast.unparse(d).split("(")[0].split(".")[-1] for d in node.decorator_list}


def describe_function(
    module: Module,
    node,
    notes: dict,
    kind: str = "function",
) -> list:
    "A function or method."
    marks, lines = decorators(node), []
    if "property" in marks:
        lines.append(f".. py:property:: {node.name}")
    else:
        lines.append(f".. py:{kind}:: {signature(node, node.name)}")
    lines += [
        f"   :{mark}:" for mark in ("classmethod", "staticmethod") if mark in marks and kind == "method"
    ]
    body = [*doc_lines(node)]
    if "property" not in marks:
        body += function_fields(node, notes)
    if kind == "function":
        body += source_line(module, node)
    return [*lines, "", *indented(body)]


def shown_value(
    node,  # an expression, or None
) -> str:
    "A value as it is written, if it is short."
    if node is None:
        return ""
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= LONGEST_VALUE else ""


def describe_field(
    node,  # an annotated assignment in a class
    notes: dict,
) -> list:
    "A field of a NamedTuple or dataclass, or an option of the configuration."
    value, text = node.value, notes.get(node.end_lineno, "")
    if isinstance(value, ast.Call) and getattr(value.func, "id", "") == "option":
        text = ast.literal_eval(value.args[1])
        value = value.args[0]
    lines = [f".. py:attribute:: {node.target.id}", f"   :type: {ast.unparse(node.annotation)}"]
    if shown_value(value):
        lines.append(f"   :value: {shown_value(value)}")
    return [*lines, "", *indented([to_rst(text), ""])]


def describe_class(
    module: Module,
    node: ast.ClassDef,
    notes: dict,
) -> list:
    "A class: its constructor, fields, properties and documented methods."
    methods = [n for n in node.body if isinstance(n, ast.FunctionDef)]
    constructor = next((m for m in methods if m.name == "__init__"), None)
    heading = signature(constructor, node.name) if constructor else node.name
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    body = [f"*Bases*: ``{bases}``", ""] if bases else []
    body += doc_lines(node)
    if constructor:
        body += function_fields(constructor, notes)
    body += source_line(module, node)
    for child in node.body:
        if isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            body += describe_field(child, notes)
    for method in methods:
        is_public = not method.name.startswith("_") or method.name == "__call__"
        if is_public and (ast.get_docstring(method) or method.name == "forward"):
            body += describe_function(module, method, notes, "method")
    return [f".. py:class:: {heading.split(' -> ')[0]}", "", *indented(body)]


def describe_data(
    module: Module,
    node,
    name: str,
    notes: dict,
) -> list:
    "A constant."
    lines = [f".. py:data:: {name}"]
    if shown_value(node.value):
        lines.append(f"   :value: {shown_value(node.value)}")
    text = notes.get(node.lineno) or notes.get(node.end_lineno, "")
    return [*lines, "", *indented([to_rst(text), "", *source_line(module, node)])]


def assigned(
    node,
) -> list:
    "The names that a statement binds."
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else []
    if not isinstance(node, ast.Assign):
        return []
    targets = [t for target in node.targets for t in getattr(target, "elts", [target])]
    return [t.id for t in targets if isinstance(t, ast.Name)]


def module_page(
    module: Module,
) -> str:
    "The page of a module."
    notes, title = comments(module.source), module.name
    notebook = Path(notebook_of(module))
    lines = [title, "=" * len(title), "", f".. py:module:: {module.name}", "", *doc_lines(module.tree)]
    lines += [f"The notebook that writes it: :doc:`/{notebook.with_suffix('')}`.", ""]
    described = set()
    for node in module.tree.body:
        name = getattr(node, "name", "")
        names = [name] if name else assigned(node)
        for name in [n for n in names if n in module.exported and n not in described]:
            described.add(name)
            if isinstance(node, ast.FunctionDef):
                lines += describe_function(module, node, notes)
            elif isinstance(node, ast.ClassDef):
                lines += describe_class(module, node, notes)
            else:
                lines += describe_data(module, node, name, notes)
    return "\n".join(lines) + "\n"
