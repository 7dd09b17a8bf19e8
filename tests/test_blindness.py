"""Human masks never enter training, selection or the choice of a checkpoint."""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import FAST, TINY, same
from source_tree import MODULES, imported, part

import aeseg.app.report
from aeseg.data.images import read_mask, write_mask
from aeseg.data.phantoms import write_phantom_masks, write_phantoms
from aeseg.app.fit import fit

# ---------------------------------------------------------------- what the code imports

BLIND = [m for m in MODULES if part(m) in ("core", "data", "shapes", "method")]


def test_the_modules_of_training_are_blind():
    for module in BLIND:
        names = {m for m in imported(MODULES[module], module) if m in MODULES}
        assert names <= set(BLIND), module
        forbidden = r"TrueMasks|aeseg\.evaluation|importlib(?!\.metadata)|__import__"
        assert not re.search(forbidden, MODULES[module]), module


# ---------------------------------------------------------------- what a run opens

RECORD = []  # (what, path), in order; None where nobody listens
LISTENS = [False]


def listen(event, arguments):
    "Every file that Python opens or renames."
    if not LISTENS[0] or event not in ("open", "os.rename"):
        return
    path = arguments[1] if event == "os.rename" else arguments[0]
    if not isinstance(path, (str, bytes, Path)):
        return
    what = "read" if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR) else "write"
    RECORD.append((what, Path(os.fsdecode(path)).absolute()))


sys.addaudithook(listen)  # stays; an audit hook can not be taken away


def recorded(*arguments, **kw):
    "Run `fit`; (run, what it opened)."
    RECORD.clear()
    LISTENS[0] = True
    try:
        run = fit(
            *arguments,
            preset="smoke",
            accelerator="cpu",
            quiet=True,
            **{**TINY, "gan_steps": 4, "checkpoint_every": 2},
            **kw,
        )
    finally:
        LISTENS[0] = False
    return run, list(RECORD)


@pytest.fixture
def no_report(monkeypatch):
    "Charts take most of the time of a tiny run."
    monkeypatch.setattr(aeseg.app.report, "write_report", lambda run, pictures: None)


def inside(folder):
    return lambda entry: folder in entry[1].parents


def test_masks_are_opened_after_the_last_prediction(phantoms, tmp_path):
    run, record = recorded(phantoms, tmp_path / "run")
    masks, ours = phantoms / "masks", tmp_path / "run"
    opened = [k for k, entry in enumerate(record) if inside(masks)(entry)]
    assert {record[k][1].name for k in opened} == {
        f"fetal_head_{k:04}.png" for k in range(6)
    }  # the hook sees masks
    assert any(map(inside(phantoms / "images"), record)) and len(list((ours / "predictions").iterdir())) == 6
    wrote = [(k, path) for k, (what, path) in enumerate(record) if what == "write" and ours in path.parents]
    before = {path.relative_to(ours).parts[0] for k, path in wrote if k < opened[0]}
    after = {path.name for k, path in wrote if k > opened[0] and not path.name.startswith(".")}
    assert {
        "config.yaml",
        "log.jsonl",
        "checkpoints",
        "pseudo_labels",
        "rounds",
        "quality.csv",
        "model.safetensors",
        "predictions",
    } <= before
    assert after == {"metrics.csv", "provenance.json", "report.html"}


def test_without_truth_no_mask_is_opened(phantoms, tmp_path, no_report):
    run, record = recorded(phantoms, tmp_path / "run", truth=None)
    assert run.finished and not (tmp_path / "run/metrics.csv").exists()
    assert sum(map(inside(phantoms / "images"), record)) >= 6 and not any(
        map(inside(phantoms / "masks"), record)
    )


def test_only_auxiliary_masks_are_opened(tmp_path, no_report):
    "With masks of another data set, those and no others."
    data, auxiliary = write_phantoms(
        tmp_path / "data", "lung", count=3, val=1, size=(40, 40)
    ), write_phantom_masks(tmp_path / "aux", "lung", 3, size=(40, 40))
    run, record = recorded(data, tmp_path / "run", aux_masks=auxiliary, truth=None, task="lung")
    assert (
        run.finished
        and sum(map(inside(auxiliary / "masks"), record)) == 3
        and not any(map(inside(data / "masks"), record))
    )


def test_masks_change_nothing_but_metrics(aeseg, finished, phantoms, tmp_path):
    "Masks of noise: the same labels, selection, weights and predictions, byte by byte."
    data, rng = shutil.copytree(phantoms, tmp_path / "data"), np.random.default_rng(0)
    for path in (data / "masks").iterdir():
        write_mask(path, rng.random(read_mask(path).shape) < 0.5)
    assert aeseg("fit", "--images", data, "--out", tmp_path / "run", *FAST).code == 0
    same(tmp_path / "run", finished)
    assert (tmp_path / "run/metrics.csv").read_text() != (finished / "metrics.csv").read_text()


def test_no_masks_change_nothing(aeseg, finished, phantoms, tmp_path):
    "A data set without masks: the same, and no metrics."
    data = shutil.copytree(phantoms, tmp_path / "data", ignore=shutil.ignore_patterns("masks"))
    assert aeseg("fit", "--images", data, "--out", tmp_path / "run", *FAST).code == 0
    same(tmp_path / "run", finished)
    assert not (tmp_path / "run/metrics.csv").exists()


def test_a_bad_true_mask_costs_no_training(aeseg, finished, phantoms, tmp_path):
    "It is found after training only; corrected, the run is finished from where it stopped."
    data = shutil.copytree(phantoms, tmp_path / "data")
    mask = data / "masks/fetal_head_0001.png"
    shutil.copy(data / "images/fetal_head_0001.png", mask)
    run = ["fit", "--images", data, "--out", tmp_path / "run", *FAST]
    result = aeseg(*run)
    assert (
        result.code == 2
        and "fetal_head_0001.png is not a binary mask" in result.err
        and result.err.count("\n") == 1
    )
    log = (tmp_path / "run/log.jsonl").read_text()
    shutil.copy(phantoms / "masks/fetal_head_0001.png", mask)
    assert aeseg(*run, "--resume").code == 0
    same(tmp_path / "run", finished)
    losses = lambda text: [line for line in text.splitlines() if '"rounds"' not in line]
    assert losses((tmp_path / "run/log.jsonl").read_text()) == losses(log)
    assert (tmp_path / "run/metrics.csv").read_text() == (finished / "metrics.csv").read_text()
