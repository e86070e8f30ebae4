"""The checks of notebook 10: statistics of parts, shares of a batch, accumulated gradients, numbers sent."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from d2lnorm.course.exercises.feedback import exercise, expect, expect_close, randn

__all__ = [
    "check_accumulated_gradient",
    "check_combine_statistics",
    "check_numbers_sent",
    "check_share_of",
]


@exercise
def check_combine_statistics(combine_statistics: Callable) -> str:
    """Check `combine_statistics(counts, means, variances)`: mean and biased variance of all processes' values."""
    for C, counts, dtype in (
        (3, [5, 1, 3], torch.float64),
        (1, [0, 4, 2, 0], torch.float64),
        (2, [2, 6], torch.float32),
    ):
        values = (4 * randn(sum(counts), C, seed=C) + torch.arange(sum(counts))[:, None]).to(dtype)
        parts = values.split(counts)
        with_nan = [(p.sum(0) / len(p), (p - p.sum(0) / len(p)).square().sum(0) / len(p)) for p in parts]
        means, variances = (torch.stack(t) for t in zip(*with_nan, strict=True))
        given = torch.tensor(counts), means, variances
        kept = [t.clone() for t in given]
        got = combine_statistics(*given)
        what = f"for counts {counts} and C = {C}"
        expect(isinstance(got, tuple | list) and len(got) == 2, f"{what}: return two tensors, mean and var.")
        same = all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(given, kept, strict=True))
        expect(same, f"{what}: an argument was changed in place.")
        mean, var = values.mean(0), values.var(0, correction=0)
        some = [c > 0 for c in counts]
        wrong_mean = {"the means were averaged as if all counts were equal": means[some].mean(0)}
        within = (given[0][some, None] * variances[some]).sum(0) / sum(counts)
        wrong_var = {
            "the spread between the processes' means is missing": within,
            "the variances were averaged as if all counts were equal": variances[some].mean(0),
            "it was divided by n - 1": values.var(0),
        }
        expect_close(got[0], mean, f"{what} the mean", wrong_mean, rtol=1e-5)
        expect_close(got[1], var, f"{what} the variance", wrong_var, rtol=1e-5)
    return "mean and variance of all values, for unequal counts and for processes without any."


@exercise
def check_share_of(share_of: Callable) -> str:
    """Check `share_of(n, size, rank)`: (start, end), every image in one share, in order, sizes at most one apart."""
    for n, size in ((32, 2), (33, 2), (7, 3), (2, 4), (0, 3), (5, 1), (100, 8), (11, 11)):
        what = f"for {n} images and {size} processes"
        shares = [share_of(n, size, rank) for rank in range(size)]
        pairs = all(isinstance(s, tuple | list) and len(s) == 2 for s in shares)
        expect(pairs, f"{what}: return a pair (start, end), not {shares[0]!r}.")
        whole = [[_whole(x) for x in s] for s in shares]
        expect(
            all(x is not None for s in whole for x in s),
            f"{what}: start and end must be whole numbers, but came {shares}.",
        )
        bounds = [(start or 0, end or 0) for start, end in whole]
        taken = [i for start, end in bounds for i in range(start, end)]
        told = f"{what} the shares are {bounds}"
        expect(len(set(taken)) == len(taken), f"{told}: image {_doubled(taken)} belongs to two processes.")
        missing = sorted(set(range(n)) - set(taken))
        expect(not missing, f"{told}: nobody takes image {missing[0] if missing else 0}.")
        expect(set(taken) <= set(range(n)), f"{told}: there are only the images 0 to {n - 1}.")
        expect(taken == sorted(taken), f"{told}: they must be in order, rank 0 first.")
        sizes = [max(0, end - start) for start, end in bounds]
        expect(max(sizes) - min(sizes) <= 1, f"{told}: the sizes {sizes} differ by more than one.")
    return "every image belongs to one process, in order, and the shares are even."


@exercise
def check_accumulated_gradient(accumulated_gradient: Callable) -> str:
    """Check `accumulated_gradient(net, X, y, most)`: the whole batch's gradients, a few images at a time."""
    for N, most, dtype in ((10, 4, torch.float64), (6, 2, torch.float32), (5, 8, torch.float64)):
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 3)).to(dtype)
        X, y = randn(N, 3, 4, seed=N).to(dtype), torch.arange(N) % 3
        what = f"for {N} images, at most {most} at once,"
        for p in net.parameters():
            p.grad = torch.ones_like(p)
        before = copy.deepcopy(net.state_dict())
        sizes: list[int] = []
        whole = torch.autograd.grad(F.cross_entropy(net(X), y), list(net.parameters()))
        pieces = zip(X.split(most), y.split(most), strict=True)
        means = [torch.autograd.grad(F.cross_entropy(net(a), b), list(net.parameters())) for a, b in pieces]
        net.register_forward_pre_hook(lambda _, args, sizes=sizes: sizes.append(len(args[0])))
        got = accumulated_gradient(net, X, y, most)
        same = all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
        expect(same, f"{what} the net's parameters were changed.")
        expect(isinstance(got, list | tuple), f"{what} return a list of tensors, not a {type(got).__name__}.")
        expect(len(got) == len(whole), f"{what} {len(whole)} gradients are expected, one a parameter; {len(got)} came.")
        expect(bool(sizes) and max(sizes) <= most, f"{what} the net was given {max(sizes, default=0)} images at once.")
        for k, (name, _) in enumerate(net.named_parameters()):
            mistakes = {
                "the pieces' means were averaged, but the last piece is smaller": sum(m[k] for m in means) / len(means),
                "the pieces' means were added": sum(m[k] for m in means),
                "it is the gradient of the sum, not of the mean": N * whole[k],
                "what was in .grad before was added": whole[k] + 1,
            }
            expect_close(got[k], whole[k], f"{what} the gradient by {name}", mistakes, rtol=1e-4, atol=1e-6)
        kept = all(p.grad is not None and (p.grad == 1).all() for p in net.parameters())
        expect(kept, f"{what} the parameters' .grad must be as it was.")
    return "the gradients of the whole batch, whatever the pieces' sizes, and .grad as it was."


class _Block(nn.Module):
    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first, self.again = norm, norm


@exercise
def check_numbers_sent(numbers_sent: Callable) -> str:
    """Check `numbers_sent(net)`: (forwards, backwards), over all batch norms, however deep."""
    shared = nn.BatchNorm1d(7)
    nets: dict[str, tuple[nn.Module, int, int]] = {
        "a net without batch norm": (nn.Sequential(nn.Linear(3, 4), nn.GroupNorm(2, 4)), 0, 0),
        "nn.BatchNorm2d(5)": (nn.BatchNorm2d(5), 11, 10),
        "a net with 3 and 4 channels": (nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm3d(4))), 16, 14),
        "a net with a layer without gamma": (nn.Sequential(nn.BatchNorm2d(6, affine=False), nn.LayerNorm(6)), 13, 12),
        "a net that uses a layer twice": (nn.Sequential(shared, nn.Linear(7, 7), shared), 30, 28),
        "a net in evaluation mode": (nn.Sequential(nn.BatchNorm2d(2), _Block(nn.BatchNorm2d(3))).eval(), 19, 16),
    }
    for what, (net, forwards, backwards) in nets.items():
        modes = [m.training for m in net.modules()]
        got = numbers_sent(net)
        expect(isinstance(got, tuple | list) and len(got) == 2, f"for {what} return a pair, not {got!r}.")
        numbers = [_whole(x) for x in got]
        right = numbers == [forwards, backwards]
        expect(right, f"for {what} expected ({forwards}, {backwards}), but got {tuple(got)}.")
        expect(modes == [m.training for m in net.modules()], f"for {what}: the modes of its layers were changed.")
    return "2C + 1 numbers forwards and 2C backwards for each place of a batch norm."


def _whole(x: object) -> int | None:
    """The whole number that x is, also as a number of NumPy or a tensor; None if it is none."""
    if isinstance(x, Tensor) and x.numel() == 1:
        x = x.item()
    try:
        return int(x) if int(x) == x else None  # type: ignore[call-overload]  # what is no number is told below
    except (TypeError, ValueError, OverflowError):
        return None


def _doubled(numbers: list[int]) -> int:
    return next((n for n in numbers if numbers.count(n) > 1), 0)
