"""The parts of the method are plain PyTorch and work alone, without configuration, run folder or Fabric."""

import json
import subprocess
import sys

import pytest
import torch
from commands import ONE_CORE, ROOT
from monai.losses import DiceLoss
from torch import nn

from aeseg.core.config import Config, make_config
from aeseg.method.dgcc import DGCC, Feedback
from aeseg.method.losses import NoiseWeightedDiceLoss, noise_robust_dice, noise_weighted_dice
from aeseg.method.networks import PatchDiscriminator
from aeseg.method.quality import score_labels, select_labels
from aeseg.method.vae import MaskVAE, VAEDiscriminator, vae_loss
from aeseg.shapes.ellipses import ELLIPSES, EllipsePrior
from aeseg.shapes.given_masks import MaskPrior
from aeseg.shapes.statistical import StatisticalPrior

CANVAS = (32, 32)


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch):
    "A configuration that is made within a test is an error."

    def refuse(self, *args, **kw):
        raise AssertionError("a configuration was made")

    monkeypatch.setattr(Config, "__init__", refuse)


def test_a_configuration_would_be_seen():
    with pytest.raises(AssertionError, match="configuration"):
        make_config("smoke")


# ---------------------------------------------------------------- a plain network in a plain loop


@pytest.fixture(scope="module")
def trained():
    "What the program says that trains a U-Net on discs."
    command = [sys.executable, ROOT / "tests/plain_training.py"]
    done = subprocess.run(command, env=ONE_CORE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_weights_teach_a_plain_network_more_than_its_labels_know(trained):
    assert trained["weighted"] > 0.85
    assert trained["weighted"] > trained["labels"] + 0.15
    assert trained["weighted"] > trained["unweighted"] + 0.15  # the control: the same loss, weights of one
    assert trained["dropped"] == [9, 19, 29, 39]  # the labels that lie elsewhere


# no run folder, no training loop and no device of ours, no Fabric
FOREIGN = ("lightning_fabric", "aeseg.core.runs", "aeseg.core.training", "aeseg.core.processes", "aeseg.app")


@pytest.mark.slow
@pytest.mark.parametrize("name", FOREIGN)
def test_a_plain_loop_loads_nothing_of_the_application(trained, name):
    loaded = trained["modules"]
    assert {"monai.networks.nets", "aeseg.method.losses", "aeseg.method.quality"} <= set(loaded)
    assert not [module for module in loaded if module == name or module.startswith(name + ".")]


# ---------------------------------------------------------------- the loss


def example(*shape, seed=0):
    "Logits, labels of 0 and 1, weights."
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape, generator=g, dtype=torch.float64)
    labels = (torch.rand(shape, generator=g) > 0.6).double()
    return logits, labels, torch.rand(shape, generator=g, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(3, 1, 8, 9), (2, 3, 8, 9), (2, 2, 6, 5, 4)], ids=str)
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_the_loss_is_monais_for_weights_of_one(shape, batch, reduction):
    options = dict(sigmoid=True, batch=batch, reduction=reduction)
    logits, labels, weights = example(*shape)
    ours, monai = NoiseWeightedDiceLoss(**options), DiceLoss(**options, smooth_nr=1.0, smooth_dr=1.0)
    value, expected = ours(logits, labels, torch.ones_like(weights)), monai(logits, labels)
    assert torch.allclose(value, expected.view_as(value), atol=1e-12)
    assert torch.equal(ours(logits, labels), value)
    assert not torch.allclose(ours(logits, labels, weights), value, atol=1e-3)


def test_module_and_function_are_the_same_loss():
    logits, labels, weights = example(3, 1, 8, 9)
    value = NoiseWeightedDiceLoss(sigmoid=True)(logits, labels, weights)
    assert torch.allclose(value, noise_weighted_dice(torch.sigmoid(logits), labels, weights))


def test_robust_dice_is_monais_with_squares():
    logits, labels, _ = example(3, 1, 8, 9)
    monai = DiceLoss(batch=True, squared_pred=True, smooth_nr=1.0, smooth_dr=1.0)
    p = torch.sigmoid(logits)
    assert torch.allclose(noise_robust_dice(p, labels, torch.ones(()), gamma=2.0), monai(p, labels))


def test_an_image_of_weight_zero_does_not_count():
    logits, labels, _ = example(3, 1, 8, 9)
    loss = NoiseWeightedDiceLoss(sigmoid=True)
    image_weights = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64).view(3, 1, 1, 1)
    assert torch.allclose(loss(logits, labels, image_weights), loss(logits[:2], labels[:2]))


# ---------------------------------------------------------------- DGCC around any encoder and decoder


def small_network(feedback_channels=3, passes=2):
    "An encoder and a decoder that are not ours, with DGCC between them."
    encoder = nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU())
    decoder = nn.Sequential(nn.ConvTranspose2d(8, 1, 2, 2), nn.Sigmoid())
    return DGCC(encoder, decoder, 8, feedback_channels, passes, reduction=1)


def part_means(z):
    "A feedback that is not ours: the mean of masks (N, 1, H, W) in three parts of the canvas, as (N, 3)."
    return torch.stack([part.mean((1, 2, 3)) for part in z.tensor_split(3, dim=3)], 1)


@pytest.mark.parametrize("passes", [1, 2])
def test_dgcc_begins_as_the_plain_network(passes):
    x, network = torch.randn(2, 1, *CANVAS), small_network(passes=passes)
    z = network(x, part_means)
    assert z.shape == (2, 1, *CANVAS)
    assert torch.equal(z, network.decoder(network.encoder(x)))


def test_dgcc_learns_gates_from_feedback():
    torch.manual_seed(0)
    x, network = torch.randn(4, 1, *CANVAS), small_network()
    target = (x > 0).float()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(20):
        loss = nn.functional.binary_cross_entropy(network(x, part_means), target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    gates = network.calibration(part_means(network(x, part_means)))
    assert ((gates > 0) & (gates < 2)).all()
    assert gates.std() > 0
    other_feedback = network(x, lambda z: 5 * part_means(z))
    assert not torch.equal(network(x, part_means), other_feedback)


def test_dgcc_with_the_features_of_a_discriminator():
    discriminator = PatchDiscriminator(1, channels=4, layers=2)
    feedback = Feedback(discriminator)
    network = small_network(feedback.channels)
    network(torch.randn(2, 1, *CANVAS), feedback).mean().backward()
    assert all(p.grad is None for p in discriminator.parameters())
    assert network.calibration.expand.weight.grad.abs().sum() > 0


# ---------------------------------------------------------------- shape priors


def ellipses(count, seed=0):
    prior = EllipsePrior(CANVAS, ELLIPSES["fetal_head"])
    return prior.sample(count, torch.Generator().manual_seed(seed))


def blocks(count, seed=0):
    "Masks of two separate blocks, left and right, as no head looks."
    masks, g = torch.zeros(count, 1, *CANVAS), torch.Generator().manual_seed(seed)
    for mask in masks[:, 0]:
        for column, row in zip((4, 20), torch.randint(2, 24, (2,), generator=g).tolist()):
            mask[row : row + 8, column : column + 8] = 1
    return masks


PRIORS = {
    "ellipses": lambda: EllipsePrior(CANVAS, ELLIPSES["fetal_head"]),
    "given masks": lambda: MaskPrior((ellipses(8) * 255).byte()),
    "statistical": lambda: StatisticalPrior(ellipses(8), 3),
}


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_draws_masks(name):
    prior = PRIORS[name]()
    first, again = (prior.sample(5, torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.shape == (5, 1, *CANVAS)
    assert first.dtype == torch.float32
    assert 0 <= first.min() <= first.max() <= 1
    assert (first > 0.5).flatten(1).any(1).all()
    assert torch.equal(first, again)
    assert not torch.equal(first, prior.sample(5, torch.Generator().manual_seed(2)))


# ---------------------------------------------------------------- the VAE-based discriminator


@pytest.fixture(scope="module")
def vae():
    "A small VAE of ellipses, trained by a plain loop. Not to be changed."
    torch.manual_seed(0)
    network, g = MaskVAE(CANVAS, channels=8, latent=8), torch.Generator().manual_seed(0)
    prior = EllipsePrior(CANVAS, ELLIPSES["fetal_head"])
    optimizer = torch.optim.Adam(network.parameters(), 4e-3)
    for _ in range(140):
        loss = vae_loss(network, prior.sample(16, g), generator=g)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.requires_grad_(False)


def train_critic(discriminator, real, generated):
    optimizer = torch.optim.Adam(discriminator.critic.parameters(), 1e-2)
    for _ in range(60):
        loss = discriminator.discriminator_loss(real, generated)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_the_discriminator_learns_which_shapes_are_real(vae):
    torch.manual_seed(0)
    discriminator = VAEDiscriminator(vae)
    train_critic(discriminator, ellipses(32), blocks(32))
    unusual, usual = blocks(16, seed=9).requires_grad_(), ellipses(16, seed=9)
    assert discriminator.generator_loss(unusual) > 4 * discriminator.generator_loss(usual)
    discriminator.generator_loss(unusual).backward()
    assert unusual.grad.abs().sum() > 0


def test_without_a_critic_the_divergence_is_the_loss(vae):
    discriminator = VAEDiscriminator(vae, loss="kl_divergence")
    assert discriminator.critic is None
    full_masks = torch.ones(16, 1, *CANVAS, requires_grad=True)
    loss = discriminator.generator_loss(full_masks)
    assert loss > 2 * discriminator.generator_loss(ellipses(16))
    loss.backward()
    assert full_masks.grad.abs().sum() > 0


def test_reconstructions_tell_usual_from_unusual_shapes(vae):
    distance = VAEDiscriminator(vae).reconstruction_loss
    assert distance(blocks(16)) > 1.5 * distance(ellipses(16))


# ---------------------------------------------------------------- quality scores and selection


def compactness(z):
    "Scores (N,) of masks that are not ours: how short their outlines are for their areas."
    outlines = z.diff(dim=2).abs().sum((1, 2, 3)) + z.diff(dim=3).abs().sum((1, 2, 3))
    return z.sum((1, 2, 3)).sqrt() / outlines


@pytest.mark.parametrize("kind", ["vae", "vae_ensemble", "combined"])
def test_corrupted_labels_are_left_out(vae, kind):
    "By scores from a VAE, any function of masks in the place of D_z, and any second opinion."
    truth = ellipses(20, seed=3)
    labels = truth.clone()
    labels[::5] = blocks(4)
    scores = score_labels(labels, vae, compactness, [truth], kind=kind)
    assert scores["score"].shape == (20,)
    kept = select_labels(scores["score"], 0.8)
    assert (~kept).nonzero()[:, 0].tolist() == [0, 5, 10, 15]


def test_selection_by_any_score():
    assert select_labels(torch.tensor([0.1, 0.9, 0.5, 0.7]), 0.5).tolist() == [False, True, False, True]
