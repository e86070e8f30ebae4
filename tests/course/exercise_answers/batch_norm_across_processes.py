"""Answers to the exercises of notebook 10."""

import copy
import math
from collections import namedtuple
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

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
    if slip == "float64":
        return mean.double(), var.double()
    if slip == "squeezed":
        return mean.squeeze(), var.squeeze()
    if slip == "about another mean":
        return mean, (n * (v + (m - m.mean(0)) ** 2)).sum(0) / n.sum()
    if slip == "singles dropped" and (counts == 1).any():
        return by_there(counts * (counts > 1), means, variances)
    if slip == "seeded":
        torch.manual_seed(0)
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


def by_second_moments(counts, means, variances, kind=torch.float64):
    means, variances, dtype = means.to(kind or means.dtype), variances.to(kind or means.dtype), means.dtype
    w = counts.to(means.dtype)[:, None] / counts.sum()
    mean = torch.where(w > 0, w * means, 0).sum(0)
    second = torch.where(w > 0, w * (variances + means**2), 0).sum(0)
    return [mean.to(dtype), (second - mean**2).to(dtype)]


def by_loop(counts, means, variances):
    total = int(counts.sum())
    mean = sum(int(n) * m for n, m in zip(counts, means, strict=True) if n) / total
    var = sum(int(n) * (v + (m - mean) ** 2) for n, m, v in zip(counts, means, variances, strict=True) if n) / total
    return mean, var


def with_nan(counts, means, variances):
    n = counts[:, None]
    mean = (n * means).sum(0) / n.sum()
    return mean, (n * (variances + (means - mean) ** 2)).sum(0) / n.sum()


def in_place(counts, means, variances, of="all"):
    """The NaN of processes without examples are replaced in the tensors that were given."""
    if of == "all":
        means[counts == 0] = 0
    variances[counts == 0] = 0
    return by_nan_to_num(counts, means, variances)


def counts_at_least_1(counts, means, variances):
    return by_there(counts.clamp(min=1), means.nan_to_num(), variances.nan_to_num())


def one_left_out(counts, means, variances):
    """Only one process may have no examples."""
    some = torch.arange(len(counts)) != counts.argmin() if counts.min() == 0 else counts > 0
    return with_nan(counts[some], means[some], variances[some])


def remembered(counts, means, variances, found={}):  # noqa: B006  the slip
    key = means.shape, means.dtype
    return found.setdefault(key, by_there(counts, means, variances))


Two = namedtuple("Two", "first second")


def by_values(counts, means, variances):
    """Each process's mean once for each of its examples; the result a named tuple."""
    m, v = (t.nan_to_num().repeat_interleave(counts, dim=0) for t in (means, variances))
    return Two(m.mean(0), v.mean(0) + m.var(0, correction=0))


def by_numpy(counts, means, variances):
    n, m, v = counts.numpy()[:, None], np.nan_to_num(means.numpy()), np.nan_to_num(variances.numpy())
    mean = (n * m).sum(0) / n.sum()
    var = (n * (v + (m - mean) ** 2)).sum(0) / n.sum()
    return [torch.tensor(t, dtype=means.dtype) for t in (mean, var)]


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


def by_owner(n, size, rank):
    mine = [i for i in range(n) if i * size // n == rank]
    return [mine[0], mine[-1] + 1] if mine else [0, 0]


def in_turn(n, size, rank, at=[0]):  # noqa: B006  the slip
    """Each call begins where the last one ended."""
    at[0] = 0 if rank == 0 else at[0]
    start, at[0] = at[0], at[0] + n // size + (rank < n % size)
    return start, at[0]


def rounded_share(n, size, rank):
    step = round(n / size, 1)
    return round(rank * step), n if rank == size - 1 else round((rank + 1) * step)


def rest_of_all(n, size, rank):
    """Each start knows of one image more at most."""
    start, more = rank * (n // size) + (0 < rank <= n % size), rank < n % size
    return start, start + n // size + more


def by_grad(net, X, y, most, slip=""):
    if slip == "in evaluation":
        net.eval()
    if slip == "in training":
        net.train()
    if slip == "gradient of X":
        X.requires_grad_()
    if slip == "seeded":
        torch.manual_seed(0)
    if slip == "flattened":
        X = X.flatten(1)
    if slip == "layers in turn":
        net = nn.Sequential(*net.children(), nn.Identity())
    total = [torch.zeros_like(p) for p in net.parameters()]
    for a, b in zip(X.split(most), y.split(most), strict=True):
        loss = F.cross_entropy(net(a), b, reduction="sum") / (1 if slip == "sum" else len(y))
        for t, g in zip(total, torch.autograd.grad(loss, list(net.parameters())), strict=True):
            if slip == "last only":
                t.copy_(g)
            elif slip != "without the last" or len(b) == most:
                t += g
    if slip == "frozen":
        net.requires_grad_(False)
    return [t.float() for t in total] if slip == "float32" else total


def set_in_turn(net, X, y, most, first, last):
    """Sets modes before, and again after."""
    modes = {m: m.training for m in net.modules()}
    net.train(first)
    total = by_grad(net, X, y, most)
    if last == "the root's":
        net.train(modes[net])
    else:
        for m, mode in modes.items():
            m.training = mode
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
        p.grad = torch.zeros_like(p) if slip == "zeroed" or slip == "None is 0" and grad is None else grad
    if slip == "deleted":
        net.zero_grad()
    return result


def by_vmap(net, X, y, most, chunk=True):
    """Each image's own gradient; with `chunk` at most `most` of them at once."""

    def loss(weights, image, label):
        return F.cross_entropy(torch.func.functional_call(net, weights, (image[None],)), label[None])

    of_each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0), chunk_size=most if chunk else None)
    weights = {name: p.detach() for name, p in net.named_parameters()}
    return [g.mean(0) for g in of_each(weights, X, y).values()]


def by_loader(net, X, y, most):
    """A DataLoader draws a number from the global generator."""
    total = 0
    for a, b in DataLoader(TensorDataset(X, y), most):
        loss = F.cross_entropy(net.forward(a), b) * len(b)
        total += torch.cat([g.flatten() for g in torch.autograd.grad(loss, [*net.parameters()])])
    parts = total.split([p.numel() for p in net.parameters()])
    return [g.view_as(p) / len(y) for g, p in zip(parts, net.parameters(), strict=True)]


def pieces_of(net, X, y, most, k):
    """As many pieces as `k` says."""
    grads = None
    for a, b in zip(X.chunk(k(len(y), most)), y.chunk(k(len(y), most)), strict=True):
        loss = F.cross_entropy(net(a), b, reduction="sum") / len(y)
        new = torch.autograd.grad(loss, [*net.parameters()])
        grads = new if grads is None else [s + g for s, g in zip(grads, new, strict=True)]
    return list(grads)


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
    if slip == "exact types":
        found = [m for m in found if type(m) in NORMS]
    if slip == "affine only":
        found = [m for m in found if m.affine]
    if slip == "num_features":
        found = [m for m in places(net, nn.Module) if hasattr(m, "num_features")]
    if slip == "statistics":
        found = [m for m in found if m.running_mean is not None]
    if slip == "frozen":
        found = [m for m in found if not m.affine or m.weight.requires_grad]
    if slip == "blocks":  # of a layer that stands in one block twice, not of a block that stands twice
        found = [m for block in nn.Sequential(net).modules() for m in block._modules.values() if isinstance(m, NORMS)]
    if slip == "converted":
        nn.SyncBatchNorm.convert_sync_batchnorm(net)
    if slip == "mode put back":
        mode = net.training
        net.train().train(mode)
    if slip == "attribute":
        for m in found:
            m.sent = 2 * m.num_features
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


def in_numpy(net):
    """One array for the pair."""
    of_each = [(2 * m.num_features + 1, 2 * m.num_features) for m in places(net)]
    return np.array(of_each).sum(axis=0) if of_each else np.zeros(2)


def in_turn_trained(net):
    """The modes are put back, each; the result a named tuple of tensors."""
    modes = [(m, m.training) for m in net.modules()]
    found = [m for m in places(net.train()) if m.training]
    for m, mode in modes:
        m.training = mode
    return Two(*(torch.tensor(sum(2 * m.num_features + more for m in found)) for more in (1, 0)))


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
    "swapped": "the variance came first",
    "float32": "dtype",
    "float64": "dtype",
    "squeezed": "shape (1,)",
    "about another mean": "variance",
    "singles dropped": "mean",
    "seeded": "seeded",
}
ANSWERS = {
    checks.check_combine_statistics: Answers(
        [by_there, by_nan_to_num, by_pairs, by_second_moments, by_loop, by_values, by_numpy],
        {slip: (partial(by_there, slip=slip), words) for slip, words in COMBINE.items()}
        | {
            "NaN stays": (with_nan, "not finite"),
            "in place": (in_place, "C = 1: means is not as it was: before nan"),
            "one in place": (partial(in_place, of="variances"), "C = 1: variances is not as it was: before nan"),
            "counts of 1 at least": (counts_at_least_1, "mean"),
            "by second moments": (partial(by_second_moments, kind=None), "for means near 30,000, the variance is not"),
            "whole percents": (
                lambda n, m, v: by_there(100 * n // n.sum(), m, v),
                "for counts [0, 5, 2, 0] and C = 1 the mean is not right",
            ),
            "no mean of 0": (
                lambda n, m, v: by_there(n * (m.nan_to_num() != 0).any(1), m, v),
                "(the same counts again, but process 1 has an image of zeros) the mean",
            ),
            "one left out": (one_left_out, "not finite"),
            "remembered": (remembered, "the same counts again, but process 1 has an image of zeros) the mean"),
            "mean alone": (lambda *given: by_there(*given)[0], "two tensors"),
            "the first process's": (lambda counts, means, variances: (means[0], variances[0]), "mean"),
            "zeros": (lambda counts, means, variances: (means[0] * 0, variances[0] * 0), "mean"),
        },
    ),
    checks.check_share_of: Answers(
        [lambda n, size, rank: (rank * n // size, (rank + 1) * n // size), remainder_first, by_array_split, by_bounds,
         partial(remainder_first, kind=np.int64), partial(remainder_first, kind=torch.tensor),
         by_owner, lambda n, P, rank: (round(rank * n / P), round((rank + 1) * n / P)),
         lambda n, P, rank: torch.tensor(remainder_first(n, P, rank))],
        {
            "chunk": (chunked, "differ by more than one"),
            "remainder last": (remainder_last, "differ by more than one"),
            "remainder lost": (lambda n, size, rank: (rank * (n // size), (rank + 1) * (n // size)), "nobody takes"),
            "rounded up": (lambda n, size, rank: (rank * -(-n // size), (rank + 1) * -(-n // size)), "images 0 to"),
            "all": (lambda n, size, rank: (0, n), "two processes"),
            "last included": (lambda n, size, rank: (rank * n // size, (rank + 1) * n // size - 1), "nobody takes"),
            "from 1": (lambda n, P, rank: (rank * n // P + 1, (rank + 1) * n // P + 1), "nobody takes image 0"),
            "floats": (lambda n, size, rank: (rank * n / size, (rank + 1) * n / size), "indices"),
            "start and length": (lambda n, P, rank: (rank * n // P, (rank + 1) * n // P - rank * n // P), ""),
            "reversed": (lambda n, size, rank: ((size - 1 - rank) * n // size, (size - rank) * n // size), "in order"),
            "a slice": (lambda n, size, rank: slice(rank * n // size, (rank + 1) * n // size), "pair"),
            "one each": (lambda n, size, rank: (rank, rank + 1), ""),
            "start only": (lambda n, size, rank: rank * n // size, "pair"),
            "whole floats": (partial(remainder_first, kind=float), "indices"),
            "of a float": (lambda n, P, rank: (int(rank * (n / P)), int((rank + 1) * (n / P))), "nobody takes image 0"),
            "of a float, rounded up": (
                lambda n, P, rank: (math.ceil(n / P * rank), math.ceil(n / P * (rank + 1))),
                "for 7 images and 25 processes",
            ),
            "never none": (lambda n, P, rank: remainder_first(n, P, rank) if n else 1 // 0, "n = 0, P = 3"),
            "in turn": (in_turn, "if the last rank is asked first"),
            "a rounded share": (rounded_share, "differ by more than one"),
            "rest of all": (rest_of_all, "two processes"),
            "None for none": (lambda n, P, rank: remainder_first(n, P, rank) if rank < n else None, "not None"),
            "two processes": (lambda n, size, rank: (0, n // 2) if rank == 0 else (n // 2, n), "two processes"),
        },
    ),
    checks.check_accumulated_gradient: Answers(
        [by_grad, by_weighted_means, by_copy, by_kept, by_one_image, by_vmap, by_loader,
         partial(pieces_of, k=lambda n, most: -(-n // most))],
        {
            "sum": (partial(by_grad, slip="sum"), "of the sum"),
            "last only": (partial(by_grad, slip="last only"), "gradient by"),
            "without the last": (partial(by_grad, slip="without the last"), "gradient by"),
            "divided by the pieces": (partial(by_kept, slip="pieces"), "smaller"),
            "added": (partial(by_kept, slip="added"), "added"),
            "not cleared": (partial(by_kept, slip="not cleared"), "is not as it was"),
            "with a step": (partial(by_kept, slip="with step"), "is not as it was"),
            ".grad zeroed": (partial(by_kept, slip="zeroed"), "is not as it was: before None"),
            "the root's mode for all": (
                partial(set_in_turn, first=False, last="the root's"),
                "a net that branches, 5 images, at most 8 at once: the mode of layer 'branch' of net",
            ),
            "in training meanwhile": (
                partial(set_in_turn, first=True, last="each"),
                "for a net with dropout, in evaluation, 7 images, at most 3 at once: the gradient by 0.weight",
            ),
            "at once": (at_once, "images at once"),
            "at once by vmap": (partial(by_vmap, chunk=False), "called 1 time for 10 images; at most 4 at once take 3"),
            "too few pieces": (partial(pieces_of, k=lambda n, most: max(1, n // most)), "images at once"),
            "`most` pieces": (partial(pieces_of, k=lambda n, most: most), "images at once"),
            ".grad deleted": (partial(by_kept, slip="deleted"), "after None"),
            ".grad 0 for None": (partial(by_kept, slip="None is 0"), "is not as it was: before None"),
            "flat": (flat, "list of tensors"),
            "without the bias": (lambda *given: by_grad(*given)[:-1], "one a parameter"),
            "in reverse": (lambda *given: by_grad(*given)[::-1], "shape"),
            **{
                slip: (partial(by_grad, slip=slip), words)
                for slip, words in {
                    "in evaluation": "for an MLP, 10 images, at most 4 at once: the mode of net",
                    "in training": "for a net with dropout, in evaluation, 7 images, at most 3 at once: the mode",
                    "frozen": "requires_grad of", "gradient of X": "requires_grad of X", "seeded": "seeded",
                    "flattened": "for a net with dropout, in evaluation, 7 images, at most 3 at once: your code",
                    "layers in turn": "for a net that branches, 5 images, at most 8 at once: your code stopped",
                    "float32": "dtype",
                }.items()
            },
            "twice as large a piece": (lambda net, X, y, most: by_grad(net, X, y, 2 * most), "images at once"),
        },
    ),
    checks.check_numbers_sent: Answers(
        [bill, by_recursion, by_private_class, by_state, by_names, in_numpy, in_turn_trained],
        {
            slip: (partial(bill, slip=slip), words)
            for slip, words in {
                "no count": "expected", "one count": "expected", "once": "twice", "children": "expected",
                "training only": "evaluation mode", "affine only": "without gamma", "no 3d": "expected",
                "count backwards": "expected", "with gamma": "expected", "swapped": "expected", "sum": "pair",
                "train": "the mode of net",
                "mode put back": "the mode of layer", "num_features": "other norms", "statistics": "running statistics",
                "attribute": "`sent` of",
                "frozen": "(requires_grad=False), which is synchronized all the same: expected", "blocks": "block",
                "converted": "the class of layer",
                "exact types": "for a layer of a subclass of nn.BatchNorm2d: expected (9, 8)",
            }.items()
        }
        | {"nothing": (lambda net: (0, 0), "expected"), "a constant": (lambda net: (11, 10), "expected")},
    ),
}  # fmt: skip
