"""Masks keep the area of the labels that they were learned from."""

from dataclasses import replace

import pytest
import torch
from commands import FAST
from run_folders import learned
from stages import cpu_fabric, half_fabric, segmentation_stage, weight_bytes

from aeseg.core.arrays import ArrayFile, write_array
from aeseg.core.config import QualityOptions, RoundOptions
from aeseg.data.datasets import Images
from aeseg.method.quality import label_dice
from aeseg.method.rounds import learn_in_rounds
from aeseg.method.segmentation import calibrate_area, predict_probabilities


def trained(fabric, **values):
    "A segmentation stage after six steps."
    stage = segmentation_stage(fabric, **values)
    for k in range(6):
        stage.step(k)
    return stage


def area(masks):
    "Pixels of masks (N, 1, H, W), uint8."
    return int((masks > 127).sum())


def predicted_area(stage):
    "Pixels of C's masks for the images of the kept labels."
    return area(predict_probabilities(stage.network, stage.pixels[stage.kept], stage.fabric))


def label_area(stage):
    "Pixels of the kept labels."
    return area(stage.labels[stage.kept])


@pytest.mark.parametrize("name", ["noise_weighted_dice", "cross_entropy", "co_teaching"])
def test_area_of_the_labels_that_were_learned_from(name):
    "Of those alone: the dropped ones are empty, and would halve it."
    stage = trained(cpu_fabric(), segmentation_loss=name)
    stage.kept = torch.arange(4)
    stage.labels[4:] = 0
    assert abs(predicted_area(stage) / label_area(stage) - 1) > 0.1  # else there is nothing to do
    first = len(list(stage.network.parameters()))
    second_network = weight_bytes(stage)[first:]
    assert calibrate_area(stage)
    assert predicted_area(stage) == pytest.approx(label_area(stage), rel=0.02)
    assert abs(calibrate_area(stage)) <= 2 * 32 / 2**14  # nothing is left to do, but for the width of a bin
    assert weight_bytes(stage)[first:] == second_network  # co-teaching's second network is not C
    assert stage.network.training


@pytest.mark.parametrize("value, share", [(0, 0.0), (255, 1.0)])
def test_empty_and_full_labels(value, share):
    stage = trained(cpu_fabric())
    stage.labels[:] = value
    calibrate_area(stage)
    assert predicted_area(stage) == pytest.approx(share * stage.labels.numel(), rel=1e-3)


def test_pixels_and_labels_in_files(tmp_path):
    held, stored = trained(cpu_fabric()), trained(cpu_fabric())
    stored.pixels = write_array([stored.pixels], stored.pixels.shape, tmp_path)
    stored.labels = write_array([stored.labels], stored.labels.shape, tmp_path)
    assert isinstance(stored.pixels, ArrayFile)
    assert calibrate_area(held) == calibrate_area(stored)


def test_half_precision():
    stage = trained(half_fabric())
    calibrate_area(stage)
    assert predicted_area(stage) == pytest.approx(label_area(stage), rel=0.05)


def equal_scores(labels, others):
    return dict(score=torch.ones(len(labels)))


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
        equal_scores,
        train,
        fabric,
        QualityOptions(selection=False),
        replace(stage.options, calibrate_area=calibrate_area),
        RoundOptions(3, stop_change=0.0),
    )
    areas = []
    for done in rounds:
        areas.append(area(done.labels))
    assert label_dice(predict_probabilities(done.network, images.pixels, fabric), done.predictions).min() == 1
    return [n / areas[0] for n in (*areas, area(done.predictions))]


def test_rounds_keep_the_area():
    "Every round learns from labels of the first ones' area, and C has it, too."
    assert areas_of_rounds(True) == pytest.approx([1] * 4, rel=0.05)


def test_rounds_without_calibration_do_not():
    assert max(abs(a - 1) for a in areas_of_rounds(False)) > 0.1


@pytest.mark.slow
def test_switch(aeseg, finished, phantoms, tmp_path):
    "Through `fit`; it changes nothing up to the labels, and the masks after them."
    run = tmp_path / "run"
    command = ["fit", "--images", phantoms, "--out", run, *FAST, "--labels-of", finished]
    assert aeseg(*command, "-p", "calibrate_area=false").code == 0
    without, with_it = learned(run), learned(finished)
    assert all(without[name] == with_it[name] for name in with_it if name.startswith("pseudo_labels"))
    model, calibrated = without["model.safetensors"], with_it["model.safetensors"]
    differ = [name for name in calibrated if calibrated[name] != model[name]]
    assert differ == ["final_conv.bias"]  # one round: the same training, one number shifted
