"""Masks keep the area of the labels that they were learned from."""

from dataclasses import replace

import pytest
import torch
from conftest import FAST, learned
from stages import cpu_fabric, half_fabric, segmentation_stage, weight_bytes

from aeseg.core.arrays import ArrayFile, write_array
from aeseg.core.config import QualityOptions, RoundOptions
from aeseg.data.datasets import Images
from aeseg.method.quality import label_dice
from aeseg.method.rounds import learn_in_rounds
from aeseg.method.segmentation import calibrate_area, predict_probabilities


def trained(fabric, **values):
    stage = segmentation_stage(fabric, **values)
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
    stage, everything = trained(cpu_fabric(), segmentation_loss=name), torch.arange(8)
    stage.kept = everything[:4]
    stage.labels[4:] = 0
    assert abs(covered(stage, stage.kept) / labelled(stage, stage.kept) - 1) > 0.1  # else nothing is to do
    first = len(list(stage.network.parameters()))
    second = weight_bytes(stage)[first:]
    assert calibrate_area(stage)
    assert covered(stage, stage.kept) == pytest.approx(labelled(stage, stage.kept), rel=0.02)
    assert abs(calibrate_area(stage)) <= 2 * 32 / 2**14  # nothing is left to do, but for the width of a bin
    assert weight_bytes(stage)[first:] == second  # co-teaching's second network is not C
    assert stage.network.training


@pytest.mark.parametrize("value, share", [(0, 0.0), (255, 1.0)])
def test_empty_and_full_labels(value, share):
    stage = trained(cpu_fabric())
    stage.labels[:] = value
    calibrate_area(stage)
    assert covered(stage, stage.kept) == pytest.approx(share * stage.labels.numel(), rel=1e-3)


def test_files_and_half_precision(tmp_path):
    "Pixels and labels may lie in files; outputs may be fp16."
    held, stored = trained(cpu_fabric()), trained(cpu_fabric())
    stored.pixels, stored.labels = [write_array([t], t.shape, tmp_path) for t in (stored.pixels, stored.labels)]
    assert isinstance(stored.pixels, ArrayFile) and calibrate_area(held) == calibrate_area(stored)
    half = trained(half_fabric())
    calibrate_area(half)
    assert covered(half, half.kept) == pytest.approx(labelled(half, half.kept), rel=0.05)


def areas_of_rounds(calibrate_area):
    "The area of each round's labels, and of C's last ones, relative to the first."
    stage, fabric = segmentation_stage(cpu_fabric()), cpu_fabric()
    images = Images(stage.image_ids, stage.pixels, (None,) * 8, ("train",) * 8)

    def train(stage, steps):
        for k in range(steps):
            stage.step(k)

    rounds = learn_in_rounds(
        images,
        stage.labels,
        [stage.labels],
        lambda labels, others: dict(score=torch.ones(len(labels))),
        train,
        fabric,
        QualityOptions(selection=False),
        replace(stage.options, calibrate_area=calibrate_area),
        RoundOptions(3, stop_change=0.0),
    )
    areas = []
    for done in rounds:
        areas.append(int((done.labels > 127).sum()))
    assert label_dice(predict_probabilities(done.network, images.pixels, fabric), done.predictions).min() == 1
    return [n / areas[0] for n in (*areas, int((done.predictions > 127).sum()))]


def test_rounds():
    "Every round learns from labels of the first ones' area, and C has it, too; switched off, nothing is shifted."
    assert areas_of_rounds(True) == pytest.approx([1] * 4, rel=0.05)
    assert max(abs(a - 1) for a in areas_of_rounds(False)) > 0.1


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
