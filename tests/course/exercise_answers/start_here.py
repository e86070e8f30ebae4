"""Answers to the exercises of notebook 00."""

import torch
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


ANSWERS = {
    check_class_means: Answers(
        right=[means_loop, means_matmul, means_index_add],
        wrong={
            "in place": (means_in_place, "X or y is changed"),
            "sums": (means_sums, "not divided by their number"),
            "divided by all": (means_of_all_images, "divided by the number of all images"),
            "pixels averaged, too": (means_over_pixels, "must have shape (3, 2, 3, 4), but has (3,)"),
            "labels ignored": (means_without_labels, "the mean of all images"),
            "first image": (means_first, "first image of each class"),
            "median": (means_median, "median"),
            "another dtype": (means_float32, "dtype torch.float64"),
            "labels taken as sorted": (means_sorted_labels, "the labels are in no order"),
        },
    ),
    check_standardize_channels: Answers(
        right=[right, by_batch_norm, by_reshaping],
        wrong={
            "as shipped": (as_shipped, "X is changed by the call"),
            "two bugs": (two_bugs, "broadcast along the width"),
            "no keepdim": (no_keepdim, "broadcast along the width"),
            "no keepdim, in turn": (in_turn(0, False), "broadcast along the width"),
            "no keepdim of mean, in turn": (in_turn(0, True), "broadcast along the width"),
            "no keepdim of mean and unbiased": (in_turn(1, True), "divided by n - 1"),
            "one for each image": (over(1, 2, 3), "not over the channels' axis 1"),
            "one for each pixel": (over(0), "average over the axes 2 and 3"),
            "no keepdim of mean": (no_keepdim_of_mean, "broadcast along the width"),
            "no keepdim of var": (no_keepdim_of_var, "broadcast along the width"),
            "only in place": (only_in_place, "X is changed by the call"),
            "unbiased": (unbiased, "divided by n - 1"),
            "eps outside": (eps_outside, "eps was added to the root"),
            "eps forgotten": (eps_forgotten, "eps was left out"),
            "root forgotten": (root_forgotten, "take its root"),
            "batch axis forgotten": (batch_axis_forgotten, "average over the batch axis 0"),
            "one for all": (one_for_all, "all channels share one mean"),
            "squares minus square": (squares_minus_square, "lost in rounding"),
            "gradient of statistics lost": (gradient_of_statistics_lost, "keep them in the graph"),
            "gradient lost": (gradient_lost, "the gradient is lost"),
            "default eps": (default_eps_too_large, "with the default eps"),
        },
    ),
}
