"""Execute a notebook top to bottom in a fresh kernel, with patience for a busy machine."""

import asyncio
import atexit
import logging
import re
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from tqdm import tqdm
from traitlets.config import Config

from kernels import Kernel, marked_environment
from notebook_file import NotANotebook, read

LIMIT = 60  # minutes for a cell: the slowest needs 2 on an idle machine, so this tells a hang from a busy one
START = 600  # seconds for a kernel to start, and for the outputs of a cell that has ended to arrive


HUNG = """It did not end within {} minutes. No cell of the course takes long on an idle machine: so it hangs, or other
programs leave it next to nothing of the cores. Close them (other running notebooks first) and call this again."""
SILENT = logging.getLogger("d2lnorm.silent")  # what nbclient would log is in the messages below
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


class NotebookFailed(Exception):
    """A notebook's cell failed; the message names both. `notebook` is what was executed; None if nothing was."""

    def __init__(self, message: str, notebook: nbformat.NotebookNode | None = None):
        super().__init__(message)
        self.notebook = notebook


class Loop(asyncio.SelectorEventLoop):
    def add_signal_handler(self, *arguments) -> None:
        raise NotImplementedError  # nbclient's handlers would end the kernel and then wait for it


def execute(path: Path) -> nbformat.NotebookNode:
    """Return the notebook at `path` executed; the file is not touched, and no process of the kernel is left.

    Raises:
        NotebookFailed: the file is no notebook, the kernel did not start, or a cell raised, hung or killed the kernel.
        KeyboardInterrupt: Ctrl-C, while a cell ran or at any other time.
    """
    try:
        nb = read(path)
    except NotANotebook as error:
        raise NotebookFailed(str(error)) from None
    code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]
    bar = tqdm(total=len(code), desc=path.stem, unit="cell", disable=not sys.stderr.isatty())
    reached = None

    def show(cell: nbformat.NotebookNode, cell_index: int) -> None:
        nonlocal reached
        reached = f"{path.name}, cell {cell_index + 1} ({cell.id})", cell
        bar.set_postfix_str(f"cell {cell_index + 1}: {_first_line(cell)[:40]}")

    def count(cell: nbformat.NotebookNode, cell_index: int, execute_reply: dict) -> None:
        bar.update()
        if cell is code[-1]:
            client.shutdown_kernel = "graceful"  # it may tidy up; before, it may be busy and would not answer

    client = NotebookClient(
        nb,
        timeout=LIMIT * 60,
        startup_timeout=START,
        iopub_timeout=START,
        kernel_manager_class=Kernel,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # a kernel may send one print in two pieces
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_execute=show,
        on_cell_executed=count,
        shutdown_kernel="immediate",
        config=Config(KernelManager={"transport_encryption": "auto"}),
        log=SILENT,
    )
    with tempfile.TemporaryFile() as said:  # by the kernel's process, apart from the cells' outputs
        try:
            with (
                bar,
                marked_environment(TQDM_DISABLE="1") as environment,  # stored progress bars are dead widgets
                asyncio.Runner(loop_factory=Loop) as runner,
            ):
                runner.run(_until_stopped(client, env=environment, stdout=said, stderr=said))
        except CellTimeoutError:
            place, cell = reached
            raise NotebookFailed(f"{place} was stopped: {_first_line(cell)}\n{HUNG.format(LIMIT)}", nb) from None
        except CellExecutionError as error:
            raise NotebookFailed(f"{reached[0]} failed. {_without_colours(error)}", nb) from None
        except DeadKernelError as error:
            place = reached[0] if reached else path.name
            raise NotebookFailed(f"{place} failed. {error}\n{_last_lines(said)}", nb) from None
        except RuntimeError as error:  # jupyter_client's
            raise NotebookFailed(f"{path.name}: its kernel did not start. {error}\n{_last_lines(said)}") from None
        finally:
            atexit.unregister(client._cleanup_kernel)  # left there if it was stopped while the kernel started
    return nb


async def _until_stopped(client: NotebookClient, **process) -> None:
    """Execute; if this is cancelled, kill the kernel at once. nbclient alone would take it for a kernel that died."""
    execution = asyncio.ensure_future(client.async_execute(**process))
    try:
        await asyncio.shield(execution)
    except asyncio.CancelledError:
        execution.cancel()
        with suppress(Exception, asyncio.CancelledError):
            await execution
        raise


def _first_line(cell: nbformat.NotebookNode) -> str:
    return next((line for line in cell.source.splitlines() if line.strip()), "")


def _without_colours(error: Exception) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", str(error))


def _last_lines(said: BinaryIO) -> str:
    said.seek(0)
    return "\n".join(said.read().decode(errors="replace").splitlines()[-5:])
