"""What the modules of aeseg import of each other, read from their source."""

import ast
from pathlib import Path

import aeseg

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(aeseg.__file__).parent
PARTS = ("core", "data", "shapes", "method", "evaluation", "app", "studies", "cli")  # lowest first


def module_name(path):
    "'method.vae' for .../aeseg/method/vae.py."
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


MODULES = {
    module_name(p): p.read_text(encoding="utf-8")
    for p in sorted(PACKAGE.rglob("*.py"))
    if p.stem not in ("__init__", "_modidx")
}


def part(module):
    "The part that a module belongs to."
    return module.split(".")[0]


def imported(source, module=""):
    "The modules of aeseg that a source imports, at its top or anywhere inside, as names below the package."
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {a.name.removeprefix("aeseg.") for a in node.names if a.name.startswith("aeseg.")}
        if isinstance(node, ast.ImportFrom):
            found |= _imported_from(node, module)
    return found


def _imported_from(node, module):
    "What one `from ... import ...` imports of aeseg; a name is a module where no longer name is one."
    if node.level:
        base = module.split(".")[: -node.level]
    elif (node.module or "").split(".")[0] == "aeseg":
        base = []
    else:
        return set()
    inside = (node.module or "").split(".") if node.module else []
    if not node.level:
        inside = inside[1:]
    parent = ".".join([*base, *inside])
    names = {".".join(filter(None, [parent, a.name])) for a in node.names}
    modules = {n for n in names if n in MODULES}
    return modules | ({parent} if parent and names - modules else set())
