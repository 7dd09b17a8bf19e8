"""Image files of every format that `fit` and `predict` take: the same images give the same pixels, and masks of each image's own size."""

import numpy as np
import pytest
import tifffile
from conftest import TINY
from PIL import Image

import aeseg.app.report
from aeseg.core.errors import InputError
from aeseg.data.images import choose_canvas
from aeseg.data.datasets import load_images
from aeseg.data.images import read_mask
from aeseg.data.phantoms import phantom
from aeseg.app.fit import fit
from aeseg.app.predict import predict

SIZES = {
    "a": (40, 60),
    "b": (41, 63),
    "c": (37, 61),
    "d": (64, 45),
    "e": (80, 121),
}  # odd, mixed, upright, larger than the canvas
CANVAS = (32, 32)
DEEP = lambda array: array.astype(np.uint16) * 257


def png(path, array):
    Image.fromarray(array).save(path)


def tiff(**kw):
    return lambda path, array: tifffile.imwrite(path, array, **kw)


def pillow_tiff(kind):
    return lambda path, array: Image.fromarray(array).save(path, compression=kind)


def three(array):
    return np.dstack([array] * 3)


PLAIN = {1: "8-bit PNG", 3: "RGB PNG"}

# name: (ending, channels, largest difference to the plain PNG of as many channels in gray steps, how to write an 8-bit image)
FORMATS = {
    "8-bit PNG": (".png", 1, 0, png),
    "16-bit PNG": (".png", 1, 1, lambda p, a: png(p, DEEP(a))),
    "1000 of 65536 values": (".png", 1, 1, lambda p, a: png(p, a.astype(np.uint16) * 4 + 30000)),
    "gray and alpha PNG": (
        ".png",
        1,
        0,
        lambda p, a: Image.fromarray(np.dstack([a, np.full_like(a, 255)])).save(p),
    ),
    "capital PNG": (".PNG", 1, 0, png),
    "RGB PNG": (".png", 3, 0, lambda p, a: png(p, three(a))),
    "RGBA PNG": (".png", 3, 0, lambda p, a: png(p, np.dstack([three(a), np.full_like(a, 255)]))),
    "JPEG": (".jpg", 1, 40, lambda p, a: Image.fromarray(a).save(p, quality=95)),
    "RGB JPEG": (".jpeg", 3, 40, lambda p, a: Image.fromarray(three(a)).save(p, quality=95)),
    "8-bit TIFF": (".tif", 1, 0, tiff()),
    "16-bit TIFF": (".tiff", 1, 1, lambda p, a: tifffile.imwrite(p, DEEP(a))),
    "big-endian 16-bit TIFF": (".tif", 1, 1, lambda p, a: tifffile.imwrite(p, DEEP(a), byteorder=">")),
    "float TIFF": (".tif", 1, 1, lambda p, a: tifffile.imwrite(p, a.astype(np.float32) / 255 - 3)),
    "deflated TIFF": (".tif", 1, 0, tiff(compression="deflate")),
    "LZW TIFF": (".tif", 1, 0, pillow_tiff("tiff_lzw")),
    "LZW RGB TIFF": (".tif", 3, 0, lambda p, a: pillow_tiff("tiff_lzw")(p, three(a))),
    "palette TIFF": (".tif", 3, 0, lambda p, a: _palette(a).save(p)),
    "RGB TIFF": (".tif", 3, 0, lambda p, a: tifffile.imwrite(p, three(a), photometric="rgb")),
    "planar RGB TIFF": (
        ".tif",
        3,
        0,
        lambda p, a: tifffile.imwrite(p, np.stack([a] * 3), photometric="rgb", planarconfig="separate"),
    ),
}


def _palette(array):
    "Colours in the reverse order of their numbers."
    image = Image.fromarray(255 - array, "P")
    image.putpalette([v for k in range(256) for v in (255 - k,) * 3])
    return image


@pytest.fixture(scope="module")
def images():
    "id -> (H, W) uint8."
    return {i: phantom("fetal_head", k, size)[0] for k, (i, size) in enumerate(SIZES.items())}


@pytest.fixture(scope="module")
def references(images, tmp_path_factory):
    "What PNG files give, by the number of channels."
    return {
        n: load_images(store(images, tmp_path_factory.mktemp("png"), name), canvas=CANVAS)
        for n, name in PLAIN.items()
    }


@pytest.fixture
def reference(references):
    return references[1]


def gap(a, b):
    return (a.pixels.int() - b.pixels.int()).abs()


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    "Charts take most of the time of a tiny run."
    monkeypatch.setattr(aeseg.app.report, "write_report", lambda run, pictures: None)


def store(images, folder, name):
    "Write images into a folder."
    ending, _, _, write = FORMATS[name]
    folder.mkdir(parents=True, exist_ok=True)
    for i, array in images.items():
        write(folder / (i + ending), array)
    return folder


def learn(folder, out):
    return fit(
        folder,
        out,
        preset="smoke",
        accelerator="cpu",
        quiet=True,
        **{**TINY, "gan_steps": 2, "segmentation_steps": 1},
    )


def sizes(folder):
    return {p.stem: read_mask(p).shape for p in folder.iterdir()}


@pytest.mark.parametrize("name", FORMATS)
def test_pixels(images, references, tmp_path, name):
    _, channels, tolerance, _ = FORMATS[name]
    found = load_images(store(images, tmp_path / "in", name), canvas=CANVAS)
    assert (
        found.ids == tuple(SIZES)
        and found.pixels.shape == (len(SIZES), channels, *CANVAS)
        and not found.skipped
    )
    assert [(p.height, p.width) for p in found.placements] == list(SIZES.values())
    difference = gap(found, references[channels])
    assert int(difference.max()) <= tolerance and float(difference.float().mean()) <= min(tolerance, 3)


def test_the_references_are_images(references):
    reference = references[1]
    assert references[3].pixels.shape[1] == 3 and int(gap(references[3], reference).max()) <= 1
    assert all(
        int(p.min()) == 0 and int(p.max()) > 150 and float(p.float().std()) > 20 for p in reference.pixels
    )


@pytest.fixture(scope="module")
def runs(images, tmp_path_factory):
    "One run a number of channels."
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as m:
        m.setattr(aeseg.app.report, "write_report", lambda run, pictures: None)
        return {
            n: learn(store(images, folder / f"in{n}", name), folder / f"run{n}") for n, name in PLAIN.items()
        }


@pytest.mark.parametrize("name", FORMATS)
def test_predict(images, runs, tmp_path, name):
    "Masks are PNG, of the size of the image, and those of the same pixels are the same."
    _, channels, tolerance, _ = FORMATS[name]
    out = predict(runs[channels].folder, store(images, tmp_path / "in", name), tmp_path / "out")
    assert sorted(p.name for p in out.iterdir()) == [f"{i}.png" for i in SIZES] and sizes(out) == SIZES
    if tolerance:
        return
    for p in out.iterdir():
        assert (read_mask(p) == read_mask(runs[channels].folder / "predictions" / p.name)).all()


@pytest.mark.parametrize("name", ["16-bit PNG", "JPEG", "8-bit TIFF", "16-bit TIFF", "RGB JPEG"])
def test_fit(images, tmp_path, name):
    "A plain folder without images/; every image is for training then."
    run = learn(store(images, tmp_path / "in", name), tmp_path / "run")
    assert run.finished and sizes(run.folder / "predictions") == sizes(run.folder / "pseudo_labels") == SIZES
    assert run.provenance["training_images"] == len(SIZES) and tuple(
        run.provenance["canvas"]
    ) == choose_canvas(SIZES.values(), 32)


def test_fit_has_the_sizes_of_the_images(runs):
    for run in runs.values():
        assert sizes(run.folder / "predictions") == sizes(run.folder / "pseudo_labels") == SIZES


def test_images_folder_and_plain_folder_are_the_same(images, reference, tmp_path):
    store(images, tmp_path / "images", "8-bit PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    found = load_images(tmp_path, canvas=CANVAS)
    assert found.ids == reference.ids and bool((found.pixels == reference.pixels).all())


def test_mixed_formats_and_several_folders(images, reference, tmp_path):
    "Formats may be mixed, and one data set may lie in several folders."
    names = ["8-bit PNG", "16-bit TIFF", "16-bit PNG", "8-bit TIFF", "gray and alpha PNG"]
    for (i, array), name in zip(images.items(), names):
        store({i: array}, tmp_path / ("one" if i < "c" else "two"), name)
    found = load_images([tmp_path / "one", tmp_path / "two"], canvas=CANVAS)
    assert found.ids == reference.ids and int(gap(found, reference).max()) <= 1
    store({"a": images["a"]}, tmp_path / "two", "8-bit PNG")
    with pytest.raises(InputError, match="both hold the id 'a'"):
        load_images([tmp_path / "one", tmp_path / "two"])


@pytest.mark.parametrize("shape", [(3, 40, 60), (5, 40, 60), (40, 60, 2), (40, 7)], ids=str)
def test_no_images(images, tmp_path, shape):
    "Stacks, two channels and slivers are refused by name and shape."
    store(images, tmp_path, "8-bit TIFF")
    tifffile.imwrite(tmp_path / "f.tif", np.zeros(shape, np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match=r"f\.tif has shape \(.*\), not \(height, width\)") as e:
        load_images(tmp_path)
    assert str(shape) in str(e.value)
    assert load_images(tmp_path, skip_bad=True).ids == tuple(SIZES)
