"""Malformed inputs end with one sentence: no traceback, and no code of theirs is executed.

`make test` tries 300 of them; `pytest tests/test_malformed.py --malformed 1000` tries 1,000 (default 60).
"""

import pytest
from commands import FAST
from malformed import KINDS, make


def pytest_generate_tests(metafunc):
    "One test for each kind; the cases are divided among them."
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", range(len(KINDS)), ids=[k.__name__ for k in KINDS])


def ends_well(done):
    "Whether a command ended with one sentence, with a report of `aeseg check`, or without an error."
    if done.code == 2:
        ended = done.err.count("\n") == 1 and done.err.startswith("aeseg: ")
    else:
        ended = done.code == 0 or done.code == 1 and done.err == ""
    return ended and "Traceback" not in done.out + done.err


def faults(case, done):
    "What is wrong with the end of a command."
    if not ends_well(done):
        yield "no sentence"
    if case.refused and done.code == 0:
        yield "not refused"
    if done.code == 1 and case.words[0] != "check":
        yield "exit code 1"
    if case.canary.exists():
        yield "code was executed"


@pytest.mark.slow
def test_malformed(kind, aeseg, finished, phantoms, tmp_path, request):
    failures = []
    for number in range(kind, request.config.getoption("--malformed"), len(KINDS)):
        case = make(tmp_path, number, finished, phantoms)
        words = [w for word in case.words for w in (FAST if word == "FAST" else [word])]
        done = aeseg(*words)
        for fault in faults(case, done):
            failures.append(f"{number} {fault}: exit {done.code}\n{done.out[-800:]}\n{done.err[-1500:]}")
    assert not failures, "\n".join(failures)
