"""Wide augmentation: the same in one process and in several, and where it applies."""

from types import SimpleNamespace

import pytest
import torch
from stages import cpu_fabric

from aeseg.app.models import make_gan, make_vae_training, training_setting
from aeseg.core.config import make_config
from aeseg.core.draws import generator_for, shared_draws
from aeseg.data.augmentation import AUGMENTATIONS, augment_plain, augment_wide
from aeseg.data.datasets import Images
from aeseg.method.segmentation import make_training
from aeseg.shapes.priors import make_prior
from aeseg.studies.supervised import SupervisedTraining


def batch(count=8, size=(48, 64)):
    "Images in [0, 1], labels, and weights."
    g = torch.Generator().manual_seed(0)
    x, y = torch.rand(count, 1, *size, generator=g), torch.zeros(count, 1, *size)
    y[:, :, 12:36, 16:48] = 1
    return x, y, torch.ones_like(y)


def shard(tensors, rank, processes):
    return [t.chunk(processes)[rank] for t in tensors]


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_draw_what_one_process_draws(name, processes):
    augment, together = AUGMENTATIONS[name], []
    for rank in range(processes):
        given = shard(batch(), rank, processes)
        with shared_draws(SimpleNamespace(global_rank=rank, world_size=processes)):
            together.append(augment(*given, generator_for(0, "x", 0), flip=True))
    alone = augment(*batch(), generator_for(0, "x", 0), flip=True)
    for parts, whole in zip(zip(*together), alone):
        assert torch.allclose(torch.cat(parts), whole, atol=1e-5)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_batch_follows_from_its_seed_alone(name):
    augment = AUGMENTATIONS[name]
    first, again, other = (augment(*batch(), generator_for(seed, "x", 0)) for seed in (0, 0, 1))
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first[0], other[0])


def test_labels_move_with_their_images():
    "Images that show their label: on average the label's pixels stay the bright ones."
    _, y, w = batch(64)
    x, moved, weights = augment_wide(0.2 + 0.6 * y, y, w, generator_for(0, "x", 0))
    inside = (moved > 0.99) & (weights > 0.99)
    outside = (moved < 0.01) & (weights > 0.99)
    assert x[inside].mean() > x[outside].mean() + 0.5


def test_frames_hold_no_organ():
    "Outside of a picture labels are 0 and count, even where nothing in the picture does."
    x, y, w = batch(64)
    _, moved, weights = augment_wide(x, torch.ones_like(y), 0 * w, generator_for(0, "x", 0))
    counted = weights > 0.99
    assert 0.02 < counted.float().mean() < 0.5
    assert moved[counted].max() < 0.01
    _, _, plain = augment_plain(x, y, 0 * w, generator_for(0, "x", 0))
    assert plain.max() == 0


# ---------------------------------------------------------------- where it applies

IMAGES = Images(tuple("abcd"), (255 * batch(4)[0]).byte(), (None,) * 4, ("train",) * 4)


@pytest.mark.parametrize(
    "values, kind",
    [
        (dict(variant="plus"), augment_wide),
        (dict(variant="full"), augment_plain),
        (dict(variant="plus", segmentation_augmentation="plain"), augment_plain),
        (dict(variant="full", segmentation_augmentation="wide"), augment_wide),
    ],
)
def test_the_augmentation_of_a_run(values, kind):
    config = make_config("smoke", accelerator="cpu", **values)
    labels, everything = batch(4)[1], (torch.ones(4), torch.ones(4, dtype=torch.bool), cpu_fabric())
    setting = training_setting(config)
    stage = make_training(config.segmentation, IMAGES, labels, *everything, **setting)
    assert stage.augment is kind
    assert SupervisedTraining(config, IMAGES, labels, cpu_fabric()).augment is kind
    assert torch.isfinite(stage.step(0)["loss"])


def test_the_gan_takes_no_augmentation_of_c():
    config = make_config("smoke", accelerator="cpu", variant="plus", size=64)
    prior = make_prior(config.shapes, config.run.task, (64, 96))
    vae = make_vae_training(config, prior, (64, 96), cpu_fabric()).vae
    assert make_gan(config, IMAGES, prior, vae, cpu_fabric()).name == "gan"
