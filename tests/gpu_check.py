"""Checks of everything that needs a GPU; `make gpu` runs the quick ones as the first part of its plan.

    python tests/gpu_check.py                 steps, fits, all tests and the benchmark
    python tests/gpu_check.py --allow-cpu     the same code on the CPU where there is no GPU
    python tests/gpu_check.py --quick         steps and one short fit only

The exit code is 0 when all is well, 1 when something failed, 2 without a CUDA GPU.

`aeseg` must be installed, see `make install`; a PyTorch for CUDA comes by PIP_ARGS. Where there is no
network, the machine's own Python does, see CONTRIBUTING.md.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import traceback
from functools import partial
from pathlib import Path

import torch
from device_checks import check_channels_last, check_crossing, check_no_synchronisation, cpu_noise
from stages import make_stages

from aeseg.core.config import make_config
from aeseg.core.devices import has_bfloat16, make_fabric
from aeseg.core.runs import Run
from aeseg.data.datasets import load_images
from aeseg.data.phantoms import write_phantoms

ROOT = Path(__file__).resolve().parents[1]
AESEG = [sys.executable, "-c", "import sys; from aeseg.cli import main; sys.exit(main(sys.argv[1:]))"]
PRECISIONS = dict(cuda=("32-true", "bf16-mixed", "16-mixed"), cpu=("32-true", "bf16-mixed"))


def stages_on(images, kind, precision):
    config = make_config("smoke", accelerator=kind, precision=precision)
    return make_stages(make_fabric(config.machine), images, config)


def check_steps(images, kind, precision):
    "Steps are finite, never wait for the device after the first ones, and send little."
    for stage in stages_on(images, kind, precision):
        check_no_synchronisation(stage)
    for stage in stages_on(images, kind, precision):
        check_crossing(stage)
        if kind == "cuda":
            check_channels_last(stage)


def check_like_cpu(images, kind):
    "The first step has the same losses as on the CPU: the same numbers are drawn."
    on_device, on_cpu = stages_on(images, kind, "32-true"), stages_on(images, "cpu", "32-true")
    for stage, reference in zip(on_device, on_cpu):
        with cpu_noise():  # each kind of device has noise of its own
            losses, expected = stage.step(0), reference.step(0)
        for name in losses:
            a, b = losses[name].item(), expected[name].item()
            assert abs(a - b) < 5e-3 * (1 + abs(b)), (stage.name, name, a, b)


def device_checks(images, kind, precision):
    "The checks of device_checks.py, each on the stages anew: name -> function without arguments."
    if importlib.util.find_spec("device_checks") is None:
        return {}
    module = importlib.import_module("device_checks")

    def check(function):
        for stage in stages_on(images, kind, precision):
            function(stage)

    named = {name: function for name, function in vars(module).items() if name.startswith("check_")}
    return {name[6:].replace("_", " "): partial(check, function) for name, function in named.items()}


def check_fit(data, out, kind, precision, *more):
    "A whole run from the command line, and prediction with its model."
    options = ["--preset", "smoke", "--accelerator", kind, "--precision", precision, "--quiet", *more]
    subprocess.run([*AESEG, "fit", "--images", data, "--out", out, *options], check=True)
    masks = out.with_name(out.name + "_masks")
    subprocess.run([*AESEG, "predict", out, "--images", data, "--out", masks], check=True)
    assert Run(out).finished
    assert len(list((out / "predictions").glob("*.png"))) == 8


def run_command(*words):
    subprocess.run([str(w) for w in words], check=True, cwd=ROOT)


def checks(kind, quick, folder):
    "Name -> function without arguments."
    data = write_phantoms(folder / "heads", "fetal_head", count=8, val=2, size=(64, 64))
    images, devices = load_images(data, 64), torch.cuda.device_count() if kind == "cuda" else 2

    def fit(name, precision="32-true", *more):
        return partial(check_fit, data, folder / name, kind, precision, *more)

    out = {f"steps in {p}": partial(check_steps, images, kind, p) for p in PRECISIONS[kind]}
    out["first steps like on the CPU"] = partial(check_like_cpu, images, kind)
    out |= device_checks(images, kind, PRECISIONS[kind][1])
    if quick:
        return {**out, "fit in 32-true": fit("fit")}
    for p in PRECISIONS[kind]:
        out[f"fit in {p}"] = fit(f"fit_{p}", p)
    out["fit, compiled"] = fit("compiled", "32-true", "-p", "compile=true")
    if devices > 1:
        out["fit on 2 devices"] = fit("two", "32-true", "--devices", "2")
    else:
        print("left out: fit on 2 devices (this machine has one)")
    flags = "cuda" if kind == "cuda" else ""
    out["notebooks"] = partial(run_command, sys.executable, "tests/run_notebooks.py", "--flags", flags)
    out["tests"] = partial(run_command, sys.executable, "-m", "pytest", "-q")
    out["benchmark"] = partial(run_command, *AESEG, "bench", "--out", "runs/bench")
    return out


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--allow-cpu", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cpu" and not options.allow_cpu:
        message = "no CUDA GPU here, so nothing was checked; --allow-cpu runs the same code on the CPU"
        print(message, file=sys.stderr)
        return 2
    device = torch.cuda.get_device_name() if kind == "cuda" else "the CPU, in place of a GPU"
    print(f"{device}, torch {torch.__version__}, native bfloat16: {has_bfloat16(kind)}", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, check in checks(kind, options.quick, Path(folder)).items():
            try:
                check()
                print(f"ok    {name}", flush=True)
            except Exception:
                traceback.print_exc()
                print(f"FAIL  {name}", flush=True)
                failed += 1
    print(f"{failed} failed")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
