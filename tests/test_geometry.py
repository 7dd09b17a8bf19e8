"""Volumes lie where their headers say, and files that belong together are compared before they are paired.

Right values come from nibabel, pydicom and SimpleITK, not from the kit.
"""

import shutil
from functools import partial
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.data import get_testdata_file

import aeseg.app.predict
from aeseg.app.fit import fit
from aeseg.app.predict import predict, shear_notes
from aeseg.core.config import make_config
from aeseg.core.errors import InputError
from aeseg.data.check import check_dataset
from aeseg.data.datasets import find_images, image_paths, image_sources
from aeseg.data.formats import pixel_spacing, volume_header, volume_slices, write_dicom, write_series
from aeseg.data.images import read_image, read_mask, write_mask
from aeseg.data.official import lits
from aeseg.data.volumes import mask_header, pair_slices, write_nifti, write_segmentation, write_volume
from aeseg.evaluation.scores import evaluate
from aeseg.evaluation.true_masks import TrueMasks, truth_on_canvas
from aeseg.shapes.given_masks import load_masks

CT = dict(Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2", PatientName="A")
LPS = np.diag([-0.8, -0.9, 3, 1.0])


def oblique():
    "Axes turned about all three directions, at right angles to each other."
    turns = [np.eye(3) for _ in range(3)]
    for k, turn in enumerate(turns):
        i, j = (m for m in range(3) if m != k)
        turn[i, i] = turn[j, j] = np.cos(0.2 + 0.1 * k)
        turn[i, j], turn[j, i] = -np.sin(0.2 + 0.1 * k), np.sin(0.2 + 0.1 * k)
    affine = np.eye(4)
    affine[:3, :3] = turns[0] @ turns[1] @ turns[2] @ np.diag([-0.8, -0.9, 3])
    affine[:3, 3] = 70, 60, -20
    return affine


AFFINES = {  # axes and origins as scanners and converters write them
    "LPS": LPS,
    "RAS": np.diag([0.8, 0.9, 3, 1.0]),
    "stored head first": np.array([[0, 0, -1.5, 9], [0, -0.8, 0, 5], [-3.0, 0, 0, 40], [0, 0, 0, 1]]),
    "oblique": oblique(),
}
silent = partial(evaluate, echo=lambda sentence: None)


def save(path, array, affine=LPS, kind=nib.Nifti1Image):
    "Write a NIfTI file with nibabel."
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(kind(array, affine), path)
    return path


def organ(shape=(24, 20, 12)):
    "An ellipsoid off the centre, (I, J, K) uint8."
    i, j, k = np.indices(shape)
    return (((i - 9) / 6) ** 2 + ((j - 12) / 5) ** 2 + ((k - 7) / 4) ** 2 < 1).astype(np.uint8)


def series(folder, count=6, step=(0, 0, 3), **tags):
    "A DICOM series whose slices lie at multiples of a step, in mm."
    write_series(folder, np.stack([slab(k) for k in range(count)]), **{**CT, **tags})
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        place = count - data.InstanceNumber
        data.ImagePositionPatient = [round(float(place * s), 4) for s in step]
        data.save_as(path)
    return folder


def slab(k):
    "A slice with a bright square."
    image = np.random.default_rng(k).integers(0, 40, (20, 24)).astype(np.int16)
    image[5:14, 6 : 12 + k] += 150
    return image


@pytest.fixture
def threshold(monkeypatch, tmp_path):
    "`predict` with a threshold in the place of a trained network."
    run = SimpleNamespace(folder=tmp_path, config=make_config("smoke"))

    def apply_model(model, config, pixels, fabric):
        return (pixels[:, :1] > 100).byte() * 255

    monkeypatch.setattr(aeseg.app.predict, "find_run", lambda folder: run)
    monkeypatch.setattr(aeseg.app.predict, "load_model", lambda run, fabric: (None, (32, 32), 1))
    monkeypatch.setattr(aeseg.app.predict, "load_refinement", lambda folder, config: None)
    monkeypatch.setattr(aeseg.app.predict, "apply_model", apply_model)
    return partial(predict, tmp_path)


# ---------------------------------------------------------------- headers


def two_forms(image):
    image.set_qform(AFFINES["RAS"], 1)
    image.set_sform(LPS, 2)


def no_form(image):
    image.set_qform(None, 0)
    image.set_sform(None, 0)


def only_qform(image):
    image.set_qform(LPS, 3)
    image.set_sform(None, 0)


def units(code, image):
    image.header["xyzt_units"] = code


HEADERS = {
    "two forms": two_forms,
    "no form": no_form,
    "only qform": only_qform,
    "metres": partial(units, 1),
    "micrometres": partial(units, 3),
    "seconds, too": partial(units, 2 | 8),
    "no unit": partial(units, 0),
    "scaled": lambda image: image.header.set_slope_inter(2.5, -7),
}
KEPT = "dim pixdim qform_code sform_code quatern_b quatern_c quatern_d qoffset_x qoffset_y qoffset_z"
KEPT = [*KEPT.split(), "srow_x", "srow_y", "srow_z", "xyzt_units"]


@pytest.mark.parametrize("name", [*HEADERS, *AFFINES])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", "<>")
def test_a_nifti_mask_keeps_the_header_of_its_scan(tmp_path, name, kind, order):
    array = organ().astype(np.int16)
    image = kind(array, AFFINES.get(name, LPS))
    HEADERS.get(name, lambda image: None)(image)
    image = kind(array, None, image.header.as_byteswapped(order))
    nib.save(image, tmp_path / "scan.nii.gz")
    slices = ((s.index, s.read() > s.read().min()) for s in volume_slices(tmp_path / "scan.nii.gz"))
    mask = write_volume(tmp_path / "out", tmp_path / "scan.nii.gz", "axial", slices, "nifti")
    scan, mask_image = nib.load(tmp_path / "scan.nii.gz"), nib.load(mask)
    for key in KEPT:
        assert np.array_equal(scan.header[key], mask_image.header[key]), key
    assert (mask_image.get_fdata() == array).all()
    if kind is nib.Nifti1Image:  # SimpleITK reads no NIfTI-2
        pair = [sitk.ReadImage(path) for path in (tmp_path / "scan.nii.gz", mask)]
        for place in ("GetOrigin", "GetDirection", "GetSpacing"):
            assert getattr(pair[0], place)() == getattr(pair[1], place)()


@pytest.mark.parametrize(("code", "mm"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (2 | 16, 1)])
def test_lengths_are_in_mm(tmp_path, code, mm):
    image = nib.Nifti1Image(organ(), LPS)
    image.header["xyzt_units"] = code
    nib.save(image, tmp_path / "a.nii")
    assert np.allclose(volume_header(tmp_path / "a.nii")[1][:3], LPS[:3] * mm)
    assert np.allclose(sitk.ReadImage(tmp_path / "a.nii").GetSpacing(), np.array([0.8, 0.9, 3]) * mm)
    assert np.allclose(pixel_spacing(volume_slices(tmp_path / "a.nii")[0]), np.array([0.9, 0.8]) * mm)


@pytest.mark.parametrize("shape", [(24, 20), (24, 20, 1), (24, 20, 1, 1), (24, 1, 20), (1, 24, 20)])
@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_a_flat_volume_is_one_image_however_it_lies(tmp_path, threshold, shape, axis):
    "Its id is that of the file, and its mask has its shape."
    array = (np.arange(480).reshape(24, 20) % 256).astype(np.uint8).reshape(shape)
    save(tmp_path / "set/c.nii.gz", array)
    (source,) = image_sources(tmp_path / "set/c.nii.gz", axis)
    assert source.stem == "c"
    assert sorted(source.read().ravel()) == sorted(array.ravel())
    assert sorted(source.read().shape) == [20, 24]
    mask = nib.load(threshold(tmp_path / "set", tmp_path / "out") / "c.nii.gz")
    assert mask.shape == shape[:3]
    assert mask.header["dim"][0] == min(len(shape), 3)


# ---------------------------------------------------------------- series


STEPS = {
    "upright": (0, 0, 3),
    "gantry tilt": (0, -1.1, 3),
    "sheared stack": (0.7, 0.4, 2),
    "downwards": (0, 0, -3),
}


def place_in_file(path, affine, index):
    "Where the first pixel of a slice lies for an affine matrix of NIfTI, in the coordinates of DICOM."
    return (affine @ [0, 0, index, 1])[:3] * [-1, -1, 1]


@pytest.mark.parametrize("name", STEPS)
def test_each_slice_lies_at_its_position(tmp_path, name):
    folder = series(tmp_path / "scan", step=STEPS[name])
    masks = ((k, np.zeros((20, 24))) for k in range(6))
    mask = nib.load(write_volume(tmp_path, folder, "axial", masks, "nifti"))
    files = sorted(map(pydicom.dcmread, folder.iterdir()), key=lambda d: float(d.ImagePositionPatient[2]))
    for index, data in enumerate(files):
        assert np.allclose(place_in_file(mask, mask.affine, index), data.ImagePositionPatient, atol=1e-3)
    assert bool(mask.header["qform_code"]) == (name in ("upright", "downwards"))
    assert mask.header.get_xyzt_units()[0] == "mm"
    if name in ("upright", "downwards"):  # SimpleITK refuses a shear
        stack = sitk.ImageSeriesReader()
        stack.SetFileNames([str(d.filename) for d in files])
        image, own = stack.Execute(), sitk.ReadImage(tmp_path / "scan.nii.gz")
        for place in ("GetOrigin", "GetDirection", "GetSpacing"):
            assert np.allclose(getattr(image, place)(), getattr(own, place)(), atol=1e-5)
    else:
        (note,) = shear_notes(find_images(tmp_path / "scan")[0], "nifti")
        assert "gantry tilt" in note


def test_the_step_is_the_mean_of_uneven_steps(tmp_path):
    folder = series(tmp_path / "scan")
    heights = [0, 3.1, 5.9, 9, 12.1, 15.3]
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        data.ImagePositionPatient[2] = heights[6 - data.InstanceNumber]
        data.save_as(path)
    assert np.isclose(volume_header(folder)[1][2, 2], 15.3 / 5)


BENT = {
    "one slice aside": (lambda k, place: [4 * (k == 3), 0, place], "straight line"),
    "a missing slice": (lambda k, place: [0, 0, place + 3 * (k > 2)], "missing"),
    "a repeated slice": (lambda k, place: [0, 0, place - 3 * (k > 2)], "duplicated"),
}


@pytest.mark.parametrize("name", BENT)
def test_a_stack_that_is_not_straight_is_refused(tmp_path, name):
    folder, (move, words) = series(tmp_path / "scan"), BENT[name]
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        k = 6 - data.InstanceNumber
        data.ImagePositionPatient = [float(v) for v in move(k, 3 * k)]
        data.save_as(path)
    with pytest.raises(InputError, match=words):
        volume_header(folder)


def without_pixels(path, data, sop_class="1.2.840.10008.5.1.4.1.1.88.11"):
    for key in ("PixelData", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient"):
        delattr(data, key)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop_class
    data.save_as(path)


OTHERS = {
    "DICOMDIR": "1.2.840.10008.1.3.10",
    "report.dcm": "1.2.840.10008.5.1.4.1.1.88.11",
    "state.dcm": "1.2.840.10008.5.1.4.1.1.11.1",
    "plan.dcm": "1.2.840.10008.5.1.4.1.1.481.5",
    "document.dcm": "1.2.840.10008.5.1.4.1.1.104.1",
    "unknown.dcm": "1.2.3.4",
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("own_series", [False, True])
def test_files_without_pixels_are_left_out_of_a_series_and_told(tmp_path, name, own_series):
    folder = series(tmp_path / "set/images/scan")
    data = pydicom.dcmread(next(folder.iterdir()))
    if own_series:
        data.SeriesInstanceUID = "1.2.3"
    without_pixels(folder / name, data, OTHERS[name])
    assert len(image_paths(tmp_path / "set")) == 6
    assert name in find_images(tmp_path / "set")[2][0]
    report = check_dataset(tmp_path / "set")
    assert report.ok
    assert any(name in warning for warning in report.warnings)


def test_files_without_pixels_beside_pictures_are_no_images(tmp_path):
    write_dicom(tmp_path / "p1.dcm", slab(0))
    without_pixels_file = pydicom.dcmread(tmp_path / "p1.dcm")
    del without_pixels_file.PixelData
    without_pixels_file.SOPClassUID = without_pixels_file.file_meta.MediaStorageSOPClassUID = OTHERS[
        "DICOMDIR"
    ]
    without_pixels_file.save_as(tmp_path / "DICOMDIR")
    assert list(image_paths(tmp_path)) == ["p1"]


def test_a_series_may_be_given_as_the_folder_of_images(tmp_path, threshold):
    folder = series(tmp_path / "scan")
    out = threshold(folder, tmp_path / "out")
    assert [p.name for p in out.iterdir()] == ["scan.dcm"]
    report = check_dataset(folder)
    assert report.ok
    assert report.facts["images"] == "6 (dcm)"
    for k in range(3):  # pictures of several series stay pictures
        write_dicom(tmp_path / f"pictures/p{k}.dcm", slab(k)) if k else (tmp_path / "pictures").mkdir()
    assert list(image_paths(tmp_path / "pictures")) == ["p1", "p2"]


# ---------------------------------------------------------------- DICOM SEG


@pytest.mark.parametrize("name", STEPS)
def test_a_written_segmentation_is_read_as_written(tmp_path, name):
    folder = series(tmp_path / "scan", step=STEPS[name])
    expected = np.stack([slab(k) > 100 for k in range(6)])
    expected = expected[::-1] if name == "downwards" else expected
    path = write_volume(tmp_path, folder, "axial", enumerate(expected), "seg")
    assert np.allclose(volume_header(path)[1], volume_header(folder)[1], atol=1e-3)
    assert (np.stack([read_mask(s) for s in volume_slices(path)]) == expected).all()
    first, second = volume_slices(folder)[0], volume_slices(path)[0]
    assert pair_slices(first, second)[0].like is None  # of one grid


@pytest.mark.parametrize("kept", [slice(2, 5), slice(0, 1), slice(3, 4), [1, 4]])
@pytest.mark.parametrize("swapped", [False, True])
def test_frames_that_a_segmentation_leaves_out_are_empty(tmp_path, kept, swapped):
    "As other programs write them; both as prediction and as truth."
    folder = series(tmp_path / "scan")
    masks = np.stack([slab(k) > 100 for k in range(6)])
    files = [p for p in sorted(folder.iterdir(), reverse=True)]
    numbers = np.arange(6)[kept]
    (tmp_path / "seg").mkdir()
    write_segmentation(tmp_path / "seg/scan.dcm", [files[k] for k in numbers], masks[numbers])
    write_volume(tmp_path / "nii", folder, "axial", ((k, masks[k]) for k in numbers), "nifti")
    folders = (tmp_path / "nii", tmp_path / "seg")
    frame = silent(*folders[:: -1 if swapped else 1])
    assert frame.dice.tolist() == [1]
    assert frame.id.tolist() == ["scan"]


def test_the_segments_of_a_file_are_labels(tmp_path):
    highdicom = pytest.importorskip("highdicom")
    from aeseg.data.volumes import _segment

    folder = series(tmp_path / "scan")
    files = [pydicom.dcmread(p) for p in sorted(folder.iterdir(), reverse=True)]
    labels = np.stack([(slab(k) > 100).astype(np.uint8) for k in range(6)])
    labels[:, 8:] *= 2
    described = [_segment(highdicom, name) for name in ("one", "two")]
    described[1].SegmentNumber = 2
    uids = dict(series_instance_uid=highdicom.UID(), sop_instance_uid=highdicom.UID())
    makers = dict.fromkeys(("manufacturer", "manufacturer_model_name", "software_versions"), "x")
    (tmp_path / "seg").mkdir()
    highdicom.seg.Segmentation(
        files,
        labels,
        "BINARY",
        described,
        series_number=1,
        instance_number=1,
        device_serial_number="1",
        **uids,
        **makers,
    ).save_as(tmp_path / "seg/scan.dcm")
    slices = volume_slices(tmp_path / "seg/scan.dcm")
    assert (np.stack([s.read() for s in slices]) == labels).all()
    assert (np.stack([read_mask(s, 2) for s in slices]) == (labels == 2)).all()
    with pytest.raises(InputError, match="3 values"):
        read_mask(slices[0])


TYPE_2 = (
    "PatientID PatientName PatientBirthDate PatientSex StudyID StudyDate StudyTime AccessionNumber"
    " ReferringPhysicianName PositionReferenceIndicator SeriesNumber InstanceNumber"
).split()


@pytest.mark.parametrize("missing", [*TYPE_2, "all"])
def test_elements_that_anonymisers_remove_are_written_empty(tmp_path, threshold, missing):
    folder = series(tmp_path / "set/scan")
    for path in folder.iterdir():
        data = pydicom.dcmread(path)
        for key in TYPE_2[:-1] if missing == "all" else [missing]:
            if key in data:
                delattr(data, key)
        data.save_as(path)
    threshold(tmp_path / "set", tmp_path / "out")
    written = pydicom.dcmread(tmp_path / "out/scan.dcm")
    for key in TYPE_2[:9]:
        assert key in written


# ---------------------------------------------------------------- pairs


def write_pair(folder, change):
    "A scan, its mask as prediction, and a true mask that was changed."
    mask = organ()
    save(folder / "set/images/c.nii.gz", (mask * 100).astype(np.int16))
    save(folder / "pred/c.nii.gz", mask)
    array, affine = change(mask)
    save(folder / "set/masks/c.nii.gz", array, affine)
    return mask


def shifted(mm):
    affine = LPS.copy()
    affine[:3, 3] += mm
    return affine


def stored_otherwise(mask):
    image = nib.as_closest_canonical(nib.Nifti1Image(mask, LPS))
    return np.asarray(image.dataobj), image.affine


PAIRS = {  # change of the true mask -> the kind of difference
    "equal": (lambda m: (m, LPS), None),
    "stored in another order": (stored_otherwise, None),
    "rounded header": (lambda m: (m, shifted(0.02)), None),
    "identity": (lambda m: (m, np.eye(4)), "header"),
    "half a voxel": (lambda m: (m, shifted([0.4, 0, 0])), "header"),
    "one slice up": (lambda m: (m, shifted([0, 0, 3])), "header"),
    "mirrored": (lambda m: (m, LPS @ np.diag([-1, 1, 1, 1.0])), "header"),
    "other spacing": (lambda m: (m, LPS @ np.diag([1, 1, 2, 1.0])), "header"),
    "turned by the header": (lambda m: (m, LPS[:, [2, 1, 0, 3]]), "header"),
    "fewer slices": (lambda m: (m[:, :, :8], LPS), "size"),
    "more slices": (lambda m: (np.concatenate([m, m], 2), LPS), "size"),
    "other plane": (lambda m: (m[2:], LPS), "size"),
    "transposed": (lambda m: (m.transpose(1, 0, 2), LPS), "size"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_volumes_that_do_not_belong_together_are_told(tmp_path, name):
    change, kind = PAIRS[name]
    mask = write_pair(tmp_path, change)
    truth, warned = tmp_path / "set/masks", None
    report = check_dataset(tmp_path / "set")
    said = {"size": report.errors, "header": report.warnings}
    if kind is None:
        assert silent(tmp_path / "pred", truth).dice.tolist() == [1]
        assert not any("header" in s or "slices of" in s for s in report.errors + report.warnings)
        return
    words = {"size": "two volumes of one size", "header": "give --geometry voxels"}
    for folder in (truth, tmp_path / "set"):
        with pytest.raises(InputError, match=words[kind]) as error:
            silent(tmp_path / "pred", folder)
        assert "masks/c.nii.gz" in str(error.value)
    warned = [s for s in said[kind] if "masks/c.nii.gz" in s]
    assert len(warned) == 1
    assert "images/c.nii.gz" in warned[0]
    assert report.ok == (kind == "header")
    if kind == "header":
        assert silent(tmp_path / "pred", truth, geometry="voxels").dice.tolist() == [1]
        assert silent(tmp_path / "pred", tmp_path / "set", geometry="voxels").dice.tolist() == [1]
    assert mask.any()


@pytest.mark.parametrize("name", ["fewer slices", "other plane", "one slice up", "more slices", "equal"])
def test_a_prediction_is_resampled_where_that_is_asked_for(tmp_path, name):
    "As SimpleITK resamples it."
    write_pair(tmp_path, PAIRS[name][0])
    paths = [tmp_path / folder / "c.nii.gz" for folder in ("pred", "set/masks")]
    images = [sitk.ReadImage(path) for path in paths]
    resampled = sitk.Resample(images[0], images[1], sitk.Transform(), sitk.sitkNearestNeighbor)
    p, t = (sitk.GetArrayFromImage(image) > 0 for image in (resampled, images[1]))
    frame = silent(tmp_path / "pred", tmp_path / "set/masks", geometry="resample")
    assert np.isclose(frame.dice[0], 2 * (p & t).sum() / (p.sum() + t.sum()))


def test_pictures_of_slices_are_counted(tmp_path):
    mask = organ()
    save(tmp_path / "pred/c.nii.gz", mask[:, :, :8])
    for k, s in enumerate(volume_slices(save(tmp_path / "whole.nii", mask))):
        write_mask(tmp_path / f"truth/c_{k:03}.png", s.read() > 0)
    with pytest.raises(InputError, match="has 8 slices and its true mask has 12"):
        silent(tmp_path / "pred", tmp_path / "truth")
    save(tmp_path / "pred/c.nii.gz", mask)
    assert silent(tmp_path / "pred", tmp_path / "truth").dice.tolist() == [1]


@pytest.mark.parametrize("name", ["identity", "fewer slices"])
def test_fit_compares_before_it_trains(tmp_path, name):
    write_pair(tmp_path, PAIRS[name][0])
    with pytest.raises(InputError, match=r"masks/c.nii.gz"):
        fit(tmp_path / "set", tmp_path / "run", preset="smoke", accelerator="cpu", quiet=True)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("no_report")
def test_fit_measures_with_voxels_that_correspond(tmp_path):
    mask = write_pair(tmp_path, PAIRS["identity"][0])
    labels = mask.copy()
    labels[:9] *= 2
    save(tmp_path / "set/masks/c.nii.gz", labels, np.eye(4))
    options = dict(preset="smoke", accelerator="cpu", quiet=True, size=32, gan_steps=2, vae_steps=2)
    run = fit(tmp_path / "set", tmp_path / "run", geometry="voxels", label=[1, 2], **options)
    pngs = sorted((run.folder / "predictions").iterdir())
    assert len(pngs) == 12
    masks = TrueMasks(tmp_path / "set", label=[1, 2], geometry="voxels")
    for s in volume_slices(tmp_path / "pred/c.nii.gz"):
        assert (masks[s.stem] == s.read()).all()
    assert run.provenance["truth_reading"] == dict(axis="axial", label=[1, 2], geometry="voxels")


def test_auxiliary_masks_are_compared_with_their_images(tmp_path):
    write_pair(tmp_path, PAIRS["identity"][0])
    with pytest.raises(InputError, match="give --geometry voxels"):
        load_masks(tmp_path / "set", (32, 32))
    right, broken = (load_masks(tmp_path / f, (32, 32), geometry="voxels") for f in ("pred", "set"))
    assert (right == broken).all()


def test_a_mask_of_another_size_is_not_stretched(tmp_path):
    from aeseg.data.datasets import load_images

    for name, shape in (("images", (40, 60)), ("masks", (20, 30))):
        mask = np.zeros(shape, bool)
        mask[5:15, 5:15] = True
        write_mask(tmp_path / f"{name}/a.png", mask)
    with pytest.raises(InputError, match="of the size of the image"):
        truth_on_canvas(TrueMasks(tmp_path), load_images(tmp_path, size=32))


def test_masks_of_lits_lie_on_their_scans(tmp_path):
    ct = np.full((64, 64, 14), -1000, np.int16)
    ct[8:29, 30:51, 3:11] = 130
    scan = np.diag([-0.84, 0.84, 2.5, 1])
    scan[:3, 3] = 209, -213, -633
    affines = {0: scan, 28: np.eye(4), 53: np.eye(4)}
    for n, affine in affines.items():
        save(tmp_path / f"volume-{n}.nii", ct, scan if n != 28 else np.eye(4))
        save(tmp_path / f"segmentation-{n}.nii", (ct > 0).astype(np.uint8), affine)
    items = list(lits({p.name: p for p in tmp_path.iterdir()}))
    assert {item.patient for item in items} == {"lits_000", "lits_028", "lits_053"}
    for item in items:
        assert (item.mask == (item.image > 100)).all()
        assert item.spacing is None if item.patient == "lits_028" else np.isclose(item.spacing, 0.84)
    save(tmp_path / "segmentation-53.nii", (ct > 0).astype(np.uint8)[:, :, 4:], scan)
    with pytest.raises(InputError, match="segmentation-53.nii has 10 slices"):
        list(lits({p.name: p for p in tmp_path.iterdir()}))


# ---------------------------------------------------------------- what cannot be used


def cut(path):
    path.write_bytes(path.read_bytes()[:-2000])


def with_nan(path):
    array = nib.load(path).get_fdata()
    array[:4] = np.nan
    save(path, array.astype(np.float32))


def no_volume(path):
    path.write_bytes(b"no volume")


DAMAGE = dict(cut=cut, nan=with_nan, text=no_volume)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_bad_volume_is_skipped(tmp_path, threshold, capsys, damage):
    for name in "abc":
        values = np.random.default_rng(0).integers(0, 200, (24, 20, 12))
        save(tmp_path / f"set/{name}.nii.gz", values.astype(np.int16))
    DAMAGE[damage](tmp_path / "set/b.nii.gz")
    with pytest.raises(InputError, match=r"b\.nii\.gz"):
        threshold(tmp_path / "set", tmp_path / "out")
    out = threshold(tmp_path / "set", tmp_path / "out", skip_bad=True)
    assert sorted(p.name for p in out.iterdir()) == ["a.nii.gz", "c.nii.gz"]
    said = capsys.readouterr().out
    assert said.count("skipped: ") == 1
    assert "b.nii.gz" in said


def test_a_mask_that_cannot_be_written_is_skipped(tmp_path, threshold, capsys):
    for name in "abc":
        series(tmp_path / f"set/{name}")
    for path in (tmp_path / "set/b").iterdir():
        data = pydicom.dcmread(path)
        del data.StudyInstanceUID  # may not be empty
        data.save_as(path)
    with pytest.raises(InputError, match="cannot be written as DICOM SEG"):
        threshold(tmp_path / "set", tmp_path / "out")
    threshold(tmp_path / "set", tmp_path / "skipped", skip_bad=True)
    assert sorted(p.name for p in (tmp_path / "skipped").iterdir()) == ["a.dcm", "c.dcm"]
    assert "b.dcm cannot be written" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "set/a")
    shutil.rmtree(tmp_path / "set/c")
    with pytest.raises(InputError, match="no mask of the 6 images"):
        threshold(tmp_path / "set", tmp_path / "none", skip_bad=True)


# ---------------------------------------------------------------- compressed pixels


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("SC_rgb_jpeg_gdcm.dcm", (100, 100, 3)),  # JPEG Lossless
        ("JPGExtended.dcm", (1024, 256)),  # 12 bits
        ("JPEG2000.dcm", (1024, 256)),
    ],
)
def test_compressed_dicom_is_read_as_pydicom_reads_it(name, shape):
    pytest.importorskip("libjpeg")
    path = get_testdata_file(name, download=False)
    data = pydicom.dcmread(path)
    assert read_image(path).shape == shape
    assert (read_image(path) == data.pixel_array).all()


def test_the_remedy_of_a_missing_decoder_helps(monkeypatch):
    path = get_testdata_file("JPEG-lossy.dcm", download=False)  # which no decoder of the extra reads
    with pytest.raises(InputError, match="uncompressed"):
        read_image(path)
    monkeypatch.setattr("aeseg.data.formats.is_installed", lambda name: False)
    with pytest.raises(InputError, match=r"pip install 'aeseg\[dicom\]' has those of JPEG Lossless"):
        read_image(path)


# ---------------------------------------------------------------- values of masks


VALUES = {  # outside and inside, type
    "0 and 1": (0, 1, np.uint8),
    "0 and 255": (0, 255, np.uint8),
    "0 and 65535": (0, 65535, np.uint16),
    "0 and 2": (0, 2, np.uint8),
    "1 and 2": (1, 2, np.uint8),
    "0 and 0.5": (0, 0.5, np.float32),
    "-1 and 0": (-1, 0, np.int16),
}


@pytest.mark.parametrize("name", VALUES)
def test_a_mask_has_two_values_whatever_they_are(tmp_path, name):
    outside, inside, dtype = VALUES[name]
    array = np.where(organ(), inside, outside).astype(dtype)  # the first slices are empty
    save(tmp_path / "truth/c.nii.gz", array)
    save(tmp_path / "pred/c.nii.gz", organ())
    assert silent(tmp_path / "pred", tmp_path / "truth").dice.tolist() == [1]


def label_map():
    labels = organ()
    labels[:, 12:] *= 2
    labels[:, :, 8:] *= 3  # 0, 1, 2, 3, 6
    return labels


LABELS = [("1", [1]), ("1,2", [1, 2]), ("6", [6]), ([2, 3], [2, 3]), (1, [1]), ("1,2,3,6", [1, 2, 3, 6])]


@pytest.mark.parametrize(("label", "values"), LABELS)
def test_labels_choose_what_is_inside(tmp_path, label, values):
    labels = label_map()
    inside = np.isin(labels, values)
    save(tmp_path / "truth/c.nii.gz", labels)
    save(tmp_path / "pred/c.nii.gz", organ())
    dice = 2 * inside.sum() / (inside.sum() + organ().sum())
    assert np.isclose(silent(tmp_path / "pred", tmp_path / "truth", label=label).dice[0], dice)
    expected = (inside.any((0, 1))).sum()
    assert len(load_masks(tmp_path / "truth", (32, 32), label=label)) == expected
    assert check_dataset(tmp_path / "truth").facts["images"] == "12 (nii)"
    shutil.move(tmp_path / "truth", tmp_path / "set/masks")
    assert check_dataset(tmp_path / "set", label=label).ok
    report = check_dataset(tmp_path / "set")
    assert [s for s in report.errors if "is not a binary mask" in s] == report.errors
    assert len(report.errors) == 1  # once for all slices


def test_a_slice_of_a_label_map_is_no_mask(tmp_path):
    "Although it holds two values."
    labels = organ()
    labels[:, :, 8:] *= 2
    save(tmp_path / "truth/c.nii.gz", labels)
    save(tmp_path / "pred/c.nii.gz", organ())
    with pytest.raises(InputError, match="3 values.*give --label"):
        silent(tmp_path / "pred", tmp_path / "truth")
    with pytest.raises(InputError, match="none of the true masks holds the label 5"):
        silent(tmp_path / "pred", tmp_path / "truth", label=5)
    assert silent(tmp_path / "truth", tmp_path / "pred", pred_label=[1, 2]).dice.tolist() == [1]


def test_a_sheared_header_is_written_once(tmp_path):
    affine = LPS.copy()
    affine[1, 2] = 1.1
    folder = series(tmp_path / "scan", step=(0, -1.1, 3))
    header = mask_header(folder)
    write_nifti(tmp_path / "m.nii.gz", np.zeros((24, 20, 6), np.uint8), header)
    with pytest.raises(RuntimeError, match="orthonormal"):  # rather than a mask in the wrong place
        sitk.ReadImage(tmp_path / "m.nii.gz")


@pytest.mark.parametrize(
    "directions", [[1, 0, 0, 0, 1, 0], [-1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1], [0, 0, -1, 0, -1, 0]]
)
def test_the_mask_of_a_dicom_picture_is_not_turned(tmp_path, threshold, directions):
    "A picture is read as it is stored, and so are its mask as DICOM SEG and its true mask."
    tags = dict(
        CT, ImageOrientationPatient=directions, ImagePositionPatient=[0, 0, 0], PixelSpacing=[0.9, 0.8]
    )
    (tmp_path / "set/images").mkdir(parents=True)
    write_dicom(tmp_path / "set/images/p.dcm", slab(2), FrameOfReferenceUID="1.2.3", SliceThickness=1, **tags)
    seg = threshold(tmp_path / "set", tmp_path / "seg")
    png = threshold(tmp_path / "set", tmp_path / "png", format="png")
    assert read_mask(png / "p.png").any()
    for pair in ((seg, png), (png, seg), (seg, seg)):
        frame = silent(*pair)
        assert frame.dice.tolist() == [1]
    shutil.copytree(seg, tmp_path / "set/masks")
    assert (TrueMasks(tmp_path / "set")["p"] == read_mask(png / "p.png")).all()
