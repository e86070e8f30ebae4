"""The kernel of a notebook: this very Python, whatever kernels the user has, and nothing of it stays behind."""

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from traitlets import default

MARK = "D2LNORM_KERNEL"  # in the environment of a kernel and of every process that comes from it


class ThisPython(KernelSpecManager):
    """Knows one kernel by every name: the interpreter that runs this line."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


class Kernel(AsyncKernelManager):
    @default("kernel_spec_manager")
    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return ThisPython(parent=self)


@contextmanager
def marked_environment(**variables: str) -> Iterator[dict[str, str]]:
    """Yield the environment for a kernel; at the end, however it comes, every process that carries it is killed.

    A notebook's processes may have left the kernel's process group, so a mark in their environment tells them. It is
    read from /proc: elsewhere than on Linux only those go that end with the kernel.
    """
    mark = secrets.token_hex(16)
    environment = {k: v for k, v in os.environ.items() if k != "MPLBACKEND"}  # see private_settings.py
    try:
        yield environment | variables | {MARK: mark}
    finally:
        for pid in _marked(mark):
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _marked(mark: str) -> list[int]:
    sought = f"{MARK}={mark}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # another user's, or gone meanwhile
            if sought in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found
