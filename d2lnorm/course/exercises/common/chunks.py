"""Data that comes in chunks, and who keeps them."""

import gc
import tracemalloc
import weakref
from collections.abc import Iterator
from itertools import islice

from torch import Tensor

from d2lnorm.course.exercises.common.feedback import expect

__all__ = ["refilled", "stream", "weighed"]


def stream(parts: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Yield copies of chunks, one after the other, and notice who keeps them."""
    given = []
    for part in parts:
        given.append(weakref.ref(chunk := part.clone()))
        alive = sum(old() is not None for old in given)  # this one, the loop's, and perhaps one more
        expect(alive <= 3, "it keeps old chunks; the data would not fit into memory. Keep n, mean and M only.")
        yield chunk


def refilled(parts: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Yield chunks that all lie in one buffer: each is written over the one before it."""
    buffer = parts[0].new_empty(max(len(part) for part in parts), *parts[0].shape[1:])
    for part in parts:
        yield buffer[: len(part)].copy_(part)


def weighed(parts: tuple[Tensor, ...]) -> Iterator[Tensor]:
    """Yield chunks, and see that what is in memory does not grow with them: as tensors, arrays or lists."""
    chunks, traced = stream(parts), tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        yield from islice(chunks, 2)
        before = _memory()  # with all that the answer needs for one chunk
        yield from chunks
        grown = _memory() - before
    finally:
        if not traced:
            tracemalloc.stop()
    limit = sum(part.nbytes for part in parts[2:]) * 3 // 4
    words = f"no chunk may be kept, nor a copy, but {len(parts) - 2} chunks more made it keep {grown:,} bytes more."
    expect(grown < limit, words)


def _memory() -> int:
    gc.collect()  # what others left behind would go at any time, and hide what is kept
    tensors = [t for t in gc.get_objects() if type(t) is Tensor]
    return sum(t.nbytes for t in tensors) + tracemalloc.get_traced_memory()[0]
