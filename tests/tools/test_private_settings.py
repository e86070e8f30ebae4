"""Nothing of the user's own changes what a notebook shows: in `make run`, in `make notebooks` and under nbval."""

import json
import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_output
from tiny_notebooks import ROOT, make_notebook, outputs, start

import kernels

CELLS = (
    "import sys\nsys.executable",
    "'startup' in globals(), 'python_startup' in globals()",
    "get_ipython().InteractiveTB.mode, get_ipython().colors",
    "import matplotlib as mpl\nmpl.get_backend(), mpl.rcParams['lines.linewidth'], mpl.rcParams['figure.dpi']",
    "import os\n[name for name in ('JUPYTER_PATH', 'PYTHONSTARTUP', 'PYTHONWARNINGS') if name in os.environ]",
    "assert __debug__",
)
SHOWN = [
    repr(sys.executable),
    "(False, False)",
    "('Context', 'Neutral')",
    "('module://matplotlib_inline.backend_inline', 1.5, 100.0)",
    "[]",
    "",
]


@pytest.fixture
def user(tmp_path):
    """The variables of a user who has settings of his own for everything."""
    home = tmp_path / "home"
    files = {
        ".ipython/profile_default/startup/00.py": "startup = 1",
        ".ipython/profile_default/ipython_config.py": "c.InteractiveShell.xmode = 'Minimal'",
        ".ipython/profile_default/ipython_kernel_config.py": "c.InteractiveShell.colors = 'NoColor'",
        ".config/matplotlib/matplotlibrc": "lines.linewidth: 9\nfigure.dpi: 31\nbackend: svg",
        "matplotlibrc": "lines.linewidth: 8",
        "python_startup.py": "python_startup = 1",
        ".jupyter/jupyter_config.py": "c.KernelManager.transport = 'none'",
        ".local/share/jupyter/kernels/python3/kernel.json": json.dumps(
            {"argv": ["/bin/false"], "display_name": "another Python", "language": "python"}
        ),
    }
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
    shutil.copytree(home / ".local/share/jupyter", home / "jupyter_path")
    names = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    return dict.fromkeys(names) | {
        "HOME": str(home),
        "JUPYTER_PATH": str(home / "jupyter_path"),
        "JUPYTER_CONFIG_PATH": str(home / ".jupyter"),
        "JUPYTER_PREFER_ENV_PATH": "0",
        "MATPLOTLIBRC": str(home),
        "MPLBACKEND": "svg",
        "PYTHONSTARTUP": str(home / "python_startup.py"),
        "PYTHONOPTIMIZE": "1",
        "PYTHONWARNINGS": "ignore",
    }


def test_run_and_store_show_the_same_as_without_them(tmp_path, user):
    path = make_notebook(tmp_path, *CELLS)
    process = start("run", "--build", "build", path, cwd=tmp_path, **user)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, ""), out
    assert outputs(tmp_path / "build" / path.name) == SHOWN
    process = start("store", path, cwd=tmp_path, **user)
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, ""), out
    assert outputs(path) == SHOWN


def test_nbval_compares_with_the_same(tmp_path, user):
    path = make_notebook(tmp_path, *CELLS)
    nb = nbformat.read(path, as_version=4)
    for number, (cell, text) in enumerate(zip(nb.cells[1:], SHOWN, strict=True), start=1):
        result = new_output("execute_result", data={"text/plain": text}, execution_count=number)
        cell.outputs, cell.execution_count = [result] if text else [], number
    nbformat.write(nb, path)
    env = {k: v for k, v in (os.environ | user | {"PYTHONOPTIMIZE": None}).items() if v is not None}
    command = [sys.executable, "-m", "pytest", "-q", "--nbval", "--nbval-current-env", f"--rootdir={ROOT}"]
    config = ["-c", ROOT / "pyproject.toml", f"--confcutdir={ROOT}", "-p", "conftest"]
    done = subprocess.run([*command, *config, path], capture_output=True, text=True, cwd=ROOT, env=env, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(CELLS)} passed" in done.stdout


@pytest.mark.parametrize("name", ["python3", "julia-1.11", ".venv"])
def test_a_kernel_of_any_name_is_this_python(name):
    kernel = kernels.Kernel(kernel_name=name)
    assert kernel.kernel_spec.argv[:1] == [sys.executable]
    assert kernel.format_kernel_cmd()[0] == sys.executable
