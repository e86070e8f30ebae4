"""For every test run, and so for the kernels of the notebooks under test."""

import os

import tqdm.auto  # noqa: F401  before its switch: the tests see progress bars, the notebooks have none

os.environ["TQDM_DISABLE"] = "1"  # a bar's output is never the same
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as in the Makefile: threads must not spin on a busy machine
os.environ.setdefault("MPLBACKEND", "agg")  # the notebooks' kernels choose their own
