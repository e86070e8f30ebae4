"""The kernel of a notebook: this very Python, whatever kernels the user has, and nothing of it stays behind."""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from traitlets import default

LINUX = Path("/proc/self/environ").exists()
MARK = "D2LNORM_KERNEL"  # in the environment of a kernel and of every process that comes from it


class ThisPython(KernelSpecManager):
    """Knows one kernel by every name: the interpreter that runs this line."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


class Kernel(AsyncKernelManager):
    """A kernel of this Python; to kill it kills no other process, for `marked_environment` sees to those."""

    async def _async_launch_kernel(self, kernel_cmd: list[str], **options) -> None:
        await super()._async_launch_kernel(kernel_cmd, **options)
        if LINUX:
            self.provisioner.pgid = None

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
        _end(mark)


def _end(mark: str) -> None:
    """Kill what carries the mark. Python's resource trackers then end by themselves: they free shared memory first."""
    for attempt in range(60):
        pids = _marked(mark)
        for pid in pids:
            with suppress(OSError):
                if attempt > 40 or b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
        if not pids:
            return
        time.sleep(0.05)


def _marked(mark: str) -> list[int]:
    sought = f"{MARK}={mark}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # another user's, or gone meanwhile
            if sought in environ.read_bytes():
                found.append(int(environ.parent.name))
    return found
