"""What the tests and the benchmark of the inspector share: a run of many phantom cases, JupyterLab, the browser app, and Chromium."""

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

CHROMIUM = next(
    (
        p
        for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome")
        if Path(p).exists()
    ),
    None,
)
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEW = dict(width=1360, height=820)


def make_run(folder, count, drawn=20, size=(60, 80), canvas=32):
    "The true pipeline with tiny settings on `count` phantoms; some are drawn, the others are their mirror images, darker or brighter."
    from aeseg.data.phantoms import write_phantoms
    from aeseg.app.fit import fit

    data = write_phantoms(folder / "heads", "fetal_head", count=min(drawn, count), val=0, size=size)
    for part in ("images", "masks"):
        sources = [np.asarray(Image.open(p)) for p in sorted((data / part).iterdir())]
        for k in range(len(sources), count):
            a = sources[k % len(sources)]
            a = a[:, ::-1] if k // len(sources) % 2 else a
            if part == "images":
                a = (255 * (a / 255.0) ** (0.6 + 0.8 * k / count)).astype(np.uint8)
            Image.fromarray(np.ascontiguousarray(a)).save(data / part / f"fetal_head_{k:04}.png")
    (data / "splits.csv").write_text(
        "id,split\n" + "".join(f"fetal_head_{k:04},train\n" for k in range(count))
    )
    return fit(
        data,
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
    ).folder


def wait_for(stream, pattern, seconds):
    "The first match in what a process prints."
    until, seen = time.time() + seconds, ""
    while time.time() < until:
        if select.select([stream], [], [], 0.5)[0]:
            text = os.read(stream.fileno(), 65536).decode(errors="replace")
            if not text:
                break
            seen += text
            if found := re.search(pattern, seen):
                return found
    raise TimeoutError(f"no {pattern!r} in: {seen[-2000:]}")


@contextlib.contextmanager
def app(run, *more):
    "The address of `aeseg inspect RUN`."
    script = Path(sys.executable).with_name("aeseg")
    process = subprocess.Popen(
        [script, "inspect", str(run), "--no-browser", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield wait_for(process.stdout, r"http://127\.0\.0\.1:\d+/\?token=\S+", 120)[0]
    finally:
        process.terminate()
        process.wait(30)


class Lab:
    "JupyterLab with one notebook that shows the inspector, and its kernels; where asked for, the import is a cell of its own."

    def __init__(self, folder, run, imports_apart=False):
        from aeseg.app.inspector import free_port

        self.token, self.port = secrets.token_hex(16), free_port(8950)
        lines = ["from aeseg.app.inspector import Inspector", f"Inspector({str(run)!r})"]
        cells = [nbformat.v4.new_code_cell(text) for text in (lines if imports_apart else ["\n".join(lines)])]
        nbformat.write(
            nbformat.v4.new_notebook(
                cells=cells,
                metadata=dict(kernelspec=dict(name="python3", display_name="python3", language="python")),
            ),
            folder / "look.ipynb",
        )
        own = {
            name: str(folder / name)
            for name in (
                "JUPYTER_CONFIG_DIR",
                "JUPYTERLAB_SETTINGS_DIR",
                "JUPYTERLAB_WORKSPACES_DIR",
                "JUPYTER_RUNTIME_DIR",
                "JUPYTER_DATA_DIR",
            )
        }
        command = [
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
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **own},
            cwd=folder,
        )
        for _ in range(240):
            with contextlib.suppress(OSError):
                self.ask("status")
                break
            time.sleep(0.5)
        else:
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


def run_cell(page):
    "Run the notebook's only cell; as long as JupyterLab is not connected to the kernel, it does nothing."
    page.evaluate("document.querySelector('.aeseg-inspector')?.setAttribute('data-old', '1')")
    for _ in range(40):
        page.locator(".jp-Notebook .jp-InputArea-editor").first.click()
        page.keyboard.press("Control+Enter")
        with contextlib.suppress(Exception):
            page.wait_for_function(
                "() => document.querySelector('.jp-InputPrompt')?.textContent.includes('*') ||"
                " document.querySelector('.aeseg-inspector:not([data-old])')",
                timeout=3000,
            )
            return
    raise TimeoutError("JupyterLab does not run the cell")


def restart_kernel(page):
    "By JupyterLab's menu."
    page.get_by_role("menuitem", name="Kernel", exact=True).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Restart Kernel…$")).click()
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    page.locator(".jp-Dialog").wait_for(state="detached")


@contextlib.contextmanager
def chromium(view=VIEW):
    "A page, and what went wrong on it: errors of the console, exceptions, and requests that leave this machine."
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page, wrong = browser.new_page(viewport=view), []
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on(
            "request",
            lambda r: (
                wrong.append(f"asked {r.url}")
                if "//127.0.0.1:" not in r.url and not r.url.startswith(("data:", "blob:"))
                else None
            ),
        )
        page.set_default_timeout(90000)
        try:
            yield page, wrong
        finally:
            browser.close()


class Inspected:
    "The inspector on a page, as a person uses it."

    def __init__(self, page):
        self.page, self.root = page, page.locator(".aeseg-inspector")

    def ready(self):
        self.page.wait_for_selector(".aeseg-inspector[data-page][data-shown]:not([data-old])", timeout=180000)
        return self

    def data(self, name):
        return self.root.get_attribute(f"data-{name}")

    def until(self, name, pattern):
        self.page.wait_for_function(
            "([n, p]) => new RegExp(p).test(document.querySelector('.aeseg-inspector')?.getAttribute('data-'"
            " + n) ?? '')",
            arg=[name, pattern],
        )

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)

    def tab(self, name):
        self.root.get_by_role("tab", name=name).click()

    def tile(self, n):
        return self.root.locator(".ai-gallery .ai-tile").nth(n)

    def decided(self):
        return json.loads(self.data("decided"))

    def until_decided(self, **wanted):
        self.page.wait_for_function(
            "w => { const d = JSON.parse(document.querySelector('.aeseg-inspector')?.dataset.decided ??"
            " '{}'); return Object.entries(w).every(([k, v]) => d[k] === v) }",
            arg=wanted,
        )
