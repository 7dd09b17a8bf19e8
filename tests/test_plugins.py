"""Losses, quality scores and shape models of another package: by name, in every process, and told apart."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import FAST, ONE_CORE, SCRIPT, SMALL
from run_folders import read_provenance, read_rows
from safetensors.torch import load_file

import aeseg
from aeseg.app.fit import fit
from aeseg.cli import main
from aeseg.core.config import OUTSIDE, config_from_yaml, make_config
from aeseg.core.errors import InputError
from aeseg.core.plugins import PLUGINS, find_plugin, register, used_plugins
from aeseg.core.runs import Run
from aeseg.data.images import read_mask
from aeseg.studies.units import Source, Unit, cache_key, labels_unit

LOSS = "import torch\n\n\ndef outer_loss(p, y, w):\n    return (w * (p - y).abs()).mean()\n"
SCORE = "def outer_score(labels, images, vae):\n    return -labels.mean((1, 2, 3))\n"
PRIOR = """import torch


class Squares:
    def __init__(self, canvas, masks):
        self.canvas = canvas

    def sample(self, n, generator):
        masks = torch.zeros(n, 1, *self.canvas)
        for mask, row in zip(masks, torch.randint(2, 12, (n,), generator=generator).tolist()):
            mask[:, row : row + 12, 8:24] = 1
        return masks
"""
POINTS = dict(losses="outer_loss", quality_scores="outer_score", priors="Squares")
OWN = dict(segmentation_loss="outer_loss", quality_score="outer_score", shape="Squares")


def write_package(folder, name="outer_parts", source=LOSS + SCORE + PRIOR, points=POINTS, version="1.2"):
    "A package as pip would install it into a folder: its module, and the entry points that it declares."
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (folder / f"{name}.py").write_text(source)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    groups = [f"[aeseg.{group}]\n{point} = {name}:{point}\n" for group, point in points.items()]
    (info / "entry_points.txt").write_text("\n".join(groups))
    return folder


def command(*arguments, packages=()):
    "Run `aeseg` in a process of its own that sees some folders of packages."
    path = ":".join(map(str, [*packages, Path(aeseg.__file__).parents[1]]))
    words = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(words, env={**ONE_CORE, "PYTHONPATH": path}, capture_output=True, text=True)


def options(**values):
    return [word for key, value in values.items() for word in ("-p", f"{key}={value}")]


@pytest.fixture(autouse=True)
def forgotten():
    "What a test registers or imports is gone after it."
    yield
    PLUGINS.clear()
    OUTSIDE.clear()
    sys.modules.pop("outer_parts", None)


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return write_package(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def own_run(package, phantoms, tmp_path_factory):
    "A run with all three parts of the package, from the shell."
    out = tmp_path_factory.mktemp("own") / "run"
    done = command("fit", "--images", phantoms, "--out", out, *FAST, *options(**OWN), packages=[package])
    assert (done.returncode, done.stderr) == (0, "")
    return out


# ---------------------------------------------------------------- a run


def test_a_run_notes_where_its_parts_come_from(own_run):
    noted = read_provenance(own_run)["plugins"]
    assert {key: facts["name"] for key, facts in noted.items()} == OWN
    for facts in noted.values():
        assert (facts["module"], facts["package"], facts["version"]) == ("outer_parts", "outer_parts", "1.2")
        assert len(facts["digest"]) == 8


def test_the_parts_are_used(own_run, finished):
    rows = read_rows(own_run / "quality.csv")
    by_score = sorted(rows, key=lambda row: float(row["score"]))
    values = [float(row["outer_score"]) for row in by_score]
    assert values == sorted(values)
    weights = [load_file(run / "model.safetensors") for run in (own_run, finished)]
    assert any((weights[0][name] != weights[1][name]).any() for name in weights[0])


def test_predict_needs_weights_only(own_run, phantoms, tmp_path):
    "The package is not installed there, and what was predicted in training is predicted again."
    done = command("predict", own_run, "--images", phantoms, "--out", tmp_path / "masks")
    assert (done.returncode, done.stderr) == (0, "")
    for path in (own_run / "predictions").iterdir():
        assert (read_mask(tmp_path / "masks" / path.name) == read_mask(path)).all()


def test_training_on_needs_the_package(own_run, phantoms, tmp_path):
    shutil.copytree(own_run, tmp_path / "run")
    config = Run(tmp_path / "run").config  # can be read without the package
    assert config.segmentation.loss == "outer_loss"
    with pytest.raises(InputError, match="package outer_parts 1.2; install it"):
        fit(phantoms, tmp_path / "run", resume=True, quiet=True, config=config)


def test_other_code_of_the_same_name_does_not_continue_a_run(
    own_run, phantoms, tmp_path, monkeypatch, capsys
):
    changed = (LOSS + SCORE + PRIOR).replace("(p - y).abs()", "(p - y) ** 2")
    shutil.copytree(own_run, tmp_path / "run")
    given = ["fit", "--images", str(phantoms), "--out", str(tmp_path / "run"), *FAST, *options(**OWN)]
    monkeypatch.syspath_prepend(write_package(tmp_path / "site", source=changed, version="1.3"))
    assert main([*given, "--resume"]) == 2
    assert "'outer_loss' of outer_parts 1.2, whose code has changed" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "site")
    PLUGINS.clear()
    del sys.modules["outer_parts"]
    write_package(tmp_path / "site", source="# read again\n" + LOSS + SCORE + PRIOR)
    assert main([*given, "--resume"]) == 0


# name: (options, files of the package, words of the message)
MISTAKES = {
    "nearest name": (dict(segmentation_loss="outer_los"), {}, ["did you mean 'outer_loss'?"]),
    "nearest built-in name": (dict(segmentation_loss="cross_entrop"), {}, ["did you mean 'cross_entropy'?"]),
    "name of another kind": (dict(quality_score="outer_loss"), {}, ["quality_score='outer_loss' is unknown"]),
    "arguments": (
        dict(segmentation_loss="outer_loss"),
        dict(source="def outer_loss(p, y):\n    return p.mean()\n"),
        ["called with (p, y, w)", "takes (p, y)"],
    ),
    "no number": (
        dict(segmentation_loss="outer_loss"),
        dict(source="def outer_loss(p, y, w):\n    return p\n"),
        ["outer_loss", "one finite number with a gradient"],
    ),
    "import fails": (
        dict(segmentation_loss="outer_loss"),
        dict(source="import nowhere_at_all\n"),
        ["outer_parts 1.2", "ModuleNotFoundError"],
    ),
    "scores fail": (
        dict(quality_score="outer_score"),
        dict(source="def outer_score(labels, images, vae):\n    return labels\n"),
        ["outer_score", "one finite number for each"],
    ),
    "masks of another size": (
        dict(shape="Squares"),
        dict(source=PRIOR.replace("(n, 1,", "(n, 3,")),
        ["Squares", "(n, 1, height, width)"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence_before_anything_is_written(phantoms, tmp_path, monkeypatch, capsys, name):
    values, files, words = MISTAKES[name]
    monkeypatch.syspath_prepend(write_package(tmp_path / "site", **files))
    given = ["--images", str(phantoms), "--out", str(tmp_path / "run"), *FAST, *options(**values)]
    assert main(["fit", *given]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("aeseg: ") and output.err.count("\n") == 1
    assert all(word in output.err for word in words), output.err
    assert not (tmp_path / "run").exists()


def test_one_name_in_two_packages(package, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(package)
    monkeypatch.syspath_prepend(write_package(tmp_path / "second", name="more_parts"))
    with pytest.raises(InputError, match="a name in more_parts and outer_parts"):
        find_plugin("loss", "outer_loss")


# ---------------------------------------------------------------- nothing is executed by reading


def test_built_in_names_look_nothing_up(monkeypatch):
    def refuse(**_):
        raise AssertionError("entry points were read")

    monkeypatch.setattr("aeseg.core.config.entry_points", refuse)
    monkeypatch.setattr("aeseg.core.plugins.entry_points", refuse)
    assert used_plugins(make_config(segmentation_loss="dice", shape="masks")) == {}


def test_a_run_folder_cannot_name_code(own_run, tmp_path, monkeypatch):
    "Not even with the module of its own beside it."
    shutil.copytree(own_run, tmp_path / "run")
    marker = tmp_path / "executed"
    (tmp_path / "run/outer_parts.py").write_text(f"open({str(marker)!r}, 'w')\n")
    noted = json.loads((tmp_path / "run/provenance.json").read_text())
    noted["plugins"]["segmentation_loss"]["module"] = "outer_parts"
    noted["plugins"] |= {"gan_steps": {"name": "x"}, "nothing": 3, "shape": "Squares"}
    noted["plugins"]["quality_score"] = dict(OWN, name="outer_score")
    (tmp_path / "run/provenance.json").write_text(json.dumps(noted))
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.syspath_prepend(tmp_path / "run")
    with pytest.raises(InputError, match="shape='Squares' is unknown"):  # its entry was taken away
        Run(tmp_path / "run").config  # noqa: B018
    assert not marker.exists()


def test_a_damaged_provenance_hinders_no_built_in_configuration(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/provenance.json").write_text("{")
    assert Run(tmp_path / "run").config == config_from_yaml(finished / "config.yaml")


# ---------------------------------------------------------------- other processes, and names of results


def register_loss(weight):
    def own_loss(p, y, w):
        return (w * (p - y) ** 2).mean() * weight

    return register("loss")(own_loss)


def test_units_with_other_code_have_other_names(package, phantoms, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(package)
    source = Source((str(phantoms),))
    plain = Unit("network", make_config("smoke"), source)
    own = Unit("network", make_config("smoke", segmentation_loss="outer_loss"), source)
    keys = {cache_key(plain), cache_key(own)}
    assert len(keys) == 2
    assert cache_key(own.needs) == cache_key(plain.needs)  # labels do not depend on the loss
    plugin = PLUGINS["loss", "outer_loss"]
    PLUGINS["loss", "outer_loss"] = plugin._replace(digest="00000000")
    assert cache_key(own) not in keys
    shapes = Unit("network", make_config("smoke", shape="Squares"), source)
    before = cache_key(labels_unit(shapes.config, source))
    PLUGINS["prior", "Squares"] = PLUGINS["prior", "Squares"]._replace(digest="00000000")
    assert cache_key(labels_unit(shapes.config, source)) != before


SCRIPT_TEXT = """
from pathlib import Path
import sys

from aeseg.app.fit import fit
from aeseg.core.config import make_config
from aeseg.core.plugins import register
from aeseg.studies.units import Source, Store, Unit, run_units


@register("loss")
def script_loss(p, y, w):
    return (w * (p - y) ** 2).mean()


if __name__ == "__main__":
    images, out, what = sys.argv[1:]
    config = dict(preset="smoke", size=32, vae_steps=2, gan_steps=2, segmentation_steps=2, checkpoint_every=1)
    config |= dict(accelerator="cpu", segmentation_loss=what.split()[0])
    if "units" in what:
        unit = Unit("network", make_config(**config, threads=1), Source((images,)))
        print(run_units(dict(one=unit), Store(Path(out) / "units"), workers=1, quiet=True))
    else:
        fit(images, out, devices=2, quiet=True, **config)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["script_loss units", "outer_loss units", "script_loss"])
def test_other_processes_know_the_loss(package, phantoms, tmp_path, what):
    "Workers of a grid, and the processes of a run on several devices."
    (tmp_path / "script.py").write_text(SCRIPT_TEXT)
    path = f"{package}:{Path(aeseg.__file__).parents[1]}"
    words = [str(Path(SCRIPT).with_name("python")), "script.py", str(phantoms), str(tmp_path / "out"), what]
    environment = {**ONE_CORE, "PYTHONPATH": path}
    done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if "units" in what:
        assert done.stdout.strip() == "{'one': ''}", done.stdout
    runs = [path.parent for path in (tmp_path / "out").rglob("provenance.json")]
    noted = [read_provenance(run).get("plugins", {}) for run in runs]
    names = [facts["segmentation_loss"]["name"] for facts in noted if facts]
    assert names == [what.split()[0]]


def test_a_loss_of_a_function_cannot_go_to_other_processes(phantoms, tmp_path):
    register_loss(1.0)
    with pytest.raises(InputError, match="at the top of a module"):
        fit(phantoms, tmp_path / "run", **SMALL, segmentation_loss="own_loss", devices=2)
    assert not (tmp_path / "run").exists()
