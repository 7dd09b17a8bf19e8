"""The CUDA path, kept honest on the CPU.

Nothing in a step waits for the device, everything is on it, fp16 scales its gradients, compiling changes no
name. Torch's "meta" device stands for the GPU: its tensors have a device and a shape but no numbers. An
operation on tensors of two devices fails there as on a GPU, and so does everything that asks the device for a
number: item, float, bool, nonzero, cpu. Parameters are drawn on the CPU and sent over, which is counted.
"""

import copy
import dataclasses
import gc
import shutil
import subprocess
import sys

import pytest
import torch
from commands import ONE_CORE, ROOT
from device_checks import (
    check_channels_last,
    check_crossing,
    check_no_synchronisation,
    cpu_noise,
    networks_of,
)
from stages import META, cpu_fabric, half_fabric, make_stages, meta_fabric, take_steps

import aeseg.core.compilation as compilation
import aeseg.core.draws as draws
import aeseg.core.resident as resident
import aeseg.method.cyclegan
from aeseg.app.adaptation import ShrunkPrior
from aeseg.app.predict import predict
from aeseg.core.arrays import write_array
from aeseg.core.compilation import StepCompiler
from aeseg.core.config import MachineOptions, make_config
from aeseg.core.devices import make_fabric, to_device
from aeseg.core.draws import generator_for
from aeseg.core.errors import InputError
from aeseg.core.runs import Run
from aeseg.core.training import train
from aeseg.data.datasets import Images, load_images
from aeseg.method.networks import convolution
from aeseg.method.vae import VAETraining
from aeseg.shapes.adaptation import EllipsesOfLabels, MovedPrior, PriorChange
from aeseg.shapes.ellipses import ELLIPSES, EllipsePrior
from aeseg.shapes.given_masks import MaskPrior
from aeseg.shapes.statistical import StatisticalPrior

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


# ---------------------------------------------------------------- what crosses

CANVAS = (128, 128)  # a single image has more bytes than may cross
SIZES = dict(size=128, gan_batch=4, vae_batch=64, segmentation_batch=16)  # batches of a GPU


def large_images(count=20, channels=1):
    pixels = torch.zeros(count, channels, *CANVAS, dtype=torch.uint8)
    return Images(tuple(map(str, range(count))), pixels, (None,) * count, ("train",) * count)


LOADS = {
    "full": dict(variant="full"),
    "plus": dict(variant="plus"),  # wide augmentation
    "colour": dict(variant="plus", channels=3),
    "co-teaching": dict(segmentation_loss="co_teaching"),
    "centred masks": dict(task="optic_disc"),
    "sampled codes": dict(vae_code="sample", vae_frozen=False),
}


def large_stages(channels=1, **values):
    "The three stages on a device without numbers, with the batches of a GPU."
    config = make_config("smoke", accelerator="cpu", **{**SIZES, **values})
    return make_stages(meta_fabric(), large_images(channels=channels), config)


@pytest.mark.parametrize("load", LOADS)
def test_little_crosses(load):
    "Numbers of rows and parameters of transforms, forward and backward; wide augmentation sends most."
    largest = {stage.name: check_crossing(stage) for stage in large_stages(**LOADS[load])}
    assert all(largest.values())  # something is counted: the parameters
    if load == "plus":
        assert 3000 < largest["round_1"] < 8000, largest


def gather_on_the_host(monkeypatch):
    monkeypatch.setattr(resident, "make_resident", lambda *_: None)


def draw_noise_on_the_host(monkeypatch):
    monkeypatch.setattr(draws, "device_generator", lambda device: torch.Generator())


def draw_masks_on_the_host(monkeypatch):
    monkeypatch.delattr(EllipsePrior, "on")


HOST = {
    gather_on_the_host: ("gan", "round_1"),
    draw_noise_on_the_host: ("gan", "round_1"),  # the codes of the VAE are small
    draw_masks_on_the_host: ("vae", "gan"),
}


@pytest.mark.parametrize("slip", HOST, ids=lambda slip: slip.__name__)
def test_work_on_the_host_would_be_seen(monkeypatch, slip):
    slip(monkeypatch)
    for stage in large_stages(variant="plus"):
        if stage.name in HOST[slip]:
            with pytest.raises(AssertionError, match="bytes cross"):
                check_crossing(stage)
        else:
            check_crossing(stage)


def test_an_index_on_the_host_would_be_seen(monkeypatch):
    "Which torch sends by itself."
    _, gan, _ = large_stages()
    rows = torch.zeros(4, 256, 256, dtype=torch.long)
    monkeypatch.setattr(aeseg.method.cyclegan, "perturb", lambda x, *_: x + 0 * x.flatten()[rows].mean())
    with pytest.raises(AssertionError, match="aten.index"):
        check_crossing(gan)


def some_masks(n=6, side=128):
    return (
        EllipsePrior((side, side), ELLIPSES["fetal_head"]).sample(n, generator_for(0, "m", 0)) * 255
    ).byte()


class Custom:
    "A prior that knows no devices."

    def sample(self, n, generator):
        return torch.rand(n, 1, 1, 1, generator=generator).expand(n, 1, *CANVAS).clone()


PRIORS = {
    "masks": lambda: MaskPrior(some_masks()),
    "statistical": lambda: StatisticalPrior(some_masks(), modes=4),
    "moved": lambda: MovedPrior(MaskPrior(some_masks()), PriorChange(scale_x=1.2, shift_y=0.1)),
    "shrunk": lambda: ShrunkPrior(MovedPrior(MaskPrior(some_masks()), PriorChange()), (64, 64)),
    "of labels": lambda: EllipsesOfLabels(CANVAS, torch.tensor([[0.3, 0.8, 0.5, 0.5, 0.0]])),
}


def masks_training(prior, fabric, **more):
    options = make_config("smoke", vae_batch=64, vae_steps=9).vae
    canvas = (64, 64) if isinstance(prior, ShrunkPrior) else CANVAS
    return VAETraining(options, prior, canvas, fabric, **more)


@pytest.mark.parametrize("name", PRIORS)
def test_little_crosses_for_masks(name):
    assert check_crossing(masks_training(PRIORS[name](), meta_fabric())) > 64


@pytest.mark.parametrize("name", PRIORS)
def test_masks_are_those_of_sample(name):
    "Chosen and rendered apart, also by the prior of a device, masks stay the same to the bit."
    prior = PRIORS[name]()
    expected = prior.sample(5, generator_for(0, "s", 1))
    for other in (prior, prior.on("cpu", 0)):
        assert torch.equal(other.render(other.choose(5, generator_for(0, "s", 1))), expected)
        assert torch.equal(other.sample(5, generator_for(0, "s", 1)), expected)


def test_arrays_on_the_device_are_shared_and_go():
    config = make_config("smoke", accelerator="cpu", **SIZES)
    images, fabric = large_images(), meta_fabric()
    stages = make_stages(fabric, images, config)
    _, gan, segmentation = stages
    assert gan.pixels.resident is segmentation.stores[0].resident
    floats = 4 * (128 * 128 + 1) * len(images)  # labels that are no bytes, and weights
    assert resident.resident_bytes(META) == images.pixels.nbytes + floats
    del stages, gan, segmentation, _
    gc.collect()
    assert resident.resident_bytes(META) == 0


def test_the_limit_of_the_device():
    "What does not fit is read ahead."
    _, gan, segmentation = large_stages(
        device_memory_limit=1
    )  # room for the images, not for labels in 32 bits
    assert gan.ahead is None
    assert segmentation.ahead is not None
    assert [store.resident is None for store in segmentation.stores] == [False, True, False]
    vae, gan, _ = large_stages(device_memory_limit=0)
    assert vae.ahead is None  # ellipses take no memory
    assert gan.ahead is not None


@pytest.mark.parametrize("name", ["masks", "custom"])
def test_read_ahead_is_the_same(images, monkeypatch, tmp_path, name):
    "Images, labels and masks gathered in a thread, from memory and from files: the same bytes are learned."
    prior = MaskPrior(some_masks(side=32)) if name == "masks" else SmallCustom()

    def weights_of(fields):
        stages = make_stages(cpu_fabric(), fields, make_config("smoke", size=32, accelerator="cpu"))
        stages = [VAETraining(make_config("smoke").vae, prior, fields.canvas, cpu_fabric()), *stages[1:]]
        for stage in stages:
            for k in (0, 1, 2, 1, 2):  # with a return to step 1
                stage.step(k)
        return [p for stage in stages for p in leaves(stage.state_dict())], stages

    expected, stages = weights_of(images)
    assert all(stage.ahead is None for stage in stages)
    monkeypatch.setattr(resident.DeviceRows, "reads_ahead", True)
    monkeypatch.setattr(MaskPrior, "reads_ahead", True, raising=False)
    monkeypatch.setattr(resident.SentMasks, "__init__", sent_ahead)
    stored = dataclasses.replace(images, pixels=write_array([images.pixels], images.pixels.shape, tmp_path))
    for fields in (images, stored):
        values, stages = weights_of(fields)
        assert all(stage.ahead is not None for stage in stages)
        for a, b in zip(expected, values, strict=True):
            assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


class SmallCustom(Custom):
    def sample(self, n, generator):
        return super().sample(n, generator)[..., :32, :32].clone()


def sent_ahead(self, prior, device="cpu"):
    self.prior, self.device, self.reads_ahead = prior, torch.device(device), True


# ---------------------------------------------------------------- the layout


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_activations_stay_channels_last(precision, channels):
    images = large_images(3, channels)
    images = dataclasses.replace(images, pixels=images.pixels[..., :64, :64].contiguous())
    config = make_config("smoke", size=64, accelerator="cpu", variant="plus")
    for stage in make_stages(cpu_fabric(precision), images, config):
        assert check_channels_last(stage) > 20


def test_the_usual_normalisation_would_be_seen(images, monkeypatch):
    _, gan, _ = small_stages(cpu_fabric(), images)
    usual = torch.nn.InstanceNorm2d.forward
    monkeypatch.setattr("aeseg.method.networks.InstanceNorm.forward", usual)
    with pytest.raises(AssertionError, match="output of"):
        check_channels_last(gan)


def test_the_layout_changes_rounding_only(images):
    "Losses and gradients of a step, channels first and last."
    results = []
    for last in (False, True):
        stages = small_stages(cpu_fabric(), images, edge_weight=0.3)
        losses, gradients = {}, []
        for stage in stages:
            if last:
                for network in networks_of(stage):
                    network.to(memory_format=torch.channels_last)
            losses.update(stage.step(0))
            gradients += [p.grad for network in networks_of(stage) for p in network.parameters()]
        results.append((losses, gradients))
    (a, first), (b, second) = results
    for name in a:
        assert a[name].item() == pytest.approx(b[name].item(), rel=1e-3, abs=1e-5)
    for g, h in zip(first, second, strict=True):
        assert (g is None) == (h is None)
        assert g is None or torch.allclose(g, h, atol=1e-4 + 1e-2 * g.abs().max().item())


@pytest.mark.parametrize("check", [check_no_synchronisation, check_crossing])
def test_checks_of_the_script_run_on_the_cpu(images, check):
    for stage in small_stages(cpu_fabric(), images):
        check(stage)


def test_noise_of_the_cpu_for_comparisons(images):
    "What the script compares a GPU with the CPU by: without it, noise differs."
    _, gan, _ = small_stages(meta_fabric(), images)
    with cpu_noise():
        assert draws.noise_generator_for(0, "gan", 0, META).device.type == "cpu"
    assert draws.noise_generator_for(0, "gan", 0, META).device == META


# ---------------------------------------------------------------- compiling


@pytest.mark.slow
def test_compiling():
    "By the real compiler, a tiny network: the same output and gradient within rounding, the same names."
    if not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("torch.compile needs a C++ compiler here")
    x = torch.randn(2, 1, 8, 8)
    network = convolution(1, 2)
    names = list(network.state_dict())
    outputs = []
    for choice in ("false", "true"):
        network.zero_grad()
        compiler = StepCompiler(dict(network=network), choice, torch.device("cpu"), 1)
        outputs.append(compiler["network"](x))
        outputs[-1].square().mean().backward()
        outputs.append(network[0].weight.grad.clone())
    assert torch.allclose(outputs[0], outputs[2], atol=1e-5)
    assert torch.allclose(outputs[1], outputs[3], atol=1e-5)
    assert list(network.state_dict()) == names


def capture_only(network, compile=torch.compile, **_):
    "The first half of the compiler, which is quick."
    return compile(network, backend="eager")


@pytest.mark.slow
def test_compiled_stages_learn_the_same(images, monkeypatch):
    "The whole of every network is captured, and checkpoints fit compiled and plain networks alike."
    monkeypatch.setattr(torch, "compile", capture_only)
    fabric = cpu_fabric()
    plain, compiled = small_stages(fabric, images), small_stages(fabric, images, compile=True)
    for stage, other in zip(plain[1:], compiled[1:]):
        assert (stage.compiler.on, other.compiler.on) == (False, True)
    assert set(compiled[1].compiler.calls) == {"E", "G", "D_x", "D_z"}
    for a, b in zip(plain[1:], compiled[1:]):
        for k in range(2):
            losses, losses_compiled = a.step(k), b.step(k)
        assert not b.compiler.remarks
        expected = {name: value.item() for name, value in losses_compiled.items()}
        assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected, rel=1e-3)
        state = b.state_dict()
        a.load_state_dict(copy.deepcopy(state))
        assert all(a.state_dict()[part].keys() == state[part].keys() for part in state)


class GraphMemory:
    "In the place of CUDA graphs: what networks returned in a step is overwritten when the next one begins."

    def __init__(self):
        self.outputs = []

    def compile(self, network, mode=None, dynamic=None):
        def call(*inputs):
            output = network(*inputs)
            self.outputs.append(output)
            return output

        return call

    def overwrite(self):
        with torch.no_grad():
            for output in self.outputs:
                output.data.fill_(torch.nan)
        self.outputs = []


def memory_stages(images, monkeypatch, **values):
    memory = GraphMemory()
    monkeypatch.setattr(torch, "compile", memory.compile)
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", memory.overwrite)
    stages = small_stages(cpu_fabric(), images, compile="true", **values)[1:]
    for stage in stages:
        stage.compiler.graphs = True
    return stages, memory


@pytest.mark.parametrize("switch", [{}, dict(pool_size=3), dict(pool_size=0), dict(dgcc_passes=1)], ids=str)
def test_nothing_outlives_a_step_in_the_memory_of_graphs(images, monkeypatch, switch):
    "Pools, pictures, averages and losses: to the bit those of a plain run."
    plain = small_stages(cpu_fabric(), images, **switch)[1:]
    graphs, memory = memory_stages(images, monkeypatch, **switch)
    for a, b in zip(plain, graphs):
        for k in range(5):
            losses = a.step(k), b.step(k)
        memory.overwrite()  # the next step begins
        states = a.state_dict(), b.state_dict()
        for kept in (losses, states, [getattr(stage, "pictures", {}) for stage in (a, b)]):
            for x, y in zip(*map(leaves, kept), strict=True):
                assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y


def test_a_picture_in_the_memory_of_graphs_would_be_seen(images, monkeypatch):
    monkeypatch.setattr(compilation.StepCompiler, "keep", lambda self, t: t.detach())
    (gan, _), memory = memory_stages(images, monkeypatch)
    gan.step(0)
    memory.overwrite()
    assert gan.pictures["pseudo_label"].isnan().all()


def failing_compiler(step, error):
    "Networks that fail in the forward pass of one step."
    calls = []

    def compile(network, **_):
        def call(*inputs):
            calls.append(network)
            if len(calls) > step:
                raise error
            return network(*inputs)

        return call

    return compile


@pytest.mark.parametrize("calls", [0, 3, 8])
def test_where_compiling_fails_the_stage_goes_on(images, tmp_path, monkeypatch, calls):
    "At the first network, within a step or in the second one; to the bit as without, and told once."
    run = Run.open(tmp_path / "run", make_config("smoke"))
    fabric = cpu_fabric()
    expected = small_stages(fabric, images)[1]
    for k in range(4):
        expected.step(k)
    monkeypatch.setattr(torch, "compile", failing_compiler(calls, RuntimeError("no triton here\nline 2")))
    gan = small_stages(fabric, images, compile="true")[1]
    train(gan, 4, run, every=2, quiet=True, fabric=fabric)
    for a, b in zip(leaves(expected.state_dict()), leaves(gan.state_dict()), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    (event,) = run.provenance["events"]
    assert event["text"].startswith("gan: torch.compile failed (RuntimeError: no triton here)")


def test_an_error_that_is_not_the_compilers_is_raised(images, monkeypatch):
    "Without compiling it comes again."
    _, gan, _ = small_stages(cpu_fabric(), images, compile="true")
    gan.compiler.calls = dict(gan.compiler.networks)
    monkeypatch.setattr(aeseg.method.cyclegan, "warp", None)
    with pytest.raises(TypeError):
        gan.step(0)


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
    assert done.stdout.count("ok    ") == 7
