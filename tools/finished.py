"""Which notebooks need not be executed again: their copy is in build/, and what made them is unchanged."""

import hashlib
import json
import sys
from functools import cache
from pathlib import Path

from build_folder import FINISHED, add, read_record
from notebook_file import NotANotebook, read

PACKAGE = Path(__file__).parent.parent / "d2lnorm"


@cache
def package(folder: Path = PACKAGE) -> str:
    """Return a digest of the package's code."""
    files = [path for path in sorted(folder.rglob("*.py")) if path.is_file()]
    content = [(path.relative_to(folder).as_posix(), path.read_text(encoding="utf-8")) for path in files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def fingerprint(path: Path) -> str:
    """Return a digest of what an execution depends on: the notebook's cells, without outputs, package and Python.

    Raises:
        NotANotebook: as `read` does.
    """
    cells = [(cell.cell_type, cell.source, cell.metadata.get("tags", [])) for cell in read(path).cells]
    return hashlib.sha256(json.dumps([cells, package(), sys.version]).encode()).hexdigest()


def is_finished(path: Path, build: Path) -> bool:
    """Say whether build/ holds this notebook's copy as `note` was told."""
    if not (build / path.name).is_file():
        return False
    try:
        return read_record(FINISHED, build).get(path.name) == fingerprint(path)
    except NotANotebook:
        return False


def note(path: Path, made_of: str, build: Path) -> None:
    """Record that the copy in build/ is finished; `made_of` is the fingerprint before the execution."""
    add(FINISHED, path.name, made_of, build)
