"""A pool of worker processes for one experiment, that leaves nothing behind."""

import multiprocessing
import multiprocessing.resource_tracker
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

from d2lnorm.training.handed_over import hand_over
from d2lnorm.training.worker import begin, work

__all__ = ["outcomes"]

ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1, "OPENBLAS_NUM_THREADS": 1, "TQDM_DISABLE": 1}


def outcomes(function: Callable, settings: list[dict], caller: tuple, workers: int, bar: Any) -> dict[int, tuple]:
    """Return what `work` wrote down of each run, by its number; the first error ends the pool.

    Only names of files pass through the pool's pipes: so whenever the workers are killed, no half of a message is
    left, for which this process would wait.
    """
    from joblib.externals.loky import ProcessPoolExecutor
    from joblib.externals.loky.backend import resource_tracker

    found = {}
    with TemporaryDirectory(prefix="d2lnorm-", ignore_cleanup_errors=True) as folder:
        resource_tracker.register(folder, "folder")  # which removes it even when this process is killed
        pool = ProcessPoolExecutor(workers, env=ENVIRONMENT, initializer=begin, initargs=(os.getpid(),))
        try:
            hand_over((function, settings, caller), folder)
            with _no_interruption():
                numbers = {pool.submit(work, folder, number): number for number in range(len(settings))}
            for future in as_completed(numbers):
                future.result()
                with open(f"{folder}/{numbers[future]}", "rb") as file:
                    found[numbers[future]] = *_, error = pickle.load(file)
                bar.update()
                if error:
                    break
        finally:
            with _no_interruption():
                _end(pool)
                resource_tracker.unregister(folder, "folder")
    return found


def _end(pool: Any) -> None:
    """Kill the workers, and wait for all that loky leaves to itself and that keeps the pool's semaphores."""
    feeder = pool._call_queue._thread
    pool.shutdown(kill_workers=True)  # by psutil, with what the workers started
    if feeder:
        feeder.join()
    multiprocessing.active_children()  # joins a worker that had died by itself


@contextmanager
def _no_interruption() -> Iterator[None]:
    """Let Ctrl-C wait until the end; to a process that is started inside it never comes."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # a start of this one would let Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
