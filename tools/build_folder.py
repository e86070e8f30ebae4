"""The folder build/: what the tools write there, and what of it somebody edited since. Run it to empty build/."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

BUILD = Path(__file__).parent.parent / "build"
WRITTEN = ".written.json"  # the digest of each notebook as the tools wrote it


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.write(text)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def written(build: Path) -> dict[str, str]:
    record = build / WRITTEN
    return json.loads(record.read_text()) if record.exists() else {}


def edited(build: Path = BUILD) -> list[Path]:
    """Return the notebooks in build/ and its folders that somebody changed, or put there, since the tools wrote it."""
    notebooks = sorted([*build.glob("*.ipynb"), *build.glob("[!.]*/*.ipynb")])
    return [p for p in notebooks if written(build).get(p.relative_to(build).as_posix()) != digest(p)]


def put_notebook(name: str, text: str, build: Path = BUILD) -> Path:
    """Write a notebook into build/ and return its path; an edited one of that name is renamed, not lost.

    The name may have a folder in it: "student/02_batch_norm_from_scratch.ipynb".
    """
    target = build / name
    target.parent.mkdir(parents=True, exist_ok=True)
    if target in edited(build):
        mine = target.with_name(f"{target.stem}.mine-{time.strftime('%Y%m%d-%H%M%S')}.ipynb")
        target.rename(mine)
        print(f"{name} in build/ was edited: your version is now {mine.name}", file=sys.stderr)
    write(target, text)
    write(build / WRITTEN, json.dumps(written(build) | {name: digest(target)}, indent=1))
    return target


def clean(build: Path = BUILD) -> None:
    """Remove build/, unless it holds an edited notebook; exit with a message then."""
    if kept := edited(build):
        sys.exit(f"build/ is kept, for it holds notebooks that you edited: {', '.join(p.name for p in kept)}")
    shutil.rmtree(build, ignore_errors=True)


if __name__ == "__main__":
    clean()
