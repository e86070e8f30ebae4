"""What the checks ask of answers that draw: the right share, scaled, and from the generator that was given."""

from typing import Any

import torch
from torch import Tensor

from d2lnorm.course.exercises.feedback import expect, expect_close

__all__ = ["expect_drawn", "expect_scaled", "expect_share", "seeded", "survivors"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def survivors(Y: Any, X: Tensor, what: str) -> Tensor:
    """Which elements survived, once Y is known to be a tensor of X's shape in which something was dropped."""
    expect(isinstance(Y, Tensor), f"{what} must be a tensor, but is a {type(Y).__name__}.")
    expect(Y.shape == X.shape, f"{what} must have shape {tuple(X.shape)}, but has {tuple(Y.shape)}.")
    expect(not torch.equal(Y, X), f"{what} is as it would be without dropout: nothing was dropped.")
    return Y.detach() != 0


def expect_drawn(Y: Tensor, following: Tensor, again: Tensor, other: Tensor) -> None:
    """Expect that the mask was drawn from the generator: as its seed says, and from where the last call left it."""
    same = torch.equal(Y, again)
    expect(same, "the same seed must give the same mask, but it is not drawn from the generator (alone).")
    expect(not torch.equal(Y, other), "another seed gave the same mask; use the generator as it was passed.")
    moved = not torch.equal(Y, following)
    expect(
        moved,
        "a second call with the same generator gave the same mask: draw a new one in each call, and do not seed it.",
    )


def expect_share(keep: Tensor, p: float) -> None:
    """Expect that a share of about 1 - p survived: within five standard deviations."""
    share, off = keep.double().mean().item(), 5 * (p * (1 - p) / keep.numel()) ** 0.5
    expect(abs(share - p) > off, f"a share of {share:.2f} survived with p = {p}: p is the probability to be dropped.")
    expect(abs(share - (1 - p)) < off, f"a share of {share:.2f} survived with p = {p}; about {1 - p} should.")


def expect_scaled(Y: Tensor, kept: Tensor, p: float, what: str, plus: Tensor | float = 0, mistakes=None) -> None:
    usual = {
        "the survivors are not scaled": kept + plus,
        "the survivors are divided by p instead of 1 - p": kept / p + plus,
        "the survivors are multiplied by 1 - p; divide by it": kept * (1 - p) + plus,
    }
    expect_close(Y, kept / (1 - p) + plus, what, usual | (mistakes or {}))
