"""Run component notebooks and how-tos, and keep what their cells print and draw.

    python tests/store_outputs.py                all of them
    python tests/store_outputs.py 30_method vae  those whose path contains one of the words
    python tests/store_outputs.py experiments    the experiments, on phantoms

Readers of the book and of the site see stored outputs, because neither runs a notebook. Cells with
`#| eval: false` are not run and keep theirs. Notebooks with widgets are left out: their static figures
are stored by hand. Run `nbdev_clean` afterwards, and look at the figures.
"""

import json
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4.rwbase import split_lines
from run_notebooks import ROOT, notebooks  # and one thread each

EXPERIMENTS = ROOT / "nbs/experiments"
SKIP = "skip-execution"  # nbclient's tag


def is_widget(output):
    "Whether an output is a widget."
    return any("widget" in kind for kind in output.get("data", {}))


def has_widget(notebook):
    "Whether an output of a notebook is a widget."
    return any(is_widget(o) for cell in notebook.cells for o in cell.get("outputs", ()))


def is_shown(output):
    "Outputs that readers need: no remarks of libraries on stderr, and no progress bars."
    return output.get("name") != "stderr" and not is_widget(output)


def store(path: Path):
    "Run a notebook and write its outputs, unless a cell fails."
    notebook = nbformat.read(path, as_version=4)
    if has_widget(notebook):
        return "left out: it has a widget"
    kept = {cell.id for cell in notebook.cells if "#| eval: false" in cell.source}
    for cell in notebook.cells:
        if cell.id in kept:
            cell.metadata["tags"] = [SKIP]
    folder = ROOT if path.parent == EXPERIMENTS else path.parent  # where users run them
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    before = json.loads(path.read_text(encoding="utf-8"))
    for old, new in zip(before["cells"], split_lines(notebook).cells):
        if new.cell_type == "code" and new.id not in kept:
            shown = [output for output in new.outputs if is_shown(output)]
            old["outputs"] = json.loads(json.dumps(shown, sort_keys=True))  # sorted as Jupyter sorts
    path.write_text(json.dumps(before, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return "stored"


def main():
    words = sys.argv[1:]
    paths = sorted(EXPERIMENTS.glob("*.ipynb")) if words == ["experiments"] else notebooks(words)
    for path in paths:
        print(path.relative_to(ROOT), store(path), flush=True)


if __name__ == "__main__":
    main()
