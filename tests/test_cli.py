"""The `aeseg` command: its help, a round trip, what it says about bad input, interruption and repetition."""

import json
import os
import re
import shlex
import shutil
import signal
import time
from html.parser import HTMLParser

import numpy as np
import pytest
from commands import FAST, ROOT, SMALL, TINY, refused, run_script, succeeded, wait_for
from PIL import Image
from run_folders import learned, names, read_log, read_provenance, read_rows, same, snapshot, unfinish

import aeseg.app.stages as stages
from aeseg.app.fit import fit
from aeseg.cli import make_parser
from aeseg.core.config import config_from_yaml
from aeseg.data.images import read_image, read_mask, write_mask

COMMANDS = (
    "fit",
    "predict",
    "evaluate",
    "check",
    "demo",
    "bench",
    "experiment",
    "export",
    "inspect",
    "new",
    "prepare",
    "split",
)
IDS = [f"fetal_head_{k:04d}" for k in range(6)]
TRAIN, VAL = IDS[:4], IDS[4:]


def image(data, k):
    "The file of image number k."
    return data / "images" / f"{IDS[k]}.png"


def mask(data, k):
    "The file of mask number k."
    return data / "masks" / f"{IDS[k]}.png"


def pngs(ids):
    return [f"{i}.png" for i in ids]


def save(path, array):
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def colour(path):
    "Give a gray image three channels."
    save(path, np.dstack([read_image(path)] * 3))


def cut(path, size=900):
    "Leave the first bytes of a file."
    path.write_bytes(path.read_bytes()[:size])


# ---------------------------------------------------------------- help


def test_help_is_fast():
    seconds = []
    while not seconds or min(seconds) >= 0.5 and len(seconds) < 8:  # the machine may be busy
        start = time.perf_counter()
        done = run_script("--help", check=True)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5, seconds
    assert set(re.findall(r"^ {4}(\w+) +\w+", done.stdout, re.M)) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_that_can_be_given(aeseg, name):
    result = succeeded(aeseg(name, "--help"))
    example = re.search(r"^example:\n +(aeseg .+)$", result.out, re.M)
    assert example, result
    words = shlex.split(example[1])
    assert words[1] == name
    assert make_parser().parse_args(words[1:])


# ---------------------------------------------------------------- round trip


def test_files_of_a_run(finished):
    assert names(finished) == [
        ".lock",
        "checkpoints",
        "config.yaml",
        "log.jsonl",
        "metrics.csv",
        "model.safetensors",
        "predictions",
        "provenance.json",
        "pseudo_labels",
        "quality.csv",
        "report.html",
        "rounds",
    ]
    assert {"gan.pt", "vae.pt", "round_1.pt", "labels_000045.npy"} <= set(names(finished / "checkpoints"))
    assert names(finished / "rounds") == ["round_1"]
    assert names(finished / "rounds/round_1/labels") == pngs(TRAIN)


def test_record_of_a_run(finished):
    config = config_from_yaml(finished / "config.yaml")
    assert {key: config[key] for key in TINY} == TINY
    assert config.run.preset == "smoke"
    facts = read_provenance(finished)
    assert {"started", "finished", "commit", "torch", "data"} <= set(facts)
    assert shlex.split(facts["command"])[:2] == ["aeseg", "fit"]
    assert "-p gan_steps=45" in facts["command"]
    assert (facts["images"], facts["training_images"]) == (6, 4)
    rows = read_log(finished)
    assert {r["stage"] for r in rows} == {"vae", "gan", "checkpoint", "round_1", "rounds"}
    assert [r["step"] for r in rows if r["stage"] == "gan"] == [10, 20, 30, 40, 45]


@pytest.mark.parametrize("folder, ids", [("pseudo_labels", TRAIN), ("predictions", IDS)])
def test_masks_have_the_size_and_name_of_their_image(finished, folder, ids):
    assert names(finished / folder) == pngs(ids)
    for path in (finished / folder).iterdir():
        assert read_mask(path).shape == (40, 60)


def test_table_of_quality(finished):
    rows = read_rows(finished / "quality.csv")
    assert [r["id"] for r in rows] == TRAIN
    assert sum(r["kept"] == "True" for r in rows) == 3  # 0.7 of 4


def test_table_of_metrics(finished):
    rows = read_rows(finished / "metrics.csv")
    expected = [("pseudo_label", i) for i in TRAIN] + [("final", i) for i in IDS]
    assert [(r["stage"], r["id"]) for r in rows] == expected
    for row in rows:
        assert row["split"] == ("train" if row["id"] in TRAIN else "val")
        assert 0 <= float(row["dice"]) <= 1


class Links(HTMLParser):
    "What a page loads and where it links to."

    def __init__(self, text):
        super().__init__()
        self.tags, self.loaded, self.links = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("src", "srcset", "data", "poster") or name in ("href", "xlink:href") and tag != "a":
                self.loaded.append(value)
            elif name == "href":
                self.links.append(value)


def test_report_is_self_contained(finished):
    text = (finished / "report.html").read_text()
    page = Links(text)
    assert not page.tags & {"script", "link", "iframe", "object", "embed"}
    assert "@import" not in text
    assert "url(" not in text
    assert len(page.loaded) > 5
    assert all(re.match("data:image/|#", value) for value in page.loaded)
    assert all(value.startswith("#") or (finished / value).exists() for value in page.links), page.links
    for i in (TRAIN[0], VAL[0]):
        assert i in text


def test_export(aeseg, finished, phantoms, tmp_path):
    "One file, alone, gives the masks of the run."
    import torch

    # in single precision: a processor with bfloat16 rounds more coarsely
    run, masks = shutil.copytree(finished, tmp_path / "run"), tmp_path / "masks"
    config = (run / "config.yaml").read_text()
    assert "precision: auto" in config
    (run / "config.yaml").write_text(config.replace("precision: auto", "precision: 32-true"))
    succeeded(aeseg("predict", run, "--images", phantoms / "images", "--out", masks))
    result = succeeded(aeseg("export", run, "--out", tmp_path / "model.pt"))
    assert str(tmp_path / "model.pt") in result.out
    model = torch.jit.load(str(tmp_path / "model.pt"))
    for i in IDS:
        p = model(torch.tensor(read_image(phantoms / f"images/{i}.png"))).numpy()
        clear = abs(p - 0.5) > 1e-4
        assert p.shape == (40, 60)
        assert clear.mean() > 0.9
        assert ((p > 0.5) == read_mask(masks / f"{i}.png"))[clear].all()


def test_predict_gives_the_masks_of_the_run(aeseg, finished, phantoms, tmp_path):
    out = tmp_path / "masks"
    result = succeeded(aeseg("predict", finished, "--images", phantoms / "images", "--out", out))
    assert str(out) in result.out
    assert names(out) == pngs(IDS)
    for name in pngs(IDS):
        assert (out / name).read_bytes() == (finished / "predictions" / name).read_bytes()


def test_evaluate_gives_the_numbers_of_the_run(aeseg, finished, phantoms, tmp_path):
    (tmp_path / "spacing.csv").write_text("id,spacing\n" + "".join(f"{i},0.5\n" for i in IDS))
    masks = ["--pred", finished / "predictions", "--truth", phantoms]
    command = ["evaluate", *masks, "--spacing", "spacing.csv", "--out", "scores.csv"]
    result = succeeded(aeseg(*command, cwd=tmp_path))
    assert re.search(r"^dice +6 ", result.out, re.M)
    rows = read_rows(tmp_path / "scores.csv")
    assert [r["id"] for r in rows] == IDS
    of_run = {r["id"]: r for r in read_rows(finished / "metrics.csv") if r["stage"] == "final"}
    for row in rows:
        assert row["dice"] == of_run[row["id"]]["dice"]
        assert float(row["assd_mm"]) == pytest.approx(float(row["assd_px"]) / 2, rel=1e-5)


def test_check_of_a_sound_data_set(aeseg, phantoms):
    assert succeeded(aeseg("check", phantoms)).out.endswith("\nok\n")


BENCH = [
    "bench",
    "--quick",
    "--accelerator",
    "cpu",
    "-p",
    "size=32",
    "-p",
    "vae_steps=2",
    "-p",
    "gan_steps=4",
]


def bench(aeseg, folder, *options):
    "Run the benchmark: (its result, facts, rows by name)."
    result = succeeded(aeseg(*BENCH, "--out", "numbers", *options, cwd=folder))
    out = folder / "numbers"
    assert names(out) == ["bench.csv", "bench.json", "bench.png"]
    facts = json.loads((out / "bench.json").read_text())
    assert shlex.split(facts["command"])[:3] == ["aeseg", "bench", "--quick"]
    expected = {"commit", "torch", "threads", "processor", "load_average", "flops"}
    assert expected <= set(facts)
    assert {len(seconds) for seconds in facts["seconds"].values()} == {facts["repeats"]}
    rows = {r["name"]: r for r in read_rows(out / "bench.csv")}
    assert float(rows["textbook"]["median"]) > 0
    assert rows["GAN step, `cyclegan` against the textbook"]["target"] == ">= 2"
    for name in rows:
        assert name in result.out
    return result, facts


@pytest.mark.slow
def test_bench_on_phantoms(aeseg, tmp_path):
    result, facts = bench(aeseg, tmp_path, "--repeats", "1")
    assert facts["repeats"] == 1
    assert facts["time_to_quality"] is None
    assert "Dice" not in result.out


@pytest.mark.slow
def test_bench_on_images_with_true_masks(aeseg, phantoms, tmp_path):
    "Time to quality as well."
    result, facts = bench(
        aeseg, tmp_path, "--images", phantoms, "--minutes", "0.005", "--precision", "32-true"
    )
    assert facts["repeats"] == 3
    assert (facts["precision"], facts["training_images"], facts["config"]["size"]) == ("32-true", 4, 32)
    assert str(phantoms.parent) not in json.dumps(facts["data"])
    assert "Dice" in result.out
    curves = facts["time_to_quality"]["curves"]
    assert [p["step"] for p in curves["full"]] == [1, 2, 3, 4]
    for curve in curves.values():
        assert all(0 <= p["dice"] <= 1 for p in curve)


# ---------------------------------------------------------------- bad input


@pytest.fixture
def place(phantoms, tmp_path):
    "A folder with a copy of the phantoms; commands run in it."
    shutil.copytree(phantoms, tmp_path / "data")
    return tmp_path


# Each damage is a function of this folder.


def nothing(place):
    "No damage."


def cut_image(place):
    cut(image(place / "data", 1))


def colour_image(place):
    colour(image(place / "data", 1))


def two_bad_images(place):
    cut(image(place / "data", 1))
    colour(image(place / "data", 3))


def auxiliary_masks(place):
    for k in range(2):
        write_mask(place / f"aux/masks/a{k}.png", read_mask(mask(place / "data", k)))


def gray_auxiliary_mask(place):
    auxiliary_masks(place)
    save(place / "aux/masks/a1.png", read_image(image(place / "data", 1)))


def read_only(place):
    (place / "locked").mkdir()
    (place / "locked").chmod(0o555)


def empty_folder(place):
    (place / "empty").mkdir()


def one_training_image(place):
    rows = [f"{i},{'train' if i == IDS[0] else 'val'}" for i in IDS]
    (place / "data/splits.csv").write_text("\n".join(["id,split", *rows, ""]))


def other_columns(place):
    (place / "s.csv").write_text("a,b\n1,2\n")


def out_is_a_file(place):
    (place / "out").write_text("mine")


def notes_in_out(place):
    (place / "out").mkdir()
    (place / "out/notes.txt").write_text("mine")


def project_in_out(place):
    "A folder of another program that happens to hold a config.yaml."
    (place / "out").mkdir()
    (place / "out/config.yaml").write_text("learning_rate: 3\n")
    (place / "out/thesis.tex").write_text("years of work")


# name: (damage, options besides --images data --out out, words of the sentence)
BAD_FIT = {
    "empty folder": (empty_folder, ["--images", "empty"], ["empty", ".png"]),
    "no such folder": (nothing, ["--images", "dta"], ["dta", "no such folder"]),
    "cut PNG": (cut_image, [], ["data/images/fetal_head_0001.png", "--skip-bad"]),
    "two bad files": (two_bad_images, [], ["fetal_head_0001.png", "1 more"]),
    "colour among gray": (
        colour_image,
        [],
        ["data/images/fetal_head_0001.png", "3 channel", "1 is expected"],
    ),
    "gray auxiliary mask": (
        gray_auxiliary_mask,
        ["--aux-masks", "aux"],
        ["aux/masks/a1.png", "0 and 255"],
    ),
    "masks without --aux-masks": (nothing, ["--shape", "masks"], ["shape=masks", "--aux-masks"]),
    "statistical without --aux-masks": (
        nothing,
        ["--shape", "statistical"],
        ["shape=statistical", "--aux-masks"],
    ),
    "no ellipse prior": (
        nothing,
        ["--task", "lung"],
        ["'lung'", "fetal_head", "optic_disc", "--aux-masks"],
    ),
    "unknown key": (nothing, ["-p", "gan_stepps=3"], ["'gan_stepps'", "'gan_steps'"]),
    "wrong type": (
        nothing,
        ["-p", "gan_steps=many"],
        ["gan_steps='many'", "int", "training steps of the GAN"],
    ),
    "fraction": (nothing, ["-p", "rounds=1.5"], ["rounds='1.5'", "int"]),
    "out of range": (nothing, ["-p", "keep_fraction=2"], ["keep_fraction=2.0", "at most 1"]),
    "unknown word": (nothing, ["-p", "vae_code=means"], ["vae_code='means'", "'mean'"]),
    "no value": (nothing, ["-p", "gan_steps"], ["'gan_steps'", "key=value"]),
    "given twice": (nothing, ["--seed", "1", "-p", "seed=2"], ["seed", "twice"]),
    "no configuration": (nothing, ["--config", "none.yaml"], ["none.yaml"]),
    "one training image": (one_training_image, [], ["data", "1 training image", "at least 2", "splits.csv"]),
    "no true masks": (nothing, ["--truth", "none_here"], ["none_here", "no such folder"]),
    "spacing": (other_columns, ["--spacing", "s.csv"], ["s.csv", "spacing", "a, b"]),
    "read-only out": (read_only, ["--out", "locked"], ["locked is read-only", "--out"]),
    "out below read-only": (read_only, ["--out", "locked/a/b"], ["locked is read-only", "--out"]),
    "out is a file": (out_is_a_file, [], ["out is a file", "--out"]),
    "foreign files": (notes_in_out, [], ["out is not empty", "--out"]),
    "foreign files, --overwrite": (notes_in_out, ["--overwrite"], ["out", "--out"]),
    "foreign files, --resume": (notes_in_out, ["--resume"], ["out is not empty", "--out"]),
    "another program's config.yaml": (project_in_out, ["--overwrite"], ["out", "--out"]),
    "own masks as auxiliary ones": (nothing, ["--aux-masks", "data"], ["data", "--aux-masks"]),
}


@pytest.mark.parametrize("name", BAD_FIT)
def test_fit_refuses(aeseg, place, name):
    damage, options, words = BAD_FIT[name]
    damage(place)
    before = snapshot(place)
    defaults = {"--images": "data", "--out": "out"}
    given = [word for key, value in defaults.items() if key not in options for word in (key, value)]
    refused(aeseg("fit", *given, *FAST, *options, cwd=place), *words)
    assert snapshot(place) == before  # nothing written, nothing lost


def test_the_script_itself_refuses(place):
    "The same by a process of its own, without the server of the fixture."
    done = run_script("fit", "--images", "data", "--out", "out", "-p", "gan_stepps=3", cwd=place)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch("aeseg: .*gan_steps.*\n", done.stderr)
    assert names(place) == ["data"]


@pytest.mark.slow
def test_fit_leaves_bad_files_out_and_names_them(aeseg, place):
    cut(image(place / "data", 1))
    colour(image(place / "data", 4))
    result = succeeded(aeseg("fit", "--images", "data", "--out", "out", *FAST, "--skip-bad", cwd=place))
    for name in ("fetal_head_0001.png", "fetal_head_0004.png"):
        assert re.search(f"skipped: .*{name}", result.out)
    assert names(place / "out/predictions") == pngs(IDS[k] for k in (0, 2, 3, 5))
    assert len(read_provenance(place / "out")["skipped"]) == 2


def test_predict_leaves_bad_files_out_and_names_them(aeseg, finished, place):
    cut_image(place)
    result = aeseg("predict", finished, "--images", "data", "--out", "m", "--skip-bad", cwd=place)
    assert result.code == 0
    assert names(place / "m") == pngs(IDS[k] for k in (0, 2, 3, 4, 5))
    assert "fetal_head_0001.png" in result.out + result.err


def change_image(place):
    save(image(place / "data", 2), 255 - read_image(image(place / "data", 2)))


def unfinish_out(place):
    unfinish(place / "out")


def unfinish_and_change(place):
    unfinish_out(place)
    change_image(place)


def unfinish_and_remove(place):
    unfinish_out(place)
    image(place / "data", 5).unlink()


def notes_in_run(place):
    (place / "out/notes.txt").write_text("mine")


# name: (damage, options, words); `out` holds a finished run
BAD_RERUN = {
    "finished": (nothing, [], ["out", "a finished run", "--resume", "--overwrite"]),
    "unfinished": (unfinish_out, [], ["out", "an unfinished run", "--resume", "--overwrite"]),
    "other choices": (
        nothing,
        ["--resume", "-p", "gan_steps=5"],
        ["out", "gan_steps=45", "not 5", "--overwrite"],
    ),
    "other images": (unfinish_and_change, ["--resume"], ["out", "other images", "--overwrite"]),
    "both": (nothing, ["--resume", "--overwrite"], ["give one of them"]),
    "fewer images": (unfinish_and_remove, ["--resume"], ["out", "other images"]),
    "other images, finished": (change_image, ["--resume"], ["out", "other images"]),
    "bad images, --overwrite": (cut_image, ["--overwrite"], ["fetal_head_0001.png"]),
    "no masks, --overwrite": (nothing, ["--overwrite", "--shape", "masks"], ["--aux-masks"]),
    "notes inside, --overwrite": (notes_in_run, ["--overwrite"], ["out", "notes.txt"]),
}


@pytest.mark.parametrize("name", BAD_RERUN)
def test_a_run_is_not_lost(aeseg, finished, place, name):
    damage, options, words = BAD_RERUN[name]
    shutil.copytree(finished, place / "out")
    damage(place)
    before = snapshot(place)
    refused(aeseg("fit", "--images", "data", "--out", "out", *FAST, *options, cwd=place), *words)
    assert snapshot(place) == before


@pytest.mark.slow
def test_other_auxiliary_masks_are_refused(aeseg, place):
    auxiliary_masks(place)
    run = ["fit", "--images", "data", "--out", "out", "--aux-masks", "aux", *FAST]
    assert aeseg(*run, cwd=place).code == 0
    unfinish_out(place)
    write_mask(place / "aux/masks/a0.png", read_mask(mask(place / "data", 2)))
    before = snapshot(place)
    refused(aeseg(*run, "--resume", cwd=place), "out", "aux", "--overwrite")
    assert snapshot(place) == before


@pytest.mark.parametrize("out", ["out", "new"])
def test_a_missing_accelerator_loses_nothing(aeseg, finished, place, out):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    shutil.copytree(finished, place / "out")
    before = snapshot(place)
    command = ["fit", "--images", "data", "--out", out, *FAST, "--accelerator", "cuda", "--overwrite"]
    refused(aeseg(*command, cwd=place), "accelerator='cuda'", "--accelerator auto")
    assert snapshot(place) == before


def colour_all_images(place):
    for k in range(6):
        colour(image(place / "data", k))


def unfinish_run(place):
    unfinish(place / "run")


def wrong_model(place):
    (place / "run/model.safetensors").write_bytes(b"no model")


# name: (damage, [run, images, out], words)
BAD_PREDICT = {
    "channels": (
        colour_all_images,
        ["run", "data", "m"],
        ["fetal_head_0000.png", "3 channel", "1 is expected"],
    ),
    "one of other channels": (
        colour_image,
        ["run", "data", "m"],
        ["fetal_head_0001.png", "3 channel", "1 is expected"],
    ),
    "no run": (nothing, ["data", "data", "m"], ["data is not a run folder", "aeseg fit"]),
    "nothing": (nothing, ["rn", "data", "m"], ["rn is not a run folder"]),
    "unfinished": (unfinish_run, ["run", "data", "m"], ["run/model.safetensors", "--resume"]),
    "broken model": (wrong_model, ["run", "data", "m"], ["run/model.safetensors", "not a model"]),
    "empty folder": (empty_folder, ["run", "empty", "m"], ["empty holds no image"]),
    "cut PNG": (cut_image, ["run", "data", "m"], ["fetal_head_0001.png", "--skip-bad"]),
    "masks over images": (nothing, ["run", "data/images", "data/images"], ["data/images", "--out"]),
    "masks over images of a data set": (nothing, ["run", "data", "data/images"], ["data/images", "--out"]),
    "masks over true masks": (nothing, ["run", "data", "data/masks"], ["data/masks", "--out"]),
}


@pytest.mark.parametrize("name", BAD_PREDICT)
def test_predict_refuses(aeseg, finished, place, name):
    damage, (run, images, out), words = BAD_PREDICT[name]
    shutil.copytree(finished, place / "run")
    damage(place)
    before = snapshot(place)
    refused(aeseg("predict", run, "--images", images, "--out", out, cwd=place), *words)
    assert snapshot(place) == before


def gray_true_mask(place):
    shutil.copy(image(place / "data", 1), mask(place / "data", 1))


def gray_prediction(place):
    shutil.copy(image(place / "data", 1), place / "pred" / f"{IDS[1]}.png")


def narrow_true_mask(place):
    write_mask(mask(place / "data", 1), np.eye(40, 59))


def no_true_mask(place):
    mask(place / "data", 1).unlink()


def cut_true_mask(place):
    cut(mask(place / "data", 1), 60)


def no_true_masks(place):
    shutil.rmtree(place / "data/masks")


def one_spacing(place):
    (place / "s.csv").write_text(f"id,spacing\n{IDS[0]},0.5\n")


# name: (damage, options besides --pred, --truth and --out, words)
BAD_EVALUATE = {
    "gray true mask": (gray_true_mask, [], ["data/masks/fetal_head_0001.png", "0 and 255"]),
    "gray prediction": (gray_prediction, [], ["pred/fetal_head_0001.png", "binary"]),
    "sizes": (
        narrow_true_mask,
        [],
        ["pred/fetal_head_0001.png", "(40, 60)", "data/masks/fetal_head_0001.png", "(40, 59)"],
    ),
    "no true mask": (no_true_mask, [], ["pred/fetal_head_0001.png", "'fetal_head_0001'"]),
    "cut true mask": (cut_true_mask, [], ["data/masks/fetal_head_0001.png cannot be read"]),
    "no masks": (no_true_masks, [], ["data", "images/", "masks/"]),
    "no folder": (nothing, ["--truth", "dta"], ["dta", "no such folder"]),
    "one spacing missing": (one_spacing, ["--spacing", "s.csv"], ["spacing", "'fetal_head_0001'"]),
    "no spacing": (nothing, ["--spacing", "s.csv"], ["s.csv cannot be read"]),
}


@pytest.mark.parametrize("name", BAD_EVALUATE)
def test_evaluate_refuses(aeseg, finished, place, name):
    damage, options, words = BAD_EVALUATE[name]
    shutil.copytree(finished / "predictions", place / "pred")
    damage(place)
    before = snapshot(place)
    command = ["evaluate", "--pred", "pred", "--truth", "data", "--out", "scores.csv", *options]
    refused(aeseg(*command, cwd=place), *words)
    assert snapshot(place) == before


# name: (damage, words)
BAD_CHECK = {
    "sizes": (narrow_true_mask, ["masks/fetal_head_0001.png", "59 x 40", "60 x 40"]),
    "cut PNG": (cut_image, ["images/fetal_head_0001.png cannot be read"]),
    "gray mask": (gray_true_mask, ["masks/fetal_head_0001.png is not a binary mask"]),
}


@pytest.mark.parametrize("name", BAD_CHECK)
def test_check_finds(aeseg, place, name):
    damage, words = BAD_CHECK[name]
    damage(place)
    before = snapshot(place)
    result = aeseg("check", "data", cwd=place)
    assert (result.code, result.err) == (1, "")
    assert all(word in result.out for word in words), result.out
    assert result.out.endswith("1 error\n")
    assert snapshot(place) == before


# name: (options, words)
BAD_BENCH = {
    "unknown key": (["-p", "gan_stepps=3"], ["'gan_stepps'", "'gan_steps'"]),
    "given twice": (
        ["--precision", "32-true", "-p", "precision=auto"],
        ["precision", "twice", "--precision", "-p"],
    ),
    "preset twice": (["-p", "preset=cpu"], ["preset", "twice", "--quick", "-p"]),
    "no repeats": (["--repeats", "0"], ["repeats=0", "at least 1"]),
    "no time": (["--minutes", "-1"], ["minutes=-1.0", "above 0"]),
    "no number": (["--repeats", "few"], ["int", "'few'"]),
    "no such folder": (["--images", "dta"], ["dta", "no such folder"]),
    "own masks as auxiliary ones": (["--images", "data", "--aux-masks", "data"], ["data", "--aux-masks"]),
    "no ellipse prior": (["--images", "data", "-p", "task=lung"], ["'lung'", "ellipse"]),
    "out is a file": (["--out", "data/splits.csv"], ["data/splits.csv", "--out"]),
}


@pytest.mark.parametrize("name", BAD_BENCH)
def test_bench_refuses(aeseg, place, name):
    options, words = BAD_BENCH[name]
    before = set(snapshot(place))
    refused(aeseg("bench", "--quick", "--out", "numbers", *options, cwd=place), *words)
    assert set(snapshot(place)) - {"numbers"} == before
    assert not (place / "numbers/bench.json").exists()


def test_check_refuses(aeseg, place):
    empty_folder(place)
    refused(aeseg("check", "empty", cwd=place), "empty", "neither images nor masks")
    refused(aeseg("check", "dta", cwd=place), "dta", "no such folder")


# ---------------------------------------------------------------- resume, overwrite, seeds


def test_resume_of_a_finished_run_changes_nothing(aeseg, finished, phantoms, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    before = snapshot(tmp_path)
    command = ["fit", "--images", phantoms, "--out", tmp_path / "run", *FAST, "--resume"]
    assert str(tmp_path / "run/report.html") in succeeded(aeseg(*command)).out
    assert snapshot(tmp_path) == before


@pytest.mark.slow
def test_resume_writes_a_report_that_was_interrupted(aeseg, finished, phantoms, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run/report.html").unlink()
    result = aeseg("fit", "--images", phantoms, "--out", tmp_path / "run", *FAST, "--resume")
    assert result.code == 0
    assert (tmp_path / "run/report.html").exists()
    same(tmp_path / "run", finished)


def pseudo_labels(run):
    "Name -> content of each pseudo label."
    labels = {name: content for name, content in learned(run).items() if name.startswith("pseudo_labels/")}
    assert len(labels) == len(TRAIN)
    return labels


@pytest.mark.slow
def test_labels_of_another_run(aeseg, finished, phantoms, tmp_path):
    "The VAE and the GAN of a run are taken instead of trained."
    run = tmp_path / "run"
    command = ["fit", "--images", phantoms, "--out", run, *FAST, "--labels-of", finished]
    assert aeseg(*command).code == 0
    same(run, finished)
    assert not {row["stage"] for row in read_log(run)} & {"vae", "gan"}
    assert aeseg(*command, "--overwrite", "-p", "segmentation_loss=dice").code == 0
    assert pseudo_labels(run) == pseudo_labels(finished)
    assert learned(run)["model.safetensors"] != learned(finished)["model.safetensors"]
    assert read_provenance(run)["labels_of"] == str(finished)


def test_labels_of_a_run_with_another_seed_are_refused(aeseg, finished, phantoms, tmp_path):
    command = ["fit", "--images", phantoms, "--out", tmp_path / "run", *FAST, "--labels-of", finished]
    refused(aeseg(*command, "--seed", "3"), "seed=0", "not 3", "--labels-of")
    assert names(tmp_path) == []


def test_the_plain_method_of_the_card(aeseg, phantoms, tmp_path):
    "The card's command without our additions trains."
    card = (ROOT / "papers/wang2021_annotation_efficient.md").read_text()
    command = next(block for block in card.split("```") if block.strip().startswith("aeseg fit"))
    words = shlex.split(command.replace("\\\n", " "))[1:]
    words[words.index("--images") + 1], words[words.index("--out") + 1] = phantoms, tmp_path / "run"
    result = aeseg(*words, *FAST)
    assert result.code == 0, result
    config = (tmp_path / "run/config.yaml").read_text()
    assert "edge_weight: 0" in config and "cycle_mask_loss: l1" in config


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["check", "HEADS", "--aux-masks", "HEADS"], ["--labels-of"]),
        (["check", "HEADS", "--labels-of", "RUN"], ["--aux-masks"]),
        (["experiment", "list", "-p", "seeds=1"], ["list does not use -p seeds=1"]),
        (["experiment", "pack", "-p", "seeds=1"], ["pack does not use -p seeds=1"]),
    ],
)
def test_options_that_would_be_ignored(aeseg, phantoms, finished, command, words):
    places = dict(HEADS=phantoms, RUN=finished)
    refused(aeseg(*(places.get(word, word) for word in command)), *words)


@pytest.mark.slow
def test_seeds(aeseg, finished, phantoms, tmp_path):
    "The same command gives the same masks; another seed gives others. --overwrite starts again."
    run = tmp_path / "run"
    command = ["fit", "--images", phantoms, "--out", run, *FAST]
    assert aeseg(*command, "--seed", "1").code == 0
    labels, others = pseudo_labels(finished), pseudo_labels(run)
    assert labels.keys() == others.keys()
    assert all(labels[name] != others[name] for name in labels)
    succeeded(aeseg(*command, "--overwrite"))
    assert config_from_yaml(run / "config.yaml").run.seed == 0
    same(run, finished)
    assert names(run) == names(finished)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_interruption(aeseg, finished, phantoms, tmp_path, number):
    "An interrupted and continued run ends with the same masks, byte by byte."
    run = tmp_path / "run"
    command = ["fit", "--images", phantoms, "--out", run, *FAST]
    for _ in range(5):  # a slow watcher may come too late
        pid = aeseg.start(*command, "--overwrite")
        wait_for(run / "log.jsonl", '"gan"')
        os.kill(pid, number)
        result = aeseg.finish()
        if not (run / "pseudo_labels").exists():
            break
    assert "finished" not in read_provenance(run)
    assert not (run / "pseudo_labels").exists()
    assert not (run / "model.safetensors").exists()
    if number == signal.SIGINT:
        refused(result, "interrupted", "--resume", str(run))
    else:
        assert result.code == -signal.SIGKILL
    interrupted = len(read_log(run))

    succeeded(aeseg(*command, "--resume"))
    same(run, finished)
    assert names(run) == names(finished)
    assert names(run / "checkpoints") == names(finished / "checkpoints")
    rows = read_log(run)
    assert len(rows) > interrupted
    assert sum(r["stage"] == "vae" for r in rows) == 1  # the VAE was not trained again


class Killed(BaseException):
    "Ends a run as nothing else does."


def test_killed_between_a_checkpoint_and_its_labels(finished, phantoms, tmp_path, monkeypatch, no_report):
    "What follows a checkpoint is made up for by the continued run."

    def record(setting, gan, step, then=stages.record_checkpoint):
        if step == 32:
            raise Killed
        then(setting, gan, step)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(stages, "record_checkpoint", record)
        fit(phantoms, tmp_path / "run", **SMALL)
    fit(phantoms, tmp_path / "run", resume=True, **SMALL)
    assert names(tmp_path / "run/checkpoints") == names(finished / "checkpoints")
    same(tmp_path / "run", finished)
