"""None of the user's own settings of Python, IPython, Jupyter and matplotlib may change what a notebook shows."""

import atexit
import os
import shutil
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path

FOREIGN = (
    "JUPYTER_CONFIG_PATH",
    "JUPYTER_PATH",
    "MPLBACKEND",  # without it a notebook's kernel takes its own, which draws into the page
    "PYTHONDEVMODE",  # it warns of more
    "PYTHONOPTIMIZE",  # it removes every assert
    "PYTHONSTARTUP",  # IPython's kernels run that file
    "PYTHONWARNINGS",
)


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="d2lnorm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def use_private_settings() -> None:
    """Change this process's environment variables so that it, and what it starts, finds no settings of the user.

    The folders that stand in for the user's are empty and vanish with this process. It must be called before Jupyter
    is imported. Settings of the machine (/etc) and of the Python environment stay.
    """
    for name in FOREIGN:
        os.environ.pop(name, None)
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        os.environ[name] = str(_folder() / name.lower())
    if matplotlib := find_spec("matplotlib"):
        os.environ["MATPLOTLIBRC"] = str(Path(matplotlib.origin).parent / "mpl-data" / "matplotlibrc")
