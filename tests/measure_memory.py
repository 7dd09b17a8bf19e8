"""Measure the peak memory of `fit` against the number of images, held in memory and streamed from disk.

    python tests/measure_memory.py --counts 1000 20000 --size 256

Images of noise are written to a temporary folder (--folder chooses where). Every run is a process of its own
with the preset `smoke`, a few steps and thin networks.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

FEW = dict(
    preset="smoke",
    accelerator="cpu",
    threads=1,
    variant="cyclegan",
    vae_steps=2,
    gan_steps=4,
    checkpoint_every=2,
    segmentation_steps=2,
    vae_channels=2,
    generator_channels=2,
    mask_generator_dilations=[1],
    discriminator_channels=2,
    segmentation_channels=1,
)
HELD, STREAMED = 10**6, 0  # memory_limit, MB

# One process imports everything; each run is a fork of it, whose peak the system counts from the fork on.
RUNS = """
import gc, json, os, sys
import aeseg.app.fit, aeseg.app.predict, aeseg.app.report
import lightning_fabric, monai.networks.nets, safetensors.torch
gc.freeze()
for name, arguments, parameters in json.loads(sys.argv[1]):
    pid = os.fork()
    if not pid:
        try:
            getattr(aeseg, name)(*arguments, **parameters)
        except BaseException as e:
            print(repr(e), file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status, used = os.wait4(pid, 0)
    if status:
        sys.exit(1)
    print(used.ru_maxrss * (1 if sys.platform == "darwin" else 1024), flush=True)
"""


def write_images(folder, count, size, channels=1):
    "Square images of coarse noise."
    (folder / "images").mkdir(parents=True)
    for k in range(count):
        noise = np.random.default_rng(k).integers(0, 256, (8, 8, channels), np.uint8)
        image = Image.fromarray(noise.squeeze()).resize((size, size), Image.NEAREST)
        image.save(folder / "images" / f"{k:06}.png", compress_level=1)
    return folder


def peaks_of(jobs):
    "The peak in bytes of each (function of aeseg, arguments, parameters), one after the other."
    jobs = [(name, list(map(str, arguments)), parameters) for name, arguments, parameters in jobs]
    command = [sys.executable, "-c", RUNS, json.dumps(jobs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        for line in process.stdout:
            yield int(line)
            done += 1
    if process.returncode:
        raise RuntimeError(f"a run failed after {done} of {len(jobs)}; its message is above")


def measure(folder, counts, size, limits=(HELD, STREAMED), channels=1, echo=None):
    "A row (count, bytes of images, peak with each memory_limit) for each count."
    options = dict(FEW, size=size, truth=None, quiet=True)
    runs, jobs = [], []
    for count in counts:
        images = write_images(folder / f"images_{count}", count, size, channels)
        for limit in limits:
            runs.append((count, limit))
            arguments = (images, folder / f"run_{count}_{limit}")
            jobs.append(("fit", arguments, dict(options, memory_limit=limit)))
    peaks = {}
    for (count, limit), peak in zip(runs, peaks_of(jobs), strict=True):
        peaks[count, limit] = peak
        if echo:
            echo(f"{count} images, memory_limit={limit}: peak {peak / 1e6:.0f} MB")
    return [(n, n * size * size * channels, *[peaks[n, limit] for limit in limits]) for n in counts]


def growth(rows):
    "Growth of each peak from the first to the last count, as a fraction of the growth of the images' size."
    (_, size, *before), (_, larger, *after) = rows[0], rows[-1]
    return [(b - a) / (larger - size) for a, b in zip(before, after)]


def print_table(rows, limits):
    print(f"{'images':>8} {'their MB':>9}" + "".join(f"{f'limit {limit}':>16}" for limit in limits))
    for count, size, *peaks in rows:
        print(f"{count:8} {size / 1e6:9.0f}" + "".join(f"{p / 1e6:13.0f} MB" for p in peaks))
    ratios = ", ".join(f"{g:.3f}" for g in growth(rows))
    print(f"growth of the peak / growth of the images' size: {ratios}")


def main():
    parser = argparse.ArgumentParser(
        description="Measure the peak memory of fit against the number of images."
    )
    parser.add_argument(
        "--counts",
        type=int,
        nargs="+",
        default=[1000, 20000],
        help="numbers of images, at least two, ascending",
    )
    parser.add_argument(
        "--size", type=int, default=256, help="side of the images in pixels, a multiple of 32"
    )
    parser.add_argument(
        "--limits",
        type=int,
        nargs="+",
        default=[HELD, STREAMED],
        help="values of memory_limit in MB (default: one that holds all images, and 0, which streams them)",
    )
    parser.add_argument("--folder", help="where to put the temporary folder; some GB")
    options = parser.parse_args()
    counts, limits = options.counts, options.limits
    if len(counts) < 2 or sorted(set(counts)) != counts or counts[0] < 2:
        parser.error("--counts needs at least two ascending numbers")
    if options.size < 32 or options.size % 32:
        parser.error("--size must be a multiple of 32")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = measure(Path(folder), counts, options.size, limits, echo=partial(print, flush=True))
    print_table(rows, limits)


if __name__ == "__main__":
    main()
