"""Measure the peak memory of `fit` against the number of images, held in memory and streamed from disk.

    python tests/measure_memory.py --counts 1000 20000 --size 256

Images of noise are written to a temporary folder (--folder chooses where), and every run is a process of its own with the preset `smoke`, a few steps and thin networks.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

FEW = dict(preset="smoke", accelerator="cpu", threads=1, variant="cyclegan", vae_steps=2, gan_steps=4, checkpoint_every=2, segmentation_steps=2, vae_channels=2, generator_channels=2,
           mask_generator_dilations=[1], discriminator_channels=2, segmentation_channels=1)
HELD, STREAMED = 10**6, 0       # memory_limit, MB

# The peak of this program alone: getrusage would count what its parent held when it started it.
RUN = """
import json, resource, sys
from pathlib import Path
from aeseg.pipeline import fit
images, out, parameters = sys.argv[1:]
fit(images, out, truth=None, quiet=True, **json.loads(parameters))
status = Path("/proc/self/status")
if status.exists(): peak = int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
else: peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(peak)
"""


def write_images(folder, count, size):
    "Square images of coarse noise."
    (folder / "images").mkdir(parents=True)
    for k in range(count):
        noise = np.random.default_rng(k).integers(0, 256, (8, 8), np.uint8)
        Image.fromarray(noise).resize((size, size), Image.NEAREST).save(folder / "images" / f"{k:06}.png", compress_level=1)
    return folder


def peak(images, out, **parameters):
    "Bytes that a process with a `fit` of its own needed at most."
    done = subprocess.run([sys.executable, "-c", RUN, images, out, json.dumps({**FEW, **parameters})], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode: raise RuntimeError(done.stderr)
    return int(done.stdout.split()[-1])


def measure(folder, counts, size, limits, say=lambda *a: None):
    "One (count, bytes of images, peak with each memory_limit) each count."
    rows = []
    for count in counts:
        images = write_images(folder / f"images_{count}", count, size)
        peaks = []
        for limit in limits:
            start = time.time()
            peaks.append(peak(images, folder / f"run_{count}_{limit}", size=size, memory_limit=limit))
            say(f"{count} images, memory_limit={limit}: peak {peaks[-1] / 1e6:.0f} MB ({time.time() - start:.0f} s)")
        rows.append((count, count * size * size, *peaks))
    return rows


def growth(rows):
    "Growth of each peak from the first to the last count, as a fraction of the growth of the images' own size."
    (_, size, *before), (_, larger, *after) = rows[0], rows[-1]
    return [(b - a) / (larger - size) for a, b in zip(before, after)]


def main():
    parser = argparse.ArgumentParser(description="Measure the peak memory of fit against the number of images.")
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 20000], help="numbers of images, at least two, ascending")
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels, a multiple of 32")
    parser.add_argument("--limits", type=int, nargs="+", default=[HELD, STREAMED], help="values of memory_limit in MB (default: one that holds all images, and 0, which streams them)")
    parser.add_argument("--folder", help="where to put the temporary folder; some GB")
    a = parser.parse_args()
    if len(a.counts) < 2 or sorted(set(a.counts)) != a.counts or a.counts[0] < 2: parser.error("--counts needs at least two ascending numbers")
    if a.size < 32 or a.size % 32: parser.error("--size must be a multiple of 32")
    with tempfile.TemporaryDirectory(dir=a.folder) as folder: rows = measure(Path(folder), a.counts, a.size, a.limits, lambda s: print(s, flush=True))
    print(f"{'images':>8} {'their MB':>9}" + "".join(f"{f'limit {limit}':>16}" for limit in a.limits))
    for count, own, *peaks in rows: print(f"{count:8} {own / 1e6:9.0f}" + "".join(f"{p / 1e6:13.0f} MB" for p in peaks))
    print("growth of the peak / growth of the images' own size: " + ", ".join(f"{g:.3f}" for g in growth(rows)))


if __name__ == "__main__": main()
