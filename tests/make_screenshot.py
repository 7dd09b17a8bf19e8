"""Take nbs/images/inspector.png, the picture of the guide, from the run that `make demo` leaves.

python tests/make_screenshot.py [runs/demo/run_fetal_head]
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from browser import CHROMIUM, Inspected, app, chromium
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
COLOURS = 200  # keeps the file below 200 kB, and rare colours as they are


def take_picture(run):
    "The gallery after three decisions, and an open case with label and prediction; PNG as bytes."
    with app(run) as address, chromium(dict(width=1120, height=700)) as (page, _):
        page.goto(address, wait_until="commit")
        it = Inspected(page).ready()
        for n, key in ((1, "a"), (3, "r"), (4, "r")):
            it.tile(n).click()
            page.wait_for_timeout(700)
            it.press(key)
        it.until_decided(accepted=1, rejected=2)
        it.tile(6).click()
        page.wait_for_timeout(1500)
        it.press("3")
        page.wait_for_timeout(1500)
        return page.screenshot()


def main(run):
    with tempfile.TemporaryDirectory() as folder:
        without = shutil.ignore_patterns("reviews.csv", "corrected")
        copy = shutil.copytree(run.resolve(), Path(folder) / "phantoms", ignore=without)
        picture = Image.open(io.BytesIO(take_picture(copy))).convert("RGB")
    out = ROOT / "nbs/images/inspector.png"
    palette = picture.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette.save(out, optimize=True)
    print(out, f"{out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    if CHROMIUM is None:
        sys.exit("no Chromium here; install it, for example by apt-get install chromium")
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "runs/demo/run_fetal_head"))
