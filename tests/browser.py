"""Helpers of the inspector's tests and benchmark: a run of many phantoms, JupyterLab, the app, Chromium."""

import contextlib
import json
import os
import re
import secrets
import select
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
from PIL import Image

PLACES = ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
CHROMIUM = next((p for p in PLACES if Path(p).exists()), None)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEW = dict(width=1360, height=820)
KERNEL = dict(name="python3", display_name="python3", language="python")


def vary(pixels, k, phantoms, count):
    "The image of case `k`: a phantom, its mirror image in every second series, darker or brighter."
    mirrored = pixels[:, ::-1] if k // phantoms % 2 else pixels
    return (255 * (mirrored / 255.0) ** (0.6 + 0.8 * k / count)).astype(np.uint8)


def write_cases(folder, count, phantoms=20, size=(60, 80)):
    "A data set of `count` images; some are phantoms, the others are varied from them."
    from aeseg.data.phantoms import write_phantoms

    data = write_phantoms(folder / "heads", "fetal_head", count=min(phantoms, count), val=0, size=size)
    for part in ("images", "masks"):
        sources = [np.asarray(Image.open(p)) for p in sorted((data / part).iterdir())]
        for k in range(len(sources), count):
            pixels = sources[k % len(sources)]
            if part == "images":
                pixels = vary(pixels, k, len(sources), count)
            elif k // len(sources) % 2:
                pixels = pixels[:, ::-1]
            Image.fromarray(np.ascontiguousarray(pixels)).save(data / part / f"fetal_head_{k:04}.png")
    rows = "".join(f"fetal_head_{k:04},train\n" for k in range(count))
    (data / "splits.csv").write_text("id,split\n" + rows)
    return data


def make_run(folder, count, size=(60, 80), canvas=32):
    "A run of the real pipeline with tiny settings on `count` cases."
    from aeseg.app.fit import fit

    run = fit(
        write_cases(folder, count, size=size),
        folder / "run",
        truth=None,
        preset="smoke",
        size=canvas,
        accelerator="cpu",
        quiet=True,
        rounds=2,
        stop_change=0.0,
        relabel_fraction=0.0,
        vae_steps=20,
        gan_steps=8,
        checkpoint_every=4,
        segmentation_steps=20,
    )
    return run.folder


def wait_for(stream, pattern, seconds):
    "The first match in what a process prints."
    until, printed = time.time() + seconds, ""
    while time.time() < until:
        if not select.select([stream], [], [], 0.5)[0]:
            continue
        text = os.read(stream.fileno(), 65536).decode(errors="replace")
        if not text:
            break
        printed += text
        if match := re.search(pattern, printed):
            return match
    raise TimeoutError(f"no {pattern!r} in: {printed[-2000:]}")


@contextlib.contextmanager
def app(run, *options, browser=None):
    "The address of `aeseg inspect RUN`, which opens a browser if its command is given."
    script = Path(sys.executable).with_name("aeseg")
    command = [script, "inspect", str(run), *options, *([] if browser else ["--no-browser"])]
    env = {**os.environ, "BROWSER": str(browser)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
    try:
        yield wait_for(process.stdout, r"http://127\.0\.0\.1:\d+/\?token=\S+", 120)[0]
    finally:
        process.terminate()
        process.wait(30)


def write_notebook(path, sources):
    "A notebook with one code cell for each source."
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=KERNEL)), path)


class Lab:
    "JupyterLab with one notebook that shows the inspector; its configuration lies in the folder, too."

    FOLDERS = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTERLAB_SETTINGS_DIR",
        "JUPYTERLAB_WORKSPACES_DIR",
        "JUPYTER_RUNTIME_DIR",
        "JUPYTER_DATA_DIR",
    )

    def __init__(self, folder, run, imports_apart=False):
        from aeseg.app.inspector import free_port

        self.token, self.port = secrets.token_hex(16), free_port(8950)
        lines = ["from aeseg.app.inspector import Inspector", f"Inspector({str(run)!r})"]
        write_notebook(folder / "look.ipynb", lines if imports_apart else ["\n".join(lines)])
        folders = {name: str(folder / name) for name in self.FOLDERS}
        self.process = subprocess.Popen(
            self.command(folder),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **folders},
            cwd=folder,
        )
        self.wait()

    def command(self, folder):
        return [
            sys.executable,
            "-m",
            "jupyterlab",
            str(folder),
            "--no-browser",
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0",
            f"--IdentityProvider.token={self.token}",
            f"--ServerApp.root_dir={folder}",
            "--LabApp.news_url=",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--allow-root",
        ]

    def wait(self):
        "Wait until JupyterLab answers."
        for _ in range(240):
            with contextlib.suppress(OSError):
                self.ask("status")
                return
            time.sleep(0.5)
        raise TimeoutError("JupyterLab does not answer")

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}/lab/tree/look.ipynb?token={self.token}"

    def ask(self, path, method="GET"):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or "null")

    def close(self):
        self.process.terminate()
        self.process.wait(30)


MARK_OLD = "document.querySelector('.aeseg-inspector')?.setAttribute('data-old', '1')"
IS_RUNNING = """() => document.querySelector('.jp-InputPrompt')?.textContent.includes('*')
  || document.querySelector('.aeseg-inspector:not([data-old])')"""


def take_offer(page):
    "The words of a dialog in the way (on a slow machine JupyterLab asks for the kernel), and take its offer."
    dialog = page.locator(".jp-Dialog").first
    if not dialog.is_visible():
        return ""
    words = dialog.inner_text()
    dialog.locator("button.jp-mod-accept").click(timeout=3000)
    return words


def run_cell(page):
    "Run the notebook's first cell; while JupyterLab is not connected to the kernel, the keys do nothing."
    page.locator(".jp-Notebook .jp-InputArea-editor").first.wait_for()
    page.evaluate(MARK_OLD)
    asked = []
    for _ in range(40):
        with contextlib.suppress(Exception):
            asked.append(take_offer(page))
            page.locator(".jp-Notebook .jp-InputArea-editor").first.click(timeout=3000)
            page.keyboard.press("Control+Enter")
            page.wait_for_function(IS_RUNNING, timeout=3000)
            return
    raise TimeoutError(f"JupyterLab does not run the cell; it asked {[words for words in asked if words]}")


def restart_kernel(page):
    "Restart the kernel by JupyterLab's menu."
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Restart Kernel…$")).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    page.locator(".jp-Dialog").wait_for(state="detached")


def collect_faults(page):
    "A list that gets errors of the console, exceptions, and requests that leave this machine."
    faults = []

    def on_console(message):
        if message.type == "error":
            faults.append(message.text)

    def on_request(request):
        local = "//127.0.0.1:" in request.url or request.url.startswith(("data:", "blob:", "file:"))
        if not local:
            faults.append(f"asked {request.url}")

    page.on("console", on_console)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.on("request", on_request)
    return faults


@contextlib.contextmanager
def chromium(view=VIEW):
    "A page, and its list of faults."
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport=view)
        faults = collect_faults(page)
        page.set_default_timeout(90000)
        try:
            yield page, faults
        finally:
            browser.close()


MATCHES = """([name, pattern]) => {
  const value = document.querySelector('.aeseg-inspector')?.getAttribute('data-' + name)
  return new RegExp(pattern).test(value ?? '')
}"""
COUNTS = """wanted => {
  const counts = JSON.parse(document.querySelector('.aeseg-inspector')?.dataset.decided ?? '{}')
  return Object.entries(wanted).every(([name, count]) => counts[name] === count)
}"""


class Inspected:
    "The inspector on a page, as a person uses it."

    def __init__(self, page):
        self.page, self.root = page, page.locator(".aeseg-inspector")

    def ready(self):
        selector = ".aeseg-inspector[data-page][data-shown]:not([data-old])"
        self.page.wait_for_selector(selector, timeout=180000)
        return self

    def data(self, name):
        return self.root.get_attribute(f"data-{name}")

    def until(self, name, pattern):
        "Wait until an attribute matches a pattern."
        self.page.wait_for_function(MATCHES, arg=[name, pattern])

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def tab(self, name):
        self.root.get_by_role("tab", name=name).click()

    def tile(self, n):
        return self.root.locator(".ai-gallery .ai-tile").nth(n)

    def until_decided(self, **counts):
        "Wait until the header shows these numbers of decisions."
        self.page.wait_for_function(COUNTS, arg=counts)
