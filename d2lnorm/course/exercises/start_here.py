"""Checks of notebook 00: means by class, standardizing a batch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from d2lnorm.course.exercises.common.draws import seeded
from d2lnorm.course.exercises.common.feedback import NotYet, exercise, expect, expect_close, randn
from d2lnorm.course.exercises.common.traces import untouched

__all__ = ["check_class_means", "check_standardize_channels"]


def _randn(*shape: int, seed: int = 0) -> Tensor:
    return randn(*shape, seed=seed, dtype=torch.float32)


@exercise
def check_class_means(class_means: Callable) -> str:
    """Check `class_means(X, y, num_classes)` on classes of different sizes, in no order, in two dtypes."""
    y = torch.tensor([2, 0, 1, 2, 2, 0, 2])
    first = f"the result for X of shape (7, 2, 3, 4) and y = {y.tolist()}"
    _check_means(class_means, 3 + _randn(7, 2, 3, 4), y, 3, first)
    X = torch.relu(randn(7, 1, 3, 4, seed=1))  # half of its pixels are 0, as in Fashion-MNIST
    _check_means(class_means, X, 2 - y, 3, "the result for one channel with pixels of 0, in float64,")
    many = torch.randint(4, (300,), generator=seeded(2))
    _check_means(class_means, randn(300, 3, 2, 1, seed=2), many, 4, "the result for 300 images in float64")
    _check_means(class_means, _randn(1, 2, 1, 3, seed=3), y[1:2], 1, "the result for one class of one image")
    return "right for classes of different sizes, in any order, for any number of channels."


def _check_means(class_means: Callable, X: Tensor, y: Tensor, classes: int, what: str) -> None:
    one_hot = torch.nn.functional.one_hot(y, classes).to(X.dtype)  # (N, classes)
    sums, sizes = torch.einsum("nk,nchw->kchw", one_hot, X), one_hot.sum(dim=0).view(-1, 1, 1, 1)
    not_zero = torch.einsum("nk,nchw->kchw", one_hot, (X != 0).to(X.dtype))
    with untouched(X=X, y=y):
        got = class_means(X, y, classes)
    mistakes = {
        "the images of each class were added up, but not divided by their number": sums,
        "the sums were divided by the number of all images, not by that of the class": sums / len(X),
        "the sums were divided by the same number for all classes, but these differ in size": sums / (len(X) / classes),
        "every class got the mean of all images; select those with its label": X.mean(dim=0).expand(
            classes, -1, -1, -1
        ),
        "it holds the median, not the mean": torch.stack([X[y == k].median(dim=0).values for k in range(classes)]),
        "it holds the first image of each class, not the mean of all": torch.stack(
            [X[y == k][0] for k in range(classes)]
        ),
        "the images were assigned to classes as if y were sorted; image i belongs to class y[i]": torch.stack(
            [part.mean(dim=0) for part in X.split(y.bincount().tolist())]
        ),
        "pixels that are 0 are not counted, but they are part of the mean": sums / not_zero.clamp(min=1),
    }
    expect_close(got, sums / sizes, what, mistakes)
    _expect_digits(got, sums / sizes, what)


@exercise
def check_standardize_channels(standardize_channels: Callable) -> str:
    """Check `standardize_channels(X, eps)`: axes, variance, eps, precision, gradient, and X left alone."""

    def answered(X: Tensor, *eps: float) -> Tensor:
        before = X.detach().clone()
        with untouched(X=X):
            got = standardize_channels(X, *eps)
            changed = f"X, here in {str(X.dtype).removeprefix('torch.')}, is changed by the call"
            where = "something is written into it, or into a tensor that shares its memory"
            expect(torch.equal(X.detach(), before), f"{changed}: {where}.")
        return got

    scale, shift = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)
    X, eps = shift + scale * _randn(2, 2, 1, 2), 0.5  # as wide as it has channels: nothing stops a wrong broadcast
    first = "the result for X of shape (2, 2, 1, 2) and eps = 0.5"
    expect_close(answered(X, eps), _standardized(X, eps), first, _standardize_mistakes(X, eps))

    X = shift.expand(1, 2, 3, 5) + _randn(1, 2, 3, 5, seed=1)  # now a wrong broadcast is an error
    expect_close(answered(X), _standardized(X, 1e-5), "the result for X of shape (1, 2, 3, 5) with the default eps")

    X = 0.01 * randn(5, 3, 4, 2, seed=5)
    X[:, 1] = 3.0
    what, got = "the result for small numbers and a constant channel, in float64,", answered(X)
    expect_close(got, _standardized(X, 1e-5), what)
    _expect_digits(got, _standardized(X, 1e-5), what)

    X = torch.tensor([1e4, 0.0, -1e4]).view(3, 1, 1) + _randn(4, 3, 3, 3, seed=2)  # no one number centres them all
    truth, mean = _standardized(X.double(), 1e-5).float(), X.mean(dim=(0, 2, 3), keepdim=True)
    lost = (X - mean) / (X.square().mean(dim=(0, 2, 3), keepdim=True) - mean.square() + 1e-5).sqrt()
    mistakes = {"the variance is E[x²] - E[x]², which is lost in rounding here": lost}
    what = "the result for channels with means of 10,000, 0 and -10,000 in float32"
    expect_close(answered(X), truth, what, mistakes, rtol=0, atol=0.02)

    X = _randn(2, 3, 1, 2, seed=3)
    X[:, 2] = 3.0
    weights, got = _randn(2, 3, 1, 2, seed=4), answered(X.requires_grad_(), eps)
    expect(got.requires_grad, "the gradient is lost: the result does not depend on X for autograd.")
    try:
        (gradient,) = torch.autograd.grad((weights * got).sum(), X, allow_unused=True)
    except RuntimeError as error:
        raise NotYet(f"no gradient can be computed: {str(error).partition(':')[0]}. Was X written over?") from error
    expect(gradient is not None, "the gradient by X is lost: the result hangs on a new tensor, not on X.")
    (truth,) = torch.autograd.grad((weights * _standardized(X, eps)).sum(), X)
    stopped = {}
    for constant in ("mean and variance", "variance", "mean"):
        (lacking,) = torch.autograd.grad((weights * _standardized(X, eps, constant)).sum(), X)
        stopped[f"it lacks the part through the {constant}, where X enters, too"] = lacking
    expect_close(gradient, truth, "the gradient by X, whose channel 2 is constant,", stopped)

    with _Calls() as few:
        standardize_channels(_randn(2, 2, 2, 2))
    with _Calls() as many:
        standardize_channels(_randn(12, 12, 12, 12))
    calls = f"{few.number} calls of torch for 2 images of 2 channels, {many.number} for 12 of 12"
    expect(
        many.number < few.number + 10,
        f"it loops: {calls}. Write it without loops, for all images and channels at once.",
    )
    return "right axes, the biased variance, precise, differentiable, and X is left alone."


class _Calls(TorchFunctionMode):
    """Counts what is called of torch, to see whether an answer loops."""

    number = 0

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.number += 1
        return func(*args, **(kwargs or {}))


def _expect_digits(got: Tensor, truth: Tensor, what: str) -> None:
    """Expect of a result in float64 that it was computed in float64, too."""
    digits = truth.dtype == torch.float32 or torch.allclose(got, truth, rtol=1e-9, atol=1e-9)
    expect(digits, f"{what} is right to a few digits only: compute it in X's dtype, too, and do not round it.")


def _standardized(X: Tensor, eps: float, constant: str = "", dim: tuple[int, ...] = (0, 2, 3)) -> Tensor:
    var, mean = torch.var_mean(X, dim=dim, keepdim=True, correction=0)
    mean, var = mean.detach() if "mean" in constant else mean, var.detach() if "variance" in constant else var
    return (X - mean) / (var + eps).sqrt()


def _standardize_mistakes(X: Tensor, eps: float) -> dict[str, Tensor]:
    """Return what each usual mistake gives; X is as wide as it has channels."""
    axes = (0, 2, 3)
    mean, var = X.mean(dim=axes), X.var(dim=axes, correction=0)
    kept_mean, kept_var = mean.view(1, -1, 1, 1), var.view(1, -1, 1, 1)
    both = X - mean  # the mean along the width, then statistics of what is left
    mistakes: dict[str, Tensor] = {}
    for correction, more in ((0, ""), (1, ". And the variance was divided by n - 1")):
        some, rest = (t.var(dim=axes, correction=correction) for t in (X, both))
        kept_some, kept_rest = some.view(1, -1, 1, 1), rest.view(1, -1, 1, 1)
        lined = "of shape (C,) was lined up with the width, not with the channels"
        mistakes |= {
            f"a mean {lined}, and a variance, too{more}": both / (some + eps).sqrt(),
            f"a mean {lined}, then the variance, too{more}": both / (rest + eps).sqrt(),
            f"the mean {lined}{more}": both / (kept_rest + eps).sqrt(),
            f"a mean {lined}{more}": both / (kept_some + eps).sqrt(),
            f"a variance {lined}{more}": (X - kept_mean) / (some + eps).sqrt(),
        }
    wrong_axes = {
        "each image has its own statistics; average over the batch axis 0, too": (2, 3),
        "the statistics are those of each image; a channel's are taken over its numbers in all images": (1, 2, 3),
        "each pixel has its own statistics; average over the axes 2 and 3, too": (0,),
        "all channels share one mean and variance; leave axis 1 out of dim": (0, 1, 2, 3),
    }
    return mistakes | {
        "the variance was divided by n - 1, not by n": (X - kept_mean) / (kept_some + eps).sqrt(),
        "eps was added to the root; it belongs under it, to the variance": (X - kept_mean) / (kept_var.sqrt() + eps),
        f"it is as with eps near 0, but eps = {eps} was passed: add it to each variance": (X - kept_mean)
        / kept_var.sqrt(),
        "it was divided by the variance; take its root": (X - kept_mean) / (kept_var + eps),
        **{name: _standardized(X, eps, dim=dim) for name, dim in wrong_axes.items()},
    }
