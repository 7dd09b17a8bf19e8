"""The experiment notebooks run through papermill, headless, and an unknown parameter is an error."""

import html
import json
import re
from pathlib import Path

import pandas as pd
import papermill
import pytest
from IPython.core.interactiveshell import InteractiveShell
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from aeseg.core.errors import InputError
from aeseg.studies.plans import EXPERIMENTS, gather_rows, make_grid
from aeseg.studies.results import write_index
from aeseg.data.phantoms import write_phantoms
from aeseg.core.runs import Run
from aeseg.studies.units import run_units

FOLDER = Path(__file__).resolve().parents[1] / "nbs/experiments"
TINY = dict(vae_steps=3, gan_steps=4, checkpoint_every=2, segmentation_steps=2, threads=1)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_phantoms(
        tmp_path_factory.mktemp("data") / "heads", "fetal_head", count=8, val=2, size=(64, 64)
    )


def execute(name, tmp_path, **parameters):
    "Run an experiment notebook in tmp_path; all it wrote as text."
    nb = papermill.execute_notebook(
        FOLDER / f"{name}.ipynb",
        tmp_path / f"{name}.ipynb",
        parameters,
        kernel_name="python3",
        cwd=tmp_path,
        progress_bar=False,
        start_timeout=120,
    )
    return "\n".join(json.dumps(o) for c in nb.cells if c.cell_type == "code" for o in c.outputs)


class Shell(InteractiveShell):
    def enable_gui(self, gui=None):
        "There is none."


def first_error(name, **parameters):
    "What the cells raise, one after the other in this process, with parameters as papermill writes them; a kernel would take seconds to start."
    shell = Shell()
    for cell in parameterize_notebook(load_notebook_node(str(FOLDER / f"{name}.ipynb")), parameters).cells:
        if cell.cell_type == "code" and (
            error := shell.run_cell(cell.source, store_history=True).error_in_exec
        ):
            return error


def test_fit(tmp_path):
    said = execute("one_data_set", tmp_path, phantoms=8, mask_generator_dilations="[2, 1]", **TINY)
    run = Run(tmp_path / "runs/experiments/fit")
    assert run.finished
    assert (run.config.run.preset, run.config.gan.steps, run.config.gan.mask_generator_dilations) == (
        "smoke",
        4,
        [2, 1],
    )
    for name in ("report.html", "metrics.csv", "quality.csv", "model.safetensors"):
        assert (run.folder / name).stat().st_size
    assert (
        len(list((run.folder / "pseudo_labels").glob("*.png"))) == 6
        and len(list((run.folder / "predictions").glob("*.png"))) == 8
    )
    assert (tmp_path / "runs/experiments/phantoms/fetal_head_8/splits.csv").exists()
    assert said.count("image/jpeg") == 8 and "6 of them for training" in said
    assert (
        run.provenance["command"].startswith("papermill nbs/experiments/one_data_set.ipynb")
        and "-p gan_steps 4" in run.provenance["command"]
    )
    assert str(tmp_path) not in said


@pytest.mark.parametrize(
    "name, parameter, hint",
    [
        ("one_data_set", dict(imagse="x"), "did you mean 'images'?"),
        ("gan_variants", dict(seed=1), "unknown parameter 'seed'; did you mean 'seeds'?"),
        (
            "gan_variants",
            dict(variants="full,cylcegan"),
            "variant='cylcegan' is unknown; did you mean 'cyclegan'?",
        ),
        ("gan_variants", dict(gan_steps="many"), "gan_steps='many' is str"),
        ("speed", dict(repeat=1), "unknown parameter 'repeat'; did you mean 'repeats'?"),
        ("speed", dict(phantoms="many"), "phantoms='many' must be a number"),
        ("speed", dict(task="liver"), "there are no phantoms with an ellipse prior of task='liver'"),
        ("four_tasks", dict(task="lung"), "unknown parameter 'task'; did you mean 'tasks'?"),
        ("four_tasks", dict(tasks="lung,livre"), "'livre' is unknown; did you mean 'liver'?"),
        ("four_tasks", dict(supervised="no"), "supervised='no' must be True or False"),
        ("own_data", dict(imagse="x"), "did you mean 'images'?"),
        ("review_labels", dict(reject=0.1), "unknown parameter 'reject'; did you mean 'rejected'?"),
        ("review_labels", dict(phantoms="many"), "phantoms='many' must be a number"),
        ("four_tasks", dict(data="nowhere"), "nowhere/hc18: no such folder"),
    ],
)
def test_wrong_parameter(tmp_path, monkeypatch, name, parameter, hint):
    monkeypatch.chdir(tmp_path)
    error = first_error(name, **parameter)
    assert isinstance(error, InputError) and hint in str(error)
    assert not (tmp_path / "runs").exists()


def test_wrong_parameter_in_papermill(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError) as e:
        execute("one_data_set", tmp_path, gan_stpes=3)
    assert "InputError" in str(e.value) and "unknown parameter 'gan_stpes'; did you mean 'gan_steps'?" in str(
        e.value
    )
    assert not (tmp_path / "runs").exists()


def test_variants(tmp_path, images):
    out = tmp_path / "grid"
    (out / "vae_seed3").mkdir(parents=True)
    (out / "vae_seed3/stranger.txt").write_text("not a run")
    parameters = dict(images=str(images), variants="cyclegan,vae", seeds=3, workers=1, out="grid", **TINY)

    said = execute("gan_variants", tmp_path, **parameters)
    assert "vae seed 3: failed" in said and "is not a run folder" in said
    table = pd.read_csv(out / "variants.csv").set_index("variant")
    assert table["runs"].to_dict() == dict(cyclegan=1, vae=0) and table["failed"].to_dict() == dict(
        cyclegan=0, vae=1
    )
    assert 0 <= table.loc["cyclegan", "pseudo_label_dice_mean"] <= 1 and pd.isna(
        table.loc["vae", "pseudo_label_dice_mean"]
    )
    config = Run(out / "cyclegan_seed3").config
    assert (config.gan.variant, config.run.seed, config.rounds.count, config.gan.steps) == ("cyclegan", 3, 0, 4)
    text = (out / "variants.md").read_text()
    for part in (
        "| cyclegan | 1 | 0 |",
        "| vae | 0 | 1 |",
        "commit: ",
        "data set: heads (6 train, 2 val)",
        "seeds: 3",
        "CPU cores",
        "-p images DATA/heads",
        "vae seed 3 failed",
    ):
        assert part in text, part

    first = (out / "cyclegan_seed3/model.safetensors").stat().st_mtime_ns
    (out / "vae_seed3/stranger.txt").unlink()
    said = execute("gan_variants", tmp_path, **parameters)
    assert "cyclegan seed 3: was finished before" in said and "vae seed 3: done" in said
    assert (out / "cyclegan_seed3/model.safetensors").stat().st_mtime_ns == first
    table = pd.read_csv(out / "variants.csv").set_index("variant")
    assert table["runs"].to_dict() == dict(cyclegan=1, vae=1) and table["vae_agreement_mean"].notna().all()
    assert (out / "variants.png").stat().st_size


def test_bench(tmp_path):
    said = execute("speed", tmp_path, phantoms=6, repeats=1, minutes=0.005, size=32, **TINY)
    out = tmp_path / "runs/experiments/bench"
    assert sorted(p.name for p in out.iterdir()) == ["bench.csv", "bench.json", "bench.png"]
    facts = json.loads((out / "bench.json").read_text())
    assert (
        facts["repeats"],
        facts["training_images"],
        facts["config"]["size"],
        facts["config"]["gan_steps"],
    ) == (1, 6, 32, 4)
    assert (
        facts["command"].startswith("papermill nbs/experiments/speed.ipynb")
        and "-p gan_steps 4" in facts["command"]
    )
    assert (
        set(facts["time_to_quality"]["curves"]) == {"full", "textbook"}
        and "GAN step, `full` against the textbook" in said
        and "full: " in said
    )
    assert said.count("image/jpeg") == 1 and str(tmp_path) not in said


def test_tasks(tmp_path):
    out = tmp_path / "grid"
    (out / "lung_plus_seed3").mkdir(parents=True)
    (out / "lung_plus_seed3/stranger.txt").write_text("not a run")
    parameters = dict(tasks="fetal_head,lung", seeds=3, phantoms=8, out="grid", size=32, **TINY)

    said = execute("four_tasks", tmp_path, **parameters)
    assert (
        "lung plus seed 3: failed" in said
        and "is not a run folder" in said
        and "lung supervised seed 3: done" in said
    )
    table = pd.read_csv(out / "tasks.csv").set_index("task")
    assert table["runs"].to_dict() == {"fetal head": 1, "lung": 0} and table["failed"].to_dict() == {
        "fetal head": 0,
        "lung": 1,
    }
    head = table.loc["fetal head"]
    for name in ("gan_label", "pseudo_label", "final", "supervised"):
        assert 0 < head[f"{name}_dice_mean"] < 1 and head[f"{name}_dice_spread"] == 0, name
    assert head["difference_points"] == pytest.approx(
        100 * (head["final_dice_mean"] - head["supervised_dice_mean"]), abs=0.01
    )
    assert table.loc["lung", "supervised_dice_mean"] > 0 and pd.isna(table.loc["lung", "difference_points"])
    text = (out / "tasks.md").read_text()
    for part in (
        "| fetal head | plus | 1 | 0 |",
        "| lung | plus | 0 | 1 |",
        "-p out runs/grid",
        "commit: ",
        "seeds: 3",
        "fetal_head_8: 6 train, 2 val; auxiliary masks: ellipses",
        "lung_auxiliary",
        "lung plus seed 3 failed",
    ):
        assert part in text, part

    run = Run(out / "lung_supervised_seed3")  # the usual loss, on every human mask of the training split
    assert (
        run.config.segmentation.steps,
        run.read_log("supervised")[-1]["step"],
        run.provenance["training_images"],
    ) == (2, 2, 6)
    assert run.read_log("supervised")[-1]["loss"] > 1  # Dice loss alone is below 1
    metrics = pd.read_csv(run.folder / "metrics.csv")
    assert metrics["split"].value_counts().to_dict() == dict(train=6, val=2)
    assert metrics[metrics["split"] == "val"]["dice"].mean() == pytest.approx(
        table.loc["lung", "supervised_dice_mean"], abs=1e-4
    )

    first = (run.folder / "model.safetensors").stat().st_mtime_ns
    (out / "lung_plus_seed3/stranger.txt").unlink()
    said = execute("four_tasks", tmp_path, **parameters)
    assert (
        "fetal_head plus seed 3: was finished before" in said
        and "lung supervised seed 3: was finished before" in said
        and "lung plus seed 3: done" in said
    )
    assert (run.folder / "model.safetensors").stat().st_mtime_ns == first
    assert (
        pd.read_csv(out / "tasks.csv")["difference_points"].notna().all()
        and (out / "tasks.png").stat().st_size
    )


def test_tasks_data(tmp_path):
    "Folders named as the public data sets: only eyes without pathology are learned from, the others are asked about."
    for name, prefix, count, val in (
        ("drishti_gs_roi", "drishti", 3, 1),
        ("ichallenge_pm_roi", "N", 3, 1),
        ("ichallenge_pm_roi", "P", 4, 2),
    ):
        made = write_phantoms(tmp_path / "made" / prefix, "optic_disc", count, val, size=(48, 48))
        splits = tmp_path / "sets" / name / "splits.csv"
        for part in ("images", "masks"):
            (splits.parent / part).mkdir(parents=True, exist_ok=True)
            for path in (made / part).iterdir():
                path.rename(splits.parent / part / path.name.replace("optic_disc_", prefix))
        rows = (made / "splits.csv").read_text().replace("optic_disc_", prefix).split("\n", 1)
        splits.write_text(splits.read_text() + rows[1] if splits.exists() else "\n".join(rows))

    said = execute(
        "four_tasks",
        tmp_path,
        data=str(tmp_path / "sets"),
        tasks="optic_disc",
        variants="cyclegan",
        out="eyes",
        rounds=0,
        size=32,
        **TINY,
    )
    out = tmp_path / "eyes"
    for kind in ("cyclegan", "supervised"):
        names = {p.stem for p in (out / f"optic_disc_{kind}_seed0/predictions").iterdir()}
        assert names == {f"{p}{k:04}" for p in ("drishti", "N") for k in range(3)}
        assert {p.stem for p in (out / f"other/optic_disc_{kind}_seed0").iterdir()} == {"P0002", "P0003"}
    runs = pd.read_csv(out / "runs.csv").set_index("variant")
    assert (runs["other_images"] == 2).all() and runs[
        ["other_dice", "other_shift_x", "other_shift_y"]
    ].notna().all(axis=None)
    assert runs.loc["cyclegan", "supervised_other_dice"] == runs.loc["supervised", "other_dice"] and pd.isna(
        runs.loc["cyclegan", "gan_label_dice"]
    )
    text = (out / "tasks.md").read_text()
    for part in (
        "| optic disc, pathological eyes | cyclegan | 1 |",
        "-p data DATA -p tasks",
        "drishti_gs_roi, ichallenge_pm_roi (N*, drishti*): 4 train, 2 val",
        "| pathological eyes (2) | supervised | 0 |",
    ):
        assert part in text, part
    assert str(tmp_path) not in said + text


def test_own_data(tmp_path):
    "DICOM files and NIfTI volumes from the folder to the masks."
    said = execute("own_data", tmp_path, steps=2)
    out = tmp_path / "runs/experiments/own"
    assert (
        Run(out / "runs/heads").finished
        and Run(out / "runs/livers").finished
        and Run(out / "runs/heads").config["ellipse_axis_ratio"] == [0.68, 0.88]
    )
    assert len(list((out / "masks").glob("*.png"))) == 24 and sorted(
        p.name for p in (out / "liver_masks").iterdir()
    ) == ["liver_0.nii.gz", "liver_1.nii.gz", "liver_2.nii.gz"]
    assert "same affine: True" in said and "12" in said and "assd_mm" in said and str(tmp_path) not in said


def test_review(tmp_path):
    "Seconds long: nothing is learned, but the decisions act."
    said = execute("review_labels", tmp_path, phantoms=12, segmentation_steps=2)
    run = Run(tmp_path / "runs/experiments/review/noisy")
    rows = pd.read_csv(run.folder / "quality.csv").query("round == 2")
    assert (
        run.provenance["reviews"][0]["rejected"] == 2 == (~rows["kept"]).sum()
        and said.count("image/png") == 3
        and str(tmp_path) not in said
    )


TABLES = dict(  # notebook -> name of its results, a figure, and the lists that it comes with
    table1_pseudo_labels=("table1", "dice_over_training", {}),
    table2_noise_robust=("table2", "quality_and_dice", {}),
    table3_annotation_efficiency=("table3", "annotation_efficiency", {}),
    fig_controlled_noise=("controlled_noise", "degrading", dict(kinds=["missing"], strengths=[0.4])),
    fig_shape_prior=("shape_prior", "shape_prior", {}),
)


def test_tables_and_figures(tmp_path, monkeypatch):
    "With the parameters that they come with. All units are run first, by the same processes; the notebooks find them."
    monkeypatch.chdir(tmp_path)
    folder, units, plans, keys = tmp_path / "runs/experiments", {}, {}, {}
    for name, (out, _, lists) in TABLES.items():
        grid = make_grid(name, tasks=["fetal_head"], preset="smoke", out=f"runs/experiments/{out}", **lists)
        plans[name] = EXPERIMENTS[name].plan(grid)
        units |= {f"{name} {key}": unit for key, unit in plans[name].items()}
    wrong = run_units(units, grid.store, quiet=True)
    assert not any(wrong.values()), wrong
    finished = {p: p.stat().st_mtime_ns for p in grid.store.folder.glob("*.json")}
    assert len(finished) < len(units)  # tables share some
    for name, (out, figure, _) in TABLES.items():
        said = execute(name, tmp_path)
        results = json.loads((folder / out / "results.json").read_text())
        assert (
            "failed:" not in said
            and results["facts"]["failures"] == "none"
            and results["verdicts"]
            and results["tables"]
            and figure in results["figures"]
        ), name
        assert (folder / out / f"{figure}.svg").stat().st_size and str(tmp_path) not in (
            folder / out / "results.md"
        ).read_text()
        assert not any(v.startswith("supported") for v in results["verdicts"])  # one seed supports nothing
        rows = gather_rows(grid, plans[name])
        assert rows["dice"].between(0, 1).all() and rows["seed"].eq(0).all()
        made = json.loads((folder / out / "provenance.json").read_text())
        assert (
            made["command"].startswith(f"aeseg experiment run {name} ")
            and made["grid"]["out"] == f"results/{out}"
            and str(tmp_path) not in json.dumps(made)
        )
        keys[out] = {unit["unit"] for unit in made["units"]}
    assert keys["table2"] & keys["table3"]
    assert keys["table1"] & keys["shape_prior"]
    assert {
        p: p.stat().st_mtime_ns for p in grid.store.folder.glob("*.json")
    } == finished  # nothing was run again, nothing more was needed
    index = write_index(folder).read_text()
    for title in (
        "Pseudo labels: what",
        "Learning from noisy",
        "How many annotations",
        "Known noise",
        "How wrong may",
    ):
        assert title in index


def test_index_escapes_what_results_say(tmp_path):
    "Titles, cells, facts and names of files come from a folder of results, and are text on its page."
    hostile, folder = "<b onclick='x'>&", tmp_path / "results" / "one<i>"
    folder.mkdir(parents=True)
    table = f"| method | {hostile} |\n| --- | --- |\n| {hostile} | 0.5 |\n\n{hostile}"
    facts = {"command": hostile, hostile: hostile}
    results = dict(title=hostile, experiment="table", tables={hostile: table}, verdicts=[hostile])
    (folder / "results.json").write_text(json.dumps(dict(results, figures=["<u>"], facts=facts)))
    (folder / "<u>.png").write_bytes(b"a picture")
    (folder / "<s>.csv").touch()
    page = write_index(folder.parent).read_text()
    tags = set(re.findall(r"<([a-z0-9]+)", page[page.index("<body>") :]))
    assert not tags & {"b", "i", "s", "u", "script"} and "Content-Security-Policy" in page
    assert page.count(html.escape(hostile).replace("&#x27;", "&#39;")) == 10
    assert 'id="one&lt;i&gt;"' in page and 'href="one&lt;i&gt;/&lt;s&gt;.csv"' in page
    assert "data:image/png;base64,YSBwaWN0dXJl" in page
