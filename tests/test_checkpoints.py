"""The checkpoint of the GAN is chosen without human masks, and all that follows belongs to the chosen one."""

import pytest
import torch
from commands import SMALL
from run_folders import same
from safetensors.torch import load_file

import aeseg.app.stages as stages
from aeseg.app.cases import Cases
from aeseg.app.fit import fit
from aeseg.app.labels import label_sets
from aeseg.app.network_worker import Networks
from aeseg.core.arrays import ArrayFile
from aeseg.data.images import read_mask

NO_ROUNDS = dict(SMALL, rounds=0)
SCORES = (0.5, 0.6, 0.95, 0.9, 0.5, 0.5)  # of the labels after steps 8, 16, ..., 40 and 45
CHOSEN = 32  # the last one whose score is near the best one


@pytest.fixture
def set_scores(monkeypatch):
    "A function that sets the score of each checkpoint that follows."
    scores = iter(())

    def checkpoint_score(*_):
        return next(scores)

    def set_scores(values=SCORES):
        nonlocal scores
        scores = iter(values)

    monkeypatch.setattr(stages, "checkpoint_score", checkpoint_score)
    return set_scores


def kept_steps(run, pattern):
    "The steps in the names of checkpoint files."
    return sorted(int(p.stem[-6:]) for p in (run.folder / "checkpoints").glob(pattern))


@pytest.mark.slow
def test_an_earlier_checkpoint(set_scores, phantoms, tmp_path):
    set_scores()
    run = fit(phantoms, tmp_path / "run", variant="full", **NO_ROUNDS)
    (choice,) = run.events("choice")
    for words in (f"step {CHOSEN}", "0.90", "0.50"):
        assert words in choice
    assert run.provenance["gan_checkpoint"] == CHOSEN
    assert "choices during training: 1" in (run.folder / "report.html").read_text()
    for pattern in ("gan_??????.pt", "labels_??????.npy"):
        assert kept_steps(run, pattern) == [24, 32, 40, 45]
    for mask in sorted((run.folder / "pseudo_labels").iterdir()):  # without rounds E predicts: of that step
        assert (read_mask(mask) == read_mask(run.folder / "predictions" / mask.name)).all()
    labels, last = [ArrayFile(run.folder / f"checkpoints/labels_{step:06d}.npy") for step in (CHOSEN, 45)]
    assert not torch.equal(labels[:], last[:])
    model = load_file(run.folder / "model.safetensors")
    for name, value in run.load(f"gan_{CHOSEN:06d}")["ema"].items():
        assert torch.equal(value, model[f"E.{name}"])
    # of steps 24 and 32: what came later is no opinion on these labels
    assert len(label_sets(run, "labels", CHOSEN)) == 2
    assert Networks(Cases(run.folder)).canvas == tuple(labels.shape[2:])  # known without a network C


class Killed(BaseException):
    "Ends a run as nothing else does."


@pytest.mark.slow
def test_resumed_and_taken(set_scores, phantoms, tmp_path, monkeypatch):
    "A run that is killed before the choice, and one that takes the GAN, choose alike."
    options = dict(SMALL, rounds=1, variant="full")
    set_scores()
    run = fit(phantoms, tmp_path / "run", **options)

    def choose(setting, gan):
        raise Killed

    set_scores()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(stages, "choose_checkpoint", choose)
        fit(phantoms, tmp_path / "again", **options)
    fit(phantoms, tmp_path / "again", resume=True, **options)
    same(run.folder, tmp_path / "again")
    taken = fit(phantoms, tmp_path / "taken", labels_of=run.folder, **options)
    same(run.folder, taken.folder)
    assert taken.events("choice") == run.events("choice")


@pytest.mark.slow
@pytest.mark.parametrize(
    "scores, margin",
    [((0.5, 0.6, 0.55, 0.64, 0.5, 0.5), 0.15), ((0.5, 0.6, 0.7, 0.9, 0.5, -0.5), 10.0)],
    ids=["near", "off"],
)
def test_the_last_one(set_scores, no_report, phantoms, tmp_path, scores, margin):
    "Within the margin, or with a margin that nothing exceeds, the last checkpoint is taken."
    set_scores(scores)
    run = fit(phantoms, tmp_path / "run", checkpoint_margin=margin, **NO_ROUNDS)
    assert not run.events("choice")
    assert run.provenance["gan_checkpoint"] == 45


@pytest.mark.slow
def test_a_restart_forgets_the_choice(set_scores, no_report, phantoms, tmp_path, monkeypatch):
    "A GAN that starts again has checkpoints of its own."
    set_scores(SCORES * 2)
    # of six checkpoints and the chosen labels, twice
    alarms = iter([[]] * 6 + [["collapse: nearly empty"]] + [[]] * 7)
    monkeypatch.setattr(stages, "label_alarms", lambda labels, auxiliary: next(alarms))
    run = fit(phantoms, tmp_path / "run", **{**NO_ROUNDS, "restarts": 1})
    assert len(run.events("restart")) == 1
    assert len(run.events("choice")) == 2
    assert kept_steps(run, "labels_2_??????.npy") == [24, 32, 40, 45]
