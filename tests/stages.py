"""Small training stages, and devices to train them on, that several test files use."""

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import aeseg.core.draws as draws
from aeseg.app.models import make_gan, make_vae_training, training_setting
from aeseg.core.config import MachineOptions, make_config
from aeseg.core.devices import make_fabric
from aeseg.core.draws import generator_for
from aeseg.data.datasets import Images
from aeseg.method.segmentation import CoTeachingTraining, SegmentationTraining
from aeseg.shapes.priors import make_prior

META = torch.device("meta")


class MetaGenerator(torch.Generator):
    "A generator that says to live on torch's device without numbers, which has none."

    device = META


def device_generator(device, original=draws.device_generator):
    return MetaGenerator() if device == META else original(device)


draws.device_generator = device_generator


def cpu_fabric(precision="32-true"):
    return make_fabric(MachineOptions(accelerator="cpu", precision=precision))


def half_fabric():
    "fp16 on a CPU, which `make_fabric` refuses because it is slow."
    return Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu")])


def meta_fabric():
    "Torch's device without numbers, in the place of a GPU."
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.strategy._root_device = META
    fabric._accelerator.setup_device = lambda device: None
    # Fabric suspects that a model on "meta" is still to be loaded
    fabric.setup_optimizers = lambda optimizer: optimizer
    return fabric


class NoWaiting(TorchDispatchMode):
    "Fails where a tensor is copied to the device in a way that waits."

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if op is torch.ops.aten._to_copy.default and kwargs.get("device") == META:
            if args[0].device.type == "cpu":
                assert kwargs.get("non_blocking"), "a copy to the device that waits"
        if op is torch.ops.aten.copy_.default and args[0].device == META and args[1].device.type == "cpu":
            assert args[2:] == (True,), "a copy to the device that waits"
        return op(*args, **kwargs)


class NoConstants(TorchFunctionMode):
    "Fails where Python numbers become a tensor on the device, which is a copy that waits, too."

    def __torch_function__(self, f, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        on_device = torch.device(kwargs.get("device") or "cpu") == META
        assert not (f in (torch.tensor, torch.as_tensor) and on_device), "Python numbers sent to the device"
        return f(*args, **kwargs)


def take_steps(stages, n=3):
    "Steps that fail where one waits for the device; the losses of the last stage."
    with NoConstants(), NoWaiting():
        for stage in stages:
            losses = [stage.step(k) for k in range(n)]
    return losses


def make_stages(fabric, images, config, labels=None, weights=None):
    "The VAE's training, the GAN and a segmentation network's training, on all images."
    prior = make_prior(config.shapes, config.run.task, images.canvas)
    vae = make_vae_training(config, prior, images.canvas, fabric)
    gan = make_gan(config, images, prior, vae.vae, fabric)
    if labels is None:
        labels = prior.sample(len(images), torch.Generator().manual_seed(0)) * 0.5 + 0.25
    weights = torch.ones(len(images)) if weights is None else weights
    kept = torch.ones(len(images), dtype=torch.bool)
    setting = training_setting(config)
    segmentation = SegmentationTraining(config.segmentation, images, labels, weights, kept, fabric, **setting)
    return vae, gan, segmentation


SEGMENTATION = dict(
    size=32,
    segmentation_steps=6,
    accelerator="cpu",
    precision="32-true",
    threads=1,
    co_teaching_forget=0.3,
    co_teaching_ramp=0.2,
)


def segmentation_stage(fabric, **values):
    "A segmentation network on random labels, with more images than a batch takes."
    config, generator = make_config("smoke", **{**SEGMENTATION, **values}), generator_for(0, "test", 0)

    def draw(*shape):
        return torch.randint(256, shape, generator=generator, dtype=torch.uint8)

    images = Images(tuple(map(str, range(8))), draw(8, 1, 24, 32), (None,) * 8, ("train",) * 8)
    labels = (draw(8, 1, 24, 32) > 150).byte() * 255
    kind = CoTeachingTraining if config.segmentation.loss == "co_teaching" else SegmentationTraining
    kept = torch.ones(8, dtype=torch.bool)
    setting = training_setting(config)
    return kind(config.segmentation, images, labels, torch.ones(8), kept, fabric, **setting)


def weight_bytes(stage):
    "Every parameter of a stage's networks, as bytes."
    return [p.detach().numpy().tobytes() for p in stage.networks.parameters()]
