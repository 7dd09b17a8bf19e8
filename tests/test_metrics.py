"""Scores of masks: known numbers, a second implementation, and the errors of `evaluate` and `read_spacing`."""

import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt, gaussian_filter

from aeseg.core.errors import InputError
from aeseg.data.images import write_mask
from aeseg.evaluation.true_masks import TrueMasks, read_spacing
from aeseg.evaluation.scores import evaluate, summarise
from aeseg.evaluation.metrics import area_and_shift, mask_metrics, surface_distances

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
    for value, wanted in zip(scores.values(), expected):
        assert type(value) is float and math.isfinite(value)
        assert math.isnan(wanted) or value == pytest.approx(wanted, abs=1e-5)


def surface(mask):
    "Pixels with a 4-neighbour outside of the mask or of the image."
    q = np.pad(mask, 1)
    return mask & ~(q[:-2, 1:-1] & q[2:, 1:-1] & q[1:-1, :-2] & q[1:-1, 2:])


def independent(a, b, spacing):
    "Dice, IoU, ASSD and HD95 by distance transforms."
    sa, sb = surface(a), surface(b)
    ab, ba = (
        distance_transform_edt(~sb, sampling=spacing)[sa],
        distance_transform_edt(~sa, sampling=spacing)[sb],
    )
    dice, iou = 2 * (a & b).sum() / (a.sum() + b.sum()), (a & b).sum() / (a | b).sum()
    return dice, iou, np.concatenate([ab, ba]).mean(), max(np.percentile(ab, 95), np.percentile(ba, 95))


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
    scores = mask_metrics(a, b, spacing)
    pixels, mm = independent(a, b, (1, 1)), independent(a, b, spacing)
    assert list(scores.values()) == pytest.approx([*pixels, *mm[2:]], rel=1e-4, abs=1e-5)
    assert list(mask_metrics(b, a, spacing).values()) == pytest.approx(
        list(scores.values()), rel=1e-5, abs=1e-5
    )
    # nothing depends on the empty frame around the shapes: a wider image gives the same numbers
    assert list(mask_metrics(np.pad(a, 9), np.pad(b, 9), spacing).values()) == pytest.approx(
        list(scores.values()), rel=1e-5, abs=1e-5
    )


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


def test_label_statistics():
    assert area_and_shift(shifted(3, -5), SQUARE) == dict(area_ratio=1, shift_x=-5, shift_y=3)
    assert area_and_shift(EMPTY, SQUARE)["area_ratio"] == 0
    assert all(math.isnan(v) for v in area_and_shift(SQUARE, EMPTY).values())


@pytest.fixture
def folders(tmp_path):
    "Four true masks in a data-set folder, three predictions: perfect, shifted by one, empty."
    for name in "abcd":
        write_mask(tmp_path / "set" / "masks" / f"{name}.png", SQUARE)
    for name, mask in zip("abc", (SQUARE, shifted(0, 1), EMPTY)):
        write_mask(tmp_path / "pred" / f"{name}.png", mask)
    return tmp_path


def run(folders, **given):
    "`evaluate` on the fixture, silent."
    return evaluate(
        folders / "pred", given.pop("truth", folders / "set"), echo=given.pop("echo", lambda s: None), **given
    )


def test_evaluate(folders):
    said, out = [], folders / "new" / "scores.csv"
    frame = run(
        folders,
        spacing=dict(a=0.1, b=0.2, c=(0.1, 0.2)),
        splits=dict(a="train", b="val", c="val"),
        out=out,
        echo=said.append,
    )
    assert list(frame) == ["id", "split", *NAMES, "area_ratio", "empty"]
    assert list(frame.id) == list("abc") and list(frame["empty"]) == [False, False, True]
    assert list(frame.dice) == pytest.approx([1, 0.95, 0]) and list(frame.hd95_mm) == pytest.approx(
        [0, 0.2, math.hypot(6, 16)]
    )
    assert frame.attrs["without_prediction"] == 1 and len(said) == 1 and said[0].endswith(": 1")
    assert [p.name for p in out.parent.iterdir()] == ["scores.csv"]
    pd.testing.assert_frame_equal(pd.read_csv(out), frame, check_exact=False, rtol=1e-5, check_dtype=False)
    assert list(run(folders, truth=folders / "set" / "masks")) == ["id", *NAMES[:4], "area_ratio", "empty"]
    assert list(run(folders, truth=[folders / "set"]).dice) == list(frame.dice)


def gray(path):
    Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(path)


@pytest.mark.parametrize(
    "change, arguments, message",
    [
        (lambda f: [p.unlink() for p in (f / "pred").iterdir()], {}, "pred holds no mask"),
        (
            lambda f: write_mask(f / "pred" / "x.png", SQUARE),
            {},
            r"x\.png has no true mask of the id 'x' \(1 of 4",
        ),
        (
            lambda f: write_mask(f / "pred" / "b.png", SQUARE[:50]),
            {},
            r"b\.png is \(50, 80\) and .*b\.png is \(60, 80\)",
        ),
        (lambda f: gray(f / "pred" / "b.png"), {}, r"pred.b\.png is not a binary mask"),
        (lambda f: gray(f / "set" / "masks" / "b.png"), {}, r"masks.b\.png is not a binary mask"),
        (lambda f: write_mask(f / "pred" / "b.tif", SQUARE), {}, "more than one file with the id 'b'"),
        (lambda f: (f / "set" / "masks").rename(f / "set" / "images"), {}, "no masks/ folder"),
        (lambda f: None, dict(spacing=dict(a=1)), r"no spacing is given for 'b' \(2 of 3"),
        (lambda f: None, dict(splits=dict(a="train", b="val")), r"no split is given for 'c' \(1 of 3"),
        (lambda f: None, dict(spacing=-1), "mm per pixel"),
        (lambda f: None, dict(truth="no such place"), "no such folder"),
    ],
)
def test_evaluate_errors(folders, change, arguments, message):
    change(folders)
    with pytest.raises(InputError, match=message):
        run(folders, out=folders / "scores.csv", **arguments)
    assert not (folders / "scores.csv").exists()


def test_true_masks(folders):
    masks = TrueMasks(folders / "set")
    assert masks.ids == tuple("abcd") and list(masks) == list("abcd") and "a" in masks and "x" not in masks
    assert masks["a"].dtype == bool and (masks["a"] == SQUARE).all()
    gray(folders / "set" / "masks" / "d.png")
    assert len(TrueMasks(folders / "set")) == 4  # listed, not opened
    with pytest.raises(InputError, match="'x'"):
        masks["x"]
    with pytest.raises(InputError, match="both hold a mask of the id 'a'"):
        TrueMasks([folders / "set", folders / "pred"])


def test_summarise(folders):
    frame = run(folders, splits=dict(a="train", b="val", c="val"))
    total, parts = summarise(frame), summarise(frame, "split")
    assert total.loc["dice", ["n", "mean", "median", "min", "max", "empty"]].tolist() == pytest.approx(
        [3, 1.95 / 3, 0.95, 0, 1, 1]
    )
    assert total.loc["dice", "std"] == pytest.approx(np.std([1, 0.95, 0], ddof=1))
    assert parts.loc[("val", "hd95_px"), ["n", "mean", "empty"]].tolist() == pytest.approx([2, 50.5, 1])
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
def test_read_spacing(tmp_path, text, expected):
    path = tmp_path / "spacing.csv"
    path.write_text(text, encoding="utf-8")
    if isinstance(expected, dict):
        assert read_spacing(path) == expected
    else:
        with pytest.raises(InputError, match=expected):
            read_spacing(path)


def test_no_spacing_file(tmp_path):
    with pytest.raises(InputError, match="no.csv cannot be read"):
        read_spacing(tmp_path / "no.csv")


def test_no_warning(recwarn):
    surface_distances(shifted(1, 1), SQUARE)
    surface_distances(EMPTY, SQUARE)
    assert not [w for w in recwarn if "monai" in str(w.message).lower() or "all 0" in str(w.message)]
