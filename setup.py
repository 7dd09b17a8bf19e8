"Packaging; every value comes from settings.ini, which nbdev reads too."

import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=["="])
config.read(here / "settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]
readme = here / "README.md"
oldest = dict(
    line.split("==") for line in (here / "constraints-oldest.txt").read_text().splitlines() if "==" in line
)
oldest = {name.lower(): version for name, version in oldest.items() if name != "torch"}


def with_lower_bound(requirement):
    "A runtime requirement with the oldest version that was tried."
    name = requirement.split("<")[0]
    if name.lower() not in oldest:
        return requirement
    return ",".join([f"{name}>={oldest[name.lower()]}", *re.findall("<.*", requirement)])


licenses = {"apache2": "Apache-2.0"}
extras = {k.removesuffix("_requirements"): v.split() for k, v in cfg.items() if k.endswith("_requirements")}
extras["dev"] = sorted({requirement for names in extras.values() for requirement in names})

setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else cfg["description"],
    long_description_content_type="text/markdown",
    author=cfg["author"],
    license_expression=licenses[cfg["license"]],
    keywords=cfg["keywords"].split(),
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Framework :: Jupyter",
    ],
    packages=find_packages(include=[cfg["lib_name"], cfg["lib_name"] + ".*"]),
    package_data={cfg["lib_name"]: ["app/inspector/*.js", "app/inspector/*.css", "app/templates/*"]},
    python_requires=">=" + cfg["min_python"],
    install_requires=[with_lower_bound(requirement) for requirement in cfg["requirements"].split()],
    extras_require=extras,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_name']}={cfg['lib_name']}._modidx:d"],
    },
    zip_safe=False,
)
