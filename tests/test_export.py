"""Exported models, TorchScript and ONNX, give the masks of `predict`, whatever the canvas and the image."""

import json

import numpy as np
import pytest
import torch
from commands import SMALL, refused
from PIL import Image

import aeseg.app.export as exporting
from aeseg.app.export import Standalone, contents_of_file, export
from aeseg.app.fit import fit
from aeseg.app.predict import predict
from aeseg.core.errors import InputError
from aeseg.data.images import apply_window, at_own_size, place, read_image, read_mask, to_canvas
from aeseg.data.phantoms import phantom, write_phantoms

OPTIONS = dict(SMALL, precision="32-true", rounds=1)
SIZES = [(40, 60), (90, 140), (135, 200), (540, 800), (61, 47), (300, 100), (182, 90), (9, 400)]
CANVASES = [(64, 96), (96, 128), (96, 96), (96, 64), (32, 160), (192, 96)]


class Identity(torch.nn.Module):
    "Returns its input as if it were a probability."

    def forward(self, x):
        return (x[:, :1] + 1) / 2


@pytest.mark.parametrize("canvas", CANVASES, ids=str)
@pytest.mark.parametrize("window", [(), (20, 200)], ids=["percentiles", "window"])
def test_preprocessing_is_that_of_pillow(canvas, window):
    "The canvas and the way back, to the byte; sides of 96 are those of HC18 and of the phantoms."
    alone = torch.jit.script(Standalone(Identity(), canvas, 1, window))
    rng = np.random.default_rng(0)
    for size in SIZES:
        image = rng.integers(0, 256, size, dtype=np.uint8)
        placement = place(size, canvas)
        on_canvas = to_canvas(apply_window(image, window), placement, canvas)
        expected = at_own_size(on_canvas.astype(np.float32) / 255, placement)
        returned = alone(torch.from_numpy(image)).numpy()
        assert abs(returned - expected).max() < 1e-6, size  # a byte is 4e-3


# canvas, channels, window
ONNX = [((64, 96), 1, (-20, 200)), ((96, 128), 3, ())]


@pytest.mark.slow
@pytest.mark.parametrize("canvas, channels, window", ONNX, ids=str)
def test_preprocessing_in_onnx(canvas, channels, window, tmp_path):
    "The same graph in ONNX Runtime, for images of all sizes and for a constant one."
    apply = exporting._write_onnx(tmp_path / "m.onnx", Identity(), canvas, channels, window, "{}")
    rng = np.random.default_rng(0)
    for size in [*SIZES, (50, 60)]:
        image = rng.integers(0, 256, (*size, 3)[: 2 + (channels == 3)], dtype=np.uint8)
        image = image if size != (50, 60) else np.full_like(image, 9)
        placement = place(size, canvas)
        on_canvas = to_canvas(apply_window(image, window), placement, canvas)
        first = on_canvas if channels == 1 else on_canvas[..., 0]
        expected = at_own_size(first.astype(np.float32) / 255, placement)
        assert abs(apply(torch.tensor(image)).numpy() - expected).max() < 1e-6, size


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "Tiny runs by name, and their images: gray with a network of a round, and in colours with a GAN."
    folder = tmp_path_factory.mktemp("exports")
    gray = write_phantoms(folder / "gray", "fetal_head", count=6, val=2, size=(90, 140))
    (folder / "colour/images").mkdir(parents=True)
    for k in range(6):
        Image.fromarray(phantom("optic_disc", k, (70, 70))[0]).save(folder / f"colour/images/{k}.png")
    gan = dict(task="optic_disc", rounds=0)
    return dict(
        gray=(fit(gray, folder / "run_gray", **OPTIONS), gray / "images"),
        colour=(
            fit(folder / "colour", folder / "run_colour", **{**OPTIONS, **gan}),
            folder / "colour/images",
        ),
    )


def apply_file(path):
    "A function from the numbers of an image to probabilities, and the facts in the file."
    if path.suffix == ".pt":
        about = {"aeseg.json": ""}
        model = torch.jit.load(str(path), _extra_files=about)
        return lambda image: model(torch.tensor(image)).numpy(), json.loads(about["aeseg.json"])
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    facts = json.loads(session.get_modelmeta().custom_metadata_map["aeseg.json"])
    return lambda image: session.run(None, {"image": image.astype(np.float32)})[0], facts


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pt", ".onnx"])
@pytest.mark.parametrize("name", ["gray", "colour"])
def test_masks_are_those_of_predict(runs, name, suffix, tmp_path):
    "One file, alone, for images of all sizes; ONNX may round a probability to the next of 256 steps."
    run, images = runs[name]
    (tmp_path / "set").mkdir()
    rng = np.random.default_rng(0)
    for k, size in enumerate(SIZES):
        shape = size if name == "gray" else (*size, 3)
        noise = rng.integers(0, 80, shape, dtype=np.uint8)
        noise[size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] += 120
        Image.fromarray(noise).save(tmp_path / f"set/size{k}.png")
    for path in images.iterdir():
        (tmp_path / "set" / path.name).write_bytes(path.read_bytes())
    masks = predict(run.folder, tmp_path / "set", tmp_path / "masks")
    lines = []
    model, facts = apply_file(export(run.folder, tmp_path / f"model{suffix}", echo=lines.append))
    near = 1e-4 if suffix == ".pt" else 1 / 255
    for path in sorted((tmp_path / "set").iterdir()):
        image = read_image(path)
        p = model(image)
        assert p.shape == image.shape[:2] and p.dtype == np.float32
        clear = abs(p - 0.5) > near
        assert ((p > 0.5) == read_mask(masks / path.name))[clear].all(), path.name
    assert facts["channels"] == (1 if name == "gray" else 3)
    assert [line.split(": ")[0] for line in lines] == ["in the file", "not in the file"]
    assert all(sentence in lines[1] for sentence in facts["lacks"])


def test_what_the_file_lacks_is_told(runs):
    "The variant `plus` refines masks after the network."
    run, _ = runs["gray"]
    assert len(contents_of_file(run, (64, 96))[1]) == 1
    plus = type("Run", (), dict(folder=run.folder, config=run.config.replace(variant="plus")))
    assert "refinement of masks" in contents_of_file(plus, (64, 96))[1][1]


def test_a_missing_package_is_one_sentence(runs, tmp_path, monkeypatch, aeseg):
    run, _ = runs["gray"]
    monkeypatch.setattr(exporting, "ONNX_PACKAGES", ("onnx", "no_such_package"))
    with pytest.raises(InputError, match=r"no_such_package; pip install 'aeseg\[onnx\]'"):
        export(run.folder, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
    refused(aeseg("export", run.folder, "--out", tmp_path / "model.tflite"), "ends in .pt")
