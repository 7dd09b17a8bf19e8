# aeseg. `make` or `make help` lists the targets.
# Extra pip options, for example a CPU-only PyTorch:
#   make install PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
PIP_ARGS ?=
GPU_ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo quick test test-oldest gpu lab export readme docs docs-serve package diagram picture screenshot clean

help:
	@echo 'make demo     the whole method on synthetic phantoms, with a report in runs/demo'
	@echo 'make lab      the notebooks in JupyterLab (this machine only)'
	@echo 'make quick    the tests that are not slow, without notebooks, in about a minute'
	@echo 'make test     notebooks, tests/, and the check that code and notebooks agree'
	@echo 'make test-oldest the tests that are not slow, with the oldest versions that work (constraints-oldest.txt)'
	@echo 'make gpu      checks, speed and tables on a CUDA GPU, see tests/gpu_plan.py (GPU_ARGS="--minutes 12")'
	@echo 'make install  .venv with the exact versions of constraints.txt'
	@echo 'make export   clean the notebooks and write aeseg/ from them'
	@echo 'make readme   write README.md from nbs/index.ipynb'
	@echo 'make docs     the site: docs/_build/html/index.html'
	@echo 'make docs-serve the site on 127.0.0.1'
	@echo 'make package  wheel and sdist in dist/, tried in an empty environment'
	@echo 'make diagram  the figures of the method, nbs/images/method*.svg'
	@echo 'make picture  nbs/images/overview.png from runs on phantoms of the four tasks'
	@echo 'make screenshot nbs/images/inspector.png from the demo (needs Chromium)'
	@echo 'make clean    remove build products and caches (keeps .venv and runs)'

install: $(STAMP)

# setuptools and wheel come first, pinned, and build aeseg without an isolated
# environment, so that no unpinned version is fetched. PyMIC is for a test of
# its loss modules, which need none of what the rest of PyMIC asks for.
$(STAMP): settings.ini setup.py pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt --no-build-isolation -e '.[dev]'
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt --no-deps PYMIC
	@touch $(STAMP)

demo: install
	$(BIN)/aeseg demo --out runs/demo

quick: install
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not slow'

test: install
	$(BIN)/python tests/run_notebooks.py
	$(BIN)/python -m pytest -n 2 --dist worksteal --durations 15 --malformed 300
	$(BIN)/python tests/check_clean.py

# The oldest versions have an environment of their own, .venv-oldest.
test-oldest:
	test -x .venv-oldest/bin/pip || $(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet $(PIP_ARGS) -c constraints-oldest.txt setuptools wheel
	.venv-oldest/bin/python -m pip install --quiet $(PIP_ARGS) -c constraints-oldest.txt --no-build-isolation -e '.[dev]'
	.venv-oldest/bin/python -m pytest -q -n 2 --dist worksteal -m 'not slow'

gpu: install
	$(BIN)/python tests/gpu_plan.py $(GPU_ARGS)

lab: install
	$(BIN)/jupyter lab nbs --ip 127.0.0.1

export: install
	$(BIN)/nbdev_clean
	$(BIN)/nbdev_export

readme: install
	$(BIN)/python tests/make_readme.py

docs: install
	$(BIN)/python docs/build.py

docs-serve: install
	$(BIN)/python docs/build.py --serve

package: install
	$(BIN)/python tests/make_package.py -- $(PIP_ARGS)

diagram: install
	$(BIN)/python tests/make_diagram.py

picture: install
	$(BIN)/python tests/make_picture.py runs/picture

screenshot: demo
	$(BIN)/python tests/make_screenshot.py

clean:
	rm -rf build dist docs/_build _docs _proc .pytest_cache *.egg-info
	find . \( -name .git -o -name '.venv*' -o -name runs \) -prune -o \
		-type d \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
