"""Measure time, peak memory and disk of every stage against the number of images, on generated ones.

    python tests/measure_scale.py --counts 3000 30000 --folder /scratch --out results/scale.md

Images are phantoms of fetal heads, moved and with noise, as PNG. `check`, `fit` (ten GAN steps, labels, one
short round) and `predict` run each in a process of their own, with thin networks: what grows with the number
of images is reading, writing and bookkeeping. A second `fit` of the variant `plus` with networks of usual
size on a few images gives the seconds an image and a step, from which a full run is extrapolated.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure_memory import FEW
from PIL import Image

THIN = dict(FEW, threads=0, gan_steps=10, checkpoint_every=10, segmentation_steps=10, memory_limit=100)
USUAL = dict(preset="cpu", accelerator="cpu", variant="plus", rounds=1, vae_steps=10, gan_steps=10)
USUAL.update(checkpoint_every=5, segmentation_steps=10, prior="given")

# Each call is a fresh process; its peak counts the processes that it starts.
CALL = """
import json, sys
name, arguments, parameters = json.loads(sys.argv[1])
if name == "check":
    from aeseg.data.check import check_dataset as function
else:
    import aeseg
    function = getattr(aeseg, name)
function(*arguments, **parameters)
"""


def write_images(folder, count, size, distinct=16):
    "Phantoms, each shifted and with noise of its own."
    from aeseg.data.phantoms import phantom

    (folder / "images").mkdir(parents=True)
    phantoms = [phantom("fetal_head", seed, size=(size, size))[0] for seed in range(distinct)]
    for k in range(count):
        rng = np.random.default_rng(k)
        shift, noise = rng.integers(-size // 16, size // 16, 2), rng.integers(-2, 3, (size, size), np.int16)
        pixels = np.roll(phantoms[k % distinct], shift, (0, 1)) // 4 * 4 + noise
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
        image.save(folder / "images" / f"{k:08}.png", compress_level=1)
    return folder


def disk(folder):
    "Bytes of all files below a folder, also of nameless ones that its file system holds open."
    return sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())


def call(name, *arguments, **parameters):
    "Seconds, seconds of the processor, peak memory (bytes) of a call, and the lowest free space of the disk."
    job = json.dumps((name, list(map(str, arguments)), parameters))
    began = time.perf_counter()
    where = next(p for p in (Path(arguments[-1]), *Path(arguments[-1]).parents) if p.exists())
    free = lowest = shutil.disk_usage(where).free
    process = subprocess.Popen([sys.executable, "-c", CALL, job], stdout=subprocess.DEVNULL)
    while True:
        done, status, used = os.wait4(process.pid, os.WNOHANG)
        if done:
            break
        time.sleep(0.2)
        lowest = min(lowest, shutil.disk_usage(where).free)
    process.returncode = status
    if status:
        raise RuntimeError(f"{name} failed; its message is above")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return dict(
        seconds=time.perf_counter() - began,
        cpu=used.ru_utime + used.ru_stime,
        peak=peak,
        disk=free - lowest,
    )


def measure(folder, count, size, echo=print):
    "Rows of a table: stage, seconds, seconds of the processor, peak memory, disk."
    began, cpu = time.perf_counter(), time.process_time()
    images = write_images(folder / f"images_{count}", count, size)
    rows = {"images": dict(seconds=time.perf_counter() - began, cpu=time.process_time() - cpu, peak=0)}
    rows["images"]["disk"] = disk(images)
    run, masks = folder / f"run_{count}", folder / f"masks_{count}"
    options = dict(THIN, size=size, truth=None, quiet=True)
    for name, arguments, parameters in (
        ("check", (images,), {}),
        ("fit", (images, run), options),
        ("predict", (run, images, masks), dict(quiet=True)),
    ):
        rows[name] = call(name, *arguments, **parameters)
        row = rows[name]
        echo(
            f"{count} images, {name}: {row['seconds']:.0f} s, peak {row['peak'] / 1e6:.0f} MB, disk"
            f" {row['disk'] / 1e6:.0f} MB"
        )
    rows["fit"]["kept"] = disk(run)
    rows["fit"]["stages"] = json.loads((run / "provenance.json").read_text())["seconds"]
    written = sum(1 for _ in masks.glob("*.png"))
    if written != count:
        raise RuntimeError(f"{written} masks of {count} images")
    for path in (images, run, masks):
        shutil.rmtree(path)
    return rows


def usual_seconds(folder, count, size):
    "Seconds of each stage of a run with networks of usual size on a few images."
    images = write_images(folder / "images_usual", count, size)
    call("fit", images, folder / "usual", **USUAL, size=size, truth=None, quiet=True)
    return json.loads((folder / "usual" / "provenance.json").read_text())["seconds"]


TRAINED = ("vae", "gan", "round_1")  # stages whose time is that of their steps


def describe(results, usual, few, size, command):
    "The page, as Markdown."
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout
    lines = [
        "# Scale",
        "",
        (
            f"Command: `{command}`; commit {commit.strip() or 'unknown'}; {platform.machine()},"
            f" {os.cpu_count()} cores, {os.environ.get('OMP_NUM_THREADS', 'all')} thread(s);"
            f" images of {size} x {size} pixels, networks of two channels, `memory_limit` 100 MB."
        ),
        "",
        "| images | stage | minutes | minutes of the processor | peak memory | disk while it runs |",
        "|---|---|---|---|---|---|",
    ]
    for count, rows in results.items():
        for name, row in rows.items():
            peak = f"{row['peak'] / 1e6:.0f} MB" if row["peak"] else ""
            lines.append(
                f"| {count:,} | {name} | {row['seconds'] / 60:.2f} | {row['cpu'] / 60:.2f} | {peak} |"
                f" {row['disk'] / 1e6:,.0f} MB |"
            )
    few_images, many = min(results), max(results)
    if few_images != many:
        lines += ["", "From the smaller to the larger set, peak memory grows by so many bytes an image:", ""]
        for name in ("check", "fit", "predict"):
            growth = results[many][name]["peak"] - results[few_images][name]["peak"]
            lines.append(f"* {name}: {growth / (many - few_images):.0f}, of {size * size} of its pixels")
    kept = results[many]["fit"]["kept"] / many
    lines += [
        "",
        (
            f"A run keeps {kept / 1e3:.0f} kB an image; for 100,000 images {kept * 1e5 / 1e9:.0f} GB, for 10"
            f" million {kept * 1e7 / 1e12:.1f} TB."
        ),
    ]
    if usual:
        lines += [
            "",
            (
                f"Seconds of a run of `plus` with networks of the preset `cpu` on {few} such images, ten"
                " steps of each stage:"
            ),
            "",
            "| stage | seconds | for 100,000 images, hours (what is trained by steps does not grow) |",
            "|---|---|---|",
        ]
        for name, seconds in usual.items():
            hours = "" if name in TRAINED else f"{seconds / few * 1e5 / 3600:.1f}"
            lines.append(f"| {name} | {seconds:.1f} | {hours} |")
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Measure every stage against the number of images.")
    parser.add_argument("--counts", type=int, nargs="+", default=[200], help="numbers of images, ascending")
    parser.add_argument("--size", type=int, default=256, help="side of the images, a multiple of 32")
    parser.add_argument("--usual", type=int, default=0, help="images of a run with networks of usual size")
    parser.add_argument("--folder", help="where to put the temporary folder; 0.5 MB an image")
    parser.add_argument("--out", help="Markdown file for the result")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        folder, usual = Path(folder), {}
        results = {count: measure(folder, count, options.size) for count in options.counts}
        if options.usual:
            usual = usual_seconds(folder, options.usual, options.size)
    words = ["python tests/measure_scale.py", "--counts", *map(str, options.counts), "--size", options.size]
    words += ["--usual", options.usual] if options.usual else []
    page = describe(results, usual, options.usual, options.size, " ".join(map(str, words)))
    if options.out:
        Path(options.out).write_text(page, encoding="utf-8")
    print(page)
    return results


if __name__ == "__main__":
    main()
