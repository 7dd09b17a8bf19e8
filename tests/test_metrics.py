"""Scores of masks: known numbers, a second implementation, and errors of `evaluate` and `read_spacing`."""

import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter

from aeseg.core.errors import InputError
from aeseg.data.images import write_mask
from aeseg.evaluation.metrics import area_and_shift, mask_metrics, surface_distances
from aeseg.evaluation.scores import evaluate, summarise
from aeseg.evaluation.true_masks import TrueMasks, read_spacing

SQUARE = np.zeros((60, 80), bool)
SQUARE[20:40, 20:40] = True  # side 20, image diagonal 100
EMPTY = np.zeros_like(SQUARE)
NAMES = "dice iou assd_px hd95_px assd_mm hd95_mm".split()


def shifted(rows, columns):
    "The square, moved."
    return np.roll(SQUARE, (rows, columns), (0, 1))


# (arguments, (prediction, truth), expected numbers in the order of NAMES; nan: not checked)
KNOWN = [
    ({}, (SQUARE, SQUARE), (1, 1, 0, 0)),
    ({}, (shifted(0, 1), SQUARE), (19 / 20, 19 / 21, 0.5, 1)),
    ({}, (shifted(1, 0), SQUARE), (19 / 20, 19 / 21, 0.5, 1)),
    ({}, (shifted(0, 5), SQUARE), (15 / 20, 15 / 25, math.nan, 5)),
    ({}, (shifted(0, 30), SQUARE), (0, 0, math.nan, math.nan)),
    ({}, (EMPTY, EMPTY), (1, 1, 0, 0)),
    ({}, (EMPTY, SQUARE), (0, 0, 100, 100)),
    ({}, (SQUARE, EMPTY), (0, 0, 100, 100)),
    (dict(spacing=0.2), (EMPTY, SQUARE), (0, 0, 100, 100, 20, 20)),
    (dict(spacing=(0.1, 0.2)), (EMPTY, SQUARE), (0, 0, 100, 100, math.hypot(6, 16), math.hypot(6, 16))),
    (dict(spacing=(0.1, 0.2)), (EMPTY, EMPTY), (1, 1, 0, 0, 0, 0)),
    (dict(spacing=0.3), (shifted(0, 1), SQUARE), (19 / 20, 19 / 21, 0.5, 1, 0.15, 0.3)),
    (dict(spacing=(0.1, 0.2)), (shifted(0, 2), SQUARE), (18 / 20, 18 / 22, math.nan, 2, math.nan, 0.4)),
    (dict(spacing=(0.1, 0.2)), (shifted(2, 0), SQUARE), (18 / 20, 18 / 22, math.nan, 2, math.nan, 0.2)),
    ({}, (SQUARE.astype(np.uint8) * 255, SQUARE.astype(int)), (1, 1, 0, 0)),
    ({}, (shifted(0, 1)[::-1], SQUARE[::-1]), (19 / 20, 19 / 21, 0.5, 1)),
]


@pytest.mark.parametrize("arguments, masks, expected", KNOWN)
def test_known_numbers(arguments, masks, expected):
    scores = mask_metrics(*masks, **arguments)
    assert list(scores) == NAMES[: len(expected)]
    for score, known in zip(scores.values(), expected):
        assert type(score) is float
        assert math.isfinite(score)
        assert math.isnan(known) or score == pytest.approx(known, abs=1e-5)


def surface(mask):
    "Pixels with a 4-neighbour outside of the mask or of the image."
    m = np.pad(mask, 1)
    return mask & ~(m[:-2, 1:-1] & m[2:, 1:-1] & m[1:-1, :-2] & m[1:-1, 2:])


def independent(a, b, spacing):
    "Dice, IoU, ASSD and HD95 by distance transforms."
    surface_a, surface_b = surface(a), surface(b)
    from_a = distance_transform_edt(~surface_b, sampling=spacing)[surface_a]
    from_b = distance_transform_edt(~surface_a, sampling=spacing)[surface_b]
    dice = 2 * (a & b).sum() / (a.sum() + b.sum())
    iou = (a & b).sum() / (a | b).sum()
    assd = np.concatenate([from_a, from_b]).mean()
    return dice, iou, assd, max(np.percentile(from_a, 95), np.percentile(from_b, 95))


def random_shape(rng, size):
    "Blobs, scattered pixels, one pixel, or the whole image."
    kind = rng.integers(6)
    if kind == 0:
        mask = rng.random(size) < 0.03
    elif kind == 1:
        mask = np.zeros(size, bool)
    elif kind == 2:
        mask = np.ones(size, bool)
    else:
        field = gaussian_filter(rng.standard_normal(size), rng.uniform(1, 6))
        mask = field > np.quantile(field, rng.uniform(0.4, 0.95))
    if not mask.any():
        mask[tuple(rng.integers(0, size))] = True
    return mask


@pytest.mark.parametrize("seed", range(30))
def test_second_implementation(seed):
    rng = np.random.default_rng([12, seed])
    size = tuple(rng.integers(8, 70, 2))
    a, b = random_shape(rng, size), random_shape(rng, size)
    spacing = tuple(rng.uniform(0.05, 2, 2)) if seed % 3 else (0.4, 0.4)
    scores = list(mask_metrics(a, b, spacing).values())
    pixels, mm = independent(a, b, (1, 1)), independent(a, b, spacing)
    assert scores == pytest.approx([*pixels, *mm[2:]], rel=1e-4, abs=1e-5)
    backward = mask_metrics(b, a, spacing)
    assert list(backward.values()) == pytest.approx(scores, rel=1e-5, abs=1e-5)
    # a wider image with an empty frame around the shapes has the same scores
    wider = mask_metrics(np.pad(a, 9), np.pad(b, 9), spacing)
    assert list(wider.values()) == pytest.approx(scores, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    "prediction, truth, spacing, message",
    [
        (SQUARE, SQUARE[:-1], None, r"\(59, 80\)"),
        (SQUARE[None], SQUARE, None, r"\(1, 60, 80\)"),
        (SQUARE * 100, SQUARE, None, "0 to 100"),
        (SQUARE * np.nan, SQUARE, None, "not a binary mask"),
        (SQUARE, SQUARE, 0, "mm per pixel"),
        (SQUARE, SQUARE, (1, 2, 3), "mm per pixel"),
        (EMPTY, EMPTY, math.nan, "mm per pixel"),
    ],
)
def test_mask_errors(prediction, truth, spacing, message):
    with pytest.raises(InputError, match=message):
        mask_metrics(prediction, truth, spacing)


def test_area_and_shift():
    assert area_and_shift(shifted(3, -5), SQUARE) == dict(area_ratio=1, shift_x=-5, shift_y=3)
    assert area_and_shift(EMPTY, SQUARE)["area_ratio"] == 0
    assert all(math.isnan(value) for value in area_and_shift(SQUARE, EMPTY).values())


@pytest.fixture
def folders(tmp_path):
    "Four true masks in a data-set folder, three predictions: perfect, shifted by one, empty."
    for name in "abcd":
        write_mask(tmp_path / "set" / "masks" / f"{name}.png", SQUARE)
    for name, mask in zip("abc", (SQUARE, shifted(0, 1), EMPTY)):
        write_mask(tmp_path / "pred" / f"{name}.png", mask)
    return tmp_path


def silent(sentence):
    "Takes the sentence of `evaluate` and prints nothing."


def evaluate_folders(folders, **options):
    "`evaluate` on the fixture, silent."
    options = {"truth": folders / "set", "echo": silent, **options}
    return evaluate(folders / "pred", **options)


def test_evaluate(folders):
    sentences, out = [], folders / "new" / "scores.csv"
    spacing = dict(a=0.1, b=0.2, c=(0.1, 0.2))
    splits = dict(a="train", b="val", c="val")
    frame = evaluate_folders(folders, spacing=spacing, splits=splits, out=out, echo=sentences.append)
    assert list(frame) == ["id", "split", *NAMES, "area_ratio", "empty"]
    assert list(frame.id) == list("abc")
    assert list(frame["empty"]) == [False, False, True]
    assert list(frame.dice) == pytest.approx([1, 0.95, 0])
    assert list(frame.hd95_mm) == pytest.approx([0, 0.2, math.hypot(6, 16)])
    assert frame.attrs["without_prediction"] == 1
    assert len(sentences) == 1
    assert sentences[0].endswith(": 1")
    assert [path.name for path in out.parent.iterdir()] == ["scores.csv"]
    pd.testing.assert_frame_equal(pd.read_csv(out), frame, check_exact=False, rtol=1e-5, check_dtype=False)


def test_evaluate_takes_a_folder_of_masks_and_a_list(folders):
    frame = evaluate_folders(folders, truth=folders / "set" / "masks")
    assert list(frame) == ["id", *NAMES[:4], "area_ratio", "empty"]
    assert list(evaluate_folders(folders, truth=[folders / "set"]).dice) == list(frame.dice)


def test_partial_leaves_unknown_predictions_out(folders):
    write_mask(folders / "pred" / "x.png", SQUARE)
    frame = evaluate_folders(folders, partial=True)
    assert list(frame.id) == list("abc")
    assert frame.attrs["without_prediction"] == 1


def write_gray(path):
    "An image of a hundred values in the place of a mask."
    Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(path)


def remove_predictions(folders):
    for path in (folders / "pred").iterdir():
        path.unlink()


def add_unknown_prediction(folders):
    write_mask(folders / "pred" / "x.png", SQUARE)


def cut_prediction(folders):
    write_mask(folders / "pred" / "b.png", SQUARE[:50])


def make_prediction_gray(folders):
    write_gray(folders / "pred" / "b.png")


def make_truth_gray(folders):
    write_gray(folders / "set" / "masks" / "b.png")


def repeat_prediction(folders):
    write_mask(folders / "pred" / "b.tif", SQUARE)


def rename_masks(folders):
    (folders / "set" / "masks").rename(folders / "set" / "images")


@pytest.mark.parametrize(
    "change, message",
    [
        (remove_predictions, "pred holds no mask"),
        (add_unknown_prediction, r"x\.png has no true mask of the id 'x' \(1 of 4"),
        (cut_prediction, r"b\.png is \(50, 80\) and .*b\.png is \(60, 80\)"),
        (make_prediction_gray, r"pred.b\.png is not a binary mask"),
        (make_truth_gray, r"masks.b\.png is not a binary mask"),
        (repeat_prediction, "more than one file with the id 'b'"),
        (rename_masks, "no masks/ folder"),
    ],
)
def test_errors_in_folders(folders, change, message):
    change(folders)
    with pytest.raises(InputError, match=message):
        evaluate_folders(folders, out=folders / "scores.csv")
    assert not (folders / "scores.csv").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(spacing=dict(a=1)), r"no spacing is given for 'b' \(2 of 3"),
        (dict(splits=dict(a="train", b="val")), r"no split is given for 'c' \(1 of 3"),
        (dict(spacing=-1), "mm per pixel"),
        (dict(truth="no such place"), "no such folder"),
    ],
)
def test_errors_in_options(folders, options, message):
    with pytest.raises(InputError, match=message):
        evaluate_folders(folders, out=folders / "scores.csv", **options)
    assert not (folders / "scores.csv").exists()


def test_true_masks(folders):
    masks = TrueMasks(folders / "set")
    assert masks.ids == tuple("abcd")
    assert list(masks) == list("abcd")
    assert "a" in masks
    assert "x" not in masks
    assert masks["a"].dtype == bool
    assert (masks["a"] == SQUARE).all()
    write_gray(folders / "set" / "masks" / "d.png")
    assert len(TrueMasks(folders / "set")) == 4  # listed, not opened
    with pytest.raises(InputError, match="'x'"):
        masks["x"]
    with pytest.raises(InputError, match="both hold a mask of the id 'a'"):
        TrueMasks([folders / "set", folders / "pred"])


def test_summarise(folders):
    frame = evaluate_folders(folders, splits=dict(a="train", b="val", c="val"))
    summary, by_split = summarise(frame), summarise(frame, "split")
    dice = summary.loc["dice", ["n", "mean", "median", "min", "max", "empty"]]
    assert dice.tolist() == pytest.approx([3, 1.95 / 3, 0.95, 0, 1, 1])
    assert summary.loc["dice", "std"] == pytest.approx(np.std([1, 0.95, 0], ddof=1))
    assert by_split.loc[("val", "hd95_px"), ["n", "mean", "empty"]].tolist() == pytest.approx([2, 50.5, 1])
    with pytest.raises(InputError, match="did you mean 'split'"):
        summarise(frame, "splits")
    with pytest.raises(InputError, match="nothing to summarise"):
        summarise(frame[:0])


@pytest.mark.parametrize(
    "text, expected",
    [
        ("id,spacing\na,0.1\n", dict(a=0.1)),
        (
            "filename,pixel size(mm),head circumference (mm)\na.png,0.07,44\nb.c.png,0.2,60\n",
            {"a": 0.07, "b.c": 0.2},
        ),
        ("id,pixel size(mm),resized pixel size(mm)\na,0.07,0.14\n", dict(a=0.14)),
        ("\ufefffilename, spacing\nb.2, 1\n", {"b.2": 1.0}),
    ],
)
def test_read_spacing(tmp_path, text, expected):
    path = tmp_path / "spacing.csv"
    path.write_text(text, encoding="utf-8")
    assert read_spacing(path) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        ("id,size\na,1\n", "id or filename .*it has id, size"),
        ("name,spacing\na,1\n", "it has name, spacing"),
        ("", "it has no rows"),
        ("id,spacing\na,wide\n", "'a' the spacing 'wide'"),
        ("id,spacing\na,0\n", "above zero"),
        ("id,spacing\na\n", "above zero"),
        ("id,spacing\na,1\na.png,1\n", "more than one row for 'a'"),
        ("id,spacing\n,1\n", "without an id"),
    ],
)
def test_errors_in_spacing_files(tmp_path, text, message):
    path = tmp_path / "spacing.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_spacing(path)


def test_no_spacing_file(tmp_path):
    with pytest.raises(InputError, match="no.csv cannot be read"):
        read_spacing(tmp_path / "no.csv")


def test_no_warning(recwarn):
    surface_distances(shifted(1, 1), SQUARE)
    surface_distances(EMPTY, SQUARE)
    messages = [str(warning.message).lower() for warning in recwarn]
    assert not [message for message in messages if "monai" in message or "all 0" in message]
