"""What users often get wrong is told before hours of training, and deletes nothing."""

import zlib

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from aeseg import MaskVAE, NoiseWeightedDiceLoss, VAEDiscriminator
from aeseg.app.decisions import REVIEW_COLUMNS, read_reviews
from aeseg.app.fit import fit, masks_among_images
from aeseg.app.predict import predict
from aeseg.core.errors import InputError
from aeseg.data.check import check_dataset
from aeseg.data.formats import file_id
from aeseg.data.images import read_image
from aeseg.data.official import write_splits
from aeseg.data.phantoms import write_phantoms
from aeseg.evaluation.scores import evaluate
from aeseg.evaluation.true_masks import read_spacing
from aeseg.method.volumes import guessed_slices

FAST = dict(preset="smoke", accelerator="cpu", gan_steps=2, vae_steps=2, segmentation_steps=2, quiet=True)


@pytest.fixture
def heads(tmp_path):
    return write_phantoms(tmp_path / "heads", "fetal_head", count=6, val=2, size=(64, 64))


def rename(folder, names):
    "Give the images and masks of a data set other ids."
    for part in ("images", "masks"):
        for path, name in zip(sorted((folder / part).iterdir()), names):
            path.rename(path.with_name(f"{name}.png"))
    (folder / "splits.csv").unlink()


def test_a_pattern_of_patients_after_a_split_without_one(heads):
    rename(heads, [f"P{k // 2}_{k % 2}" for k in range(6)])
    write_splits(heads, val=0.34)
    write_splits(heads, "^(P[0-9])_", val=0.34, overwrite=True)
    rows = [row.split(",") for row in (heads / "splits.csv").read_text().split()[1:]]
    assert [patient for *_, patient in rows] == ["P0", "P0", "P1", "P1", "P2", "P2"]
    assert len({(split, patient) for _, split, patient in rows}) == 3
    divided = [f"{name},{'val' if name == 'P0_0' else 'train'},{name}\n" for name, *_ in rows]
    (heads / "splits.csv").write_text("id,split,patient\n" + "".join(divided))
    assert "P0" in str(check_dataset(heads, patient="^(P[0-9])_"))


def test_starting_again_keeps_what_the_run_needs(heads):
    run = fit(heads, heads.parent / "run", **FAST)
    before = sorted(run.folder.rglob("*"))
    for given in (dict(labels_of=run.folder), dict(aux_masks=run.folder / "pseudo_labels")):
        with pytest.raises(InputError, match="which --overwrite deletes"):
            fit(heads, run.folder, overwrite=True, **given, **FAST)
    assert sorted(run.folder.rglob("*")) == before


@pytest.mark.parametrize("images", ("", "images"))
@pytest.mark.parametrize("masks", ("", "masks"))
def test_own_masks_are_never_auxiliary(heads, images, masks):
    with pytest.raises(InputError, match="must not enter training"):
        fit(heads / images, heads.parent / "run", aux_masks=heads / masks, **FAST)


def test_masks_under_another_name_beside_the_images(heads):
    (heads / "masks").rename(heads / "annotations")
    with pytest.raises(InputError, match="must not enter training"):
        fit(heads, heads.parent / "run", aux_masks=heads / "annotations", **FAST)


def test_true_masks_are_never_auxiliary(heads):
    (heads / "masks").rename(heads.parent / "masks")
    masks = heads.parent / "masks"
    with pytest.raises(InputError, match="must not enter training"):
        fit(heads, heads.parent / "run", aux_masks=masks, truth=masks, **FAST)


def test_true_masks_of_another_size_cost_no_training(heads):
    "They are opened after the last prediction, so that no training can see them."
    for path in (heads / "masks").iterdir():
        Image.open(path).resize((32, 32), 0).save(path)
    with pytest.raises(InputError, match="size of the image; the training is finished, so mend that"):
        fit(heads, heads.parent / "run", **FAST)
    assert fit(heads, heads.parent / "run", truth=None, resume=True, **FAST).finished


def test_what_is_not_measured_is_told(heads, capsys):
    other = write_phantoms(heads.parent / "other", "fetal_head", count=2, val=0, size=(64, 64))
    for path in (other / "images").iterdir():
        path.rename(path.with_name(f"other_{path.name}"))
    (other / "splits.csv").unlink()
    for path in (other / "masks").iterdir():
        path.unlink()
    (other / "masks").rmdir()
    run = fit([heads, other], heads.parent / "run", spacing=0.5, **FAST)
    told = capsys.readouterr().out
    assert f"ignored: {heads}/masks, because not every folder of images has masks" in told
    assert not (run.folder / "metrics.csv").exists()
    fit([heads, other], run.folder, truth=heads / "masks", resume=True, **FAST)
    assert "ignored: true masks" in capsys.readouterr().out
    fit(other, heads.parent / "blind", spacing=0.5, **FAST)
    assert "ignored: --spacing, because there are no true masks" in capsys.readouterr().out


def test_names_that_look_like_masks_or_slices():
    assert masks_among_images(["a", "a_mask", "b-seg", "b", "mask", "c_mask_1", "c"]) == [
        "a_mask",
        "b-seg",
        "c_mask_1",
    ]
    classes = {f"{kind}_{k:03}": None for kind in ("benign", "malignant") for k in range(3)}
    assert guessed_slices(classes) == list(classes)
    assert guessed_slices(classes, "") == guessed_slices({f"a_slice{k}": None for k in range(4)}) == []


def test_classes_are_not_taken_for_volumes_without_a_word(heads, capsys):
    rename(heads, [f"{kind}_{k:03}" for kind in ("benign", "malignant") for k in range(3)])
    given = dict(FAST, variant="plus", prior="given")
    fit(heads, heads.parent / "run", **given)
    assert "6 images taken for slices of volumes by the numbers in their names" in capsys.readouterr().out
    predict(heads.parent / "run", heads, heads.parent / "out")
    assert "6 images taken for slices of volumes" in capsys.readouterr().out
    fit(heads, heads.parent / "each", volume_pattern="", **given)
    assert "taken for slices" not in capsys.readouterr().out


def test_prediction_needs_no_splits(heads):
    run = fit(heads, heads.parent / "run", **FAST)
    (heads / "splits.csv").write_text("id,split\nfetal_head_0000,train\n")
    assert len(list(predict(run.folder, heads, heads.parent / "out", quiet=True).iterdir())) == 6


def test_a_series_in_the_present_folder_has_its_name(tmp_path, monkeypatch):
    (tmp_path / "scan").mkdir()
    monkeypatch.chdir(tmp_path / "scan")
    assert file_id(".") == "scan"


def test_scores_replace_only_scores(heads):
    masks = heads / "masks"
    for name in ("fetal_head_0000.png", "spacing.csv"):
        file = masks / name
        if not file.exists():
            file.write_text("id,spacing\nfetal_head_0000,1\n")
        before = file.read_bytes()
        with pytest.raises(InputError, match="holds no scores"):
            evaluate(masks, masks, out=file, echo=lambda line: None)
        assert file.read_bytes() == before
    for _ in range(2):
        evaluate(masks, masks, out=heads / "scores.csv", echo=lambda line: None)


def test_ids_that_look_like_names_of_files(heads, tmp_path):
    rename(heads, [f"im{k}.dcm" for k in range(6)])
    table = tmp_path / "spacing.csv"
    table.write_text("id,spacing\n" + "".join(f"im{k}.dcm,0.5\n" for k in range(6)))
    frame = evaluate(heads / "masks", heads, table, echo=lambda line: None)
    assert frame["assd_mm"].eq(0).all()
    assert list(read_spacing(table))[0] == "im0"
    reviews = tmp_path / "reviews.csv"
    reviews.write_text(",".join(REVIEW_COLUMNS) + "\nim0.dcm,rejected,1,,,2026-01-31T10:00:00Z\n")
    assert list(read_reviews(reviews, {"im0.dcm"})[0]) == ["im0.dcm"]
    assert list(read_reviews(reviews)[0]) == ["im0"]


def test_names_that_are_no_text(heads):
    for part in ("images", "masks"):
        path = heads / part / "fetal_head_0000.png"
        path.rename(str(path.with_name("im\udcff.png")))
    (heads / "splits.csv").unlink()
    with pytest.raises(InputError, match="is no UTF-8 text"):
        write_splits(heads)
    with pytest.raises(InputError, match="is no UTF-8 text"):
        evaluate(heads / "masks", heads, echo=lambda line: None)


def test_pictures_of_several_sizes(tmp_path):
    big, small = np.arange(96 * 96, dtype=np.uint8).reshape(96, 96), np.zeros((24, 24), np.uint8)
    with tifffile.TiffWriter(tmp_path / "two.tif") as file:
        file.write(small)
        file.write(big)
    with pytest.raises(InputError, match="holds 2 pictures of several sizes"):
        read_image(tmp_path / "two.tif")
    with tifffile.TiffWriter(tmp_path / "reduced.tif") as file:
        file.write(big)
        file.write(small, subfiletype=1)
    assert (read_image(tmp_path / "reduced.tif") == big).all()


def png(gray, alpha):
    "A PNG file of 16-bit gray with alpha."

    def chunk(kind, data):
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    height, width = gray.shape
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, 4, 0, 0, 0])
    pixels = np.stack([gray, alpha], -1).astype(">u2")
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_deep_gray_with_alpha(tmp_path):
    gray = np.arange(16 * 16).reshape(16, 16) * 256
    (tmp_path / "a.png").write_bytes(png(gray, np.full((16, 16), 65535)))
    image = read_image(tmp_path / "a.png")
    assert (image.reshape(16, 16, -1)[..., 0] == gray // 256).all()


def test_half_precision_and_weights_of_images():
    p, y = torch.rand(16, 1, 256, 256), (torch.rand(16, 1, 256, 256) > 0.5).float()
    loss = NoiseWeightedDiceLoss()
    assert loss(p.half(), y.half()).item() == pytest.approx(loss(p, y).item(), abs=1e-3)
    with pytest.raises(ValueError, match=r"\(N, 1, 1, 1\)"):
        loss(p, y, torch.ones(16))


def test_words_and_sizes_that_the_vae_does_not_know():
    with pytest.raises(ValueError, match="multiples of 32"):
        MaskVAE((100, 96))
    vae = MaskVAE((32, 64))
    for wrong in (dict(code="means"), dict(loss="kl")):
        with pytest.raises(ValueError, match="must be"):
            VAEDiscriminator(vae, **wrong)


def test_a_label_that_no_prediction_holds(heads):
    with pytest.raises(InputError, match="none of the predictions holds the label 7"):
        evaluate(heads / "masks", heads, pred_label=7, echo=lambda line: None)
