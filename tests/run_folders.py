"""The files of a run, as tests compare and change them."""

import csv
import json
import shutil

LEARNED = ("pseudo_labels", "rounds", "quality.csv", "model.safetensors", "predictions")


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def read_rows(path):
    "The rows of a CSV file, as dicts."
    with path.open(newline="") as f:
        return list(csv.DictReader(f))


def read_log(run):
    "The rows of a run's log."
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def read_provenance(run):
    return json.loads((run / "provenance.json").read_text())


def snapshot(folder):
    "Every file and folder below: name -> (time of change, content)."
    return {
        str(p.relative_to(folder)): (p.stat().st_mtime_ns, p.is_file() and p.read_bytes())
        for p in sorted(folder.rglob("*"))
    }


def weights(path):
    "The bytes of each tensor; the header of the file has no fixed order."
    from safetensors.torch import load_file

    return {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}


def learned(run):
    "The content of everything that was learned, by its name."
    files = []
    for name in LEARNED:
        path = run / name
        files += [path] if path.is_file() else [p for p in sorted(path.rglob("*")) if p.is_file()]
    return {
        str(p.relative_to(run)): weights(p) if p.suffix == ".safetensors" else p.read_bytes() for p in files
    }


def same(a, b):
    "Fails where two runs learned something else, naming the files."
    a, b = learned(a), learned(b)
    assert a.keys() == b.keys()
    assert len(a) > 10
    assert [name for name in a if a[name] != b[name]] == []


def unfinish(run):
    "Turn a finished run into one that was interrupted after the GAN."
    facts = read_provenance(run)
    facts.pop("finished")
    (run / "provenance.json").write_text(json.dumps(facts))
    for name in ("report.html", "metrics.csv", "quality.csv", "model.safetensors"):
        (run / name).unlink()
    for name in ("predictions", "rounds"):
        shutil.rmtree(run / name)
    (run / "checkpoints/round_1.pt").unlink()
