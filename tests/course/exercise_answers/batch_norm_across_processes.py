"""Answers to the exercises of notebook 10."""

import copy
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.course.exercises import batch_norm_across_processes as checks
from exercise_answers import Answers


def by_there(counts, means, variances, slip=""):
    there = counts > 0
    n, m, v = counts[there, None], means[there], variances[there]
    if slip == "equal counts":
        return m.mean(0), (v + (m - m.mean(0)) ** 2).mean(0)
    mean = (n * m).sum(0) / n.sum()
    if slip == "mean of means":
        return m.mean(0), (n * (v + (m - mean) ** 2)).sum(0) / n.sum()
    if slip == "within only":
        return mean, (n * v).sum(0) / n.sum()
    if slip == "between only":
        return mean, (n * (m - mean) ** 2).sum(0) / n.sum()
    var = (n * (v + (m - mean) ** 2)).sum(0) / n.sum()
    if slip == "unbiased":
        return mean, var * n.sum() / (n.sum() - 1)
    if slip == "deviation":
        return mean, var.sqrt()
    if slip == "rows":
        return mean[None], var[None]
    if slip == "swapped":
        return var, mean
    if slip == "float32":
        return mean.float(), var.float()
    return mean, var


def by_nan_to_num(counts, means, variances):
    n = counts[:, None].to(means.dtype)
    m, v = means.nan_to_num(), variances.nan_to_num()
    mean = (n * m).sum(0) / n.sum()
    return mean, (n * (v + (m - mean).square())).sum(0) / n.sum()


def by_pairs(counts, means, variances):
    """Chan's rule, one process after another."""
    n, mean, m2 = 0, None, None
    for k, mu, var in zip(counts.tolist(), means, variances, strict=True):
        if k == 0:
            continue
        if n == 0:
            n, mean, m2 = k, mu, k * var
            continue
        delta = mu - mean
        m2 = m2 + k * var + delta**2 * n * k / (n + k)
        mean = mean + delta * k / (n + k)
        n += k
    return mean, m2 / n


def by_second_moments(counts, means, variances):
    w = (counts / counts.sum()).to(means.dtype)[:, None]
    mean = torch.where(w > 0, w * means, 0).sum(0)
    second = torch.where(w > 0, w * (variances + means**2), 0).sum(0)
    return [mean, second - mean**2]


def by_loop(counts, means, variances):
    total = int(counts.sum())
    mean = sum(int(n) * m for n, m in zip(counts, means, strict=True) if n) / total
    var = sum(int(n) * (v + (m - mean) ** 2) for n, m, v in zip(counts, means, variances, strict=True) if n) / total
    return mean, var


def with_nan(counts, means, variances):
    n = counts[:, None]
    mean = (n * means).sum(0) / n.sum()
    return mean, (n * (variances + (means - mean) ** 2)).sum(0) / n.sum()


def in_place(counts, means, variances):
    result = by_there(counts, means, variances)
    variances.nan_to_num_().mul_(2)
    return result


def chunked(n, size, rank):
    """As torch.chunk: equal pieces, the last one smaller or missing."""
    step = -(-n // size)
    return min(n, rank * step), min(n, (rank + 1) * step)


def remainder_first(n, size, rank, kind=int):
    small, more = divmod(n, size)
    start = rank * small + min(rank, more)
    return kind(start), kind(start + small + (rank < more))


def remainder_last(n, size, rank):
    return rank * (n // size), n if rank == size - 1 else (rank + 1) * (n // size)


def by_array_split(n, size, rank):
    part = np.array_split(np.arange(n), size)[rank]
    start = int(sum(len(p) for p in np.array_split(np.arange(n), size)[:rank]))
    return start, start + len(part)


def by_bounds(n, size, rank):
    return torch.linspace(0, n, size + 1).long()[rank : rank + 2].tolist()


def by_grad(net, X, y, most, slip=""):
    total = [torch.zeros_like(p) for p in net.parameters()]
    for a, b in zip(X.split(most), y.split(most), strict=True):
        loss = F.cross_entropy(net(a), b, reduction="sum") / (1 if slip == "sum" else len(y))
        for t, g in zip(total, torch.autograd.grad(loss, list(net.parameters())), strict=True):
            if slip == "last only":
                t.copy_(g)
            elif slip != "without the last" or len(b) == most:
                t += g
    return total


def by_weighted_means(net, X, y, most):
    grads = None
    for a, b in zip(X.split(most), y.split(most), strict=True):
        of_piece = torch.autograd.grad(F.cross_entropy(net(a), b) * (len(b) / len(y)), tuple(net.parameters()))
        grads = of_piece if grads is None else [s + g for s, g in zip(grads, of_piece, strict=True)]
    return tuple(grads)


def by_copy(net, X, y, most):
    twin = copy.deepcopy(net)
    twin.zero_grad()
    for start in range(0, len(y), most):
        part = slice(start, start + most)
        (F.cross_entropy(twin(X[part]), y[part], reduction="sum") / len(y)).backward()
    return [p.grad for p in twin.parameters()]


def by_kept(net, X, y, most, slip=""):
    parameters = list(net.parameters())
    kept = [p.grad for p in parameters]
    if slip != "not cleared":
        for p in parameters:
            p.grad = None
    pieces = list(zip(X.split(most), y.split(most), strict=True))
    for a, b in pieces:
        loss = F.cross_entropy(net(a), b)
        (loss / len(pieces) if slip == "pieces" else loss if slip == "added" else loss * len(b) / len(y)).backward()
    result = [p.grad.clone() for p in parameters]
    if slip == "with step":
        torch.optim.SGD(parameters, lr=0.1).step()
    for p, grad in zip(parameters, kept, strict=True):
        p.grad = result[0].new_zeros(p.shape) if slip == "zeroed" else grad
    return result


def by_one_image(net, X, y, most):
    total = [0.0 for _ in net.parameters()]
    for i in range(len(y)):
        loss = F.cross_entropy(net(X[i : i + 1]), y[i : i + 1]) / len(y)
        total = [t + g for t, g in zip(total, torch.autograd.grad(loss, list(net.parameters())), strict=True)]
    return total


def at_once(net, X, y, most):
    return torch.autograd.grad(F.cross_entropy(net(X), y), list(net.parameters()))


def flat(net, X, y, most):
    return torch.cat([g.flatten() for g in by_grad(net, X, y, most)])


NORMS = nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d


def places(net, kinds=NORMS):
    return [m for _, m in net.named_modules(remove_duplicate=False) if isinstance(m, kinds)]


def bill(net, slip=""):
    found = places(net, NORMS[:2] if slip == "no 3d" else NORMS)
    if slip == "once":
        found = [m for m in net.modules() if isinstance(m, NORMS)]
    if slip == "children":
        found = [m for m in net.children() if isinstance(m, NORMS)]
    if slip == "training only":
        found = [m for m in found if m.training]
    if slip == "affine only":
        found = [m for m in found if m.affine]
    C = sum(m.num_features for m in found)
    forwards = 2 * C + {"no count": 0, "one count": 1}.get(slip, len(found))
    backwards = 2 * C + (len(found) if slip == "count backwards" else 0)
    if slip == "with gamma":
        backwards += 2 * C
    if slip == "train":
        net.train()
    return (
        (backwards, forwards) if slip == "swapped" else forwards + backwards if slip == "sum" else (forwards, backwards)
    )


def by_recursion(net):
    own = (2 * net.num_features + 1, 2 * net.num_features) if isinstance(net, NORMS) else (0, 0)
    of_children = [by_recursion(child) for child in net._modules.values()]
    return tuple(sum(numbers) for numbers in zip(own, *of_children, strict=True))


def by_private_class(net):
    found = places(net, nn.modules.batchnorm._BatchNorm)
    return [np.int64(sum(2 * m.num_features + 1 for m in found)), sum(2 * m.num_features for m in found)]


def by_state(net):
    found = [m for m in places(net) if hasattr(m, "num_features")]
    C = torch.tensor([m.num_features for m in found]).sum() if found else torch.tensor(0)
    return 2 * C + len(found), 2 * C


def by_names(net):
    found = [m for m in places(net, nn.Module) if type(m).__name__ in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")]
    return sum(2 * m.num_features + 1 for m in found), sum(2 * m.num_features for m in found)


COMBINE = {
    "equal counts": "equal",
    "mean of means": "equal",
    "within only": "between the processes' means is missing",
    "between only": "variance",
    "unbiased": "n - 1",
    "deviation": "variance",
    "rows": "shape",
    "swapped": "mean",
    "float32": "dtype",
}
ANSWERS = {
    checks.check_combine_statistics: Answers(
        [by_there, by_nan_to_num, by_pairs, by_second_moments, by_loop],
        {slip: (partial(by_there, slip=slip), words) for slip, words in COMBINE.items()}
        | {
            "NaN stays": (with_nan, "not finite"),
            "in place": (in_place, "in place"),
            "mean alone": (lambda *given: by_there(*given)[0], "two tensors"),
            "the first process's": (lambda counts, means, variances: (means[0], variances[0]), "mean"),
            "zeros": (lambda counts, means, variances: (means[0] * 0, variances[0] * 0), "mean"),
        },
    ),
    checks.check_share_of: Answers(
        [lambda n, size, rank: (rank * n // size, (rank + 1) * n // size), remainder_first, by_array_split, by_bounds,
         partial(remainder_first, kind=np.int64), partial(remainder_first, kind=torch.tensor)],
        {
            "chunk": (chunked, "differ by more than one"),
            "remainder last": (remainder_last, "differ by more than one"),
            "remainder lost": (lambda n, size, rank: (rank * (n // size), (rank + 1) * (n // size)), "nobody takes"),
            "rounded up": (lambda n, size, rank: (rank * -(-n // size), (rank + 1) * -(-n // size)), "images 0 to"),
            "all": (lambda n, size, rank: (0, n), "two processes"),
            "last included": (lambda n, size, rank: (rank * n // size, (rank + 1) * n // size - 1), "nobody takes"),
            "from 1": (lambda n, P, rank: (rank * n // P + 1, (rank + 1) * n // P + 1), "nobody takes image 0"),
            "floats": (lambda n, size, rank: (rank * n / size, (rank + 1) * n / size), "whole numbers"),
            "start and length": (lambda n, P, rank: (rank * n // P, (rank + 1) * n // P - rank * n // P), ""),
            "reversed": (lambda n, size, rank: ((size - 1 - rank) * n // size, (size - rank) * n // size), "in order"),
            "a slice": (lambda n, size, rank: slice(rank * n // size, (rank + 1) * n // size), "pair"),
            "one each": (lambda n, size, rank: (rank, rank + 1), ""),
            "start only": (lambda n, size, rank: rank * n // size, "pair"),
        },
    ),
    checks.check_accumulated_gradient: Answers(
        [by_grad, by_weighted_means, by_copy, by_kept, by_one_image],
        {
            "sum": (partial(by_grad, slip="sum"), "of the sum"),
            "last only": (partial(by_grad, slip="last only"), "gradient by"),
            "without the last": (partial(by_grad, slip="without the last"), "gradient by"),
            "divided by the pieces": (partial(by_kept, slip="pieces"), "smaller"),
            "added": (partial(by_kept, slip="added"), "added"),
            "not cleared": (partial(by_kept, slip="not cleared"), "gradient by"),
            "with a step": (partial(by_kept, slip="with step"), "parameters were changed"),
            ".grad zeroed": (partial(by_kept, slip="zeroed"), ".grad must be as it was"),
            "at once": (at_once, "images at once"),
            "flat": (flat, "list of tensors"),
            "without the bias": (lambda *given: by_grad(*given)[:-1], "one a parameter"),
            "in reverse": (lambda *given: by_grad(*given)[::-1], "shape"),
            "twice as large a piece": (lambda net, X, y, most: by_grad(net, X, y, 2 * most), "images at once"),
        },
    ),
    checks.check_numbers_sent: Answers(
        [bill, by_recursion, by_private_class, by_state, by_names],
        {
            slip: (partial(bill, slip=slip), words)
            for slip, words in {
                "no count": "expected", "one count": "expected", "once": "twice", "children": "expected",
                "training only": "evaluation mode", "affine only": "without gamma", "no 3d": "expected",
                "count backwards": "expected", "with gamma": "expected", "swapped": "expected", "sum": "pair",
                "train": "modes",
            }.items()
        }
        | {"nothing": (lambda net: (0, 0), "expected"), "a constant": (lambda net: (11, 10), "expected")},
    ),
}  # fmt: skip
