"""Official downloads as they are: parts with equal names, illustrations, other archives, and odd items."""

import io
import stat
import tarfile
import zipfile
from functools import partial

import nibabel as nib
import numpy as np
import pytest
import yaml
from commands import refused, succeeded
from PIL import Image
from scipy.ndimage import binary_erosion
from skimage.draw import ellipse as draw_ellipse
from test_prepare import MINIATURES, bundle, ct, dicom, disc, encode, rows, silent, write_folder

from aeseg.core.errors import InputError
from aeseg.data.archives import list_source, unpack
from aeseg.data.check import check_dataset
from aeseg.data.images import read_image, read_mask
from aeseg.data.official import area_inside, known_length, known_spacing, prepare


def outline_of(mask):
    "A drawn line."
    return mask & ~binary_erosion(mask)


def items_of(folder):
    "What was prepared: id -> (split, whether there is a mask, spacing)."
    sizes = folder / "pixel_size.csv"
    spacing = {r["id"]: float(r["spacing"]) for r in rows(sizes)} if sizes.exists() else {}
    return {
        r["id"]: (r["split"], (folder / f"masks/{r['id']}.png").exists(), spacing.get(r["id"]))
        for r in rows(folder / "splits.csv")
    }


# ---------------------------------------------------------------- archives


def zip_from_windows(path):
    "Backslashes, entries of folders, and a folder that only its mode tells."
    with zipfile.ZipFile(path, "w") as z:
        for name in ("set\\", "set\\images\\", "set/masks/"):
            z.writestr(name, "")
        folder = zipfile.ZipInfo("set/notes")
        folder.external_attr = (stat.S_IFDIR | 0o755) << 16
        z.writestr(folder, "")
        z.writestr("set\\images\\a.png", b"a")
        z.writestr("set/masks/b.png", b"b")


def tar_that_ends_with_a_zip(path):
    "An uncompressed tar archive, whose last bytes are those of a zip archive."
    with tarfile.open(path, "w") as t:
        for name, content in (("set/images/a.png", b"a"), ("set.zip", bundle({"masks/b.png": b"b"}))):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            t.addfile(member, io.BytesIO(content))


def label_volumes(path):
    "Two label volumes as NIfTI that become more than 500 times smaller."
    labels = np.zeros((256, 256, 600), np.uint8)
    labels[60:120, 80:190, 200:400] = 1
    content = nib.Nifti1Image(labels, np.diag([0.7, 0.7, 1, 1])).to_bytes()
    path.write_bytes(bundle({f"segmentation-{k}.nii": content for k in range(3)}))
    assert 3 * len(content) > max(500 * path.stat().st_size, 1e8)


READ = {  # kind: (suffix, function that writes it, names of the files in it)
    "zip of Windows": (".zip", zip_from_windows, ["set/images/a.png", "set/masks/b.png"]),
    "zip in tar": (".tar", tar_that_ends_with_a_zip, ["set.zip.inside/masks/b.png", "set/images/a.png"]),
    "labels": (".zip", label_volumes, [f"segmentation-{k}.nii" for k in range(3)]),
}


@pytest.mark.parametrize("kind", READ)
def test_archives_that_are_read(kind, tmp_path):
    suffix, write, names = READ[kind]
    (tmp_path / "source").mkdir()
    write(tmp_path / f"source/official{suffix}")
    for src in (tmp_path / "source", tmp_path / f"source/official{suffix}"):
        found = list_source(src, tmp_path / f"unpacked_{src.name}")
        inside = f"official{suffix}.inside/"
        assert [n.removeprefix(inside) for n in found if n.startswith(inside)] == names


def changed_header(path, field, value):
    "A zip archive with a number of its headers changed: 6 is the flags, 8 the compression."
    content = bytearray(bundle({"a.txt": "a"}))
    for header in (content.find(b"PK\x03\x04"), content.find(b"PK\x01\x02") + 2):
        content[header + field] = value
    path.write_bytes(content)


def starts_with(path, start):
    path.write_bytes(start + bytes(100))


RAR, SEVEN = b"Rar!\x1a\x07\x01\x00", b"7z\xbc\xaf\x27\x1c"
NOT_READ = {  # kind: (name, function that writes it, words of the sentence)
    "rar": ("official.rar", partial(starts_with, start=RAR), "unpack it first, with unrar or 7z"),
    "rar 4": ("official.rar", partial(starts_with, start=b"Rar!\x1a\x07\x00"), "is a RAR archive"),
    "7z": ("official.7z", partial(starts_with, start=SEVEN), "is a 7z archive"),
    "split 7z": ("official.7z.001", partial(starts_with, start=SEVEN), "unpack it first, with 7z"),
    "split zip": ("official.z01", partial(starts_with, start=b"PK\x03\x04"), "is a part of a split archive"),
    "zstd": ("official.tar.zst", partial(starts_with, start=b"\x28\xb5\x2f\xfd"), "Zstandard"),
    "unfinished": ("o.zip.crdownload", partial(starts_with, start=b"PK"), "is an unfinished download"),
    "rar named zip": ("official.zip", partial(starts_with, start=RAR), "unpack it first, with unrar"),
    "encrypted": ("official.zip", partial(changed_header, field=6, value=1), "with its password"),
    "Deflate64": ("official.zip", partial(changed_header, field=8, value=9), "unpack it first, with 7z"),
}


@pytest.mark.parametrize("kind", NOT_READ)
def test_archives_that_are_not_read(kind, tmp_path):
    "The sentence names what to do, for the file and for the folder; nothing is called damaged."
    name, write, words = NOT_READ[kind]
    (tmp_path / "source").mkdir()
    write(tmp_path / "source" / name)
    for src in (tmp_path / "source" / name, tmp_path / "source"):
        with pytest.raises(InputError, match=words) as error:
            prepare("drishti_gs", src, tmp_path / "out", echo=silent)
        assert "damaged" not in str(error.value)
        assert name in str(error.value)


def test_an_archive_that_is_not_read_beside_others_is_told(tmp_path):
    write_folder(tmp_path / "source", MINIATURES["hc18"][0](tmp_path))
    (tmp_path / "source/test_set.7z").write_bytes(SEVEN)
    lines = []
    prepare("hc18", tmp_path / "source", tmp_path / "out", echo=lines.append)
    assert any("not used: test_set.7z is a 7z archive" in line for line in lines)


def test_labels_count_less_but_not_nothing(tmp_path, monkeypatch):
    "A bomb that looks like a label volume is stopped too, later."
    monkeypatch.setattr("aeseg.data.archives.FREE", 1000)
    header = nib.Nifti1Header().binaryblock
    once = bundle({f"{k}.nii": header + bytes(30_000_000) for k in range(2)})
    (tmp_path / "bomb.zip").write_bytes(bundle({"inner.zip": once}))
    with pytest.raises(InputError, match="bomb"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out")


# ---------------------------------------------------------------- downloads


def hc18_parts(tmp_path):
    "Numbers start at 000 in both parts; the tables lie beside the archives."
    training, test = {}, {}
    for k in range(3):
        image, mask = disc(k)
        training[f"training_set/{k:03}_HC.png"] = encode(image[..., 0])
        training[f"training_set/{k:03}_HC_Annotation.png"] = encode(outline_of(mask))
        test[f"test_set/{k:03}_HC.png"] = encode(disc(k + 5)[0][..., 0])
    members = {"training_set.zip": bundle(training), "test_set.zip": bundle(test)}
    for name, size in (("training_set_pixel_size_and_HC", 0.1), ("test_set_pixel_size", 0.2)):
        table = "".join(f"{k:03}_HC.png,{size}\n" for k in range(3))
        members[f"{name}.csv"] = "filename,pixel size(mm)\n" + table
    return members


def both_forms(tmp_path):
    "Archives, and beside them the folders that they were unpacked to."
    members = hc18_parts(tmp_path)
    for name in ("training_set.zip", "test_set.zip"):
        with zipfile.ZipFile(io.BytesIO(members[name])) as z:
            members |= {n: z.read(n) for n in z.namelist()}
    return members


def lits_with_test(tmp_path):
    members = MINIATURES["lits"][0](tmp_path)
    volume = members["Training Batch 1/volume-0.nii"]
    changed = nib.Nifti1Image.from_bytes(volume)
    darker = nib.Nifti1Image(np.asanyarray(changed.dataobj) - 50, changed.affine).to_bytes()
    return {**members, "test-volume-0.nii": darker, "Test/test-volume-10.nii": darker}


def chaos_with_test(tmp_path):
    "Test patients have no masks, and here the number of a training patient."
    members = MINIATURES["chaos_ct"][0](tmp_path)
    scan = dicom(tmp_path, ct(9)[0][5].astype(np.uint16))
    return {**members, **{f"Test_Sets/CT/{k}/DICOM_anon/i0001,0000b.dcm": scan for k in (1, 9)}}


def illustrated(name, suffix, folders, tmp_path):
    "Pictures for people that have the names of the images."
    members = MINIATURES[name][0](tmp_path)
    content = encode(np.zeros((96, 128, 3), np.uint8), "JPEG" if suffix == "jpg" else "PNG")
    ids = dict(refuge="V0001", ichallenge_pm="N0001", drishti_gs="drishtiGS_001", rim_one_dl="r1_Im001")
    return {**members, **{f"{folder}/{ids[name]}.{suffix}": content for folder in folders}}


LIVERS = 24
HC18 = {f"{k:03}_HC": 0.1 for k in range(3)} | {f"test_{k:03}_HC": 0.2 for k in range(3)}
FOLDERS = (
    "Illustration/Glaucoma",
    "REFUGE-Validation400/Overlays",
    "Figures",
    "Annotation-Training400/drawn",
)
DOWNLOADS = {  # kind: (data set, function that gives its members, images, masks)
    "HC18 of two archives": ("hc18", hc18_parts, 6, 3),
    "HC18 packed and unpacked": ("hc18", both_forms, 6, 3),
    "LiTS with test volumes": ("lits", lits_with_test, LIVERS, LIVERS),
    "CHAOS with test patients": ("chaos_ct", chaos_with_test, LIVERS, LIVERS),
    "REFUGE illustrated": ("refuge", partial(illustrated, "refuge", "jpg", FOLDERS), 4, 4),
    "PALM illustrated": ("ichallenge_pm", partial(illustrated, "ichallenge_pm", "jpg", FOLDERS), 4, 4),
    "Drishti illustrated": (
        "drishti_gs",
        partial(illustrated, "drishti_gs", "png", ("Drishti-GS1_files/Training/Images/Illustrations",)),
        6,
        6,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DOWNLOADS)
def test_downloads_as_they_are(kind, tmp_path):
    "What belongs to the set, and the masks and images of the miniature that has nothing else."
    name, make, images, masks = DOWNLOADS[kind]
    write_folder(tmp_path / "source", make(tmp_path))
    out = prepare(name, tmp_path / "source", tmp_path / "out", echo=silent)
    items = items_of(out)
    assert len(items) == images
    assert sum(has_mask for _, has_mask, _ in items.values()) == masks
    if name == "hc18":
        assert {i: spacing for i, (_, _, spacing) in items.items()} == HC18
        assert {i for i, (split, _, _) in items.items() if split == "test"} == {
            i for i in HC18 if "test" in i
        }
        assert (read_image(out / "images/test_001_HC.png") == disc(6)[0][..., 0]).all()
        assert (read_image(out / "images/001_HC.png") == disc(1)[0][..., 0]).all()
        return
    write_folder(tmp_path / "plain", MINIATURES[name][0](tmp_path))
    plain = prepare(name, tmp_path / "plain", tmp_path / "plain_out", echo=silent)
    for path in [*(plain / "images").iterdir(), *(plain / "masks").iterdir()]:
        assert path.read_bytes() == (out / path.relative_to(plain)).read_bytes(), path.name


def test_files_that_are_not_used_are_counted(tmp_path):
    write_folder(tmp_path / "source", lits_with_test(tmp_path))
    lines = []
    out = prepare("lits", tmp_path / "source", tmp_path / "out", echo=lines.append)
    assert any("not used: 2 image files are no part of the layout, such as T" in line for line in lines)
    assert set(yaml.safe_load((out / "source.yaml").read_text())["told"]) <= set(lines)


def test_two_different_copies_are_an_error_that_names_both(tmp_path):
    members = {f"{k}/training_set/001_HC.png": encode(disc(k)[0][..., 0]) for k in range(2)}
    write_folder(tmp_path / "source", members)
    with pytest.raises(InputError, match="0/training_set/001_HC.png and .*1/training_set/001_HC.png"):
        prepare("hc18", tmp_path / "source", tmp_path / "out", echo=silent)


# ---------------------------------------------------------------- values that cannot be


LINES = (
    {  # kind: row and column of the centre, half height, half width, in an image of 120 x 160; is it closed
        "inside": (60, 80, 40, 60),
        "leaves at the top": (20, 80, 40, 60),
        "leaves at the left": (60, 20, 40, 60),
        "leaves at the corner": (15, 15, 45, 60),
        "leaves on both sides": (60, 80, 40, 95),
        "leaves at top and bottom": (60, 80, 75, 60),
    }
)


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("width", [1, 3])
def test_area_inside_an_outline(kind, width):
    "The area is that of the ellipse, drawn by skimage."
    row, column, height, breadth = LINES[kind]
    large = np.zeros((320, 360), bool)
    large[draw_ellipse(row + 100, column + 100, height, breadth, large.shape)] = True
    line = (large & ~binary_erosion(large, iterations=width))[100:220, 100:260]
    expected = large[100:220, 100:260]
    area = area_inside(line)
    assert 2 * (area & expected).sum() / (area.sum() + expected.sum()) > 0.99


@pytest.mark.parametrize("start", [0, 100, 200])
def test_an_open_outline_is_unknown(start):
    "A line that ends within the image encloses nothing."
    mask = np.zeros((120, 160), bool)
    mask[draw_ellipse(60, 80, 40, 60)] = True
    rows, columns = np.mgrid[:120, :160]
    angle = np.degrees(np.arctan2(rows - 60, columns - 80)) % 360
    assert area_inside(outline_of(mask) & ~((angle >= start) & (angle < start + 90))) is None
    assert area_inside(np.zeros((40, 40), bool)) is None


SIZES = {"0.07": 0.07, " 0.1 ": 0.1, "0": None, "-0.1": None, "nan": None, "inf": None, "": None, "70": None}


@pytest.mark.parametrize("text", SIZES)
def test_known_length(text):
    length, doubts = known_length(text)
    assert length == SIZES[text]
    assert len(doubts) == (length is None)


def matrix(sizes, place=(0, 0, 0)):
    "An affine matrix."
    return nib.affines.from_matvec(np.diag(np.array(sizes, float)), place)


AFFINES = {  # kind: affine matrix, code of the forms, size of a pixel
    "measured": (matrix([0.7, 0.7, 5], [-90, -100, 30]), 1, 0.7),
    "measured without a place": (matrix([-0.7, -0.7, 5]), 1, 0.7),
    "identity": (np.eye(4), 1, None),
    "identity, counted from 1": (matrix([1, 1, 1], [1, 1, 1]), 1, None),
    "identity to the left": (matrix([-1, -1, 1]), 1, None),
    "no forms": (None, 0, None),
    "1 mm with a place": (matrix([1, 1, 1], [-90, -100, 30]), 1, 1.0),
    "no squares": (matrix([0.7, 0.9, 5]), 1, None),
    "far too large": (matrix([700, 700, 5]), 1, None),
}


@pytest.mark.parametrize("kind", AFFINES)
def test_identity_affines_are_no_measurement(kind, tmp_path):
    affine, code, expected = AFFINES[kind]
    volume = nib.Nifti1Image(np.zeros((10, 12, 8), np.uint8), affine)
    if affine is not None:
        volume.set_sform(affine, code)
    nib.save(volume, tmp_path / "volume.nii.gz")
    spacing, doubts = known_spacing(tmp_path / "volume.nii.gz")
    assert spacing == (None if expected is None else pytest.approx(expected))
    assert len(doubts) == (expected is None)


def test_unknown_values_are_left_out_and_told(tmp_path):
    members = MINIATURES["lits"][0](tmp_path)
    volume = nib.Nifti1Image.from_bytes(members["Training Batch 1/volume-0.nii"])
    for name in ("volume", "segmentation"):
        array = nib.Nifti1Image.from_bytes(members[f"Training Batch 1/{name}-0.nii"]).dataobj
        stored = nib.Nifti1Image(np.asanyarray(array), np.eye(4))
        members[f"Training Batch 1/{name}-0.nii"] = stored.to_bytes()
    assert volume.header.get_zooms()[0] == pytest.approx(0.7)
    write_folder(tmp_path / "source", members)
    lines = []
    out = prepare("lits", tmp_path / "source", tmp_path / "out", echo=lines.append)
    sizes = {r["id"][:8]: float(r["spacing"]) for r in rows(out / "pixel_size.csv")}
    assert sizes == {"lits_010": pytest.approx(0.7)}
    assert any(line.startswith("unknown: lits_000: its affine is the identity") for line in lines)


@pytest.mark.parametrize("value", [255, 0], ids=["empty", "full"])
def test_masks_that_cannot_be_are_unknown(value, tmp_path):
    members = MINIATURES["refuge"][0](tmp_path)
    with zipfile.ZipFile(io.BytesIO(members["REFUGE2/REFUGE.zip"])) as z:
        inner = {n: z.read(n) for n in z.namelist()}
    inner["REFUGE-Validation400-GT/Disc_Cup_Masks/V0001.bmp"] = encode(
        np.full((96, 128), value, np.uint8), "BMP"
    )
    write_folder(tmp_path / "source", inner)
    lines = []
    out = prepare("refuge", tmp_path / "source", tmp_path / "out", echo=lines.append)
    assert not (out / "masks/V0001.png").exists()
    assert any(line.startswith("unknown: V0001: a mask that covers") for line in lines)


# ---------------------------------------------------------------- one odd item


def replaced(name, changes, tmp_path):
    "A miniature with other members; a function takes the old content."
    members = MINIATURES[name][0](tmp_path)
    for key, change in changes.items():
        assert key in members
        members[key] = change(members[key])
    return members


def reshaped(content):
    "A mask that is wider than its image."
    return encode(np.pad(np.asarray(Image.open(io.BytesIO(content))), ((0, 0), (0, 20))))


def cut(content):
    return content[: len(content) // 2]


CXR = "ChinaSet_AllFiles/CXR_png/CHNCXR_0002_0.png"
ODD = {  # kind: (data set, changes of its miniature, the item, words of the error)
    "mask of another shape": (
        "shenzhen",
        {"mask/mask/CHNCXR_0002_0_mask.png": reshaped},
        "CHNCXR_0002_0",
        "do not",
    ),
    "outline of another shape": (
        "hc18",
        {"training_set/002_HC_Annotation.png": reshaped},
        "002_HC",
        "do not belong",
    ),
    "lung of another shape": (
        "montgomery",
        {"MontgomerySet/ManualMask/leftMask/MCUCXR_0001_1.png": reshaped},
        "MCUCXR_0001_1",
        "do not belong together",
    ),
    "damaged image": ("shenzhen", {CXR: cut}, "CHNCXR_0002_0", "cannot be read"),
    "damaged mask": ("hc18", {"training_set/002_HC_Annotation.png": cut}, "002_HC", "cannot be read"),
    "colours among gray": (
        "shenzhen",
        {CXR: lambda content: encode(disc(3, (80, 90))[0] // np.array([1, 2, 3], np.uint8))},
        "CHNCXR_0002_0",
        "has colours, and most images are gray",
    ),
    "short raw image": ("jsrt", {"All247images/JPCNN002.IMG": cut}, "JPCNN002", "is not a raw image"),
    "damaged volume": (
        "lits",
        {"Training Batch 1/volume-10.nii": cut},
        "lits_010",
        "ends before its last voxel",
    ),
    "missing slice": (
        "chaos_ct",
        {"Train_Sets/CT/2/Ground/liver_GT_003.png": lambda content: None},
        "chaos_02",
        "13 masks",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ODD)
def test_one_odd_item(kind, tmp_path):
    "An error that names the item and --skip-bad; with it the item alone is left out and told."
    name, changes, item, words = ODD[kind]
    members = replaced(name, changes, tmp_path)
    write_folder(tmp_path / "source", {n: content for n, content in members.items() if content is not None})
    with pytest.raises(InputError, match=words) as error:
        prepare(name, tmp_path / "source", tmp_path / "out", echo=silent)
    assert not (tmp_path / "out").exists()
    assert "--skip-bad" in str(error.value)
    lines = []
    out = prepare(name, tmp_path / "source", tmp_path / "out", echo=lines.append, skip_bad=True)
    assert [words in line for line in lines if line.startswith("skipped: ")] == [True]
    assert check_dataset(out).ok
    write_folder(tmp_path / "plain", MINIATURES[name][0](tmp_path))
    plain = prepare(name, tmp_path / "plain", tmp_path / "plain_out", echo=silent)
    for folder in ("images", "masks"):
        others = {p.name for p in (plain / folder).iterdir() if not p.name.startswith(item)}
        assert {p.name for p in (out / folder).iterdir()} == others


CONVERTED = {  # kind: (array that is stored, array that is read, of the other images)
    "gray among colours": (lambda gray: gray, lambda gray: np.dstack([gray] * 3), 3),
    "16 bit among colours": (lambda gray: gray.astype(np.uint16) * 257, lambda gray: None, 3),
    "equal channels among gray": (lambda gray: np.dstack([gray] * 3), lambda gray: gray, 1),
}


@pytest.mark.parametrize("kind", CONVERTED)
def test_channels_are_those_of_most_images(kind, tmp_path):
    stored, expected, channels = CONVERTED[kind]
    members = {}
    for k in range(4):
        image, mask = disc(k, (80, 90))
        usual = image if channels == 3 else image[..., 0]
        members[f"CXR_png/CHNCXR_{k:04}_0.png"] = encode(stored(image[..., 0]) if k == 2 else usual)
        members[f"mask/CHNCXR_{k:04}_0_mask.png"] = encode(mask)
    write_folder(tmp_path / "source", members)
    lines = []
    out = prepare("shenzhen", tmp_path / "source", tmp_path / "out", echo=lines.append)
    assert any(line.startswith("converted: CHNCXR_0002_0") for line in lines)
    image = read_image(out / "images/CHNCXR_0002_0.png")
    gray = disc(2, (80, 90))[0][..., 0]
    if expected(gray) is not None:
        assert (image == expected(gray)).all()
    assert image.shape[2:] == (3,) * (channels == 3)
    assert (read_mask(out / "masks/CHNCXR_0002_0.png") == disc(2, (80, 90))[1]).all()
    assert check_dataset(out).ok


def test_no_usable_item_is_an_error(tmp_path):
    write_folder(tmp_path / "source", {f"CXR_png/CHNCXR_{k:04}_0.png": b"no image" for k in range(3)})
    with pytest.raises(InputError, match="no item can be used: .*CHNCXR_0000_0.png cannot be read"):
        prepare("shenzhen", tmp_path / "source", tmp_path / "out", echo=silent, skip_bad=True)


def test_command(aeseg, tmp_path):
    "The flag, and what is told."
    kind = "mask of another shape"
    write_folder(tmp_path / "source", replaced("shenzhen", ODD[kind][1], tmp_path))
    command = ["prepare", "shenzhen", "--src", tmp_path / "source", "--out", tmp_path / "out"]
    refused(aeseg(*command), "CHNCXR_0002_0.png: the mask is (80, 110)", "--skip-bad")
    done = succeeded(aeseg(*command, "--skip-bad"))
    assert "skipped: CHNCXR_0002_0.png: the mask is (80, 110)" in done.out
    assert "3 images, 2 with a mask" in done.out
    (tmp_path / "Drishti-GS1_files.rar").write_bytes(RAR)
    refused(
        aeseg("prepare", "drishti_gs", "--src", tmp_path / "Drishti-GS1_files.rar", "--out", tmp_path / "x"),
        "unpack it first, with unrar or 7z",
    )
