"""Runs that survive: killed at any moment, a full disk, a folder that is gone, a second process, losses that explode."""

import html
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
import torch
from conftest import FAST, ONE_CORE, SCRIPT, TINY, same

from aeseg.core.errors import InputError
from aeseg.method.cyclegan import GAN
from aeseg.app.fit import fit
from aeseg.core.runs import Run

SMALL = dict(preset="smoke", accelerator="cpu", quiet=True, **TINY)


def metrics(run):
    return (run / "metrics.csv").read_bytes()


def test_killed_at_random_moments(aeseg, finished, phantoms, tmp_path, request):
    "However often it is killed, a run ends as one that was not, bit by bit."
    out, clock, kills = tmp_path / "run", random.Random(0), []
    command = ["fit", "--images", phantoms, "--out", out, *FAST]
    began = time.time()
    assert aeseg(*command).code == 0
    whole = time.time() - began
    same(finished, out)
    while len(kills) < request.config.getoption("--kills"):
        shutil.rmtree(out)
        while True:  # one run, killed and continued until it lives to its end
            aeseg.start(*command, *["--resume"] * out.exists())
            time.sleep(clock.uniform(0, 0.6 * whole))
            try:
                os.kill(aeseg.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            result = aeseg.finish()
            if result.code == 0:
                break
            assert result.code == -signal.SIGKILL, result
            kills.append(sorted(p.name for p in out.rglob("*")) if out.exists() else [])
            if out.exists() and not any(p.name[0] != "." for p in out.iterdir()):
                shutil.rmtree(out)  # killed before there was a run
        same(finished, out)
        assert metrics(out) == metrics(finished)
    stages = {name for seen in kills for name in ("gan.pt", "round_1.pt", "predictions") if name in seen}
    assert stages, f"no kill met a run that had begun: {kills}"


DYING = """
import os, signal, sys
from aeseg.cli import main
count, (when, stop) = 0, os.path.basename(sys.argv[0])[:-3].split("_")
replace = os.replace
def dying(source, target):
    global count
    count += 1
    if count == int(stop) and when == "before": os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if count == int(stop): os.kill(os.getpid(), signal.SIGKILL)
os.replace = dying
sys.exit(main(sys.argv[1:]))
"""


def test_killed_while_writing(aeseg, finished, phantoms, tmp_path):
    "A kill in the middle of a write, before the file has its name and just after."
    out = tmp_path / "run"
    for when in ("before_2", "after_1", "before_7", "after_9"):
        script = tmp_path / f"{when}.py"
        script.write_text(DYING)
        assert (
            aeseg(
                "fit", "--images", phantoms, "--out", out, *FAST, *["--resume"] * out.exists(), script=script
            ).code
            == -signal.SIGKILL
        )
    assert aeseg("fit", "--images", phantoms, "--out", out, *FAST, "--resume").code == 0
    same(finished, out)
    assert metrics(out) == metrics(finished)


FULL = """
import resource, signal, sys
from aeseg.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
sys.exit(main(sys.argv[1:]))
"""


def test_full_disk(aeseg, finished, phantoms, tmp_path):
    "A file that cannot be written whole: one sentence, and the run goes on when there is room."
    out, script = tmp_path / "run", tmp_path / "full.py"
    script.write_text(FULL)
    stopped = aeseg("fit", "--images", phantoms, "--out", out, *FAST, script=script)
    assert stopped.code == 2 and len(stopped.err.splitlines()) == 1, stopped
    assert "aeseg: cannot write" in stopped.err and str(out) in stopped.err, stopped.err
    assert not [p for p in out.rglob("*") if ".part" in p.name]
    assert aeseg("fit", "--images", phantoms, "--out", out, *FAST, "--resume").code == 0
    same(finished, out)


def test_second_process_is_refused(aeseg, finished, phantoms, tmp_path):
    "Two processes on one run folder: the second is told so, and the first does not notice."
    out = tmp_path / "run"
    with subprocess.Popen(
        [SCRIPT, "fit", "--images", phantoms, "--out", out, *FAST],
        env=ONE_CORE,
        stderr=subprocess.PIPE,
        text=True,
    ) as first:
        while first.poll() is None and not (out / "config.yaml").exists():
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        for choice in ("--resume", "--overwrite"):
            second = aeseg("fit", "--images", phantoms, "--out", out, *FAST, choice)
            assert second.code == 2 and "is being written to by another process" in second.err, second
        first.send_signal(signal.SIGCONT)
        assert (first.wait(120), first.stderr.read()) == (0, "")
    same(finished, out)
    assert (
        aeseg("fit", "--images", phantoms, "--out", out, *FAST, "--resume").code == 0
    )  # the lock is open again


def test_folder_that_is_gone(phantoms, tmp_path, monkeypatch):
    "A run whose folder is removed ends with a sentence, and does not make half a folder."
    out, step = tmp_path / "run", GAN.step

    def removed(self, k):
        if k == 20:
            shutil.rmtree(out)
        return step(self, k)

    monkeypatch.setattr(GAN, "step", removed)
    with pytest.raises(InputError, match="was removed or emptied while its run went on"):
        fit(phantoms, out, **SMALL)
    assert not (out / "checkpoints").exists()


def test_exploding_losses(phantoms, tmp_path, monkeypatch):
    "A loss that is not a number: noted with the images of the batch, and the run goes on from its last checkpoint, more slowly; interrupted or not, it ends alike."
    step = GAN.step

    def explodes(self, k):
        if k == 20 and self.learning_rate > 3e-4:
            with torch.no_grad():
                for p in self.networks["E"].parameters():
                    p.fill_(torch.nan)
        return step(self, k)

    monkeypatch.setattr(GAN, "step", explodes)
    run = fit(phantoms, tmp_path / "run", **SMALL)
    (said,) = run.events("rollback")
    assert "gan, step 21" in said and "back to step 16 with half the learning rate" in said
    named = said.split("with images ")[1].split(";")[0].split(", ")
    assert (
        set(named) <= set(os.path.splitext(p)[0] for p in os.listdir(phantoms / "images")) and len(named) == 2
    )
    assert said in html.unescape((run.folder / "report.html").read_text())

    def stops(self, k):
        if k == 30 and not (tmp_path / "again.txt").exists():
            (tmp_path / "again.txt").touch()
            raise InputError("stop")
        return explodes(self, k)

    monkeypatch.setattr(GAN, "step", stops)
    with pytest.raises(InputError, match="stop"):
        fit(phantoms, tmp_path / "parts", **SMALL)
    monkeypatch.setattr(GAN, "step", explodes)
    fit(phantoms, tmp_path / "parts", resume=True, **SMALL)
    same(run.folder, tmp_path / "parts")


def test_losses_that_explode_again_and_again(phantoms, tmp_path, monkeypatch):
    "After three returns the run gives up with a sentence, and says the same when it is resumed."
    step = GAN.step

    def explodes(self, k):
        losses = step(self, k)
        return dict(losses, E_adv=losses["E_adv"] * 1e9) if k == 20 else losses

    monkeypatch.setattr(GAN, "step", explodes)
    for resume in (False, True):
        with pytest.raises(InputError, match=r"gan, step 21: E_adv is .* after 3 returns"):
            fit(phantoms, tmp_path / "run", resume=resume, **SMALL)
    run = Run(tmp_path / "run")
    assert len(run.events("rollback")) == 3 and not run.finished
    assert json.loads((run.folder / "log.jsonl").read_text().splitlines()[-1])["step"] == 20
