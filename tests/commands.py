"""What tests of the command line share: what a command said, and the files of its run."""

import json
import re
import shutil
import time


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def refused(result, *words):
    "Exit code 2 and one sentence that holds the words."
    assert result.code == 2, result
    assert result.out == ""
    assert re.fullmatch(r"aeseg: [^\n]+\n", result.err), result
    for word in words:
        assert word in result.err, result.err


def wait_for(path, word):
    "Until a file holds a word."
    end = time.monotonic() + 60
    while not (path.exists() and word in path.read_text()):
        assert time.monotonic() < end, f"{path} never held {word}"
        time.sleep(0.003)


def unfinish(run):
    "Turn a finished run into one that was interrupted after the GAN."
    facts = json.loads((run / "provenance.json").read_text())
    facts.pop("finished")
    (run / "provenance.json").write_text(json.dumps(facts))
    for name in ("report.html", "metrics.csv", "quality.csv", "model.safetensors"):
        (run / name).unlink()
    for name in ("predictions", "rounds"):
        shutil.rmtree(run / name)
    (run / "checkpoints/round_1.pt").unlink()
