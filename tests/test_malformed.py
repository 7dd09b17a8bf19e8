"""Malformed inputs end with one sentence: never a traceback, never code that runs. `pytest --malformed 500` tries as many as that (default 60)."""

import pytest
from conftest import FAST
from malformed import KINDS, make


def pytest_generate_tests(metafunc):
    "The cases are shared out among a few tests, by kind."
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", range(len(KINDS)), ids=[k.__name__ for k in KINDS])


def test_malformed(kind, aeseg, finished, phantoms, tmp_path, request):
    count, wrong = request.config.getoption("--malformed"), []
    for number in range(kind, count, len(KINDS)):
        case = make(tmp_path, number, finished, phantoms)
        words = [w for word in case.words for w in (FAST if word == "FAST" else [word])]
        done = aeseg(*words)
        told = (
            done.err.count("\n") == 1 and done.err.startswith("aeseg: ")
            if done.code == 2
            else done.err == "" if done.code == 1 else True
        )
        if done.code not in (0, 1, 2) or not told or "Traceback" in done.out + done.err:
            wrong.append((number, "no sentence", done))
        if case.refused and done.code == 0:
            wrong.append((number, "not refused", done))
        if done.code == 1 and words[0] != "check":
            wrong.append((number, "exit code 1", done))
        if case.canary.exists():
            wrong.append((number, "code was executed", done))
    assert not wrong, "\n".join(
        f"{number} {why}: exit {d.code}\n{d.out[-800:]}\n{d.err[-1500:]}" for number, why, d in wrong
    )
