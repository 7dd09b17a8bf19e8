"""Masks keep the area of the labels that they were learned from."""

import pytest
import torch
from conftest import FAST, learned
from test_device import half_fabric
from test_losses import bits, stage_of

from aeseg.core.config import make_config
from aeseg.data.datasets import Images
from aeseg.core.arrays import ArrayFile, write_array
from aeseg.method.rounds import iterate
from aeseg.method.segmentation import calibrate_area, predict_probabilities
from aeseg.method.quality import label_dice
from aeseg.core.devices import make_fabric


def cpu():
    return make_fabric(make_config(accelerator="cpu", precision="32-true").machine)


def taught(fabric, **choices):
    stage = stage_of(fabric, **choices)
    for k in range(6):
        stage.step(k)
    return stage


def covered(stage, rows):
    return int((predict_probabilities(stage.network, stage.pixels[rows], stage.fabric) > 127).sum())


def labelled(stage, rows):
    return int((stage.labels[rows] > 127).sum())


@pytest.mark.parametrize("name", ["noise_weighted_dice", "cross_entropy", "co_teaching"])
def test_area_of_the_labels_that_were_learned_from(name):
    "Of those alone: the dropped ones are empty, and would halve it."
    stage, everything = taught(cpu(), segmentation_loss=name), torch.arange(8)
    stage.kept = everything[:4]
    stage.labels[4:] = 0
    assert (
        abs(covered(stage, stage.kept) / labelled(stage, stage.kept) - 1) > 0.1
    )  # else there is nothing to do
    second = bits(stage)[len(list(stage.network.parameters())) :]
    shift = calibrate_area(stage)
    assert shift and covered(stage, stage.kept) == pytest.approx(labelled(stage, stage.kept), rel=0.02)
    assert abs(calibrate_area(stage)) <= 2 * 32 / 2**14  # nothing is left to do, but for the width of a bin
    assert (
        bits(stage)[len(list(stage.network.parameters())) :] == second
    )  # co-teaching's second network is not C
    assert stage.network.training


@pytest.mark.parametrize("value, share", [(0, 0.0), (255, 1.0)])
def test_empty_and_full_labels(value, share):
    stage = taught(cpu())
    stage.labels[:] = value
    calibrate_area(stage)
    assert covered(stage, stage.kept) == pytest.approx(share * stage.labels.numel(), rel=1e-3)


def test_files_and_half_precision(tmp_path):
    "Pixels and labels may lie in files; outputs may be fp16."
    held, stored = taught(cpu()), taught(cpu())
    stored.pixels, stored.labels = [write_array([t], t.shape, tmp_path) for t in (stored.pixels, stored.labels)]
    assert isinstance(stored.pixels, ArrayFile) and calibrate_area(held) == calibrate_area(stored)
    half = taught(half_fabric())
    calibrate_area(half)
    assert covered(half, half.kept) == pytest.approx(labelled(half, half.kept), rel=0.05)


def test_rounds(monkeypatch):
    "Every round learns from labels of the first ones' area, and C, which is returned, has it, too; with the switch off, nothing is shifted."

    def areas(**choices):
        start, seen, fabric = stage_of(cpu()), [], cpu()
        config = make_config(
            "smoke", size=32, segmentation_steps=6, stop_change=0.0, rounds=3, selection=False, **choices
        )
        images = Images(start.names, start.pixels, (None,) * 8, ("train",) * 8)

        def teach(stage, steps):
            for k in range(steps):
                stage.step(k)

        keep = lambda r, rows, labels, change: seen.append(int((labels > 127).sum()))
        network, labels = iterate(
            config,
            images,
            start.labels,
            lambda z: z,
            lambda z: torch.zeros(len(z)),
            teach,
            fabric,
            [start.labels],
            keep,
        )
        assert label_dice(predict_probabilities(network, images.pixels, fabric), labels).min() == 1
        return [n / seen[0] for n in (*seen, int((labels > 127).sum()))]

    monkeypatch.setattr(
        "aeseg.method.rounds.score_labels", lambda labels, *a, **k: dict(score=torch.ones(len(labels)))
    )
    assert areas() == pytest.approx([1] * 4, rel=0.05)
    assert max(abs(a - 1) for a in areas(calibrate_area=False)) > 0.1


def test_switch(aeseg, finished, phantoms, tmp_path):
    "Through `fit`; it changes nothing up to the labels, and the masks after them."
    run = tmp_path / "run"
    assert (
        aeseg(
            "fit", "--images", phantoms, "--out", run, *FAST, "--labels-of", finished, "-p", "calibrate_area=false"
        ).code
        == 0
    )
    off, on = learned(run), learned(finished)
    assert off["model.safetensors"] != on["model.safetensors"] and all(
        off[k] == on[k] for k in on if k.startswith("pseudo_labels")
    )
    differ = [k for k in on["model.safetensors"] if on["model.safetensors"][k] != off["model.safetensors"][k]]
    assert differ == ["final_conv.bias"]  # one round: the same training, one number shifted
