"""Losses for noisy labels, compared with those of PyMIC, and training with them."""

import os

import pytest
import torch
from commands import FAST, parameters
from run_folders import learned, read_rows
from stages import SEGMENTATION, cpu_fabric, meta_fabric, segmentation_stage, take_steps, weight_bytes

import aeseg.method.segmentation as segmentation
from aeseg.core.config import make_config
from aeseg.core.processes import launch
from aeseg.core.runs import Run
from aeseg.core.training import train
from aeseg.method.losses import (
    cross_entropy,
    generalised_cross_entropy,
    mean_absolute_error,
    noise_robust_dice,
    noise_weighted_dice,
    small_loss,
)

# ---------------------------------------------------------------- PyMIC

WHY = (
    "PyMIC is not installed; its loss modules are the second implementation here: make install, or pip"
    " install --no-deps PYMIC"
)


@pytest.fixture(scope="module")
def pymic():
    "Name -> loss of PyMIC on probabilities. The rest of PyMIC needs packages that we do without."
    path = "pymic.loss.seg"
    ce, dice, mse = [pytest.importorskip(f"{path}.{name}", reason=WHY) for name in ("ce", "dice", "mse")]
    classes = dict(
        CE=ce.CrossEntropyLoss,
        GCE=ce.GeneralizedCELoss,
        MAE=mse.MAELoss,
        dice=dice.DiceLoss,
        NR=dice.NoiseRobustDiceLoss,
    )

    def call(name, p, y, w=None, **options):
        given = dict(prediction=p, ground_truth=y)
        if w is not None:
            given["pixel_weight"] = w
        return classes[name](dict(loss_acti_func=None, **options))(given).item()

    return call


def both(t):
    "PyMIC has a channel for the background."
    return torch.cat([1 - t, t], 1)


@pytest.fixture(params=range(5))
def example(request):
    "Probabilities, labels and weights; some labels are soft, as augmentation makes them, one is empty."
    g = torch.Generator().manual_seed(request.param)

    def uniform():
        return torch.rand(3, 1, 12, 17, generator=g, dtype=torch.float64)

    y = (uniform() < 0.3).double() if request.param < 3 else uniform()
    if request.param == 2:
        y[0] = 0
    return (uniform() * 0.98 + 0.01), y, uniform()


ONE = torch.ones(())


def close(value, rel=1e-6):
    return pytest.approx(value, rel=rel)


@pytest.mark.parametrize("weighted", [False, True])
def test_means_over_pixels(pymic, example, weighted):
    p, y, w = example
    ours, theirs = (w, w) if weighted else (ONE, None)
    assert cross_entropy(p, y, ours).item() == close(pymic("CE", both(p), both(y), theirs))
    assert mean_absolute_error(p, y, ours).item() == close(pymic("MAE", p, y, theirs))
    for q in (0.1, 0.5, 0.7, 1.0):
        expected = pymic("GCE", both(p), both(y), theirs, loss_gce_q=q)
        assert generalised_cross_entropy(p, y, ours, q=q).item() == close(expected)


def test_weighted_dice(pymic, example):
    p, y, w = example
    assert noise_weighted_dice(p, y, w, epsilon=1e-5).item() == close(pymic("dice", p, y, w))


@pytest.mark.parametrize("gamma", [1.0, 1.5, 2.0])
def test_noise_robust_dice(pymic, example, gamma):
    "PyMIC divides by the sum of p + y, the paper and we by that of the squares: the same for masks."
    p, y, _ = example

    def ours(p):
        return noise_robust_dice(p, y, ONE, gamma=gamma, epsilon=1e-5).item()

    def theirs(p):
        return pymic("NR", p, y, noiserobustdiceloss_gamma=gamma)

    numerator, expected = ours(p) * (p**2 + y**2).sum().item(), theirs(p) * (p + y).sum().item()
    assert numerator == close(expected, rel=1e-5)
    if ((y == 0) | (y == 1)).all():
        assert ours(p.round()) == close(theirs(p.round()))


@pytest.mark.parametrize("forget", [0.0, 0.05, 0.3, 0.9])
def test_small_losses_are_those_of_the_original(example, forget):
    "The original sorts the losses and takes the first (1 - forget rate) of them."
    p, y, w = example
    losses = torch.nn.functional.binary_cross_entropy(p, y, reduction="none").flatten()
    kept = small_loss(p, y, w, forget).flatten() > 0
    expected = losses.argsort()[: round((1 - forget) * len(losses))]
    assert set(kept.nonzero()[:, 0].tolist()) == set(expected.tolist())


# ---------------------------------------------------------------- training

LOSSES = (
    "cross_entropy",
    "mean_absolute_error",
    "generalised_cross_entropy",
    "noise_robust_dice",
    "co_teaching",
)
TRAININGS = {
    **{name: dict(segmentation_loss=name) for name in LOSSES},
    "wide": dict(segmentation_augmentation="wide"),
}


@pytest.mark.parametrize("name", TRAININGS)
def test_interrupted_training_goes_on_exactly(tmp_path, name):
    "Half of the steps, and the rest by another object from its checkpoint."
    fabric = cpu_fabric("auto")

    def trained(*parts):
        run = Run.open(tmp_path / f"{len(parts)}", make_config("smoke"))
        for steps in parts:
            stage = segmentation_stage(fabric, **TRAININGS[name])
            train(stage, steps, run, quiet=True, fabric=fabric)
        return stage

    whole, halves = trained(6), trained(3, 6)
    assert len(whole.networks) == (2 if name == "co_teaching" else 1)
    assert weight_bytes(whole) == weight_bytes(halves)
    assert weight_bytes(whole) != weight_bytes(segmentation_stage(fabric, **TRAININGS[name]))


@pytest.mark.parametrize("name", TRAININGS)
def test_no_step_waits_for_the_device(name):
    take_steps([segmentation_stage(meta_fabric(), **TRAININGS[name])])


def gradients_of(fabric, path):
    "Gradients of two steps with every loss, to a file a process."

    def gradients(name):
        values = dict(TRAININGS[name], segmentation_batch=4 // fabric.world_size)
        stage = segmentation_stage(fabric, **values)
        stage.step(0)
        stage.step(3)
        return torch.cat([p.grad.flatten() for p in stage.networks.parameters()])

    result = {name: gradients(name) for name in TRAININGS}
    with pytest.MonkeyPatch.context() as patch:  # a control: each process chooses among its own pixels
        patch.setattr(segmentation, "all_gather", lambda fabric, t: t)
        result["apart"] = gradients("co_teaching")
    torch.save(result, path / f"{fabric.world_size}_{fabric.global_rank}.pt")


@pytest.mark.slow
@pytest.mark.skipif(os.cpu_count() < 2, reason="two processes need two cores")
def test_two_processes_are_one_with_the_doubled_batch(tmp_path):
    for devices in (1, 2):
        launch(gradients_of, make_config("smoke", **SEGMENTATION, devices=devices).machine, tmp_path)
    one, *two = [torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1_0", "2_0", "2_1")]

    def difference(name):
        "The largest one to one process, relative to its gradient."
        return max((other[name] - one[name]).norm() / one[name].norm() for other in two)

    for name in TRAININGS:
        assert difference(name) < 1e-3, name
    assert difference("apart") > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["generalised_cross_entropy", "co_teaching"])
def test_fit(aeseg, finished, phantoms, tmp_path, name):
    "A run learns with it, from the labels of another run. Co-teaching leaves a model of one network."
    run = tmp_path / "run"
    command = ["fit", "--images", phantoms, "--out", run, *FAST, "--labels-of", finished]
    command += parameters(dict(segmentation_loss=name))
    assert aeseg(*command, "-p", "noise_power=3").code == 0
    assert {float(row["weight"]) for row in read_rows(run / "quality.csv")} <= {0.0, 1.0}
    model, of_finished = (learned(folder)["model.safetensors"] for folder in (run, finished))
    assert model.keys() == of_finished.keys()
    assert model != of_finished
    # none of these losses uses noise weights
    assert aeseg(*command, "-p", "noise_power=1", "--overwrite").code == 0
    assert learned(run)["model.safetensors"] == model
