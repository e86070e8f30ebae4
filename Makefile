# The course's commands; a plain `make` lists them.
#
# Variables, to be given on the command line:
#   PYTHON       the Python that makes the environment           make run PYTHON=python3.12
#                (python3; where that is too old or new, another that is found)
#   VENV         where the environment is made                   make run VENV=/big/disk/venv
#   ENV          an existing environment to use instead          make run ENV=$CONDA_PREFIX
#   TORCH_INDEX  a pip index for CPU-only torch                  make run TORCH_INDEX=URL
#   NOTEBOOKS    which notebooks to run, store or test           make run NOTEBOOKS='notebooks/07*.ipynb'
#   AGAIN        run executes finished notebooks too             make run AGAIN=1
#   SLIDES       which decks to make                             make slides SLIDES='slides/02*.md'
#   FORMAT       html, or pptx for PowerPoint                    make slides FORMAT=pptx
#   PYTEST_ARGS  more options for pytest                         make test PYTEST_ARGS="-x -k data"
#   LAB_ARGS     more options for JupyterLab                     make lab LAB_ARGS="--port=8899"
PYTHON ?= python3
VENV ?= .venv
ENV ?=
TORCH_INDEX ?=
NOTEBOOKS ?= $(sort $(wildcard notebooks/*.ipynb))
AGAIN ?=
SLIDES ?= $(sort $(wildcard slides/*.md))
FORMAT ?= html
PYTEST_ARGS ?=
LAB_ARGS ?=

ifeq ($(ENV),)
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
else
PY := $(ENV)/bin/python
READY := check-env
endif
export PY
unexport PYTHONOPTIMIZE  # it removes every assert
export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
# Two threads that wait for each other by spinning halve a busy core, and training then takes many times as long;
# a short spin costs nothing on an idle machine. Read by GCC's OpenMP, which torch uses on Linux.
export GOMP_SPINCOUNT ?= 10000
# Two at a time: test files in four fifths of the time, notebooks, which use both cores already, a little sooner.
# (PYTEST_ARGS='-n 0': one at a time.)
TWO := -n 2 --dist loadfile
# In a call of its own: beside --cov, nbval would measure coverage in the notebooks' kernels, which slows training.
# A cell that takes an hour hangs; one that takes minutes is on a busy machine.
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with=tests/nbval_sanitize.cfg
NBVAL += --nbval-cell-timeout=3600 --nbval-kernel-startup-timeout=600

.DEFAULT_GOAL := help
.PHONY: help setup check-env data run lab slides pages student test notebooks lint bench clean

help:  ## list these commands
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*  ## /\1|/' | awk -F'|' '{printf "make %-10s %s\n", $$1, $$2}'

setup: $(READY)  ## make .venv and install the pinned packages (once)

$(VENV)/.ready: requirements.txt pyproject.toml tools/setup.sh
	@tools/setup.sh '$(PYTHON)' '$(VENV)' $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))

check-env:
	@"$$PY" tools/check_environment.py

data: setup  ## fetch Fashion-MNIST into data/ and verify it
	@"$$PY" -m d2lnorm data

run: data  ## execute every notebook that is new or changed (AGAIN=1: all); copies go to build/
	@"$$PY" tools/notebooks.py run $(if $(AGAIN),--again) $(NOTEBOOKS)

lab: data  ## open the notebooks in JupyterLab
	@"$$PY" -m jupyterlab --notebook-dir=notebooks $(LAB_ARGS)

slides: setup  ## make the slide decks, and a PDF of each, in build/slides/ (FORMAT=pptx: for PowerPoint)
	@"$$PY" tools/slides.py --format=$(FORMAT) $(SLIDES)

pages: setup  ## make the course's site, with its notebooks as pages, in build/site/
	@"$$PY" tools/pages.py

student: setup  ## copy the notebooks without solutions and outputs to build/student/
	@"$$PY" tools/student.py $(NOTEBOOKS)

test: data  ## run the tests, in a browser too, and every notebook against its stored outputs
	@"$$PY" -m pytest $(TWO) --cov --cov-report=term-missing:skip-covered $(PYTEST_ARGS) tests
	@"$$PY" -m pytest $(TWO) $(NBVAL) $(PYTEST_ARGS) $(NOTEBOOKS)

notebooks: data  ## maintainers: execute the notebooks and store their outputs
	@"$$PY" tools/notebooks.py store $(NOTEBOOKS)

lint: setup  ## check the style of package, tests, tools and notebooks, and the package's types
	@"$$PY" -m ruff check
	@"$$PY" -m ruff format --check
	@"$$PY" -m mypy

bench: data  ## measure speed, as ratios
	@"$$PY" tools/bench.py

clean:  ## remove build/ (unless something in it is yours) and caches; .venv and data stay
	@$(if $(wildcard $(PY)),"$$PY",$(PYTHON)) tools/build_folder.py
	@rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage* *.egg-info
	@find d2lnorm tests tools -name __pycache__ -prune -exec rm -rf {} +
