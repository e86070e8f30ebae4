"""One thread for torch, for training that may share the machine."""

import os

import torch

__all__ = ["one_thread"]


class one_thread:
    """A context in which torch computes on one thread of the CPU; at the end, after an error too, on as many as before.

    Threads that share an operation wait for each other, and a step of a small net waits some hundred times. On a busy
    machine the one that is waited for has often lost its core just then. LeNet on 2 cores, milliseconds a step;
    "busy" is beside three processes that compute:

                     batch 32, quiet   busy        batch 256, quiet   busy
        2 threads          5.4         39 to 177          26          186 to 243
        1 thread           7.5         10.5 to 12.6       40           65 to 69

    One thread loses its share to the others, two lose ten times and more. What it gives up on a quiet machine
    `side_by_side` more than wins back, where there are several seeds.

    Args:
        unless_chosen: whether to leave things as they are where the user chose: OMP_NUM_THREADS is set.
    """

    def __init__(self, unless_chosen: bool = True) -> None:
        self.left_alone = unless_chosen and "OMP_NUM_THREADS" in os.environ

    def __enter__(self) -> None:
        self.before = torch.get_num_threads()
        if not self.left_alone:
            torch.set_num_threads(1)

    def __exit__(self, *error: object) -> None:
        if not self.left_alone:
            torch.set_num_threads(self.before)
