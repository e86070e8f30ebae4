"""The folder build/: what the tools write there, and what of it is somebody's own. Run it to empty build/."""

import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from locks import Busy, locked

BUILD = Path(__file__).parent.parent / "build"
DECKS = Path(__file__).parent.parent / "slides"
WRITTEN = ".written.json"  # the digest of each notebook and .pptx as the tools wrote it; two while it is being written
FINISHED = ".finished.json"  # of what each notebook was executed, see finished.py
LOCK = ".lock"  # held while one of these is changed
TEMPORARY = ".new-"  # how a file's name begins until it is whole
FULL = {errno.ENOSPC, errno.EDQUOT}


def usable(build: Path = BUILD) -> Path:
    """Return build/, or a folder of the user's, which is named on stderr, where the checkout cannot be written to."""
    try:
        build.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=build).close()
        return build
    except OSError as error:
        if error.errno in FULL:
            raise
        caches = Path(os.environ.get("XDG_CACHE_HOME", ""))
        try:
            other = (caches if caches.is_absolute() else Path.home() / ".cache") / "d2lnorm" / "build"
            other.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=other).close()
        except (OSError, RuntimeError):  # the second: nobody knows where the user's home is
            other = Path(tempfile.mkdtemp(prefix="d2lnorm-build-"))
        print(f"{build} cannot be written to ({error.strerror}): copies go to {other}", file=sys.stderr)
        return other


def write(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all. An OSError names it: a full disk's would not."""
    new = None
    try:
        handle, new = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(new, 0o644)
        os.replace(new, path)
        new = None
    except OSError as error:
        error.filename, error.filename2 = os.fspath(path), None
        raise
    finally:
        if new:
            with suppress(OSError):
                os.unlink(new)


def add(record: str, name: str, value: str, build: Path = BUILD) -> None:
    """Put an entry into a record in build/; a second process that does so at the same time loses nothing."""
    with locked(build / LOCK):
        write(build / record, json.dumps(read_record(record, build) | {name: value}, indent=1))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_record(record: str, build: Path) -> dict[str, str]:
    """Return a record's entries; none if it cannot be read: then every notebook counts as edited, none as finished."""
    try:
        return json.loads((build / record).read_text())
    except (FileNotFoundError, ValueError):
        return {}


def edited(build: Path = BUILD) -> list[Path]:
    """Return the notebooks and .pptx files in build/ that somebody changed, or put there, since the tools wrote it."""
    record = read_record(WRITTEN, build)
    files = sorted([*build.rglob("*.ipynb"), *build.rglob("*.pptx")])
    files = [p for p in files if ".ipynb_checkpoints" not in p.parts]
    return [p for p in files if digest(p) not in record.get(p.relative_to(build).as_posix(), "").split()]


def put(name: str, content: str | bytes, build: Path = BUILD) -> Path:
    """Write a file that people edit into build/ and return its path; an edited one of that name is renamed, not lost.

    The name may have a folder in it: "student/02_batch_norm_from_scratch.ipynb".
    """
    target = build / name
    target.parent.mkdir(parents=True, exist_ok=True)
    ours = read_record(WRITTEN, build).get(name, "")
    if target.exists() and digest(target) not in ours.split():
        stem, number = f"{target.stem}.mine-{time.strftime('%Y%m%d-%H%M%S')}", 1
        while (mine := target.with_name(f"{stem}{'' if number == 1 else f'-{number}'}{target.suffix}")).exists():
            number += 1
        target.rename(mine)
        print(f"{name} in build/ was edited: your version is now {mine.name}", file=sys.stderr)
    content = content.encode() if isinstance(content, str) else content
    new = hashlib.sha256(content).hexdigest()
    add(WRITTEN, name, f"{ours} {new}", build)  # if this is interrupted, either may be there, and is ours
    write(target, content)
    add(WRITTEN, name, new, build)
    return target


def not_ours(build: Path = BUILD) -> list[Path]:
    """Return the files in build/ that are not as the tools wrote them: edited ones, and what they never write."""
    ours = {
        build / WRITTEN,
        build / FINISHED,
        build / LOCK,
        build / "slides" / "index.html",
        *build.glob("screenshots/lab-*.png"),
    }
    ours |= {build / name for name in read_record(WRITTEN, build)}
    ours |= {*build.rglob(f"{TEMPORARY}*")}  # of a call that was killed
    ours |= {*(build / "site").rglob("*")}
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
            with locked(build, wait=False):
                shutil.rmtree(build)
    except Busy:
        sys.exit("build/ is kept, for another command is writing to it: stop that one first")
    except OSError as error:
        sys.exit(f"build/ could not be removed: {error}")


if __name__ == "__main__":
    clean()
