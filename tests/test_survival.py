"""Runs survive kills at any moment, a full disk, a removed folder, a second process, exploding losses."""

import html
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
import torch
from commands import FAST, ONE_CORE, SCRIPT, SMALL, refused
from run_folders import read_log, same

from aeseg.app.fit import fit
from aeseg.core.errors import InputError
from aeseg.core.runs import Run
from aeseg.method.cyclegan import GAN


def same_with_metrics(a, b):
    same(a, b)
    assert (a / "metrics.csv").read_bytes() == (b / "metrics.csv").read_bytes()


def is_begun(run):
    "Whether a folder holds more than a lock."
    return run.exists() and any(not p.name.startswith(".") for p in run.iterdir())


def run_and_kill(aeseg, command, run, moment):
    "Start or continue a run and kill it after some seconds; its exit code."
    aeseg.start(*command, *["--resume"] * run.exists())
    time.sleep(moment)
    try:
        os.kill(aeseg.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended
    return aeseg.finish().code


@pytest.mark.slow
def test_killed_at_random_moments(aeseg, finished, phantoms, tmp_path, request):
    "However often it is killed, a run ends as one that was not, bit by bit."
    run, clock, kills = tmp_path / "run", random.Random(0), []
    command = ["fit", "--images", phantoms, "--out", run, *FAST]
    start = time.time()
    assert aeseg(*command).code == 0
    duration = time.time() - start
    same(finished, run)
    while len(kills) < request.config.getoption("--kills"):
        shutil.rmtree(run)
        # one run, killed and continued until it lives to its end
        while code := run_and_kill(aeseg, command, run, clock.uniform(0, 0.6 * duration)):
            assert code == -signal.SIGKILL
            kills.append({p.name for p in run.rglob("*")})
            if run.exists() and not is_begun(run):
                shutil.rmtree(run)
        same_with_metrics(finished, run)
    assert any(seen & {"gan.pt", "round_1.pt", "predictions"} for seen in kills), kills


# Kills its own process before or after the n-th time that a file gets its name; the script's name says when.
DYING = """
import os, signal, sys
from aeseg.cli import main
count = 0
when, stop = os.path.basename(sys.argv[0])[:-3].split("_")
replace = os.replace
def dying(source, target):
    global count
    count += 1
    if count == int(stop) and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if count == int(stop):
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = dying
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_killed_while_writing(aeseg, finished, phantoms, tmp_path):
    "A kill in the middle of a write, before the file has its name and just after."
    run = tmp_path / "run"
    command = ["fit", "--images", phantoms, "--out", run, *FAST]
    for when in ("before_2", "after_1", "before_7", "after_9"):
        script = tmp_path / f"{when}.py"
        script.write_text(DYING)
        assert aeseg(*command, *["--resume"] * run.exists(), script=script).code == -signal.SIGKILL
    assert aeseg(*command, "--resume").code == 0
    same_with_metrics(finished, run)


# No file may grow beyond 100 kB.
FULL = """
import resource, signal, sys
from aeseg.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_full_disk(aeseg, finished, phantoms, tmp_path):
    "A file that cannot be written whole: one sentence, and the run goes on when there is room."
    run, script = tmp_path / "run", tmp_path / "full.py"
    script.write_text(FULL)
    command = ["fit", "--images", phantoms, "--out", run, *FAST]
    stopped = aeseg(*command, script=script)
    assert stopped.code == 2
    assert len(stopped.err.splitlines()) == 1, stopped.err
    assert "aeseg: cannot write" in stopped.err
    assert str(run) in stopped.err
    assert not [p for p in run.rglob("*") if ".part" in p.name]
    assert aeseg(*command, "--resume").code == 0
    same(finished, run)


@pytest.mark.slow
def test_second_process_is_refused(aeseg, finished, phantoms, tmp_path):
    "Two processes on one run folder: the second is told so, and the first does not notice."
    run = tmp_path / "run"
    command = ["fit", "--images", phantoms, "--out", run, *FAST]
    with subprocess.Popen([SCRIPT, *command], env=ONE_CORE, stderr=subprocess.PIPE, text=True) as first:
        while first.poll() is None and not (run / "config.yaml").exists():
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        for choice in ("--resume", "--overwrite"):
            refused(aeseg(*command, choice), "another process")
        first.send_signal(signal.SIGCONT)
        assert (first.wait(120), first.stderr.read()) == (0, "")
    same(finished, run)
    assert aeseg(*command, "--resume").code == 0  # the lock is open again


def test_removed_folder(phantoms, tmp_path, monkeypatch):
    "A run whose folder is removed ends with a sentence, and does not make half a folder."
    run, step = tmp_path / "run", GAN.step

    def removing_step(self, k):
        if k == 20:
            shutil.rmtree(run)
        return step(self, k)

    monkeypatch.setattr(GAN, "step", removing_step)
    with pytest.raises(InputError, match=f"{run}.*removed"):
        fit(phantoms, run, **SMALL)
    assert not (run / "checkpoints").exists()


@pytest.fixture
def exploding(monkeypatch):
    "The GAN's weights become NaN at step 20, as long as the learning rate is not halved; the step itself."
    step = GAN.step

    def exploding_step(self, k):
        if k == 20 and self.learning_rate > 3e-4:
            with torch.no_grad():
                for p in self.networks["E"].parameters():
                    p.fill_(torch.nan)
        return step(self, k)

    monkeypatch.setattr(GAN, "step", exploding_step)
    return exploding_step


@pytest.mark.slow
def test_exploding_losses(exploding, phantoms, tmp_path):
    "Noted with the images of the batch; the run goes on from its last checkpoint, more slowly."
    run = fit(phantoms, tmp_path / "run", **SMALL)
    (event,) = run.events("rollback")
    for words in ("gan, step 21", "step 16", "half the learning rate"):
        assert words in event
    images = event.split("with images ")[1].split(";")[0].split(", ")
    assert len(images) == 2
    assert set(images) <= {p.stem for p in (phantoms / "images").iterdir()}
    assert event in html.unescape((run.folder / "report.html").read_text())


@pytest.mark.slow
def test_exploding_losses_of_an_interrupted_run(exploding, no_report, phantoms, tmp_path, monkeypatch):
    "Interrupted or not, it ends alike."
    run = fit(phantoms, tmp_path / "run", **SMALL)

    def stopping_step(self, k):
        if k == 30:
            raise InputError("stop")
        return exploding(self, k)

    with monkeypatch.context() as patch, pytest.raises(InputError, match="^stop$"):
        patch.setattr(GAN, "step", stopping_step)
        fit(phantoms, tmp_path / "parts", **SMALL)
    resumed = fit(phantoms, tmp_path / "parts", resume=True, **SMALL)
    same(run.folder, resumed.folder)
    assert resumed.events("rollback") == run.events("rollback") != []


@pytest.mark.slow
def test_losses_that_explode_again_and_again(phantoms, tmp_path, monkeypatch):
    "After three returns the run gives up with a sentence, and says the same when it is resumed."
    step = GAN.step

    def exploding_step(self, k):
        losses = step(self, k)
        return dict(losses, E_adv=losses["E_adv"] * 1e9) if k == 20 else losses

    monkeypatch.setattr(GAN, "step", exploding_step)
    for resume in (False, True):
        with pytest.raises(InputError, match="gan, step 21: E_adv .*3 returns"):
            fit(phantoms, tmp_path / "run", resume=resume, **SMALL)
    run = Run(tmp_path / "run")
    assert len(run.events("rollback")) == 3
    assert not run.finished
    assert read_log(run.folder)[-1]["step"] == 20
