"""Execute the course's notebooks: `run` into build/, `store` with fresh outputs in place."""

import argparse
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter
from tqdm import tqdm
from traitlets.config import Config

from build_folder import put_notebook, write
from npm_packages import mathjax

TEMPLATES = Path(__file__).parent / "templates"
KEPT_CELL_METADATA = {"tags", "slideshow", "jupyter"}
IGNORED = "nbval-ignore-output"
IMAGES = {"image/png", "image/jpeg"}


class NotebookFailed(Exception):
    """A notebook's cell failed; the message names both."""


def execute(path: Path) -> nbformat.NotebookNode:
    """Return the notebook at `path` executed top to bottom in a fresh kernel; the file is not touched.

    Raises:
        NotebookFailed: a cell raised, hung for 10 minutes or killed its kernel. The exception's `notebook`
            attribute holds what was executed.
    """
    nb = nbformat.read(path, as_version=4)
    code = [cell for cell in nb.cells if cell.cell_type == "code" and cell.source.strip()]
    every = 0.1 if sys.stderr.isatty() else 10  # seconds: a log file shall not fill with bars
    bar = tqdm(total=len(code), desc=path.stem, unit="cell", mininterval=every)

    reached = [1, code[0]] if code else []

    def show(cell: nbformat.NotebookNode, cell_index: int) -> None:
        reached[:] = cell_index + 1, cell
        first = next((line for line in cell.source.splitlines() if line.strip()), "")
        bar.set_postfix_str(f"cell {cell_index + 1}: {first[:40]}")

    client = NotebookClient(
        nb,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,  # a kernel may send one print in two pieces
        resources={"metadata": {"path": str(path.parent)}},
        on_cell_execute=show,
        on_cell_executed=lambda cell, cell_index, execute_reply: bar.update(),
        config=Config(KernelManager={"transport_encryption": "auto"}),
    )
    try:
        with bar:
            client.execute(env=os.environ | {"TQDM_DISABLE": "1"})  # stored progress bars are dead widgets
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        number, cell = reached
        words = re.sub(r"\x1b\[[\d;]*m", "", str(error))  # without the colours
        failure = NotebookFailed(f"{path.name}, cell {number} ({cell.id}) failed. {words}")
        failure.notebook = nb
        raise failure from None
    return nb


def clean_metadata(nb: nbformat.NotebookNode) -> None:
    """Drop, in place, what differs between machines: kernel details, widget state, foreign cell metadata."""
    nb.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for cell in nb.cells:
        cell.metadata = nbformat.from_dict({k: v for k, v in cell.metadata.items() if k in KEPT_CELL_METADATA})
        if cell.cell_type == "code":
            cell.outputs = [
                o for o in cell.outputs if "application/vnd.jupyter.widget-view+json" not in o.get("data", {})
            ]


def compared(nb: nbformat.NotebookNode) -> list:
    """Return what must be equal for two executions to count as the same: all that nbval compares."""

    def text(output: dict) -> dict:
        data = {k: v for k, v in output.get("data", {}).items() if k not in IMAGES}
        return {**{k: v for k, v in output.items() if k != "data"}, "data": data}

    return [
        (c.id, c.cell_type, c.source, c.metadata)
        + ((c.execution_count, [text(o) for o in c.outputs] if IGNORED not in c.metadata.get("tags", []) else None)
           if c.cell_type == "code" else ())
        for c in nb.cells
    ]  # fmt: skip


def publish(nb: nbformat.NotebookNode, name: str) -> None:
    """Put an executed copy, and the HTML page made of it, into build/."""
    target = put_notebook(name, nbformat.writes(nb) + "\n")
    exporter = HTMLExporter(extra_template_basedirs=[str(TEMPLATES)], template_name="page", embed_images=True)
    resources = {"metadata": {"name": target.stem}, "mathjax": mathjax()}  # without it the page asks the web
    html, _ = exporter.from_notebook_node(nb, resources)
    write(target.with_suffix(".html"), html)


def run(paths: list[Path]) -> None:
    for path in paths:
        start = time.perf_counter()
        try:
            nb = execute(path)
        except NotebookFailed as failure:
            clean_metadata(failure.notebook)
            publish(failure.notebook, path.name)
            raise
        clean_metadata(nb)
        publish(nb, path.name)
        print(f"{path.name}: {time.perf_counter() - start:.0f} s, see build/{path.stem}.html")


def store(paths: list[Path]) -> None:
    for path in paths:
        before = nbformat.read(path, as_version=4)
        nb = execute(path)
        clean_metadata(nb)
        if compared(nb) == compared(before) and nb.metadata == before.metadata:
            print(f"{path.name}: nothing changed, left as it is")
            continue
        write(path, nbformat.writes(nb) + "\n")
        print(f"{path.name}: stored, {path.stat().st_size / 1000:.0f} kB")


def main(arguments: list[str]) -> int:
    """Return the exit status: 1 after a cell that failed, whose notebook and error are then on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["run", "store"])
    parser.add_argument("notebooks", nargs="+", type=Path)
    options = parser.parse_args(arguments)
    try:
        (run if options.command == "run" else store)(options.notebooks)
    except NotebookFailed as failure:
        print(f"\n{failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
