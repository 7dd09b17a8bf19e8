"""Options and fixtures that several test files use."""

import os

# before torch is imported: results depend on the number of threads, and subprocesses get one too
os.environ["OMP_NUM_THREADS"] = "1"

from pathlib import Path

import pytest
from commands import FAST, ROOT, Aeseg, run_script


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
    "The folder of real data sets: AESEG_DATA, else ../shared/data beside the repository; none is a skip."
    folder = Path(os.environ.get("AESEG_DATA") or ROOT / "../shared/data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist; set AESEG_DATA to a folder of data sets")
    return folder.resolve()


@pytest.fixture(scope="session")
def aeseg(tmp_path_factory):
    "The command line."
    runner = Aeseg(tmp_path_factory.mktemp("aeseg"))
    yield runner
    runner.close()


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    "Four training and two validation phantoms with true masks. Not to be changed: copy it."
    from aeseg.data.phantoms import write_phantoms

    folder = tmp_path_factory.mktemp("sound") / "set"
    return write_phantoms(folder, "fetal_head", count=6, val=2, size=(40, 60))


@pytest.fixture(scope="session")
def finished(phantoms, tmp_path_factory):
    "A run on `phantoms`, by a process of its own from start to end. Not to be changed: copy it."
    out = tmp_path_factory.mktemp("finished") / "run"
    done = run_script("fit", "--images", phantoms, "--out", out, *FAST)
    assert (done.returncode, done.stderr) == (0, "")
    return out


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    "A run of 300 phantom cases, to look at. Not to be changed: copy it."
    from browser import make_run

    return make_run(tmp_path_factory.mktemp("many"), 300)


@pytest.fixture
def no_report(monkeypatch):
    "No report, whose charts take most of the time of a tiny run."
    import aeseg.app.report

    monkeypatch.setattr(aeseg.app.report, "write_report", lambda run, pictures: None)
