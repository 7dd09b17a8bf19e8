"""Memory: a streamed run learns what a held one learns, and the peak grows with the images by no more than their size."""

import shutil
from types import SimpleNamespace

from commands import names, unfinish
from conftest import FAST, same
from measure_memory import HELD, STREAMED, growth, measure, peaks_of, write_images

STREAM = [*FAST, "-p", "memory_limit=0"]


def test_a_streamed_run_is_the_same(aeseg, finished, phantoms, tmp_path):
    "Images in a file instead of memory: the same bytes learned, and nothing of the file stays. It continues, too."
    run = ["fit", "--images", phantoms, "--out", tmp_path / "run", *STREAM]
    result = aeseg(*run)
    assert result.code == 0 and result.err == ""
    same(tmp_path / "run", finished)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"] and {
        p.name for p in (tmp_path / "run").iterdir()
    } == set(names(finished))
    unfinish(tmp_path / "run")
    assert aeseg(*run, "--resume").code == 0
    same(tmp_path / "run", finished)


def test_a_folder_that_takes_no_file_is_told(aeseg, phantoms, tmp_path):
    "A limit that is passed needs a folder that can be written to."
    result = aeseg("fit", "--images", phantoms, "--out", "/proc/run", *STREAM)
    assert result.code == 2 and "cannot write to /proc" in result.err and result.err.count("\n") == 1


def test_a_damaged_label_set_is_told(aeseg, finished, phantoms, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    unfinish(tmp_path / "run")
    path = sorted((tmp_path / "run/checkpoints").glob("labels_*.npy"))[0]
    path.write_bytes(path.read_bytes()[:-5])
    result = aeseg("fit", "--images", phantoms, "--out", tmp_path / "run", *FAST, "--resume")
    assert (
        result.code == 2
        and f"{path.name} is damaged; delete it" in result.err
        and result.err.count("\n") == 1
    )


def give_back_at_once(monkeypatch):
    "Have glibc give back what was freed: else its reserves would count."
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.setenv(name, "131072")


def test_peak_memory(tmp_path, monkeypatch):
    "The peak of `fit` grows by the images, held once, and a little for names and scores (about a kilobyte an image); streamed, only by the latter."
    give_back_at_once(monkeypatch)
    held, streamed = growth(measure(tmp_path, (1000, 1800), 96, (HELD, STREAMED), channels=3))
    assert held < 1.15 and streamed < 0.2, (held, streamed)


def test_predict_streams(tmp_path, monkeypatch):
    "The peak of `predict` does not grow with the number of images: on the canvas, 550 more would take 36 MB. Two pieces of 256 images are held at most."
    from aeseg.core.config import make_config
    from aeseg.app.models import build_model, save_model
    from aeseg.core.runs import Run

    give_back_at_once(monkeypatch)
    with Run.open(
        tmp_path / "run",
        make_config("smoke", size=256, accelerator="cpu", threads=1, segmentation_channels=1),
    ) as run:
        save_model(
            run.folder / "model.safetensors",
            build_model(run.config, 1, (256, 256)),
            SimpleNamespace(canvas=(256, 256), channels=1),
        )
    few, many = [write_images(tmp_path / f"images_{n}", n, 256) for n in (550, 1100)]
    a, b = peaks_of([("predict", (run.folder, images, f"{images}_masks"), {}) for images in (few, many)])
    assert len(list((tmp_path / "images_1100_masks").iterdir())) == 1100
    assert b - a < 10e6, (a, b)
