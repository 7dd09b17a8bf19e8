"The inspector on a remote machine: one port, on one address, behind a token, through a tunnel."

import contextlib
import re
import shutil
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from browser import CHROMIUM, Inspected, app, chromium

from aeseg.app.decisions import read_reviews
from aeseg.app.inspector import free_port

LISTENS = "0A"  # state of a socket in /proc/net/tcp


def listening(port):
    "The addresses on which this machine listens at a port, as the kernel writes them."
    rows = []
    for name in ("tcp", "tcp6"):
        path = Path("/proc/net", name)
        rows += [line.split() for line in path.read_text().splitlines()[1:]] if path.exists() else []
    return [
        row[1].split(":")[0] for row in rows if row[3] == LISTENS and int(row[1].split(":")[1], 16) == port
    ]


class Tunnel:
    "What `ssh -L PORT:127.0.0.1:REMOTE` does: bytes go to and fro, and nothing is changed."

    def __init__(self, remote):
        self.remote, self.server = remote, socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.server.accept()[0]
            except OSError:  # closed
                return
            far = socket.create_connection(("127.0.0.1", self.remote))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self.copy, args=ends, daemon=True).start()

    @staticmethod
    def copy(source, target):
        try:
            while piece := source.recv(65536):
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.server.close()


def commands():
    "The commands of all processes, as every user sees them."
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            yield path.read_bytes()


FAKE_BROWSER = """#!/bin/sh
stat -c %a "${1#file://}" >"$0.mode"
cp "${1#file://}" "$0.html"
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="no /proc here")
def test_the_browser_gets_the_token_and_other_users_do_not(finished, tmp_path):
    "The page that is opened leads to the inspector; no command holds the token, and a wrong one is refused."
    run, browser = shutil.copytree(finished, tmp_path / "run"), tmp_path / "browser"
    browser.write_text(FAKE_BROWSER)
    browser.chmod(0o755)
    page = tmp_path / "browser.html"
    with app(run, browser=browser) as address:
        token = address.split("token=")[1]
        assert any(b"voila" in command for command in commands())
        assert not [command for command in commands() if token.encode() in command]
        until = time.monotonic() + 60
        while not (page.exists() and token in page.read_text()):
            assert time.monotonic() < until, "no browser was opened"
            time.sleep(0.05)
        assert (tmp_path / "browser.mode").read_text().strip() == "600"
        (opened,) = re.findall('url=([^"]*)"', page.read_text())
        assert opened == address
        assert "login" not in urllib.request.urlopen(opened, timeout=60).url
        assert "login" in urllib.request.urlopen(address.replace(token, "wrong"), timeout=60).url


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_inspector_works_through_a_tunnel_and_only_there(finished, tmp_path):
    run, port = shutil.copytree(finished, tmp_path / "run"), free_port()
    with app(run, "--port", str(port)) as address:
        assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/\?token=\S{{20,}}", address)
        assert listening(port) == ["0100007F"]  # 127.0.0.1
        tunnel = Tunnel(port)
        near = address.replace(f":{port}/", f":{tunnel.port}/")
        bare = urllib.request.urlopen(near.split("?")[0], timeout=60)
        assert "login" in bare.url  # without the token there is nothing to see
        with chromium() as (page, faults):
            page.goto(near, wait_until="commit")
            it = Inspected(page).ready()
            it.tile(0).click()
            page.keyboard.press("r")
            it.until_decided(rejected=1)
            assert faults == []
        tunnel.close()
    rows, _ = read_reviews(run / "reviews.csv")
    assert [row["decision"] for row in rows.values()] == ["rejected"]
