"""What the checks ask of answers that draw: the right share, scaled, and from the generator that was given."""

from typing import Any

import torch
from torch import Tensor

from d2lnorm.course.exercises.common.feedback import described, expect, expect_close, randn

__all__ = [
    "alike",
    "expect_drawn",
    "expect_flow",
    "expect_scaled",
    "seeded",
    "survivors",
]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def survivors(Y: Any, X: Tensor, what: str) -> Tensor:
    """Which elements survived, once Y is known to be a tensor like X in which something was dropped."""
    expect(isinstance(Y, Tensor), f"{what} must be a tensor, but is {described(Y)}.")
    expect(Y.shape == X.shape, f"{what} must have shape {tuple(X.shape)}, but has {tuple(Y.shape)}.")
    right, wrong = (str(t.dtype).removeprefix("torch.") for t in (X, Y))
    expect(right == wrong, f"{what} must be {right}, as the inputs are, but is {wrong}.")
    expect(not torch.equal(Y, X), f"{what} is as it would be without dropout: nothing was dropped.")
    return Y.detach() != 0


def alike(keep: Tensor, axis: int, on: Tensor | None = None) -> bool:
    """Whether all elements along an axis survived or none, wherever one looks; only those that are `on` count."""
    on = torch.ones_like(keep) if on is None else on
    count = (keep & on).sum(axis)
    return bool(((count == 0) | (count == on.sum(axis))).all())


def expect_drawn(Y: Tensor, following: Tensor, again: Tensor, other: Tensor) -> None:
    """Expect that the mask was drawn from the generator: as its seed says, and from where the last call left it."""
    same = torch.equal(Y, again)
    expect(same, "the same seed must give the same mask, but it is not drawn from the generator (alone).")
    expect(not torch.equal(Y, other), "another seed gave the same mask; use the generator as it was passed.")
    moved = not torch.equal(Y, following)
    expect(
        moved,
        "a second call with the same generator gave the same mask: draw a new mask from `generator` itself in each "
        "call, and never seed it.",
    )


def expect_scaled(Y: Tensor, keep: Tensor, X: Tensor, p: float, what: str, plus: Any = 0, mistakes=None) -> None:
    """Expect that a share of about 1 - p survived, within five standard deviations, and that Y holds X, scaled."""
    share, off = keep.double().mean().item(), 5 * (p * (1 - p) / keep.numel()) ** 0.5
    fine = abs(share - (1 - p)) < off
    swapped = not fine and abs(share - p) < off
    expect(not swapped, f"a share of {share:.2f} survived with p = {p}: p is the probability to be dropped.")
    expect(fine, f"a share of {share:.2f} survived with p = {p}; about {1 - p:g} should.")
    factor = ((Y - plus) / X)[X != 0].mean().item()
    other = f"with p = {p} the survivors are multiplied by {factor:.5g}, not by 1/(1-p) = {1 / (1 - p):.5g}"
    usual = {
        "the survivors are not scaled": X + plus,
        "the survivors are divided by p instead of 1 - p": X / p + plus,
        "the survivors are multiplied by 1 - p; divide by it": X * (1 - p) + plus,
        "it is scaled by the share that survived in this draw; divide by 1 - p": X / share + plus,
    }
    expect_close(Y, X / (1 - p) + plus, what, usual | (mistakes or {}) | {other: X * factor + plus})


def expect_flow(Y: Tensor, right: Tensor, leaves: dict[str, Tensor], mode: str = "") -> None:
    """Expect that Y passes the same gradients as `right` to these leaves, given by their names."""
    where = f"in {mode} " if mode else ""
    expect(Y.requires_grad, f"{where}no gradient reaches anything: the output is cut off from the graph.")
    upstream = randn(*Y.shape, dtype=Y.dtype)
    for name, leaf in leaves.items():
        got = torch.autograd.grad(Y, leaf, upstream, retain_graph=True, allow_unused=True)[0]
        expected = torch.autograd.grad(right, leaf, upstream, retain_graph=True)[0]
        expect(got is not None, f"{where}no gradient reaches {name}: something is cut off from the graph.")
        expect_close(got, expected, f"{where}the gradient of {name}", rtol=1e-3, atol=1e-4)
