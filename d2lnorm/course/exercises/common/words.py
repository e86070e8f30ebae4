"""What an answer gave, and the errors that it raised, in words."""

import inspect
import linecache
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from torch import Tensor, dtype

__all__ = ["described", "is_stub", "told"]

STUB = {"NotImplementedError", "super", "__init__"}  # all that an untouched stub names
OTHERS = str(Path(__file__).parents[3]), str(Path(inspect.__file__).parent)  # this package, and Python's library


def described(value: object) -> str:
    """Return what a value is, in a few words: "a float64 tensor of shape (2, 3)", "the int 3"."""
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return (
            f"{_a(kind)} tensor of shape {tuple(value.shape)}" if value.dim() else f"the {kind} tensor {value.item()}"
        )
    text = repr(value)
    known = isinstance(value, str | int | float | bool | list | tuple | dict | dtype) or value is None
    return text if known and len(text) < 60 else _a(type(value).__name__)


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeioAEIO' or word == 'ndarray' else 'a'} {word}"


def _frames(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback:
        yield traceback
        traceback = traceback.tb_next


def is_stub(error: Exception) -> bool:
    """Whether the error comes from a body that is `raise NotImplementedError`, perhaps after `super().__init__()`."""
    code = [*_frames(error.__traceback__)][-1].tb_frame.f_code
    return type(error) is NotImplementedError and not error.args and set(code.co_names) <= STUB


def told(error: Exception, name: str) -> str:
    """Say what an error means for the one whose answer, of this name, brought it."""
    if isinstance(error, NotImplementedError) and 'missing the required "forward"' in str(error):
        return "a layer has no `forward`: is the name spelled so, and indented as a part of the class?"
    _, _, *below = _frames(error.__traceback__)  # the exercise and its check come first
    theirs = [frame for frame in below if _may_be_theirs(frame.tb_frame.f_code.co_filename)]
    what = f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}".removesuffix(".")
    if not theirs and isinstance(error, TypeError) and name in _failing(error):
        return f"calling it as the text asks failed: {what}. Keep the stub's parameters and their defaults."
    if not theirs:
        return f"what it returned, or the layer that it made, cannot be used as asked: {what}."
    last = theirs[-1]
    line = linecache.getline(last.tb_frame.f_code.co_filename, last.tb_lineno).strip()
    return f"your code stopped at line {last.tb_lineno}, `{line}`, with {what}. {_called_with(theirs[0].tb_frame)}"


def _failing(error: TypeError) -> list[str]:
    """The function that a call did not fit, and its class: not the one in which it was defined."""
    return str(error).partition("(")[0].rpartition("<locals>.")[2].split(".")


def _called_with(frame: FrameType) -> str:
    """Say what a function's arguments were in the end: it may have given their names to other things."""
    names, more, _, values = inspect.getargvalues(frame)
    given = [f"{name} = {described(values[name])}" for name in names if name in values and name != "self"]
    given += [described(value) for value in (values[more] if more else ())]
    return f"There, its arguments were {', '.join(given)}." if given else "It was called without arguments."


def _may_be_theirs(file: str) -> bool:
    return not file.startswith(OTHERS) and "site-packages" not in file
