"""The checks of notebook 10: statistics of parts, shares of a batch, accumulated gradients, numbers sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.course.exercises.common.feedback import NotYet, described, exercise, expect, expect_close, number, randn
from d2lnorm.course.exercises.common.nets import Branching
from d2lnorm.course.exercises.common.returned import index_of
from d2lnorm.course.exercises.common.traces import kept
from d2lnorm.course.exercises.common.words import is_stub, told

__all__ = ["check_accumulated_gradient", "check_combine_statistics", "check_numbers_sent", "check_share_of"]


@exercise
def check_combine_statistics(combine_statistics: Callable) -> str:
    """Check `combine_statistics(counts, means, variances)`: mean and biased variance of all processes' values."""
    for seed, C, n, dtype in (
        (1, 3, [5, 1, 3], torch.float64),
        (2, 3, [5, 1, 3], torch.float64),
        (3, 1, [0, 5, 2, 0], torch.float64),
        (4, 2, [2, 6], torch.float32),
        (5, 4, [3], torch.float32),
    ):
        values = (4 * randn(sum(n), C, seed=seed) + torch.arange(sum(n))[:, None]).to(dtype)
        values[5:6] *= seed != 2  # the one image of a process
        far = seed == 4
        values += 30_000 * far
        with_nan = [(p.sum(0) / len(p), (p - p.sum(0) / len(p)).square().sum(0) / len(p)) for p in values.split(n)]
        means, variances = (torch.stack(t) for t in zip(*with_nan, strict=True))
        counts, what = torch.tensor(n), f"for counts {n} and C = {C}"
        what += ", in float32, for means near 30,000," if far else ""
        what += " (the same counts again, but process 1 has an image of zeros)" * (seed == 2)
        with _left_alone(f"{what}:", combine_statistics, counts=counts, means=means, variances=variances):
            combined = combine_statistics(counts, means, variances)
        got = _pair(combined, f"{what}: return two tensors, mean and var")
        mean, var = values.mean(0), values.var(0, correction=0)
        some = counts > 0
        wrong_mean = {
            "the means were averaged as if all counts were equal": means[some].mean(0),
            "the variance came first; return (mean, var)": var,
        }
        wrong_var = {
            "the spread between the processes' means is missing": (counts[:, None] * variances).nansum(0) / sum(n),
            "the variances were averaged as if all counts were equal": variances[some].mean(0),
        }
        if sum(n) > 1:
            wrong_var["it was divided by n - 1"] = values.var(0)
        expect_close(got[0], mean, f"{what} the mean", wrong_mean, rtol=1e-6 if far else 1e-5)
        expect_close(got[1], var, f"{what} the variance", wrong_var, rtol=1e-2 if far else 1e-5)
    return "mean and variance of all values, for unequal counts and for processes without any."


@exercise
def check_share_of(share_of: Callable) -> str:
    """Check `share_of(n, size, rank)`: (start, end), every image in one share, in order, sizes at most one apart."""
    for n, size in ((32, 2), (33, 2), (7, 3), (2, 4), (5, 1), (1000, 64), (11, 11), (1, 49), (10, 4), (7, 25), (0, 3)):
        what = f"for {n} images and {size} processes"

        def bounds_of(rank: int, n: int = n, size: int = size) -> tuple[int, int]:
            got = share_of(n, size, rank)
            of_rank = f"share_of({n}, {size}, {rank}) must return a pair (start, end) of integers"
            start, end = (index_of(x) for x in _pair(got, of_rank))
            whole = start is not None and end is not None
            expect(whole, f"{of_rank}, but returned {described(got)}, which cannot be used as indices.")
            return start or 0, end or 0

        bounds = [bounds_of(rank) for rank in range(size)]
        told = f"{what} the shares are {_few(bounds)}"
        taken = [i for start, end in bounds for i in range(max(0, start), min(n, end))]
        twice = next((i for i in taken if taken.count(i) > 1), None)
        expect(twice is None, f"{told}: image {twice} belongs to two processes.")
        missing = sorted(set(range(n)) - set(taken))
        expect(not missing, f"{told}: nobody takes image {missing[0] if missing else 0}.")
        inside = all(start >= end or (start >= 0 and end <= n) for start, end in bounds)
        expect(inside, f"{told}: there are {f'only the images 0 to {n - 1}' if n else 'no images'}.")
        expect(taken == sorted(taken), f"{told}: they must be in order, rank 0 first.")
        sizes = [max(0, end - start) for start, end in bounds]
        expect(max(sizes) - min(sizes) <= 1, f"{told}: the sizes {_few(sizes)} differ by more than one.")
        alone = [bounds_of(rank) for rank in reversed(range(size))][::-1]
        expect(alone == bounds, f"{told}, but {_few(alone)} if the last rank is asked first: no call may need another.")
    return "every image belongs to one process, in order, and the shares are even."


@exercise
def check_accumulated_gradient(accumulated_gradient: Callable) -> str:
    """Check `accumulated_gradient(net, X, y, most)`: the whole batch's gradients, a few images at a time."""
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 3))
    conv = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, 3)).eval()
    branching = Branching()
    branching.branch.eval()
    for what, net, shape, most, dtype in (
        ("an MLP", mlp, (10, 3, 4), 4, torch.float64),
        ("a net with dropout, in evaluation", conv, (7, 1, 4, 4), 3, torch.float32),
        ("a net that branches", branching, (5, 3), 8, torch.float64),
        ("a net of one layer", nn.Sequential(nn.Linear(4, 3)), (9, 4), 2, torch.float32),
    ):
        N, net = shape[0], net.to(dtype)
        X, y = randn(*shape, seed=N).to(dtype), torch.arange(N) % 2
        what = f"for {what}, {N} images, at most {most} at once:"
        parameters = list(net.parameters())
        for p in parameters[1:]:  # the first has none
            p.grad = torch.ones_like(p)
        pieces = zip(X.split(most), y.split(most), strict=True)
        whole = torch.autograd.grad(F.cross_entropy(net(X), y), parameters)
        means = [torch.autograd.grad(F.cross_entropy(net(a), b), parameters) for a, b in pieces]
        sizes: list[int] = []
        leaf = next(m for m in net.modules() if not [*m.children()])  # its hook sees calls of net.forward, too
        leaf.register_forward_pre_hook(lambda _, args, sizes=sizes: sizes.append(len(args[0])))
        with _left_alone(what, accumulated_gradient, net=net, X=X, y=y):
            got = accumulated_gradient(net, X, y, most)
        expect(isinstance(got, list | tuple), f"{what} return a list of tensors, not {described(got)}.")
        expect(len(got) == len(whole), f"{what} {len(whole)} gradients are expected, one a parameter; {len(got)} came.")
        expect(max(sizes, default=0) <= most, f"{what} the net was given {max(sizes, default=0)} images at once.")
        least = -(-N // most)  # calls; their sizes alone do not tell: under torch.vmap each seems to have one image
        calls = f"{what} the net was called {len(sizes)} time{'s' * (len(sizes) != 1)} for {N} images"
        expect(len(sizes) >= least, f"{calls}; at most {most} at once take {least} calls or more.")
        for k, (name, p) in enumerate(net.named_parameters()):
            mistakes = {
                "the pieces' means were averaged, but the last piece is smaller": sum(m[k] for m in means) / len(means),
                "the pieces' means were added": sum(m[k] for m in means),
                "it is the gradient of the sum, not of the mean": N * whole[k],
            }
            if p.grad is not None:
                mistakes["what was in .grad before was added"] = whole[k] + p.grad
            expect_close(got[k], whole[k], f"{what} the gradient by {name}", mistakes, rtol=1e-4, atol=1e-6)
    return "the gradients of the whole batch, whatever the pieces' sizes, and .grad as it was."


class _Block(nn.Module):
    """A net of one's own, with its layers in a list."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)


@exercise
def check_numbers_sent(numbers_sent: Callable) -> str:
    """Check `numbers_sent(net)`: (forwards, backwards), over all batch norms, however deep."""
    shared, seven, three = nn.BatchNorm1d(7), nn.Linear(7, 7), nn.BatchNorm2d(3)
    block = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    frozen = _Block(nn.BatchNorm3d(8), nn.BatchNorm2d(2).requires_grad_(False).eval())
    others = nn.GroupNorm(2, 4), nn.LayerNorm(4), nn.InstanceNorm1d(4, affine=True, track_running_stats=True)
    nets: dict[str, tuple[nn.Module, int, int]] = {
        "a net without batch norm, but with other norms": (nn.Sequential(nn.Linear(3, 4), *others), 0, 0),
        "nn.BatchNorm2d(5)": (nn.BatchNorm2d(5), 11, 10),
        "a net with 3 and 4 channels": (nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm3d(4))), 16, 14),
        "a net with a layer without gamma": (nn.Sequential(nn.BatchNorm2d(6, affine=False), nn.LayerNorm(6)), 13, 12),
        "a layer without running statistics": (nn.BatchNorm1d(9, track_running_stats=False), 19, 18),
        "a net that uses a layer twice": (nn.Sequential(shared, seven, shared), 30, 28),
        "a net that uses a block with a layer twice": (nn.Sequential(block, nn.ReLU(), block), 18, 16),
        "a layer of a subclass of nn.BatchNorm2d": (type("BatchNorm2d", (nn.BatchNorm2d,), {})(4), 9, 8),
        "a net in evaluation mode": (nn.Sequential(nn.BatchNorm2d(2), _Block(three, three)).eval(), 19, 16),
        "a net with a frozen layer (requires_grad=False), which is synchronized all the same": (frozen, 22, 20),
    }
    for what, (net, forwards, backwards) in nets.items():
        with _left_alone(f"for {what}:", numbers_sent, net=net):
            sent = numbers_sent(net)
        got = _pair(sent, f"for {what}: return a pair (forwards, backwards)")
        numbers = tuple(number(x, f"for {what}: each of the two") for x in got)
        told = f"for {what}: expected ({forwards}, {backwards}), but got ({numbers[0]:g}, {numbers[1]:g})."
        expect(numbers == (forwards, backwards), told)
    return "2C + 1 numbers forwards and 2C backwards for each place of a batch norm."


@contextmanager
def _left_alone(what: str, answer: Callable, **things: Any) -> Iterator[None]:
    """As `kept`; the global generator may be used (a DataLoader draws), but not seeded. `what` begins the feedback."""
    torch.manual_seed(10_000)
    try:
        with kept(**things):
            yield
    except NotYet as feedback:
        raise NotYet(f"{what} {feedback}") from None
    except Exception as error:
        if is_stub(error):
            raise
        raise NotYet(f"{what} {told(error, getattr(answer, '__name__', ''))}") from error
    seeded = torch.initial_seed() != 10_000
    expect(not seeded, f"{what} torch's global generator was seeded: other random numbers of the notebook change.")


def _pair(got: Any, asked: str) -> list[Any]:
    """Return what an answer gave as two things: a tuple, a list, or a tensor or array of two elements."""
    two = len(got) == 2 if isinstance(got, tuple | list) else getattr(got, "shape", None) == (2,)
    expect(two, f"{asked}, not {described(got)}.")
    return list(got)


def _few(things: list) -> str:
    return f"{things}" if len(things) < 12 else f"[{', '.join(map(str, things[:8]))}, ..., {things[-1]}]"
