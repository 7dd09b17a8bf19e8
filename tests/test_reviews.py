"""Human decisions: two programs that decide at once, a killed one, and the round of training that follows."""

import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
from commands import FAST, ONE_CORE, SCRIPT, SMALL, run_script
from run_folders import learned, read_provenance, same

import aeseg.app.fit as app_fit
from aeseg.app.cases import Cases
from aeseg.app.decisions import ReviewDecisions, read_reviews
from aeseg.app.fit import fit
from aeseg.app.reviews import Reviews
from aeseg.cli import main
from aeseg.core.config import MachineOptions, make_config
from aeseg.core.devices import make_fabric
from aeseg.core.errors import InputError
from aeseg.core.runs import Run
from aeseg.data.datasets import load_images
from aeseg.data.images import read_mask, write_mask
from aeseg.data.masks import fill_holes, hard_dice
from aeseg.method.segmentation import SegmentationTraining

fork = multiprocessing.get_context("fork")
SQUARE = np.zeros((40, 60), bool)  # a corrected label
SQUARE[8:30, 10:40] = True


def decide_many(folder, first, count):
    "What one inspector does; every second decision is taken back and decided anew."
    reviews = Reviews(folder)
    for k in range(first, first + count):
        reviews.decide(f"case_{k}", "accepted", 1)
        if k % 2:
            reviews.undo()
            reviews.decide(f"case_{k}", "rejected", 1)


def test_two_inspectors_lose_nothing(tmp_path):
    both = [fork.Process(target=decide_many, args=(tmp_path, first, 40)) for first in (0, 40)]
    for p in both:
        p.start()
    for p in both:
        p.join(60)
    rows, problems = read_reviews(tmp_path / "reviews.csv")
    assert [p.exitcode for p in both] == [0, 0]
    assert problems == []
    expected = {f"case_{k}": "rejected" if k % 2 else "accepted" for k in range(80)}
    assert {id: row["decision"] for id, row in rows.items()} == expected


def test_a_killed_inspector_leaves_a_whole_file(tmp_path):
    process = fork.Process(target=decide_many, args=(tmp_path, 0, 100000))
    process.start()
    while not (tmp_path / "reviews.csv").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    rows, problems = read_reviews(tmp_path / "reviews.csv")
    assert problems == []
    assert len(rows) > 3
    Reviews(tmp_path).decide("another", "accepted", 1)  # the killed process holds no lock any more
    assert len(read_reviews(tmp_path / "reviews.csv")[0]) >= len(rows)


@pytest.fixture(scope="session")
def decided(finished, tmp_path_factory):
    "A copy of a finished run with a decision of each kind. Not to be changed: copy it."
    out = shutil.copytree(finished, tmp_path_factory.mktemp("decided") / "run")
    ids, reviews = Cases(out).ids, Reviews(out)
    reviews.decide(ids[0], "accepted", 1)
    reviews.decide(ids[1], "rejected", 1)
    reviews.decide(ids[2], "corrected", 1, SQUARE)
    return out


@pytest.fixture(scope="session")
def steered(aeseg, decided, phantoms, tmp_path_factory):
    "The same after its further round, and what the command said."
    out = shutil.copytree(decided, tmp_path_factory.mktemp("steered") / "run")
    result = aeseg(
        "fit", "--images", phantoms, "--out", out, *FAST, "--resume", "--reviews", out / "reviews.csv"
    )
    assert (result.code, result.err) == (0, "")
    return out, result


@pytest.mark.slow
def test_a_further_round_learns_from_decisions(steered, finished):
    out, _ = steered
    rows = pd.read_csv(out / "quality.csv")
    last = rows[rows["round"] == 2].set_index("id")
    ids = list(last.index)
    assert list(last["kept"][ids[:3]]) == [True, False, True]
    assert list(last["weight"][ids[:3]]) == [1, 0, 1]
    before, after = learned(finished), learned(out)
    kept = [name for name in before if name.startswith(("pseudo_labels", "rounds"))]
    assert kept
    assert all(after[name] == before[name] for name in kept)
    assert any(after[name] != before[name] for name in before if name.startswith("model"))
    labels = out / "rounds/round_2/labels"
    corrected = read_mask(labels / f"{ids[2]}.png")
    assert hard_dice(corrected, SQUARE) > 0.9  # it was resized to a canvas of 32 pixels and back
    accepted = read_mask(labels / f"{ids[0]}.png")
    original = read_mask(out / f"rounds/round_1/labels/{ids[0]}.png")
    assert hard_dice(accepted, original) > 0.9 or not original.any()


@pytest.mark.slow
def test_a_reviewed_run_says_so_everywhere(steered):
    out, result = steered
    (past,) = Run(out).provenance["reviews"]
    assert (past["round"], past["accepted"], past["rejected"], past["corrected"]) == (2, 1, 1, 1)
    assert Run(out).finished
    assert "not annotation-free" in (out / "report.html").read_text()
    assert "not annotation-free" in result.out
    assert "1 accepted, 1 rejected, 1 corrected" in Cases(out).reviewed


@pytest.mark.slow
def test_the_same_decisions_train_nothing_again(aeseg, steered, phantoms):
    out, _ = steered
    files = {p: p.stat().st_mtime_ns for p in out.rglob("*.*") if p.name != "reviews.csv"}
    for more in ((), ("--reviews", out / "reviews.csv")):
        assert aeseg("fit", "--images", phantoms, "--out", out, *FAST, "--resume", *more).code == 0
    assert {p: p.stat().st_mtime_ns for p in files} == files


@pytest.mark.slow
def test_an_interrupted_round_goes_on_with_the_same_decisions(
    decided, steered, phantoms, tmp_path, monkeypatch
):
    out = shutil.copytree(decided, tmp_path / "run")

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(app_fit, "apply_model", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(phantoms, out, resume=True, reviews=out / "reviews.csv", **SMALL)
    assert not Run(out).finished
    Reviews(out).decide(Cases(out).ids[3], "rejected", 1)
    with pytest.raises(InputError, match="round 2 began with other decisions"):
        fit(phantoms, out, resume=True, reviews=out / "reviews.csv", **SMALL)
    fit(phantoms, out, resume=True, **SMALL)
    same(out, steered[0])
    fit(phantoms, out, resume=True, reviews=out / "reviews.csv", **SMALL)  # and then with the new ones
    assert [r["round"] for r in Run(out).provenance["reviews"]] == [2, 3]
    assert pd.read_csv(out / "rounds/round_3/quality.csv")["kept"].tolist()[1] is False


@pytest.mark.slow
def test_decided_labels_have_full_weight_at_every_pixel(steered, phantoms):
    import torch

    images = load_images(phantoms, 32).split("train")
    decisions = ReviewDecisions(steered[0] / "rounds/round_2", images)
    uncertain = torch.full((len(images), 1, *images.canvas), 128, dtype=torch.uint8)
    labels = decisions.labels(uncertain)
    kept = torch.ones(len(images), dtype=torch.bool)
    kept, weights = decisions.choose(kept, torch.full((len(images),), 0.5))
    assert kept.tolist() == [True, False, True, True]
    assert weights.tolist() == [1, 0.5, 1, 0.5]
    used = torch.zeros(len(images), dtype=torch.bool)
    used[[0, 2]] = True
    options = make_config("smoke", segmentation_batch=8).segmentation
    fabric = make_fabric(MachineOptions(accelerator="cpu"))
    stage = SegmentationTraining(options, images, labels, weights, used, fabric)
    assert (stage.load_batch(0)[2][:, 0, 12:20, 12:20] > 0.999).all()


def test_reviews_that_cannot_be_used(decided, finished, phantoms, tmp_path):
    def message(out=decided, reviews=None, resume=True):
        with pytest.raises(InputError) as e:
            fit(phantoms, out, resume=resume, reviews=reviews or decided / "reviews.csv", **SMALL)
        return str(e.value)

    assert "give --resume" in message(resume=False)
    assert "give --resume" in message(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert "does not exist" in message(reviews=tmp_path / "no.csv")
    text = (decided / "reviews.csv").read_text()
    path = tmp_path / "reviews.csv"
    for content, words in (
        (text[:-5], "line 4"),
        (text.splitlines()[0] + "\n", "no decision"),
        (text.replace("fetal_head_0001", "unknown"), "'unknown'"),
        (text, "corrected"),  # the corrected masks are not beside it
    ):
        path.write_text(content)
        assert words in message(reviews=path)
    same(decided, finished)
    assert Run(decided).finished


def test_overwriting_does_not_delete_decisions(decided, phantoms):
    with pytest.raises(InputError, match="corrected|reviews.csv"):
        fit(phantoms, decided, overwrite=True, **SMALL)
    assert (decided / "reviews.csv").exists()


def test_a_read_only_run_can_be_looked_at(decided, tmp_path):
    out = shutil.copytree(decided, tmp_path / "run")
    os.chmod(out, 0o555)
    try:
        cases, reviews = Cases(out), Reviews(out)
        assert len(cases) == 4
        assert reviews.counts() == dict(accepted=1, rejected=1, corrected=1)
        assert not reviews.writable
        with pytest.raises(InputError, match="read-only"):
            reviews.decide(cases.ids[3], "accepted", 1)
    finally:
        os.chmod(out, 0o755)
    assert fill_holes(reviews.corrected(cases.ids[2])).sum() == 22 * 30


@pytest.mark.slow
def test_reviews_of_provenance_survive_json(steered):
    assert read_provenance(steered[0])["reviews"][0]["digest"]


# ---------------------------------------------------------------- the command that trains on


@pytest.fixture
def place(phantoms, tmp_path):
    "A folder whose name needs quotes, with a run that was started with relative paths."
    place = tmp_path / "it's a place"
    shutil.copytree(phantoms, place / "my data")
    command = ["fit", "--images", "my data", "--out", "runs/one", "--ids", "fetal*", "--truth", "none", *FAST]
    done = run_script(*command, cwd=place)
    assert done.returncode == 0, done.stderr
    return place


def train_on(run):
    "Decide, then give the printed command to a shell in another folder, and count the rounds."
    cases = Cases(run)
    assert cases.problems == []
    assert len(cases.images) == 6
    Reviews(run).decide(cases.ids[0], "rejected", cases.last)
    words = dict(aeseg=str(SCRIPT))
    command = " ".join([words.get(word, word) for word in cases.command().split(" ")])
    done = subprocess.run(command, shell=True, cwd="/", env=ONE_CORE, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    assert not (run / "metrics.csv").exists()  # as the run was asked for
    return len(Run(run).provenance["reviews"])


@pytest.mark.slow
def test_the_command_trains_on_from_anywhere(place):
    assert train_on(place / "runs/one") == 1


@pytest.mark.slow
def test_the_command_trains_on_after_run_and_data_were_moved(place, tmp_path):
    moved = place.rename(tmp_path / "moved here")
    assert train_on(moved / "runs/one") == 1


def test_a_copied_run_finds_its_images_and_a_lost_one_says_how(place, tmp_path):
    copied = shutil.copytree(place / "runs/one", tmp_path / "elsewhere/copy")
    assert Cases(copied).problems == []
    images = place / "my data"
    images.rename(tmp_path / "lost")
    (problem,) = Cases(copied).problems
    assert "--images" in problem
    found = Cases(copied, images=os.path.relpath(tmp_path / "lost"))
    assert found.problems == []
    words = shlex.split(found.command())
    assert words[words.index("--images") + 1] == str(tmp_path / "lost")
    assert words[words.index("--out") + 1] == str(copied)
    assert [words[words.index(flag) + 1] for flag in ("--ids", "--truth")] == ["fetal*", "none"]


@pytest.mark.parametrize("flag", ["--images", "--truth"])
def test_a_wrong_folder_is_noticed_in_the_terminal(decided, tmp_path, flag, monkeypatch, capsys):
    import aeseg.app.inspector

    monkeypatch.setattr(aeseg.app.inspector, "serve", lambda *_: None)
    (tmp_path / "wrong").mkdir()
    write_mask(tmp_path / "wrong/other.png", SQUARE)
    assert main(["inspect", str(decided), flag, str(tmp_path / "wrong")]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("aeseg: warning: no image of the run")
    assert flag in line
    assert main(["inspect", str(decided)]) == 0
    assert capsys.readouterr().err == ""
