"What a run says while it runs: lines or bars, the time left, alarms when they are raised, what is next."

import fcntl
import os
import pty
import re
import shlex
import struct
import termios

import pytest
from commands import FAST, ONE_CORE, SCRIPT, SMALL, run_script

import aeseg.app.stages as stages
from aeseg.app.fit import fit
from aeseg.cli import print_summary

LOUD = [word for word in FAST if word != "--quiet"]


def test_a_file_gets_a_line_for_every_twentieth(phantoms, tmp_path):
    done = run_script("fit", "--images", phantoms, "--out", tmp_path / "my run", *LOUD)
    lines = done.stderr.splitlines()
    assert done.returncode == 0
    assert "\r" not in done.stderr
    assert max(map(len, lines)) < 160
    assert re.fullmatch(r"reading \d+ files of .*", lines.pop(0))  # at once, before anything slow
    stage = r"stage (\d) of (\d): (\w+)"
    numbers = [re.match(stage, line)[1] for line in lines if re.match(stage, line)]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == int(re.match(stage, lines[0])[2])
    assert sum(": gan" in line for line in lines) <= 30  # its start, every 5 %, and, if slow, every 30 s
    gan = [line for line in lines if ": gan, 100 % (45 of 45 steps)" in line]
    assert len(gan) == 1
    assert re.search(r"\d+ (s|min) left in all", gan[0])
    assert len(re.findall(r", \w+ \d+\.\d\d", gan[0])) == 3  # losses
    # what follows the last bar says what it does
    end = [line for line in lines[lines.index(gan[0]) :] if "steps" not in line]
    for word in ("predicting masks of 6 images", "comparing masks", "writing the report"):
        assert any(word in line for line in end), word


def test_the_last_lines_are_commands_to_copy(phantoms, tmp_path, aeseg):
    done = run_script("fit", "--images", phantoms, "--out", "my run", *FAST, cwd=tmp_path)
    *_, few, report, inspect, predict = done.stdout.splitlines()
    assert re.fullmatch(r"training sees \d images, which is few; give at least 20, .*", few)
    assert few in (tmp_path / "my run/report.html").read_text()
    assert report == f"report: {tmp_path}/my run/report.html"
    inspect, predict = (shlex.split(line.removeprefix("next:")) for line in (inspect, predict))
    assert inspect == ["aeseg", "inspect", f"{tmp_path}/my run"]
    assert predict[:3] == ["aeseg", "predict", f"{tmp_path}/my run"]
    words = [dict(NEW_IMAGES=phantoms, MASKS=tmp_path / "masks").get(word, word) for word in predict]
    assert aeseg(*words[1:]).code == 0
    assert len(list((tmp_path / "masks").iterdir())) == 6


def in_terminal(command, columns):
    "What a command writes into a terminal of so many columns."
    process, terminal = pty.fork()
    if not process:
        os.execve(SCRIPT, [str(word) for word in command], {**ONE_CORE, "COLUMNS": str(columns)})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    written = b""
    try:
        while piece := os.read(terminal, 65536):
            written += piece
    except OSError:  # the end
        pass
    assert os.waitpid(process, 0)[1] == 0
    return written.decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_bars_with_room(phantoms, tmp_path, columns):
    command = [SCRIPT, "fit", "--images", phantoms, "--out", tmp_path / "run", *LOUD]
    states = re.split(r"[\r\n]+", in_terminal(command, columns))
    bars = [state for state in states if "%|" in state]
    assert all(len(bar) <= columns for bar in bars)
    assert min(bar.split("|")[1].__len__() for bar in bars) >= 9
    last = [bar for bar in bars if ": gan 100%" in bar][-1]
    assert re.match(r"stage 2 of \d: gan 100%", last)
    assert len(re.findall(r", \w+ \d+\.\d\d", last)) in (2, 3)
    assert any("writing the report" in state for state in states)


def test_alarms_are_told_when_they_are_raised_and_once(phantoms, tmp_path, monkeypatch, no_report, capsys):
    number = iter(range(1000))
    sizes = ["no diversity: all alike"] + ["size: 2.{} times the area"] * 1000
    monkeypatch.setattr(stages, "label_alarms", lambda *_: [sizes[k := next(number)].format(k)])
    monkeypatch.setattr(stages, "is_failure", lambda alarm: False)
    run = fit(phantoms, tmp_path / "run", **{**SMALL, "quiet": False})
    told = capsys.readouterr().err.splitlines()
    alarms = [line for line in told if line.startswith("alarm: ")]
    assert len(run.events("passing")) > 3
    assert [line.split(": ")[2] for line in alarms] == [
        "no diversity",
        "size",
        "size",
    ]  # the last: at the end
    assert alarms[2].startswith("alarm: final pseudo labels: size: 2.")
    assert told.index(alarms[2]) < next(k for k, line in enumerate(told) if "round_1" in line)
    print_summary(run)
    assert "alarm: " not in capsys.readouterr().out


def test_alarms_of_a_quiet_run_come_at_its_end(phantoms, tmp_path, monkeypatch, no_report, capsys):
    monkeypatch.setattr(stages, "label_alarms", lambda *_: ["size: 2.1 times the area"])
    run = fit(phantoms, tmp_path / "run", **SMALL)
    print_summary(run)
    output = capsys.readouterr()
    assert output.err == ""
    assert output.out.count("alarm: final pseudo labels: size") == 1
