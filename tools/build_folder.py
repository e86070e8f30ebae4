"""The folder build/: what the tools write there, and what of it is somebody's own. Run it to empty build/."""

import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

BUILD = Path(__file__).parent.parent / "build"
DECKS = Path(__file__).parent.parent / "slides"
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
    try:
        return json.loads((build / WRITTEN).read_text())
    except (FileNotFoundError, ValueError):  # without a readable record every notebook counts as edited
        return {}


def edited(build: Path = BUILD) -> list[Path]:
    """Return the notebooks in build/ and its folders that somebody changed, or put there, since the tools wrote it."""
    record = written(build)
    notebooks = (p for p in sorted(build.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts)
    return [p for p in notebooks if record.get(p.relative_to(build).as_posix()) != digest(p)]


def put_notebook(name: str, text: str, build: Path = BUILD) -> Path:
    """Write a notebook into build/ and return its path; an edited one of that name is renamed, not lost.

    The name may have a folder in it: "student/02_batch_norm_from_scratch.ipynb".
    """
    target, record = build / name, written(build)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and record.get(name) != digest(target):
        stem, number = f"{target.stem}.mine-{time.strftime('%Y%m%d-%H%M%S')}", 1
        while (mine := target.with_name(f"{stem}{'' if number == 1 else f'-{number}'}.ipynb")).exists():
            number += 1
        target.rename(mine)
        print(f"{name} in build/ was edited: your version is now {mine.name}", file=sys.stderr)
    write(target, text)
    write(build / WRITTEN, json.dumps(record | {name: digest(target)}, indent=1))
    return target


def not_ours(build: Path = BUILD) -> list[Path]:
    """Return the files in build/ that are not as the tools wrote them: edited notebooks, and what they never write."""
    ours = {build / WRITTEN, build / "slides" / "index.html", *build.glob("screenshots/lab-*.png")}
    ours |= {build / name for name in written(build)}
    ours |= {path.with_suffix(".html") for path in ours if path.parent == build}  # `make run` makes pages, only there
    for script in DECKS.glob("*.md"):
        ours |= {build / "slides" / f"{script.stem}{suffix}" for suffix in (".html", ".pdf")}
    mine = set(edited(build))
    files = (p for p in sorted(build.rglob("*")) if not p.is_dir() and ".ipynb_checkpoints" not in p.parts)
    return [p for p in files if p in mine or (p not in ours and p != build / "data")]


def clean(build: Path = BUILD) -> None:
    """Remove build/, unless it holds something of the user's or cannot be removed; exit with a message then."""
    if kept := not_ours(build):
        names = ", ".join(p.relative_to(build).as_posix() for p in kept)
        sys.exit(f"build/ is kept, for it holds files that are yours: {names}")
    try:
        if build.exists():
            shutil.rmtree(build)
    except OSError as error:
        sys.exit(f"build/ could not be removed: {error}")


if __name__ == "__main__":
    clean()
