"""Write README.md from nbs/index.ipynb (nbdev_readme needs Quarto), and the numbers of `FILLED`.

python tests/make_readme.py          write them
python tests/make_readme.py --check  exit 1 when one is out of date

A page of `FILLED` names results between two comments, and what stands there is written anew:

    <!-- verdicts of table1_pseudo_labels -->
    <!-- end -->

A line `<!-- results: table3_annotation_efficiency -->` of the notebook becomes the first table of an
experiment; with `rows: A; B` after the name, only those rows of it.
"""

import argparse
import json
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTE = "<!-- Written from nbs/index.ipynb by `make readme`: edit the notebook. -->\n\n"

directive = re.compile(r"^#\s*\|\s*([\w-]+)\s*:?\s*(.*?)\s*$")
fence = re.compile(r"(^```.*?^```[^\n]*$)", re.M | re.S)
FILLED = ("papers/wang2021_annotation_efficient.md", "results/summary.md")
END = "<!-- README.md ends here. -->"  # a cell of its own; what follows is for readers of the notebook
asked = re.compile(r"^<!-- results: (\w+)(?:, rows: (.+?))? -->$", re.M | re.S)
block = re.compile(r"(^<!-- (table|verdicts) of (\w+) -->\n).*?(^<!-- end -->$)", re.M | re.S)
link = re.compile(r"""(\]\(\s*|\b(?:src|href)=["'])([^)\s"'#]+)""")
ansi = re.compile(r"\x1b\[[0-9;]*m")


def text(value):
    "Notebook text is a string or a list of lines."
    return value if isinstance(value, str) else "".join(value)


def split_directives(source):
    "The `#| name: value` lines at the top as a dict, and the code below them."
    directives, lines = {}, source.splitlines()
    while lines and (m := directive.match(lines[0])):
        directives[m[1]] = m[2].lower()
        lines.pop(0)
    return directives, "\n".join(lines).strip("\n")


def target(url):
    "A link as written in nbs/, as seen from the project root."
    if url.startswith("../"):
        return url[3:]
    if url.startswith("./"):
        url = url[2:]
    if "://" in url or not (url.startswith(("images/", "experiments/")) or url.endswith(".ipynb")):
        return url
    return "nbs/" + url


def read_results(folder):
    "The results of an experiment; None as long as there are none."
    path = ROOT / "results" / folder / "results.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def only_rows(table, names):
    "A Markdown table with the named rows alone; its header and the lines below it stay."
    lines = table.splitlines()
    first = next(k for k, line in enumerate(lines, 1) if line.startswith("| ---"))
    rows = {line.split("|")[1].strip(): line for line in lines[first:] if line.startswith("|")}
    missing = [name for name in names if name not in rows]
    if missing:
        raise ValueError(f"The table has no row {missing[0]!r}; it has {', '.join(rows)}")
    return "\n".join([*lines[:first], *(rows[name] for name in names), *lines[first + len(rows) :]])


def plain_header(table):
    "A Markdown table with `fetal head` for `fetal_head, dice` in its header; pages say that they show Dice."
    header, *lines = table.splitlines()
    return "\n".join([header.replace(", dice |", " |").replace("_", " "), *lines])


def measured(folder, rows=None):
    "The first table of an experiment's results, and how it was made; nothing as long as there are none."
    r = read_results(folder)
    if not r:
        return ""
    (name, table), facts = next(iter(r["tables"].items())), r["facts"]
    table = plain_header(table)
    if rows:
        table = only_rows(table, re.split(r";\s+", rows))
    made = ", ".join(
        [
            f"seeds {facts['seeds']}",
            f"preset `{facts['preset']}`",
            facts["budget"],
            facts["machine"],
            f"commit {facts['commit']}",
        ]
    )
    return (
        f"**{r['title']}.** {name}; [all tables, figures and"
        f" verdicts](results/{folder}/results.md).\n\n{table}\n\n```sh\n{facts['command']}\n```\n\n({made})"
    )


def results_block(kind, folder, page):
    "The first table, or the verdicts, of an experiment's results, and how they were made."
    r = read_results(folder)
    if not r:
        return "Not measured yet.\n"
    facts, where = r["facts"], os.path.relpath(f"results/{folder}/results.md", Path(page).parent)
    claims = r.get("claims") or "\n".join(f"* {v}" for v in r["verdicts"])  # older results are a list
    body = plain_header(next(iter(r["tables"].values()))) if kind == "table" else claims
    made = f"preset `{facts['preset']}`, seeds {facts['seeds']}, commit {facts['commit']}"
    return f"{body}\n\n({made}; [the command, all tables and figures]({where}))\n"


def fill(text, page):
    "A page of `FILLED` with the present results."
    return block.sub(lambda m: m[1] + results_block(m[2], m[3], page) + m[4], text)


def markdown(source):
    "A markdown cell with links from the root and the results it asks for; code fences stay as they are."
    source = asked.sub(lambda m: measured(m[1], m[2]), source)
    parts = fence.split(source)
    return "".join(p if i % 2 else link.sub(lambda m: m[1] + target(m[2]), p) for i, p in enumerate(parts))


def outputs(cell):
    "The text outputs of a code cell; pictures are left to links in markdown cells."
    for o in cell.get("outputs", []):
        data = o.get("data", {})
        if o["output_type"] == "stream" and o.get("name") == "stdout":
            yield "text", text(o["text"])
        elif any(k.startswith("image/") for k in data):
            continue
        elif "text/markdown" in data:
            yield "markdown", text(data["text/markdown"])
        elif "text/plain" in data:
            yield "text", text(data["text/plain"])


def blocks(nb):
    "The README's blocks, in order."
    for cell in nb["cells"]:
        source = text(cell["source"])
        if source.strip() == END:
            return
        if cell["cell_type"] == "markdown":
            if source.strip():
                yield markdown(source).strip("\n")
        elif cell["cell_type"] == "code":
            d, code = split_directives(source)
            if "hide" in d or d.get("include") == "false":
                continue
            if code and d.get("echo") != "false":
                yield f"```python\n{code}\n```"
            if d.get("output") == "false":
                continue
            for kind, out in outputs(cell):
                out = ansi.sub("", out).strip("\n")
                if not out.strip():
                    continue
                if kind == "markdown":
                    yield markdown(out)
                else:
                    yield "\n".join(("    " + line).rstrip() for line in out.splitlines())


def render(index):
    "README.md's text for the notebook file `index`."
    nb = json.loads(Path(index).read_text(encoding="utf-8"))
    return NOTE + "\n\n".join(blocks(nb)) + "\n"


def out_of_date(root=ROOT):
    "Why README.md is not what the notebook gives, or an empty string."
    index, readme = Path(root) / "nbs/index.ipynb", Path(root) / "README.md"
    if not index.exists():
        return "nbs/index.ipynb is missing"
    if not readme.exists():
        return "README.md is missing"
    written = readme.read_text(encoding="utf-8")
    if written != render(index):
        return "README.md differs from nbs/index.ipynb"
    dead = [
        url
        for _, url in link.findall("".join(fence.split(written)[::2]))
        if "://" not in url and not (Path(root) / url).exists()
    ]
    if dead:
        return f"it links to {dead[0]}, which does not exist; mend nbs/index.ipynb"
    for page in FILLED:
        text = (Path(root) / page).read_text(encoding="utf-8")
        if text != fill(text, page):
            return f"{page} holds other numbers than results/"
    return ""


def main():
    parser = argparse.ArgumentParser(description="Write README.md and the numbers in other pages.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when out of date")
    if parser.parse_args().check:
        why = out_of_date()
        if why:
            print(f"README.md is out of date ({why}): run `make readme`.")
        return int(bool(why))
    (ROOT / "README.md").write_text(render(ROOT / "nbs/index.ipynb"), encoding="utf-8")
    for page in FILLED:
        text = (ROOT / page).read_text(encoding="utf-8")
        (ROOT / page).write_text(fill(text, page), encoding="utf-8")
    print(", ".join(("README.md", *FILLED)) + " written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
