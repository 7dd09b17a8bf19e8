"""Each official data set, as a miniature in its own layout, becomes a sound data-set folder; hostile archives write nothing outside of it."""

import csv
import io
import stat
import tarfile
import zipfile

import nibabel as nib
import numpy as np
import pytest
import yaml
from PIL import Image

import aeseg.data.archives
from aeseg.data.check import check_dataset
from aeseg.core.errors import InputError
from aeseg.data.images import read_image
from aeseg.data.images import read_mask
from aeseg.data.formats import write_dicom
from aeseg.data.phantoms import phantom
from aeseg.data.official import OFFICIAL, prepare
from aeseg.data.archives import unpack


def data(array, kind="PNG", **kw):
    "A picture as bytes."
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, **kw)
    return out.getvalue()


def disc(k, size=(96, 128)):
    image, mask = phantom("fetal_head", k, size)
    return np.dstack([image] * 3), mask > 0


def chest(k):
    "A small phantom, enlarged to SCR's 1024 x 1024 pixels."
    return tuple(np.kron(a, np.ones((16, 16), a.dtype)) for a in phantom("lung", k, (64, 64)))


def dicom(tmp_path, array, **tags):
    write_dicom(tmp_path / "one", array, **tags)
    return (tmp_path / "one").read_bytes()


def ct(k, slices=14):
    "Hounsfield units and masks of a few slices; the first ones show no liver."
    made = [phantom("liver", 10 * k + j, (48, 56)) for j in range(slices)]
    return [m[0].astype(np.int16) * 2 - 200 for m in made], [(m[1] > 0) & (j > 1) for j, m in enumerate(made)]


def bundle(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in members.items():
            z.writestr(name, content)
    return out.getvalue()


# name: the members of a miniature archive


def hc18(tmp):
    from scipy.ndimage import binary_erosion

    made = {
        "training_set_pixel_size_and_HC.csv": (
            "filename,pixel size(mm),head circumference (mm)\n"
            + "".join(f"{k:03}_HC.png,0.1,60\n" for k in range(6))
        )
    }
    for k in range(6):
        image, mask = disc(k)
        made |= {
            f"training_set/{k:03}_HC.png": data(image[..., 0]),
            f"training_set/{k:03}_HC_Annotation.png": data(
                (mask & ~binary_erosion(mask)).astype(np.uint8) * 255
            ),
        }
    return made | {"test_set/000_HC_2.png": b"x", "test_set/900_HC.png": data(disc(9)[0][..., 0])}


def drishti_gs(tmp):
    made = {"Drishti-GS1_files/Readme.txt": "cite us"}
    for k in range(6):
        image, mask = disc(k)
        part = "Training" if k < 4 else "Test"
        made |= {
            f"Drishti-GS1_files/{part}/Images/GLAUCOMA/drishtiGS_{k:03}.png": data(image),
            f"Drishti-GS1_files/{part}/{'Test_' if k > 3 else ''}GT/drishtiGS_{k:03}/SoftMap/drishtiGS_{k:03}_ODsegSoftmap.png": data(
                mask.astype(np.uint8) * 191
            ),
            f"Drishti-GS1_files/{part}/GT/drishtiGS_{k:03}/SoftMap/drishtiGS_{k:03}_cupsegSoftmap.png": data(
                mask.astype(np.uint8) * 64
            ),
        }
    return made


def refuge(tmp):
    inner = {}
    for k, (name, where, masks) in enumerate(
        [
            ("g0001", "Training400/Glaucoma", "Annotation-Training400/Disc_Cup_Masks/Glaucoma"),
            ("n0001", "Training400/Non-Glaucoma", "Annotation-Training400/Disc_Cup_Masks/Non-Glaucoma"),
            ("V0001", "REFUGE-Validation400", "REFUGE-Validation400-GT/Disc_Cup_Masks"),
            ("T0001", "REFUGE-Test400", "REFUGE-Test-GT/Disc_Cup_Masks/G"),
        ]
    ):
        image, mask = disc(k)
        cup = np.where(mask, 128, 255).astype(np.uint8)
        cup[np.nonzero(mask)[0].mean().astype(int), np.nonzero(mask)[1].mean().astype(int)] = 0
        inner |= {f"{where}/{name}.jpg": data(image, "JPEG"), f"{masks}/{name}.bmp": data(cup, "BMP")}
    return {"REFUGE2/REFUGE.zip": bundle(inner)}


def rim_one_dl(tmp):
    made = {}
    for k in range(5):
        image, mask = disc(k)
        part, kind = ("training_set", "normal") if k < 3 else ("test_set", "glaucoma")
        for way in ("partitioned_randomly", "partitioned_by_hospital"):
            made[f"RIM-ONE_DL_images/{way}/{part}/{kind}/r1_Im{k:03}.png"] = data(image)
        made |= {
            f"RIM-ONE_DL_reference_segmentations/{kind}/r1_Im{k:03}-1-Disc-T.png": data(
                mask.astype(np.uint8) * 255
            ),
            f"RIM-ONE_DL_reference_segmentations/{kind}/r1_Im{k:03}-1-Cup-T.png": data(
                mask.astype(np.uint8) * 9
            ),
        }
    return made


def ichallenge_pm(tmp):
    made = {}
    for k, name in enumerate(("H0001", "N0001", "P0001", "P0002")):
        image, mask = disc(k)
        made[f"PALM-Training400/{name}.jpg"] = data(image, "JPEG")
        if name != "P0002":
            made[f"PALM-Training400-Annotation-D&F/Disc_Masks/{name}.bmp"] = data(
                np.where(mask, 0, 255).astype(np.uint8), "BMP"
            )
    return made


def jsrt(tmp):
    made = {}
    for k, name in enumerate(("JPCLN001", "JPCNN002")):
        image, mask = chest(k)
        made[f"All247images/{name}.IMG"] = (
            (4095 - np.kron(image.astype(np.uint16) * 16, np.ones((2, 2), np.uint16))).astype(">u2").tobytes()
        )
        half = np.arange(1024) < 512
        for side, part in (("left", mask & half), ("right", mask & ~half)):
            made[f"scratch/fold{k + 1}/masks/{side} lung/{name}.gif"] = data(
                (part > 0).astype(np.uint8) * 255, "GIF"
            )
    return made


def montgomery(tmp):
    made = {"MontgomerySet/NLM-MontgomeryCXRSet-ReadMe.pdf": "cite us"}
    for k in range(4):
        image, mask = phantom("lung", k, (80, 90))
        name, half = f"MCUCXR_{k:04}_{k % 2}.png", np.arange(90) < 45
        made |= {
            f"MontgomerySet/CXR_png/{name}": data(image),
            f"MontgomerySet/ManualMask/leftMask/{name}": data(((mask > 0) & half).astype(np.uint8) * 255),
            f"MontgomerySet/ManualMask/rightMask/{name}": data(((mask > 0) & ~half).astype(np.uint8) * 255),
        }
    return made


def shenzhen(tmp):
    made = {}
    for k in range(4):
        image, mask = phantom("lung", k, (80, 90))
        made[f"ChinaSet_AllFiles/CXR_png/CHNCXR_{k:04}_{k % 2}.png"] = data(image)
        if k:
            made[f"mask/mask/CHNCXR_{k:04}_{k % 2}_mask.png"] = data((mask > 0).astype(np.uint8) * 255)
    return made


def lits(tmp):
    made = {}
    for k in (0, 10):
        for name, arrays in zip(("volume", "segmentation"), ct(k)):
            stack = np.stack(arrays) * (np.int16(1) if name == "volume" else np.uint8(2))
            nib.save(
                nib.Nifti1Image(stack[:, ::-1, ::-1].transpose(2, 1, 0), np.diag([0.7, 0.7, 5, 1])),
                tmp / "one.nii",
            )
            made[f"Training Batch 1/{name}-{k}.nii"] = (tmp / "one.nii").read_bytes()
    return made


def chaos_ct(tmp):
    made = {}
    for k, style in ((1, "i{:04},0000b.dcm"), (2, "IMG-0004-{:05}.dcm")):
        for j, (image, mask) in enumerate(zip(*ct(k))):
            made |= {
                f"Train_Sets/CT/{k}/DICOM_anon/" + style.format(j + (k == 2)): dicom(
                    tmp,
                    (image + 1000).astype(np.uint16),
                    RescaleSlope="1",
                    RescaleIntercept="-1000",
                    PixelSpacing=[0.6, 0.6],
                ),
                f"Train_Sets/CT/{k}/Ground/liver_GT_{j:03}.png": data(mask.astype(np.uint8) * 255),
                f"Train_Sets/MR/{k}/T1DUAL/Ground/IMG-{j}.png": data(mask.astype(np.uint8)),
            }
    return made


def ircad(tmp):
    made = {}
    for k in (1, 2):
        images, masks = ct(k)
        made |= {
            f"3Dircadb1/3Dircadb1.{k}/PATIENT_DICOM.zip": bundle(
                {
                    f"PATIENT_DICOM/image_{j}": dicom(tmp, image, PixelSpacing=[0.6, 0.6])
                    for j, image in enumerate(images)
                }
            ),
            f"3Dircadb1/3Dircadb1.{k}/MASKS_DICOM.zip": bundle(
                {
                    f"MASKS_DICOM/{organ}/image_{j}": dicom(tmp, mask.astype(np.uint8) * 255)
                    for organ in ("liver", "bone")
                    for j, mask in enumerate(masks)
                }
            ),
        }
    return made


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


@pytest.mark.parametrize("name", OFFICIAL)
def test_miniature(name, tmp_path):
    "The official layout, as an archive and as a folder, gives the same sound data set."
    make, images, masks = MINIATURES[name]
    members = make(tmp_path)
    (tmp_path / "official.zip").write_bytes(bundle(members))
    for path, content in members.items():
        (tmp_path / "folder" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    sets = [
        prepare(name, tmp_path / src, tmp_path / out, echo=lambda s: None)
        for src, out in (("official.zip", "a"), ("folder", "b"))
    ]
    files = [
        {
            str(p.relative_to(s)): p.read_bytes()
            for p in s.rglob("*")
            if p.is_file() and p.name != "source.yaml"
        }
        for s in sets
    ]
    assert files[0] == files[1]
    report = check_dataset(sets[0])
    assert report.ok and not [w for w in report.warnings if "leak" in w]
    assert (
        len(list((sets[0] / "images").iterdir())) == images
        and len(list((sets[0] / "masks").iterdir())) == masks
    )
    record = yaml.safe_load((sets[0] / "source.yaml").read_text())
    assert (
        record["images"] == images
        and len(record["sha256"]["official.zip"]) == 64
        and record["page"] in (sets[0] / "LICENCE.txt").read_text()
    )
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def made(name, tmp_path, **kw):
    (tmp_path / "official.zip").write_bytes(bundle(MINIATURES[name][0](tmp_path)))
    return prepare(name, tmp_path / "official.zip", tmp_path / "out", echo=lambda s: None, **kw)


def rows(path):
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


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
        folder = tmp_path / name
        folder.mkdir()
        out = made(name, folder)
        assert (read_mask(out / f"masks/{id}.png") == mask).all(), name
    assert (
        abs(
            read_image(out / "images/ircad_01_005.png").astype(int)
            - (ct(1)[0][5].astype(float) + 150).clip(0, 400) * 255 / 400
        ).max()
        <= 1
    )


def test_jsrt_is_turned_over_with_twelve_bits(tmp_path):
    out = made("jsrt", tmp_path)
    image, mask = chest(0)
    read = read_image(out / "images/JPCLN001.png")
    assert (
        read.shape == (2048, 2048)
        and (read[::2, ::2] == image.astype(np.uint16) * 16).all()
        and (read_mask(out / "masks/JPCLN001.png")[::2, ::2] == (mask > 0)).all()
    )
    assert rows(out / "pixel_size.csv")[0] == dict(id="JPCLN001", spacing="0.175")


def test_official_splits_and_patients(tmp_path):
    for name in ("refuge", "lits"):
        (tmp_path / name).mkdir()
    assert {r["id"]: r["split"] for r in rows(made("refuge", tmp_path / "refuge") / "splits.csv")} == dict(
        g0001="train", n0001="train", V0001="val", T0001="test"
    )
    assert (
        len({(r["patient"], r["split"]) for r in rows(made("lits", tmp_path / "lits") / "splits.csv")}) == 2
    )


def test_crops_are_around_the_discs(tmp_path):
    out = made("drishti_gs", tmp_path, crop=True)
    for p in (out / "masks").iterdir():
        mask = read_mask(p)
        assert mask.any() and mask.shape == read_image(out / "images" / p.name).shape[:2]
    assert yaml.safe_load((out / "source.yaml").read_text())["crop"] is True


# ---------------------------------------------------------------- hostile archives


def zipped(path, name, content=b"x", mode=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        info = zipfile.ZipInfo(name)
        if mode:
            info.external_attr = mode << 16
        z.writestr(info, content)


def tarred(path, name, kind=tarfile.REGTYPE, link=""):
    with tarfile.open(path, "w:gz") as t:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
        t.addfile(member, io.BytesIO(b"x"))


NAMES = ["../up.png", "/tmp/up.png", "a/../../up.png", "..\\up.png", "C:\\up.png", "a/\x01.png", "x" * 300]
HOSTILE = {
    **{f"zip {n[:20]!r}": (lambda p, n=n: zipped(p, n), "would leave its folder") for n in NAMES},
    **{f"tar {n[:20]!r}": (lambda p, n=n: tarred(p, n), "would leave its folder") for n in NAMES[:4]},
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
    write, why = HOSTILE[name]
    inside = tmp_path / "inside"
    inside.mkdir()
    write(inside / "hostile.zip")
    with pytest.raises(InputError, match=why):
        prepare("hc18", inside / "hostile.zip", inside / "out")
    assert [p.name for p in inside.iterdir()] == ["hostile.zip"] and [p.name for p in tmp_path.iterdir()] == [
        "inside"
    ]


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
    assert done.code == 0 and "7 images, 6 with a mask" in done.out
    again = aeseg("prepare", "hc18", "--src", tmp_path / "official.zip", "--out", tmp_path / "out")
    assert again.code == 2 and "is there already" in again.err and again.err.count("\n") == 1
    done = aeseg("split", tmp_path / "out", "--patient", "^([0-9]+)_", "--val", "0.5", "--overwrite")
    assert done.code == 0 and "train" in done.out
