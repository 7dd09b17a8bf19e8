"""Work in processes gives the same bits as work in one; what a command imports stays small."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from measure_scale import main as measure_scale

import aeseg.core.pool as pool
from aeseg.app.labels import find_refinement
from aeseg.app.predict import Batch, Prediction, _loaded, image_batches, predict, predict_batches
from aeseg.core.config import make_config
from aeseg.core.errors import InputError
from aeseg.data.datasets import find_images, load_images
from aeseg.data.images import read_mask, to_canvas
from aeseg.data.phantoms import write_phantoms
from aeseg.evaluation.scores import evaluate

HEAVY = ("torch", "numpy", "scipy", "skimage", "pandas", "matplotlib", "monai", "lightning_fabric", "dask")
COMMAND = """
import json, sys
from aeseg.cli import main
try:
    code = main(json.loads(sys.argv[1]))
except SystemExit as stop:
    code = stop.code
print(json.dumps([code or 0, sorted({name.split(".")[0] for name in sys.modules})]))
"""


def imported_by(*arguments):
    "The packages that a command imports."
    command = [sys.executable, "-c", COMMAND, json.dumps([str(a) for a in arguments])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    code, names = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    return set(names)


def test_imports_of_the_package():
    code = "import sys, aeseg; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {*HEAVY, "yaml"}


@pytest.mark.parametrize("arguments", (["--help"], ["fit", "--help"], ["predict", "--help"], ["--version"]))
def test_imports_of_help(arguments):
    assert not imported_by(*arguments) & set(HEAVY)


def test_imports_of_predict(finished, phantoms, tmp_path):
    "The seconds of Fabric are not spent on a mask."
    names = imported_by("predict", finished, "--images", phantoms, "--out", tmp_path / "masks", "--quiet")
    assert not names & {"lightning_fabric", "dask"}


def test_fit_says_at_once_what_it_reads(phantoms, tmp_path):
    "Before torch is imported: its import fails here."
    code = (
        "import sys; sys.modules['torch'] = None\nfrom aeseg.cli import main\n"
        f"main(['fit', '--images', {str(phantoms)!r}, '--out', {str(tmp_path / 'run')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.startswith("reading ")
    assert f"files of {phantoms}" in done.stderr.splitlines()[0]


# ---------------------------------------------------------------- the same bits


@pytest.fixture(params=(1, 2), ids=("one process", "two processes"))
def workers(request, monkeypatch):
    "With two, each job but the first is sent."
    monkeypatch.setattr(pool, "worker_count", lambda: request.param)
    monkeypatch.setattr(pool, "START_SECONDS", 0.0)
    monkeypatch.setattr(pool, "SEND_SECONDS", 0.0)
    yield request.param
    pool.close_pool()


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    write_phantoms(folder, "fetal_head", 60, 10)
    return folder


@pytest.fixture(scope="module")
def results():
    "What was computed with the first number of processes."
    return {}


def same_as_first(results, name, value):
    first = results.setdefault(name, value)
    assert type(first) is type(value)
    assert first.equal(value) if isinstance(first, torch.Tensor) else first == value


def test_reading_and_refinement(workers, heads, results):
    images = load_images(heads, 96)
    same_as_first(results, "pixels", images.pixels)
    masks = [read_mask(heads / "masks" / f"{i}.png") for i in images.ids]
    placed = [to_canvas(m * np.uint8(255), p, images.canvas) for m, p in zip(masks, images.placements)]
    labels = torch.stack([torch.from_numpy(m)[None] for m in placed]).roll(3, 3)
    config = make_config("smoke", variant="plus", task="fetal_head", size=96)
    refinement = find_refinement(config, labels, images, labels)
    refined, facts = refinement(labels, images)
    assert not refined.equal(labels)
    same_as_first(results, "refined", refined)
    same_as_first(results, "facts", facts)


def test_scores(workers, heads, results):
    rows = evaluate(heads / "masks", heads, echo=lambda line: None)
    assert (rows["dice"] == 1).all()
    same_as_first(results, "scores", rows.to_csv())


def test_nothing_is_kept_after_a_failed_prediction(finished, heads, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="broken.png"):
        predict(finished, images, tmp_path / "predictions", quiet=True)
    assert _loaded.cache_info().currsize == 0


@pytest.mark.parametrize("in_parts", (False, True), ids=("as on a CPU", "as on a GPU"))
def test_predictions(workers, in_parts, finished, heads, results, tmp_path):
    "The network in worker processes, or here while processes read and write: the same files."
    prediction = Prediction(finished, tmp_path / "masks", False, "auto", 0.0, False)
    paths, splits, _ = find_images(heads)
    batches = [
        Batch(sources, {i: splits[i] for i in sources}, volumes)
        for sources, volumes in image_batches(paths, size=16)
    ]
    outcomes = list(predict_batches(prediction, batches, in_parts))
    assert sum(outcome.written for outcome in outcomes) == len(paths)
    files = {p.name: p.read_bytes() for p in sorted((tmp_path / "masks").iterdir())}
    assert len(files) == len(paths)
    same_as_first(results, "predictions", files)


def test_workers_see_no_gpu(workers):
    seen = list(pool.parallel_map(os.getenv, [("CUDA_VISIBLE_DEVICES",)] * 4, 4))
    assert workers == 1 or set(seen[1:]) == {""}


# ---------------------------------------------------------------- many images


@pytest.mark.slow
def test_scale_in_small(tmp_path):
    "The script that measures large sets works, and what it measures is all there."
    rows = measure_scale(
        ["--counts", "200", "--size", "32", "--folder", str(tmp_path), "--out", str(tmp_path / "x.md")]
    )
    assert set(rows[200]) == {"images", "check", "fit", "predict"}
    assert rows[200]["fit"]["kept"] > 200 * 32 * 32
    assert "| 200 | predict |" in (tmp_path / "x.md").read_text()
    assert {"reading", "gan", "round_1", "predict"} <= set(rows[200]["fit"]["stages"])
