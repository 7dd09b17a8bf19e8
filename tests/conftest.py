"""What several test files use."""

import json
import os

os.environ["OMP_NUM_THREADS"] = (
    "1"  # before torch: results depend on the number of threads, and subprocesses get one too
)

import select
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = Path(sys.executable).with_name("aeseg")  # the console script itself
ONE_CORE = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}

# A run of about two seconds. gan_steps leaves time to interrupt it; checkpoint_every hits neither its end nor the logged steps.
TINY = dict(size=32, vae_steps=2, gan_steps=45, checkpoint_every=8, segmentation_steps=2, keep_fraction=0.7)
FAST = [
    "--preset",
    "smoke",
    "--accelerator",
    "cpu",
    "--quiet",
    *[w for k, v in TINY.items() for w in ("-p", f"{k}={v}")],
]


def pytest_addoption(parser):
    parser.addoption(
        "--malformed", type=int, default=60, metavar="N", help="malformed inputs to try (default 60)"
    )
    parser.addoption(
        "--kills",
        type=int,
        default=2,
        metavar="N",
        help="random moments at which runs are killed (default 2)",
    )


@pytest.fixture(scope="session")
def real_data():
    "The folder of real data sets: AESEG_DATA, else ../shared/data beside the repository. Skips where there is none."
    folder = Path(os.environ.get("AESEG_DATA") or ROOT / "../shared/data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; set AESEG_DATA to a folder of data sets")
    return folder.resolve()


LEARNED = ("pseudo_labels", "rounds", "quality.csv", "model.safetensors", "predictions")


def learned(run):
    "The bytes of everything that was learned."
    files = [
        p
        for name in LEARNED
        for p in ([run / name] if (run / name).is_file() else sorted((run / name).rglob("*")))
    ]
    return {
        str(p.relative_to(run)): weights(p) if p.suffix == ".safetensors" else p.read_bytes()
        for p in files
        if p.is_file()
    }


def weights(path):
    "The bytes of each tensor; the header of the file has no fixed order."
    from safetensors.torch import load_file

    return {k: v.numpy().tobytes() for k, v in load_file(path).items()}


def same(a, b):
    "Fails where two runs learned something else, naming the files."
    a, b = learned(a), learned(b)
    assert a.keys() == b.keys() and len(a) > 10
    assert [name for name in a if a[name] != b[name]] == []


@dataclass
class Result:
    "How a command ended."

    code: int  # exit code; negative: killed by this signal
    out: str  # stdout
    err: str  # stderr


# Importing torch and MONAI takes seconds, so one process imports them, and each command is a fork of it that runs the console script.
# It is a process of its own: with its arguments, exit code, output files, signals and start-up state.
SERVER = """
import gc, json, os, runpy, signal, sys, traceback
import aeseg.app.fit, aeseg.app.predict, aeseg.app.report, aeseg.data.check, lightning_fabric, monai.metrics, monai.networks.nets, safetensors.torch
gc.freeze()                 # or every fork would copy all pages
for line in sys.stdin:
    job = json.loads(line)
    pid = os.fork()
    if not pid:
        for fd, path, flags in ((0, os.devnull, os.O_RDONLY), (1, job["out"], os.O_WRONLY | os.O_CREAT), (2, job["err"], os.O_WRONLY | os.O_CREAT)):
            os.dup2(os.open(path, flags, 0o600), fd)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(job["cwd"])
        sys.argv = job["command"]
        code = 99           # the script must leave by sys.exit
        try: runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as e: code = e.code
        except BaseException: traceback.print_exc(); code = 1
        sys.stdout.flush(); sys.stderr.flush()
        os._exit(code if type(code) is int else 98)     # without the second that tearing down torch takes
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Aeseg:
    "Runs the console script: `aeseg(...)` to its end, or `start(...)` and `finish()`."

    def __init__(self, folder):
        self.folder = folder
        self.server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=ONE_CORE,
            cwd=ROOT,
        )

    def _line(self, seconds=120):
        if not select.select([self.server.stdout], [], [], seconds)[0]:
            raise TimeoutError("no answer from aeseg")
        return int(self.server.stdout.readline())

    def start(self, *arguments, cwd="/", script=SCRIPT) -> int:  # the process id
        self.files = self.folder / "out", self.folder / "err"
        for f in self.files:
            f.unlink(missing_ok=True)
        job = dict(
            command=[str(script), *map(str, arguments)],
            cwd=str(cwd),
            out=str(self.files[0]),
            err=str(self.files[1]),
        )
        self.server.stdin.write((json.dumps(job) + "\n").encode())
        self.pid = self._line()
        return self.pid

    def finish(self) -> Result:
        try:
            code = self._line()
        except TimeoutError:
            os.kill(self.pid, signal.SIGKILL)
            self._line()
            raise
        return Result(code, *(f.read_text() for f in self.files))

    def __call__(self, *arguments, **kw) -> Result:
        self.start(*arguments, **kw)
        return self.finish()


@pytest.fixture(scope="session")
def aeseg(tmp_path_factory):
    "The command line."
    runner = Aeseg(tmp_path_factory.mktemp("aeseg"))
    yield runner
    runner.server.stdin.close()
    runner.server.wait(10)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    "Four training and two validation phantoms with true masks. Not to be changed: copy it."
    from aeseg.data.phantoms import write_phantoms

    return write_phantoms(
        tmp_path_factory.mktemp("sound") / "set", "fetal_head", count=6, val=2, size=(40, 60)
    )


@pytest.fixture(scope="session")
def finished(phantoms, tmp_path_factory):
    "A run on `phantoms`, by a process of its own from start to end. Not to be changed: copy it."
    out = tmp_path_factory.mktemp("finished") / "run"
    done = subprocess.run(
        [SCRIPT, "fit", "--images", phantoms, "--out", out, *FAST],
        env=ONE_CORE,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return out
