"""Image files of every format that `fit` and `predict` take.

The same images give the same pixels in every format, and masks have the size of their image.
"""

import numpy as np
import pytest
import tifffile
from commands import SMALL
from PIL import Image

import aeseg.app.report
from aeseg.app.fit import fit
from aeseg.app.predict import predict
from aeseg.core.errors import InputError
from aeseg.data.datasets import load_images
from aeseg.data.images import choose_canvas, read_mask
from aeseg.data.phantoms import phantom

# odd, mixed, upright, larger than the canvas
SIZES = {"a": (40, 60), "b": (41, 63), "c": (37, 61), "d": (64, 45), "e": (80, 121)}
CANVAS = (32, 32)
pytestmark = pytest.mark.usefixtures("no_report")


def deep(array):
    "8 bits as 16 bits of the same brightness."
    return array.astype(np.uint16) * 257


def rgb(array):
    return np.dstack([array] * 3)


def with_alpha(array):
    "A gray image or an RGB image with an opaque alpha channel."
    return np.dstack([array, np.full(array.shape[:2], 255, np.uint8)])


def palette(array):
    "An image of colour indices, colours in the reverse order of their numbers."
    image = Image.fromarray(255 - array, "P")
    image.putpalette([v for k in range(256) for v in (255 - k,) * 3])
    return image


def pillow(convert=lambda array: array, **options):
    "A function that writes an 8-bit image with Pillow."

    def write(path, array):
        Image.fromarray(convert(array)).save(path, **options)

    return write


def tiff(convert=lambda array: array, **options):
    "A function that writes an 8-bit image with tifffile."

    def write(path, array):
        tifffile.imwrite(path, convert(array), **options)

    return write


def low_contrast(array):
    "1,000 of 65,536 values."
    return array.astype(np.uint16) * 4 + 30000


def floats(array):
    return array.astype(np.float32) / 255 - 3


def planes(array):
    return np.stack([array] * 3)


PLAIN = {1: "8-bit PNG", 3: "RGB PNG"}

# name: (ending, channels, tolerance, function that writes an 8-bit image)
# the tolerance is the largest difference to the plain PNG of as many channels, in gray steps
FORMATS = {
    "8-bit PNG": (".png", 1, 0, pillow()),
    "16-bit PNG": (".png", 1, 1, pillow(deep)),
    "1000 of 65536 values": (".png", 1, 1, pillow(low_contrast)),
    "gray and alpha PNG": (".png", 1, 0, pillow(with_alpha)),
    "capital PNG": (".PNG", 1, 0, pillow()),
    "RGB PNG": (".png", 3, 0, pillow(rgb)),
    "RGBA PNG": (".png", 3, 0, pillow(lambda a: with_alpha(rgb(a)))),
    "JPEG": (".jpg", 1, 40, pillow(quality=95)),
    "RGB JPEG": (".jpeg", 3, 40, pillow(rgb, quality=95)),
    "8-bit TIFF": (".tif", 1, 0, tiff()),
    "16-bit TIFF": (".tiff", 1, 1, tiff(deep)),
    "big-endian 16-bit TIFF": (".tif", 1, 1, tiff(deep, byteorder=">")),
    "float TIFF": (".tif", 1, 1, tiff(floats)),
    "deflated TIFF": (".tif", 1, 0, tiff(compression="deflate")),
    "LZW TIFF": (".tif", 1, 0, pillow(compression="tiff_lzw")),
    "LZW RGB TIFF": (".tif", 3, 0, pillow(rgb, compression="tiff_lzw")),
    "palette TIFF": (".tif", 3, 0, lambda path, array: palette(array).save(path)),
    "RGB TIFF": (".tif", 3, 0, tiff(rgb, photometric="rgb")),
    "planar RGB TIFF": (".tif", 3, 0, tiff(planes, photometric="rgb", planarconfig="separate")),
}


@pytest.fixture(scope="module")
def images():
    "id -> (H, W) uint8."
    return {i: phantom("fetal_head", k, size)[0] for k, (i, size) in enumerate(SIZES.items())}


@pytest.fixture(scope="module")
def references(images, tmp_path_factory):
    "What PNG files give, by the number of channels."
    folders = {n: store(images, tmp_path_factory.mktemp("png"), name) for n, name in PLAIN.items()}
    return {n: load_images(folder, canvas=CANVAS) for n, folder in folders.items()}


@pytest.fixture
def reference(references):
    return references[1]


def gap(a, b):
    "Differences of the pixels of two sets of images, in gray steps."
    return (a.pixels.int() - b.pixels.int()).abs()


def store(images, folder, name):
    "Write images into a folder."
    ending, _, _, write = FORMATS[name]
    folder.mkdir(parents=True, exist_ok=True)
    for i, array in images.items():
        write(folder / (i + ending), array)
    return folder


def learn(folder, out):
    return fit(folder, out, **{**SMALL, "gan_steps": 2, "segmentation_steps": 1})


def sizes(folder):
    return {p.stem: read_mask(p).shape for p in folder.iterdir()}


@pytest.mark.parametrize("name", FORMATS)
def test_pixels(images, references, tmp_path, name):
    _, channels, tolerance, _ = FORMATS[name]
    loaded = load_images(store(images, tmp_path / "in", name), canvas=CANVAS)
    assert loaded.ids == tuple(SIZES)
    assert not loaded.skipped
    assert loaded.pixels.shape == (len(SIZES), channels, *CANVAS)
    assert [(p.height, p.width) for p in loaded.placements] == list(SIZES.values())
    difference = gap(loaded, references[channels])
    assert int(difference.max()) <= tolerance
    assert float(difference.float().mean()) <= min(tolerance, 3)


def test_the_references_are_images(references):
    reference = references[1]
    assert references[3].pixels.shape[1] == 3
    assert int(gap(references[3], reference).max()) <= 1
    for pixels in reference.pixels:
        assert int(pixels.min()) == 0
        assert int(pixels.max()) > 150
        assert float(pixels.float().std()) > 20


@pytest.fixture(scope="module")
def runs(images, tmp_path_factory):
    "One run for each number of channels."
    folder = tmp_path_factory.mktemp("runs")
    sources = {n: store(images, folder / f"in{n}", name) for n, name in PLAIN.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aeseg.app.report, "write_report", lambda run, pictures: None)
        return {n: learn(source, folder / f"run{n}") for n, source in sources.items()}


@pytest.mark.parametrize("name", FORMATS)
def test_predict(images, runs, tmp_path, name):
    "Masks are PNG files of the size of the image, and equal pixels give equal masks."
    _, channels, tolerance, _ = FORMATS[name]
    out = predict(runs[channels].folder, store(images, tmp_path / "in", name), tmp_path / "out")
    assert sorted(p.name for p in out.iterdir()) == [f"{i}.png" for i in SIZES]
    assert sizes(out) == SIZES
    if tolerance:
        return
    for p in out.iterdir():
        assert (read_mask(p) == read_mask(runs[channels].folder / "predictions" / p.name)).all()


@pytest.mark.parametrize("name", ["16-bit PNG", "JPEG", "8-bit TIFF", "16-bit TIFF", "RGB JPEG"])
def test_fit(images, tmp_path, name):
    "A plain folder without images/; every image is for training then."
    run = learn(store(images, tmp_path / "in", name), tmp_path / "run")
    assert run.finished
    assert sizes(run.folder / "predictions") == sizes(run.folder / "pseudo_labels") == SIZES
    assert run.provenance["training_images"] == len(SIZES)
    assert tuple(run.provenance["canvas"]) == choose_canvas(SIZES.values(), 32)


def test_fit_has_the_sizes_of_the_images(runs):
    for run in runs.values():
        assert sizes(run.folder / "predictions") == sizes(run.folder / "pseudo_labels") == SIZES


def test_images_folder_and_plain_folder_are_the_same(images, reference, tmp_path):
    store(images, tmp_path / "images", "8-bit PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    loaded = load_images(tmp_path, canvas=CANVAS)
    assert loaded.ids == reference.ids
    assert bool((loaded.pixels == reference.pixels).all())


def test_mixed_formats_and_several_folders(images, reference, tmp_path):
    "Formats may be mixed, and one data set may lie in several folders."
    names = ["8-bit PNG", "16-bit TIFF", "16-bit PNG", "8-bit TIFF", "gray and alpha PNG"]
    for (i, array), name in zip(images.items(), names):
        store({i: array}, tmp_path / ("one" if i < "c" else "two"), name)
    loaded = load_images([tmp_path / "one", tmp_path / "two"], canvas=CANVAS)
    assert loaded.ids == reference.ids
    assert int(gap(loaded, reference).max()) <= 1
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
