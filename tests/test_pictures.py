"""Pictures mean what they show, whichever reader and compression; tables and names as people have them.

Right values are computed with numpy, Pillow and tifffile, from files that this file writes byte by byte.
"""

import os
import struct
import subprocess
import zlib

import nibabel
import numpy as np
import pytest
import tifffile
from commands import FAST, ONE_CORE, SCRIPT, refused, succeeded
from PIL import Image, ImageOps

from aeseg.app.decisions import read_reviews
from aeseg.cli import COMMANDS
from aeseg.core.errors import InputError
from aeseg.data.check import check_dataset
from aeseg.data.datasets import image_paths, read_patients, read_splits
from aeseg.data.formats import write_dicom, write_series
from aeseg.data.images import as_shown, read_image, read_mask, read_oriented, write_mask
from aeseg.evaluation.true_masks import read_spacing

RNG = np.random.default_rng(0)
SIZE = (12, 17)
ORIENTATIONS = range(1, 9)


# ---------------------------------------------------------------- TIFF files, tag by tag


def pack_bits(data):
    "PackBits of literal runs."
    return b"".join(bytes([len(data[k : k + 100]) - 1]) + data[k : k + 100] for k in range(0, len(data), 100))


def lzw(data):
    "LZW of literal codes only: nine bits each, with a clear code before codes would grow."
    codes = []
    for k in range(0, len(data), 200):
        codes += [256, *data[k : k + 200]]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


PACK = {1: bytes, 5: lzw, 8: zlib.compress, 32773: pack_bits}
COMPRESSIONS = {"plain": 1, "LZW": 5, "Deflate": 8, "PackBits": 32773}
TYPES = {1: "B", 2: "c", 3: "H", 4: "I"}


def strip_bytes(rows, order):
    "The bytes of rows of samples; booleans as bits."
    if rows.dtype == bool:
        return np.packbits(rows.reshape(len(rows), -1), axis=1).tobytes()
    return rows.astype(rows.dtype.newbyteorder(order)).tobytes()


def write_tiff(path, array, compression=1, drop=(), order="<", rows=5, predictor=1, **tags):
    "Write samples (H, W) or (H, W, S) in strips; tags as t262=0; `drop` leaves tags out."
    height, width = array.shape[:2]
    samples = 1 if array.ndim == 2 else array.shape[2]
    kind = {"u": 1, "b": 1, "i": 2, "f": 3}[array.dtype.kind]
    stored = array
    if predictor == 2:
        stored = np.concatenate([array[:, :1], np.diff(array, axis=1)], 1).astype(array.dtype)
    bits = 1 if array.dtype == bool else array.dtype.itemsize * 8
    strips = [PACK[compression](strip_bytes(stored[k : k + rows], order)) for k in range(0, height, rows)]
    entries = {256: width, 257: height, 258: [bits] * samples, 259: compression, 262: 1 if samples < 3 else 2}
    entries |= {277: samples, 278: rows, 279: list(map(len, strips)), 317: predictor, 339: [kind] * samples}
    entries |= {int(name[1:]): value for name, value in tags.items()}
    if rows >= height:
        entries.pop(278)
    entries = {tag: value for tag, value in entries.items() if tag not in drop}
    entries[273] = [0] * len(strips)
    start = 8 + 2 + 12 * len(entries) + 4
    tail, directory = b"", b""
    places = {tag: np.atleast_1d(value) for tag, value in entries.items()}
    extra = sum(len(v) * 4 for v in places.values() if len(v) > 1)
    first = start + extra
    places[273] = first + np.cumsum([0, *map(len, strips)])[:-1]
    for tag in sorted(places):
        values = places[tag]
        wide = tag in (256, 257, 273, 278, 279)
        content = struct.pack(f"{order}{len(values)}{'I' if wide else 'H'}", *map(int, values))
        if len(content) > 4:
            place = struct.pack(order + "I", start + len(tail))
            tail += content.ljust(len(values) * 4, b"\0")
            content = place
        directory += struct.pack(order + "HHI", tag, 4 if wide else 3, len(values)) + content.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(places))
    path.write_bytes((head + directory + bytes(4) + tail).ljust(first, b"\0") + b"".join(strips))


def numbers(kind, shape=SIZE):
    "Random samples."
    if kind == "bool":
        return RNG.random(shape) < 0.4
    if kind == "float32":
        return RNG.random(shape).astype(np.float32)
    limits = np.iinfo(kind)
    return RNG.integers(limits.min, limits.max, shape, kind, endpoint=True)


def inverse(array):
    "Numbers whose zero is white."
    if array.dtype.kind == "u":
        return np.iinfo(array.dtype).max - array
    return {"b": np.logical_not, "i": np.invert, "f": lambda a: 1 - a}[array.dtype.kind](array)


def as_bytes(array):
    return array * np.uint8(255) if array.dtype == bool else array


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["bool", "uint8", "uint16", "uint32", "int16", "float32"])
@pytest.mark.parametrize("order", "<>")
def test_gray(tmp_path, kind, compression, order):
    "Black is zero, white is zero, and no word about it."
    array, path = numbers(kind), tmp_path / "a.tif"
    for tags, right in (({}, array), (dict(t262=0), inverse(array)), (dict(drop=[262]), array)):
        write_tiff(path, array, COMPRESSIONS[compression], order=order, **tags)
        assert np.array_equal(read_image(path), as_bytes(right))
        assert read_image(path).dtype == as_bytes(right).dtype


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("orientation", [0, *ORIENTATIONS, 9])
def test_orientation_of_tiff(tmp_path, orientation, compression):
    picture = Image.fromarray(numbers("uint8"))
    write_tiff(tmp_path / "a.tif", np.asarray(picture), COMPRESSIONS[compression], t274=orientation)
    picture.getexif()[274] = orientation
    assert np.array_equal(read_image(tmp_path / "a.tif"), np.asarray(ImageOps.exif_transpose(picture)))


def ink_to_light(array, most):
    "Cyan, magenta, yellow and black as red, green and blue."
    array = array.astype(float)
    return (most - array[..., 3:]) * (1 - array[..., :3] / most)


COLOURS = {  # name: (samples, tags, function that gives what is shown, tolerance)
    "RGB": (3, {}, lambda a, most: a, 0),
    "RGB without photometric": (3, dict(drop=[262]), lambda a, most: a, 0),
    "RGB and alpha": (4, dict(t338=2), lambda a, most: a[..., :3], 0),
    "RGB and associated alpha": (4, dict(t338=1), lambda a, most: a[..., :3], 0),
    "RGB and something": (4, dict(t338=0), lambda a, most: a[..., :3], 0),
    "gray and alpha": (2, dict(t338=2, t262=1), lambda a, most: a[..., 0], 0),
    "gray and associated alpha": (2, dict(t338=1, t262=1), lambda a, most: a[..., 0], 0),
    "white is zero and alpha": (2, dict(t338=2, t262=0), lambda a, most: most - a[..., 0], 0),
    "CMYK": (4, dict(t262=5), ink_to_light, 1),
    "CMYK and alpha": (5, dict(t262=5, t338=2), lambda a, most: ink_to_light(a[..., :4], most), 1),
}


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("name", COLOURS)
def test_colours_of_tiff(tmp_path, name, kind, compression):
    samples, tags, shown, tolerance = COLOURS[name]
    array = numbers(kind, (*SIZE, samples))
    write_tiff(tmp_path / "a.tif", array, COMPRESSIONS[compression], **tags)
    read, right = read_image(tmp_path / "a.tif"), shown(array, np.iinfo(kind).max)
    assert read.dtype == kind
    assert read.shape == right.shape
    assert abs(read.astype(float) - right).max() <= tolerance


@pytest.mark.parametrize("compression", ["LZW", "Deflate"])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("samples", [1, 3])
def test_predictor(tmp_path, kind, samples, compression):
    array = numbers(kind, (*SIZE, samples))
    write_tiff(tmp_path / "a.tif", array, COMPRESSIONS[compression], predictor=2)
    assert np.array_equal(read_image(tmp_path / "a.tif"), array.squeeze())


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("factor", [257, 1])
def test_palette_of_tiff(tmp_path, compression, factor):
    "Colours are numbers of 16 bits; some writers give 8."
    array, colours = numbers("uint8"), RNG.integers(256, size=(3, 256))
    write_tiff(tmp_path / "a.tif", array, COMPRESSIONS[compression], t262=3, t320=(colours * factor).ravel())
    assert np.array_equal(read_image(tmp_path / "a.tif"), colours.T[array])


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize(
    "drop", [[277], [258, 339], [262], [278], [279], [339], [317], [259], [262, 277, 278, 339]], ids=str
)
def test_missing_tags(tmp_path, drop, compression):
    "Tags that may be left out, and some that may not, but that other readers guess."
    if 259 in drop and compression != "plain" or 279 in drop and compression != "plain":
        pytest.skip("needed where strips are compressed")
    array = numbers("bool" if 258 in drop else "uint8")
    write_tiff(tmp_path / "a.tif", array, COMPRESSIONS[compression], drop, rows=99 if 278 in drop else 5)
    assert np.array_equal(read_image(tmp_path / "a.tif"), as_bytes(array))


PILLOW = dict(plain=None, LZW="tiff_lzw", Deflate="tiff_adobe_deflate", PackBits="packbits", Zstandard="zstd")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "F"])
def test_compressions_agree(tmp_path, mode):
    "Pillow writes the same picture with every compression."
    picture = Image.fromarray(np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8))
    if mode != "I;16":
        picture = picture.convert("RGB").convert(mode) if mode in ("CMYK", "YCbCr") else picture.convert(mode)
    else:
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 300)
    arrays = []
    for name, compression in PILLOW.items():
        for orientation in (1, 8):
            path = tmp_path / f"{name}_{orientation}.tif"
            picture.save(path, compression=compression, tiffinfo={274: orientation})
            array, told = read_oriented(path)
            assert told == orientation
            arrays.append(np.rot90(array, -1) if orientation == 8 else array)
    assert all(np.array_equal(array, arrays[0]) for array in arrays)
    right = picture if mode in ("L", "I;16", "F") else picture.convert("L" if mode in ("1", "LA") else "RGB")
    assert abs(arrays[0].astype(float) - np.asarray(right)).max() <= 0


@pytest.mark.parametrize("compression", ["jpeg", "group3", "group4", "tiff_ccitt"])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("orientation", [1, 6])
def test_other_compressions(tmp_path, compression, white_is_zero, orientation):
    "JPEG and fax, which only Pillow decodes."
    y, x = np.mgrid[:40, :64]
    array = np.hypot(y - 15, x - 30) < 12
    array = array.astype(np.uint8) * 200 + 20 if compression == "jpeg" else array
    tags = {262: 0 if white_is_zero else 1, 274: orientation}
    options = dict(quality=95) if compression == "jpeg" else {}
    Image.fromarray(array).save(tmp_path / "a.tif", compression=compression, tiffinfo=tags, **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:  # Pillow turns the numbers over, to show the same
        assert (file.pages[0].photometric == 0) == white_is_zero
    read = read_image(tmp_path / "a.tif")
    right = np.rot90(as_bytes(array), -1) if orientation == 6 else as_bytes(array)
    assert abs(read.astype(int) - right).max() <= (30 if compression == "jpeg" else 0)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("orientation", [1, 6])
def test_few_bits(tmp_path, bits, compression, orientation):
    "Two and four bits are gray as in PNG, from 0 to 255."
    array = RNG.integers(2**bits, size=(12, 16), dtype=np.uint8)
    parts = array.reshape(12, -1, 8 // bits).astype(int)
    packed = sum(parts[..., k] << 8 - bits * (k + 1) for k in range(8 // bits)).astype(np.uint8)
    for white in (0, 1):
        path = tmp_path / "a.tif"
        tags = dict(t256=16, t258=bits, t262=1 - white, t274=orientation)
        write_tiff(path, packed, COMPRESSIONS[compression], **tags)
        right = as_shown(array * (255 // (2**bits - 1)), orientation)
        assert np.array_equal(read_image(path), 255 - right if white else right)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        (dict(t262=8), "kind CIELAB"),
        (dict(t262=32803), "kind CFA"),
        (dict(t262=777), "kind 777"),
        (dict(t262=2), "shape"),
        (dict(t262=3), "cannot be read"),
        (dict(t262=1, t258=[8, 8], t277=2), "shape"),
    ],
)
def test_refused_tiff(tmp_path, tags, words):
    shape = (*SIZE, 2) if "t277" in tags or tags["t262"] == 2 else SIZE
    write_tiff(tmp_path / "a.tif", numbers("uint8", shape), **tags)
    with pytest.raises(InputError, match=words):
        read_image(tmp_path / "a.tif")


# ---------------------------------------------------------------- PNG, JPEG and BMP


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif(tmp_path, suffix, orientation):
    array = np.kron(np.arange(6).reshape(2, 3) * 50, np.ones((16, 16))).astype(np.uint8)
    tags = Image.Exif()
    tags[274] = orientation
    path = tmp_path / f"a{suffix}"
    Image.fromarray(array).save(path, exif=tags, **(dict(quality=100) if suffix == ".jpg" else {}))
    read, told = read_oriented(path)
    with Image.open(path) as picture:
        if suffix == ".tif":  # Pillow 13 mixes up the rows of these, so the array is turned instead
            picture = Image.fromarray(array)
            picture.getexif()[274] = orientation
        shown = np.asarray(ImageOps.exif_transpose(picture))
    assert told == orientation
    assert np.array_equal(read, shown)
    assert abs(read.astype(int) - as_shown(array, orientation)).max() <= 3


def test_damaged_exif(tmp_path):
    "A picture whose EXIF block is damaged is shown as it is stored."
    array = numbers("uint8")
    for block in (b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0nonsense", b"x"):
        Image.fromarray(array).save(tmp_path / "a.png", exif=block)
        assert np.array_equal(read_image(tmp_path / "a.png"), array)


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("interlaced", [0, 1])
def test_deep_colours_of_png(tmp_path, samples, interlaced):
    "16 bits of each colour are kept, as in TIFF."
    array = numbers("uint16", (*SIZE, samples))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    starts = [(0, 0), (0, 4), (4, 0), (0, 2), (2, 0), (0, 1), (1, 0)]
    steps = [(8, 8), (8, 8), (8, 4), (4, 4), (4, 2), (2, 2), (2, 1)]
    passes = [(*start, *step) for start, step in zip(starts, steps)]
    rows = b""
    for y, x, dy, dx in passes if interlaced else [(0, 0, 1, 1)]:
        for row in array[y::dy, x::dx]:
            rows += b"\0" * bool(len(row)) + row.astype(">u2").tobytes()
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 16, 2 if samples == 3 else 6, 0, 0, interlaced)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert np.array_equal(read_image(tmp_path / "a.png"), array[..., :3])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_bmp(tmp_path, mode):
    picture = Image.fromarray(np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)).convert(mode)
    if mode == "P":
        picture.putpalette(list(range(255, -1, -1)) * 3)
    picture.save(tmp_path / "a.bmp")
    right = np.asarray(picture.convert("RGB" if mode in ("P", "RGB") else "L"))
    assert np.array_equal(read_image(tmp_path / "a.bmp"), right)


def test_content_decides(tmp_path):
    "A file is read by its content, under whichever suffix."
    array = numbers("uint8")
    write_tiff(tmp_path / "a.png", array, t262=0)
    Image.fromarray(array).save(tmp_path / "b.png")
    (tmp_path / "b.png").rename(tmp_path / "b.tif")
    assert np.array_equal(read_image(tmp_path / "a.png"), 255 - array)
    assert np.array_equal(read_image(tmp_path / "b.tif"), array)


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("white_is_zero", [0, 1])
def test_masks(tmp_path, compression, white_is_zero):
    mask = numbers("bool")
    for array in (mask, as_bytes(mask)):
        stored = inverse(array) if white_is_zero else array
        write_tiff(tmp_path / "a.tif", stored, COMPRESSIONS[compression], t262=1 - white_is_zero, t274=5)
        assert np.array_equal(read_mask(tmp_path / "a.tif"), mask.T)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_masks_in_the_geometry_of_their_file(tmp_path, orientation):
    "Turned or not turned, mask and image lie over each other."
    array, tags = numbers("uint8"), Image.Exif()
    tags[274] = orientation
    Image.fromarray(array).save(tmp_path / "image.png", exif=tags)
    read, told = read_oriented(tmp_path / "image.png")
    write_mask(tmp_path / "mask.png", read > 99, told)
    assert np.array_equal(read_mask(tmp_path / "mask.png"), read > 99)
    with Image.open(tmp_path / "mask.png") as picture:
        assert np.array_equal(np.asarray(picture) > 0, array > 99)
        assert np.array_equal(np.asarray(ImageOps.exif_transpose(picture)) > 0, read > 99)


# ---------------------------------------------------------------- tables

SPLITS = {"a": "train", "b": "val"}
TABLES = {  # the same table, as people have it
    "plain": "id,split\na,train\nb,val\n",
    "byte order mark": "\ufeffid,split\na,train\nb,val\n",
    "spaces after commas": "id, split\na, train\nb, val\n",
    "spaces around": " id ,split \n a ,train \n b,val \n",
    "semicolons": "id;split\na;train\nb;val\n",
    "tabs": "id\tsplit\na\ttrain\nb\tval\n",
    "quotes": '"id","split"\n"a","train"\n"b","val"\n',
    "quotes after spaces": 'id, split\na, "train"\n"b" , "val"\n',
    "line ends of Windows": "id,split\r\na,train\r\nb,val\r\n",
    "line ends of old Macs": "id,split\ra,train\rb,val\r",
    "capital columns": "ID,Split\na,train\nb,val\n",
    "suffixes": "id,split\na.png,train\nb.PNG,val\n",
    "suffix of a volume": "id,split\na.nii.gz,train\nb.dcm,val\n",
    "paths": "id,split\nimages/a.png,train\nC:\\data\\b.tif,val\n",
    "more columns": "age,id,split,\n40,a,train,\n41,b,val,\n",
    "empty lines": "\nid,split\n\na,train\n,\nb,val\n\n\n",
    "line of Excel": "sep=;\nid;split\na;train\nb;val\n",
    "no line end": "id,split\na,train\nb,val",
    "commas in other cells": 'id;split;note\na;train;"x, y"\nb;val;x, y, z\n',
}
ENCODINGS = ["utf-8", "utf-16"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", TABLES)
def test_splits(tmp_path, name, encoding):
    (tmp_path / "splits.csv").write_bytes(TABLES[name].encode(encoding))
    assert read_splits(tmp_path, ["a", "b"]) == SPLITS
    for i in SPLITS:
        Image.fromarray(numbers("uint8")).save(tmp_path / f"{i}.png")
    report = check_dataset(tmp_path)
    assert report.facts["splits"] == "1 train, 1 val"
    assert report.errors == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", TABLES)
def test_patients(tmp_path, name, encoding):
    text = TABLES[name].replace("Split", "Patient").replace("split", "patient")
    (tmp_path / "patients.csv").write_bytes(text.encode(encoding))
    paths = {i: tmp_path / f"{i}.png" for i in SPLITS}
    assert read_patients(tmp_path, paths) == SPLITS


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", TABLES)
def test_spacing(tmp_path, name, encoding):
    text = TABLES[name].replace("Split", "Spacing").replace("split", "spacing")
    decimal = "0,25" if ";" in text or "\t" in text else "0.25"
    (tmp_path / "a.csv").write_bytes(text.replace("train", decimal).replace("val", "2").encode(encoding))
    assert read_spacing(tmp_path / "a.csv") == {"a": 0.25, "b": 2}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("delimiter", [",", ", ", ";", "\t"])
@pytest.mark.parametrize("suffix", ["", ".png"])
def test_reviews(tmp_path, delimiter, encoding, suffix):
    lines = [
        ["id", "decision", "round", "corrected", "note", "time"],
        [f"a{suffix}", "accepted", "1", "", '"good, but small"', "2026-01-31T10:00:00Z"],
        [f"b{suffix}", "corrected", "2", "b-ab.png", "", "2026-01-31T10:00:00Z"],
    ]
    text = "\ufeff" * (encoding == "utf-8") + "\r\n".join(delimiter.join(line) for line in lines)
    (tmp_path / "reviews.csv").write_bytes(text.encode(encoding))
    rows, problems = read_reviews(tmp_path / "reviews.csv")
    assert problems == []
    assert {i: (row["decision"], row["round"], row["corrected"]) for i, row in rows.items()} == {
        "a": ("accepted", 1, ""),
        "b": ("corrected", 2, "b-ab.png"),
    }
    assert rows["a"]["note"] == "good, but small"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,split\na,b,train\n", "line 2, has 3 cells"),
        ("id,split\na,train\na.png,val\n", "more than one row for 'a'"),
        ("id,split\na,train\n", "no row for 'b'"),
        ("name,split\na,train\n", "must have the columns"),
        (b"id,split\n\xe4,train\n", "is not a CSV file"),
        (b"\xff\xfei", "is not a CSV file"),
    ],
)
def test_refused_tables(tmp_path, text, words):
    (tmp_path / "splits.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=words):
        read_splits(tmp_path, ["a", "b"])


# ---------------------------------------------------------------- what is told


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def small(folder, *names):
    "Write small pictures with a bright blob."
    y, x = np.mgrid[:40, :60]
    for k, name in enumerate(names):
        blob = np.hypot(y - 20, x - 25 - k) < 12
        save(
            folder / name,
            (blob * 150 + np.random.default_rng(k).integers(60, size=blob.shape)).astype(np.uint8),
        )


LOST = {  # what lies in a folder: (files, words that every command says)
    "other formats": (["images/x.gif", "images/y.gif"], ["2 .gif files", "images/x.gif"]),
    "without suffix": (["images/README"], ["1 extensionless file", "images/README"]),
    "subfolder": (["images/more/x.png", "images/more/deep/y.png"], ["1 folder", "images/more", "2 images"]),
    "beside": (["x.png", "y.tif"], ["2 images beside images/", "x.png"]),
    "volumes below": (["images/p1/x.nii.gz"], ["1 folder", "images/p1", "1 image"]),
    "table among images": (["images/list.csv"], ["1 .csv file"]),
    "a row too many": (["splits.csv"], ["splits.csv names 1 id without an image (gone)"]),
    "an unknown split": (["splits.csv"], ["1 image into the split 'Train'", "did you mean 'train'"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LOST)
def test_what_is_not_used_is_told(aeseg, finished, tmp_path, name):
    files, words = LOST[name]
    small(tmp_path / "set/images", *(f"{i}.png" for i in "abcd"))
    for file in files:
        small(tmp_path / "set", file) if file.endswith((".png", ".tif")) else None
        (tmp_path / "set" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "set" / file).touch()
    if "splits.csv" in files:
        rows = "a,train\nb,train\nc,train\nd,Train\ngone,val\n"
        (tmp_path / "set/splits.csv").write_text("id,split\n" + rows)
    commands = [["check", "set"]]
    if "splits.csv" in files or name == "subfolder":
        commands += [["fit", "--images", "set", "--out", "run", *FAST]]
    if "splits.csv" not in files:
        commands += [["predict", finished, "--images", "set", "--out", "masks", "--quiet"]]
    if name == "subfolder":
        commands += [["new", "mytask", "--images", "set"], ["split", "set", "--overwrite"]]
    for command in commands:
        done = aeseg(*command, cwd=tmp_path)
        assert done.code == int(command[0] == "check" and "splits.csv" in files), done
        for word in words:
            assert word in done.out, (command, done)
        assert done.err == ""


def test_what_is_not_used_of_masks_is_told(aeseg, tmp_path):
    for folder in ("pred", "truth"):
        save(tmp_path / folder / "a.png", (np.mgrid[:40, :60][0] > 20) * np.uint8(255))
    (tmp_path / "pred/b.gif").touch()
    (tmp_path / "truth/old").mkdir()
    save(tmp_path / "truth/old/c.png", numbers("uint8"))
    (tmp_path / "mm.csv").write_text("id;spacing\na.png;0,5\nz;1\n")
    command = ["evaluate", "--pred", "pred", "--truth", "truth", "--out", "m.csv", "--spacing", "mm.csv"]
    loud = succeeded(aeseg(*command, cwd=tmp_path)).out
    quiet = succeeded(aeseg(*command, "--quiet", cwd=tmp_path)).out
    ignored = [
        "1 .gif file, such as pred/b.gif",
        "1 folder, such as truth/old",
        "1 id without a prediction (z)",
    ]
    for word in ignored:
        assert word in loud
        assert word in quiet
    assert "dice" in loud
    assert [line[:8] for line in quiet.splitlines()] == ["ignored:"] * 3


def test_a_black_window_is_told(aeseg, tmp_path):
    small(tmp_path / "set", *(f"{i}.png" for i in "abcd"))
    command = ["fit", "--images", "set", "--out", "run", *FAST, "-p", "window=[1000, 2000]"]
    out = succeeded(aeseg(*command, cwd=tmp_path)).out
    assert "the window from 1000 to 2000 leaves 4 images of 4 without contrast, such as a with values" in out
    masks = ["predict", "run", "--images", "set", "--out", "masks"]
    assert "leaves 4 images of 4 without contrast" in succeeded(aeseg(*masks, cwd=tmp_path)).out


def test_inverted_masks_are_told(aeseg, tmp_path):
    small(tmp_path / "set", *(f"{i}.png" for i in "abcd"))
    y, x = np.mgrid[:40, :60]
    for k in range(6):
        blob = np.hypot(y - 20, x - 25 - k) < 12
        save(tmp_path / f"aux/masks/{k}.png", (blob if k < 4 else ~blob) * np.uint8(255))
    words = "2 auxiliary masks of 6 may be inverted, such as aux/masks/4.png"
    command = ["fit", "--images", "set", "--out", "run", "--aux-masks", "aux", "--task", "lung", *FAST]
    assert words in succeeded(aeseg(*command, cwd=tmp_path)).out
    assert "2 masks of 6 may be inverted (4.png, 5.png)" in aeseg("check", "aux", cwd=tmp_path).out
    command = ["new", "mytask", "--images", "set", "--aux-masks", "aux"]
    assert words in succeeded(aeseg(*command, cwd=tmp_path)).out


def test_trees_of_dicom(aeseg, finished, tmp_path):
    "Series at any depth; reports and directories of a disc are left out."
    volume = np.stack([numbers("uint8", (40, 60))] * 4)
    series = {"p1/s1/ct": "1", "p1/s2/ct": "1", "p2/s1/a/b": "2"}
    for name, patient in series.items():
        write_series(tmp_path / "set/images" / name, volume, (2, 1, 1), PatientID=patient)
    (tmp_path / "set/images/DICOMDIR").write_bytes(bytes(128) + b"DICM")
    paths = image_paths(tmp_path / "set")
    ids = [name.replace("/", "_") for name in series]
    assert list(paths) == [f"{i}_{k:03}" for i in ids for k in range(4)]
    assert set(read_patients(tmp_path / "set", paths).values()) == {"1", "2"}
    (tmp_path / "set/splits.csv").write_text("id,split\n" + "".join(f"{i},train\n" for i in ids))
    report = aeseg("check", "set", cwd=tmp_path)
    assert report.code == 0, report
    assert "12 train" in report.out
    command = ["predict", finished, "--images", "set", "--out", "masks", "--format", "nifti"]
    succeeded(aeseg(*command, cwd=tmp_path))
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == [f"{i}.nii.gz" for i in ids]
    command = ["evaluate", "--pred", "masks", "--truth", "masks", "--out", "m.csv"]
    assert "measured predictions: 3" in succeeded(aeseg(*command, cwd=tmp_path)).out


# ---------------------------------------------------------------- names, pipes and silence

LONG = "\u533b" * 83  # 249 bytes


def test_long_names(aeseg, tmp_path):
    "Masks of a name near the limit of 255 bytes are written; longer ones are refused before training."
    small(tmp_path / "set", *(f"{i}.png" for i in ("a", "b", LONG)))
    succeeded(aeseg("fit", "--images", "set", "--out", "run", *FAST, cwd=tmp_path))
    assert (tmp_path / f"run/predictions/{LONG}.png").exists()
    succeeded(aeseg("predict", "run", "--images", "set", "--out", "masks", cwd=tmp_path))
    assert (tmp_path / f"masks/{LONG}.png").exists()


@pytest.mark.parametrize(
    ("name", "words"), [("\u533b" * 83 + ".nii", "too long"), (b"\xe4.png", "UTF-8"), ("b" * 255, "too long")]
)
def test_names_that_no_mask_can_have(aeseg, finished, tmp_path, name, words):
    small(tmp_path / "set", "a.png", "b.png")
    target = os.fsencode(tmp_path / "set") + b"/" + os.fsencode(name)
    if isinstance(name, str) and name.endswith(".nii"):
        volume = nibabel.Nifti1Image(np.stack([numbers("uint8", (40, 60))] * 4), np.eye(4))
        nibabel.save(volume, tmp_path / "v.nii")
    elif name == "b" * 255:
        write_dicom(tmp_path / "v.nii", numbers("uint8", (40, 60)))
    else:
        small(tmp_path, "v.png")
        (tmp_path / "v.png").rename(tmp_path / "v.nii")
    os.rename(tmp_path / "v.nii", target)
    refused(aeseg("fit", "--images", "set", "--out", "run", *FAST, cwd=tmp_path), words)
    assert not (tmp_path / "run").exists()
    command = ["predict", finished, "--images", "set", "--out", "masks", "--format", "png"]
    refused(aeseg(*command, cwd=tmp_path), words)
    assert not (tmp_path / "masks").exists()


def test_long_names_of_folders(aeseg, finished, tmp_path):
    small(tmp_path / "set", "a.png", "b.png")
    for command in (
        ["fit", "--images", "set", "--out", "b" * 256, *FAST],
        ["fit", "--images", "b" * 256, "--out", "run", *FAST],
        ["fit", "--images", "set", "--out", "/".join(["b" * 250] * 17), *FAST],
        ["predict", finished, "--images", "set", "--out", "b" * 256],
        ["check", "b" * 256],
        ["evaluate", "--pred", "set", "--truth", "set", "--out", "b" * 256],
        ["new", "b" * 256, "--images", "set"],
    ):
        refused(aeseg(*command, cwd=tmp_path), "long")


def closed(*words, both=False, **options):
    "Run a command whose output nobody reads."
    reader, writer = os.pipe()
    os.close(reader)
    errors = writer if both else subprocess.PIPE
    words = [SCRIPT, *words]
    done = subprocess.run(words, env=ONE_CORE, stdout=writer, stderr=errors, timeout=100, **options)
    os.close(writer)
    assert done.returncode in (0, 2, 141) if both else (0, 141), done
    if not both:
        assert done.stderr == b"", done


@pytest.mark.slow
@pytest.mark.parametrize("name", [None, *COMMANDS])
def test_closed_pipe(name):
    "`aeseg ... | head -0` ends without a word, in every command."
    closed(*([name] if name else []), "--help")


@pytest.mark.slow
def test_closed_pipe_at_work(phantoms, finished, tmp_path):
    masks = ["--pred", finished / "predictions", "--truth", phantoms, "--out", tmp_path / "m.csv"]
    for command in (
        ["check", phantoms],
        ["evaluate", *masks],
        ["predict", finished, "--images", phantoms, "--out", tmp_path / "masks"],
        ["experiment", "list"],
        ["fit", "--images", phantoms, "--out", tmp_path / "run", *FAST],
    ):
        closed(*command)
    assert (tmp_path / "m.csv").exists()
    assert len(list((tmp_path / "masks").iterdir())) == 6
    assert (tmp_path / "run/report.html").exists()
    closed("check", tmp_path / "none", both=True)
    loud = [word for word in FAST if word != "--quiet"]
    closed("fit", "--images", phantoms, "--out", tmp_path / "loud", *loud, both=True)  # tqdm writes to it


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_full_disk_behind_the_output(phantoms):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [SCRIPT, "check", phantoms], env=ONE_CORE, stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 2
    assert done.stderr.startswith("aeseg: ")
    assert "No space left" in done.stderr
    assert done.stderr.count("\n") == 1
