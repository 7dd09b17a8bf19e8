"""Human decisions: two programs that decide at the same time, a killed one, and the round of training that follows."""

import json
import multiprocessing
import os
import shutil
import signal
import time

import numpy as np
import pandas as pd
import pytest
from conftest import FAST, TINY, learned, same

from aeseg.core.errors import InputError
from aeseg.core.config import make_config
from aeseg.data.datasets import load_images
from aeseg.data.images import read_mask
from aeseg.method.segmentation import SegmentationTraining
from aeseg.app.decisions import ReviewDecisions, read_reviews
from aeseg.app.fit import _Fit, fit
from aeseg.app.cases import Cases
from aeseg.app.reviews import Reviews
from aeseg.data.masks import fill_holes
from aeseg.core.runs import Run
from aeseg.core.devices import make_fabric

fork = multiprocessing.get_context("fork")
OPTIONS = dict(preset="smoke", accelerator="cpu", quiet=True, **TINY)


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
    assert [p.exitcode for p in both] == [0, 0] and problems == []
    assert {i: r["decision"] for i, r in rows.items()} == {
        f"case_{k}": "rejected" if k % 2 else "accepted" for k in range(80)
    }


def test_a_killed_inspector_leaves_a_whole_file(tmp_path):
    process = fork.Process(target=decide_many, args=(tmp_path, 0, 100000))
    process.start()
    while not (tmp_path / "reviews.csv").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    rows, problems = read_reviews(tmp_path / "reviews.csv")
    assert problems == [] and len(rows) > 3
    Reviews(tmp_path).decide("another", "accepted", 1)  # the lock went with its owner
    assert len(read_reviews(tmp_path / "reviews.csv")[0]) >= len(rows)


@pytest.fixture(scope="session")
def decided(finished, tmp_path_factory):
    "A copy of a finished run with a decision of each kind. Not to be changed: copy it."
    out = shutil.copytree(finished, tmp_path_factory.mktemp("decided") / "run")
    ids, reviews = Cases(out).ids, Reviews(out)
    reviews.decide(ids[0], "accepted", 1)
    reviews.decide(ids[1], "rejected", 1)
    square = np.zeros((40, 60), bool)
    square[8:30, 10:40] = True
    reviews.decide(ids[2], "corrected", 1, square)
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


def test_a_further_round_learns_from_decisions(steered, finished):
    out, result = steered
    rows = pd.read_csv(out / "quality.csv")
    last = rows[rows["round"] == 2].set_index("id")
    ids = list(last.index)
    assert list(last["kept"][ids[:3]]) == [True, False, True] and list(last["weight"][ids[:3]]) == [1, 0, 1]
    before, after = learned(finished), learned(out)
    assert all(
        after[n] == before[n] for n in before if n.startswith(("pseudo_labels", "rounds"))
    )  # what was there is as it was
    assert (
        any(after[n] != before[n] for n in before if n.startswith("model"))
        and (out / "rounds/round_2/labels").is_dir()
    )
    square = np.zeros((40, 60), bool)
    square[8:30, 10:40] = True
    label = read_mask(out / f"rounds/round_2/labels/{ids[2]}.png")
    assert 2 * (label & square).sum() / (label.sum() + square.sum()) > 0.9  # twice on a canvas of 32 pixels
    accepted = read_mask(out / f"rounds/round_1/labels/{ids[0]}.png"), read_mask(
        out / f"rounds/round_2/labels/{ids[0]}.png"
    )
    assert (
        2 * (accepted[0] & accepted[1]).sum() / max(1, accepted[0].sum() + accepted[1].sum()) > 0.9
        or not accepted[0].any()
    )


def test_a_reviewed_run_says_so_everywhere(steered):
    out, result = steered
    (past,) = Run(out).provenance["reviews"]
    assert (past["round"], past["accepted"], past["rejected"], past["corrected"]) == (2, 1, 1, 1) and Run(
        out
    ).finished
    assert "not annotation-free" in (out / "report.html").read_text() and "not annotation-free" in result.out
    assert "1 accepted, 1 rejected, 1 corrected" in Cases(out).reviewed


def test_the_same_decisions_train_nothing_again(aeseg, steered, phantoms):
    out, _ = steered
    files = {p: p.stat().st_mtime_ns for p in out.rglob("*.*") if p.name != "reviews.csv"}
    for more in ((), ("--reviews", out / "reviews.csv")):
        assert aeseg("fit", "--images", phantoms, "--out", out, *FAST, "--resume", *more).code == 0
    assert {p: p.stat().st_mtime_ns for p in files} == files


def test_an_interrupted_round_goes_on_with_the_same_decisions(
    decided, steered, phantoms, tmp_path, monkeypatch
):
    out = shutil.copytree(decided, tmp_path / "run")

    def stop(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(_Fit, "predict", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(phantoms, out, resume=True, reviews=out / "reviews.csv", **OPTIONS)
    assert not Run(out).finished
    Reviews(out).decide(Cases(out).ids[3], "rejected", 1)
    with pytest.raises(InputError, match="round 2 began with other decisions"):
        fit(phantoms, out, resume=True, reviews=out / "reviews.csv", **OPTIONS)
    fit(phantoms, out, resume=True, **OPTIONS)
    same(out, steered[0])
    fit(phantoms, out, resume=True, reviews=out / "reviews.csv", **OPTIONS)  # and then with the new ones
    assert [r["round"] for r in Run(out).provenance["reviews"]] == [2, 3] and (
        out / "rounds/round_3/quality.csv"
    ).exists()
    assert pd.read_csv(out / "rounds/round_3/quality.csv")["kept"].tolist()[1] is False


def test_decided_labels_have_full_weight_at_every_pixel(steered, phantoms):
    out, images = steered[0], load_images(phantoms, 32).split("train")
    decided = ReviewDecisions(out / "rounds/round_2", images)
    import torch

    doubt = torch.full((len(images), 1, *images.canvas), 128, dtype=torch.uint8)
    labels = decided.labels(doubt)
    kept, weights = decided.choose(torch.ones(len(images), dtype=torch.bool), torch.full((len(images),), 0.5))
    held = torch.zeros(len(images), dtype=torch.bool)
    held[[0, 2]] = True
    stage = SegmentationTraining(
        make_config("smoke", segmentation_batch=8),
        images,
        labels,
        weights,
        held,
        make_fabric(MachineOptions(accelerator="cpu")),
    )
    inside = stage.batch(0)[2][:, 0, 12:20, 12:20]
    assert (
        kept.tolist() == [True, False, True, True]
        and weights.tolist() == [1, 0.5, 1, 0.5]
        and (inside > 0.999).all()
    )


def test_what_cannot_be_steered(decided, finished, phantoms, tmp_path):
    def sentence(out=decided, reviews=None, **more):
        with pytest.raises(InputError) as e:
            fit(
                phantoms,
                out,
                **{**OPTIONS, "resume": True, "reviews": reviews or decided / "reviews.csv", **more},
            )
        return str(e.value)

    assert (
        "give --resume" in sentence(resume=False)
        and "give --resume" in sentence(tmp_path / "new")
        and not (tmp_path / "new").exists()
    )
    assert "does not exist" in sentence(reviews=tmp_path / "no.csv")
    text = (decided / "reviews.csv").read_text()
    bad = tmp_path / "reviews.csv"
    bad.write_text(text[:-5])
    assert "line 4" in sentence(reviews=bad)
    bad.write_text(text.splitlines()[0] + "\n")
    assert "no decision" in sentence(reviews=bad)
    bad.write_text(text.replace("fetal_head_0001", "somebody"))
    assert "'somebody'" in sentence(reviews=bad)
    bad.write_text(text)
    assert "corrected" in sentence(reviews=bad)  # the corrected masks are not beside it
    same(decided, finished)
    assert Run(decided).finished


def test_overwriting_does_not_delete_decisions(decided, phantoms):
    with pytest.raises(InputError, match="corrected|reviews.csv"):
        fit(phantoms, decided, overwrite=True, **OPTIONS)
    assert (decided / "reviews.csv").exists()


def test_a_read_only_run_can_be_looked_at(decided, tmp_path):
    out = shutil.copytree(decided, tmp_path / "run")
    os.chmod(out, 0o555)
    try:
        cases, reviews = Cases(out), Reviews(out)
        assert (
            len(cases) == 4
            and reviews.counts() == dict(accepted=1, rejected=1, corrected=1)
            and not reviews.writable
        )
        with pytest.raises(InputError, match="read-only"):
            reviews.decide(cases.ids[3], "accepted", 1)
    finally:
        os.chmod(out, 0o755)
    assert fill_holes(reviews.corrected(cases.ids[2])).sum() == 22 * 30


def test_reviews_of_provenance_survive_json(steered):
    assert json.loads((steered[0] / "provenance.json").read_text())["reviews"][0]["digest"]
