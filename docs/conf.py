"""Sphinx: the site of aeseg. `make docs` builds it; see build.py."""

import sys
from configparser import ConfigParser
from functools import cache
from importlib.metadata import files
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms import SphinxTransform

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

import api

settings = ConfigParser(delimiters=["="])
settings.read(DOCS.parent / "settings.ini", encoding="utf-8")
project, author = "aeseg", settings["DEFAULT"]["author"]
copyright = f"2026 onwards, {author}"
version = release = settings["DEFAULT"]["version"]

extensions = ["myst_nb", "sphinx.ext.viewcode", "sphinx.ext.mathjax"]
nb_execution_mode = "off"
nb_ipywidgets_js = {}
nb_code_prompt_show = "Show {type}"
myst_enable_extensions = ["dollarmath", "amsmath", "html_image", "deflist"]
myst_heading_anchors = 4
# notebooks begin sections with headings of any level
suppress_warnings = ["myst.header"]
add_module_names = False
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
viewcode_follow_imported_members = False
viewcode_line_numbers = True

html_title = "aeseg"
html_context = dict(default_mode="auto")
html_theme = "pydata_sphinx_theme"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["offline.js"]
html_copy_source = False
html_theme_options = dict(
    navbar_end=["theme-switcher"],
    header_links_before_dropdown=6,
    show_toc_level=2,
    navigation_depth=3,
    collapse_navigation=True,
    footer_start=["copyright"],
    footer_end=[],
    secondary_sidebar_items=["page-toc"],
    pygments_light_style="a11y-high-contrast-light",
    pygments_dark_style="a11y-high-contrast-dark",
    back_to_top_button=False,
)
html_sidebars = {"index": [], "search": []}
mathjax_path = "tex-svg.js"  # one file without fonts; see `copy_mathjax`
# MathJax's own menu would load further files
mathjax3_config = dict(options=dict(enableMenu=False), svg=dict(fontCache="local"))

EXPORTED = api.exported_names()
MODULES = {module.name: module for module in api.read_package()}


class LinkNames(SphinxTransform):
    "Names of the package that the text has in `code` lead to their place in the API."

    default_priority = 500

    def apply(self, **kwargs):
        in_api = self.env.docname.startswith("api/")
        for node in list(self.document.findall(nodes.literal)):
            inside = (nodes.title, nodes.reference, addnodes.pending_xref)
            parent = node.parent
            while parent and not isinstance(parent, inside):
                parent = parent.parent
            name = node.astext().removesuffix("()").removeprefix("aeseg.")
            if parent is None and name in EXPORTED and (in_api or is_plain_name(name)):
                self.link(node, EXPORTED[name])

    def link(self, node, target):
        xref = addnodes.pending_xref(
            "", refdomain="py", reftype="obj", reftarget=target, refdoc=self.env.docname, refwarn=False
        )
        node.replace_self(xref)
        xref += node


def is_plain_name(name):
    "Whether a name can hardly be an option or an ordinary word."
    return name[:1].isupper() and len(name) > 3 and not name.isupper()


def add_anchors(app, document):
    "Each cell of a notebook can be linked to."
    labels = app.env.domains.standard_domain.anonlabels
    for node in document.findall(nodes.container):
        anchor = (node.get("cell_metadata") or {}).get("anchor")
        if anchor:
            node["ids"].append(anchor)
            labels[anchor] = app.env.docname, anchor


@cache
def source_of(name):
    "The source of a module, which is not imported, and where its names are."
    source = MODULES[name].source
    return source, ModuleAnalyzer.for_string(source, name).find_tags()


def find_source(app, name):
    "What viewcode asks for."
    return source_of(name) if name in MODULES else None


def copy_mathjax(app, error):
    "MathJax beside the pages, so that the site needs no network."
    if error or app.builder.format != "html":
        return
    script = next(p for p in files("django-static-mathjax") if str(p).endswith("es5/tex-svg.js"))
    target = Path(app.outdir) / "_static/tex-svg.js"
    target.write_bytes(Path(script.locate()).read_bytes())


def setup(app):
    app.add_transform(LinkNames)
    app.connect("doctree-read", add_anchors)
    app.connect("viewcode-find-source", find_source)
    app.connect("build-finished", copy_mathjax)
    return dict(parallel_read_safe=True, parallel_write_safe=True)
