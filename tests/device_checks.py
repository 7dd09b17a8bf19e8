"""Checks of the training steps on a device: on CUDA, and on torch's "meta" device or the CPU in its place.

`check_crossing`, `check_no_synchronisation` and `check_channels_last` take a stage that was just made and
train it for some steps. They raise `AssertionError`, or what torch raises. tests/test_device.py runs them
without a GPU, tests/gpu_check.py on one.
"""

from contextlib import contextmanager

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import aeseg.core.draws as draws
from aeseg.core.layers import use_plain_layers
from aeseg.method.networks import InstanceNorm

MOST_BYTES = 16_000  # that cross between the CPU and the device in a step, in both directions
FEW_CHANNELS = 4  # images and masks are small beside the activations, and convolutions take either layout
aten = torch.ops.aten


class Crossing(TorchDispatchMode):
    "Counts the bytes that cross between the CPU and other devices, also in the backward pass."

    def __init__(self):
        super().__init__()
        self.bytes, self.largest = 0, (0, "")

    def add(self, tensor, op):
        self.bytes += tensor.nbytes
        self.largest = max(self.largest, (tensor.nbytes, f"{op} of {tuple(tensor.shape)} {tensor.dtype}"))

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        out = op(*args, **(kwargs or {}))
        if op.overloadpacket in (aten._to_copy, aten.copy_):
            source, target = (args[0], out) if op.overloadpacket is aten._to_copy else (args[1], args[0])
            if (source.device.type == "cpu") != (target.device.type == "cpu"):
                self.add(source, op)
        elif op.overloadpacket is aten._local_scalar_dense and args[0].device.type != "cpu":
            self.add(args[0], op)
        elif op.overloadpacket is not aten._pin_memory:
            self.add_mixed(op, [a for a in tree_leaves((args, kwargs)) if isinstance(a, torch.Tensor)])
        return out

    def add_mixed(self, op, tensors):
        "An operation on tensors of two devices, such as an index on the CPU into a tensor elsewhere."
        if any(t.device.type != "cpu" for t in tensors):
            for t in tensors:
                if t.device.type == "cpu" and t.ndim:
                    self.add(t, op)


def check_crossing(stage, steps=range(3), most=MOST_BYTES):
    "In no step do more than some bytes cross; gives the largest number."
    numbers = []
    for k in steps:
        with Crossing() as crossing:
            stage.step(k)
        numbers.append(crossing.bytes)
        size, what = crossing.largest
        assert (
            crossing.bytes <= most
        ), f"{stage.name}, step {k}: {crossing.bytes} bytes cross, {size} of them in {what}"
    return max(numbers)


def check_no_synchronisation(stage, first=3, more=3):
    "After the first steps, none waits for the device, and all losses are finite; gives these."
    for k in range(first):
        stage.step(k)
    cuda = stage.fabric.device.type == "cuda"
    try:
        if cuda:
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
        losses = [stage.step(k) for k in range(first, first + more)]
    finally:
        if cuda:
            torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(v) for step in losses for v in step.values()), losses
    return losses


def networks_of(stage):
    "The networks of a stage that hold convolutions."
    networks = getattr(stage, "networks", [])
    networks = list(networks.values()) if isinstance(networks, dict) else list(networks)
    return [*networks, stage.vae] if hasattr(stage, "vae") else networks


def is_channels_last(t):
    "Whether the channels of a pixel lie side by side; true where that means nothing."
    trivial = t.ndim != 4 or t.shape[1] == 1 or t.shape[2:] == (1, 1)
    return trivial or t.is_contiguous(memory_format=torch.channels_last)


def check_channels_last(stage):
    "Activations and their gradients are channels-last in every layer; gives the number of tensors looked at."
    seen, handles = [], []

    def note(what, t):
        if t.shape[1] > FEW_CHANNELS:
            seen.append((what, is_channels_last(t)))

    def look(layer, name):
        def forward(_, inputs, output):
            note(f"input of {name}", inputs[0])
            note(f"output of {name}", output)
            if output.requires_grad:
                output.register_hook(lambda g: note(f"gradient of {name}", g))

        return layer.register_forward_hook(forward)

    for network in networks_of(stage):
        if stage.fabric.device.type == "cpu":
            use_plain_layers(network).to(memory_format=torch.channels_last)  # as on a GPU
        for name, layer in network.named_modules():
            if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, InstanceNorm)):
                handles.append(look(layer, f"{type(network).__name__}.{name}"))
    try:
        stage.step(0)
    finally:
        for handle in handles:
            handle.remove()
    slips = sorted({name for name, kept in seen if not kept})
    assert not slips, slips
    assert seen
    return len(seen)


@contextmanager
def cpu_noise():
    "Noise images and codes come from the CPU's generator, so that two devices can be compared."
    original = draws.device_generator
    draws.device_generator = lambda device: torch.Generator()
    try:
        yield
    finally:
        draws.device_generator = original
