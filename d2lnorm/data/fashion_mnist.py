"""Fashion-MNIST's four IDX files: fetched from whichever source can be reached, and verified to the byte.

Source of the data: Xiao, Rasul and Vollgraf (2017); data/README.md says more.
"""

import gzip
import hashlib
import os
import re
import sys
import tempfile
import time
import zlib
from contextlib import suppress
from pathlib import Path

from d2lnorm.data.sources import PACKAGE, SOURCES, SourceError

__all__ = ["FILES", "FetchError", "fetch_fashion_mnist", "raw_folder", "verdict"]

FILES = {  # name: (bytes, SHA-256) of the unpacked file
    "train-images-idx3-ubyte": (
        47_040_016,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte": (60_008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (7_840_016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (10_008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
MISSING = "is missing"
HELP = f"""What you can do:
  - Check the network. Behind a proxy, set http_proxy and https_proxy. Then run the same command again.
  - On Debian or Ubuntu, have an administrator install the package {PACKAGE}: it is found by itself.
  - Copy the four files, unpacked, from another machine into the folder above; they are verified on use."""


class FetchError(RuntimeError):
    """Fashion-MNIST could not be had; the message names every file, every source and the ways out."""


def raw_folder(root: str | os.PathLike | None = None) -> Path:
    """Return `<root>/FashionMNIST/raw` (torchvision's layout), whether or not it exists.

    Args:
        root: the folder in which it lies; `~` is the user's home. None for `data/` of the source checkout in which
            this file lies, where d2l looks from the notebooks; for an installed package, which has none, for
            `d2lnorm` in the user's folder for caches: `$XDG_CACHE_HOME` or `~/.cache`, on macOS `~/Library/Caches`,
            on Windows `%LOCALAPPDATA%`.

    Raises:
        RuntimeError: `~` is needed, and it is not known where the user's home is.
    """
    if root is None:
        checkout = Path(__file__).resolve().parents[2]
        root = checkout / "data" if (checkout / "pyproject.toml").is_file() else _caches() / "d2lnorm"
    return Path(root).expanduser() / "FashionMNIST" / "raw"


def _caches() -> Path:
    named = Path(os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", ""))
    if named.is_absolute():  # by XDG's standard a relative one does not count
        return named
    usual = {"win32": "~/AppData/Local", "darwin": "~/Library/Caches"}
    return Path(usual.get(sys.platform, "~/.cache"))


def fetch_fashion_mnist(root: str | os.PathLike | None = None) -> Path:
    """Make sure that the four files are there and right, and return their folder, `raw_folder(root)`.

    Right files are left alone; if all are, nothing is printed and no network is needed. Otherwise the sources
    are asked in turn, with a line about each on stderr. A file gets its name only once its SHA-256 is right,
    so neither an interruption nor a second process at the same time can leave half a file.

    Raises:
        FetchError: the folder cannot be written to, or no source had the right files. A wrong file is then
            set aside as `NAME.damaged`, lest d2l, which verifies nothing, train on it.
    """
    raw = raw_folder(root)
    _remove_leftovers(raw)
    problems = {name: problem for name in FILES if (problem := _problem_with(raw / name))}
    if not problems:
        return raw
    for name, problem in problems.items():
        if problem != MISSING:
            _say(f"{name} {problem}; it will be replaced")
    try:
        raw.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=raw).close()
    except OSError as error:
        raise FetchError(f"Fashion-MNIST cannot be written to {raw}: {_words(error)}") from None
    needed, answers = list(problems), []
    for label, source in SOURCES:
        _say(f"{len(needed)} of {len(FILES)} files of Fashion-MNIST needed; trying {label}")
        with tempfile.TemporaryDirectory(prefix="d2lnorm-", ignore_cleanup_errors=True) as scratch:
            try:
                for name, path in source(tuple(needed), Path(scratch)):
                    if wrong := _install(path, raw / name):
                        answers.append(f"{label}: {name} {wrong}")
                    else:
                        needed.remove(name)
            except Exception as error:  # whatever it is, the next source may work
                answers.append(f"{label}: {_words(error)}")
        if not needed:
            return raw
    lines = [f"Fashion-MNIST is not complete in {raw.resolve()}:"]
    for name in needed:
        lines.append(f"  {name} {problems[name]}")
        if _problem_with(raw / name) not in (None, MISSING):
            os.replace(raw / name, raw / f"{name}.damaged")
            lines[-1] += f"; set aside as {name}.damaged"
    raise FetchError("\n".join([*lines, "Tried, in this order:", *(f"  {a}" for a in answers), HELP]))


def verdict(name: str, size: int, sha256: str) -> str | None:
    """Say what is wrong with a file of `size` bytes that should be `FILES[name]`; None if it is right."""
    right_size, right_sha256 = FILES[name]
    if sha256 == right_sha256:
        return None
    for other, (_, other_sha256) in FILES.items():
        if sha256 == other_sha256:
            return f"is swapped: it holds the content of {other}"
    if size != right_size:
        return f"is {'truncated' if size < right_size else 'too long'}: {size:,} bytes instead of {right_size:,}"
    return f"is corrupted: its SHA-256 begins with {sha256[:8]} instead of {right_sha256[:8]}"


def _problem_with(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return verdict(path.name, sha256=hashlib.file_digest(file, "sha256").hexdigest(), size=file.tell())
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return f"cannot be read ({_words(error)})"


def _install(source: Path, target: Path) -> str | None:
    """Unpack `source` to `target` if its content is what `target`'s name promises; else say what is wrong."""
    handle, part = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    try:
        sha256 = hashlib.sha256()
        opener = gzip.open if source.suffix == ".gz" else open
        with os.fdopen(handle, "wb") as out, opener(source, "rb") as file:
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
                out.write(chunk)
            size = out.tell()
        if wrong := verdict(target.name, size, sha256.hexdigest()):
            return wrong
        os.chmod(part, 0o644)  # mkstemp's files are for their owner alone
        os.replace(part, target)
        target.with_name(f"{target.name}.damaged").unlink(missing_ok=True)
        return None
    except (OSError, EOFError, zlib.error) as error:
        return f"could not be unpacked ({_words(error)})"
    finally:
        Path(part).unlink(missing_ok=True)


def _remove_leftovers(raw: Path) -> None:
    """Remove what calls that were killed left behind; a living one writes to its file every moment."""
    for part in raw.glob(".*.part"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > 60:
                part.unlink()


def _words(error: BaseException) -> str:
    kind = "" if isinstance(error, SourceError) else f"{type(error).__name__}: "
    return re.sub(r"\w+://\S+", "(address)", kind + " ".join(str(error).split()))


def _say(line: str) -> None:
    print(f"d2lnorm: {line}", file=sys.stderr, flush=True)
