"""Where the time of a training step goes: a table of `torch.profiler`, by groups of layers."""

import re
import statistics
import time

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from aeseg.studies.benchmark import wait_for

# group -> names of operations, tried in this order; an operation within an optimiser's step is one of it
GROUPS = {
    "optimiser and averages": r"_fused_adam|_foreach_|lerp",
    "convolution, backward": r"convolution_?backward",
    "convolution, forward": r"convolution|conv2d",
    "matrix products": r"addmm|::mm|bmm|linear|MmBackward",
    "normalisation": r"(batch|instance|group)_?norm",
    "copies": r"copy|memcpy|memset|::cat|clone|contiguous|repeat|::to$|fill_|zero_",
}
REST = "rest"
# what `FlopCounterMode` calls the operations of a group
COUNTED = {
    "convolution, backward": ("aten.convolution_backward",),
    "convolution, forward": ("aten.convolution",),
    "matrix products": ("aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm"),
}


def group_of(name, parents=()):
    "The group of an operation; `parents` are the names of the operations that called it."
    if any(parent.startswith("Optimizer.") for parent in (name, *parents)):
        return "optimiser and averages"
    matching = (group for group, pattern in GROUPS.items() if re.search(pattern, name, re.IGNORECASE))
    return next(matching, REST)


def parents_of(event):
    while event.cpu_parent is not None:
        event = event.cpu_parent
        yield event.name


def is_annotation(event):
    "Whether an event of the device is the span of a named region and not a kernel."
    return getattr(event, "is_user_annotation", False) or event.name.startswith(("Optimizer.", "Profiler"))


def group_seconds(events, device_type, steps):
    """Seconds of a step by group, from the events of a profile: of the device where it is a GPU. There the
    time of kernels that no operation claims is in the rest."""
    on_gpu = device_type == "cuda"
    seconds = dict.fromkeys([*GROUPS, REST], 0.0)
    kernels = 0.0
    for event in events:
        if event.device_type != torch.autograd.DeviceType.CPU:
            if not is_annotation(event):
                kernels += event.time_range.elapsed_us()
            continue
        spent = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        seconds[group_of(event.name, parents_of(event))] += spent
    if on_gpu:
        seconds[REST] += max(0.0, kernels - sum(seconds.values()))
    return {group: value / 1e6 / steps for group, value in seconds.items()}


def group_operations(step):
    "Floating-point operations of a step by group."
    with FlopCounterMode(display=False) as counter:
        step()
    counts = {str(op): n for op, n in counter.get_flop_counts().get("Global", {}).items()}
    return {group: sum(counts.get(name, 0) for name in names) for group, names in COUNTED.items()}


def time_steps(step, device, steps):
    "The median seconds of a step, over three stretches of steps in which the device is not waited for."
    stretches = []
    for _ in range(3):
        wait_for(device)
        start = time.perf_counter()
        for _ in range(steps):
            step()
        wait_for(device)
        stretches.append((time.perf_counter() - start) / steps)
    return statistics.median(stretches)


def profile_steps(stage, device, first, steps, peak):
    """Seconds, operations and share of the peak (operations a second) of the steps of a stage, by group.
    `first` is the step to begin with, where all losses are on."""
    number = iter(range(first, 10**9))

    def step():
        stage.step(next(number))

    for _ in range(3):
        step()
    counted = group_operations(step)
    wall = time_steps(step, device, steps)
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(steps):
            step()
        wait_for(device)
    seconds = group_seconds(profiler.events(), device.type, steps)
    groups = []
    for group, spent in seconds.items():
        operations = counted.get(group)
        rate = operations / spent if operations and spent else None
        share = rate / peak if rate else None
        groups.append(dict(group=group, seconds=spent, operations=operations, share_of_peak=share))
    busy, total = sum(seconds.values()), sum(counted.values())
    return dict(
        seconds_of_a_step=wall,
        operations=total,
        operations_a_second=total / wall,
        share_of_peak=total / wall / peak,
        busy_share=min(1.0, busy / wall) if on_gpu else None,
        groups=groups,
    )


def profile_table(title, result):
    "A result of `profile_steps` as text."
    busy = result["busy_share"]
    lines = [
        f"{title}: {1e3 * result['seconds_of_a_step']:.2f} ms a step,"
        f" {result['operations_a_second'] / 1e12:.3g} TFLOP/s, {100 * result['share_of_peak']:.1f} % of the"
        " peak"
        + ("" if busy is None else f"; the device is busy for {100 * busy:.0f} % of the time"),
        f"{'':24}{'ms':>10}{'% of all':>10}{'GFLOP':>10}{'TFLOP/s':>10}{'% of peak':>11}",
    ]
    total = sum(row["seconds"] for row in result["groups"]) or 1
    for row in sorted(result["groups"], key=lambda row: -row["seconds"]):
        text = f"{row['group']:24}{1e3 * row['seconds']:10.3f}{100 * row['seconds'] / total:10.1f}"
        if row["share_of_peak"] is not None:
            rate = row["operations"] / row["seconds"] / 1e12
            text += f"{row['operations'] / 1e9:10.2f}{rate:10.3g}{100 * row['share_of_peak']:11.1f}"
        lines.append(text)
    return "\n".join(lines)
