"""Copies of the notebooks for students, in build/student/: without solutions and outputs, everything else as it was."""

import argparse
import os
import re
import sys
from pathlib import Path

import nbformat

from build_folder import BUILD, edited, put

ROOT = Path(__file__).resolve().parent.parent


class Unbalanced(ValueError):
    """An exercise is not stub, check, solution, in this order; the message names notebook and cell."""


def tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", []))


def check_exercises(nb: nbformat.NotebookNode, name: str) -> None:
    """Raise `Unbalanced` unless every stub is followed by its check and its solution, and nothing else is tagged so."""
    awaited = ("stub", "exercise")
    for cell in nb.cells:
        if cell.cell_type != "code" or not (kinds := tags(cell) & {"exercise", "check", "solution"}):
            continue
        part, tag = awaited
        if kinds != {tag} or not re.fullmatch(rf"exercise-\d+-{part}", cell.id):
            raise Unbalanced(
                f"{name}: expected a cell exercise-N-{part} tagged {tag!r}, "
                f"but {cell.id!r}, tagged {', '.join(sorted(kinds))}, came"
            )
        awaited = {"stub": ("check", "check"), "check": ("solution", "solution")}.get(part, ("stub", "exercise"))
    if awaited[0] != "stub":
        raise Unbalanced(f"{name}: the last exercise has no {awaited[0]}")


def student_copy(nb: nbformat.NotebookNode, name: str) -> nbformat.NotebookNode:
    """Return the notebook without its cells tagged `solution`, and without outputs; `nb` stays as it is.

    Raises:
        Unbalanced: an exercise lacks its stub, its check or its solution.
    """
    check_exercises(nb, name)
    copy = nbformat.from_dict({**nb, "cells": [c.copy() for c in nb.cells if "solution" not in tags(c)]})
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return copy


def main(arguments: list[str]) -> int:
    """Return the exit status: 1 when a notebook's exercises are not whole; then nothing is written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted((ROOT / "notebooks").glob("*.ipynb")))
    parser.add_argument("--build", type=Path, default=BUILD)
    options = parser.parse_args(arguments)
    try:
        copies = {p.name: student_copy(nbformat.read(p, as_version=4), p.name) for p in options.notebooks}
    except (Unbalanced, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    folder = options.build / "student"
    kept = edited(options.build)
    for name, copy in copies.items():
        if folder / name in kept:
            print(f"{name} was edited: left as it is. Rename it, and call again for a clean copy.", file=sys.stderr)
        else:
            put(f"student/{name}", nbformat.writes(copy) + "\n", options.build)
    data = options.build / "data"  # d2l looks for the data in the folder beside the notebooks'
    if not data.exists():
        try:
            data.unlink(missing_ok=True)  # a link that leads nowhere
            data.symlink_to(os.path.relpath(ROOT / "data", options.build.resolve()), target_is_directory=True)
        except OSError as error:  # Windows asks for a right that few users have
            print(f"no link from {data} to the data: d2l will fetch its own copy there ({error})", file=sys.stderr)
    print(f"{len(copies)} notebooks without solutions and outputs: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
