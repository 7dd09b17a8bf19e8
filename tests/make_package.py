"""Build wheel and sdist in dist/, and try the wheel in an environment of its own.

python tests/make_package.py            build, install by pip with the runtime requirements only, and try
python tests/make_package.py --no-try   build only
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    "aeseg",
    "setup.py",
    "settings.ini",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "CHANGELOG.md",
    "constraints.txt",
    "constraints-oldest.txt",
)
BUILD = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def build(
    out,  # folder of the two files; aeseg-* in it are removed
) -> tuple:  # wheel, sdist
    "Build from a copy of the sources, so that no older build/ has a say."
    out = Path(out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("aeseg-*"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        for name in SOURCES:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        for kind in ("build_wheel", "build_sdist"):
            command = [sys.executable, "-c", BUILD, kind, str(out)]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"building failed:\n{done.stderr}")
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz"))


def run(
    environment,  # folder of a virtual environment
    folder,  # where the command runs
    *words,
) -> tuple:  # exit code, stdout and stderr
    "Run aeseg of an environment."
    script = Path(environment) / "bin/aeseg"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([script, *map(str, words)], cwd=folder, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def succeed(*arguments):
    "The output of a command that must end with exit code 0."
    code, out, err = run(*arguments)
    assert code == 0, f"{arguments[2:]} ended with {code}:\n{out}\n{err}"
    return out


def refused(*arguments):
    "The one sentence of a command that must end with exit code 2."
    code, out, err = run(*arguments)
    assert code == 2 and err.count("\n") == 1, f"{arguments[2:]} ended with {code}:\n{out}\n{err}"
    return err


def try_runs(
    environment,
    folder,  # an empty one
):
    "From phantoms to measured masks."
    succeed(environment, folder, "demo", "--preset", "smoke", "--out", "demo")
    data, masks = "demo/phantoms/fetal_head_24_8", "masks"
    assert "16 train, 8 val" in succeed(environment, folder, "check", data)
    succeed(environment, folder, "predict", "demo/run_fetal_head", "--images", data, "--out", masks)
    out = succeed(environment, folder, "evaluate", "--pred", masks, "--truth", data, "--out", "scores.csv")
    assert "dice" in out


def try_extras(
    environment,
    folder,  # of `try_runs`
):
    "What needs an extra says which."
    sentence = refused(environment, folder, "inspect", "demo/run_fetal_head", "--no-browser")
    assert "pip install 'aeseg[inspect]'" in sentence
    sentence = refused(environment, folder, "experiment", "run", "table1_pseudo_labels", "--preset", "smoke")
    assert "[experiments]" in sentence
    assert "pip install 'aeseg[completion]'" in refused(environment, folder, "--completion", "bash")


def try_package(
    environment,
    folder,
):
    "Use an installed wheel as a user does."
    assert succeed(environment, folder, "--version").startswith("aeseg 0.")
    try_runs(environment, folder)
    try_extras(environment, folder)


def install(
    wheel,
    environment,  # folder of a new virtual environment
    *pip_arguments,
):
    "Install a wheel and its runtime requirements."
    venv.create(environment, with_pip=True)
    command = [
        Path(environment) / "bin/python",
        "-m",
        "pip",
        "install",
        "--quiet",
        *pip_arguments,
        str(wheel),
    ]
    subprocess.run(command, check=True)


def main():
    parser = argparse.ArgumentParser(description="Build and try the package.")
    parser.add_argument("--out", default=ROOT / "dist", help="folder of wheel and sdist (default dist)")
    parser.add_argument("--no-try", action="store_true", help="do not try the wheel")
    parser.add_argument("--constraints", default="constraints.txt", help="versions to install")
    parser.add_argument("pip", nargs="*", help="further arguments of pip, after --")
    arguments = parser.parse_args()
    print("building wheel and sdist, then trying the wheel in an empty environment: minutes", flush=True)
    files = build(arguments.out)
    if not arguments.no_try:
        with tempfile.TemporaryDirectory() as folder:
            environment, place = Path(folder) / "environment", Path(folder) / "place"
            place.mkdir()
            install(files[0], environment, "-c", str(ROOT / arguments.constraints), *arguments.pip)
            try_package(environment, place)
    print("\n".join(map(str, files)))


if __name__ == "__main__":
    main()
