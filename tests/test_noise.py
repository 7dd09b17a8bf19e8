"""Masks that are spoilt on purpose: what holds for shapes of every kind, however small, large or near the frame."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from aeseg.studies.corrupted_masks import CORRUPTIONS, corrupt, organ_size
from aeseg.method.quality import label_dice


def shapes():
    "Twenty masks: blobs, some cut by the frame, one pixel, a line, a corner, everything but a pixel, everything."
    rng, masks = np.random.default_rng(5), []
    for k in range(15):
        field = gaussian_filter(rng.standard_normal((48, 40)), 2 + k % 4)
        masks.append(field > np.quantile(field, 0.5 + 0.03 * k))
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


@pytest.mark.parametrize("kind", [*CORRUPTIONS, "mixed"])
def test_every_shape(kind):
    losses = []
    for strength in (0.0, 0.03, 0.2, 0.7, 3.0, 100.0):
        made = corrupt(MASKS, kind, 1.0, strength, seed=1)
        assert (
            made.corrupted.all()
            and (made.masks > 0).flatten(1).any(1).all()
            and set(made.masks.unique().tolist()) <= {0, 255}
        )
        assert torch.equal(made.error, (made.masks > 0) != MASKS)
        losses.append(1 - label_dice(made.masks, MASKS))
    assert losses[0].max() == 0 and (torch.stack(losses).diff(dim=0) >= -1e-6).all()
    assert losses[3][:15].min() > 0.1  # every blob is spoilt


@pytest.mark.parametrize(
    "kind, sides", [("dilation", (1, 0)), ("erosion", (0, 1)), ("missing", (0, 1)), ("warp", (1, 1))]
)
def test_what_is_added_and_what_is_missing(kind, sides):
    made = corrupt(MASKS[:15], kind, 1.0, 0.3)
    added, missing = (made.error & ~MASKS[:15]).flatten(1).any(1), (made.error & MASKS[:15]).flatten(1).any(1)
    assert (added.all() if sides[0] else not added.any()) and (
        missing.all() if sides[1] else not missing.any()
    )
    eroded, bitten = (corrupt(MASKS, k, 1.0, 0.3).error.sum((1, 2, 3)) for k in ("erosion", "missing"))
    assert torch.equal(eroded, bitten)


@pytest.mark.parametrize("rate, count", [(0, 0), (0.05, 1), (0.3, 6), (0.5, 10), (1, 20)])
def test_exactly_so_many_and_always_the_same(rate, count):
    made = corrupt(MASKS, rate=rate, seed=3)
    assert (
        made.corrupted.sum() == count
        and torch.equal(made.masks[~made.corrupted] > 0, MASKS[~made.corrupted])
        and not made.error[~made.corrupted].any()
    )
    again, all_of_them = corrupt(MASKS, rate=rate, seed=3), corrupt(MASKS, rate=1, seed=3)
    assert torch.equal(again.masks, made.masks) and torch.equal(
        all_of_them.masks[made.corrupted], made.masks[made.corrupted]
    )


def test_all_kinds_are_in_a_mixture():
    "Of a hundred discs, each kind has its share."
    y, x = np.mgrid[:40, :40]
    disc = torch.from_numpy((y - 20) ** 2 + (x - 20) ** 2 < 100)
    mixed = corrupt(disc.expand(100, 1, 40, 40), "mixed", 1.0, 0.3).masks
    alone = {k: corrupt(disc.expand(1, 1, 40, 40), k, 1.0, 0.3).masks for k in ("dilation", "erosion")}
    share = {k: (mixed == m).flatten(1).all(1).sum().item() for k, m in alone.items()}
    grown = (mixed > 0).sum((1, 2, 3)).float() / disc.sum()
    assert (
        all(12 < n < 40 for n in share.values())
        and len(mixed.unique(dim=0)) > 40
        and 0.3 < grown.min()
        and grown.max() < 2.0
    )


@pytest.mark.parametrize("factor", [2, 3])
def test_strength_does_not_depend_on_the_scale(factor):
    "The same shapes on a finer canvas lose the same Dice."
    fine = MASKS[:15].repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    for kind in ("dilation", "erosion", "missing"):
        coarse, finer = [
            (1 - label_dice(corrupt(m, kind, 1.0, 0.25).masks, m)).mean() for m in (MASKS[:15], fine)
        ]
        assert abs(coarse - finer) < 0.06, (kind, coarse, finer)
    sizes = [np.mean([organ_size(m[0].numpy()) for m in masks]) for masks in (MASKS[:15], fine)]
    assert sizes[1] / sizes[0] == pytest.approx(factor, rel=0.15)
