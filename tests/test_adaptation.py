"""Runs with an adapted prior: interrupted and continued, alike for all variants, and refused."""

import json

import pytest
import torch
from commands import SMALL
from run_folders import same, weights

import aeseg.app.adaptation as adaptation
import aeseg.app.stages as stages
from aeseg.app.fit import fit
from aeseg.data.phantoms import write_phantom_masks, write_phantoms

OPTIONS = {
    **SMALL,
    **dict(task="lung", shape="masks", prior="adapted", size=64, adaptation_size=32, adaptation_steps=4),
}


@pytest.fixture(scope="module")
def lungs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lungs")
    images = write_phantoms(folder / "lungs", "lung", count=5, val=1, size=(64, 64))
    return dict(
        images=images, aux_masks=write_phantom_masks(folder / "others", "lung", count=6, size=(64, 64))
    )


@pytest.fixture(scope="module")
def whole(lungs, tmp_path_factory):
    "A run that was not interrupted."
    return fit(out=tmp_path_factory.mktemp("whole") / "run", variant="plus", **lungs, **OPTIONS)


def prior_of(run):
    return (run.folder / "adaptation" / "prior.json").read_bytes()


class Killed(BaseException):
    "Ends a run as nothing else does."


@pytest.mark.slow
@pytest.mark.parametrize("where", ["given", "adapted", "run"])
def test_a_killed_run_ends_as_one_that_was_not(lungs, whole, tmp_path, monkeypatch, no_report, where):

    def record(setting, gan, step, then=stages.record_checkpoint):
        if setting.run.folder.name == where:
            raise Killed
        then(setting, gan, step)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(stages, "record_checkpoint", record)
        fit(out=tmp_path / "run", variant="plus", **lungs, **OPTIONS)
    run = fit(out=tmp_path / "run", variant="plus", resume=True, **lungs, **OPTIONS)
    same(whole.folder, run.folder)
    assert prior_of(whole) == prior_of(run)


def test_all_variants_share_the_prior(lungs, whole, tmp_path, no_report):
    runs = [fit(out=tmp_path / v, variant=v, **lungs, **OPTIONS) for v in ("cyclegan", "full")] + [whole]
    assert len({prior_of(run) for run in runs}) == 1
    other = fit(out=tmp_path / "other", variant="full", **lungs, **{**OPTIONS, "seed": 1})
    assert prior_of(other) != prior_of(runs[0])


def test_a_prior_with_weaker_edges_is_refused(lungs, tmp_path, monkeypatch, no_report):
    edges = iter([torch.ones(4), torch.zeros(4)])
    monkeypatch.setattr(adaptation, "label_edges", lambda labels, pixels: next(edges))
    run = fit(out=tmp_path / "refused", variant="full", **lungs, **OPTIONS)
    given = fit(out=tmp_path / "given", variant="full", **lungs, **{**OPTIONS, "prior": "given"})
    assert json.loads(prior_of(run))["accepted"] is False
    assert "the given auxiliary masks stay" in run.events("choice")[0]
    models = [weights(r.folder / "model.safetensors") for r in (run, given)]
    assert models[0] == models[1]
    assert "adaptation" not in given.provenance
