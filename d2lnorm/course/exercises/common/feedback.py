"""What every check is made of: expectations that say what is wrong, and how Jupyter shows them."""

import numbers
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from d2lnorm.course.exercises.common.words import described, is_stub, told

__all__ = ["NotYet", "described", "exercise", "expect", "expect_close", "number", "raises", "randn"]

SEED = 123_456_789  # which no answer would set: so one that seeds is seen


class NotYet(AssertionError):
    """The answer is not right yet; Jupyter shows the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"✗ {self}"]


def exercise(check: Callable[[Callable], str]) -> Callable[[Callable], None]:
    """Make a check of `check`, which tests an answer (a function or class) and returns what it found good.

    The check prints one line when the answer passes, and one when it is still the stub. Otherwise it raises `NotYet`
    with the feedback; an error of the answer's own is shown with its line and the input that brought it. The check
    runs in torch's first state, with the same random numbers each time; all is given back (`_usual_state`).
    """

    @wraps(check)
    def run(answer: Callable) -> None:
        name = getattr(answer, "__name__", repr(answer))
        try:
            with _usual_state():
                praise = check(answer)
        except NotYet as feedback:
            raise NotYet(f"{name}: {feedback}") from None
        except Exception as error:
            if is_stub(error):
                print(f"○ {name}: not written yet. Fill in the stub above, run it, then run this cell again.")
                return
            raise NotYet(f"{name}: {told(error, name)}") from error
        print(f"✓ {name}: {praise}")

    return run


@contextmanager
def _usual_state() -> Iterator[None]:
    """Set what torch starts with, and seed the CPU's generator; give back what was set, after an error, too."""
    dtype, deterministic = torch.get_default_dtype(), torch.get_deterministic_debug_mode()
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.device("cpu"),
        torch.autocast("cpu", enabled=False),
        torch.autograd.set_detect_anomaly(False),
        torch.random.fork_rng(devices=[]),
    ):
        try:
            torch.set_default_dtype(torch.float32)
            torch.set_deterministic_debug_mode("default")
            torch.default_generator.manual_seed(SEED)
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_deterministic_debug_mode(deterministic)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return standard normal numbers that depend on the seed alone."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def raises(kind: type[Exception], function: Callable, *args: object) -> bool:
    """Return whether `function(*args)` raises an exception of this kind; others come through."""
    try:
        function(*args)
    except kind:
        return True
    return False


def expect(condition: bool, feedback: str) -> None:
    """Raise `NotYet` with the feedback unless the condition holds."""
    if not condition:
        raise NotYet(feedback)


def number(value: object, what: str) -> float:
    """Return a number that an answer gave as a float: Python's, NumPy's, or a tensor of one element."""
    one = isinstance(value, Tensor) and value.numel() == 1
    real = one or isinstance(value, numbers.Real) or hasattr(value, "dtype") and getattr(value, "ndim", 1) == 0
    expect(real and not isinstance(value, bool), f"{what} must be a number, but is {described(value)}.")
    return float(value.detach() if isinstance(value, Tensor) else value)  # type: ignore[arg-type]


def expect_close(
    got: Any,
    expected: Tensor | float,
    what: str,
    mistakes: Mapping[str, Tensor | float] | None = None,
    *,
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """Raise `NotYet` unless `got` has the type, the shape and the values of `expected`.

    Args:
        got: what the answer returned.
        what: names it in the feedback: "the running variance".
        mistakes: for each usual mistake, what it would give. If `got` is one of these, the mistake's name is the
            feedback: write it as a sentence that helps, such as "the variance was divided by n - 1".
        rtol, atol: as for `torch.testing.assert_close`. A mistake closer to the truth than this is not seen:
            choose inputs that set them apart.
    """
    if isinstance(expected, Tensor):
        expect(isinstance(got, Tensor), f"{what} must be a tensor, but is {described(got)}.")
        same = tuple(got.shape) == tuple(expected.shape)
        expect(same, f"{what} must have shape {tuple(expected.shape)}, but has {tuple(got.shape)}.")
        expect(got.dtype == expected.dtype, f"{what} must have dtype {expected.dtype}, but has {got.dtype}.")
    else:
        got = number(got, what)
    if _close(got, expected, rtol, atol):
        return
    for mistake, wrong in (mistakes or {}).items():
        if _close(got, wrong, rtol, atol):
            raise NotYet(f"{what} is not right: {mistake}.")
    raise NotYet(f"{what} is not right: {_difference(got, expected)}.")


def _close(got: object, expected: Tensor | float, rtol: float, atol: float) -> bool:
    got, expected = (torch.as_tensor(t, dtype=torch.float64).detach().cpu() for t in (got, expected))
    if got.numel() == expected.numel() == 1:
        got, expected = got.reshape(()), expected.reshape(())
    return got.shape == expected.shape and torch.allclose(got, expected, rtol=rtol, atol=atol, equal_nan=True)


def _difference(got: object, expected: Tensor | float) -> str:
    types = {t.dtype for t in (got, expected) if isinstance(t, Tensor)}
    got, expected = (torch.as_tensor(t, dtype=torch.float64).detach().cpu() for t in (got, expected))
    if not got.isfinite().all() and expected.isfinite().all() and expected.dim() > 0:
        odd = (~got.isfinite()).nonzero()
        return f"{len(odd)} of its {got.numel()} values are not finite, the first at index {odd[0].tolist()}"
    index = tuple(int(i) for i in torch.unravel_index((got - expected).abs().argmax(), expected.shape))
    place = f"at index {list(index)} " if index else ""
    right, wrong = expected[index].item(), got[index].item()
    digits = next((d for d in range(4, 16) if f"{right:.{d}f}" != f"{wrong:.{d}f}"), 16)
    single = not types - {torch.float64} and torch.allclose(got, expected, rtol=3e-7, atol=0)
    hint = "; they agree to float32's digits only" if single else ""
    return f"{place}expected {right:.{digits}f}, got {wrong:.{digits}f}{hint}"
