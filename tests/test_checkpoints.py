"""The checkpoint of the GAN is chosen without human masks, and everything after it belongs to the chosen one."""

import pytest
import torch
from conftest import TINY, same
from safetensors.torch import load_file

import aeseg.app.fit as app_fit
from aeseg.core.arrays import ArrayFile
from aeseg.data.images import read_mask
from aeseg.app.fit import fit
from aeseg.app.labels import label_sets
from aeseg.app.cases import Cases
from aeseg.app.network_worker import Networks

GIVEN = dict(preset="smoke", accelerator="cpu", quiet=True, **{**TINY, "rounds": 0})
CHOSEN = 32


@pytest.fixture
def astray(monkeypatch):
    "Labels of a run fit well until step 32, and badly later."
    steps = iter(())

    def fit_of_labels(*_):
        return next(steps)

    def begin(fits=(0.5, 0.6, 0.95, 0.9, 0.5, 0.5)):  # after steps 8, 16, ..., 40 and 45
        nonlocal steps
        steps = iter(fits)

    monkeypatch.setattr(app_fit, "checkpoint_score", fit_of_labels)
    return begin


def test_an_earlier_checkpoint(astray, phantoms, tmp_path):
    astray()
    run = fit(phantoms, tmp_path / "run", variant="full", **GIVEN)
    (said,) = run.events("choice")
    assert (
        said
        == "gan: labels are those of step 32, where they fit the auxiliary masks better (0.90) than at the"
        " end (0.50)"
        and run.provenance["gan_checkpoint"] == CHOSEN
    )
    assert "An earlier checkpoint of the GAN was chosen" in (run.folder / "report.html").read_text()
    kept = sorted(int(p.stem[-6:]) for p in (run.folder / "checkpoints").glob("gan_??????.pt"))
    assert (
        kept
        == sorted(int(p.stem[-6:]) for p in (run.folder / "checkpoints").glob("labels_??????.npy"))
        == [24, 32, 40, 45]
    )
    for mask in sorted((run.folder / "pseudo_labels").iterdir()):
        assert (
            read_mask(mask) == read_mask(run.folder / "predictions" / mask.name)
        ).all()  # without rounds E predicts: of the same step
    written = ArrayFile(run.folder / "checkpoints" / f"labels_{CHOSEN:06d}.npy")
    last = ArrayFile(run.folder / "checkpoints/labels_000045.npy")
    assert not torch.equal(written[:], last[:])
    state = run.load(f"gan_{CHOSEN:06d}")
    model = load_file(run.folder / "model.safetensors")
    for name, value in state["ema"].items():
        assert torch.equal(value, model[f"E.{name}"])
    assert (
        len(label_sets(run, "labels", CHOSEN)) == 2
    )  # 24 and 32: what came later is no opinion on these labels
    assert Networks(Cases(run.folder)).canvas == tuple(written.shape[2:])  # known without a network C


def test_resumed_and_taken(astray, phantoms, tmp_path, monkeypatch):
    "A run that is killed before the choice, and one that takes the GAN, choose alike."
    astray()
    given = dict(GIVEN, rounds=1, variant="full")
    run = fit(phantoms, tmp_path / "run", **given)

    class Killed(BaseException):
        pass

    def choose(setting, gan):
        raise Killed

    astray()
    with monkeypatch.context() as m, pytest.raises(Killed):
        m.setattr(app_fit, "choose_checkpoint", choose)
        fit(phantoms, tmp_path / "again", **given)
    fit(phantoms, tmp_path / "again", resume=True, **given)
    same(run.folder, tmp_path / "again")
    taken = fit(phantoms, tmp_path / "taken", labels_of=run.folder, **given)
    same(run.folder, taken.folder)
    assert taken.events("choice") == run.events("choice")


def test_the_last_one(astray, phantoms, tmp_path):
    "Within the margin, or with a margin that nothing exceeds, the last checkpoint is taken."
    for name, fits, margin in (
        ("near", (0.5, 0.6, 0.55, 0.64, 0.5, 0.5), 0.15),
        ("off", (0.5, 0.6, 0.7, 0.9, 0.5, -0.5), 10.0),
    ):
        astray(fits)
        run = fit(phantoms, tmp_path / name, checkpoint_margin=margin, **GIVEN)
        assert not run.events("choice") and run.provenance["gan_checkpoint"] == 45


def test_a_restart_forgets_the_choice(astray, phantoms, tmp_path, monkeypatch):
    "A GAN that starts again has checkpoints of its own."
    astray((0.5, 0.6, 0.95, 0.9, 0.5, 0.5) * 2)
    alarms = iter(
        [[]] * 6 + [["collapse: nearly empty"]] + [[]] * 7
    )  # of six checkpoints and the chosen labels, twice
    monkeypatch.setattr(app_fit, "label_alarms", lambda labels, auxiliary: next(alarms))
    run = fit(phantoms, tmp_path / "run", **{**GIVEN, "restarts": 1})
    assert len(run.events("restart")) == 1 and len(run.events("choice")) == 2
    assert sorted(int(p.stem[-6:]) for p in (run.folder / "checkpoints").glob("labels_2_??????.npy")) == [
        24,
        32,
        40,
        45,
    ]
