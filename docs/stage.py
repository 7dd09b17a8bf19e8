"""Stage the sources of the site: notebooks as they are stored, pages of the repository, generated pages.

Everything keeps its path below the root of the repository, so that the links between files stay as they are.
"""

import json
import os
import re
from pathlib import Path

import api

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NBS = ROOT / "nbs"
PARTS = {
    "00_core": "Core: what everything stands on",
    "10_data": "Data: phantoms, formats, volumes, images",
    "20_shapes": "Shapes: where auxiliary masks come from",
    "30_method": "Method: the paper, and what is ours beside it",
    "40_evaluation": "Evaluation: metrics and statistics",
    "50_app": "App: fit, predict, report, reviews, export",
    "60_studies": "Studies: baselines, benchmark, experiments",
    "experiments": "Experiments",
}
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md")
FOLDERS = ("data", "papers", "results")  # whose Markdown files are pages
DIRECTIVE = re.compile(r"^#\s*\|\s*([\w-]+).*\n?", re.M)
FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.M | re.S)
LINK = re.compile(r"(\]\(\s*|\b(?:src|href)=[\"'])([^)\s\"'#]+)")
ANCHOR = re.compile(r"#[^)\s]*(?=\))")  # JupyterLab keeps the capitals of headings
IMAGE_TYPES = ("image/png", "image/jpeg", "image/svg+xml")
LONGEST_ALTERNATIVE = 220  # characters


class Stage:
    "The staged tree. A file whose text stays as it was keeps its date, so that it is not read again."

    def __init__(self, folder):
        self.folder, self.paths = Path(folder), set()

    def write(self, path, data):
        "Write a file, a text or bytes, below the folder."
        data = data.encode() if isinstance(data, str) else data
        file = self.folder / path
        self.paths.add(file)
        if file.exists() and file.read_bytes() == data:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def copy(self, path):
        "Copy a file of the repository."
        self.write(path, (ROOT / path).read_bytes())

    def remove_others(self):
        "Remove what an earlier call left and this one did not write."
        for file in self.folder.rglob("*"):
            if file.is_file() and file not in self.paths:
                file.unlink()


# ---------------------------------------------------------------- Markdown


def outside_fences(
    text: str,
    change,  # function of a text
) -> str:
    "A text whose prose is changed and whose code stays."
    parts = FENCE.split(text)
    return "".join(p if i % 2 else change(p) for i, p in enumerate(parts))


def staged_path(
    path,  # below the root of the repository
) -> str:
    "Where a file is in the staged tree: the pages of docs/ are at its top."
    return Path(path).as_posix().removeprefix("docs/")


def link_target(
    stage: Stage,
    page: str,  # path below the root of the repository
    url: str,
) -> str:
    "A link of a page as the site has it: a folder by its page; other files are copied beside the pages."
    if "://" in url or url.startswith("mailto:"):
        return url
    path = Path(os.path.normpath(Path(page).parent / url))
    if path == Path("nbs/index.ipynb"):
        path = Path("docs/book.md")  # the list of notebooks, see `book_pages`
    if (ROOT / path).is_dir():
        is_described = (ROOT / path / "README.md").exists()
        path = path / ("README.md" if is_described else "index.md")
    elif (ROOT / path).is_file() and path.suffix not in (".ipynb", ".md"):
        stage.copy(path)
    return os.path.relpath(staged_path(path), Path(staged_path(page)).parent)


def markdown(
    stage: Stage,
    page: str,  # path below the root of the repository
    text: str,
) -> str:
    "Markdown with the links and anchors of the site."

    def change(prose):
        prose = LINK.sub(lambda m: m[1] + link_target(stage, page, m[2]), prose)
        return ANCHOR.sub(lambda m: m[0].lower(), prose)

    return outside_fences(text, change)


def title_of(
    text: str,  # Markdown
) -> str:
    "The first heading."
    match = re.search(r"^# (.+)$", text, re.M)
    return match[1].strip() if match else ""


# ---------------------------------------------------------------- notebooks


def plain(
    text: str,  # Markdown
) -> str:
    "Markdown as one line of words."
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return " ".join(re.sub(r"[#>*`$|]", "", FENCE.sub("", text)).split())


def alternative(
    code: str,  # of the cell that draws
    before: str,  # Markdown before it
    after: str,  # Markdown behind it
) -> str:
    "The alternative text of a figure: its title if it has one, and the sentence that announces it."
    titles = re.findall(r"(?:set_title|suptitle|plt\.title|titles?=)\(?\s*\[?\"([^\"{]+)\"", code)
    text = plain(before or after) or "figure of this section"
    sentences = re.split(r"(?<=[.:?]) ", text)
    text = ", ".join(titles[:3]) + (": " if titles else "") + sentences[-1]
    return "Figure: " + text[:LONGEST_ALTERNATIVE]


def stage_outputs(
    cell: dict,
    text: str,  # alternative text of its pictures
):
    "Outputs without remarks on stderr and widgets, which need a kernel; the alternative text of pictures."
    kept = []
    for output in cell["outputs"]:
        if output.get("name") == "stderr":
            continue
        data = output.get("data", {})
        if any("widget" in kind for kind in data):
            output["data"] = data = {kind: v for kind, v in data.items() if kind in IMAGE_TYPES}
            if not data:
                continue
        if any(kind in IMAGE_TYPES for kind in data):
            cell["metadata"]["mystnb"] = {"image": {"alt": text}}
        kept.append(output)
    cell["outputs"] = kept


def stage_code(
    cell: dict,
    stem: str,  # of the notebook's name
    before: str,
    after: str,
):
    "A code cell without directives, with an anchor; what nbdev hides is folded."
    source = "".join(cell["source"])
    directives = DIRECTIVE.findall(source)
    cell["source"] = DIRECTIVE.sub("", source).strip("\n")
    tags = cell["metadata"].setdefault("tags", [])
    tags += [tag for word, tag in dict(hide="hide-input", export="exported").items() if word in directives]
    cell["metadata"]["anchor"] = f"cell-{stem}-{cell['id']}"
    stage_outputs(cell, alternative(source, before, after))


def head_lines(
    path: str,  # below nbs/
    code: str,  # of all cells
) -> str:
    "What stands below the title: the file, and the module that it writes."
    module = re.search(r"^#\s*\|\s*default_exp (\S+)", code, re.M)
    writes = f", which writes [aeseg.{module[1]}](/api/aeseg.{module[1]}.rst)" if module else ""
    return f"\n\nNotebook `nbs/{path}`{writes}."


def stage_notebook(
    stage: Stage,
    path: Path,  # of a notebook
):
    "A notebook as the site shows it."
    name = path.relative_to(ROOT).as_posix()
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cells = [c for c in notebook["cells"] if not "".join(c["source"]).startswith("#| default_exp")]
    texts = ["".join(c["source"]) if c["cell_type"] == "markdown" else "" for c in cells]
    code = "\n".join("".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code")
    for i, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            before = next(filter(None, texts[i::-1]), "")
            stage_code(cell, path.stem, before, "".join(texts[i + 1 : i + 2]))
        else:
            cell["source"] = markdown(stage, name, texts[i])
    first = re.split(r"\n(?=\n(?!>))", cells[0]["source"], maxsplit=2)
    at = 2 if len(first) > 1 and first[0].startswith("# ") and "\n>" in first[0] + first[1] else 1
    note = head_lines(name.removeprefix("nbs/"), code)
    cells[0]["source"] = "\n".join(first[:at]) + note + "\n" + "\n".join(first[at:])
    notebook["cells"] = [c for c in cells if c["source"] or c.get("outputs")]
    notebook["metadata"] = {
        k: v for k, v in notebook["metadata"].items() if k in ("kernelspec", "language_info")
    }
    notebook["metadata"].setdefault(
        "kernelspec", dict(name="python3", display_name="python3", language="python")
    )
    stage.write(name, json.dumps(notebook, indent=1))


# ---------------------------------------------------------------- pages


def toctree(
    entries: list,  # of documents, or of "title <document>"
    *options: str,
) -> str:
    return "\n".join(["```{toctree}", *options, "", *entries, "```", ""])


def summary_of(
    path: Path,  # of a notebook
) -> tuple:  # title, summary
    "The first heading of a notebook, and the line below it."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "".join(cells[0]["source"])
    quoted = re.search(r"^>.*(?:\n>.*)*", text, re.M)
    lines = quoted[0].splitlines() if quoted else []
    return title_of(text), " ".join(line.lstrip("> ") for line in lines)


def table_of(
    stage: Stage,
    page: str,
    paths: list,  # of notebooks
) -> str:
    "A table of notebooks, with the summaries of each."
    rows = ["| notebook | summary |", "|---|---|"]
    for path in paths:
        title, summary = summary_of(path)
        target = os.path.relpath(path, ROOT / Path(page).parent)
        rows.append(f"| [{title}]({target}) | {markdown(stage, str(path.relative_to(ROOT)), summary)} |")
    return "\n".join(rows) + "\n\n"


def part_page(
    stage: Stage,
    part: str,
    title: str,
):
    "The page of a part of the book."
    paths = sorted((NBS / part).glob("*.ipynb"))
    page = f"nbs/{part}/index.md"
    documents = [f"/{p.relative_to(ROOT).with_suffix('')}" for p in paths]
    text = f"# {title}\n\n" + table_of(stage, page, paths)
    stage.write(page, text + toctree(documents, ":hidden:"))


def book_pages(
    stage: Stage,
):
    "The book: a page for each part, in reading order."
    for part, title in PARTS.items():
        part_page(stage, part, title)
    parts = [f"/nbs/{part}/index" for part in PARTS if part != "experiments"]
    text = (
        "# The book\n\nThe notebooks are the source of the package: each writes the module of its name. A"
        " part uses only parts before it; method and evaluation never import each other. Code with a coloured"
        " edge is part of the package; the cells below it show or test it.\n\n"
    )
    stage.write("book.md", text + toctree([*parts, "/nbs/70_command_line"], ":maxdepth: 2"))


def results_page(
    stage: Stage,
):
    "The list of results."
    pages = sorted((ROOT / "results").glob("*.md")) + sorted((ROOT / "results").glob("*/results.md"))
    pages = [p for p in pages if p.name not in ("index.md",)]
    rows = [
        f"* [{title_of(p.read_text(encoding='utf-8'))}]({p.relative_to(ROOT / 'results')})" for p in pages
    ]
    text = (
        "# Results\n\nEach page names the command, the seeds, the machine and the commit of its numbers.\n"
        "[The experiments](../nbs/experiments/index.md) are the notebooks that write the tables.\n\n"
    )
    documents = [f"/{p.relative_to(ROOT).with_suffix('')}" for p in pages]
    documents += ["/nbs/experiments/index"]
    stage.write("results/index.md", text + "\n".join(rows) + "\n\n" + toctree(documents, ":hidden:"))


def api_pages(
    stage: Stage,
):
    "The API reference: a page for each module, in the order of the book."
    modules = api.read_package()
    for module in modules:
        stage.write(f"api/{module.name}.rst", api.module_page(module))
    text = "# API\n\nWhat `from aeseg import …` gives:\n\n" + top_level(modules)
    for part, title in PARTS.items():
        names = [m.name for m in modules if api.notebook_of(m).startswith(f"nbs/{part}/")]
        if names:
            text += f"\n## {title.split(':')[0]}\n\n" + toctree([f"/api/{n}" for n in names], ":maxdepth: 1")
    text += "\n## Command line\n\n" + toctree(["/api/aeseg.cli"], ":maxdepth: 1")
    stage.write("api/index.md", text)


def top_level(
    modules: list,  # of `api.Module`
) -> str:
    "A table of the names that the package itself gives."
    source = (ROOT / "aeseg/__init__.py").read_text(encoding="utf-8")
    node = next(
        n
        for n in api.ast.parse(source).body
        if getattr(n, "targets", [None])[0].__class__ is api.ast.Name and n.targets[0].id == "_MODULES"
    )
    trees, rows = {m.name: m.tree for m in modules}, ["| name | what it is |", "|---|---|"]
    for module, names in api.ast.literal_eval(node.value).items():
        for name in names:
            body = trees[f"aeseg.{module}"].body
            found = [n for n in body if getattr(n, "name", "") == name]
            about = (
                (api.ast.get_docstring(found[0]) or "").split("\n\n")[0]
                if found
                else "the ranges of the tasks"
            )
            rows.append(f"| {{py:obj}}`{name} <aeseg.{module}.{name}>` | {' '.join(about.split())} |")
    return "\n".join(rows) + "\n"


def stage_all(
    folder,  # of the staged tree; files that are not part of it are removed
):
    "Stage the whole site."
    stage, how_to = Stage(folder), sorted((NBS / "how_to").glob("*.ipynb"))
    for path in sorted(NBS.rglob("*.ipynb")):
        if path.name != "index.ipynb" and ".ipynb_checkpoints" not in path.parts:
            stage_notebook(stage, path)
    pages = [ROOT / p for p in PAGES if (ROOT / p).exists()]
    pages += [p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.md"))]
    pages += [p for p in sorted(DOCS.rglob("*.md")) if "_build" not in p.parts]
    for path in pages:
        name = path.relative_to(ROOT).as_posix()
        text = markdown(stage, name, path.read_text(encoding="utf-8"))
        if name == "docs/guide/index.md" and how_to:
            text = text.replace("\ninstall\n", "\ninstall\n/nbs/how_to/index\n")
        if name == "data/README.md":
            cards = sorted(path.parent.glob("[a-z]*.md"))
            text += "\n" + toctree([card.stem for card in cards], ":hidden:")
        stage.write(staged_path(name), text)
    book_pages(stage)
    results_page(stage)
    api_pages(stage)
    if how_to:
        part_page(stage, "how_to", "How-tos")
    import commands_page

    commands_page.write_pages(stage)
    stage.remove_others()
