"""Corrupted masks: what holds for shapes of every kind, however small, large or near the frame."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from aeseg.method.quality import label_dice
from aeseg.studies.corrupted_masks import CORRUPTIONS, corrupt, organ_size


def shapes():
    "Twenty masks: 15 blobs, one pixel, a line, a corner, all pixels but one, all pixels."
    rng, masks = np.random.default_rng(5), []
    for k in range(15):
        field = gaussian_filter(rng.standard_normal((48, 40)), 2 + k % 4)
        masks.append(field > np.quantile(field, 0.5 + 0.03 * k))  # some are cut by the frame
    for _ in range(5):
        masks.append(np.zeros((48, 40), bool))
    masks[15][20, 7] = True
    masks[16][10, :] = True
    masks[17][0, 0] = True
    masks[18][:] = True
    masks[18][3, 3] = False
    masks[19][:] = True
    return torch.from_numpy(np.stack(masks))[:, None]


MASKS = shapes()
BLOBS = MASKS[:15]


@pytest.mark.parametrize("kind", [*CORRUPTIONS, "mixed"])
def test_every_shape(kind):
    losses = []
    for strength in (0.0, 0.03, 0.2, 0.7, 3.0, 100.0):
        corruption = corrupt(MASKS, kind, 1.0, strength, seed=1)
        assert corruption.corrupted.all()
        assert (corruption.masks > 0).flatten(1).any(1).all()
        assert set(corruption.masks.unique().tolist()) <= {0, 255}
        assert torch.equal(corruption.error, (corruption.masks > 0) != MASKS)
        losses.append(1 - label_dice(corruption.masks, MASKS))
    assert losses[0].max() == 0
    assert (torch.stack(losses).diff(dim=0) >= -1e-6).all()
    assert losses[3][:15].min() > 0.1  # every blob is changed


@pytest.mark.parametrize(
    "kind, adds, removes",
    [
        ("dilation", True, False),
        ("erosion", False, True),
        ("missing", False, True),
        ("warp", True, True),
    ],
)
def test_pixels_that_are_added_and_missing(kind, adds, removes):
    error = corrupt(BLOBS, kind, 1.0, 0.3).error
    added, missing = (error & ~BLOBS).flatten(1).any(1), (error & BLOBS).flatten(1).any(1)
    assert added.all() if adds else not added.any()
    assert missing.all() if removes else not missing.any()


def test_a_missing_part_is_as_large_as_an_erosion():
    eroded, missing = (corrupt(BLOBS, kind, 1.0, 0.3).error for kind in ("erosion", "missing"))
    assert torch.equal(eroded.sum((1, 2, 3)), missing.sum((1, 2, 3)))


@pytest.mark.parametrize("rate, count", [(0, 0), (0.05, 1), (0.3, 6), (0.5, 10), (1, 20)])
def test_the_rate_is_exact_and_the_draws_are_the_same(rate, count):
    corruption = corrupt(MASKS, rate=rate, seed=3)
    corrupted = corruption.corrupted
    assert corrupted.sum() == count
    assert torch.equal(corruption.masks[~corrupted] > 0, MASKS[~corrupted])
    assert not corruption.error[~corrupted].any()
    assert torch.equal(corrupt(MASKS, rate=rate, seed=3).masks, corruption.masks)
    complete = corrupt(MASKS, rate=1, seed=3)
    assert torch.equal(complete.masks[corrupted], corruption.masks[corrupted])


def test_all_kinds_are_in_a_mixture():
    "Of a hundred discs, each kind has its share."
    y, x = np.mgrid[:40, :40]
    disc = torch.from_numpy((y - 20) ** 2 + (x - 20) ** 2 < 100)
    mixed = corrupt(disc.expand(100, 1, 40, 40), "mixed", 1.0, 0.3).masks
    for kind in ("dilation", "erosion"):  # these two are not random
        alone = corrupt(disc.expand(1, 1, 40, 40), kind, 1.0, 0.3).masks
        assert 12 < (mixed == alone).flatten(1).all(1).sum() < 40
    area = (mixed > 0).sum((1, 2, 3)).float() / disc.sum()
    assert len(mixed.unique(dim=0)) > 40
    assert 0.3 < area.min()
    assert area.max() < 2.0


@pytest.mark.parametrize("factor", [2, 3])
def test_strength_does_not_depend_on_the_scale(factor):
    "The same shapes on a finer canvas lose the same Dice."
    fine = BLOBS.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    for kind in ("dilation", "erosion", "missing"):
        coarse_loss, fine_loss = (
            (1 - label_dice(corrupt(masks, kind, 1.0, 0.25).masks, masks)).mean() for masks in (BLOBS, fine)
        )
        assert abs(coarse_loss - fine_loss) < 0.06, (kind, coarse_loss, fine_loss)
    coarse_size = np.mean([organ_size(mask[0].numpy()) for mask in BLOBS])
    fine_size = np.mean([organ_size(mask[0].numpy()) for mask in fine])
    assert fine_size / coarse_size == pytest.approx(factor, rel=0.15)
