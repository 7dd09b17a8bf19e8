"""Draw nbs/images/overview.png, the README's picture, from runs on phantoms of the four tasks.

    python tests/make_picture.py [runs/picture]

Runs that are not finished are made first: about half an hour on one core. Heads are given the size of
the phantoms, as by the hint of `aeseg new`. For discs seed and prior were chosen: with
seeds 0 and 1 and an adapted prior the GAN misses them, and the run says so.
"""

import sys
from pathlib import Path

import torch
from matplotlib.figure import Figure

from aeseg.app.charts import as_picture, outlines
from aeseg.app.demo import demo
from aeseg.core.plots import PREDICTION_COLOUR, TRUTH_COLOUR, save_small_png
from aeseg.data.datasets import load_images
from aeseg.data.images import read_mask, to_canvas

ROOT = Path(__file__).resolve().parents[1]
TASKS = dict(fetal_head="fetal head", optic_disc="optic disc", lung="lung", liver="liver")
VALUES = dict(  # beside those of `demo`
    fetal_head=dict(ellipse_semi_major=[0.16, 0.3]),
    optic_disc=dict(prior="given", seed=1),
)
ROWS = (  # split, folder of the run, title
    ("train", "gan_labels", "pseudo labels"),
    ("val", "predictions", "final masks"),
)
SHOWN = 2  # images of each task


def masks_on_canvas(folder, images):
    "Masks (N, height, width) bool of images, on their canvas."
    placed = []
    for i, placement in zip(images.ids, images.placements):
        mask = read_mask(folder / f"{i}.png").astype("uint8") * 255
        placed.append(torch.from_numpy(to_canvas(mask, placement, images.canvas)) > 127)
    return placed


def draw(axis, image, truth, mask):
    "An image with the outlines of its true mask and of another one."
    axis.imshow(as_picture(image), cmap="gray", vmin=0, vmax=255)
    for rim, width in (("black", 2.0), (None, 1.0)):
        for outlined, colour in ((truth, TRUTH_COLOUR), (mask, PREDICTION_COLOUR)):
            for line in outlines(outlined[None].float()):
                axis.plot(*line.T, color=rim or colour, linewidth=width)


def main(folder):
    "Two rows: noisy pseudo labels of training images, and final masks of images that training never saw."
    figure = Figure((10.4, 2.9), dpi=100, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    axes = figure.subplots(len(ROWS), len(TASKS) * SHOWN)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for k, (task, name) in enumerate(TASKS.items()):
        run = demo(folder, task=task, variant="plus", threads=1, **VALUES.get(task, {}))
        phantoms = folder / f"phantoms/{task}_160_40"
        for row, (split, masks, title) in zip(axes, ROWS):
            images = load_images(phantoms, size=160).split(split)
            truth, drawn = (masks_on_canvas(f, images) for f in (phantoms / "masks", run.folder / masks))
            for n in range(SHOWN):
                draw(row[SHOWN * k + n], images.pixels[n], truth[n], drawn[n])
            row[0].set_ylabel(title)
        axes[0, SHOWN * k].set_title(name, loc="left")
    out = ROOT / "nbs/images/overview.png"
    save_small_png(figure, out, colours=96)
    print(out)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "runs/picture"))
