"""Build the site in docs/_build/html: python docs/build.py

Notebooks are shown as they are stored; nothing is executed. Warnings are errors.
"""

import argparse
import functools
import http.server
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS))

from stage import stage_all


def build(
    folder,  # gets source/, doctrees/ and html/
    jobs: int = 2,  # processes
) -> int:  # 0, or the exit code of Sphinx
    "Stage the sources and run Sphinx."
    from sphinx.cmd.build import main

    folder = Path(folder)
    stage_all(folder / "source")
    arguments = ["-b", "html", "-c", str(DOCS), "-d", str(folder / "doctrees"), "-j", str(jobs), "-q", "-W"]
    return main([*arguments, "--keep-going", str(folder / "source"), str(folder / "html")])


def serve(
    folder,  # html/
    port: int,
):
    "Serve the site on this machine only."
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        print(f"http://127.0.0.1:{server.server_port}/ (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            pass


def main():
    parser = argparse.ArgumentParser(description="Build the site.")
    parser.add_argument("--out", default=DOCS / "_build", help="folder of the build (default docs/_build)")
    parser.add_argument("--serve", action="store_true", help="serve it on 127.0.0.1 when it is built")
    parser.add_argument("--port", type=int, default=8765, help="port (default 8765; 0: a free one)")
    arguments = parser.parse_args()
    code = build(arguments.out)
    page = Path(arguments.out) / "html/index.html"
    if not code:
        print(f"site: {page.resolve()}")
    if not code and arguments.serve:
        serve(page.parent, arguments.port)
    return code


if __name__ == "__main__":
    sys.exit(main())
