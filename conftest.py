"""For every test run, and so for the kernels of the notebooks under test."""

import os

import tqdm.auto  # noqa: F401  before its switch: the tests see progress bars, the notebooks have none

from private_settings import use_private_settings

use_private_settings()
os.environ["TQDM_DISABLE"] = "1"  # a bar's output is never the same
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as in the Makefile: threads must not spin on a busy machine


def pytest_configure(config):
    if not getattr(config.option, "nbval", False):
        os.environ["MPLBACKEND"] = "agg"  # no test opens a window; the notebooks' kernels choose their own


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "output_timeout"):  # nbval's, 5 seconds for a cell's outputs after its end
            item.output_timeout = 600  # this machine may be busy
