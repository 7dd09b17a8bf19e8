"""The CUDA path, kept honest on the CPU.

Nothing in a step waits for the device, everything is on it, fp16 scales its gradients, compiling changes no name.
Torch's "meta" device stands for the GPU: its tensors have a device and a shape but no numbers. An operation on
tensors of two devices fails there as on a GPU, and so does everything that asks the device for a number: item,
float, bool, nonzero, cpu. Numbers are drawn on the CPU, as always, and sent over.
"""

import copy
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import ONE_CORE, ROOT
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

SWITCHES = [
    {},
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


@pytest.fixture(scope="module")
def images(phantoms):
    return load_images(phantoms, 32)


def small_stages(fabric, images, **values):
    return make_stages(fabric, images, make_config("smoke", size=32, accelerator="cpu", **values))


# ---------------------------------------------------------------- a device without numbers


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_no_step_waits_for_the_device(images, switch):
    made = small_stages(meta_fabric(), images, **switch)
    losses = take_steps(made)
    assert all(v.device == META for step in losses for v in step.values())
    for part in (made[0].vae, *made[1].networks.values(), made[1].ema, made[2].network):
        assert all(p.device == META for p in part.state_dict().values())


@pytest.mark.parametrize(
    "slip",
    [
        lambda x, *_: x * float(x.mean()),
        lambda x, *_: x if x.mean() > 0 else -x,
        lambda x, *_: x.cpu(),
        lambda x, *_: x + torch.nonzero(x).sum(),
        lambda x, *_: x + torch.ones(x.shape),
        lambda x, *_: x + torch.ones(x.shape).to(x),
        lambda x, *_: x * torch.tensor([0.5], device=x.device),
    ],
    ids=["float", "if", "cpu", "nonzero", "two devices", "waiting copy", "constant"],
)
def test_a_slip_would_be_seen(images, monkeypatch, slip):
    _, gan, _ = small_stages(meta_fabric(), images)
    monkeypatch.setattr(aeseg.method.cyclegan, "perturb", slip)
    with pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
        take_steps([gan], 1)


def test_sending_to_cuda_is_pinned_and_does_not_wait(monkeypatch):
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


def test_half_precision_needs_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    for accelerator in ("cpu", "auto"):
        with pytest.raises(InputError, match="needs a CUDA GPU.*--precision bf16-mixed or 32-true"):
            make_fabric(MachineOptions(accelerator=accelerator, precision="16-mixed"))


def test_half_precision_scales_and_skips(images):
    fabric = half_fabric()
    scaler = fabric.strategy.precision.scaler
    for stage in small_stages(fabric, images):
        losses = [stage.step(k) for k in range(3)]
        assert all(torch.isfinite(v) for step in losses for v in step.values())
        assert scaler.get_scale() > 1
    _, gan, _ = small_stages(fabric, images)
    weight = next(gan.networks["E"].parameters())
    before, scale = weight.detach().clone(), scaler.get_scale()
    list(gan.networks["E"].parameters())[-2].register_hook(lambda g: g * float("inf"))
    gan.step(0)
    assert (
        torch.equal(weight, before) and scaler.get_scale() < scale
    )  # a step with infinite gradients is left out, and the scale falls


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
    def new():
        return half_fabric() if precision == "16-mixed" else cpu_fabric(precision)

    def states(*parts):
        run = Run.open(tmp_path / str(len(parts)), make_config("smoke"))
        for part in parts:  # each by a new process, so to say
            fabric = new()
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
    shutil.copytree(finished, tmp_path / "run")
    text = (tmp_path / "run/config.yaml").read_text()
    changed = (
        text.replace("accelerator: cpu", "accelerator: cuda")
        .replace("precision: auto", "precision: 16-mixed")
        .replace("devices: 1", "devices: 4")
    )
    assert changed.count("cuda") == changed.count("16-mixed") == changed.count("devices: 4") == 1
    (tmp_path / "run/config.yaml").write_text(changed)
    predict(tmp_path / "run", phantoms, tmp_path / "masks")
    for p in (finished / "predictions").iterdir():
        assert (tmp_path / "masks" / p.name).read_bytes() == p.read_bytes()


# ---------------------------------------------------------------- compiling


def test_compiling(monkeypatch):
    "With the real compiler, a tiny network: the same answer and gradient within rounding, and the names in the state stay."
    if not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("torch.compile needs a C++ compiler here")
    fabric, x = cpu_fabric(), torch.randn(2, 1, 8, 8)
    plain = convolution(1, 2)
    compiled = setup_network(fabric, copy.deepcopy(plain), compile=True)
    for network in (plain, compiled):
        network(x).square().mean().backward()
    assert torch.allclose(plain(x), compiled(x), atol=1e-5) and torch.allclose(
        plain[0].weight.grad, compiled[0].weight.grad, atol=1e-5
    )
    assert compiled._compiled_call_impl is not None and plain._compiled_call_impl is None
    assert plain.state_dict().keys() == compiled.state_dict().keys()


def test_compiled_stages_learn_the_same(images, monkeypatch):
    "The whole of every network is captured (by the first half of the compiler, which is quick), and checkpoints fit compiled and plain networks alike."
    compile = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda network: compile(network, backend="eager"))
    fabric = cpu_fabric()
    plain, compiled = small_stages(fabric, images), small_stages(fabric, images, compile=True)
    gan = compiled[1]
    assert (
        all(net._compiled_call_impl is not None for net in (*gan.networks.values(), compiled[2].network))
        and gan.ema._compiled_call_impl is None
    )
    for a, b in zip(plain[1:], compiled[1:]):
        for k in range(2):
            one, two = a.step(k), b.step(k)
        assert {n: v.item() for n, v in one.items()} == pytest.approx(
            {n: v.item() for n, v in two.items()}, rel=1e-3
        )
        state = b.state_dict()
        a.load_state_dict(copy.deepcopy(state))
        assert all(a.state_dict()[part].keys() == state[part].keys() for part in state)


# ---------------------------------------------------------------- the script for machines with a GPU


def test_gpu_check():
    "Without a GPU it says so, and with --allow-cpu its code runs on the CPU."
    script = [sys.executable, ROOT / "tests/gpu_check.py", "--quick"]
    hidden = dict(env={**ONE_CORE, "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, text=True, cwd=ROOT)
    done = subprocess.run(script, **hidden)
    assert (
        done.returncode == 2
        and done.stdout == ""
        and "no CUDA GPU" in done.stderr
        and "--allow-cpu" in done.stderr
    )
    done = subprocess.run([*script, "--allow-cpu"], **hidden)
    assert (
        done.returncode == 0 and done.stdout.endswith("0 failed\n") and done.stdout.count("ok    ") == 4
    ), done
