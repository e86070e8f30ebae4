"""What an error is given on its way out of a training: where it happened, and what is finished."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from d2lnorm.training.history import History

__all__ = ["located", "note_history"]


@contextmanager
def located(where: str) -> Iterator[None]:
    """Let an error that passes through carry `where` as a note; an interruption needs none."""
    try:
        yield
    except Exception as error:
        error.add_note(where)
        raise


def note_history(error: BaseException, history: History, num_epochs: int) -> None:
    """Attach the finished epochs' rows to `error`, as `error.history`, with a note that says so."""
    kind = type(error).__name__
    what = "Ctrl-C" if isinstance(error, KeyboardInterrupt) else kind
    finished = f"{len(history)} of {num_epochs} epochs"
    history.stopped = f"stopped by {what} after {finished}; the weights are those of that moment"
    with suppress(AttributeError, TypeError):  # an error that takes no attributes is still an error
        error.history = history  # type: ignore[attr-defined]  # what is new here
        error.add_note(
            f"{finished} are finished. Their history: `except {kind} as stop: stop.history`; "
            f"in a notebook, in the next cell, `import sys; sys.last_value.history`."
        )
