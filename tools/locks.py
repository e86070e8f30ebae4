"""Locks between processes, on a file or a folder, where the file system has them; they vanish with their process."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class Busy(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, wait: bool = True, message: str = "") -> Iterator[None]:
    """Hold the lock on `path`, a folder, or a file that is made where there is none.

    Where another process holds it, say `message`, if there is one, on stderr and wait. Where there are no locks (on
    Windows, in some network folders) go on without one.

    Raises:
        Busy: wait is False, and another process holds the lock.
    """
    folder = path.is_dir()
    handle = os.open(path, os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT, 0o644) if fcntl else None
    try:
        if fcntl:
            _lock(handle, wait, message)
        yield
    finally:
        if fcntl:
            os.close(handle)


def _lock(handle: int, wait: bool, message: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            raise Busy from None
        if message:
            print(message, file=sys.stderr, flush=True)
        fcntl.flock(handle, fcntl.LOCK_EX)
    except OSError:
        pass  # no locks here
