"""Units of work and experiments: nothing is run twice, a killed process costs one retry, a failed unit leaves a gap, mistakes are one sentence."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cloudpickle
import pandas as pd
import pytest

from aeseg.cli import main
from aeseg.core.config import make_config
from aeseg.studies.plans import gather_rows, make_grid, run_plan, table1
from aeseg.studies.results import write_results
from aeseg.data.phantoms import write_phantoms
from aeseg.studies.workers import run_jobs
from aeseg.studies.units import Source, Store, Unit, cache_key, jobs_of, run_units

TINY = dict(
    preset="smoke", size=32, vae_steps=2, gan_steps=2, checkpoint_every=1, segmentation_steps=2, phantoms=6
)
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # other processes do not find the tests


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def die_once(marker):
    "Kill the own process at the first call."
    if not Path(marker).exists():
        Path(marker).write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    return ""


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_worker(tmp_path):
    (tmp_path / "b").write_text("")
    answers = run_jobs(die_once, {name: (str(tmp_path / name),) for name in "ab"}, 2)
    assert answers == dict(a="", b="") and (tmp_path / "a").exists()  # one retry


def test_worker_that_always_dies(tmp_path):
    (tmp_path / "good").write_text("")
    answers = run_jobs(
        lambda *marker: die_once(*marker) if marker else die(),
        {"bad": (), "good": (str(tmp_path / "good"),)},
        1,
    )
    assert answers["bad"].startswith("its process died") and answers["good"] == ""


def test_existing_cluster(tmp_path):
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        (tmp_path / "a").write_text("")
        assert run_jobs(
            die_once, {"a": (str(tmp_path / "a"),)}, 1, scheduler=cluster.scheduler_address
        ) == dict(a="")


def test_failed_unit(tmp_path):
    "One unit cannot be read; the other finishes, and so does the table."
    good = write_phantoms(tmp_path / "good", "fetal_head", count=6, val=2, size=(32, 32))
    bad = tmp_path / "bad"
    shutil.copytree(good, bad)
    broken = sorted((bad / "images").iterdir())[0]
    broken.write_bytes(b"no picture")
    config = make_config(**{k: v for k, v in TINY.items() if k != "phantoms"}, threads=1)
    units = {
        name: Unit("supervised", config, Source((str(folder),)))
        for name, folder in (("good", good), ("bad", bad))
    }
    store = Store(tmp_path / "runs/units", tmp_path / "results")
    wrong = run_units(units, store, workers=1, quiet=True)
    assert wrong["good"] == "" and broken.name in wrong["bad"] and "Traceback" not in wrong["bad"]
    assert "InputError" in (store.folder / f"{cache_key(units['bad'])}.log").read_text()
    assert list(jobs_of(units, store)[0]) == [cache_key(units["bad"])]  # the finished one is not run again

    grid = make_grid(
        "table3_annotation_efficiency", tasks="fetal_head", out=str(tmp_path / "results/t"), phantoms=6
    )
    plan = {("fetal_head", name, 0): unit for name, unit in units.items()}
    write_results(grid, plan, {("fetal_head", name, 0): w for name, w in wrong.items()}, {}, [], {})
    text = (tmp_path / "results/t/results.md").read_text()
    assert "units: 2, of which finished: 1" in text and broken.name in text
    assert set(gather_rows(grid, plan)["method"]) == {"good"}


@pytest.mark.parametrize(
    "words, says",
    [
        (["run", "table1_pseudo_label"], "did you mean 'table1_pseudo_labels'?"),
        (["run"], "run needs the name of an experiment"),
        (["plan"], "plan needs the name of an experiment"),
        (["plan", "table1_pseudo_labels", "--data-root", "nowhere"], "nowhere/hc18: no such folder"),
        (["report"], "needs the folder of results"),
        (["report", "nowhere"], "holds no finished experiment"),
        (
            ["run", "table1_pseudo_labels", "-p", "gan_stpes=3"],
            "unknown parameter 'gan_stpes'; did you mean 'gan_steps'?",
        ),
        (["run", "table1_pseudo_labels", "-p", "gan_steps=many"], "gan_steps='many' is str"),
        (["run", "table1_pseudo_labels", "-p", "seeds"], "not of the form key=value"),
        (["run", "table1_pseudo_labels", "-p", "tasks=[lung"], "is not a list"),
        (
            ["run", "table2_noise_robust", "-p", "selection=false"],
            "selection is what the rows of table2_noise_robust differ in",
        ),
        (["run", "table1_pseudo_labels", "--data-root", "nowhere"], "nowhere/hc18: no such folder"),
        (["run", "table1_pseudo_labels", "-p", "preset=cpu", "--preset", "cpu"], "preset is given twice"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", *words]) == 2
    said = capsys.readouterr().err
    assert says in said and "Traceback" not in said and not list(tmp_path.iterdir())


def test_plan_only_tells(tmp_path, monkeypatch, capsys):
    "What a run would do, without doing it."
    monkeypatch.chdir(tmp_path)
    words = [w for k, v in TINY.items() if k != "preset" for w in ("-p", f"{k}={v}")]
    assert (
        main(
            [
                "experiment",
                "plan",
                "table2_noise_robust",
                "-p",
                "tasks=fetal_head",
                *words,
                "--out",
                "results/table2",
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert (
        "table2_noise_robust: 9 trainings, 0 of them finished" in said
        and "labels: 1 to run" in said
        and "their time is unknown" in said
    )
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*")] == ["runs/phantoms"]


def test_missing_auxiliary_set(tmp_path, monkeypatch, capsys):
    (tmp_path / "data/jsrt").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "run", "table1_pseudo_labels", "-p", "tasks=lung", "--data-root", "data"]) == 2
    assert "data/montgomery_masks: no such folder" in capsys.readouterr().err


def start(folder, workers=1):
    words = [w for k, v in TINY.items() if k != "preset" for w in ("-p", f"{k}={v}")]
    command = [
        sys.executable,
        "-c",
        "import sys; from aeseg.cli import main; sys.exit(main(sys.argv[1:]))",
        "experiment",
        "run",
        "table1_pseudo_labels",
        "-p",
        "tasks=fetal_head",
        *words,
        "--workers",
        str(workers),
        "--out",
        "results/table1",
    ]
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        command,
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_killed_and_started_again(tmp_path):
    "Killed in the middle and started again: the same numbers as without, and what was finished is not run again."
    parts = start(tmp_path / "parts")
    store, results = tmp_path / "parts/runs/units", tmp_path / "parts/results"
    deadline = time.time() + 500
    while not list(store.glob("*.json")) and time.time() < deadline and parts.poll() is None:
        time.sleep(0.2)
    os.killpg(parts.pid, signal.SIGKILL)
    parts.wait()
    finished = {p: p.stat().st_mtime_ns for p in store.glob("*.json")}
    assert 1 <= len(finished) < 4 and not (results / "table1/results.json").exists()
    again = start(tmp_path / "parts", workers=2)
    said = again.communicate(timeout=600)[0]
    assert again.returncode == 0 and "report: " in said, said
    for path, stamp in finished.items():
        assert path.stat().st_mtime_ns == stamp
    names = {p.name for p in (results / "table1").iterdir()}
    assert {
        "table1_pseudo_labels.ipynb",
        "results.md",
        "results.json",
        "provenance.json",
        "dice_over_training.png",
        "dice_over_training.svg",
    } <= names
    assert len(list(store.glob("*.json"))) == 4 and "Pseudo labels" in (results / "index.html").read_text()
    assert str(tmp_path) not in (results / "table1/results.md").read_text()

    grid = make_grid(
        "table1_pseudo_labels", tasks="fetal_head", out=str(tmp_path / "whole/results/table1"), **TINY
    )
    plan = table1(grid)
    assert not any(run_plan(grid, plan, quiet=True).values())
    parts = make_grid("table1_pseudo_labels", tasks="fetal_head", out=str(results / "table1"), **TINY)
    pd.testing.assert_frame_equal(gather_rows(grid, plan), gather_rows(parts, table1(parts)))
