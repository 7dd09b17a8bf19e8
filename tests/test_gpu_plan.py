"""The plan for a GPU, scaled down on the CPU: groups of layers, times, results as they come, and a stop."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import gpu_parts
import gpu_plan
import pytest
import torch
from commands import ONE_CORE, ROOT
from layer_groups import GROUPS, REST, group_of, group_seconds, profile_steps, profile_table
from run_folders import names

from aeseg.studies.operations import count_flops

# ---------------------------------------------------------------- groups of layers

OPERATIONS = {  # as PyTorch names them on a CPU and on a GPU
    "aten::convolution": "convolution, forward",
    "aten::mkldnn_convolution": "convolution, forward",
    "aten::cudnn_convolution": "convolution, forward",
    "aten::convolution_backward": "convolution, backward",
    "autograd::engine::evaluate_function: ConvolutionBackward0": "convolution, backward",
    "aten::addmm": "matrix products",
    "aten::mm": "matrix products",
    "aten::native_batch_norm": "normalisation",
    "aten::cudnn_batch_norm_backward": "normalisation",
    "NativeBatchNormBackward0": "normalisation",
    "aten::copy_": "copies",
    "Memcpy HtoD (Pinned -> Device)": "copies",
    "aten::_fused_adam_": "optimiser and averages",
    "aten::_foreach_lerp_": "optimiser and averages",
    "aten::leaky_relu": REST,
    "aten::mul": REST,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_group_of_an_operation(name):
    assert group_of(name) == OPERATIONS[name]
    assert group_of(name, ["Optimizer.step#Adam.step"]) == "optimiser and averages"


def event(name, cpu=0.0, device=0.0, kernel=0.0, parent=None):
    "An event of a profile; one with `kernel` is a kernel of the device."
    kind = torch.autograd.DeviceType.CUDA if kernel else torch.autograd.DeviceType.CPU
    return SimpleNamespace(
        name=name,
        device_type=kind,
        cpu_parent=parent,
        self_cpu_time_total=cpu,
        self_device_time_total=device,
        time_range=SimpleNamespace(elapsed_us=lambda: kernel),
    )


def test_seconds_of_groups():
    optimiser = event("Optimizer.step#Adam.step", cpu=1e6)
    events = [
        optimiser,
        event("aten::mul", cpu=2e6, device=4e6, parent=optimiser),
        event("aten::convolution", cpu=3e6, device=6e6),
        event("fprop_kernel", kernel=6e6),
        event("mul_kernel", kernel=4e6),
        event("nobody_claims_it", kernel=5e6),
        event("Optimizer.step#Adam.step", kernel=99e6),  # the span of a region, not a kernel
    ]
    on_cpu = group_seconds(events, "cpu", steps=2)
    assert (on_cpu["optimiser and averages"], on_cpu["convolution, forward"], on_cpu[REST]) == (1.5, 1.5, 0)
    on_gpu = group_seconds(events, "cuda", steps=2)
    assert (on_gpu["optimiser and averages"], on_gpu["convolution, forward"], on_gpu[REST]) == (2, 3, 2.5)
    assert list(on_gpu) == [*GROUPS, REST]


def test_profile_of_steps():
    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.InstanceNorm2d(16), torch.nn.ReLU())
    optimizer = torch.optim.Adam(layers.parameters())
    x = torch.randn(2, 3, 32, 32)

    def step(k):
        optimizer.zero_grad()
        layers(x).square().mean().backward()
        optimizer.step()

    step(0)
    stage = SimpleNamespace(step=step)
    result = profile_steps(stage, torch.device("cpu"), first=1, steps=3, peak=1e12)
    rows = {row["group"]: row for row in result["groups"]}
    assert result["operations"] == count_flops(lambda: step(0)) > 0
    for group in ("convolution, forward", "convolution, backward", "normalisation", "optimiser and averages"):
        assert rows[group]["seconds"] > 0, group
    forward = rows["convolution, forward"]
    assert forward["operations"] == 2 * (3 * 3 * 3) * 16 * (2 * 30 * 30)
    assert forward["share_of_peak"] == pytest.approx(forward["operations"] / forward["seconds"] / 1e12)
    assert rows[REST]["operations"] is rows[REST]["share_of_peak"] is result["busy_share"] is None
    text = profile_table("a step", result)
    assert all(group in text for group in rows) and "% of the peak" in text


# ---------------------------------------------------------------- times and arguments


@pytest.mark.parametrize(
    "minutes, seconds", [(12, 20), (60, 20), (6.7, 20), (2, 6), (0.1, 0.3)]
)  # at most 5 % of a short time
def test_time_that_is_kept_for_writing(minutes, seconds):
    assert gpu_plan.reserve(minutes) == pytest.approx(seconds, abs=0.2)


def test_whether_a_part_fits():
    assert gpu_plan.fits(2.0, deadline=1000.0, now=880.0)
    assert not gpu_plan.fits(2.0, deadline=1000.0, now=881.0)


def run_main(monkeypatch, *options):
    "The plan in this process, as if there were no GPU."
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["gpu_plan.py", *map(str, options)])
    return gpu_plan.main()


def test_without_a_gpu(monkeypatch, capsys, tmp_path):
    assert run_main(monkeypatch, "--out", tmp_path / "out") == 2
    said = capsys.readouterr()
    assert "no CUDA GPU" in said.err and "--allow-cpu" in said.err and said.out == ""
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "options, word", [(["--parts", "speeed"], "speeed"), (["--minutes", "0"], "--minutes")]
)
def test_wrong_arguments(options, word, monkeypatch, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        run_main(monkeypatch, "--allow-cpu", "--out", tmp_path / "out", *options)
    assert end.value.code == 2 and word in capsys.readouterr().err
    assert names(tmp_path) == []


def test_parts_that_do_not_fit_are_left_out(monkeypatch, capsys, tmp_path):
    out = tmp_path / "out"
    assert run_main(monkeypatch, "--allow-cpu", "--out", out, "--minutes", "0.01") == 0
    state = json.loads((out / "gpu.json").read_text())
    assert {part["state"] for part in state["parts"].values()} == {"left out"}
    assert list(state["parts"]) == list(gpu_parts.PARTS)
    assert "minutes are needed" in (out / "gpu.md").read_text()
    with pytest.raises(SystemExit):  # results of phantoms and of real images do not mix
        state["data"] = "data of lung"
        (out / "gpu.json").write_text(json.dumps(state))
        run_main(monkeypatch, "--allow-cpu", "--out", out)
    assert "choose another --out" in capsys.readouterr().err


def test_a_part_that_fails_is_noted(monkeypatch, capsys, tmp_path):
    "The plan goes on, says it, and tries again when it is started again."
    out, tried = tmp_path / "out", []

    def start(name, settings, path, log):
        tried.append(name)
        code = "print('a reason'); raise SystemExit(3)" if name == "shares" and len(tried) == 1 else "0"
        return subprocess.Popen([sys.executable, "-c", code], stdout=log, start_new_session=True)

    monkeypatch.setattr(gpu_plan, "start_child", start)
    monkeypatch.setattr(gpu_plan, "POLL", 0.05)
    options = ["--allow-cpu", "--parts", "shares,quality", "--out", out, "--work", tmp_path / "work"]
    assert run_main(monkeypatch, *options) == 1
    assert "1 failed: shares" in capsys.readouterr().out
    assert "exit code 3" in (out / "gpu.md").read_text() and "a reason" in (out / "log.txt").read_text()
    assert run_main(monkeypatch, *options) == 0
    assert tried == ["shares", "quality", "shares"]


def test_a_part_whose_time_is_up(monkeypatch, tmp_path):
    "It is ended with all that it started; what it wrote is kept, also half of a result."
    monkeypatch.setattr(gpu_plan, "POLL", 0.05)
    record = gpu_plan.Record.open(gpu_parts.Settings("cpu", str(tmp_path / "out"), str(tmp_path / "work")))
    record.state.update(machine=dict(device="none", commit="0"), data="phantoms", small=True)
    (tmp_path / "out").mkdir()

    def start(name, settings, path, log):
        path.parent.mkdir(parents=True, exist_ok=True)
        code = f"open({str(path)!r}, 'w').write('{{\"peaks\": 1}}'); import subprocess, sys, time; "
        code += f"subprocess.run([sys.executable, '-c', 'import time; time.sleep(99)', {str(tmp_path)!r}])"
        return subprocess.Popen([sys.executable, "-c", code], stdout=log, start_new_session=True)

    monkeypatch.setattr(gpu_plan, "start_child", start)
    gpu_plan.run_one(record, "shares", time.monotonic() + 2)
    part = json.loads((tmp_path / "out/gpu.json").read_text())["parts"]["shares"]
    assert (part["state"], part["result"]) == ("interrupted", dict(peaks=1))
    assert part["seconds"] < 12 and "its time was up" in (tmp_path / "out/gpu.md").read_text()
    assert processes_naming(tmp_path) == []


# ---------------------------------------------------------------- the whole plan


PLANNED = "speed,shares,quality,tasks,gan,tables"  # the checks: test_device.py


def start_plan(folder, workers):
    command = [sys.executable, ROOT / "tests/gpu_plan.py", "--allow-cpu", "--minutes", "10"]
    command += ["--out", folder / "out", "--work", folder / "work", "--parts", PLANNED, "--workers", workers]
    return subprocess.Popen(
        [str(word) for word in command],
        env={**ONE_CORE, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
    )


def state_of(folder):
    path = folder / "out/gpu.json"
    return json.loads(path.read_text())["parts"] if path.exists() else {}


def processes_naming(folder):
    "Processes whose command names the folder."
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                words = open(f"/proc/{entry.name}/cmdline", "rb").read()
            except OSError:
                continue  # it has ended
            if str(folder).encode() in words:
                found.append(entry.name)
    return found


@pytest.mark.slow
def test_plan_that_is_stopped_goes_on(tmp_path):
    process = start_plan(tmp_path, workers=1)
    units = tmp_path / "work/units"
    while not list(units.glob("*.json")):  # the labels of the first task are finished
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command continues" in said
    assert processes_naming(tmp_path) == []
    stopped = state_of(tmp_path)
    assert [part["state"] for part in stopped.values()] == 3 * ["finished"] + ["interrupted"]
    first = {path.name: path.stat().st_mtime_ns for path in units.glob("*.json")}

    again = start_plan(tmp_path, workers=2)
    said, _ = again.communicate(timeout=600)
    assert again.returncode == 0, said + (tmp_path / "out/log.txt").read_text()
    assert said.count("finished before") == 3 and "0 failed" in said
    parts = state_of(tmp_path)
    assert list(parts) == PLANNED.split(",") and {part["state"] for part in parts.values()} == {"finished"}
    assert all(parts[name] == stopped[name] for name in ("speed", "shares", "quality"))
    assert {name: (units / name).stat().st_mtime_ns for name in first} == first  # not run again
    check_results(tmp_path / "out", parts)


def check_results(out, parts):
    "Few small files, with numbers of each part."
    expected = ["gpu.json", "gpu.md", "log.txt", "profile.txt", "units.jsonl", "units.parquet"]
    assert sorted(path.name for path in out.iterdir()) == expected
    assert sum(path.stat().st_size for path in out.iterdir()) < 500_000
    text = (out / "gpu.md").read_text()
    assert all(f"## {gpu_parts.PARTS[name].title}" in text for name in parts)
    assert "the numbers mean nothing" in text
    assert "convolution, backward" in (out / "profile.txt").read_text()
    assert {row["unit"] for row in parts["speed"]["result"]["smoke"]["speeds"]} >= {"images/s"}
    assert set(parts["quality"]["result"]["curves"]) == {"full", "textbook"}
    for name, count in (("tasks", 2), ("gan", 1), ("tables", 4)):
        result = parts[name]["result"]
        assert (result["finished"], result["units"], result["failed"]) == (count, count, {})
        assert all(0 <= dice <= 1 for row in result["rows"] for dice in row["dice"].values())
    assert len((out / "units.jsonl").read_text().splitlines()) == 6  # the one GAN is a row of table 1
