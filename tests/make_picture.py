"""Draw nbs/images/overview.png, the README's picture, from the run that `make demo` leaves.

python tests/make_picture.py [runs/demo]
"""

import sys
from pathlib import Path

import torch

from aeseg.app.charts import label_sheet
from aeseg.core.plots import save_small_png
from aeseg.data.datasets import load_images
from aeseg.data.images import read_mask, to_canvas

ROOT = Path(__file__).resolve().parents[1]


def main(demo):
    "Phantoms that were not trained on, with the truth and the final masks."
    phantoms, masks = demo / "phantoms/fetal_head", demo / "run_fetal_head/predictions"
    images = load_images(phantoms, size=192).split("val")

    def on_canvas(folder):
        return (
            torch.stack(
                [
                    torch.from_numpy(
                        to_canvas(read_mask(folder / f"{i}.png").astype("uint8") * 255, p, images.canvas)
                    )
                    for i, p in zip(images.ids, images.placements)
                ]
            )[:, None]
            / 255
        )

    figure = label_sheet(
        images.pixels[:6], on_canvas(masks)[:6], on_canvas(phantoms / "masks")[:6], columns=6, width=2.2
    )
    out = ROOT / "nbs/images/overview.png"
    out.parent.mkdir(exist_ok=True)
    save_small_png(figure, out, colours=96)
    print(out)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "runs/demo"))
