"""The experiment notebooks run through papermill, headless, and an unknown parameter is an error."""
import json
from pathlib import Path

import pandas as pd
import papermill
import pytest

from aeseg.phantoms import write_phantoms
from aeseg.runs import Run

FOLDER = Path(__file__).resolve().parents[1] / "nbs/experiments"
TINY = dict(vae_steps=3, gan_steps=4, checkpoint_every=2, segmentation_steps=2, threads=1)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"): monkeypatch.setenv(name, "1")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("data") / "heads", "fetal_head", count=8, val=2, size=(64, 64))


def execute(name, tmp_path, **parameters):
    "Run an experiment notebook in tmp_path; all it wrote as text."
    nb = papermill.execute_notebook(FOLDER / f"{name}.ipynb", tmp_path / f"{name}.ipynb", parameters,
                                    kernel_name="python3", cwd=tmp_path, progress_bar=False, start_timeout=120)
    return "\n".join(json.dumps(o) for c in nb.cells if c.cell_type == "code" for o in c.outputs)


def test_fit(tmp_path):
    said = execute("01_fit", tmp_path, phantoms=8, mask_generator_dilations="[2, 1]", **TINY)
    run = Run(tmp_path / "runs/experiments/fit")
    assert run.finished
    assert (run.config.preset, run.config.gan_steps, run.config.mask_generator_dilations) == ("smoke", 4, [2, 1])
    for name in ("report.html", "metrics.csv", "quality.csv", "model.safetensors"): assert (run.folder / name).stat().st_size
    assert len(list((run.folder / "pseudo_labels").glob("*.png"))) == 6 and len(list((run.folder / "predictions").glob("*.png"))) == 8
    assert (tmp_path / "runs/experiments/phantoms/fetal_head_8/splits.csv").exists()
    assert said.count("image/jpeg") == 8 and "6 of them for training" in said
    assert run.provenance["command"].startswith("papermill nbs/experiments/01_fit.ipynb") and "-p gan_steps 4" in run.provenance["command"]
    assert str(tmp_path) not in said


@pytest.mark.parametrize("name, parameter, hint", [
    ("01_fit", dict(gan_stpes=3), "unknown parameter 'gan_stpes'; did you mean 'gan_steps'?"),
    ("01_fit", dict(imagse="x"), "did you mean 'images'?"),
    ("02_variants", dict(seed=1), "unknown parameter 'seed'; did you mean 'seeds'?"),
    ("02_variants", dict(variants="full,cylcegan"), "variant='cylcegan' is unknown; did you mean 'cyclegan'?"),
    ("02_variants", dict(gan_steps="many"), "gan_steps='many' is str"),
    ("03_bench", dict(repeat=1), "unknown parameter 'repeat'; did you mean 'repeats'?"),
    ("03_bench", dict(phantoms="many"), "phantoms='many' must be a number"),
    ("03_bench", dict(task="liver"), "there are no phantoms with an ellipse prior of task='liver'"),
])
def test_unknown_parameter(tmp_path, name, parameter, hint):
    with pytest.raises(papermill.PapermillExecutionError) as e: execute(name, tmp_path, **parameter)
    assert "InputError" in str(e.value) and hint in str(e.value)
    assert not (tmp_path / "runs").exists()


def test_variants(tmp_path, images):
    out = tmp_path / "grid"
    (out / "vae_seed3").mkdir(parents=True)
    (out / "vae_seed3/stranger.txt").write_text("not a run")
    parameters = dict(images=str(images), variants="cyclegan,vae", seeds=3, workers=1, out="grid", **TINY)

    said = execute("02_variants", tmp_path, **parameters)
    assert "vae seed 3: failed" in said and "is not a run folder" in said
    table = pd.read_csv(out / "variants.csv").set_index("variant")
    assert table["runs"].to_dict() == dict(cyclegan=1, vae=0) and table["failed"].to_dict() == dict(cyclegan=0, vae=1)
    assert 0 <= table.loc["cyclegan", "pseudo_label_dice_mean"] <= 1 and pd.isna(table.loc["vae", "pseudo_label_dice_mean"])
    config = Run(out / "cyclegan_seed3").config
    assert (config.variant, config.seed, config.rounds, config.gan_steps) == ("cyclegan", 3, 0, 4)
    text = (out / "variants.md").read_text()
    for part in ("| cyclegan | 1 | 0 |", "| vae | 0 | 1 |", "commit: ", "data set: heads (6 train, 2 val)", "seeds: 3", "CPU cores", "-p images DATA/heads", "vae seed 3 failed"): assert part in text, part

    first = (out / "cyclegan_seed3/model.safetensors").stat().st_mtime_ns
    (out / "vae_seed3/stranger.txt").unlink()
    said = execute("02_variants", tmp_path, **parameters)
    assert "cyclegan seed 3: was there already" in said and "vae seed 3: done" in said
    assert (out / "cyclegan_seed3/model.safetensors").stat().st_mtime_ns == first
    table = pd.read_csv(out / "variants.csv").set_index("variant")
    assert table["runs"].to_dict() == dict(cyclegan=1, vae=1) and table["vae_agreement_mean"].notna().all()
    assert (out / "variants.png").stat().st_size


def test_bench(tmp_path):
    said = execute("03_bench", tmp_path, phantoms=6, repeats=1, minutes=.005, size=32, **TINY)
    out = tmp_path / "runs/experiments/bench"
    assert sorted(p.name for p in out.iterdir()) == ["bench.csv", "bench.json", "bench.png"]
    facts = json.loads((out / "bench.json").read_text())
    assert (facts["repeats"], facts["training_images"], facts["config"]["size"], facts["config"]["gan_steps"]) == (1, 6, 32, 4)
    assert facts["command"].startswith("papermill nbs/experiments/03_bench.ipynb") and "-p gan_steps 4" in facts["command"]
    assert set(facts["time_to_quality"]["curves"]) == {"full", "textbook"} and "GAN step, `full` against the textbook" in said and "full: " in said
    assert said.count("image/jpeg") == 1 and str(tmp_path) not in said
