"""How many worker processes this machine can afford."""

import torch

__all__ = ["affordable_workers"]

WORKER_BYTES = 1 << 30  # a process that trains LeNet takes 0.9 GB, more than half of it for torch itself


def affordable_workers() -> int:
    """As many as there are cores and free GB of memory for, at least 1; and 1 where a GPU does the work."""
    if torch.cuda.is_available():
        return 1
    import psutil
    from joblib import cpu_count

    return max(1, min(cpu_count(), psutil.virtual_memory().available // WORKER_BYTES))
