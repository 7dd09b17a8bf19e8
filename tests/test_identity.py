"""The cache key of a unit: what changes it, and what must not, or finished results would be lost."""

import json
import re
import shutil
import subprocess
import sys
from functools import cache

import pytest
import yaml
from commands import ONE_CORE, ROOT

import aeseg.studies.units as units
from aeseg.core.config import OPTIONS, build_config
from aeseg.studies.units import PACKAGE, UNIT_KINDS, Source, Unit, code_digest, identity, imported_modules

# ---------------------------------------------------------------- a new option

KEYS = """
import json
import aeseg
from aeseg.core.config import make_config
from aeseg.studies.units import UNIT_KINDS, Source, Unit, cache_key
configs = dict(default=make_config(), old=make_config(perturbation=0.2), new=make_config(perturbation=0.3))
keys = {}
for kind in UNIT_KINDS:
    for name, config in configs.items():
        keys[f"{kind} {name}"] = cache_key(Unit(kind, config, Source(())))
print(json.dumps([aeseg.__file__, keys]))
"""


def copy_package(folder):
    return shutil.copytree(PACKAGE, folder / "aeseg", ignore=shutil.ignore_patterns("__pycache__"))


def replace_once(path, pattern, replacement):
    "Edit a source file where a pattern occurs, which must be at one place."
    text, count = re.subn(pattern, replacement, path.read_text(encoding="utf-8"), flags=re.M)
    assert count == 1
    path.write_text(text, encoding="utf-8")


def keys_of(folder):
    "The cache keys of some units, as the copy of the package in a folder makes them."
    command = [sys.executable, "-c", KEYS]
    done = subprocess.run(command, cwd=folder, env=ONE_CORE, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    path, keys = json.loads(done.stdout)
    assert path == str(folder / "aeseg/__init__.py")
    return keys


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    "The keys by an unchanged copy."
    folder = tmp_path_factory.mktemp("unchanged")
    copy_package(folder)
    return keys_of(folder)


def add_option(folder, option):
    "A copy of the package with one more field, at the top of a group."
    head = '^class GANOptions:\n    "[^"]+"\n'
    replace_once(copy_package(folder) / "core/config.py", head, rf"\g<0>\n    novelty: float = {option}\n")


def changed(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_different_options_have_different_keys(keys):
    assert keys["network default"] == keys["network old"] != keys["network new"]
    assert len(set(keys.values())) == 8  # of 5 kinds with 2 values, of which two ignore this one


def test_an_option_with_its_old_behaviour_as_default_changes_no_key(keys, tmp_path):
    add_option(tmp_path, 'option(0.0, "a new option", low=0)')
    assert changed(keys, keys_of(tmp_path)) == set()


@pytest.mark.slow
def test_an_option_with_a_new_behaviour_as_default_changes_keys(keys, tmp_path):
    add_option(tmp_path, 'option(1.0, "a new option", low=0, reference=0.0)')
    assert changed(keys, keys_of(tmp_path)) == {
        n for n in keys if not n.startswith(("supervised", "refined"))
    }


@pytest.mark.slow
def test_a_changed_default_keeps_its_old_value_as_reference(keys, tmp_path):
    "The default units are new ones then; those with the old value are found again under their old keys."
    config = copy_package(tmp_path) / "core/config.py"
    replace_once(config, r"^(    perturbation: float = option\()\s*0\.2,", r"\g<1>0.3, reference=0.2, help=")
    after = keys_of(tmp_path)
    assert changed(keys, after) == {f"{kind} default" for kind in ("labels", "network", "corrupted")}
    assert after["network default"] == keys["network new"]


# ---------------------------------------------------------------- values that are kept


def test_reference_values():
    """Every option has the reference value that kept results were named with.

    A new option is added to reference_values.yaml, with its old behaviour as reference. A changed default
    keeps the value of this file as `reference`.
    """
    known = yaml.safe_load((ROOT / "tests/reference_values.yaml").read_text())
    assert {key: option.meta["reference"] for key, option in OPTIONS.items()} == known


# An identity that changes makes all kept results of its kind stale.
IDENTITIES = dict(
    labels="1d338264dddc9bec",
    network="b3adea4149506ebc",
    supervised="9d8f4e0beb07a6d6",
    refined="054743ba6b33a3c6",
    corrupted="8c6912ef20b701a4",
)


@pytest.mark.parametrize("kind", UNIT_KINDS)
def test_identities_of_kept_results(kind):
    values = {**yaml.safe_load((ROOT / "tests/reference_values.yaml").read_text()), "seed": 1, "rounds": 3}
    assert identity(Unit(kind, build_config(values), Source((), ids=("a*",)))) == IDENTITIES[kind]


# ---------------------------------------------------------------- code


@pytest.mark.parametrize("module", [pytest.param("app.fit", marks=pytest.mark.slow), "studies.supervised"])
def test_every_module_that_is_loaded_counts(module):
    "The modules read from the sources are those that Python loads, in all parts of the package."
    program = f"import sys, aeseg.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.removeprefix("aeseg.") for name in done.stdout.split() if name.startswith("aeseg.")}
    modules = {name for name in loaded if "." in name}  # a part's own file is empty
    assert modules == set(imported_modules(module))
    assert {name.split(".")[0] for name in modules} >= {"core", "data", "shapes", "method", "app"}


read_once = cache(units.without_docstrings)


@pytest.fixture(autouse=True)
def sources_are_read_once(monkeypatch):
    "Four kinds of units share most modules."
    monkeypatch.setattr(units, "without_docstrings", read_once)


@pytest.fixture
def package_copy(tmp_path, monkeypatch):
    "A copy of the package whose sources are hashed instead."
    copy = copy_package(tmp_path)
    monkeypatch.setattr(units, "PACKAGE", copy)
    code_digest.cache_clear()
    yield copy
    code_digest.cache_clear()


def digests():
    code_digest.cache_clear()
    return {name: code_digest(kind.module, kind.without) for name, kind in UNIT_KINDS.items()}


@pytest.fixture(scope="module")
def original_digests():
    return digests()


def append(path, line):
    with path.open("a", encoding="utf-8") as f:
        f.write(f"\n{line}\n")


@pytest.mark.parametrize(
    "path, kinds",
    [
        ("core/training.py", {"labels", "network", "supervised", "refined", "corrupted"}),
        ("data/augmentation.py", {"labels", "network", "supervised", "refined", "corrupted"}),
        ("shapes/priors.py", {"labels", "network", "refined", "corrupted"}),
        ("method/vae.py", {"labels", "network", "corrupted"}),
        ("method/cyclegan.py", {"labels", "network", "corrupted"}),
        ("method/segmentation.py", {"network", "supervised", "refined", "corrupted"}),
        ("method/losses.py", {"network", "supervised", "refined", "corrupted"}),
        ("studies/corrupted_masks.py", {"corrupted"}),
        ("core/config.py", set()),
        ("app/report.py", set()),
    ],
)
def test_changed_code_changes_the_digest_of_what_it_computes(original_digests, package_copy, path, kinds):
    append(package_copy / path, "NEW = 1")
    assert changed(original_digests, digests()) == kinds


def test_a_comment_changes_no_digest(original_digests, package_copy):
    append(package_copy / "method/vae.py", "# a comment")
    assert digests() == original_digests
