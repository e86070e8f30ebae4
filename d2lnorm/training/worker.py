"""What a worker process does: one run of an experiment after another, until it is ended."""

import os
import pickle
import threading
import time
import warnings
from contextlib import redirect_stdout
from io import StringIO
from traceback import TracebackException

from d2lnorm.training.run_of_setting import starting_from

__all__ = ["begin", "work"]


def begin(parent: int) -> None:
    """Let this process end when its parent has come to an end, however that came."""
    from tqdm import tqdm

    os.environ.pop("TORCHELASTIC_RUN_ID", None)  # under torchrun it is no process of the group, and trains alone
    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which would outlive this process

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work(folder: str, number: int) -> None:
    """Make the run of that number, and write down what came of it: result, prints, warnings and error."""
    from joblib.externals.loky.backend import reduction

    with open(f"{folder}/job", "rb") as file:  # anew for each run: none sees what another one changed
        function, settings, caller = pickle.load(file)
    result = error = None
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(StringIO()) as printed:
        warnings.simplefilter("default")  # the caller's own filters decide
        try:
            with starting_from(*caller):
                result = function(**settings[number])
        except BaseException as raised:
            error = _portable(raised)
    warned = [(w.message, w.category, w.filename, w.lineno) for w in caught]
    with open(f"{folder}/{number}", "wb") as file:
        reduction.dump((result, printed.getvalue(), warned, error), file)


def _portable(raised: BaseException) -> tuple[BaseException, TracebackException]:
    """The error and its traceback, to be pickled; an error that cannot be becomes a RuntimeError."""
    from joblib.externals.loky.backend import reduction

    seen = TracebackException.from_exception(raised, lookup_lines=False)  # a notebook's lines are known to its kernel
    seen.__notes__ = None  # the error has them
    try:
        error = pickle.loads(reduction.dumps(raised))
    except Exception:
        error = RuntimeError(f"{type(raised).__name__}: {raised}")
        error.__notes__ = list(getattr(raised, "__notes__", []))
    return error, seen
