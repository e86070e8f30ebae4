"""What the checks see in several calls of an answer that draws from a generator."""

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from d2lnorm.course.exercises.common.draws import seeded
from d2lnorm.course.exercises.common.feedback import described, expect
from d2lnorm.course.exercises.common.traces import kept

__all__ = ["drawn", "expect_outcomes", "expect_rare"]


def drawn(answer: Callable, given: dict[str, Any], p: float, training: bool) -> list[Any]:
    """Return what four calls give, having seen that none changes what is given by name, nor torch's random numbers.

    The first two get one generator, the third one of the same seed, the last one of another: see `expect_drawn`.
    """
    values, where = [], f"({'training' if training else 'evaluation'}, p = {p})"
    running = seeded(2)
    for generator in (running, running, seeded(2), seeded(3)):
        with kept(generator=True, **{f"{name} {where}": t for name, t in given.items()}):
            values.append(answer(*given.values(), p, training, generator))
    return values


def expect_outcomes(rows: list[tuple[float, float]], dropped: float, what: str) -> None:
    """Expect all outcomes of many calls with p = 0.5, each with two numbers that are `dropped` if they are."""
    seen = {tuple("dropped" if x == dropped else "kept" for x in row) for row in rows}
    missing = [way for way in product(("dropped", "kept"), repeat=2) if way not in seen]
    ways = "; ".join(f"first {first}, second {second}" for first, second in missing)
    words = f"of the 4 outcomes for two {what} at p = 0.5, {len(missing)} never came in {len(rows)} calls ({ways})"
    fixed = [first == second for first, second in missing] == [True, True]
    expect(not missing, f"{words}: draw for each by itself{', and do not fix how many' if fixed else ''}.")
    values = len(set(rows))
    expect(values == 4, f"two {what} and p = 0.5 have 4 outcomes, but {len(rows)} calls gave {values} different ones.")


def expect_rare(answer: Callable[[Tensor, float], Any], what: str) -> None:
    """Expect a float16 result for 12,500 float16 ones, and the right share of zeros at p = 0.005 and p = 0.995."""
    for p in (0.005, 0.995):
        ones = torch.ones(125, 100, dtype=torch.float16)
        Y, of = answer(ones, p), f"of 12,500 ones in float16, in training at p = {p},"
        kind = Y.dtype if isinstance(Y, Tensor) else described(Y)
        expect(kind == ones.dtype, f"{what} {of} must be in float16, but is {kind}.")
        share = (Y == 0).double().mean().item()
        expect(abs(share - p) < 0.0025, f"{of} a share of {share:.4f} was dropped; about {p} should be.")
