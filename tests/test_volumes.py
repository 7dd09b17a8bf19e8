"""Volumes and DICOM from end to end: `fit`, `predict` and `evaluate` on a folder of medical files."""

import sys
from functools import cache

import nibabel as nib
import numpy as np
import pandas as pd
import pydicom
import pytest
from commands import SMALL

import aeseg.app.report
from aeseg.app.fit import fit
from aeseg.app.predict import predict
from aeseg.core.errors import InputError
from aeseg.data.datasets import image_paths
from aeseg.data.formats import volume_header, volume_slices, write_dicom, write_series
from aeseg.data.images import apply_window, read_image, read_mask
from aeseg.data.phantoms import phantom
from aeseg.evaluation.scores import evaluate

# stored head first, and left to right
AFFINE = np.array([[0, 0, -1.5, 9], [0, -0.8, 0, 5], [-3.0, 0, 0, 40], [0, 0, 0, 1]])
CT = dict(
    RescaleSlope="1",
    RescaleIntercept="-1000",
    Modality="CT",
    PatientName="A",
    SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
)
FAST = {**SMALL, "gan_steps": 2, "segmentation_steps": 2}
pytestmark = pytest.mark.usefixtures("no_report")


@cache
def scan(seed, slices=9):
    "Slices (from the feet) in Hounsfield units and their masks. Not to be changed: copy them."
    images, masks = zip(*[phantom("fetal_head", 10 * seed + k, (40, 48)) for k in range(slices)])
    return np.stack(images).astype(np.int16) * 2 - 200, np.stack(masks) > 0


def nifti(path, array):
    "Write (slices, rows, columns) in the order of `AFFINE`."
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array[::-1], AFFINE), path)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory):
    "Two NIfTI volumes and a DICOM series with true masks; the series is for validation."
    folder = tmp_path_factory.mktemp("hospital")
    for name, seed in (("a", 0), ("b", 1)):
        image, mask = scan(seed)
        nifti(folder / f"images/{name}.nii.gz", image)
        nifti(folder / f"masks/{name}.nii.gz", mask.astype(np.uint8))
    image, mask = scan(2)
    write_series(folder / "images/c", (image + 1000).astype(np.uint16), (3, 0.8, 1.5), PatientID="7", **CT)
    affine = volume_header(folder / "images/c")[1]
    nib.save(nib.Nifti1Image(mask.astype(np.uint8).transpose(2, 1, 0), affine), folder / "masks/c.nii")
    (folder / "splits.csv").write_text("id,split\na,train\nb,train\nc,val\n")
    return folder


@pytest.fixture(scope="module")
def run(hospital, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aeseg.app.report, "write_report", lambda run, pictures: None)
        return fit(hospital, tmp_path_factory.mktemp("run") / "run", window=[-150, 250], **FAST)


def test_slices_lie_alike(hospital):
    "Slices and masks are those that were written, in any order of the file."
    for name, seed in (("a.nii.gz", 0), ("c", 2)):
        for k, s in enumerate(volume_slices(hospital / "images" / name)):
            assert (s.read() == scan(seed)[0][k]).all(), name
    for k, s in enumerate(volume_slices(hospital / "masks/c.nii")):
        assert (read_mask(s) == scan(2)[1][k]).all()


def test_fit_measures_slices_in_mm(run):
    frame = pd.read_csv(run.folder / "metrics.csv")
    final = frame[frame.stage == "final"]
    assert len(final) == 27
    assert final.assd_mm.notna().all()
    assert final.split.value_counts().to_dict() == {"train": 18, "val": 9}
    names = sorted(p.name for p in (run.folder / "predictions").iterdir())
    assert names[:2] == ["a_000.png", "a_001.png"]
    assert run.config.images.window == [-150, 250]


def test_predict_writes_the_geometry_of_each_scan(run, hospital, tmp_path):
    out = predict(run.folder, hospital, tmp_path / "out")
    assert sorted(p.name for p in out.iterdir()) == ["a.nii.gz", "b.nii.gz", "c.dcm"]
    for k, s in enumerate(volume_slices(out / "a.nii.gz")):
        assert (read_mask(s) == read_mask(run.folder / f"predictions/a_{k:03}.png")).all()
    assert (volume_header(out / "a.nii.gz")[1] == volume_header(hospital / "images/a.nii.gz")[1]).all()
    segmentation = pydicom.dcmread(out / "c.dcm")
    assert (segmentation.Modality, segmentation.PatientID) == ("SEG", "7")
    pixels = sum(int(read_mask(run.folder / f"predictions/c_{k:03}.png").sum()) for k in range(9))
    assert int((segmentation.pixel_array > 0).sum()) == pixels


def test_predict_as_nifti_smoothed_and_measured(run, hospital, tmp_path):
    out = predict(run.folder, hospital, tmp_path / "out", format="nifti", smooth=1, largest=True)
    frame = evaluate(out, hospital, echo=lambda s: None)
    assert frame.id.tolist() == ["a", "b", "c"]
    assert frame.assd_mm.notna().all()
    assert "assd_px" not in frame
    pngs = predict(run.folder, hospital, tmp_path / "png", format="png")
    frame = evaluate(pngs, hospital, echo=lambda s: None)
    assert len(frame) == 27
    assert frame.assd_mm.notna().all()


def test_a_window_is_the_same_for_every_image(hospital):
    image = read_image(image_paths(hospital)["a_004"])
    assert (apply_window(image, [-200, 310]) == (image + 200) // 2).mean() > 0.99


@pytest.mark.slow
def test_coronal_slices(hospital, tmp_path):
    run = fit(hospital, tmp_path / "run", axis="coronal", **FAST)
    assert len(run.provenance["skipped"]) == 0
    assert run.provenance["images"] == 3 * 40
    out = predict(run.folder, hospital, tmp_path / "out", format="nifti")
    for k, s in enumerate(volume_slices(out / "b.nii.gz", "coronal")):
        assert (read_mask(s) == read_mask(run.folder / f"predictions/b_{k:03}.png")).all()


def test_two_dimensional_dicom(run, tmp_path):
    "A DICOM file is an image; its mask is a DICOM SEG or, on request, a PNG."
    folder = tmp_path / "xray"
    (folder / "images").mkdir(parents=True)
    image = scan(0)[0][0]
    tags = dict(PatientName="A", PixelSpacing=[0.2, 0.4])
    for name in ("p1", "p2.dcm"):
        write_dicom(folder / "images" / name, image, PatientID=name[:2], **tags)
    segmentations = predict(run.folder, folder, tmp_path / "seg")
    assert sorted(p.name for p in segmentations.iterdir()) == ["p1.dcm", "p2.dcm"]
    pngs = predict(run.folder, folder, tmp_path / "png", format="png")
    segmentation = pydicom.dcmread(segmentations / "p1.dcm").pixel_array.squeeze()
    assert (read_mask(pngs / "p1.png") == (segmentation > 0)).all()


def test_impossible_requests_are_refused_before_any_work(run, hospital, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(InputError, match=r"pip install 'aeseg\[dicom\]'"):
        predict(run.folder, hospital, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="format='nfiti' is unknown; did you mean 'nifti'"):
        predict(run.folder, hospital, tmp_path / "out", format="nfiti")
    with pytest.raises(InputError, match="holds data that the masks would replace"):
        predict(run.folder, hospital, hospital / "images")
