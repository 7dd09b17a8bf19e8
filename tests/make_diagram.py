"""Draw the method as SVG: nbs/images/method.svg, and a copy for each notebook of 30_method.

In a copy only the part of its notebook is in colour.

    python tests/make_diagram.py          write them
    python tests/make_diagram.py --check  exit 1 when one is out of date
"""

import argparse
import sys
from html import escape
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "nbs/images"
WIDTH, HEIGHT = 1120, 494
# safe for colour-blind readers
COLOURS = dict(input="#56606e", gan="#0072b2", label="#a3560a", network="#00704f")
PALE = "#b9bec6"

REGULARISERS = ("Regularisers", "edges, equivariance,", "location, perturbation")
# name -> (left, top, width, height, colour, lines); the first line is bold
BOXES = dict(
    images=(20, 60, 140, 64, "input", ("Images x", "without annotations")),
    priors=(20, 296, 140, 84, "input", ("Auxiliary masks z", "ellipses, shape model,", "another data set")),
    E=(236, 62, 92, 60, "gan", ("E", "image to mask")),
    pseudo=(376, 66, 104, 52, "label", ("Pseudo label", "ẑ = E(x)")),
    D_z=(534, 62, 92, 60, "gan", ("D_z", "mask patches")),
    vae=(376, 158, 104, 60, "gan", ("Mask VAE", "latent code of ẑ")),
    D_vae=(534, 158, 92, 60, "gan", ("D_VAE", "real codes?")),
    regularisers=(200, 178, 142, 66, "gan", REGULARISERS),
    G=(236, 308, 92, 60, "gan", ("G", "mask to image")),
    generated=(376, 312, 104, 52, "gan", ("Image", "x̂ = G(z, n)")),
    D_x=(534, 308, 92, 60, "gan", ("D_x", "image patches")),
    diagnostics=(690, 40, 150, 50, "label", ("Diagnostics", "collapse? checkpoint?")),
    relabelling=(690, 110, 150, 50, "label", ("Relabelling", "magnified views")),
    registration=(690, 180, 150, 50, "label", ("Registration", "onto image edges")),
    refinement=(690, 250, 150, 50, "label", ("Refinement", "signed edges, volumes")),
    quality=(690, 320, 150, 66, "label", ("Quality (LQSS)", "score, selection,", "weights")),
    adaptation=(376, 440, 190, 44, "label", ("Adaptation", "size and place of labels")),
    losses=(902, 72, 190, 56, "network", ("Noise-weighted Dice", "weight per pixel and image")),
    segmentation=(902, 180, 190, 60, "network", ("C, a U-Net", "learns from selected labels")),
    masks=(902, 310, 190, 70, "network", ("Masks of C", "area calibrated,", "labels of the next round")),
)
FRAMES = dict(
    cyclegan=(184, 14, 462, 386, "gan", "improved CycleGAN"),
    rounds=(884, 14, 222, 386, "network", "rounds of iterative learning"),
)
# name -> (path, colour, label, its place)
ARROWS = dict(
    x=("M160,92 H230", "input", "", None),
    z=("M160,338 H230", "input", "", None),
    draw=("M328,92 H370", "gan", "", None),
    judge=("M480,92 H528", "gan", "", None),
    encode=("M428,118 V152", "gan", "", None),
    code=("M480,188 H528", "gan", "", None),
    paint=("M328,338 H370", "gan", "", None),
    critic=("M480,338 H528", "gan", "", None),
    cycle_z=("M396,118 C352,160 372,250 316,303", "gan", "cycles", (432, 262)),
    cycle_x=("M412,312 C366,270 372,190 310,128", "gan", "", None),
    dgcc=("M580,62 C560,40 310,40 286,57", "gan", "DGCC: features of D_z gate the channels of E", (432, 34)),
    labels=("M480,110 C520,150 640,150 684,76", "label", "", None),
    second=("M765,90 V104", "label", "", None),
    third=("M765,160 V174", "label", "", None),
    fourth=("M765,230 V244", "label", "", None),
    fifth=("M765,300 V314", "label", "", None),
    sizes=("M690,275 H668 V462 H572", "label", "", None),
    prior=("M376,462 H90 V386", "label", "before the GAN proper, from two small ones", (230, 454)),
    select=("M840,345 C872,330 872,224 896,214", "label", "", None),
    loss=("M997,128 V174", "network", "", None),
    predict=("M997,240 V304", "network", "", None),
    loop=("M902,360 C872,372 866,366 846,362", "network", "", None),
)
PARTS = {  # notebook -> what is in colour
    "networks": ("E", "G", "D_x", "D_z", "pseudo", "generated", "draw", "judge", "paint", "critic"),
    "vae": ("vae", "D_vae", "encode", "code", "pseudo", "priors"),
    "dgcc": ("dgcc", "E", "D_z", "pseudo", "draw", "judge"),
    "regularisers": ("regularisers",),
    "cyclegan": tuple(
        "cyclegan images priors x z draw judge encode code paint critic cycle_x cycle_z dgcc E G D_x D_z vae"
        " D_vae pseudo generated regularisers".split()
    ),
    "diagnostics": ("diagnostics", "labels", "pseudo"),
    "edge_contrast": ("diagnostics", "pseudo"),
    "quality": ("quality", "fifth", "select"),
    "relabelling": ("relabelling", "second", "third"),
    "registration": ("registration", "third", "fourth"),
    "refinement": ("refinement", "fourth", "fifth"),
    "outlines": ("refinement", "fourth", "fifth"),
    "volumes": ("refinement", "fourth", "fifth"),
    "losses": ("losses", "loss"),
    "segmentation": ("segmentation", "losses", "loss", "select", "predict", "masks"),
    "rounds": ("rounds", "quality", "segmentation", "losses", "masks", "select", "loss", "predict", "loop"),
}


def text(x, y, words, colour, size=12, bold=False):
    style = f'font-size="{size}" fill="{colour}"' + (' font-weight="bold"' if bold else "")
    return f'<text x="{x}" y="{y}" {style}>{escape(words)}</text>'


def rectangle(left, top, width, height, style):
    "A tag that is still open."
    return f'<rect x="{left}" y="{top}" width="{width}" height="{height}" {style}'


def draw_box(left, top, width, height, colour, lines):
    middle, first = left + width / 2, top + height / 2 - 8 * (len(lines) - 1) + 4
    shape = rectangle(left, top, width, height, f'rx="8" fill="#fff" stroke="{colour}"')
    words = [
        text(middle, first + 16 * k, line, colour, 13 if k == 0 else 11, bold=k == 0)
        for k, line in enumerate(lines)
    ]
    return [f'{shape} stroke-width="1.6"/>', *words]


def draw_frame(left, top, width, height, colour, title):
    shape = rectangle(left, top, width, height, f'rx="12" fill="none" stroke="{colour}"')
    title = text(left + width / 2, top + height + 22, title, colour, 13, bold=True)
    return [f'{shape} stroke-dasharray="5 4"/>', title]


def draw_arrow(path, colour, label, place):
    style = f'fill="none" stroke="{colour}" stroke-width="1.6" marker-end="url(#{colour[1:]})"'
    line = f'<path d="{path}" {style}/>'
    return [line, text(*place, label, colour, 11)] if label else [line]


def marker(colour):
    "The head of arrows of a colour."
    shape = f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/>'
    size = 'markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto" markerUnits="userSpaceOnUse"'
    return f'<marker id="{colour[1:]}" {size}>{shape}</marker>'


def diagram(
    part=None,  # a key of `PARTS`; None: the whole method in colour
):
    "The SVG."

    def colour_of(name, colour):
        return COLOURS[colour] if part is None or name in PARTS[part] else PALE

    drawn = [f'<defs>{"".join(map(marker, (*COLOURS.values(), PALE)))}</defs>']
    drawn.append(f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="#fff"/>')
    for name, (*place, colour, title) in FRAMES.items():
        drawn += draw_frame(*place, colour_of(name, colour), title)
    for name, (path, colour, label, place) in ARROWS.items():
        drawn += draw_arrow(path, colour_of(name, colour), label, place)
    for name, (*place, colour, lines) in BOXES.items():
        drawn += draw_box(*place, colour_of(name, colour), lines)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' text-anchor="middle">'
    )
    title = "The method" if part is None else f"The method, with the part of this notebook in colour: {part}"
    return "\n".join([head, f"<title>{title}</title>", *drawn, "</svg>\n"])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    files = {"method.svg": diagram(), **{f"method_{part}.svg": diagram(part) for part in PARTS}}
    stale = [name for name, content in files.items() if not _is_current(FOLDER / name, content)]
    if check:
        print("\n".join(f"nbs/images/{name} is out of date: make diagram" for name in stale), end="")
        return int(bool(stale))
    for name in stale:
        (FOLDER / name).write_text(files[name], encoding="utf-8")
    print(f"{len(files)} pictures in {FOLDER}, {len(stale)} of them new")
    return 0


def _is_current(path, content):
    return path.is_file() and path.read_text(encoding="utf-8") == content


if __name__ == "__main__":
    sys.exit(main())
