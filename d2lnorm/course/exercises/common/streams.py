"""Nets of blocks whose stream is watched, and its variances, right or with a usual slip."""

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.common.feedback import randn

__all__ = ["stream_of", "streams", "variances"]


class Residual(nn.Sequential):
    def forward(self, input: Tensor) -> Tensor:
        return input + super().forward(input)


def streams() -> Iterator[tuple[str, nn.Sequential, Tensor]]:
    """Nets with all that an answer may disturb: statistics, gradients, modes, a frozen layer, a hook."""

    def block(norm: Callable = nn.BatchNorm1d) -> nn.Module:
        return Residual(nn.Linear(4, 4), norm(4), nn.Tanh())

    instance = partial(nn.InstanceNorm1d, affine=True, track_running_stats=True)
    shared, nested = block(), nn.Sequential(block(), block())
    mixed = nn.Sequential(block().eval(), shared, nn.ReLU(inplace=True), nested, shared, nn.Linear(4, 3))
    for about, blocks, shape, dtype in (
        ("three blocks in training mode", nn.Sequential(block(), block(), block()), (5, 4), torch.float64),
        (
            "one block in evaluation mode and float32 around 3,000",
            nn.Sequential(block()).eval(),
            (6, 4),
            torch.float32,
        ),
        ("two blocks", nn.Sequential(block(nn.LayerNorm), block(nn.LayerNorm)), (3, 2, 4), torch.float64),
        ("a block with instance norm", nn.Sequential(block(instance)), (5, 4, 4), torch.float64),
        ("six blocks, the first in evaluation mode, one in place, one used twice", mixed, (7, 4), torch.float64),
        ("two blocks, the first in place", nn.Sequential(nn.ReLU(inplace=True), block()), (8, 4), torch.float64),
    ):
        for seed, t in enumerate(blocks.to(dtype).state_dict().values()):
            t.add_((0.5 * randn(*t.shape, seed=seed).abs()).to(t.dtype))
        for p in blocks.parameters():
            p.grad = torch.ones_like(p)
        blocks[0].requires_grad_(False).register_forward_hook(lambda *_: None)  # the student's own
        mean = 3000 if dtype == torch.float32 else 1  # where a variance in one pass is lost
        yield about, blocks, (mean + 2 * randn(*shape, seed=len(blocks))).to(dtype)


def stream_of(blocks: nn.Sequential, X: Tensor, mode: bool | None = None, chained: bool = True, late: bool = False):
    """What stands before the first block and after each, or what a slip makes of it."""
    blocks, stream = copy.deepcopy(blocks), [X.clone()]
    blocks = blocks if mode is None else blocks.train(mode)
    with torch.no_grad():
        for block in blocks:
            given = stream[-1] if chained else X
            stream.append(block(given if late else given.clone()))
    return stream


def variances(stream: list[Tensor]) -> Tensor:
    """Of one number: the number itself."""
    return torch.stack([t.var(correction=0) if t.dim() else t for t in stream])
