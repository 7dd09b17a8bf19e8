"""What the parts of `gpu_plan.py` do, each in a process of its own, and how their results read.

A part takes the settings and a function `tell`, to which it gives its result as it grows, and returns the
result: a dict that JSON can hold. What a part computes is kept in the work folder and not done twice.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from layer_groups import profile_steps, profile_table

from aeseg.app.models import make_gan
from aeseg.core.config import make_config
from aeseg.core.devices import make_fabric
from aeseg.core.draws import generator_for
from aeseg.core.errors import InputError
from aeseg.core.files import atomic_write
from aeseg.data.datasets import load_images
from aeseg.evaluation.true_masks import find_truth
from aeseg.shapes.priors import make_prior
from aeseg.studies.benchmark import bench, bench_table, interleave, precision_of, time_to_quality, trained_vae
from aeseg.studies.operations import matmul_work, plain_training
from aeseg.studies.plans import SOURCES, make_grid, real_source, table1, table2, table3, unit_of, unit_work
from aeseg.studies.units import Store, jobs_of, run_unit, run_units

ROOT = Path(__file__).resolve().parents[1]
TINY = dict(  # a training of a second
    size=32,
    vae_steps=2,
    gan_steps=4,
    checkpoint_every=2,
    adaptation_steps=2,
    segmentation_steps=2,
)


@dataclass(frozen=True)
class Settings:
    "What the parts run on."

    kind: str  # of the device: 'cuda' or 'cpu'
    out: str  # folder of the few files that are kept
    work: str  # folder of runs and units
    data_root: str = ""  # folder of data sets; empty: phantoms
    workers: int = 2  # processes that share the device
    small: bool = False  # scaled down: shows that all parts work, the numbers mean nothing

    @property
    def tasks(self):
        "The tasks whose data are there; all of them for phantoms."
        present = [task for task in SOURCES if not self.data_root or has_data(task, self.data_root)]
        return tuple(present[:2] if self.small else present)

    @property
    def store(self):
        "The finished units, those of earlier calls too."
        return Store(Path(self.work) / "units", self.out)

    def preset(self, name):
        return "smoke" if self.small else name

    def values(self):
        return dict(TINY) if self.small else {}

    def grid(self, preset, seeds=(0,), tasks=None):
        return make_grid(
            "table1_pseudo_labels",
            tasks=list(tasks or self.tasks),
            seeds=list(seeds),
            preset=self.preset(preset),
            out=str(Path(self.work) / "results/plan"),
            phantoms=8 if self.small else 64,
            accelerator=self.kind,
            **(dict(data_root=self.data_root) if self.data_root else {}),
            **self.values(),
        )

    def config(self, preset, **values):
        return make_config(
            self.preset(preset), accelerator=self.kind, **{**self.values(), "task": self.tasks[0], **values}
        )


def has_data(task, data_root):
    try:
        real_source(task, data_root)
    except InputError:
        return False
    return True


# ---------------------------------------------------------------- checks


def checks(settings, tell):
    "Steps, first losses and a short fit, see gpu_check.py."
    command = [sys.executable, str(ROOT / "tests/gpu_check.py"), "--quick"]
    if settings.kind == "cpu":
        command.append("--allow-cpu")
    result = dict(ok=[], failed=[])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            word, _, name = line.strip().partition(" ")
            if word in ("ok", "FAIL"):
                result["ok" if word == "ok" else "failed"].append(name.strip())
                tell(result)
    if process.returncode:
        raise AssertionError(f"{len(result['failed'])} checks failed, see log.txt")
    return result


def read_checks(result):
    failed = [f"failed: {name}" for name in result["failed"]]
    return [f"{len(result['ok'])} checks passed: {', '.join(result['ok'])}", *failed]


# ---------------------------------------------------------------- speed


def speed(settings, tell):
    "`aeseg bench`, short: steps and prediction against the textbook and a MONAI loop, on phantoms."
    result = {}
    for preset in dict.fromkeys(map(settings.preset, ("gpu", "cpu"))):
        folder = Path(settings.work) / "bench" / preset
        values = dict(preset=preset, accelerator=settings.kind, **settings.values())
        measured = bench((), folder, 2 if settings.small else 5, **values)
        kept = ("speeds", "ratios", "flops", "canvas", "precision", "device")
        result[preset] = {key: measured[key] for key in kept}
        tell(result)
    return result


def read_speed(result):
    lines = []
    for preset, measured in result.items():
        canvas = " x ".join(map(str, measured["canvas"]))
        lines += [f"Preset `{preset}`, {canvas} pixels, {measured['precision']}:", "", "```"]
        lines += [bench_table(measured), "```", ""]
    return lines


# ---------------------------------------------------------------- share of the peak


def make_stages(config, grid, fabric):
    "The GAN and the training of C on the images of a task, which are loaded anew."
    source = grid.source(config.run.task)
    images = load_images(list(source.images), config.run.size).split("train")
    prior = make_prior(config.shapes, config.run.task, images.canvas, list(source.aux_masks))
    vae = trained_vae(config, prior, images.canvas, fabric)
    yield "GAN", make_gan(config, images, prior, vae, fabric), config.gan.steps // 2
    labels = prior.sample(len(images), generator_for(0, "bench", 0))
    yield "segmentation", plain_training(config, images, labels, fabric), config.segmentation.steps // 2


def shape_of(grid, task):
    return "masks" if grid.source(task).aux_masks else "ellipse"


def shares(settings, tell):
    "Time of a step by layer group, against the measured speed of large matrix products."
    result = dict(peaks={}, profiles={})
    for preset in dict.fromkeys(map(settings.preset, ("gpu", "cpu"))):
        grid = settings.grid(preset)
        # not compiled: kernels of a compiled graph belong to no operation
        config = settings.config(preset, compile="false", shape=shape_of(grid, settings.tasks[0]))
        fabric = make_fabric(config.machine)
        precision, device = precision_of(fabric), fabric.device
        if precision not in result["peaks"]:
            dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float32
            work, operations = matmul_work(dtype, device)
            seconds = interleave(dict(peak=work), 5, device=device)["peak"]
            result["peaks"][precision] = operations / sorted(seconds)[2]
        for name, stage, first in make_stages(config, grid, fabric):
            steps, peak = 2 if settings.small else 20, result["peaks"][precision]
            measured = profile_steps(stage, device, first, steps, peak)
            if device.type == "cuda":
                measured["memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
                torch.cuda.reset_peak_memory_stats()
            result["profiles"][f"{name}, preset {preset}"] = measured
            tell(result)
    return result


def read_shares(result):
    lines = [
        f"Large matrix products, {precision}: {1e-12 * peak:.3g} TFLOP/s."
        for precision, peak in result["peaks"].items()
    ]
    for title, measured in result["profiles"].items():
        memory = f"memory: {measured['memory_mb']} MB at most" if "memory_mb" in measured else ""
        lines += ["", "```", profile_table(title, measured), *filter(None, [memory]), "```"]
    return lines


# ---------------------------------------------------------------- time to quality


def quality(settings, tell):
    "Dice of pseudo labels over minutes of training, of `full` and of the textbook: heads."
    grid = settings.grid("cpu", tasks=["fetal_head"] if "fetal_head" in settings.tasks else None)
    task = grid.tasks[0]
    config, folders = settings.config("cpu", task=task), list(grid.source(task).images)
    images = load_images(folders, config.run.size).split("train")
    prior = make_prior(config.shapes, task, images.canvas, list(grid.source(task).aux_masks))
    points = []

    def echo(line):
        points.append(line)
        print(line, flush=True)
        tell(dict(points=points))

    minutes, count = (0.02, 2) if settings.small else (1.0, 12)
    fabric, truth = make_fabric(config.machine), find_truth("auto", folders)
    return time_to_quality(config, images, prior, truth, fabric, minutes, count, echo)


def read_quality(result):
    if "points" in result:  # interrupted
        return ["```", *result["points"], "```"]
    lines = ["| | step | minutes | Dice |", "| --- | --- | --- | --- |"]
    for name, curve in result["curves"].items():
        lines += [f"| {name} | {p['step']} | {p['minutes']:.2f} | {p['dice']:.3f} |" for p in curve]
    held = ", ".join(f"{n}: {'never' if m is None else f'{m:.2f} min'}" for n, m in result["holds"].items())
    return [*lines, "", f"Holds Dice {result['level']:g} from: {held}."]


# ---------------------------------------------------------------- trainings


def train_units(settings, tell, units):
    "Run units side by side on the device; a unit that is finished is not run again."
    store, command = settings.store, ["tests/gpu_plan.py"]
    jobs, _ = jobs_of(units, store)
    if min(len(jobs), settings.workers) <= 1:  # no further process is needed
        errors = {name: run_unit(unit, store, command) for name, unit in jobs.values()}
    else:
        errors = run_units(units, store, settings.workers, command=command, quiet=True)
    failed = {name: error for name, error in errors.items() if error}
    tell(dict(failed=failed))
    for name, unit in jobs.values():
        log = store.run_folder(unit).with_suffix(".log")
        if name in failed and log.exists():
            print(f"{name}\n{log.read_text()}", flush=True)
    if failed:
        raise RuntimeError("; ".join(f"{name}: {error}" for name, error in failed.items()))
    return dict(failed={})


def unit_result(units, store):
    "How many units are finished, and their numbers."
    rows = [unit_row(name, unit, store) for name, unit in units.items() if store.key(unit)]
    return dict(units=len(units), finished=len(rows), rows=rows)


def unit_row(name, unit, store):
    facts, scores = store.facts(unit), store.rows(unit)
    dice = scores.groupby(["stage", "split"])["dice"].mean()
    seconds = 60 * facts["minutes"] if facts["minutes"] else None
    work = unit_work(unit.kind, unit.config.flat())
    return dict(
        name=name,
        kind=unit.kind,
        minutes=facts["minutes"],
        tflop=float(f"{work / 1e12:.3g}"),
        tflops=float(f"{work / 1e12 / seconds:.3g}") if seconds else None,
        gpu=facts["gpu"],
        dice={f"{stage}, {split}": round(float(value), 4) for (stage, split), value in dice.items()},
        events=[event["kind"] for event in facts["events"]],
    )


def task_units(settings):
    grid = settings.grid("cpu")
    return {
        f"{task}, {kind} of plus": unit_of(grid, kind, task, 0, variant="plus")
        for kind in ("labels", "network")
        for task in (settings.tasks[:1] if settings.small else settings.tasks)
    }


def gan_units(settings):
    grid, task = settings.grid("gpu", tasks=settings.tasks[:1]), settings.tasks[0]
    return {f"{task}, preset {grid.preset}": unit_of(grid, "labels", task, 0, variant="full")}


def table_units(settings):
    "Units of the tables in the order in which they are run: table 1 first, seed by seed."
    tables = dict(table1=table1) if settings.small else dict(table1=table1, table2=table2, table3=table3)
    tasks = settings.tasks[:1] if settings.small else settings.tasks
    grid = settings.grid("cpu", seeds=[0] if settings.small else [0, 1, 2], tasks=tasks)
    return {
        f"{name}: {task}, {method}, seed {seed}": unit
        for name, table in tables.items()
        for (task, method, seed), unit in table(grid).items()
    }


def four_tasks(settings, tell):
    "`plus` with the preset `cpu` on each task, side by side on the one device."
    return train_units(settings, tell, task_units(settings))


def one_gan(settings, tell):
    "A GAN of the preset `gpu`."
    return train_units(settings, tell, gan_units(settings))


def tables(settings, tell):
    "The tables with the preset `cpu`, as many units as there is time for."
    return train_units(settings, tell, table_units(settings))


UNITS = dict(tasks=task_units, gan=gan_units, tables=table_units)


def read_units(result):
    lines = [f"{result['finished']} of {result['units']} units are finished."]
    lines += [f"failed: {name}: {error}" for name, error in result.get("failed", {}).items()]
    if result["rows"]:
        lines += ["", "| unit | minutes | TFLOP | TFLOP/s | Dice |", "| --- | --- | --- | --- | --- |"]
    for row in result["rows"]:
        dice = "; ".join(f"{stage} {value:.3f}" for stage, value in row["dice"].items())
        lines.append(f"| {row['name']} | {row['minutes']} | {row['tflop']} | {row['tflops']} | {dice} |")
    return lines


def read_tables(result):
    "Means over seeds; the single units are in the packed files."
    lines = [f"{result['finished']} of {result['units']} units are finished."]
    lines += [f"failed: {name}: {error}" for name, error in result.get("failed", {}).items()]
    lines += [
        "",
        "| row | seeds | minutes each | labels, train | final, val |",
        "| --- | --- | --- | --- | --- |",
    ]
    rows = {}
    for row in result["rows"]:
        rows.setdefault(row["name"].rpartition(", seed")[0], []).append(row)
    for name, seeds in rows.items():
        labels = mean_of(row["dice"].get("pseudo_label, train") for row in seeds)
        final = mean_of(row["dice"].get("final, val") for row in seeds)
        minutes = mean_of((row["minutes"] for row in seeds), 1)
        lines.append(f"| {name} | {len(seeds)} | {minutes} | {labels} | {final} |")
    return lines


def mean_of(values, digits=3):
    "The mean of the numbers among the values, as text."
    numbers = [value for value in values if value is not None]
    return f"{sum(numbers) / len(numbers):.{digits}f}" if numbers else ""


@dataclass(frozen=True)
class Part:
    "A part of the plan."

    title: str
    run: object  # (settings, tell) -> result
    read: object  # result -> lines of Markdown
    minutes: float  # on one large GPU, an estimate; it is left out where less is left


PARTS = dict(
    checks=Part("Checks", checks, read_checks, 1.5),
    speed=Part("Speed against the textbook", speed, read_speed, 2.0),
    shares=Part("Share of the peak, by layer group", shares, read_shares, 1.0),
    quality=Part("Time to quality", quality, read_quality, 2.0),
    tasks=Part("The four tasks with `plus`, preset `cpu`, side by side", four_tasks, read_units, 4.0),
    gan=Part("One GAN of the preset `gpu`", one_gan, read_units, 4.0),
    tables=Part("Tables 1, 2, 3, preset `cpu`, until the time is up", tables, read_tables, 1.0),
)


def run_part(name, settings, path):
    "Run a part, writing its result as it grows."

    def tell(result):
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(result))

    result = PARTS[name].run(settings, tell)
    tell(result)
