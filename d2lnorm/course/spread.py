"""Several runs in one line: mean and spread."""

from collections.abc import Sequence
from statistics import fmean

__all__ = ["spread"]


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Return the mean of `values` with the smallest and the largest: "0.873 (0.861 to 0.880)".

    With the three to five seeds of the course, the range says more than a standard deviation would.

    Raises:
        ValueError: values is empty.
    """
    if not values:
        raise ValueError("the spread of no values is not defined: values is empty")
    mean, low, high = (f"{x:.{digits}f}" for x in (fmean(values), min(values), max(values)))
    return f"{mean} ({low} to {high})"
