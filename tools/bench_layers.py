"""How long our layers take, as ratios to torch.nn's, measured in turn; run it as a script, or import `rows`.

One round times every candidate once, one after the other, so that whatever else the machine does meets all
alike; the ratio is that of the medians over the rounds. One thread unless asked otherwise: with more, each
operation waits for the slowest thread, and on a busy machine that waiting is what one measures.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

import d2lnorm

__all__ = ["Row", "drop_in", "medians", "rows"]

SHAPES = [(256, 6, 24, 24), (256, 16, 8, 8), (64, 64, 56, 56)]
Row = tuple[str, str, float, float, float, float | None]  # what, shape, torch.nn's ms, our ms, ratio, its limit


def rows(rounds: int = 15, threads: int = 1, shapes: list[tuple[int, ...]] | None = None) -> list[Row]:
    """Time all layers and return one row each: what, the input's shape, both medians in ms, ratio, limit.

    Args:
        rounds: how often each candidate is timed.
        threads: torch's threads while timing; the number before is restored.
        shapes: of the inputs of the batch norms; None: the three that the limits are for.
    """
    before, found = torch.get_num_threads(), []
    torch.set_num_threads(threads)
    try:
        for shape in shapes or SHAPES:
            C = shape[1]
            X, g = torch.randn(shape).requires_grad_(), torch.randn(shape)
            theirs, ours, book = nn.BatchNorm2d(C), d2lnorm.BatchNorm2d(C), d2lnorm.BatchNorm(C, 4)
            base, *times = _medians([_step(layer, X, g) for layer in (theirs, ours, book)], rounds)
            found.append(("BatchNorm2d, forward + backward", str(shape), base, times[0], times[0] / base, 1.8))
            found.append(("the book's batch_norm, the same", str(shape), base, times[1], times[1] / base, None))
            calls = [_call(layer.eval(), X) for layer in (theirs, ours)]
            base, time_ours = _medians(calls, 10 * rounds)  # a short call
            found.append(("BatchNorm2d, evaluation", str(shape), base, time_ours, time_ours / base, 1.5))
        shape = (256, 128, 512)
        X, g = torch.randn(shape).requires_grad_(), torch.randn(shape)
        base, time_ours = _medians([_step(m.LayerNorm(512), X, g) for m in (nn, d2lnorm)], rounds)
        found.append(("LayerNorm, forward + backward", str(shape), base, time_ours, time_ours / base, 2.6))
        base, *times = _medians([_epoch(norm) for norm in ("torch", "scratch", drop_in)], max(rounds // 3, 3))
        for what, limit, time_ours in (("the book's layer", 1.4, times[0]), ("the drop-in", 1.2, times[1])):
            found.append((f"LeNet with {what}, 20 steps", "(256, 1, 28, 28)", base, time_ours, time_ours / base, limit))
    finally:
        torch.set_num_threads(before)
    return found


def _step(layer: nn.Module, X: Tensor, g: Tensor) -> Callable[[], None]:
    def step() -> None:
        X.grad = None
        layer.zero_grad()
        layer(X).backward(g)

    return step


def _call(layer: nn.Module, X: Tensor) -> Callable[[], None]:
    def call() -> None:
        with torch.no_grad():
            layer(X)

    return call


def drop_in(num_features: int, num_dims: int) -> nn.Module:
    """`lenet`'s norm argument for the layers that stand in for `torch.nn`'s."""
    return (d2lnorm.BatchNorm1d if num_dims == 2 else d2lnorm.BatchNorm2d)(num_features)


def _epoch(norm: str | Callable[[int, int], nn.Module]) -> Callable[[], None]:
    """Twenty training steps of LeNet on random images: what an epoch repeats."""
    torch.manual_seed(0)
    net = d2lnorm.lenet(norm)
    X, y = torch.randn(256, 1, 28, 28), torch.randint(10, (256,))
    optimizer, loss = torch.optim.SGD(net.parameters(), lr=0.1), nn.CrossEntropyLoss()

    def epoch() -> None:
        for _ in range(20):
            optimizer.zero_grad()
            loss(net(X), y).backward()
            optimizer.step()

    return epoch


def medians(candidates: Sequence[Callable[[], object]], rounds: int, warm_up: int = 2) -> list[float]:
    """Median seconds of each, measured in turn, after `warm_up` calls of each: the first calls allocate."""
    times: list[list[float]] = [[] for _ in candidates]
    for number in range(-warm_up, rounds):
        for run, seconds in zip(candidates, times, strict=True):
            start = time.perf_counter()
            run()
            if number >= 0:
                seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in times]


def _medians(candidates: list[Callable[[], None]], rounds: int) -> list[float]:
    """`medians` in milliseconds."""
    return [1e3 * seconds for seconds in medians(candidates, rounds)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="timings of each candidate (default 15)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    options = parser.parse_args(arguments)
    print(f"layers, {options.threads} thread(s), medians of {options.rounds}")
    print(f"{'layer':36}{'input':>19}{'torch.nn':>11}{'ours':>11}{'ratio':>8}{'limit':>7}")
    for what, shape, base, ours, ratio, limit in rows(options.rounds, options.threads):
        note = "" if limit is None else f"{limit:>7.1f}" + ("" if ratio <= limit else "  over the limit")
        print(f"{what:36}{shape:>19}{base:>8.2f} ms{ours:>8.2f} ms{ratio:>8.2f}{note}")


if __name__ == "__main__":
    main()
