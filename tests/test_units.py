"""Units of work and experiments: nothing runs twice, a kill costs a retry, a failed unit leaves a gap."""

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
from commands import parameters, run_script
from run_folders import names

from aeseg.cli import main
from aeseg.core.config import make_config
from aeseg.data.phantoms import write_phantoms
from aeseg.studies.plans import gather_rows, make_grid, run_plan, table1
from aeseg.studies.results import write_results
from aeseg.studies.units import Source, Store, Unit, cache_key, jobs_of, run_unit, run_units
from aeseg.studies.workers import run_jobs

TINY = dict(
    preset="smoke", size=32, vae_steps=2, gan_steps=2, checkpoint_every=1, segmentation_steps=2, phantoms=6
)
OPTIONS = parameters({key: value for key, value in TINY.items() if key != "preset"})  # of a command
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


@pytest.mark.slow
def test_killed_worker(tmp_path):
    (tmp_path / "b").write_text("")
    answers = run_jobs(die_once, {name: (str(tmp_path / name),) for name in "ab"}, 2)
    assert answers == dict(a="", b="")
    assert (tmp_path / "a").exists()  # one retry


@pytest.mark.slow
def test_worker_that_always_dies(tmp_path):
    (tmp_path / "good").write_text("")
    jobs = {"bad": (), "good": (str(tmp_path / "good"),)}
    answers = run_jobs(lambda *marker: die_once(*marker) if marker else die(), jobs, 1)
    assert answers["bad"].startswith("its process died")
    assert answers["good"] == ""


@pytest.mark.slow
def test_existing_cluster(tmp_path):
    from dask.distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
        (tmp_path / "a").write_text("")
        jobs = {"a": (str(tmp_path / "a"),)}
        assert run_jobs(die_once, jobs, 1, scheduler=cluster.scheduler_address) == dict(a="")


@pytest.mark.slow
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
    messages = run_units(units, store, workers=1, quiet=True)
    assert messages["good"] == ""
    assert broken.name in messages["bad"]
    assert "Traceback" not in messages["bad"]
    assert "InputError" in (store.folder / f"{cache_key(units['bad'])}.log").read_text()
    assert list(jobs_of(units, store)[0]) == [cache_key(units["bad"])]  # the finished one is not run again

    grid = make_grid(
        "table3_annotation_efficiency", tasks="fetal_head", out=str(tmp_path / "results/t"), phantoms=6
    )
    plan = {("fetal_head", name, 0): unit for name, unit in units.items()}
    write_results(grid, plan, {("fetal_head", name, 0): text for name, text in messages.items()}, {}, [], {})
    text = (tmp_path / "results/t/results.md").read_text()
    assert "units: 2, of which finished: 1" in text
    assert broken.name in text
    assert set(gather_rows(grid, plan)["method"]) == {"good"}


# name: (words after `aeseg experiment`, words of the message)
MISTAKES = {
    "unknown experiment": (["run", "table1_pseudo_label"], ["'table1_pseudo_labels'"]),
    "run without a name": (["run"], ["run needs the name"]),
    "plan without a name": (["plan"], ["plan needs the name"]),
    "plan without data": (["plan", "table1_pseudo_labels", "--data-root", "nowhere"], ["nowhere/hc18"]),
    "run without data": (["run", "table1_pseudo_labels", "--data-root", "nowhere"], ["nowhere/hc18"]),
    "report without a folder": (["report"], ["folder of results"]),
    "report of no results": (["report", "nowhere"], ["nowhere", "no finished experiment"]),
    "unknown key": (
        ["run", "table1_pseudo_labels", "-p", "gan_stpes=3"],
        ["'gan_stpes'", "did you mean 'gan_steps'?"],
    ),
    "not a number": (["run", "table1_pseudo_labels", "-p", "gan_steps=many"], ["gan_steps='many'", "str"]),
    "no value": (["run", "table1_pseudo_labels", "-p", "seeds"], ["seeds", "key=value"]),
    "not a list": (["run", "table1_pseudo_labels", "-p", "tasks=[lung"], ["[lung", "is not a list"]),
    "key of the rows": (
        ["run", "table2_noise_robust", "-p", "selection=false"],
        ["selection", "rows of table2_noise_robust"],
    ),
    "given twice": (
        ["run", "table1_pseudo_labels", "-p", "preset=cpu", "--preset", "cpu"],
        ["preset", "twice"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(tmp_path, monkeypatch, capsys, name):
    command, words = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", *command]) == 2
    message = capsys.readouterr().err
    assert all(word in message for word in words), message
    assert "Traceback" not in message
    assert names(tmp_path) == []


@pytest.mark.slow
def test_plan_only_tells(tmp_path, monkeypatch, capsys):
    "What a run would do, without doing it."
    monkeypatch.chdir(tmp_path)
    command = ["experiment", "plan", "table2_noise_robust", "-p", "tasks=fetal_head", *OPTIONS]
    assert main([*command, "--out", "results/table2"]) == 0
    message = capsys.readouterr().out
    assert "table2_noise_robust: 11 trainings, 0 of them finished" in message
    assert "labels: 1 to run" in message
    assert "their time is unknown" in message
    assert [str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*")] == ["runs/phantoms"]
    for speed in ("0.0001", "0.0002"):  # twice the speed is half the time, and the sentence says both
        assert main([*command, "--tflops", speed]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("about")]
    minutes = [float(line.split()[1]) for line in lines]
    assert 1.9 < minutes[0] / minutes[1] < 2.1
    assert "divided by 0.0002 TFLOP/s" in lines[1] and "not measured" in lines[1]


@pytest.mark.parametrize("speed", ["0", "-150", "inf", "nan"])
def test_speed_that_is_none(speed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = ["experiment", "plan", "table1_pseudo_labels", "-p", "tasks=fetal_head", *OPTIONS]
    assert main([*command, f"--tflops={speed}"]) == 2
    message = capsys.readouterr().err
    assert "tflops" in message and "such as 150" in message and "Traceback" not in message
    assert names(tmp_path) == []


def test_missing_auxiliary_set(tmp_path, monkeypatch, capsys):
    (tmp_path / "data/jsrt").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert main(["experiment", "run", "table1_pseudo_labels", "-p", "tasks=lung", "--data-root", "data"]) == 2
    assert "data/montgomery_masks: no such folder" in capsys.readouterr().err


PROGRAM = "import sys; from aeseg.cli import main; sys.exit(main(sys.argv[1:]))"
GRID = dict(TINY, tasks="fetal_head")


def start(folder, workers=1):
    "An experiment in a process group of its own."
    experiment = ["experiment", "run", "table1_pseudo_labels", "-p", "tasks=fetal_head", *OPTIONS]
    options = ["--workers", str(workers), "--out", "results/table1"]
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *experiment, *options],
        cwd=folder,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def times_of_change(store):
    "The finished units of a store."
    return {path: path.stat().st_mtime_ns for path in store.glob("*.json")}


def start_and_kill(folder):
    "Kill an experiment when its first unit is finished."
    process = start(folder)
    deadline = time.time() + 500
    while not times_of_change(folder / "runs/units") and time.time() < deadline and process.poll() is None:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


class FullDisk(Store):
    "Keeps nothing."

    def keep(self, unit, run):
        raise OSError("no space left on device")


@pytest.mark.slow
def test_units_share_an_adapted_prior(tmp_path):
    "It is found once for GANs that differ in their variant; the numbers are those of a unit alone."
    source = Source((str(write_phantoms(tmp_path / "heads", "fetal_head", count=6, val=2, size=(32, 48))),))

    def unit(**values):
        values = {"prior": "adapted", "adaptation_steps": 2, "rounds": 0, **TINY, **values}
        del values["phantoms"]
        return Unit("labels", make_config(**values), source)

    units = {variant: unit(variant=variant) for variant in ("cyclegan", "vae", "full")}
    units["other seed"] = unit(variant="cyclegan", seed=1)
    units["given"] = unit(variant="cyclegan", prior="given")
    store, alone = Store(tmp_path / "cache"), Store(tmp_path / "alone")
    first = cache_key(units["cyclegan"])
    jobs, after = jobs_of(units, store)
    assert list(jobs)[:2] == [first, cache_key(units["other seed"])]  # what others wait for is run first
    assert after == {cache_key(units[name]): [first] for name in ("vae", "full")}
    assert [run_unit(u, store, sys.argv) for u in units.values()] == [""] * 5
    found = [name for name, u in units.items() if (store.run_folder(u) / "adaptation/given").exists()]
    assert found == ["cyclegan", "other seed"]
    assert run_unit(units["full"], alone, sys.argv) == ""
    assert (alone.run_folder(units["full"]) / "adaptation/given").exists()
    pd.testing.assert_frame_equal(store.rows(units["full"]), alone.rows(units["full"]))
    changes = {name: store.facts(u)["adaptation"] for name, u in units.items()}
    assert changes["given"] is None and changes["full"] == changes["vae"] == changes["cyclegan"]
    assert set(changes["full"]) == {"change", "edge_before", "edge_after", "accepted"}
    full_disk = FullDisk(tmp_path / "full")
    assert "no space" in run_unit(units["cyclegan"], full_disk, sys.argv)
    assert jobs_of(units, full_disk)[1] == {}  # the others need not wait for the one that failed


@pytest.mark.slow
def test_killed_and_started_again(tmp_path):
    "The same numbers as without the kill, and what was finished is not run again."
    folder = tmp_path / "parts"
    store, results = folder / "runs/units", folder / "results"
    start_and_kill(folder)
    finished = times_of_change(store)
    assert 1 <= len(finished) < 4
    assert not (results / "table1/results.json").exists()
    again = start(folder, workers=2)
    output = again.communicate(timeout=600)[0]
    assert again.returncode == 0, output
    assert "report: " in output
    assert finished.items() <= times_of_change(store).items()
    assert len(times_of_change(store)) == 4
    assert set(names(results / "table1")) >= {
        "table1_pseudo_labels.ipynb",
        "results.md",
        "results.json",
        "provenance.json",
        "dice_over_training.png",
        "dice_over_training.svg",
    }
    assert "Pseudo labels" in (results / "index.html").read_text()
    assert str(tmp_path) not in (results / "table1/results.md").read_text()

    grid = make_grid("table1_pseudo_labels", out=str(tmp_path / "whole/results/table1"), **GRID)
    plan = table1(grid)
    assert not any(run_plan(grid, plan, quiet=True).values())
    parts = make_grid("table1_pseudo_labels", out=str(results / "table1"), **GRID)
    pd.testing.assert_frame_equal(gather_rows(grid, plan), gather_rows(parts, table1(parts)))

    again = run_script("experiment", "repeat", results)
    assert again.returncode == 0, again.stderr
    assert "table1 (table1_pseudo_labels), unit " in again.stdout and "equal for each of" in again.stdout
    for words, told in (
        ((), "needs the folder of results"),
        ((results, "-p", "sede=1"), "takes seed and tolerance, not sede"),
        ((results, "-p", "tolerance=few"), "tolerance='few' is str, but tolerance takes float"),
        ((tmp_path,), "holds no unit whose data are in"),
    ):
        refused = run_script("experiment", "repeat", *words)
        assert refused.returncode == 2 and told in refused.stderr, refused.stderr
