"""Malformed inputs, made from a seed: damaged disks, wrong exports, attacks.

    python tests/malformed.py FOLDER [N]     write N cases (default 60) below FOLDER, for inspection

Each case is a folder with files and the words of an aeseg command. No file here was recorded from a real one.
"""

import gzip
import io
import os
import pickle
import shutil
import struct
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image

from aeseg.data.formats import write_dicom, write_series
from aeseg.data.volumes import write_volume

SIZE = (40, 56)


@dataclass
class Case:
    "One malformed input."

    kind: str  # name of the function that made it
    words: list  # of the command
    canary: Path  # a file that appears only where code of the input was executed
    refused: bool  # True: the command must fail; False: it may also succeed


class Evil:
    "An object whose unpickling writes the canary."

    def __init__(self, canary):
        self.canary = str(canary)

    def __reduce__(self):
        return (open, (self.canary, "w"))


def picture(rng, size=SIZE):
    "A noisy ramp, uint8."
    return (rng.random(size) * 60 + np.linspace(0, 150, size[1])).astype(np.uint8)


def valid(suffix, folder, rng):
    "The bytes of a valid file."
    path, array = folder / f"valid{suffix}", picture(rng)
    if suffix in (".png", ".jpg"):
        Image.fromarray(array).save(path)
    elif suffix == ".tif":
        tifffile.imwrite(path, array.astype(np.uint16) * 200)
    elif suffix == ".dcm":
        write_dicom(path, array, PixelSpacing=[1, 1])
    else:
        nib.save(nib.Nifti1Image(np.stack([array] * 9, 2), np.eye(4)), path)
    content = path.read_bytes()
    path.unlink()
    return content


SUFFIXES = (".png", ".jpg", ".tif", ".dcm", ".nii", ".nii.gz")


def bad(case, suffix, content):
    "Put a bad file among the valid ones."
    (case / f"data/images/bad{suffix}").write_bytes(content)


# Each of the following functions writes into the folder of a case, whose data/images holds four valid images
# and data/masks their masks. It returns whether the input must be refused, and optionally the words of a
# command; without them, one of the commands that read images is taken.


def truncated(case, rng, canary):
    "The first part of a file."
    suffix = rng.choice(SUFFIXES)
    content = valid(suffix, case, rng)
    bad(case, suffix, content[: int(len(content) * rng.uniform(0, 0.6))])
    return True


def damaged_header(case, rng, canary):
    "A file with twelve random bytes in its header."
    suffix = rng.choice(SUFFIXES)
    content = bytearray(valid(suffix, case, rng))
    for k in rng.integers(0, min(400, len(content)), 12):
        content[k] = int(rng.integers(256))
    bad(case, suffix, bytes(content))
    return False


def chunk(kind, data):
    "A chunk of a PNG file, with its checksum."
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def square_png(side, pixels):
    "A gray PNG file whose header announces side x side pixels, with these compressed pixels."
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def huge_png(case, rng, canary):
    "A header that announces up to 4e18 pixels."
    side = int(rng.integers(30_000, 2**31 - 1))
    bad(case, ".png", square_png(side, zlib.compress(bytes(1000))))
    return True


def huge_tiff(case, rng, canary):
    "A header that announces up to 4e18 pixels."
    side = int(rng.integers(30_000, 2**31 - 1))
    entries = [  # (tag, type, value)
        (256, 4, side),  # width
        (257, 4, side),  # height
        (258, 3, 8),  # bits
        (259, 3, 1),  # no compression
        (262, 3, 1),  # gray
        (273, 4, 8),  # offset of the pixels
        (277, 3, 1),  # channels
        (278, 4, side),  # rows of a strip
        (279, 4, 100),  # bytes of a strip
    ]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    bad(case, ".tif", b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(200))
    return True


def huge_dicom(case, rng, canary):
    "A header that announces 65535 rows or columns."
    write_dicom(case / "data/images/bad.dcm", picture(rng), **{str(rng.choice(["Rows", "Columns"])): 65535})
    return True


def huge_nifti(case, rng, canary):
    "A header with absurd or negative sizes."
    content = bytearray(valid(".nii", case, rng))
    content[42:48] = struct.pack("<3h", *(int(v) for v in rng.choice([32767, -5, 0, 20000], 3)))
    packed = rng.random() < 0.5
    bad(case, ".nii.gz" if packed else ".nii", gzip.compress(bytes(content)) if packed else bytes(content))
    return True


def not_finite(case, rng, canary):
    "An image or volume with NaN or infinity."
    array = picture(rng).astype(np.float32)
    array[3, 4:9] = rng.choice([np.nan, np.inf, -np.inf])
    if rng.random() < 0.5:
        tifffile.imwrite(case / "data/images/bad.tif", array)
    else:
        nib.save(nib.Nifti1Image(np.stack([array] * 9, 2), np.eye(4)), case / "data/images/bad.nii.gz")
    return True


def nothing(case, rng, canary):
    "An empty file."
    bad(case, rng.choice(SUFFIXES), b"")
    return True


def too_small(case, rng, canary):
    "An image of fewer than eight rows."
    array = np.zeros((int(rng.integers(1, 8)), int(rng.integers(1, 40))), np.uint8)
    Image.fromarray(array).save(case / "data/images/bad.png")
    return True


def bomb(case, rng, canary):
    "A small image file of 256 megapixels."
    side = 16_000
    if rng.random() < 0.5:
        bad(case, ".png", square_png(side, zlib.compress(bytes(side * (side + 1)), 1)))
    else:
        array = np.zeros((side, side), np.uint8)
        tifffile.imwrite(case / "data/images/bad.tif", array, compression="deflate")
    return True


def zip_bomb(case, rng, canary):
    "An archive that unpacks to a thousand times its size."
    with zipfile.ZipFile(case / "official.zip", "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("000_HC.png", bytes(150_000_000))
    return True, ["prepare", "hc18", "--src", case / "official.zip", "--out", case / "out"]


def escaping_archive(case, rng, canary):
    "An archive with a member that leaves its folder."
    member = str(rng.choice(["../CANARY", "a/../../CANARY", str(canary), "..\\CANARY"]))
    with zipfile.ZipFile(case / "official.zip", "w") as z:
        z.writestr(member, b"x")
    data_set = str(rng.choice(["hc18", "jsrt", "lits"]))
    return True, ["prepare", data_set, "--src", case / "official.zip", "--out", case / "deep/out"]


def disguised(case, rng, canary):
    "Text, code or random bytes under the name of an image."
    content = [
        b"just text",
        b"<html><script>1</script></html>",
        pickle.dumps(Evil(canary)),
        b"\x7fELF" + rng.bytes(300),
        b"PK\x03\x04" + rng.bytes(300),
        rng.bytes(500),
        b"GIF89a" + rng.bytes(30),
        b"%PDF-1.4",
        b"#!/bin/sh\ntouch CANARY\n",
        b"\0" * 700,
    ]
    bad(case, rng.choice(SUFFIXES), content[int(rng.integers(len(content)))])
    return True


def strange_dicom(case, rng, canary):
    "A DICOM file with an unusual or contradictory header."
    tags = [
        dict(NumberOfFrames=7),
        dict(SamplesPerPixel=2),
        dict(PhotometricInterpretation="NONSENSE"),
        dict(BitsAllocated=13),
        dict(Rows=0),
        dict(Columns=9000),
        dict(PixelRepresentation=7),
        dict(RescaleSlope="1e300", RescaleIntercept="0"),
    ]
    write_dicom(case / "data/images/bad.dcm", picture(rng), **tags[int(rng.integers(len(tags)))])
    return False


def strange_series(case, rng, canary):
    "A DICOM series with a slice that is missing, cut, repeated, or of another series."
    folder = case / "data/images/series"
    write_series(folder, np.stack([picture(rng)] * 8), (2, 1, 1), PatientID="1")
    file = sorted(folder.iterdir())[3]
    damage = ["missing", "cut", "repeated", "other"][int(rng.integers(4))]
    if damage == "missing":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:400])
    elif damage == "repeated":
        shutil.copy(file, folder / "twice.dcm")
    else:
        write_dicom(folder / "other.dcm", picture(rng))
    return True


def gray_mask(case, rng, canary):
    "A mask with many values."
    name = sorted((case / "data/masks").iterdir())[0]
    Image.fromarray(picture(rng)).save(name)
    return True, ["check", case / "data"]


def mask_of_another_size(case, rng, canary):
    "A predicted mask that has not the size of the true one."
    name = sorted((case / "data/masks").iterdir())[0]
    Image.fromarray((picture(rng, (30, 30)) > 90).astype(np.uint8) * 255).save(name)
    return True, evaluation(case)


def evaluation(case, *more):
    "The words of a command that compares masks."
    return [
        "evaluate",
        "--pred",
        case / "data/masks",
        "--truth",
        case / "truth",
        *more,
        "--out",
        case / "scores.csv",
    ]


YAMLS = [
    '!!python/object/apply:os.system ["touch CANARY"]',
    '!!python/object/apply:builtins.open ["CANARY", "w"]',
    "seed: !!python/name:os.system",
    "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "seed: [1, 2]",
    "seed: -1",
    "size: 1e9",
    "gan_steps: .nan",
    "{" * 3000,
    "- a\n- b",
    "\0",
    "seed: 0\nseed: x",
    "images: [1, 2]",
    "? [a, b]\n: c",
    "window: [1, 2, 3]",
    "window: {a: 1}",
    "ellipse_angle: [.inf, 1]",
    "task: [lung]",
    "variant: null",
    "=cmd|' /C calc'!A0",
    "on: off",
    "!!binary x",
    "size: 2147483648000",
]


def yaml_file(case, rng, canary):
    "A configuration with wrong keys, types or values, or with YAML that makes objects."
    text = YAMLS[int(rng.integers(len(YAMLS)))].replace("CANARY", str(canary))
    (case / "task.yaml").write_bytes(rng.bytes(60) if rng.random() < 0.1 else text.encode())
    option = [[], ["--config"]][int(rng.integers(2))]
    return True, ["fit", *option, case / "task.yaml", "--images", case / "data", "--out", case / "run"]


SPLITS = [
    "id,part\na,train\n",
    "",
    "id;split\na;train\n",
    "id,split\n",
    "=cmd|' /C calc'!A0,split\nx,train\n",
    'id,split\n=HYPERLINK("http://x"),train\n',
    'id,split\n"sound_0,train\n',
    "\0\0\0",
    "id,split\nsound_0,train\n",
    "split\ntrain\n",
    "id,split\n" + "x" * 200_000 + ",train\n",
]


def splits_file(case, rng, canary):
    "A table of splits that is no CSV, lacks columns, or names no image."
    if rng.random() < 0.1:
        content = "id,split\nä,train".encode("utf-16")
    elif rng.random() < 0.1:
        content = rng.bytes(100)
    else:
        content = SPLITS[int(rng.integers(len(SPLITS)))].encode()
    (case / "data/splits.csv").write_bytes(content)
    return True


STRANGE_TAGS = [  # of a TIFF file: tag -> value
    {262: 9},
    {262: 3},
    {258: 3},
    {258: 64},
    {259: 5},
    {259: 7},
    {259: 50000},
    {259: 34712},
    {274: 77},
    {277: 0},
    {277: 60000},
    {278: 0},
    {279: 1},
    {279: 2**31},
    {273: 2**31},
    {284: 2},
    {317: 3},
    {322: 16, 323: 16},
    {338: 2},
    {339: 5},
    {339: 3},
    {256: 0},
]


def strange_tiff(case, rng, canary):
    "A TIFF file with a tag that has an unusual or contradictory value."
    array = picture(rng)
    entries = {
        256: SIZE[1],
        257: SIZE[0],
        258: 8,
        259: 1,
        262: 1,
        273: 0,
        277: 1,
        278: SIZE[0],
        279: array.size,
    }
    entries |= STRANGE_TAGS[int(rng.integers(len(STRANGE_TAGS)))]
    start = 8 + 2 + 12 * len(entries) + 4
    entries[273] = entries[273] or start
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, entries[tag]) for tag in sorted(entries))
    content = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4) + array.tobytes()
    bad(case, ".tif", content[: len(content) - int(rng.choice([0, 0, 500]))])
    return False


def strange_exif(case, rng, canary):
    "A picture whose EXIF block is cut, random, or names an orientation that there is not."
    blocks = [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + rng.bytes(60)]
    entry = struct.pack("<HHHIII", 1, 274, 3, 1, int(rng.integers(70_000)), 0)
    blocks += [b"Exif\0\0II*\0\x08\0\0\0" + entry, b"Exif\0\0MM\0*\0\0\0\x08" + entry]
    suffix = str(rng.choice([".png", ".jpg"]))
    block = blocks[int(rng.integers(len(blocks)))]
    Image.fromarray(picture(rng)).save(case / f"data/images/bad{suffix}", exif=block)
    return False


def strange_bmp(case, rng, canary):
    "A BMP file that is cut, or has twelve random bytes in its header."
    content = io.BytesIO()
    Image.fromarray(picture(rng)).save(content, "bmp")
    content = bytearray(content.getvalue())
    if rng.random() < 0.5:
        bad(case, ".bmp", bytes(content[: int(len(content) * rng.uniform(0, 0.6))]))
        return True
    for k in rng.integers(0, 54, 12):
        content[k] = int(rng.integers(256))
    bad(case, ".bmp", bytes(content))
    return False


def strange_file(case, rng, canary):
    "What has the name of an image and is none: a folder, a pipe, a link to itself or to nothing."
    path = case / f"data/images/bad{rng.choice(SUFFIXES)}"
    kind = int(rng.integers(4))
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        path.symlink_to(path)
    else:
        path.symlink_to(case / "none")
    return False


NAMES = [
    "b" * 251 + ".png",
    "\u533b" * 83 + ".tif",
    "line\nbreak.png",
    "tab\there.png",
    "-rf.png",
    "a,b;c.png",
    '"quoted".png',
    "=cmd|' A0.png",
    "%s%n.png",
    "{x}.png",
    "<b>.png",
    "..png",
    "CON.png",
    "\u202egnp.png",
    "\udce4.png",
    "\U0001fa7b.png",
]


def strange_name(case, rng, canary):
    "An image whose name is near the limit, no text, or holds characters with a meaning elsewhere."
    Image.fromarray(picture(rng)).save(case / "v.png")
    name = NAMES[int(rng.integers(len(NAMES)))]
    os.rename(case / "v.png", os.fsencode(case / "data/images") + b"/" + os.fsencode(name))
    return False


TABLES = [
    "\ufeffid;split\nsound_0;train\n",
    "id,split\nsound_0,train,extra\n",
    "id,split\nsound_0,train\nsound_0.png,val\n",
    "sep=;\n",
    "sep=",
    "id,split,id,split\nsound_0,train,sound_1,val\n",
    ",,,\n,,,\n",
    'id,split\n"sound_0"",train\n',
    "id\tsplit\nsound_0,train\n",
    "id,split\r\r\rsound_0,train\r",
    "id,patient\nsound_0,\x00\n",
    "id,patient\n../../x,1\n",
    "patient\n1\n",
    "id,split\n" + "sound_0,train\n" * 3000,
]


def strange_table(case, rng, canary):
    "A table of splits or patients as a broken export leaves it."
    text = TABLES[int(rng.integers(len(TABLES)))]
    content = text.encode(str(rng.choice(["utf-8", "utf-16", "utf-16-le"])))
    (case / "data" / str(rng.choice(["splits.csv", "patients.csv"]))).write_bytes(content)
    return False


def strange_reviews(case, rng, canary):
    "Decisions of people that are cut, of another form, or name files elsewhere."
    head = "id,decision,round,corrected,note,time\n"
    rows = [
        "sound_0,accepted,1,,,2026-01-31T10:00:00Z\n",
        "x,corrected,1,../../x.png,,2026-01-31T10:00:00Z\n",
        "fetal_head_0000,corrected,1,none.png,,2026-01-31T10:00:00Z\n",
        "fetal_head_0000,accepted,99,,,2026-01-31T10:00:00Z\n",
        "fetal_head_0000,perhaps,1,,,\n",
        "fetal_head_0000,accepted\n",
        "",
    ]
    text = head + rows[int(rng.integers(len(rows)))]
    text = text if rng.random() < 0.7 else text[: int(rng.integers(len(text)))]
    (case / "reviews.csv").write_bytes(text.encode(str(rng.choice(["utf-8", "utf-8-sig", "utf-16"]))))
    words = ["fit", "--images", case / "phantoms", "--out", case / "run", "--resume", "FAST"]
    return True, [*words, "--reviews", case / "reviews.csv"]


SPACINGS = [
    "id,size\nsound_0,1\n",
    "",
    "id,spacing\nsound_0,=1+1\n",
    "id,spacing\nsound_0,-1\n",
    "id,spacing\nsound_0,nan\n",
    "id,spacing\nsound_0,1\nsound_0,2\n",
    "id,spacing\n,1\n",
    "\0",
    "id,spacing\nsound_0\n",
    "id,spacing\nsound_9,1\n",
]


def spacing_file(case, rng, canary):
    "A table of pixel sizes with wrong columns or values."
    (case / "spacing.csv").write_text(SPACINGS[int(rng.integers(len(SPACINGS)))])
    return True, evaluation(case, "--spacing", case / "spacing.csv")


def model_with_code(case, rng, canary):
    "A run whose model file is damaged, or executes code when it is unpickled."
    import torch

    run = case / "run"
    saved = io.BytesIO()
    torch.save(dict(a=Evil(canary)), saved)
    contents = [
        pickle.dumps(Evil(canary)),
        saved.getvalue(),
        b"",
        struct.pack("<Q", 2**60) + b"{}",
        struct.pack("<Q", 8) + b"notjson!",
        rng.bytes(300),
        (run / "model.safetensors").read_bytes()[:-77],
    ]
    (run / "model.safetensors").write_bytes(contents[int(rng.integers(len(contents)))])
    return True, ["predict", run, "--images", case / "data", "--out", case / "masks"]


def checkpoint_with_code(case, rng, canary):
    "An unfinished run whose checkpoints execute code when they are unpickled."
    import torch

    run = case / "run"
    provenance = (run / "provenance.json").read_text().replace('"finished"', '"unfinished"')
    (run / "provenance.json").write_text(provenance)
    shutil.rmtree(case / "data")
    for path in sorted((run / "checkpoints").glob("*.pt")):
        content = io.BytesIO()
        torch.save(dict(step=1, stage=Evil(canary)), content)
        path.write_bytes(content.getvalue() if rng.random() < 0.7 else pickle.dumps(Evil(canary)))
    return True, ["fit", "--images", case / "phantoms", "--out", run, "--resume", "FAST"]


def run_file(case, rng, canary):
    "A run whose record or configuration is damaged."
    run, name = case / "run", str(rng.choice(["config.yaml", "provenance.json"]))
    code = '!!python/object/apply:os.system ["touch CANARY"]'
    text = str(rng.choice(["", "{", "[1]", "\0", code, "seed: x", "null"]))
    (run / name).write_text(text.replace("CANARY", str(canary)))
    if name == "config.yaml":
        return text != "", ["predict", run, "--images", case / "data", "--out", case / "masks"]
    return False, ["fit", "--images", case / "phantoms", "--out", run, "--resume", "FAST"]


def damaged_segmentation(case, rng, canary):
    "Masks as DICOM SEG, with random bytes in the header, or cut off."
    volume = np.stack([picture(rng)] * 6)
    tags = dict(Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", PatientName="A")
    write_series(case / "scan", volume, (2, 1, 1), **tags)
    masks = [(k, mask > 90) for k, mask in enumerate(volume)]
    write_volume(case / "nifti", case / "scan", "axial", masks, "nifti")
    path = write_volume(case / "seg", case / "scan", "axial", masks, "seg")
    content = bytearray(path.read_bytes())
    for k in rng.integers(300, min(5000, len(content)), int(rng.integers(1, 9))):
        content[k] = int(rng.integers(256))
    path.write_bytes(content[: int(len(content) * rng.uniform(0.3, 1))] if rng.random() < 0.3 else content)
    pred, truth = ("seg", "nifti")[:: int(rng.choice([1, -1]))]
    return False, ["evaluate", "--pred", case / pred, "--truth", case / truth, "--out", case / "scores.csv"]


def strange_pair(case, rng, canary):
    "Two volumes of masks that differ in size, header, values or axes."
    for folder in ("pred", "truth"):
        shape = [int(n) for n in rng.choice([1, 2, 9, 12], 3)]
        shape = shape[: 2 if rng.random() < 0.2 else 3]
        values = rng.choice([-3, 0, 1, 2, 255, 70000], int(rng.integers(1, 4)))
        array = rng.choice(values, shape).astype(rng.choice([np.int32, np.float32]))
        affine = np.eye(4)
        affine[:3] = rng.choice([-1, 0, 0, 1, 0.5, 1e-8, 1e9], (3, 4)) if rng.random() < 0.5 else affine[:3]
        image = nib.Nifti1Image(array, np.eye(4))
        image.header.set_sform(affine, 1)
        image.header["xyzt_units"] = int(rng.integers(256))
        image.header["qform_code"] = int(rng.integers(5))
        (case / folder).mkdir(exist_ok=True)
        nib.save(image, case / folder / "c.nii")
    geometry, label = rng.choice(["header", "voxels", "resample"]), rng.choice(["1", "0,2", "x", "9"])
    words = ["evaluate", "--pred", case / "pred", "--truth", case / "truth", "--out", case / "scores.csv"]
    more = ["--geometry", geometry, *(["--label", label] if rng.random() < 0.5 else [])]
    return False, [*words, *more]


def header_of_a_scan(case, rng, canary):
    "A volume with a strange but readable header, for a mask that takes it."
    shape = (int(rng.choice([1, 9, 40])), 40, int(rng.choice([1, 8])))
    image = nib.Nifti1Image(rng.integers(0, 200, shape).astype(np.int16), np.eye(4))
    for key in ("pixdim", "quatern_b", "qoffset_x", "srow_x", "srow_z", "scl_slope", "cal_max", "toffset"):
        if rng.random() < 0.3:
            image.header[key] = rng.choice([0, -1, 1e30, np.nan, 0.3], image.header[key].shape)
    image.header["sform_code"], image.header["xyzt_units"] = (int(v) for v in rng.integers(0, 99, 2))
    image.header["vox_offset"] = 352
    content = image.header.binaryblock + bytes(4) + np.asarray(image.dataobj).tobytes(order="F")
    (case / "scans").mkdir()
    (case / "scans/a.nii").write_bytes(content)
    run, out = case / "run", case / "masks"
    return False, ["predict", run, "--images", case / "scans", "--out", out, "--skip-bad"]


KINDS = [
    truncated,
    damaged_header,
    huge_png,
    huge_tiff,
    huge_dicom,
    huge_nifti,
    not_finite,
    nothing,
    too_small,
    bomb,
    zip_bomb,
    escaping_archive,
    disguised,
    strange_dicom,
    strange_series,
    gray_mask,
    mask_of_another_size,
    yaml_file,
    splits_file,
    spacing_file,
    model_with_code,
    checkpoint_with_code,
    run_file,
    strange_tiff,
    strange_exif,
    strange_bmp,
    strange_file,
    strange_name,
    strange_table,
    strange_reviews,
    damaged_segmentation,
    strange_pair,
    header_of_a_scan,
]


def image_commands(case):
    "The commands that read images."
    return [
        ["check", case / "data"],
        ["fit", "--images", case / "data", "--out", case / "new", "FAST"],
        ["predict", case / "run", "--images", case / "data", "--out", case / "masks"],
        ["new", case / "mytask", "--images", case / "data"],
    ]


def make(
    folder,  # for the folder of the case
    number,  # of the case; decides its kind and seeds its random numbers
    run,  # a finished run; copied where the case changes it
    phantoms,  # the data set of this run
    seed=0,
):
    "Write one case."
    rng, kind = np.random.default_rng([seed, number]), KINDS[number % len(KINDS)]
    case, canary = Path(folder) / f"{number:04}_{kind.__name__}", Path(folder) / f"CANARY_{number}"
    for part in ("images", "masks"):
        (case / "data" / part).mkdir(parents=True)
    for k in range(4):
        Image.fromarray(picture(rng)).save(case / f"data/images/sound_{k}.png")
        Image.fromarray((picture(rng) > 90).astype(np.uint8) * 255).save(case / f"data/masks/sound_{k}.png")
    shutil.copytree(case / "data/masks", case / "truth")
    if kind in (model_with_code, checkpoint_with_code, run_file, strange_reviews):
        shutil.copytree(run, case / "run")
    else:
        (case / "run").symlink_to(run)
    (case / "phantoms").symlink_to(phantoms)
    made = kind(case, rng, canary)
    if isinstance(made, tuple):
        refused, words = made
    else:
        commands = image_commands(case)
        refused, words = made, commands[int(rng.integers(len(commands)))]
    if kind is splits_file and words[0] in ("new", "predict"):
        words = ["check", case / "data"]  # these read no splits
    return Case(kind.__name__, words, canary, refused)


if __name__ == "__main__":
    target, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60
    stub = target / "stub"
    for name in ("run/checkpoints", "phantoms"):
        (stub / name).mkdir(parents=True)
    for name in ("model.safetensors", "provenance.json"):
        (stub / "run" / name).write_text("{}")
    for k in range(count):
        print(*make(target, k, stub / "run", stub / "phantoms").words)
