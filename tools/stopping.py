"""Ctrl-C, SIGTERM and a closed terminal all end a command in the same way: with KeyboardInterrupt."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace


@contextmanager
def stoppable() -> Iterator[SimpleNamespace]:
    """Within, each of these signals raises KeyboardInterrupt; yields an object whose `status` is the exit status then.

    A hang-up that is ignored, as `nohup` does, stays ignored.
    """
    stop = SimpleNamespace(status=128 + signal.SIGINT)

    def interrupt(number: int, frame: object) -> None:
        stop.status = 128 + number
        signal.raise_signal(signal.SIGINT)

    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    for name in ("SIGTERM", "SIGHUP"):  # Windows lacks the second
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, interrupt)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
