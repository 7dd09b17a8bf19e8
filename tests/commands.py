"""What tests of the command line share: tiny runs, the command itself, and what it says."""

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = Path(sys.executable).with_name("aeseg")  # the console script itself
ONE_CORE = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}

# A run of about two seconds: gan_steps leaves time to interrupt it, and checkpoint_every hits neither its end
# nor the logged steps.
TINY = dict(size=32, vae_steps=2, gan_steps=45, checkpoint_every=8, segmentation_steps=2, keep_fraction=0.7)


def parameters(values):
    "The options `-p key=value` of a command."
    return [word for key, value in values.items() for word in ("-p", f"{key}={value}")]


FAST = ["--preset", "smoke", "--accelerator", "cpu", "--quiet", *parameters(TINY)]
SMALL = dict(preset="smoke", accelerator="cpu", quiet=True, **TINY)  # the same for `aeseg.fit`


# ---------------------------------------------------------------- the command


@dataclass
class Result:
    "How a command ended."

    code: int  # exit code; negative: killed by this signal
    out: str  # stdout
    err: str  # stderr


class Aeseg:
    "Runs the console script: `aeseg(...)` to its end, or `start(...)` and `finish()`."

    def __init__(self, folder):
        self.out, self.err = folder / "out", folder / "err"
        self.server = subprocess.Popen(
            [sys.executable, ROOT / "tests/command_server.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=ONE_CORE,
            cwd=ROOT,
        )

    def _answer(self, seconds=120):
        "The next number that the server says."
        if not select.select([self.server.stdout], [], [], seconds)[0]:
            raise TimeoutError("no answer from aeseg")
        return int(self.server.stdout.readline())

    def start(self, *arguments, cwd="/", script=SCRIPT) -> int:  # the process id
        for path in (self.out, self.err):
            path.unlink(missing_ok=True)
        command = [str(script), *map(str, arguments)]
        job = dict(command=command, cwd=str(cwd), out=str(self.out), err=str(self.err))
        self.server.stdin.write((json.dumps(job) + "\n").encode())
        self.pid = self._answer()
        return self.pid

    def finish(self) -> Result:
        try:
            code = self._answer()
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)
            self._answer()
            raise
        return Result(code, self.out.read_text(), self.err.read_text())

    def __call__(self, *arguments, **options) -> Result:
        self.start(*arguments, **options)
        return self.finish()

    def close(self):
        self.server.stdin.close()
        self.server.wait(10)


def run_script(*arguments, **options):
    "The console script in a process of its own, without the server."
    return subprocess.run([SCRIPT, *arguments], env=ONE_CORE, capture_output=True, text=True, **options)


# ---------------------------------------------------------------- what it says


def succeeded(result):
    "Exit code 0 and no complaint."
    assert (result.code, result.err) == (0, ""), result
    return result


def refused(result, *words):
    "Exit code 2 and one sentence that holds the words."
    assert result.code == 2, result
    assert result.out == ""
    assert re.fullmatch(r"aeseg: [^\n]+\n", result.err), result
    for word in words:
        assert word in result.err, result.err


def wait_for(path, word):
    "Wait until a file holds a word."
    end = time.monotonic() + 60
    while not (path.exists() and word in path.read_text()):
        assert time.monotonic() < end, f"{path} never held {word}"
        time.sleep(0.003)
