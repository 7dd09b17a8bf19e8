"""Memory: a streamed run learns what a held one learns, and the peak grows with the images by no more than their size."""
import shutil

from conftest import FAST, same
from measure_memory import HELD, STREAMED, growth, measure
from test_cli import names, unfinished

STREAM = [*FAST, "-p", "memory_limit=0"]


def test_a_streamed_run_is_the_same(aeseg, finished, phantoms, tmp_path):
    "Images in a file instead of memory: the same bytes learned, and nothing of the file stays. It continues, too."
    run = ["fit", "--images", phantoms, "--out", tmp_path / "run", *STREAM]
    result = aeseg(*run)
    assert result.code == 0 and result.err == ""
    same(tmp_path / "run", finished)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"] and {p.name for p in (tmp_path / "run").iterdir()} == set(names(finished))
    unfinished(tmp_path / "run")
    assert aeseg(*run, "--resume").code == 0
    same(tmp_path / "run", finished)


def test_a_folder_that_takes_no_file_is_told(aeseg, phantoms, tmp_path):
    "A limit that is passed needs a folder that can be written to."
    result = aeseg("fit", "--images", phantoms, "--out", "/proc/run", *STREAM)
    assert result.code == 2 and "cannot write to /proc" in result.err and result.err.count("\n") == 1


def test_a_damaged_label_set_is_told(aeseg, finished, phantoms, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    unfinished(tmp_path / "run")
    path = sorted((tmp_path / "run/checkpoints").glob("labels_*.npy"))[0]
    path.write_bytes(path.read_bytes()[:-5])
    result = aeseg("fit", "--images", phantoms, "--out", tmp_path / "run", *FAST, "--resume")
    assert result.code == 2 and f"{path.name} is damaged; delete it" in result.err and result.err.count("\n") == 1


def test_peak_memory(tmp_path, monkeypatch):
    "The peak of `fit` grows by the images, held once, and a little for names and scores (about a kilobyte an image); streamed, only by the latter."
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"): monkeypatch.setenv(name, "131072")       # glibc gives back what was freed, at once: else its reserves would count
    held, streamed = growth(measure(tmp_path, (1000, 1800), 96, (HELD, STREAMED), channels=3))
    assert held < 1.15 and streamed < 0.2, (held, streamed)
