"""A plain MONAI U-Net in a plain loop learns discs from noisy labels; a program of its own for test_parts.

    python tests/plain_training.py

Of this package it uses the loss, the weights and the quality scores only. It prints as JSON the mean Dice of
the masks against the truth, with and without weights, and the modules that were loaded.
"""

import json
import sys

import torch
from monai.networks.nets import UNet

import aeseg.core.config
from aeseg.method.losses import NoiseWeightedDiceLoss, soft_label_weights
from aeseg.method.quality import label_dice, select_labels

COUNT, SIZE, STEPS = 40, 32, 160


def refuse(self, *args, **kw):
    raise AssertionError("a configuration was made")


def draw_discs(generator):
    "Noisy images (N, 1, H, W) of bright discs with a dim rim, the discs, and the rims."
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    centre = torch.rand(COUNT, 2, 1, 1, generator=generator) * 8 + SIZE / 2 - 4
    radius = torch.rand(COUNT, 1, 1, generator=generator) * 2 + 5
    distance = torch.hypot(y - centre[:, 0], x - centre[:, 1])[:, None]
    discs, rims = (distance < radius[:, None]).float(), (distance < radius[:, None] + 4).float()
    noise = 0.1 * torch.randn(COUNT, 1, SIZE, SIZE, generator=generator)
    return discs + 0.4 * (rims - discs) + noise, discs, rims - discs


def draw_probabilities(discs, rims, generator):
    "What an earlier model says: in 6 of 10 images it takes the rim for a part of the disc, and is uncertain."
    probabilities = 0.03 + 0.94 * discs
    mistaken = torch.arange(COUNT) % 10 < 6
    probabilities[mistaken] += 0.53 * rims[mistaken]
    lost = torch.arange(COUNT) % 10 == 9  # its masks of these images lie anywhere
    probabilities[lost] = probabilities[lost].roll((11, 11), (2, 3))
    return probabilities


def train(images, labels, weights):
    "The plain loop; the masks of the trained network."
    torch.manual_seed(0)
    network = UNet(2, 1, 1, channels=(8, 16, 32), strides=(2, 2), num_res_units=1)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    loss = NoiseWeightedDiceLoss(sigmoid=True)
    for step in range(STEPS):
        rows = torch.arange(8 * step, 8 * step + 8) % len(images)
        value = loss(network(images[rows]), labels[rows], weights[rows])
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    with torch.no_grad():
        return (network(images) > 0).float()


def main():
    torch.set_num_threads(1)
    aeseg.core.config.Config.__init__ = refuse
    generator = torch.Generator().manual_seed(0)
    images, discs, rims = draw_discs(generator)
    probabilities = draw_probabilities(discs, rims, generator)
    labels, pixel_weights = soft_label_weights(probabilities, power=4.0)
    # the agreement with a second opinion, as an ensemble gives it
    scores = label_dice(labels, (images > 0.7).float())
    kept = select_labels(scores, 0.9)
    weights = pixel_weights * scores.view(-1, 1, 1, 1)
    weighted = train(images[kept], labels[kept], weights[kept])
    unweighted = train(images[kept], labels[kept], torch.ones_like(weights[kept]))
    result = dict(
        labels=label_dice(labels[kept], discs[kept]).mean().item(),
        weighted=label_dice(weighted, discs[kept]).mean().item(),
        unweighted=label_dice(unweighted, discs[kept]).mean().item(),
        dropped=sorted((~kept).nonzero()[:, 0].tolist()),
        modules=sorted(sys.modules),
    )
    print(json.dumps(result))


if __name__ == "__main__":
    main()
