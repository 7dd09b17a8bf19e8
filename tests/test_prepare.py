"""Official data sets, as miniatures, become data sets without errors; hostile archives do no harm."""

import csv
import io
import stat
import tarfile
import zipfile
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.ndimage import binary_erosion

import aeseg.data.archives
from aeseg.core.errors import InputError
from aeseg.data.archives import unpack
from aeseg.data.check import check_dataset
from aeseg.data.formats import write_dicom
from aeseg.data.images import read_image, read_mask
from aeseg.data.official import OFFICIAL, prepare
from aeseg.data.phantoms import phantom


def encode(array, kind="PNG"):
    "An array as the bytes of an image file; bool becomes 0 and 255."
    array = array * np.uint8(255) if array.dtype == bool else array
    content = io.BytesIO()
    Image.fromarray(array).save(content, kind)
    return content.getvalue()


def disc(k, size=(96, 128)):
    "An image (height, width, 3) and its mask; the shape serves for heads and optic discs."
    image, mask = phantom("fetal_head", k, size)
    return np.dstack([image] * 3), mask > 0


def chest(k):
    "A small phantom, enlarged to SCR's 1024 x 1024 pixels."
    return tuple(np.kron(a, np.ones((16, 16), a.dtype)) for a in phantom("lung", k, (64, 64)))


def dicom(tmp_path, array, **tags):
    "The bytes of a DICOM file."
    write_dicom(tmp_path / "one", array, **tags)
    return (tmp_path / "one").read_bytes()


def ct(k, slices=14):
    "Hounsfield units and masks of a few slices; the first ones show no liver."
    made = [phantom("liver", 10 * k + j, (48, 56)) for j in range(slices)]
    return [m[0].astype(np.int16) * 2 - 200 for m in made], [(m[1] > 0) & (j > 1) for j, m in enumerate(made)]


def bundle(members):
    "The bytes of a zip archive of these members, name -> content."
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in members.items():
            z.writestr(name, content)
    return archive.getvalue()


# ---------------------------------------------------------------- the members of miniature archives


def hc18(tmp_path):
    table = "filename,pixel size(mm),head circumference (mm)\n"
    members = {}
    for k in range(6):
        image, mask = disc(k)
        table += f"{k:03}_HC.png,0.1,60\n"
        members[f"training_set/{k:03}_HC.png"] = encode(image[..., 0])
        members[f"training_set/{k:03}_HC_Annotation.png"] = encode(mask & ~binary_erosion(mask))
    members["training_set_pixel_size_and_HC.csv"] = table
    members["test_set/000_HC_2.png"] = b"x"
    members["test_set/900_HC.png"] = encode(disc(9)[0][..., 0])
    return members


def drishti_gs(tmp_path):
    root = "Drishti-GS1_files"
    members = {f"{root}/Readme.txt": "cite us"}
    for k in range(6):
        image, mask = disc(k)
        id = f"drishtiGS_{k:03}"
        part, truth = ("Training", "GT") if k < 4 else ("Test", "Test_GT")
        members[f"{root}/{part}/Images/GLAUCOMA/{id}.png"] = encode(image)
        members[f"{root}/{part}/{truth}/{id}/SoftMap/{id}_ODsegSoftmap.png"] = encode(mask * np.uint8(191))
        members[f"{root}/{part}/GT/{id}/SoftMap/{id}_cupsegSoftmap.png"] = encode(mask * np.uint8(64))
    return members


def refuge(tmp_path):
    layout = {
        "g0001": ("Training400/Glaucoma", "Annotation-Training400/Disc_Cup_Masks/Glaucoma"),
        "n0001": ("Training400/Non-Glaucoma", "Annotation-Training400/Disc_Cup_Masks/Non-Glaucoma"),
        "V0001": ("REFUGE-Validation400", "REFUGE-Validation400-GT/Disc_Cup_Masks"),
        "T0001": ("REFUGE-Test400", "REFUGE-Test-GT/Disc_Cup_Masks/G"),
    }
    members = {}
    for k, (id, (images, masks)) in enumerate(layout.items()):
        image, mask = disc(k)
        cup = np.where(mask, 128, 255).astype(np.uint8)
        rows, columns = np.nonzero(mask)
        cup[int(rows.mean()), int(columns.mean())] = 0
        members[f"{images}/{id}.jpg"] = encode(image, "JPEG")
        members[f"{masks}/{id}.bmp"] = encode(cup, "BMP")
    return {"REFUGE2/REFUGE.zip": bundle(members)}


def rim_one_dl(tmp_path):
    members = {}
    for k in range(5):
        image, mask = disc(k)
        part, kind = ("training_set", "normal") if k < 3 else ("test_set", "glaucoma")
        id = f"r1_Im{k:03}"
        for way in ("partitioned_randomly", "partitioned_by_hospital"):
            members[f"RIM-ONE_DL_images/{way}/{part}/{kind}/{id}.png"] = encode(image)
        masks = f"RIM-ONE_DL_reference_segmentations/{kind}"
        members[f"{masks}/{id}-1-Disc-T.png"] = encode(mask)
        members[f"{masks}/{id}-1-Cup-T.png"] = encode(mask * np.uint8(9))
    return members


def ichallenge_pm(tmp_path):
    members = {}
    for k, id in enumerate(("H0001", "N0001", "P0001", "P0002")):
        image, mask = disc(k)
        members[f"PALM-Training400/{id}.jpg"] = encode(image, "JPEG")
        if id != "P0002":
            members[f"PALM-Training400-Annotation-D&F/Disc_Masks/{id}.bmp"] = encode(~mask, "BMP")
    return members


def jsrt(tmp_path):
    members = {}
    left_half = np.arange(1024) < 512
    for k, id in enumerate(("JPCLN001", "JPCNN002")):
        image, mask = chest(k)
        raw = 4095 - np.kron(image.astype(np.uint16) * 16, np.ones((2, 2), np.uint16))
        members[f"All247images/{id}.IMG"] = raw.astype(">u2").tobytes()
        for side, half in (("left", left_half), ("right", ~left_half)):
            members[f"scratch/fold{k + 1}/masks/{side} lung/{id}.gif"] = encode((mask > 0) & half, "GIF")
    return members


def montgomery(tmp_path):
    members = {"MontgomerySet/NLM-MontgomeryCXRSet-ReadMe.pdf": "cite us"}
    left_half = np.arange(90) < 45
    for k in range(4):
        image, mask = phantom("lung", k, (80, 90))
        name = f"MCUCXR_{k:04}_{k % 2}.png"
        members[f"MontgomerySet/CXR_png/{name}"] = encode(image)
        members[f"MontgomerySet/ManualMask/leftMask/{name}"] = encode((mask > 0) & left_half)
        members[f"MontgomerySet/ManualMask/rightMask/{name}"] = encode((mask > 0) & ~left_half)
    return members


def shenzhen(tmp_path):
    members = {}
    for k in range(4):
        image, mask = phantom("lung", k, (80, 90))
        members[f"ChinaSet_AllFiles/CXR_png/CHNCXR_{k:04}_{k % 2}.png"] = encode(image)
        if k:
            members[f"mask/mask/CHNCXR_{k:04}_{k % 2}_mask.png"] = encode(mask > 0)
    return members


def lits(tmp_path):
    members = {}
    for k in (0, 10):
        images, masks = ct(k)
        for name, stack in (("volume", np.stack(images)), ("segmentation", np.stack(masks) * np.uint8(2))):
            volume = nib.Nifti1Image(stack[:, ::-1, ::-1].transpose(2, 1, 0), np.diag([0.7, 0.7, 5, 1]))
            nib.save(volume, tmp_path / "one.nii")
            members[f"Training Batch 1/{name}-{k}.nii"] = (tmp_path / "one.nii").read_bytes()
    return members


def chaos_ct(tmp_path):
    tags = dict(RescaleSlope="1", RescaleIntercept="-1000", PixelSpacing=[0.6, 0.6])
    members = {}
    for k, style in ((1, "i{:04},0000b.dcm"), (2, "IMG-0004-{:05}.dcm")):
        root = f"Train_Sets/CT/{k}"
        for j, (image, mask) in enumerate(zip(*ct(k))):
            name = style.format(j + (k == 2))
            members[f"{root}/DICOM_anon/{name}"] = dicom(tmp_path, (image + 1000).astype(np.uint16), **tags)
            members[f"{root}/Ground/liver_GT_{j:03}.png"] = encode(mask)
            members[f"Train_Sets/MR/{k}/T1DUAL/Ground/IMG-{j}.png"] = encode(mask.astype(np.uint8))
    return members


def ircad(tmp_path):
    members = {}
    for k in (1, 2):
        scans, labels = {}, {}
        for j, (image, mask) in enumerate(zip(*ct(k))):
            scans[f"PATIENT_DICOM/image_{j}"] = dicom(tmp_path, image, PixelSpacing=[0.6, 0.6])
            for organ in ("liver", "bone"):
                labels[f"MASKS_DICOM/{organ}/image_{j}"] = dicom(tmp_path, mask * np.uint8(255))
        members[f"3Dircadb1/3Dircadb1.{k}/PATIENT_DICOM.zip"] = bundle(scans)
        members[f"3Dircadb1/3Dircadb1.{k}/MASKS_DICOM.zip"] = bundle(labels)
    return members


# data set: (members of its miniature, images, images with a mask)
MINIATURES = dict(
    hc18=(hc18, 7, 6),
    drishti_gs=(drishti_gs, 6, 6),
    refuge=(refuge, 4, 4),
    rim_one_dl=(rim_one_dl, 5, 5),
    ichallenge_pm=(ichallenge_pm, 4, 4),
    jsrt=(jsrt, 2, 2),
    montgomery=(montgomery, 4, 4),
    shenzhen=(shenzhen, 4, 3),
    lits=(lits, 24, 24),
    chaos_ct=(chaos_ct, 24, 24),
    ircad=(ircad, 24, 24),
)


def write_folder(folder, members):
    "The members of an archive as files in a folder."
    for name, content in members.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def contents(folder):
    "Relative name -> bytes of all files but source.yaml, which holds the time."
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "source.yaml")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def silent(text):
    "Takes what `prepare` would print."


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFICIAL)
def test_miniature(name, tmp_path):
    "The official layout, as an archive and as a folder, gives the same data set without errors."
    miniature, images, masks = MINIATURES[name]
    members = miniature(tmp_path)
    (tmp_path / "official.zip").write_bytes(bundle(members))
    write_folder(tmp_path / "folder", members)
    out = prepare(name, tmp_path / "official.zip", tmp_path / "a", echo=silent)
    from_folder = prepare(name, tmp_path / "folder", tmp_path / "b", echo=silent)
    assert contents(out) == contents(from_folder)

    report = check_dataset(out)
    assert report.ok
    assert not [w for w in report.warnings if "leak" in w]
    assert len(list((out / "images").iterdir())) == images
    assert len(list((out / "masks").iterdir())) == masks
    record = yaml.safe_load((out / "source.yaml").read_text())
    assert record["images"] == images
    assert len(record["sha256"]["official.zip"]) == 64
    assert record["page"] in (out / "LICENCE.txt").read_text()
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def prepared(name, tmp_path, **options):
    "The data set that the miniature becomes."
    (tmp_path / "official.zip").write_bytes(bundle(MINIATURES[name][0](tmp_path)))
    return prepare(name, tmp_path / "official.zip", tmp_path / "out", echo=silent, **options)


def rows(path):
    "The rows of a CSV file."
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


@pytest.mark.slow
def test_masks_are_those_of_the_phantoms(tmp_path):
    "Polarity, union and orientation, where a converter could go wrong silently."
    for name, id, mask in (
        ("drishti_gs", "drishtiGS_004", disc(4)[1]),
        ("refuge", "V0001", disc(2)[1]),
        ("ichallenge_pm", "N0001", disc(1)[1]),
        ("rim_one_dl", "r1_Im003", disc(3)[1]),
        ("montgomery", "MCUCXR_0001_1", phantom("lung", 1, (80, 90))[1] > 0),
        ("lits", "lits_010_005", ct(10)[1][5]),
        ("chaos_ct", "chaos_02_005", ct(2)[1][5]),
        ("ircad", "ircad_01_005", ct(1)[1][5]),
    ):
        (tmp_path / name).mkdir()
        out = prepared(name, tmp_path / name)
        assert (read_mask(out / f"masks/{id}.png") == mask).all(), name
    image = read_image(out / "images/ircad_01_005.png").astype(int)
    expected = (ct(1)[0][5].astype(float) + 150).clip(0, 400) * 255 / 400  # the window of livers
    assert abs(image - expected).max() <= 1


def test_jsrt_is_inverted_with_twelve_bits(tmp_path):
    out = prepared("jsrt", tmp_path)
    image, mask = chest(0)
    prepared_image = read_image(out / "images/JPCLN001.png")
    assert prepared_image.shape == (2048, 2048)
    assert (prepared_image[::2, ::2] == image.astype(np.uint16) * 16).all()
    assert (read_mask(out / "masks/JPCLN001.png")[::2, ::2] == (mask > 0)).all()
    assert rows(out / "pixel_size.csv")[0] == dict(id="JPCLN001", spacing="0.175")


def test_official_splits_and_patients(tmp_path):
    for name in ("refuge", "lits"):
        (tmp_path / name).mkdir()
    splits = {r["id"]: r["split"] for r in rows(prepared("refuge", tmp_path / "refuge") / "splits.csv")}
    assert splits == dict(g0001="train", n0001="train", V0001="val", T0001="test")
    livers = rows(prepared("lits", tmp_path / "lits") / "splits.csv")
    assert len({(r["patient"], r["split"]) for r in livers}) == 2


def test_crops_are_around_the_discs(tmp_path):
    out = prepared("drishti_gs", tmp_path, crop=True)
    for p in (out / "masks").iterdir():
        mask = read_mask(p)
        assert mask.any()
        assert mask.shape == read_image(out / "images" / p.name).shape[:2]
    assert yaml.safe_load((out / "source.yaml").read_text())["crop"] is True


# ---------------------------------------------------------------- hostile archives


def zipped(path, name, content=b"x", mode=None):
    "A zip archive of one member, whose Unix mode may tell that it is a link."
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        info = zipfile.ZipInfo(name)
        if mode:
            info.external_attr = mode << 16
        z.writestr(info, content)


def tarred(path, name, kind=tarfile.REGTYPE, link=""):
    "A tar archive of one member."
    with tarfile.open(path, "w:gz") as t:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
        t.addfile(member, io.BytesIO(b"x"))


NAMES = ["../up.png", "/tmp/up.png", "a/../../up.png", "..\\up.png", "C:\\up.png", "a/\x01.png", "x" * 300]
# kind: (function that writes it, words of the error)
HOSTILE = {
    **{f"zip {n[:20]!r}": (partial(zipped, name=n), "would leave its folder") for n in NAMES},
    **{f"tar {n[:20]!r}": (partial(tarred, name=n), "would leave its folder") for n in NAMES[:4]},
    "zip symlink": (lambda p: zipped(p, "x", b"/etc/passwd", stat.S_IFLNK | 0o777), "never followed"),
    "tar symlink": (lambda p: tarred(p, "x", tarfile.SYMTYPE, "/etc/passwd"), "never followed"),
    "tar hard link": (lambda p: tarred(p, "x", tarfile.LNKTYPE, "/etc/passwd"), "never followed"),
    "tar fifo": (lambda p: tarred(p, "x", tarfile.FIFOTYPE), "never followed"),
    "bomb": (lambda p: zipped(p, "x.png", bytes(200_000_000)), "bomb"),
    "no archive": (lambda p: p.write_bytes(b"PK\x03\x04 no archive"), "no archive"),
    "empty": (lambda p: p.write_bytes(b""), "no archive"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name, tmp_path):
    write, words = HOSTILE[name]
    inside = tmp_path / "inside"
    inside.mkdir()
    write(inside / "hostile.zip")
    with pytest.raises(InputError, match=words):
        prepare("hc18", inside / "hostile.zip", inside / "out")
    assert [p.name for p in inside.iterdir()] == ["hostile.zip"]
    assert [p.name for p in tmp_path.iterdir()] == ["inside"]


def test_too_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(aeseg.data.archives, "MOST_FILES", 3)
    (tmp_path / "many.zip").write_bytes(bundle({f"{k}.txt": "x" for k in range(4)}))
    with pytest.raises(InputError, match="more than 3 files"):
        unpack(tmp_path / "many.zip", tmp_path / "out")


def test_links_in_a_folder_are_not_followed(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "000_HC.png").symlink_to("/etc/passwd")
    (source / "sub").symlink_to("/etc")
    with pytest.raises(InputError, match="holds nothing in the layout of hc18"):
        prepare("hc18", source, tmp_path / "out")


def test_command(aeseg, tmp_path):
    (tmp_path / "official.zip").write_bytes(bundle(hc18(tmp_path)))
    done = aeseg("prepare", "hc18", "--src", tmp_path / "official.zip", "--out", tmp_path / "out")
    assert done.code == 0
    assert "7 images, 6 with a mask" in done.out
    again = aeseg("prepare", "hc18", "--src", tmp_path / "official.zip", "--out", tmp_path / "out")
    assert again.code == 2
    assert "is there already" in again.err
    assert again.err.count("\n") == 1
    done = aeseg("split", tmp_path / "out", "--patient", "^([0-9]+)_", "--val", "0.5", "--overwrite")
    assert done.code == 0
    assert "train" in done.out
