"""Where Fashion-MNIST's files can come from: a system copy, torchvision's download, the Debian package.

Nothing here is trusted: `d2lnorm.data.fashion_mnist` asks the `SOURCES` in turn and verifies what they deliver.
"""

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import which

__all__ = ["PACKAGE", "SOURCES", "Source", "SourceError"]

SYSTEM_COPY = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"
SILENCE = 10.0  # seconds without an answer after which a host is given up
PATIENCE = 60.0  # seconds without a new byte after which a command is stopped

# A source is told which files are needed and given an empty folder to work in. It yields (name, path) as each
# becomes readable, `path` ending in .gz where it is packed, and raises whatever went wrong.
Source = Callable[[Sequence[str], Path], Iterator[tuple[str, Path]]]


class SourceError(RuntimeError):
    """A source has nothing to give; the message says why."""


def from_system(names: Sequence[str], scratch: Path) -> Iterator[tuple[str, Path]]:
    """The copy that the Debian package leaves when an administrator has installed it."""
    if not SYSTEM_COPY.is_dir():
        raise SourceError("there is none")
    for name in names:
        plain = SYSTEM_COPY / name
        yield name, plain if plain.is_file() else SYSTEM_COPY / f"{name}.gz"


def from_torchvision(names: Sequence[str], scratch: Path) -> Iterator[tuple[str, Path]]:
    """What torchvision would download, one file after the other, with its progress bar."""
    from torchvision.datasets import FashionMNIST
    from torchvision.datasets.utils import download_url

    md5 = dict(FashionMNIST.resources)
    for packed in (f"{name}.gz" for name in names):
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(SILENCE)  # torchvision sets none: it would wait for a dead host for ever
        try:
            download_url(FashionMNIST.mirrors[0] + packed, scratch, packed, md5[packed])
        finally:
            socket.setdefaulttimeout(before)
        yield packed.removesuffix(".gz"), scratch / packed


def from_debian(names: Sequence[str], scratch: Path) -> Iterator[tuple[str, Path]]:
    """The Debian package, downloaded by apt (which checks its signature) and unpacked; no root is needed."""
    for tool in ("apt-get", "dpkg-deb"):
        if which(tool) is None:
            raise SourceError(f"{tool} is not installed here")
    options = {"Dir::Cache": f"{scratch}/cache", "Acquire::Retries": "1"}
    options |= {f"Acquire::{scheme}::Timeout": f"{SILENCE:.0f}" for scheme in ("http", "https")}
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options["APT::Sandbox::User"] = "root"  # apt's own user may not enter the scratch folder
    own_lists = options | {"Dir::State::Lists": f"{scratch}/lists", "Acquire::Languages": "none"}
    own_lists["APT::Update::Error-Mode"] = "any"  # else an update without a network would be a success
    (scratch / "lists").mkdir()
    # The machine's own package lists first; where it has none, or old ones, lists fetched for this call. An
    # update that failed for one of several repositories may still do.
    steps = (options, "download", PACKAGE), (own_lists, "update"), (own_lists, "download", PACKAGE)
    answers = []
    for chosen, *verb in steps:
        try:
            run_with_bar(["apt-get", "-q", *(f"-o{k}={v}" for k, v in chosen.items()), *verb], scratch)
            if verb[0] == "download":
                break
        except SourceError as error:
            answers.append(str(error))
    else:
        raise SourceError("; then ".join(answers))
    (package,) = scratch.glob(f"{PACKAGE}_*.deb")
    run_with_bar(["dpkg-deb", "-x", str(package), str(scratch)], scratch)
    for name in names:
        yield name, scratch / SYSTEM_COPY.relative_to("/") / f"{name}.gz"


def run_with_bar(command: list[str], folder: Path) -> None:
    """Run `command` in `folder` under a progress bar of the bytes that arrive there.

    Raises:
        SourceError: it failed (the message ends in its own words), or nothing arrived for `PATIENCE` seconds,
            and it was stopped.
    """
    from tqdm import tqdm

    what = " ".join(w for w in command if not w.startswith(("-", "/")))
    with tempfile.TemporaryFile() as log, tqdm(desc=what, unit="B", unit_scale=True, leave=False) as bar:
        process = subprocess.Popen(
            command, cwd=folder, env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            alive, there = time.monotonic(), 0
            while process.poll() is None:
                time.sleep(0.05)
                if grown := _bytes_below(folder) - there:
                    there += grown  # not bar.n, which stands still when bars are switched off
                    bar.update(grown)
                    alive = time.monotonic()
                elif time.monotonic() - alive > PATIENCE:
                    raise SourceError(f"{what}: nothing arrived for {PATIENCE:.0f} s, so it was stopped")
        finally:  # also after Ctrl-C
            process.kill()  # does nothing to a process that has ended
            process.wait()
        if process.returncode:
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines()
            errors = [line for line in lines if line.startswith(("E:", "dpkg-deb: error"))] or lines[-1:]
            raise SourceError(f"{what} failed: " + " ".join(errors)[:300])


def _bytes_below(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # renamed or removed meanwhile
            total += path.stat().st_size
    return total


SOURCES: list[tuple[str, Source]] = [  # in the order in which they are asked; the name is for messages
    (f"a system copy in {SYSTEM_COPY}", from_system),
    ("torchvision's download", from_torchvision),
    (f"the Debian package {PACKAGE}", from_debian),
]
