"""The experiment notebooks run through papermill, headless, and an unknown parameter is an error."""

import html
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import papermill
import pytest
from IPython.core.interactiveshell import InteractiveShell
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from aeseg.core.errors import InputError
from aeseg.core.runs import Run
from aeseg.data.phantoms import write_phantoms
from aeseg.studies.plans import EXPERIMENTS, gather_rows, make_grid
from aeseg.studies.results import write_index
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
    outputs = [output for cell in nb.cells if cell.cell_type == "code" for output in cell.outputs]
    return "\n".join(json.dumps(output) for output in outputs)


def assert_contains(text, parts):
    "All parts are in a text; the first missing one is named."
    for part in parts:
        assert part in text, part


def assert_written_by(facts, notebook, option="-p gan_steps 4"):
    "The command of a run or a result repeats the notebook with its options."
    assert facts["command"].startswith(f"papermill nbs/experiments/{notebook}.ipynb")
    assert option in facts["command"]


def modified(folder, pattern="*"):
    "When each file was written; there is at least one."
    times = {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}
    assert times, f"no {pattern} in {folder}"
    return times


class Shell(InteractiveShell):
    def enable_gui(self, gui=None):
        "There is none."


def first_error(name, **parameters):
    """What the cells raise, with parameters as papermill writes them.

    They run one after the other in this process, because a kernel would take seconds to start."""
    shell, notebook = Shell(), load_notebook_node(str(FOLDER / f"{name}.ipynb"))
    for cell in parameterize_notebook(notebook, parameters).cells:
        if cell.cell_type == "code":
            error = shell.run_cell(cell.source, store_history=True).error_in_exec
            if error:
                return error


@pytest.mark.slow
def test_fit(tmp_path):
    said = execute("one_data_set", tmp_path, phantoms=8, mask_generator_dilations="[2, 1]", **TINY)
    run = Run(tmp_path / "runs/experiments/fit")
    assert run.finished
    given = dict(preset="smoke", gan_steps=4, mask_generator_dilations=[2, 1])
    assert {key: run.config[key] for key in given} == given
    for name in ("report.html", "metrics.csv", "quality.csv", "model.safetensors"):
        assert (run.folder / name).stat().st_size
    assert len(list((run.folder / "pseudo_labels").glob("*.png"))) == 6
    assert len(list((run.folder / "predictions").glob("*.png"))) == 8
    assert (tmp_path / "runs/experiments/phantoms/fetal_head_8_2/splits.csv").exists()
    assert said.count("image/jpeg") == 8
    assert "6 of them for training" in said
    assert_written_by(run.provenance, "one_data_set")
    assert str(tmp_path) not in said


@pytest.mark.parametrize(
    "name, parameter, hint",
    [
        ("one_data_set", dict(imagse="x"), "did you mean 'images'?"),
        ("one_data_set", dict(keep_area=True), "did you mean 'calibrate_area'?"),
        ("gan_variants", dict(seed=1), "unknown parameter 'seed'; did you mean 'seeds'?"),
        (
            "gan_variants",
            dict(variants="full,cylcegan"),
            "variant='cylcegan' is unknown; did you mean 'cyclegan'?",
        ),
        ("gan_variants", dict(gan_steps="many"), "gan_steps='many' is str"),
        ("gan_variants", dict(average_decay=0.9), "did you mean 'ema_decay'?"),
        ("speed", dict(disturbance=0.1), "did you mean 'perturbation'?"),
        ("speed", dict(repeat=1), "unknown parameter 'repeat'; did you mean 'repeats'?"),
        ("speed", dict(phantoms="many"), "phantoms='many' must be a number"),
        ("speed", dict(task="liver"), "there are no phantoms with an ellipse prior of task='liver'"),
        ("four_tasks", dict(second_look=0.1), "did you mean 'relabel_fraction'?"),
        ("four_tasks", dict(task="lung"), "unknown parameter 'task'; did you mean 'tasks'?"),
        ("four_tasks", dict(tasks="lung,livre"), "'livre' is unknown; did you mean 'liver'?"),
        ("four_tasks", dict(supervised="no"), "supervised='no' must be True or False"),
        ("own_data", dict(imagse="x"), "did you mean 'images'?"),
        ("review_labels", dict(reject=0.1), "unknown parameter 'reject'; did you mean 'rejected'?"),
        ("review_labels", dict(phantoms="many"), "phantoms='many' must be a number"),
        ("four_tasks", dict(data="nowhere"), "nowhere/hc18: no such folder"),
        ("robustness", dict(run="x"), "unknown parameter 'run'; did you mean 'runs'?"),
        ("robustness", dict(phantoms="many"), "phantoms='many' must be a whole number from 8"),
        ("robustness", dict(images="x"), "images='x' is given without runs"),
        ("robustness", dict(runs="nowhere"), "nowhere is not a run folder"),
    ],
)
def test_wrong_parameter(tmp_path, monkeypatch, name, parameter, hint):
    monkeypatch.chdir(tmp_path)
    error = first_error(name, **parameter)
    assert isinstance(error, InputError)
    assert hint in str(error)
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_wrong_parameter_in_papermill(tmp_path):
    with pytest.raises(papermill.PapermillExecutionError) as e:
        execute("one_data_set", tmp_path, gan_stpes=3)
    assert_contains(str(e.value), ["InputError", "unknown parameter 'gan_stpes'; did you mean 'gan_steps'?"])
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_variants(tmp_path, images):
    out = tmp_path / "grid"
    (out / "vae_seed3").mkdir(parents=True)
    (out / "vae_seed3/stranger.txt").write_text("not a run")
    parameters = dict(images=str(images), variants="cyclegan,vae", seeds=3, workers=1, out="grid", **TINY)

    said = execute("gan_variants", tmp_path, **parameters)
    assert_contains(said, ["vae seed 3: failed", "is not a run folder"])
    table = pd.read_csv(out / "variants.csv").set_index("variant")
    assert table["runs"].to_dict() == dict(cyclegan=1, vae=0)
    assert table["failed"].to_dict() == dict(cyclegan=0, vae=1)
    dice = table["pseudo_label_dice_mean"]
    assert 0 <= dice["cyclegan"] <= 1
    assert pd.isna(dice["vae"])
    given, config = (
        dict(variant="cyclegan", seed=3, rounds=0, gan_steps=4),
        Run(out / "cyclegan_seed3").config,
    )
    assert {key: config[key] for key in given} == given
    parts = ["| cyclegan | 1 | 0 |", "| vae | 0 | 1 |", "commit: ", "data set: heads (6 train, 2 val)"]
    parts += ["seeds: 3", "CPU cores", "-p images DATA/heads", "vae seed 3 failed"]
    assert_contains((out / "variants.md").read_text(), parts)

    first = modified(out, "cyclegan_seed3/model.safetensors")
    (out / "vae_seed3/stranger.txt").unlink()
    said = execute("gan_variants", tmp_path, **parameters)
    assert_contains(said, ["cyclegan seed 3: was finished before", "vae seed 3: done"])
    assert modified(out, "cyclegan_seed3/model.safetensors") == first
    table = pd.read_csv(out / "variants.csv").set_index("variant")
    assert table["runs"].to_dict() == dict(cyclegan=1, vae=1)
    assert table["vae_agreement_mean"].notna().all()
    assert (out / "variants.png").stat().st_size


@pytest.mark.slow
def test_bench(tmp_path):
    said = execute("speed", tmp_path, phantoms=6, repeats=1, minutes=0.005, size=32, **TINY)
    out = tmp_path / "runs/experiments/bench"
    assert sorted(p.name for p in out.iterdir()) == ["bench.csv", "bench.json", "bench.png"]
    facts = json.loads((out / "bench.json").read_text())
    assert (facts["repeats"], facts["training_images"]) == (1, 6)
    assert (facts["config"]["size"], facts["config"]["gan_steps"]) == (32, 4)
    assert_written_by(facts, "speed")
    assert set(facts["time_to_quality"]["curves"]) == {"full", "textbook"}
    assert_contains(said, ["GAN step, `full` against the textbook", "full: "])
    assert said.count("image/jpeg") == 1
    assert str(tmp_path) not in said


@pytest.mark.slow
def test_tasks(tmp_path):
    out = tmp_path / "grid"
    (out / "lung_plus_seed3").mkdir(parents=True)
    (out / "lung_plus_seed3/stranger.txt").write_text("not a run")
    parameters = dict(tasks="fetal_head,lung", seeds=3, phantoms=8, out="grid", size=32, **TINY)

    said = execute("four_tasks", tmp_path, **parameters)
    assert_contains(said, ["lung plus seed 3: failed", "is not a run folder", "lung supervised seed 3: done"])
    table = pd.read_csv(out / "tasks.csv").set_index("task")
    assert table["runs"].to_dict() == {"fetal head": 1, "lung": 0}
    assert table["failed"].to_dict() == {"fetal head": 0, "lung": 1}
    head, lung = table.loc["fetal head"], table.loc["lung"]
    for name in ("gan_label", "pseudo_label", "final", "supervised", "supervised_refined"):
        assert 0 < head[f"{name}_dice_mean"] < 1, name
        assert head[f"{name}_dice_spread"] == 0, name
    best = head[["supervised_dice_mean", "supervised_refined_dice_mean"]].max()
    difference = 100 * (head["final_dice_mean"] - best)
    assert head["difference_points"] == pytest.approx(difference, abs=0.01)
    assert lung["supervised_dice_mean"] > 0
    assert pd.isna(lung["difference_points"])
    parts = ["| fetal head | plus | 1 | 0 |", "| lung | plus | 0 | 1 |", "-p out runs/grid", "commit: "]
    parts += ["seeds: 3", "fetal_head_8_2: 6 train, 2 val; auxiliary masks: ellipses", "lung_40_auxiliary"]
    assert_contains((out / "tasks.md").read_text(), [*parts, "lung plus seed 3 failed"])

    run = Run(out / "lung_supervised_seed3")  # the usual loss, on every human mask of the training split
    last = run.read_log("supervised")[-1]
    assert (run.config["segmentation_steps"], last["step"], run.provenance["training_images"]) == (2, 2, 6)
    assert last["loss"] > 1  # Dice loss alone is below 1
    metrics = pd.read_csv(run.folder / "metrics.csv")
    assert metrics["split"].value_counts().to_dict() == dict(train=6, val=2)
    dice = metrics[metrics["split"] == "val"]["dice"].mean()
    assert dice == pytest.approx(lung["supervised_dice_mean"], abs=1e-4)

    first = modified(run.folder, "model.safetensors")
    (out / "lung_plus_seed3/stranger.txt").unlink()
    said = execute("four_tasks", tmp_path, **parameters)
    for name in ("fetal_head plus", "lung supervised"):
        assert f"{name} seed 3: was finished before" in said
    assert "lung plus seed 3: done" in said
    assert modified(run.folder, "model.safetensors") == first
    assert pd.read_csv(out / "tasks.csv")["difference_points"].notna().all()
    assert (out / "tasks.png").stat().st_size


def write_eyes(folder):
    "Folders named as the public data sets of optic discs, with phantoms of two kinds of eyes in the second."
    for name, prefix, count, val in (
        ("drishti_gs_roi", "drishti", 3, 1),
        ("ichallenge_pm_roi", "N", 3, 1),
        ("ichallenge_pm_roi", "P", 4, 2),
    ):
        made = write_phantoms(folder / "made" / prefix, "optic_disc", count, val, size=(48, 48))
        splits = folder / "sets" / name / "splits.csv"
        for part in ("images", "masks"):
            (splits.parent / part).mkdir(parents=True, exist_ok=True)
            for path in (made / part).iterdir():
                path.rename(splits.parent / part / path.name.replace("optic_disc_", prefix))
        rows = (made / "splits.csv").read_text().replace("optic_disc_", prefix).split("\n", 1)
        splits.write_text(splits.read_text() + rows[1] if splits.exists() else "\n".join(rows))
    return folder / "sets"


@pytest.mark.slow
def test_tasks_data(tmp_path):
    "Training sees only eyes without pathology; the networks segment the others, too."
    data = str(write_eyes(tmp_path))
    values = dict(tasks="optic_disc", variants="cyclegan", out="eyes", rounds=0, size=32)
    said = execute("four_tasks", tmp_path, data=data, **values, **TINY)
    out = tmp_path / "eyes"
    for kind in ("cyclegan", "supervised", "supervised_refined"):
        names = {p.stem for p in (out / f"optic_disc_{kind}_seed0/predictions").iterdir()}
        assert names == {f"{prefix}{k:04}" for prefix in ("drishti", "N") for k in range(3)}
        assert {p.stem for p in (out / f"other/optic_disc_{kind}_seed0").iterdir()} == {"P0002", "P0003"}
    runs = pd.read_csv(out / "runs.csv").set_index("variant")
    assert (runs["other_images"] == 2).all()
    assert runs[["other_dice", "other_shift_x", "other_shift_y"]].notna().all(axis=None)
    ours = runs.loc["cyclegan"]
    assert ours["supervised_other_dice"] == runs.loc["supervised", "other_dice"]
    assert pd.isna(ours["gan_label_dice"])
    text = (out / "tasks.md").read_text()
    parts = ["| optic disc, pathological eyes | cyclegan | 1 |", "-p data DATA -p tasks"]
    parts += ["drishti_gs_roi, ichallenge_pm_roi (N*, drishti*): 4 train, 2 val"]
    assert_contains(text, [*parts, "| pathological eyes (2) | supervised | 0 |"])
    assert str(tmp_path) not in said + text


@pytest.mark.slow
def test_own_data(tmp_path):
    "DICOM files and NIfTI volumes from the folder to the masks."
    said = execute("own_data", tmp_path, steps=2)
    out = tmp_path / "runs/experiments/own"
    heads, livers = Run(out / "runs/heads"), Run(out / "runs/livers")
    assert heads.finished
    assert livers.finished
    assert heads.config["ellipse_axis_ratio"] == [0.68, 0.88]
    assert len(list((out / "masks").glob("*.png"))) == 24
    volumes = sorted(path.name for path in (out / "liver_masks").iterdir())
    assert volumes == [f"liver_{number}.nii.gz" for number in range(3)]
    assert_contains(said, ["same affine: True", "12", "assd_mm"])
    assert str(tmp_path) not in said


@pytest.mark.slow
def test_review(tmp_path):
    "Seconds long: nothing is learned, but the decisions act."
    said = execute("review_labels", tmp_path, phantoms=12, segmentation_steps=2)
    run = Run(tmp_path / "runs/experiments/review/noisy")
    rows = pd.read_csv(run.folder / "quality.csv").query("round == 2")
    assert run.provenance["reviews"][0]["rejected"] == 2
    assert (~rows["kept"]).sum() == 2
    assert said.count("image/jpeg") == 3
    assert str(tmp_path) not in said


@pytest.mark.slow
def test_robustness(tmp_path):
    "First the run on phantoms, then that run and a copy of it, each on folders of its own."
    out, parts = tmp_path / "runs/experiments/robustness", ["robustness.csv", "robustness.md"]
    said = execute("robustness", tmp_path)
    assert Run(out / "phantom_run").finished
    assert sorted(path.name for path in out.iterdir() if path.is_file()) == [*parts, "robustness.png"]
    first = pd.read_csv(out / "robustness.csv")
    assert first["dice"].between(0, 1).all()
    assert first["obeys"].between(0, 1).all()
    assert_contains(said, ["| phantom_run | clean | 3 |", *parts])
    assert said.count("image/png") == 1

    shutil.copytree(out / "phantom_run", tmp_path / "copy")
    (tmp_path / "copy/refinement.json").unlink()  # as a run of an earlier version: it has no anatomy
    given = dict(runs=[str(out / "phantom_run"), str(tmp_path / "copy")], out="both")
    heads = str(out / "phantoms")
    again = execute("robustness", tmp_path, images=[[heads], [heads]], **given)
    both = pd.read_csv(tmp_path / "both/robustness.csv")
    same = both[both["run"] == "phantom_run"].astype(dict(obeys=float))
    assert same.equals(first.astype(dict(obeys=float)))
    assert both[both["run"] == "copy"]["obeys"].isna().all()
    text = (tmp_path / "both/robustness.md").read_text()
    command = ['images: [["DATA/phantoms"], ["DATA/phantoms"]]', 'runs: ["runs/phantom_run", "runs/copy"]']
    assert_contains(text, command)
    assert_contains(text, ["| copy | clean | 3 |", "| – |", "images of copy: phantoms", "commit: "])
    assert str(tmp_path) not in said + again + text


TABLES = dict(  # notebook -> name of its results, a figure, and its own lists
    table1_pseudo_labels=("table1", "dice_over_training", {}),
    table2_noise_robust=("table2", "quality_and_dice", {}),
    table3_annotation_efficiency=("table3", "annotation_efficiency", {}),
    table4_parts=("table4", "gains", {}),
    fig_controlled_noise=("controlled_noise", "degrading", dict(kinds=["missing"], strengths=[0.4])),
    fig_shape_prior=("shape_prior", "shape_prior", {}),
)


def check_results(folder, name, figure, root):
    "The files of a table or figure; its provenance."
    results = json.loads((folder / "results.json").read_text())
    assert results["facts"]["failures"] == "none", name
    assert results["verdicts"] and results["tables"], name
    assert figure in results["figures"], name
    assert not any(v.startswith("supported") for v in results["verdicts"])  # one seed supports nothing
    assert results["claims"].startswith("| claim | ") and "**" not in results["claims"]
    assert (folder / f"{figure}.svg").stat().st_size
    assert str(root) not in (folder / "results.md").read_text()
    made = json.loads((folder / "provenance.json").read_text())
    assert made["command"].startswith(f"aeseg experiment run {name} ")
    assert made["grid"]["out"] == f"results/{folder.name}"
    assert str(root) not in json.dumps(made)
    return made


@pytest.mark.slow
def test_tables_and_figures(tmp_path, monkeypatch):
    "With their own parameters. All units are run first, by the same processes; the notebooks read them."
    monkeypatch.chdir(tmp_path)
    folder, units, plans, keys = tmp_path / "runs/experiments", {}, {}, {}
    for name, (out, _, lists) in TABLES.items():
        grid = make_grid(name, tasks=["fetal_head"], preset="smoke", out=f"runs/experiments/{out}", **lists)
        plans[name] = EXPERIMENTS[name].plan(grid)
        units |= {f"{name} {key}": unit for key, unit in plans[name].items()}
    failures = run_units(units, grid.store, quiet=True)
    assert not any(failures.values()), failures
    finished = modified(grid.store.folder, "*.json")
    assert len(finished) < len(units)  # tables share some
    for name, (out, figure, _) in TABLES.items():
        said = execute(name, tmp_path)
        assert "failed:" not in said, name
        made = check_results(folder / out, name, figure, tmp_path)
        rows = gather_rows(grid, plans[name])
        assert rows["dice"].between(0, 1).all()
        assert rows["seed"].eq(0).all()
        keys[out] = {unit["unit"] for unit in made["units"]}
    assert keys["table2"] & keys["table3"]
    assert keys["table1"] & keys["shape_prior"]
    # nothing was run again, nothing more was needed
    assert modified(grid.store.folder, "*.json") == finished
    titles = ["Pseudo labels: what", "Learning from noisy", "How many annotations", "What each part"]
    assert_contains(write_index(folder).read_text(), [*titles, "Known noise", "How wrong may"])


def test_index_escapes_what_results_say(tmp_path):
    "Titles, cells, facts and names of files come from a folder of results, and are text on its page."
    hostile, folder = "<b onclick='x'>&", tmp_path / "results" / "one<i>"
    folder.mkdir(parents=True)
    table = f"| method | {hostile} |\n| --- | --- |\n| {hostile} | 0.5 |\n\n{hostile}"
    facts = {"command": hostile, hostile: hostile}
    results = dict(title=hostile, experiment="table", tables={hostile: table}, claims=table)
    results.update(verdicts=[hostile], figures=["<u>"], facts=facts)
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "<u>.png").write_bytes(b"a picture")
    (folder / "<s>.csv").touch()
    page = write_index(folder.parent).read_text()
    tags = set(re.findall(r"<([a-z0-9]+)", page[page.index("<body>") :]))
    assert not tags & {"b", "i", "s", "u", "script"} and "Content-Security-Policy" in page
    assert page.count(html.escape(hostile).replace("&#x27;", "&#39;")) == 13
    assert 'id="one&lt;i&gt;"' in page and 'href="one&lt;i&gt;/&lt;s&gt;.csv"' in page
    assert "data:image/png;base64,YSBwaWN0dXJl" in page
