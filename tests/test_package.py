"""The wheel in an environment that holds its runtime requirements and nothing else, and the sdist.

The environment is made of links to the installed packages, which takes seconds; `make package` installs them.
"""

import email
import subprocess
import sys
import tarfile
import venv
import zipfile
from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import make_package
import pytest
from commands import ROOT
from packaging.requirements import Requirement

SETTINGS = ConfigParser(delimiters=["="])
SETTINGS.read(ROOT / "settings.ini", encoding="utf-8")
SETTINGS = SETTINGS["DEFAULT"]


def is_needed(requirement, extras):
    "Whether a requirement of a package applies here, with some of its extras."
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras)


def closure(requirements):
    "Name -> installed distribution of requirements and all that they need."
    reached, ahead = {}, [Requirement(text) for text in requirements]
    while ahead:
        requirement = ahead.pop()
        try:
            found = distribution(requirement.name)
        except PackageNotFoundError:
            continue
        key = (requirement.name.lower(), tuple(sorted(requirement.extras)))
        if key in reached:
            continue
        reached[key] = found
        extras = ["", *requirement.extras]
        needed = [Requirement(text) for text in found.requires or ()]
        ahead += [r for r in needed if is_needed(r, extras)]
    return {name: found for (name, _), found in reached.items()}


def link_packages(site, distributions):
    "Link what distributions have installed into another site-packages."
    for found in distributions:
        names = {p.parts[0] for p in found.files} - {"..", "__pycache__"}
        for name in names:
            if not (site / name).exists():
                (site / name).symlink_to(found.locate_file(name))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    "Wheel and sdist."
    return make_package.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def environment(files, tmp_path_factory):
    "An environment with the wheel and its runtime requirements."
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    link_packages(site, closure(SETTINGS["requirements"].split()).values())
    python = str(folder / "bin/python")
    command = [
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        str(files[0]),
    ]
    subprocess.run([sys.executable, *command], check=True, capture_output=True)
    return folder


def test_the_environment_has_no_package_of_an_extra(environment):
    script = (
        "from importlib.util import find_spec as f\nprint([n for n in ('nbdev', 'papermill', 'dask', 'voila',"
        " 'anywidget', 'pytest', 'IPython') if f(n)])"
    )
    done = subprocess.run([environment / "bin/python", "-I", "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.slow
def test_the_wheel_works_with_runtime_requirements_only(environment, tmp_path):
    make_package.try_package(environment, tmp_path)


def test_every_module_can_be_imported_or_names_an_extra(environment):
    script = (
        "import pkgutil, importlib, aeseg\n"
        "for m in pkgutil.walk_packages(aeseg.__path__, 'aeseg.'):\n"
        "    try:\n"
        "        importlib.import_module(m.name)\n"
        "    except ModuleNotFoundError as e:\n"
        "        print(m.name, e.name)\n"
    )
    done = subprocess.run([environment / "bin/python", "-I", "-c", script], capture_output=True, text=True)
    assert (done.stdout.splitlines(), done.returncode) == (["aeseg.app.inspector anywidget"], 0)


def test_the_wheel_holds_all_that_is_not_python(files):
    with zipfile.ZipFile(files[0]) as wheel:
        names = wheel.namelist()
        metadata = next(n for n in names if n.endswith("METADATA"))
        facts = email.message_from_bytes(wheel.read(metadata))
    package = ROOT / "aeseg"
    kinds = (".py", ".js", ".css", ".html")
    wanted = {p.relative_to(ROOT).as_posix() for p in package.rglob("*") if p.suffix in kinds}
    assert {n for n in names if n.startswith("aeseg/")} == wanted
    assert {Path(n).name for n in names if "/licenses/" in n} == {"LICENSE", "CITATION.cff"}
    assert facts["Version"] == SETTINGS["version"]
    assert {"fastcore<2,>=1.14.5", "scipy>=1.15.0", "torch"} <= set(facts.get_all("Requires-Dist"))
    extras = {"inspect", "experiments", "dicom", "docs", "completion", "dev"}
    assert extras <= set(facts.get_all("Provides-Extra"))


def test_the_sdist_can_be_built_from(files):
    with tarfile.open(files[1]) as sdist:
        names = {n.split("/", 1)[-1] for n in sdist.getnames()}
    assert {"setup.py", "settings.ini", "pyproject.toml", "LICENSE", "CITATION.cff", "README.md"} <= names


def test_one_version_everywhere():
    import aeseg

    version = SETTINGS["version"]
    assert aeseg.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert changes.index(f"## [{version}]") < changes.index("## [0.1.0]")


def test_dev_has_all_extras():
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    for key, value in SETTINGS.items():
        if key.endswith("requirements"):
            for requirement in value.split():
                name = Requirement(requirement).name.lower().replace("_", "-")
                assert f"\n{name}==" in constraints, f"{name} of {key} has no exact version"


def test_the_oldest_versions_are_those_of_every_requirement():
    lines = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    pinned = {line.split("==")[0].lower() for line in lines if line and not line.startswith("#")}
    needed = {Requirement(text).name.lower() for text in SETTINGS["requirements"].split()}
    assert needed <= pinned


# ---------------------------------------------------------------- completion


def completed(script, *words):
    "What bash offers for the last of some words."
    line = " ".join(f"'{word}'" for word in words)
    lines = [
        f"source {script}",
        f"COMP_WORDS=({line})",
        f"COMP_CWORD={len(words) - 1}",
        f"_shtab_aeseg {words[0]} '{words[-1]}' '{words[-2]}'",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    "The script for bash."
    from aeseg.cli import completion_text

    path = tmp_path_factory.mktemp("completion") / "aeseg.bash"
    path.write_text(completion_text("bash"))
    return path


@pytest.mark.parametrize(
    "words, expected",
    [
        (("aeseg", "e"), {"evaluate", "experiment", "export"}),
        (("aeseg", "fit", "--labels"), {"--labels-of"}),
        (("aeseg", "demo", "--task", "l"), {"lung", "liver"}),
        (("aeseg", "predict", "--sk"), {"--skip-bad"}),
    ],
)
def test_bash_completes_commands_options_and_values(script, words, expected):
    assert set(completed(script, *words)) == expected


def test_bash_completes_folders(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    assert completed(script, "aeseg", "fit", "--images", "pi") == ["pictures"]
