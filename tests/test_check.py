"""`check_dataset`: every kind of damage gives its own sentence, and no other one."""

import shutil
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from aeseg.core.errors import InputError
from aeseg.data.check import FEW, SHOWN, check_dataset
from aeseg.data.images import read_image, write_mask
from aeseg.data.phantoms import write_phantom_masks, write_phantoms

NAME = "fetal_head_{:04d}"
SIZE = (64, 96)


def image(folder, k):
    "The file of image number k."
    return folder / "images" / (NAME.format(k) + ".png")


def mask(folder, k):
    "The file of mask number k."
    return folder / "masks" / (NAME.format(k) + ".png")


def save(path, array):
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def pixels(folder, k):
    return read_image(image(folder, k))


def table(change):
    "A damage that changes the text of splits.csv."

    def damage(folder):
        path = folder / "splits.csv"
        path.write_text(change(path.read_text()))

    return damage


def several_slices(folder):
    "A TIFF file of five slices instead of an image."
    image(folder, 1).unlink()
    tifffile.imwrite(image(folder, 1).with_suffix(".tif"), np.zeros((5, *SIZE), np.uint16))


def cut_tiff(folder):
    "The first bytes of a TIFF file instead of an image."
    image(folder, 1).unlink()
    path = image(folder, 1).with_suffix(".tif")
    tifffile.imwrite(path, pixels(folder, 2))
    path.write_bytes(path.read_bytes()[:2000])


def tiny_image(folder):
    save(image(folder, 1), pixels(folder, 1)[:4])
    mask(folder, 1).unlink()


def narrow_image(folder):
    save(image(folder, 1), pixels(folder, 1)[:, :50])
    mask(folder, 1).unlink()


def deep_mask(folder):
    "A gray mask of 16 bits."
    mask(folder, 1).unlink()
    values = np.linspace(0, 4000, SIZE[0] * SIZE[1]).reshape(SIZE).astype(np.uint16)
    tifffile.imwrite(mask(folder, 1).with_suffix(".tif"), values)


def splits_are_a_folder(folder):
    (folder / "splits.csv").unlink()
    (folder / "splits.csv").mkdir()


def copy(folder, k, *others):
    "Image k takes the place of other images."
    for other in others:
        shutil.copy(image(folder, k), image(folder, other))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("sound") / "set", "fetal_head", count=24, val=4, size=SIZE)


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "s")  # a name that also occurs in 'images/'


# (damage, words of each expected error)
ERRORS = {
    "cut PNG": (
        lambda f: image(f, 1).write_bytes(image(f, 1).read_bytes()[:900]),
        [["images/fetal_head_0001.png cannot be read", "replace"]],
    ),
    "empty file": (
        lambda f: image(f, 1).write_bytes(b""),
        [["images/fetal_head_0001.png cannot be read", "replace"]],
    ),
    "cut TIFF": (cut_tiff, [["images/fetal_head_0001.tif cannot be read", "replace"]]),
    "text": (
        lambda f: image(f, 1).write_text("no image"),
        [["images/fetal_head_0001.png cannot be read", "replace"]],
    ),
    "colour": (
        lambda f: save(image(f, 1), np.dstack([pixels(f, 1)] * 3)),
        [["images/fetal_head_0001.png has 3 channels", "most images have 1", "convert"]],
    ),
    "several slices": (
        several_slices,
        [["images/fetal_head_0001.tif has shape (5, 64, 96)", "save each slice"]],
    ),
    "tiny": (tiny_image, [["shape (4, 96)", "at least 8 pixels"]]),
    "gray mask": (
        lambda f: save(mask(f, 1), pixels(f, 1)),
        [["masks/fetal_head_0001.png is not a binary mask", ", 255)", "threshold"]],
    ),
    "three values": (
        lambda f: save(mask(f, 1), np.arange(96) % 3 * np.ones((64, 1))),
        [["3 values (0, 1, 2)", "threshold"]],
    ),
    "16-bit mask": (deep_mask, [["masks/fetal_head_0001.tif is not a binary mask", "(0, 1, 2, ..., 4000)"]]),
    "colour mask": (
        lambda f: save(mask(f, 1), np.arange(3) * np.ones((*SIZE, 1))),
        [["masks/fetal_head_0001.png is a colour image", "one channel"]],
    ),
    "cut mask": (
        lambda f: mask(f, 1).write_bytes(mask(f, 1).read_bytes()[:60]),
        [["masks/fetal_head_0001.png cannot be read", "replace it by a PNG"]],
    ),
    "mask size": (
        lambda f: write_mask(mask(f, 1), np.eye(60)),
        [["masks/fetal_head_0001.png is 60 x 60 and its image is 96 x 64", "save it"]],
    ),
    "turned mask": (
        lambda f: write_mask(mask(f, 1), np.eye(96)[:, :64]),
        [["is 64 x 96 and its image is 96 x 64"]],
    ),
    "mask without image": (
        lambda f: write_mask(f / "masks/x.png", np.eye(64)),
        [["masks/x.png has no image of the id 'x'", "rename"]],
    ),
    "gray mask without image": (
        lambda f: save(f / "masks/x.png", pixels(f, 1)),
        [["no image of the id 'x'"], ["masks/x.png is not a binary mask"]],
    ),
    "one id": (
        lambda f: save(image(f, 1).with_suffix(".JPG"), pixels(f, 1)),
        [["fetal_head_0001.JPG and images/fetal_head_0001.png", "same id", "keep one"]],
    ),
    "one mask id": (
        lambda f: write_mask(mask(f, 1).with_suffix(".tif"), np.eye(64)[:, :5]),
        [["masks/", "same id 'fetal_head_0001'"]],
    ),
    "no row": (
        table(lambda t: t.replace("fetal_head_0003,train\n", "")),
        [["no split for 1 image (fetal_head_0003)", "add a row"]],
    ),
    "no split": (
        table(lambda t: t.replace("fetal_head_0003,train", "fetal_head_0003, ")),
        [["no split for 1 image (fetal_head_0003)"]],
    ),
    "short row": (
        table(lambda t: t.replace("fetal_head_0003,train", "fetal_head_0003")),
        [["no split for 1 image (fetal_head_0003)"]],
    ),
    "unknown row": (table(lambda t: t + "x,val\n"), [["1 id without an image (x)", "remove"]]),
    "two rows": (
        table(lambda t: t + "fetal_head_0003,val\n"),
        [["more than one row for fetal_head_0003", "keep one"]],
    ),
    "no train": (
        table(lambda t: t.replace("train", "Train")),
        [["no image into 'train' (20 x Train, 4 x val)"]],
    ),
    "other columns": (table(lambda t: t.replace("split", "part")), [["columns id,split", "'id,part'"]]),
    "no text": (table(lambda t: ""), [["at least one row"]]),
    "Latin-1": (
        lambda f: (f / "splits.csv").write_bytes("id,split\nä,train\n".encode("latin-1")),
        [["splits.csv is not a CSV file", "UTF-8"]],
    ),
    "folder": (splits_are_a_folder, [["splits.csv cannot be read"]]),
    "all but a header": (
        table(lambda t: "id,split\nx,train\n"),
        [["no split for 24 images", "and 21 more"], ["1 id without an image"], ["no image into 'train'"]],
    ),
    "empty images": (
        lambda f: [p.unlink() for p in (f / "images").iterdir()],
        [["images/ holds no image"], *[["has no image of the id"]] * 24],
    ),
}

# (damage, words of each expected warning)
WARNINGS = {
    "without mask": (
        lambda f: [mask(f, k).unlink() for k in (1, 2)],
        [["2 images of 24 without a mask (fetal_head_0001"]],
    ),
    "equal": (
        lambda f: copy(f, 1, 2),
        [["fetal_head_0001.png", "fetal_head_0002.png are the same image; keep one"]],
    ),
    "leak": (
        lambda f: copy(f, 1, 22),
        [["fetal_head_0001.png (train)", "fetal_head_0022.png (val)", "leak between train and val"]],
    ),
    "three equal": (
        lambda f: copy(f, 1, 2, 22),
        [["0001.png (train)", "0002.png (train)", "0022.png (val)", "leak"]],
    ),
    "constant": (
        lambda f: save(image(f, 1), np.full(SIZE, 9)),
        [["1 image: images/fetal_head_0001.png is constant"]],
    ),
    "two constant": (
        lambda f: [save(image(f, k), np.full(SIZE, 9)) for k in (1, 2)],
        [["2 images", "are constant"]],
    ),
    "nearly constant": (lambda f: save(image(f, 1), pixels(f, 1) // 80), [["nearly constant"]]),
    "dead pixel": (
        lambda f: save(image(f, 1), np.pad([[200, 90], [90, 200]], ((0, 62), (0, 94)))),
        [["nearly constant"]],
    ),
    "mask as image": (
        lambda f: shutil.copy(mask(f, 1), image(f, 1)),
        [["fetal_head_0001.png is of two values", "masks/"]],
    ),
    "empty mask": (
        lambda f: write_mask(mask(f, 1), np.zeros(SIZE)),
        [["1 mask is empty (fetal_head_0001.png)"]],
    ),
    "full mask": (
        lambda f: [write_mask(mask(f, k), np.ones(SIZE)) for k in (1, 2)],
        [["2 masks are full (fetal_head_0001.png, fetal_head_0002.png)"]],
    ),
    "odd size": (
        narrow_image,
        [["fetal_head_0001.png (50 x 64)", "median aspect of 1.50"], ["without a mask"]],
    ),
    "unknown formats": (
        lambda f: [(f / "images" / n).touch() for n in ("a.mha", "b.mha", "c.gif")],
        [["2 .mha files, such as images/a.mha", "convert"], ["1 .gif file", "images/c.gif"]],
    ),
    "folder": (lambda f: (f / "masks" / "old").mkdir(), [["ignored: 1 folder, such as masks/old", "move"]]),
    "few": (
        table(lambda t: t.replace("0000,train", "0000,val")),
        [["training sees 19 images", f"at least {FEW}"]],
    ),
}


def expect(sentences, expected):
    "Each group of words occurs in a sentence of its own, and there are no other sentences."
    sentences = list(sentences)
    assert len(sentences) == len(expected), sentences
    for words in expected:
        matching = [s for s in sentences if all(w in s for w in words)]
        assert matching, (words, sentences)
        sentences.remove(matching[0])


def test_sound(folder):
    report = check_dataset(folder)
    assert report.ok
    assert not report.warnings
    assert str(report).endswith("\n\nok")
    assert report.facts["splits"] == "20 train, 4 val"
    assert report.facts["canvas"].startswith("128 x 96")
    assert report.facts["memory"].startswith(f"{24 * 96 * 128 / 1e6:.1f} MB")


@pytest.mark.parametrize("name", ERRORS)
def test_errors(folder, name):
    damage, expected = ERRORS[name]
    damage(folder)
    report = check_dataset(folder)
    expect(report.errors, expected)
    assert not report.ok
    assert str(report).endswith("1 error" if len(expected) == 1 else f"{len(expected)} errors")
    assert str(folder) not in "".join(report.errors)  # named from the folder on


@pytest.mark.parametrize("name", WARNINGS)
def test_warnings(folder, name):
    damage, expected = WARNINGS[name]
    damage(folder)
    report = check_dataset(folder)
    expect(report.warnings, expected)
    assert report.ok, report.errors


def test_long_lists(folder):
    for k in range(15):
        image(folder, k).write_bytes(b"")
    text = str(check_dataset(folder))
    assert "errors (15)" in text
    assert text.endswith("15 errors")
    assert text.count("cannot be read") == SHOWN
    assert "... and 5 more" in text


def test_nothing_readable(folder):
    for k in range(24):
        image(folder, k).write_bytes(b"")
        mask(folder, k).write_bytes(b"")
    assert len(check_dataset(folder).errors) == 48


def test_16_bit_and_colour_sets(folder):
    for k in range(24):
        Image.fromarray(pixels(folder, k).astype(np.uint16) * 200).save(image(folder, k))
    report = check_dataset(folder)
    assert report.ok
    assert not report.warnings
    assert report.facts["bit depth"] == "16 bit"
    for k in range(24):
        save(image(folder, k), np.dstack([pixels(folder, k) // 200] * 3))
    report = check_dataset(folder)
    assert report.ok
    assert not report.warnings
    assert (report.facts["bit depth"], report.facts["channels"]) == ("8 bit", "3")


def test_auxiliary_masks(tmp_path):
    report = check_dataset(write_phantom_masks(tmp_path / "auxiliary", "lung", 3, size=SIZE))
    assert report.ok
    assert not report.warnings
    assert report.facts["masks"].startswith("3")
    assert "images" not in report.facts


def test_plain_folder_of_images(folder):
    report = check_dataset(folder / "images")
    assert report.ok
    assert not report.warnings
    assert report.facts["splits"] == "24 train"
    assert "masks" not in report.facts


def test_relative_folder(folder, monkeypatch):
    image(folder, 1).write_bytes(b"")
    for working_folder, given in ((folder, "."), (folder.parent, folder.name)):
        monkeypatch.chdir(working_folder)
        expect(check_dataset(given).errors, [["images/fetal_head_0001.png cannot be read"]])


def test_no_data_set(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        check_dataset(tmp_path / "none")
    with pytest.raises(InputError, match="neither images nor masks"):
        check_dataset(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.mha").touch()
    with pytest.raises(InputError, match="ignored: 1 .mha file, such as images/a.mha"):
        check_dataset(tmp_path)


@pytest.mark.slow
def test_real_data(real_data):
    "Every real data set passes, in less than 20 ms a file."
    folders = [p for p in sorted(real_data.iterdir()) if (p / "images").is_dir() or (p / "masks").is_dir()]
    if not folders:
        pytest.skip(f"no real data: {real_data} holds no folder with images/ or masks/")
    for folder in folders:
        start = time.process_time()
        report = check_dataset(folder)
        seconds = time.process_time() - start
        assert report.ok, report
        files = len([*(folder / "images").glob("*"), *(folder / "masks").glob("*")])
        assert seconds < 1 + 0.02 * files
