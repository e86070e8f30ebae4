"""Say whether this Python's packages are the pinned ones, for people who bring their own environment."""

import importlib.metadata
import sys
from importlib.util import find_spec
from pathlib import Path

try:
    from packaging.requirements import Requirement
except ModuleNotFoundError:
    Requirement = None

REQUIREMENTS = Path(__file__).parent.parent / "requirements.txt"


def pinned(path: Path = REQUIREMENTS) -> list[Requirement]:
    """Return the requirements in the list, comments left out."""
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [Requirement(line) for line in lines if line]


def problems(requirements: list[Requirement]) -> list[str]:
    """Return a line for each requirement that is missing here or installed in another version."""
    found = []
    for requirement in requirements:
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            found.append(f"{requirement} is not installed")
        else:
            if version not in requirement.specifier:  # 2.15.0+cpu counts as 2.15.0
                found.append(f"{requirement} is wanted, {version} is installed")
    return found


def remedy() -> str:
    """Return the command that installs the packages here; uv makes environments that have no pip."""
    if find_spec("pip"):
        return f"{sys.executable} -m pip install -r requirements.txt"
    return f"uv pip install --python {sys.executable} -r requirements.txt"


if __name__ == "__main__":
    lines = problems(pinned()) if Requirement else ["packaging, and so probably all others, is not installed"]
    if lines:
        print(f"The environment {sys.prefix} does not hold the course's pinned packages:", *lines, sep="\n  ")
        sys.exit(f"Complete it with: {remedy()}")
