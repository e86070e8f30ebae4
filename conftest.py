"""For every test run, and so for the kernels of the notebooks under test."""

import os
import signal

os.environ.pop("TQDM_DISABLE", None)  # set below, and so for the processes that share the tests of this one
import pytest  # noqa: E402
import tqdm.auto  # noqa: E402, F401  before its switch: the tests see progress bars, the notebooks have none

from private_settings import use_private_settings

use_private_settings()
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # of `make test`; the makes under test are none of it
    os.environ.pop(name, None)
# A job in the background ignores Ctrl-C, one under nohup a hang-up, and what it starts does the same. The tests of
# interruption send these signals to what they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
os.environ["TQDM_DISABLE"] = "1"  # a bar's output is never the same
os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # as in the Makefile: threads must not spin on a busy machine


def pytest_configure(config):
    if not getattr(config.option, "nbval", False):
        os.environ["MPLBACKEND"] = "agg"  # no test opens a window; the notebooks' kernels choose their own


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "output_timeout"):  # nbval's, 5 seconds for a cell's outputs after its end
            item.output_timeout = 600  # this machine may be busy


@pytest.fixture
def tell(record_property):
    """Put lines into the summary at the end, from each of the processes that share the tests."""
    return lambda *lines: record_property("told", "\n".join(lines))


def pytest_terminal_summary(terminalreporter):
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    told = [text for report in reports for name, text in getattr(report, "user_properties", ()) if name == "told"]
    if told:
        terminalreporter.section("what the tests counted")
        terminalreporter.write_line("\n\n".join(told))
