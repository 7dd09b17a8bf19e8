"""The few lines at the top of a notebook that use its part alone, and those of the README, do run."""

import json
import re

import pytest
import torch
from commands import ROOT
from torch import nn

BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
SIZE = (32, 64)


def blocks(path):
    "Python blocks of the README, or of the first cell of a notebook."
    if path.suffix == ".md":
        return BLOCK.findall(path.read_text(encoding="utf-8"))
    cell = json.loads(path.read_text(encoding="utf-8"))["cells"][0]
    return BLOCK.findall("".join(cell["source"]))


def given():
    "What the lines take as given: images, masks and networks of the reader."
    from aeseg import MaskVAE
    from aeseg.shapes.ellipses import ELLIPSES, EllipsePrior

    torch.manual_seed(0)
    masks = (torch.rand(4, 1, *SIZE) > 0.5).float()
    return dict(
        torch=torch,
        images=torch.rand(4, 1, *SIZE),
        masks=masks,
        labels=masks,
        pixels=torch.randint(256, (4, 1, *SIZE), dtype=torch.uint8),
        auxiliary_masks=EllipsePrior(SIZE, ELLIPSES["fetal_head"]).sample(
            20, torch.Generator().manual_seed(0)
        ),
        pseudo_labels=torch.rand(4, 1, *SIZE, requires_grad=True),
        q=torch.rand(4, 1, *SIZE),
        vae=MaskVAE(canvas=SIZE),
        predict=lambda pixels: pixels,
        network=nn.Conv2d(1, 1, 3, padding=1),
        encoder=nn.Sequential(nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU()),
        decoder=nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(8, 1, 3, 1, 1), nn.Sigmoid()),
    )


NOTEBOOKS = {
    path.name: path
    for folder in ("20_shapes", "30_method")
    for path in sorted((ROOT / "nbs" / folder).glob("*.ipynb"))
    if blocks(path)
}


def test_every_part_has_lines_of_its_own():
    method = {path.name for path in (ROOT / "nbs/30_method").glob("*.ipynb")}
    assert len(method) > 10
    assert method <= set(NOTEBOOKS)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_lines_of_a_notebook(name):
    for code in blocks(NOTEBOOKS[name]):
        assert len([line for line in code.splitlines() if line.strip()]) <= 8
        exec(compile(code, name, "exec"), given())


def test_lines_that_are_wrong_would_fail():
    with pytest.raises(NameError):
        exec("scores = score_labels(labels)", given())


def test_parts_in_the_readme():
    (code,) = [block for block in blocks(ROOT / "README.md") if "NoiseWeightedDiceLoss" in block]
    values = given()
    exec(compile(code, "README.md", "exec"), values)
    assert values["loss"].isfinite()
