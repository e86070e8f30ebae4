"""What every check is made of: expectations that say what is wrong, and how Jupyter shows them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor

__all__ = ["NotYet", "exercise", "expect", "expect_close", "raises", "randn"]


class NotYet(AssertionError):
    """The answer is not right yet; Jupyter shows the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"✗ {self}"]


def exercise(check: Callable[[Callable], str]) -> Callable[[Callable], None]:
    """Make a check of `check`, which tests an answer (a function or class) and returns what it found good.

    The check prints one line when the answer passes, and one when it is still the stub (it raises
    NotImplementedError). Otherwise it raises `NotYet` with the feedback; an error that the answer's own code
    raises comes through as it is, to be debugged. The check runs in the state in which torch starts, whatever the
    notebook has set, with the same random numbers in each call; afterwards all is as it was (`_usual_state`).
    """

    @wraps(check)
    def run(answer: Callable) -> None:
        name = getattr(answer, "__name__", repr(answer))
        try:
            with _usual_state():
                praise = check(answer)
        except NotImplementedError:
            print(f"○ {name}: not written yet. Fill in the stub above, run it, then run this cell again.")
        except NotYet as feedback:
            raise NotYet(f"{name}: {feedback}") from None
        else:
            print(f"✓ {name}: {praise}")

    return run


@contextmanager
def _usual_state() -> Iterator[None]:
    """Set what torch starts with, and the CPU's generator to seed 0; give back what was set, after an error, too."""
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
            torch.default_generator.manual_seed(0)
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
        expect(isinstance(got, Tensor), f"{what} must be a tensor, but is {_described(got)}.")
        same = tuple(got.shape) == tuple(expected.shape)
        expect(same, f"{what} must have shape {tuple(expected.shape)}, but has {tuple(got.shape)}.")
        expect(got.dtype == expected.dtype, f"{what} must have dtype {expected.dtype}, but has {got.dtype}.")
    else:
        number = isinstance(got, int | float) or (isinstance(got, Tensor) and got.numel() == 1)
        expect(number, f"{what} must be a number, but is {_described(got)}.")
    if _close(got, expected, rtol, atol):
        return
    for mistake, wrong in (mistakes or {}).items():
        if _close(got, wrong, rtol, atol):
            raise NotYet(f"{what} is not right: {mistake}.")
    raise NotYet(f"{what} is not right: {_difference(got, expected)}.")


def _close(got: object, expected: Tensor | float, rtol: float, atol: float) -> bool:
    got, expected = (torch.as_tensor(t).detach().double().cpu() for t in (got, expected))
    if got.numel() == expected.numel() == 1:
        got, expected = got.reshape(()), expected.reshape(())
    return got.shape == expected.shape and torch.allclose(got, expected, rtol=rtol, atol=atol, equal_nan=True)


def _difference(got: object, expected: Tensor | float) -> str:
    got, expected = (torch.as_tensor(t).detach().double().cpu() for t in (got, expected))
    if expected.dim() == 0:
        return f"expected {expected.item():.4f}, got {got.item():.4f}"
    if not got.isfinite().all() and expected.isfinite().all():
        return f"{(~got.isfinite()).sum()} of its {got.numel()} values are not finite"
    index = tuple(int(i) for i in torch.unravel_index((got - expected).abs().argmax(), expected.shape))
    return f"at index {list(index)} expected {expected[index].item():.4f}, got {got[index].item():.4f}"


def _described(value: object) -> str:
    return f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
