"""Checks that several layers share; each raises the type of exception that its `torch.nn` namesake raises."""

import operator
from numbers import Real
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "as_contiguous",
    "check_elements",
    "check_floating",
    "check_number",
    "check_parameters",
    "check_tensor",
    "check_types",
    "is_integer",
    "scaled_nothing",
]


def check_tensor(X: Tensor) -> None:
    """Raise TypeError if X is no tensor, or nested in torch's older layout."""
    if not isinstance(X, Tensor):
        raise TypeError(f"the input must be a Tensor, but is {type(X).__name__}")
    if X.is_nested and X.layout == torch.strided:
        raise TypeError("a nested tensor of layout torch.strided is not supported: make it with layout=torch.jagged")


def check_number(**numbers: Any) -> None:
    """Raise TypeError unless each is a real number: Python's, NumPy's, or a tensor that holds one."""
    for name, value in numbers.items():
        if isinstance(value, (float, int, torch.SymFloat, torch.SymInt)):
            continue
        if isinstance(value, Tensor):
            real = value.dim() == 0 and not value.is_complex() and not value.requires_grad
        else:
            real = isinstance(value, Real)
        if not real:
            raise TypeError(f"{name} must be a number, but is {value!r}")


def is_integer(value: Any) -> bool:
    """Whether it is an integer: Python's, NumPy's, a tensor's, or the compiler's symbol; but not a bool."""
    if isinstance(value, (int, torch.SymInt)):
        return not isinstance(value, bool)
    try:
        operator.index(value)
    except TypeError:
        return False
    return True


def check_elements(C: int, X: Tensor, **parameters: Tensor | None) -> None:
    """Raise RuntimeError unless each parameter that is there has one element for each of X's C channels."""
    for name, t in parameters.items():
        if t is not None and t.numel() != C:
            raise RuntimeError(
                f"{name} should contain {C} elements, one for each channel of the input of shape "
                f"{tuple(X.shape)}, not {t.numel()}"
            )


def check_types(X: Tensor, **parameters: Tensor | None) -> None:
    """Raise RuntimeError unless each parameter that is there has X's type, or float32 beside a 16-bit X."""
    half = X.dtype in (torch.float16, torch.bfloat16)
    for name, t in parameters.items():
        if t is not None and t.dtype != X.dtype and not (half and t.dtype == torch.float32):
            allowed = f"{X.dtype} or torch.float32" if half else f"{X.dtype}"
            raise RuntimeError(
                f"mixed dtypes: beside an input of {X.dtype}, {name} must be {allowed}, but is {t.dtype}"
            )


def check_floating(X: Tensor) -> None:
    """Raise NotImplementedError unless X is floating point."""
    if not X.is_floating_point():
        raise NotImplementedError(f"not implemented for an input of {X.dtype}: convert it with .float()")


def check_parameters(X: Tensor, **parameters: Tensor | None) -> None:
    """Check elements, type of X and types of the parameters, in this order; an X without elements passes."""
    C = X.shape[1]
    if X.is_floating_point() and all(t is None or (t.dtype == X.dtype and t.numel() == C) for t in parameters.values()):
        return  # as nearly always: one look instead of three
    if X.numel() > 0:
        check_elements(C, X, **parameters)
        check_floating(X)
        check_types(X, **parameters)


def scaled_nothing(X: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """An X without elements, scaled and shifted so that weight and bias get zeros as gradients.

    Raises:
        IndexError: weight or bias has no elements either.
    """
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.numel() == 0:
            raise IndexError(f"no element of {name} belongs to the input, whose shape is {tuple(X.shape)}")
    Y = X.clone() if weight is None else X * weight[0]
    return Y if bias is None else Y + bias[0]


def as_contiguous(X: Tensor) -> Tensor:
    """X itself if its memory is in the order of its axes, or channels last; else a contiguous copy."""
    if X.is_contiguous():
        return X
    channels_last = X.dim() in (4, 5) and X.movedim(1, -1).is_contiguous()
    return X if channels_last else X.contiguous()
