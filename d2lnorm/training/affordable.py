"""How many worker processes this machine can afford."""

from contextlib import suppress
from pathlib import Path

import torch

__all__ = ["affordable_workers"]

WORKER_BYTES = 1 << 30  # a process that trains LeNet takes 0.9 GB, more than half of it for torch itself


def affordable_workers() -> int:
    """As many as there are cores and free GB of memory for, at least 1; and 1 where a GPU does the work."""
    if torch.cuda.is_available():
        return 1
    from joblib import cpu_count

    return max(1, min(cpu_count(), _free_bytes() // WORKER_BYTES))


def _free_bytes() -> int:
    with suppress(ImportError):
        import psutil

        return psutil.virtual_memory().available
    with suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    return 4 << 30  # it cannot be told; half of a small laptop's
