"""The CUDA path, kept honest on the CPU.

Nothing in a step waits for the device, everything is on it, fp16 scales its gradients, compiling changes no
name. Torch's "meta" device stands for the GPU: its tensors have a device and a shape but no numbers. An
operation on tensors of two devices fails there as on a GPU, and so does everything that asks the device for a
number: item, float, bool, nonzero, cpu. Numbers are drawn on the CPU, as always, and sent over.
"""

import copy
import shutil
import subprocess
import sys

import pytest
import torch
from commands import ONE_CORE, ROOT
from stages import META, cpu_fabric, half_fabric, make_stages, meta_fabric, take_steps

import aeseg.method.cyclegan
from aeseg.app.predict import predict
from aeseg.core.config import MachineOptions, make_config
from aeseg.core.devices import make_fabric, setup_network, to_device
from aeseg.core.errors import InputError
from aeseg.core.runs import Run
from aeseg.core.training import train
from aeseg.data.datasets import load_images
from aeseg.method.networks import convolution

OTHER_SWITCHES = [
    dict(variant="cyclegan"),
    dict(vae_loss="kl_divergence"),
    dict(vae_code="sample"),
    dict(vae_frozen=False),
    dict(dgcc_passes=1),
    dict(dgcc_feedback="discriminator+vae"),
    dict(dgcc_layer="decoder"),
    dict(cycle_mask_loss="l1"),
    dict(ema_decay=0.0),
    dict(pool_size=3),
]
SWITCHES = [{}, *[pytest.param(switch, marks=pytest.mark.slow) for switch in OTHER_SWITCHES]]


@pytest.fixture(scope="module")
def images(phantoms):
    return load_images(phantoms, 32)


def small_stages(fabric, images, **values):
    return make_stages(fabric, images, make_config("smoke", size=32, accelerator="cpu", **values))


# ---------------------------------------------------------------- a device without numbers


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_no_step_waits_for_the_device(images, switch):
    vae, gan, segmentation = small_stages(meta_fabric(), images, **switch)
    for losses in take_steps([vae, gan, segmentation]):
        assert all(value.device == META for value in losses.values())
    for network in (vae.vae, *gan.networks.values(), gan.ema, segmentation.network):
        assert all(tensor.device == META for tensor in network.state_dict().values())


# each takes the images and further arguments in the place of `perturb`, and would wait or fail on a GPU
SLIPS = {
    "float": lambda x, *_: x * float(x.mean()),
    "if": lambda x, *_: x if x.mean() > 0 else -x,
    "cpu": lambda x, *_: x.cpu(),
    "nonzero": lambda x, *_: x + torch.nonzero(x).sum(),
    "two devices": lambda x, *_: x + torch.ones(x.shape),
    "waiting copy": lambda x, *_: x + torch.ones(x.shape).to(x),
    "constant": lambda x, *_: x * torch.tensor([0.5], device=x.device),
}


@pytest.mark.parametrize("name", SLIPS)
def test_a_slip_would_be_seen(images, monkeypatch, name):
    _, gan, _ = small_stages(meta_fabric(), images)
    monkeypatch.setattr(aeseg.method.cyclegan, "perturb", SLIPS[name])
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
        take_steps([gan], 1)


def test_sending_to_cuda_is_pinned_and_does_not_wait():
    "By a tensor that remembers what is asked of it."
    asked = []

    class Witness(torch.Tensor):
        def pin_memory(self):
            asked.append("pinned")
            return self

        def to(self, *args, **kw):
            asked.append((args, kw))
            return self

    device = torch.device("cuda", 0)
    to_device(torch.ones(2).as_subclass(Witness), device)
    assert asked == ["pinned", ((device,), dict(non_blocking=True))]


# ---------------------------------------------------------------- fp16 and its scaler


@pytest.mark.parametrize("accelerator", ["cpu", "auto"])
def test_half_precision_needs_a_gpu(accelerator):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(InputError, match="precision='16-mixed'.*bf16-mixed or 32-true"):
        make_fabric(MachineOptions(accelerator=accelerator, precision="16-mixed"))


def test_half_precision_scales_gradients(images):
    fabric = half_fabric()
    scaler = fabric.strategy.precision.scaler
    for stage in small_stages(fabric, images):
        losses = [stage.step(k) for k in range(3)]
        assert all(torch.isfinite(value) for step in losses for value in step.values())
        assert scaler.get_scale() > 1


def test_a_step_with_infinite_gradients_is_left_out(images):
    "And the scale falls."
    fabric = half_fabric()
    scaler = fabric.strategy.precision.scaler
    _, gan, _ = small_stages(fabric, images)
    parameters = list(gan.networks["E"].parameters())
    before, scale = parameters[0].detach().clone(), scaler.get_scale()
    parameters[-2].register_hook(lambda gradient: gradient * float("inf"))
    gan.step(0)
    assert torch.equal(parameters[0], before)
    assert scaler.get_scale() < scale


def leaves(state):
    "What nested dicts and lists hold, in order."
    if isinstance(state, dict):
        state = list(state.values())
    if not isinstance(state, list):
        return [state]
    return [leaf for value in state for leaf in leaves(value)]


@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_resumed_is_not_interrupted(images, tmp_path, precision):
    "To the bit, with the optimizers that Fabric steps, and the scale where there is one."

    def states(*parts):
        "GAN and segmentation network after parts of the training, each part as if by a new process."
        run = Run.open(tmp_path / str(len(parts)), make_config("smoke"))
        for part in parts:
            fabric = half_fabric() if precision == "16-mixed" else cpu_fabric(precision)
            for stage, steps in zip(small_stages(fabric, images)[1:], part):
                train(stage, steps, run, every=50, quiet=True, fabric=fabric)
        return [run.load(name) for name in ("gan", "round_1")]

    whole, parts = states((5, 5)), states((3,), (5, 3), (5, 5))
    assert len(leaves(whole)) > 100
    for a, b in zip(leaves(whole), leaves(parts), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    assert ("scale" in whole[0]["precision"]) == (precision == "16-mixed")


def test_a_model_from_a_gpu_predicts_without_one(finished, phantoms, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    run = shutil.copytree(finished, tmp_path / "run")
    text = (run / "config.yaml").read_text()
    for old, new in (
        ("accelerator: cpu", "accelerator: cuda"),
        ("precision: auto", "precision: 16-mixed"),
        ("devices: 1", "devices: 4"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    (run / "config.yaml").write_text(text)
    predict(run, phantoms, tmp_path / "masks")
    for p in (finished / "predictions").iterdir():
        assert (tmp_path / "masks" / p.name).read_bytes() == p.read_bytes()


# ---------------------------------------------------------------- compiling


@pytest.mark.slow
def test_compiling():
    "By the real compiler, a tiny network: the same output and gradient within rounding, the same names."
    if not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("torch.compile needs a C++ compiler here")
    x = torch.randn(2, 1, 8, 8)
    plain = convolution(1, 2)
    compiled = setup_network(cpu_fabric(), copy.deepcopy(plain), compile=True)
    for network in (plain, compiled):
        network(x).square().mean().backward()
    assert torch.allclose(plain(x), compiled(x), atol=1e-5)
    assert torch.allclose(plain[0].weight.grad, compiled[0].weight.grad, atol=1e-5)
    assert compiled._compiled_call_impl is not None
    assert plain._compiled_call_impl is None
    assert plain.state_dict().keys() == compiled.state_dict().keys()


def capture_only(network, compile=torch.nn.Module.compile):
    "The first half of the compiler, which is quick."
    compile(network, backend="eager")


@pytest.mark.slow
def test_compiled_stages_learn_the_same(images, monkeypatch):
    "The whole of every network is captured, and checkpoints fit compiled and plain networks alike."
    monkeypatch.setattr(torch.nn.Module, "compile", capture_only)
    fabric = cpu_fabric()
    plain, compiled = small_stages(fabric, images), small_stages(fabric, images, compile=True)
    _, gan, segmentation = compiled
    for network in (*gan.networks.values(), segmentation.network):
        assert network._compiled_call_impl is not None
    assert gan.ema._compiled_call_impl is None
    for a, b in zip(plain[1:], compiled[1:]):
        for k in range(2):
            losses, losses_compiled = a.step(k), b.step(k)
        expected = {name: value.item() for name, value in losses_compiled.items()}
        assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-3)
        state = b.state_dict()
        a.load_state_dict(copy.deepcopy(state))
        assert all(a.state_dict()[part].keys() == state[part].keys() for part in state)


# ---------------------------------------------------------------- the script for machines with a GPU


def gpu_check(*options):
    "The script's end, where no GPU is to be seen."
    return subprocess.run(
        [sys.executable, ROOT / "tests/gpu_check.py", "--quick", *options],
        env={**ONE_CORE, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.slow
def test_gpu_check_without_a_gpu():
    done = gpu_check()
    assert (done.returncode, done.stdout) == (2, "")
    assert "no CUDA GPU" in done.stderr
    assert "--allow-cpu" in done.stderr


@pytest.mark.slow
def test_gpu_check_on_the_cpu():
    done = gpu_check("--allow-cpu")
    assert done.returncode == 0, done
    assert done.stdout.endswith("0 failed\n")
    assert done.stdout.count("ok    ") == 4
