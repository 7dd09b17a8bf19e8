"""Losses for noisy labels: against PyMIC's own; co-teaching: interrupted and continued, on two processes, and through `fit`."""

import os

import pytest
import torch
from conftest import FAST, learned
from stages import SEGMENTATION, cpu_fabric, meta_fabric, segmentation_stage, take_steps, weight_bytes

import aeseg.method.segmentation as segmentation
from aeseg.core.config import make_config
from aeseg.method.losses import cross_entropy, generalised_cross_entropy, mean_absolute_error, noise_robust_dice, noise_weighted_dice, small_loss
from aeseg.core.runs import Run
from aeseg.core.processes import launch
from aeseg.core.training import train

# ---------------------------------------------------------------- PyMIC

WHY = (
    "PyMIC is not installed; its loss modules are the second implementation here: make install, or pip"
    " install --no-deps PYMIC"
)


@pytest.fixture(scope="module")
def pymic():
    "Name -> loss of PyMIC on probabilities. Only its loss modules are imported: the rest of it needs packages that we do without."
    ce, dice, mse = [
        pytest.importorskip(f"pymic.loss.seg.{name}", reason=WHY) for name in ("ce", "dice", "mse")
    ]
    classes = dict(
        CE=ce.CrossEntropyLoss,
        GCE=ce.GeneralizedCELoss,
        MAE=mse.MAELoss,
        dice=dice.DiceLoss,
        NR=dice.NoiseRobustDiceLoss,
    )

    def call(name, p, y, w=None, **parameters):
        given = dict(prediction=p, ground_truth=y, **({} if w is None else dict(pixel_weight=w)))
        return classes[name](dict(loss_acti_func=None, **parameters))(given)

    return call


def both(t):
    return torch.cat([1 - t, t], 1)  # PyMIC has a channel for the background


@pytest.fixture(params=range(5))
def example(request):
    "Probabilities, labels and weights; the labels of some are soft, as augmentation makes them, some images are empty."
    g = torch.Generator().manual_seed(request.param)
    u = lambda: torch.rand(3, 1, 12, 17, generator=g, dtype=torch.float64)
    y = (u() < 0.3).double() if request.param < 3 else u()
    if request.param == 2:
        y[0] = 0
    return (u() * 0.98 + 0.01), y, u()


ONE = torch.ones(())


@pytest.mark.parametrize("weighted", [False, True])
def test_means_over_pixels(pymic, example, weighted):
    p, y, w = example
    mine, theirs = (w, w) if weighted else (ONE, None)
    assert cross_entropy(p, y, mine).item() == pytest.approx(
        pymic("CE", both(p), both(y), theirs).item(), rel=1e-6
    )
    assert mean_absolute_error(p, y, mine).item() == pytest.approx(
        pymic("MAE", p, y, theirs).item(), rel=1e-6
    )
    for q in (0.1, 0.5, 0.7, 1.0):
        assert generalised_cross_entropy(p, y, mine, q=q).item() == pytest.approx(
            pymic("GCE", both(p), both(y), theirs, loss_gce_q=q).item(), rel=1e-6
        )


def test_dice_losses(pymic, example):
    p, y, w = example
    assert noise_weighted_dice(p, y, w, epsilon=1e-5).item() == pytest.approx(
        pymic("dice", p, y, w).item(), rel=1e-6
    )
    for gamma in (1.0, 1.5, 2.0):
        ours = lambda p: noise_robust_dice(p, y, ONE, gamma=gamma, epsilon=1e-5).item()
        theirs = lambda p: pymic("NR", p, y, noiserobustdiceloss_gamma=gamma).item()
        # PyMIC divides by the sum of p + y, the paper and we by that of the squares: the same for masks, otherwise a known factor
        assert ours(p) * (p**2 + y**2).sum().item() == pytest.approx(
            theirs(p) * (p + y).sum().item(), rel=1e-5
        )
        if ((y == 0) | (y == 1)).all():
            assert ours(p.round()) == pytest.approx(theirs(p.round()), rel=1e-6)


def test_small_losses_are_those_of_the_original(example):
    "The original sorts the losses and takes the first (1 - forget rate) of them."
    p, y, w = example
    losses = torch.nn.functional.binary_cross_entropy(p, y, reduction="none").flatten()
    for forget in (0.0, 0.05, 0.3, 0.9):
        kept = small_loss(p, y, w, forget).flatten() > 0
        assert set(kept.nonzero()[:, 0].tolist()) == set(
            losses.argsort()[: round((1 - forget) * len(losses))].tolist()
        )


# ---------------------------------------------------------------- training

NAMES = (
    "cross_entropy",
    "mean_absolute_error",
    "generalised_cross_entropy",
    "noise_robust_dice",
    "co_teaching",
)
@pytest.mark.parametrize("name", NAMES)
def test_interrupted_training_goes_on_exactly(tmp_path, name):
    "Half of the steps, and the rest by another object from its checkpoint."
    fabric = cpu_fabric("auto")

    def run(*parts):
        run = Run.open(tmp_path / f"{len(parts)}", make_config("smoke"))
        for steps in parts:
            stage = segmentation_stage(fabric, segmentation_loss=name)
            train(stage, steps, run, quiet=True, fabric=fabric)
        return stage

    whole, halves = run(6), run(3, 6)
    assert weight_bytes(whole) == weight_bytes(halves) and len(whole.networks) == (2 if name == "co_teaching" else 1)
    assert weight_bytes(whole) != weight_bytes(segmentation_stage(fabric, segmentation_loss=name))


@pytest.mark.parametrize("name", NAMES)
def test_no_step_waits_for_the_device(name):
    take_steps([segmentation_stage(meta_fabric(), segmentation_loss=name)])


def gradients_of(fabric, path):
    "Gradients of two steps with every loss, to a file a process."

    def gradients(name):
        stage = segmentation_stage(fabric, segmentation_loss=name, segmentation_batch=4 // fabric.world_size)
        stage.step(0)
        stage.step(3)
        return torch.cat([p.grad.flatten() for p in stage.networks.parameters()])

    found = {name: gradients(name) for name in NAMES}
    with pytest.MonkeyPatch.context() as m:  # a control: each process chooses among its own pixels
        m.setattr(segmentation, "all_gather", lambda fabric, t: t)
        found["apart"] = gradients("co_teaching")
    torch.save(found, path / f"{fabric.world_size}_{fabric.global_rank}.pt")


@pytest.mark.skipif(os.cpu_count() < 2, reason="two processes want two cores")
def test_two_processes_are_one_with_the_doubled_batch(tmp_path):
    for devices in (1, 2):
        launch(gradients_of, make_config("smoke", **SEGMENTATION, devices=devices).machine, tmp_path)
    one, *two = [torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("1_0", "2_0", "2_1")]
    apart = lambda name: max((other[name] - one[name]).norm() / one[name].norm() for other in two)
    for name in NAMES:
        assert apart(name) < 1e-3, (name, apart(name))
    assert apart("apart") > 1e-2, apart("apart")


@pytest.mark.parametrize("name", ["generalised_cross_entropy", "co_teaching"])
def test_fit(aeseg, finished, phantoms, tmp_path, name):
    "A run learns with it, from the labels of another run; co-teaching leaves a model of one network; none of them knows noise weights."
    run = tmp_path / "run"
    given = [
        "fit",
        "--images",
        phantoms,
        "--out",
        run,
        *FAST,
        "--labels-of",
        finished,
        "-p",
        f"segmentation_loss={name}",
        "-p",
        "noise_power=3",
    ]
    assert aeseg(*given).code == 0
    assert {row.split(",")[-1] for row in (run / "quality.csv").read_text().split()[1:]} <= {"0.0", "1.0"}
    before = learned(run)
    assert (
        before["model.safetensors"].keys() == learned(finished)["model.safetensors"].keys()
        and before["model.safetensors"] != learned(finished)["model.safetensors"]
    )
    assert aeseg(*given[:-1], "noise_power=1", "--overwrite").code == 0
    assert learned(run)["model.safetensors"] == before["model.safetensors"]
