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
    _check_means(class_means, 3 + _randn(7, 2, 3, 4), y, 3, "the result")
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
    before = X.clone(), y.clone()
    with untouched(X=X, y=y):
        got = class_means(X, y, classes)
        same = torch.equal(X, before[0]) and torch.equal(y, before[1])
        expect(same, "X or y is changed by the call; the caller still needs them, so compute new tensors.")
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
        "the labels are in no order; select the images of a class by `y == number`": torch.stack(
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
            same = torch.equal(X.detach(), before)
            expect(same, "X is changed by the call; `X -= ...` writes into the caller's tensor.")
        return got

    scale, shift = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1), torch.tensor([3.0, -1.0]).view(1, 2, 1, 1)
    X, eps = shift + scale * _randn(2, 2, 1, 2), 0.5  # as wide as it has channels: nothing stops a wrong broadcast
    expect_close(answered(X, eps), _standardized(X, eps), "the result", _standardize_mistakes(X, eps))

    X = shift.expand(2, 2, 3, 5) + _randn(2, 2, 3, 5, seed=1)  # now a wrong broadcast is an error
    expect_close(answered(X), _standardized(X, 1e-5), "the result with the default eps")

    X = 0.01 * randn(5, 3, 4, 2, seed=5)
    X[:, 1] = 3.0
    what, got = "the result for small numbers and a constant channel, in float64,", answered(X)
    expect_close(got, _standardized(X, 1e-5), what)
    _expect_digits(got, _standardized(X, 1e-5), what)

    X = 1e4 + _randn(4, 2, 3, 3, seed=2)
    truth = _standardized(X.double(), 1e-5).float()
    mistake = "the variance is lost in rounding; average the squared distances from the mean, not E[x²] - E[x]²"
    got = answered(X)
    fine = torch.is_tensor(got) and got.shape == truth.shape and torch.allclose(got, truth, rtol=0, atol=0.02)
    expect(fine, f"the result for means around 10,000 in float32 is not right: {mistake}.")

    X = _randn(2, 2, 1, 2, seed=3).requires_grad_()
    weights, got = _randn(2, 2, 1, 2, seed=4), answered(X, eps)
    expect(got.requires_grad, "the gradient is lost: the result does not depend on X for autograd.")
    try:
        (gradient,) = torch.autograd.grad((weights * got).sum(), X, allow_unused=True)
    except RuntimeError as error:
        raise NotYet(f"no gradient can be computed: {str(error).partition(':')[0]}. Was X written over?") from error
    expect(gradient is not None, "the gradient by X is lost: the result hangs on a new tensor, not on X.")
    (truth,) = torch.autograd.grad((weights * _standardized(X, eps)).sum(), X)
    (stopped,) = torch.autograd.grad((weights * _standardized(X, eps, detached=True)).sum(), X)
    expect_close(
        gradient, truth, "the gradient", {"mean and variance depend on X, too: keep them in the graph": stopped}
    )

    with _Calls() as few:
        standardize_channels(_randn(2, 2, 2, 2))
    with _Calls() as many:
        standardize_channels(_randn(12, 12, 12, 12))
    calls = f"{few.number} calls of torch for 2 images of 2 channels, {many.number} for 12 of 12"
    expect(many.number < few.number + 10, f"it loops: {calls}. Write it without loops, for all channels at once.")
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


def _standardized(X: Tensor, eps: float, detached: bool = False, dim: tuple[int, ...] = (0, 2, 3)) -> Tensor:
    var, mean = torch.var_mean(X.detach() if detached else X, dim=dim, keepdim=True, correction=0)
    return (X - mean) / (var + eps).sqrt()


def _standardize_mistakes(X: Tensor, eps: float) -> dict[str, Tensor]:
    """Return what each usual mistake gives; X is as wide as it has channels."""
    axes = (0, 2, 3)
    mean, var, unbiased = X.mean(dim=axes), X.var(dim=axes, correction=0), X.var(dim=axes)
    kept_mean, kept_var, kept_unbiased = (t.view(1, -1, 1, 1) for t in (mean, var, unbiased))
    along_width = "statistics of shape (C,) were broadcast along the width; keepdim=True keeps one for each channel"
    n_minus_1 = "the variance was divided by n - 1; correction=0 divides by n"
    both = X - mean  # the mean along the width, then statistics of what is left
    wrong_axes = {
        "each image has its own statistics; average over the batch axis 0, too": (2, 3),
        "each image has its own statistics; average over axis 0, and not over the channels' axis 1": (1, 2, 3),
        "each pixel has its own statistics; average over the axes 2 and 3, too": (0,),
        "all channels share one mean and variance; leave axis 1 out of dim": (0, 1, 2, 3),
    }
    return {
        along_width: (X - mean) / (var + eps).sqrt(),
        f"{along_width}. And {n_minus_1}": (X - mean) / (unbiased + eps).sqrt(),
        f"{along_width} (the mean, then the variance of the rest)": both / (both.var(axes, correction=0) + eps).sqrt(),
        f"{along_width} (the mean, then the variance of the rest). And {n_minus_1}": both
        / (both.var(axes) + eps).sqrt(),
        f"{along_width} (the mean)": both / (both.var(axes, correction=0, keepdim=True) + eps).sqrt(),
        f"{along_width} (the mean). And {n_minus_1}": both / (both.var(axes, keepdim=True) + eps).sqrt(),
        f"{along_width} (of the mean)": (X - mean) / (kept_var + eps).sqrt(),
        f"{along_width} (of the variance)": (X - kept_mean) / (var + eps).sqrt(),
        f"{along_width} (of the variance). And {n_minus_1}": (X - kept_mean) / (unbiased + eps).sqrt(),
        n_minus_1: (X - kept_mean) / (kept_unbiased + eps).sqrt(),
        "eps was added to the root; it belongs under it, to the variance": (X - kept_mean) / (kept_var.sqrt() + eps),
        f"eps was left out, or not used as it was given; here eps = {eps}": (X - kept_mean) / kept_var.sqrt(),
        "it was divided by the variance; take its root": (X - kept_mean) / (kept_var + eps),
        **{name: _standardized(X, eps, dim=dim) for name, dim in wrong_axes.items()},
    }
