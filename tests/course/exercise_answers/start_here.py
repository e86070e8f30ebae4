"""Answers to the exercises of notebook 00."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.course.exercises.start_here import check_class_means, check_standardize_channels
from exercise_answers import Answers

AXES = (0, 2, 3)


# Mean images


def means_loop(X, y, num_classes):
    return torch.stack([X[y == number].mean(dim=0) for number in range(num_classes)])


def means_matmul(X, y, num_classes):
    weights = F.one_hot(y, num_classes).T.to(X.dtype)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (weights @ X.flatten(1)).view(num_classes, *X.shape[1:])


def means_index_add(X, y, num_classes):
    sums = X.new_zeros(num_classes, *X.shape[1:]).index_add(0, y, X)
    return sums / y.bincount(minlength=num_classes).view(-1, 1, 1, 1)


def means_in_place(X, y, num_classes):
    for number in range(num_classes):
        X[y == number] = X[y == number].mean(dim=0)
    return torch.stack([X[y == number][0] for number in range(num_classes)])


def means_sums(X, y, num_classes):
    return torch.stack([X[y == number].sum(dim=0) for number in range(num_classes)])


def means_of_all_images(X, y, num_classes):
    return means_sums(X, y, num_classes) / len(X)


def means_over_pixels(X, y, num_classes):
    return torch.stack([X[y == number].mean() for number in range(num_classes)])


def means_without_labels(X, y, num_classes):
    return X.mean(dim=0).expand(num_classes, -1, -1, -1)


def means_first(X, y, num_classes):
    return torch.stack([X[y == number][0] for number in range(num_classes)])


def means_median(X, y, num_classes):
    return torch.stack([X[y == number].median(dim=0).values for number in range(num_classes)])


def means_float32(X, y, num_classes):
    return means_loop(X.float(), y, num_classes)


def means_sorted_labels(X, y, num_classes):
    return torch.stack([part.mean(dim=0) for part in X.split(y.bincount(minlength=num_classes).tolist())])


def each(reduce, numbers=range, after=lambda means: means):
    """What `reduce` makes of the images of each class."""

    def answer(X, y, num_classes):
        return after(torch.stack([reduce(X[y == number]) for number in numbers(num_classes)]))

    return answer


def first(also, means=means_loop):
    """Something else is done before the means are taken."""

    def answer(X, y, num_classes):
        also(X, y)
        return means(X, y, num_classes)

    return answer


def mean(images):
    return images.mean(dim=0)


def means_numpy(X, y, num_classes):
    X, y = X.numpy(), y.numpy()
    return torch.from_numpy(np.stack([X[y == number].mean(axis=0) for number in range(num_classes)]))


def means_split(X, y, num_classes):
    return torch.cat([part.mean(0, keepdim=True) for part in X[y.argsort()].split(y.bincount().tolist())])


def means_image_by_image(X, y, num_classes):
    total, n = [0] * num_classes, [0] * num_classes
    for image, label in zip(X, y.tolist(), strict=True):
        total[label], n[label] = total[label] + image, n[label] + 1
    return torch.stack([t / m for t, m in zip(total, n, strict=True)])


def means_where(X, y, num_classes):
    masks = [(y == number).view(-1, 1, 1, 1) for number in range(num_classes)]
    return torch.stack([torch.where(mask, X, torch.nan).nanmean(dim=0) for mask in masks])


def means_without_zeros(X, y, num_classes):
    masked = [X * (y == number).view(-1, 1, 1, 1) for number in range(num_classes)]
    return torch.stack([M.sum(dim=0) / (M != 0).sum(dim=0).clamp(min=1) for M in masked])


def means_of_equal_classes(X, y, num_classes):
    return means_sums(X, y, num_classes) / (len(X) / num_classes)


def means_of_halves(X, y, num_classes):
    halves = [*zip(X.chunk(2), y.chunk(2), strict=False)]
    return torch.stack(
        [mean(torch.stack([mean(a[b == k]) for a, b in halves if (b == k).any()])) for k in range(num_classes)]
    )


def means_float32_and_back(X, y, num_classes):
    return means_loop(X.float(), y, num_classes).to(X.dtype)


def means_halved(X, y, num_classes):
    means = X.new_zeros(num_classes, *X.shape[1:])
    for image, label in zip(X, y, strict=True):
        means[label] = (means[label] + image) / 2
    return means


def means_as_seen(X, y, num_classes):
    return torch.stack([X[y == number].mean(dim=0) for number in dict.fromkeys(y.tolist())])


# Standardizing


def right(X, eps=1e-5):
    mean = X.mean(dim=AXES, keepdim=True)
    return (X - mean) / (((X - mean) ** 2).mean(dim=AXES, keepdim=True) + eps) ** 0.5


def by_batch_norm(X, eps=1e-5):
    return F.batch_norm(X, None, None, training=True, eps=eps)


def by_reshaping(X, eps=1e-5):
    rows = X.transpose(0, 1).flatten(1)  # (C, N H W)
    rows = F.layer_norm(rows, rows.shape[1:], eps=eps)
    return rows.view(X.shape[1], X.shape[0], *X.shape[2:]).transpose(0, 1)


def as_shipped(X, eps=1e-5):
    X -= X.mean(dim=AXES)
    return X / (X.var(dim=AXES) + eps).sqrt()


def two_bugs(X, eps=1e-5):
    X = X - X.mean(dim=AXES)
    return X / (X.var(dim=AXES) + eps).sqrt()


def no_keepdim(X, eps=1e-5):
    return (X - X.mean(dim=AXES)) / (X.var(dim=AXES, correction=0) + eps).sqrt()


def no_keepdim_of_mean(X, eps=1e-5):
    return (X - X.mean(dim=AXES)) / (X.var(dim=AXES, keepdim=True, correction=0) + eps).sqrt()


def no_keepdim_of_var(X, eps=1e-5):
    X = X - X.mean(dim=AXES, keepdim=True)
    return X / (X.var(dim=AXES, correction=0) + eps).sqrt()


def in_turn(correction, keepdim):
    """The mean along the width, then the variance of what is left."""

    def answer(X, eps=1e-5):
        X = X - X.mean(dim=AXES)
        return X / (X.var(dim=AXES, correction=correction, keepdim=keepdim) + eps).sqrt()

    return answer


def over(*dim):
    """Statistics over other axes."""

    def answer(X, eps=1e-5):
        var, mean = torch.var_mean(X, dim=dim, keepdim=True, correction=0)
        return (X - mean) / (var + eps).sqrt()

    return answer


def only_in_place(X, eps=1e-5):
    var, mean = torch.var_mean(X, dim=AXES, keepdim=True, correction=0)
    X -= mean
    return X / (var + eps).sqrt()


def unbiased(X, eps=1e-5):
    return (X - X.mean(dim=AXES, keepdim=True)) / (X.var(dim=AXES, keepdim=True) + eps).sqrt()


def nan_at_a_constant(X, eps=1e-5):
    D = X - X.mean(AXES, True)
    return D / (D.square().mean(AXES, True).sqrt() ** 2 + eps).sqrt()


def one_pass_after(shift):
    """The variance in one pass, after one number was taken off everywhere."""
    return scaled_by(
        lambda X, eps: (((Z := X - shift(X)) ** 2).mean(AXES, True) - Z.mean(AXES, True) ** 2 + eps).sqrt()
    )


def eps_outside(X, eps=1e-5):
    return (X - X.mean(dim=AXES, keepdim=True)) / (X.std(dim=AXES, keepdim=True, correction=0) + eps)


def eps_forgotten(X, eps=1e-5):
    return (X - X.mean(dim=AXES, keepdim=True)) / X.std(dim=AXES, keepdim=True, correction=0)


def root_forgotten(X, eps=1e-5):
    return (X - X.mean(dim=AXES, keepdim=True)) / (X.var(dim=AXES, keepdim=True, correction=0) + eps)


def batch_axis_forgotten(X, eps=1e-5):
    return F.instance_norm(X, eps=eps)


def one_for_all(X, eps=1e-5):
    return (X - X.mean()) / (X.var(correction=0) + eps).sqrt()


def squares_minus_square(X, eps=1e-5):
    mean = X.mean(dim=AXES, keepdim=True)
    return (X - mean) / ((X**2).mean(dim=AXES, keepdim=True) - mean**2 + eps).sqrt()


def gradient_of_statistics_lost(X, eps=1e-5):
    with torch.no_grad():
        var, mean = torch.var_mean(X, dim=AXES, keepdim=True, correction=0)
    return (X - mean) / (var + eps).sqrt()


def gradient_lost(X, eps=1e-5):
    return right(X.detach(), eps)


def default_eps_too_large(X, eps=0.1):
    return right(X, eps)


def changed(before=lambda X: X, after=lambda Y, X: Y, other=lambda eps: eps, also=lambda X: None):
    """The right answer for another X or eps, or with its result changed, or with a side effect."""

    def answer(X, eps=1e-5):
        also(X)
        return after(right(before(X), other(eps)), X)

    return answer


def scaled_by(scale, centre=lambda X: X.mean(dim=AXES, keepdim=True)):
    """X without its mean, divided by something else."""
    return lambda X, eps=1e-5: (X - centre(X)) / scale(X, eps)


def deviation(X, eps=0.0):
    return (X.var(dim=AXES, keepdim=True, correction=0) + eps).sqrt()


def by_layer(**options):
    return lambda X, eps=1e-5: nn.BatchNorm2d(X.shape[1], **{"eps": eps, "affine": False, "dtype": X.dtype} | options)(
        X
    )


def by_vmap(X, eps=1e-5):
    return torch.vmap(lambda x: (x - x.mean()) / (x.var(correction=0) + eps).sqrt(), in_dims=1, out_dims=1)(X)


def by_channels_last(X, eps=1e-5):
    X = X.permute(0, 2, 3, 1).clone()
    X -= X.mean(dim=(0, 1, 2))
    return (X * torch.rsqrt(X.square().mean(dim=(0, 1, 2)) + eps)).permute(0, 3, 1, 2)


def in_float64(X, eps=1e-5):
    return right(X.double(), eps).to(X.dtype)


def in_place_if_float64(X, eps=1e-5):
    Z = X.double()
    Z -= Z.mean(dim=AXES, keepdim=True)
    return (Z / deviation(Z, eps)).to(X.dtype)


def in_place_and_back(X, eps=1e-5):
    mean = X.mean(dim=AXES, keepdim=True)
    with torch.no_grad():
        X -= mean
    Y = X / deviation(X, eps)
    with torch.no_grad():
        X += mean
    return Y


def as_rows(X, eps=1e-5):
    rows = X.reshape(X.shape[1], -1)
    return ((rows - rows.mean(1, True)) / (rows.var(1, correction=0, keepdim=True) + eps).sqrt()).reshape(X.shape)


def in_a_loop(X, eps=1e-5):
    Y = torch.empty_like(X)
    for c in range(X.shape[1]):
        Y[:, c] = (X[:, c] - X[:, c].mean()) / (X[:, c].var(correction=0) + eps).sqrt()
    return Y


def in_a_comprehension(X, eps=1e-5):
    return torch.cat([right(x, eps) for x in X.split(1, dim=1)], dim=1)


def over_the_images(X, eps=1e-5):
    mean = sum(x.mean((1, 2), keepdim=True) for x in X) / len(X)
    return (X - mean) / (sum(((x - mean) ** 2).mean((1, 2), keepdim=True) for x in X) / len(X) + eps).sqrt()


ANSWERS = {
    check_class_means: Answers(
        right=[
            means_loop,
            means_matmul,
            means_index_add,
            means_numpy,
            means_split,
            means_image_by_image,
            means_where,
            lambda X, y, num_classes: means_loop(X.double(), y, num_classes).to(X.dtype),
            lambda X, y, num_classes: torch.stack([mean(X[y == number]) for number in y.unique()]),
        ],
        wrong={
            "ten classes": (each(mean, lambda n: range(10)), "but has (10, 2, 3, 4)"),
            "from one": (each(mean, lambda n: range(1, n + 1)), "are not finite"),
            "the last forgotten": (each(mean, lambda n: range(n - 1)), "but has (2, 2, 3, 4)"),
            "channels averaged": (each(lambda images: images.mean((0, 1))), "but has (3, 3, 4)"),
            "no axis of channels": (each(lambda images: mean(images).squeeze(0)), "shape (3, 1, 3, 4)"),
            "an axis too many": (each(lambda images: images.mean(0, keepdim=True)), "but has (3, 1, 2, 3, 4)"),
            "squeezed": (each(lambda images: mean(images.squeeze())), "your code stopped"),
            "only twenty": (each(lambda images: mean(images[:20])), "for 300 images"),
            "by n - 1": (each(lambda images: images.sum(0) / max(len(images) - 1, 1)), "is not right: at index"),
            "whole numbers": (each(lambda images: mean(images.long().float())), "is not right: at index"),
            "clipped": (each(lambda images: mean(images.clamp(0, 1))), "is not right: at index"),
            "bfloat16": (each(lambda images: mean(images.bfloat16()).to(images.dtype)), "is not right: at index"),
            "rounded": (each(mean, after=lambda means: means.round(decimals=6)), "to a few digits only"),
            "turned round": (each(mean, after=lambda means: means.mT), "but has (3, 2, 4, 3)"),
            "a list": (each(mean, after=list), "must be a tensor, but is a list"),
            "numpy": (each(mean, after=lambda means: means.numpy()), "must be a tensor, but is an ndarray"),
            "28 by 28": (each(mean, after=lambda means: means.reshape(-1, 1, 28, 28)), "your code stopped"),
            "in float64": (each(lambda images: mean(images.double())), "must have dtype torch.float32"),
            "in float32 and back": (means_float32_and_back, "to a few digits only"),
            "pixels of 0 not counted": (means_without_zeros, "pixels that are 0"),
            "equal classes": (means_of_equal_classes, "these differ in size"),
            "means of halves": (means_of_halves, "for 300 images"),
            "halved": (means_halved, "is not right: at index"),
            "as seen": (means_as_seen, "is not right: at index"),
            "labels sorted": (
                lambda X, y, num_classes: means_loop(X, y.sort().values, num_classes),
                "as if y were sorted; image i belongs to class y[i]",
            ),
            "labels changed": (
                first(lambda X, y: y.zero_(), means_without_labels),
                "y is not as it was: before 2 at index [0]",
            ),
            "seeded with 0": (first(lambda X, y: torch.manual_seed(0)), "global generator"),
            "X asks for gradients": (first(lambda X, y: X.requires_grad_()), "requires_grad of X"),
            "in place": (means_in_place, "means_in_place: X is not as it was"),
            "sums": (means_sums, "and y = [2, 0, 1, 2, 2, 0, 2] is not right: the images of each class were added up"),
            "divided by all": (means_of_all_images, "divided by the number of all images"),
            "pixels averaged, too": (means_over_pixels, "must have shape (3, 2, 3, 4), but has (3,)"),
            "labels ignored": (means_without_labels, "the mean of all images"),
            "first image": (means_first, "first image of each class"),
            "median": (means_median, "median"),
            "another dtype": (means_float32, "dtype torch.float64"),
            "labels taken as sorted": (means_sorted_labels, "as if y were sorted; image i belongs to class y[i]"),
        },
    ),
    check_standardize_channels: Answers(
        right=[
            right,
            by_batch_norm,
            by_reshaping,
            by_layer(),
            by_layer(track_running_stats=False),
            by_vmap,
            by_channels_last,
            in_float64,
            scaled_by(deviation),
        ],
        wrong={
            "seeded with 0": (changed(also=lambda X: torch.manual_seed(0)), "global generator"),
            "X asks for gradients": (changed(also=lambda X: X.requires_grad_()), "requires_grad of X"),
            "noise": (changed(lambda X: X + 1e-12 * torch.randn_like(X)), "global generator"),
            "a new leaf": (changed(lambda X: X.clone().detach().requires_grad_()), "hangs on a new tensor"),
            "in float32": (changed(lambda X: X.float()), "must have dtype torch.float64"),
            "in float32 and back": (changed(lambda X: X.float(), lambda Y, X: Y.to(X.dtype)), "to a few digits only"),
            "always float64": (changed(lambda X: X.double()), "must have dtype torch.float32"),
            "with its mean": (changed(after=lambda Y, X: (Y, X.mean(AXES))), "must be a tensor, but is a tuple"),
            "eps fixed": (changed(other=lambda eps: 1e-5), "it is as with eps near 0, but eps = 0.5 was passed"),
            "eps squared": (changed(other=lambda eps: eps**2), "is not right: at index"),
            "eps at least": (
                scaled_by(lambda X, eps: deviation(X).clamp(min=eps**0.5)),
                "it is as with eps near 0, but eps = 0.5 was passed",
            ),
            "eps for 0 alone": (
                scaled_by(lambda X, eps: torch.where(deviation(X) == 0, eps, deviation(X))),
                "it is as with eps near 0, but eps = 0.5 was passed",
            ),
            "square of X": (
                scaled_by(lambda X, eps: (X.square().mean(AXES, keepdim=True) + eps).sqrt()),
                "is not right: at index",
            ),
            "the images' variances": (
                scaled_by(lambda X, eps: (X.var((2, 3), correction=0, keepdim=True).mean(0) + eps).sqrt()),
                "is not right: at index",
            ),
            "not centred": (scaled_by(deviation, lambda X: 0), "is not right: at index"),
            "the smallest": (scaled_by(deviation, lambda X: X.amin(AXES, True)), "is not right: at index"),
            "three channels": (
                lambda X, eps=1e-5: (X - X.mean(AXES).view(1, 3, 1, 1)) / deviation(X, eps),
                "your code stopped",
            ),
            "channels on axis 0": (
                lambda X, eps=1e-5: (X - X.mean(AXES).view(-1, 1, 1, 1)) / deviation(X, eps),
                "is not right: at index",
            ),
            "the variance detached": (
                scaled_by(lambda X, eps: deviation(X.detach(), eps)),
                "is not right: it lacks the part through the variance, where X",
            ),
            "the mean detached": (
                scaled_by(deviation, lambda X: X.detach().mean(AXES, True)),
                "it lacks the part through the mean, where X enters",
            ),
            "large numbers clipped": (
                changed(lambda X: X.clamp(max=1e4)),
                "with means of 10,000, 0 and -10,000 in float32 is not right: at index",
            ),
            "large numbers flattened": (
                changed(after=lambda Y, X: Y.flatten() if X.max() > 1e3 else Y),
                "with means of 10,000, 0 and -10,000 in float32 must have shape (4, 3, 3, 3)",
            ),
            "NaN": (nan_at_a_constant, "the gradient by X, whose channel 2 is constant, is not right: 4 of its 12"),
            "one mean for all": (one_pass_after(torch.mean), "means of 10,000, 0 and -10,000 in float32 is not right"),
            "the first number": (one_pass_after(lambda X: X[0, 0, 0, 0]), "means of 10,000, 0 and -10,000 in float32"),
            "one image": (lambda X, eps=1e-5: right(X, eps) if len(X) > 1 else X.clone(), "X of shape (1, 2, 3, 5)"),
            "by numpy": (lambda X, eps=1e-5: torch.from_numpy(right(X.detach(), eps).numpy()), "the gradient is lost"),
            "the layer's eps": (by_layer(eps=1e-5), "it is as with eps near 0, but eps = 0.5 was passed"),
            "a layer in float32": (by_layer(dtype=torch.float32), "your code stopped"),
            "a layer, evaluating": (
                lambda X, eps=1e-5: nn.BatchNorm2d(X.shape[1], eps=eps, dtype=X.dtype).eval()(X),
                "is not right: at index",
            ),
            "in place in float64": (
                in_place_if_float64,
                "X, here in float64, is changed by the call: something is written into it",
            ),
            "in place and back": (in_place_and_back, "X, here in float32, is changed by the call"),
            "as rows": (as_rows, "a channel's are taken over its numbers in all images"),
            "in a loop": (in_a_loop, "it loops"),
            "in a comprehension": (in_a_comprehension, "it loops"),
            "over the images": (over_the_images, "for all images and channels at once"),
            "over axis 1": (over(1), "is not right: at index"),
            "as shipped": (as_shipped, "X, here in float32, is changed by the call"),
            "two bugs": (two_bugs, "with the channels, then the variance, too. And the variance was divided by n - 1."),
            "no keepdim": (no_keepdim, "with the channels, and a variance, too."),
            "no keepdim, in turn": (in_turn(0, False), "with the channels, then the variance, too."),
            "no keepdim of mean, in turn": (
                in_turn(0, True),
                "the mean of shape (C,) was lined up with the width, not with the channels.",
            ),
            "no keepdim of mean and unbiased": (
                in_turn(1, True),
                "not with the channels. And the variance was divided by n - 1.",
            ),
            "one for each image": (over(1, 2, 3), "the statistics are those of each image; a channel's"),
            "one for each pixel": (over(0), "average over the axes 2 and 3"),
            "no keepdim of mean": (
                no_keepdim_of_mean,
                "a mean of shape (C,) was lined up with the width, not with the channels.",
            ),
            "no keepdim of var": (no_keepdim_of_var, "a variance of shape (C,) was lined up with the width"),
            "only in place": (only_in_place, "or into a tensor that shares its memory"),
            "unbiased": (
                unbiased,
                "the result for X of shape (2, 2, 1, 2) and eps = 0.5 is not right: the variance was",
            ),
            "eps outside": (eps_outside, "eps was added to the root"),
            "eps forgotten": (eps_forgotten, "it is as with eps near 0, but eps = 0.5 was passed"),
            "root forgotten": (root_forgotten, "take its root"),
            "batch axis forgotten": (batch_axis_forgotten, "average over the batch axis 0"),
            "one for all": (one_for_all, "all channels share one mean"),
            "squares minus square": (
                squares_minus_square,
                "the variance is E[x²] - E[x]², which is lost in rounding here",
            ),
            "gradient of statistics lost": (
                gradient_of_statistics_lost,
                "it lacks the part through the mean and variance, where X",
            ),
            "gradient lost": (gradient_lost, "the gradient is lost"),
            "default eps": (default_eps_too_large, "for X of shape (1, 2, 3, 5) with the default eps is not right"),
        },
    ),
}
