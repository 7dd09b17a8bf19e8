"""Human masks never enter training, selection or the choice of a checkpoint."""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import FAST, SMALL, refused
from run_folders import read_log, same
from source_tree import MODULES, imported, part

from aeseg.app.fit import fit
from aeseg.data.images import read_mask, write_mask
from aeseg.data.phantoms import write_phantom_masks, write_phantoms

# ---------------------------------------------------------------- what the code imports

BLIND = [m for m in MODULES if part(m) in ("core", "data", "shapes", "method")]
FORBIDDEN = r"TrueMasks|aeseg\.evaluation|importlib(?!\.metadata)|__import__"


@pytest.mark.parametrize("module", BLIND)
def test_the_modules_of_training_are_blind(module):
    assert imported(MODULES[module], module) & set(MODULES) <= set(BLIND)
    assert not re.search(FORBIDDEN, MODULES[module])


def test_modules_that_see_masks_would_be_noticed():
    assert not imported(MODULES["app.fit"], "app.fit") & set(MODULES) <= set(BLIND)
    assert re.search(FORBIDDEN, MODULES["evaluation.true_masks"])


# ---------------------------------------------------------------- what a run opens

RECORD = []  # ('read' or 'write', path), in order
RECORDING = [False]


def record_files(event, arguments):
    "Note every file that Python opens or renames."
    if not RECORDING[0] or event not in ("open", "os.rename"):
        return
    path = arguments[1] if event == "os.rename" else arguments[0]
    if not isinstance(path, (str, bytes, Path)):
        return
    is_read = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR)
    RECORD.append(("read" if is_read else "write", Path(os.fsdecode(path)).absolute()))


sys.addaudithook(record_files)  # for good: an audit hook cannot be taken away


def recorded(*arguments, **options):
    "Run `fit`: (run, the files that it opened)."
    RECORD.clear()
    RECORDING[0] = True
    try:
        run = fit(*arguments, **{**SMALL, "gan_steps": 4, "checkpoint_every": 2, **options})
    finally:
        RECORDING[0] = False
    return run, list(RECORD)


def count_below(record, folder):
    "How often a file below a folder was opened."
    return sum(folder in path.parents for _, path in record)


def test_masks_are_opened_after_the_last_prediction(phantoms, tmp_path):
    run, record = recorded(phantoms, tmp_path / "run")
    masks = [k for k, (_, path) in enumerate(record) if phantoms / "masks" in path.parents]
    assert {record[k][1].name for k in masks} == {f"fetal_head_{k:04}.png" for k in range(6)}
    assert count_below(record, phantoms / "images")
    assert len(list((run.folder / "predictions").iterdir())) == 6
    written = [(k, path) for k, (what, path) in enumerate(record) if what == "write"]
    written = [(k, path.relative_to(run.folder)) for k, path in written if run.folder in path.parents]
    assert {path.parts[0] for k, path in written if k < masks[0]} >= {
        "config.yaml",
        "log.jsonl",
        "checkpoints",
        "pseudo_labels",
        "rounds",
        "quality.csv",
        "model.safetensors",
        "predictions",
    }
    after = {path.name for k, path in written if k > masks[0] and not path.name.startswith(".")}
    assert after == {"metrics.csv", "provenance.json", "report.html"}


def test_without_truth_no_mask_is_opened(phantoms, tmp_path, no_report):
    run, record = recorded(phantoms, tmp_path / "run", truth=None)
    assert run.finished
    assert not (tmp_path / "run/metrics.csv").exists()
    assert count_below(record, phantoms / "images") >= 6
    assert count_below(record, phantoms / "masks") == 0


def test_only_auxiliary_masks_are_opened(tmp_path, no_report):
    "With masks of another data set, those and no others."
    data = write_phantoms(tmp_path / "data", "lung", count=3, val=1, size=(40, 40))
    auxiliary = write_phantom_masks(tmp_path / "aux", "lung", 3, size=(40, 40))
    run, record = recorded(data, tmp_path / "run", aux_masks=auxiliary, truth=None, task="lung")
    assert run.finished
    assert count_below(record, auxiliary / "masks") == 3
    assert count_below(record, data / "masks") == 0


@pytest.mark.slow
def test_masks_change_nothing_but_metrics(aeseg, finished, phantoms, tmp_path):
    "Masks of noise: the same labels, selection, weights and predictions, byte by byte."
    data, rng = shutil.copytree(phantoms, tmp_path / "data"), np.random.default_rng(0)
    for path in (data / "masks").iterdir():
        write_mask(path, rng.random(read_mask(path).shape) < 0.5)
    assert aeseg("fit", "--images", data, "--out", tmp_path / "run", *FAST).code == 0
    same(tmp_path / "run", finished)
    assert (tmp_path / "run/metrics.csv").read_text() != (finished / "metrics.csv").read_text()


@pytest.mark.slow
def test_no_masks_change_nothing(aeseg, finished, phantoms, tmp_path):
    "A data set without masks: the same, and no metrics."
    data = shutil.copytree(phantoms, tmp_path / "data", ignore=shutil.ignore_patterns("masks"))
    assert aeseg("fit", "--images", data, "--out", tmp_path / "run", *FAST).code == 0
    same(tmp_path / "run", finished)
    assert not (tmp_path / "run/metrics.csv").exists()


def log_of_training(run):
    return [row for row in read_log(run) if row["stage"] != "rounds"]


@pytest.mark.slow
def test_a_bad_true_mask_costs_no_training(aeseg, finished, phantoms, tmp_path):
    "It is seen after training only; corrected, the run is finished from where it stopped."
    data, run = shutil.copytree(phantoms, tmp_path / "data"), tmp_path / "run"
    name = "fetal_head_0001.png"
    shutil.copy(data / "images" / name, data / "masks" / name)
    command = ["fit", "--images", data, "--out", run, *FAST]
    refused(aeseg(*command), name, "binary")
    log = log_of_training(run)
    shutil.copy(phantoms / "masks" / name, data / "masks" / name)
    assert aeseg(*command, "--resume").code == 0
    same(run, finished)
    assert log_of_training(run) == log
    assert (run / "metrics.csv").read_text() == (finished / "metrics.csv").read_text()
