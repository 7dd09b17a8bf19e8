"""The page about run folders names every file, column and key that a run has."""

import csv
import json
import re
import shutil

import pytest
from source_tree import ROOT

PAGE = (ROOT / "docs/guide/run_folder.md").read_text(encoding="utf-8")


def documented(title):
    "The names in the first cells of the table under a heading."
    section = re.split(r"^## ", PAGE, flags=re.M)
    (text,) = [part for part in section if part.startswith(title)]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {name.rstrip("/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def columns(path):
    with path.open(newline="") as f:
        return set(next(csv.reader(f)))


@pytest.fixture(scope="module")
def run(phantoms, finished, tmp_path_factory):
    "A run with all that `plus` writes."
    from aeseg import fit

    out = tmp_path_factory.mktemp("documented") / "run"
    tiny = dict(preset="smoke", vae_steps=2, gan_steps=4, adaptation_steps=2, segmentation_steps=2, rounds=2)
    fit(phantoms, out, variant="plus", task="fetal_head", stop_change=0.0, quiet=True, **tiny)
    return out


def test_files(run, finished):
    names = documented("Files")
    assert {path.name for path in [*run.iterdir(), *finished.iterdir()]} <= names
    assert {"adaptation", "rounds", "refinement.json"} <= {path.name for path in run.iterdir()}


def test_columns(run):
    assert columns(run / "quality.csv") == documented("`quality.csv`")
    assert columns(run / "rounds/round_1/quality.csv") == documented("`quality.csv`")
    assert columns(run / "metrics.csv") == documented("`metrics.csv`")


def test_keys_of_the_log(run, finished):
    lines = [*(run / "log.jsonl").open(), *(finished / "log.jsonl").open()]
    keys = {key for line in lines for key in json.loads(line)}
    assert keys <= documented("`log.jsonl`")
    assert documented("`log.jsonl`") - keys <= {"location"}  # weights of zero


def test_keys_of_the_provenance(run, finished):
    noted = [json.loads((folder / "provenance.json").read_text()) for folder in (run, finished)]
    assert {key for facts in noted for key in facts} <= documented("`provenance.json`")


def test_an_undocumented_file_is_noticed(run, finished, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "novelty.csv").touch()
    with pytest.raises(AssertionError):
        test_files(copy, finished)
