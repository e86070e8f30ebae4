"""What surrounds each run of an experiment, in whichever process: the same start, and a note on an error."""

from collections.abc import Iterator
from contextlib import contextmanager
from reprlib import repr as short

import torch
from torch import Tensor

from d2lnorm.training.threads import one_thread

__all__ = ["noted", "starting_from"]


@contextmanager
def noted(setting: dict) -> Iterator[None]:
    """Let an error that passes through carry the setting as a note."""
    try:
        yield
    except BaseException as error:
        error.add_note("in the run with " + ", ".join(f"{name}={short(value)}" for name, value in setting.items()))
        raise


@contextmanager
def starting_from(random: Tensor, dtype: torch.dtype, grad: bool) -> Iterator[None]:
    """One thread, and torch's random state, default dtype and gradient mode as given; at the end as they were."""
    before = torch.get_default_dtype(), torch.is_grad_enabled()
    with torch.random.fork_rng(range(torch.cuda.device_count())), one_thread(unless_chosen=False):
        torch.set_rng_state(random)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        try:
            yield
        finally:
            torch.set_default_dtype(before[0])
            torch.set_grad_enabled(before[1])
