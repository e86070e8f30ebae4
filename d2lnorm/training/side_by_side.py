"""An experiment's runs, over seeds and settings, side by side in worker processes of one thread each."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from d2lnorm.training.affordable import affordable_workers
from d2lnorm.training.progress import progress
from d2lnorm.training.run_of_setting import noted, starting_from
from d2lnorm.training.worker_pool import outcomes

__all__ = ["side_by_side"]


def side_by_side(function: Callable, settings: Iterable[Mapping[str, Any]], *, workers: int | None = None) -> list:
    """Return `[function(**setting) for setting in settings]`, computed in several processes at once.

    Each call has one thread, and starts from the caller's random state (torch's), default dtype and gradient mode. So
    the results are the same, bit for bit, for any number of workers. The function may be one of a notebook. It must
    return what it finds: what it changes outside of itself stays in the worker; its prints and warnings come back.
    Large tensors that it uses, as those of `Batches`, are mapped from a file and not copied. An error or Ctrl-C ends
    all the processes at once.

    Args:
        function: is called with each setting.
        settings: mappings of keyword arguments, a seed among them. The longest first keeps all workers busy to the end.
        workers: the number of processes; 1: none, all is computed here. None: as many as there are cores and free
            memory for, and 1 where there is a GPU.

    Raises:
        Exception: what a call raised, with notes of its traceback in the worker and of its setting.
        BrokenProcessPool: a worker died; most often because memory ran out.
    """
    runs = [dict(setting) for setting in settings]
    workers = min(affordable_workers() if workers is None else workers, len(runs))
    caller = torch.get_rng_state(), torch.get_default_dtype(), torch.is_grad_enabled()
    with progress(len(runs), "run") as bar:
        if workers > 1:
            told = outcomes(function, runs, caller, workers, bar)
            return [_told(runs[number], *told[number]) for number in sorted(told)]
        results = []
        for setting in runs:
            with noted(setting), starting_from(*caller):
                results.append(function(**setting))
            bar.update()
        return results


def _told(setting: dict, result: Any, printed: str, warned: list[tuple], failure: tuple | None) -> Any:
    print(printed, end="")
    for warning in warned:
        warnings.warn_explicit(*warning)
    if failure:
        error, seen = failure
        error.add_note("in a worker:\n" + "".join(seen.format()).rstrip())
        with noted(setting):
            raise error
    return result
