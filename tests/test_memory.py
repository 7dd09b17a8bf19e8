"""A streamed run learns what a held one learns, and the peak of memory grows by no more than the images."""

import shutil
from types import SimpleNamespace

import pytest
from commands import FAST, refused, succeeded
from measure_memory import HELD, STREAMED, growth, measure, peaks_of, write_images
from run_folders import names, same, unfinish

from aeseg.app.models import build_model, save_model
from aeseg.core.config import make_config
from aeseg.core.runs import Run

STREAM = [*FAST, "-p", "memory_limit=0"]


@pytest.mark.slow
def test_a_streamed_run_is_the_same(aeseg, finished, phantoms, tmp_path):
    "Images in a file instead of memory: the same bytes learned, also continued; the file does not stay."
    run = tmp_path / "run"
    command = ["fit", "--images", phantoms, "--out", run, *STREAM]
    succeeded(aeseg(*command))
    same(run, finished)
    assert names(tmp_path) == ["run"]
    assert names(run) == names(finished)
    unfinish(run)
    assert aeseg(*command, "--resume").code == 0
    same(run, finished)


def test_a_folder_that_takes_no_file_is_told(aeseg, phantoms):
    "A limit that is passed needs a folder that can be written to."
    refused(aeseg("fit", "--images", phantoms, "--out", "/proc/run", *STREAM), "cannot write to /proc")


def test_a_damaged_label_set_is_told(aeseg, finished, phantoms, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    unfinish(run)
    path = sorted((run / "checkpoints").glob("labels_*.npy"))[0]
    path.write_bytes(path.read_bytes()[:-5])
    command = ["fit", "--images", phantoms, "--out", run, *FAST, "--resume"]
    refused(aeseg(*command), f"{path.name} is damaged")


@pytest.fixture
def no_reserves(monkeypatch):
    "Have glibc give back what was freed: else its reserves would count."
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.setenv(name, "131072")


@pytest.mark.slow
def test_peak_memory(tmp_path, no_reserves):
    "The peak of `fit` grows by the images, held once; names and scores take about a kilobyte an image."
    held, streamed = growth(measure(tmp_path, (600, 1200), 96, (HELD, STREAMED), channels=3))
    assert held < 1.15
    assert streamed < 0.2


@pytest.mark.slow
def test_predict_streams(tmp_path, no_reserves):
    "The peak of `predict` does not grow with the number of images; two pieces of 256 are held at most."
    options = dict(size=256, accelerator="cpu", threads=1, segmentation_channels=1)
    canvas = (256, 256)
    with Run.open(tmp_path / "run", make_config("smoke", **options)) as run:
        images = SimpleNamespace(canvas=canvas, channels=1)
        save_model(run.folder / "model.safetensors", build_model(run.config, 1, canvas), images)
    folders = [write_images(tmp_path / f"images_{n}", n, 256) for n in (520, 900)]
    few, many = peaks_of([("predict", (run.folder, folder, f"{folder}_masks"), {}) for folder in folders])
    assert len(names(tmp_path / "images_900_masks")) == 900
    assert many - few < 10e6  # on the canvas, 380 more images would take 25 MB
