"""How accurate a net is when some of its layers use the statistics of each batch, right and with the usual slips."""

import copy
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor, nn

from d2lnorm.batch_norm import BatchNorm

__all__ = ["misjudged", "predictions", "share"]

LENET_NORMS = nn.BatchNorm1d, nn.BatchNorm2d, BatchNorm


def predictions(
    net: nn.Module, images: list[Tensor], own: tuple = LENET_NORMS, eps: float | None = None
) -> list[Tensor]:
    """Predict with a copy, in which these layers use each batch's own statistics."""
    net = copy.deepcopy(net).eval()
    for layer in (m for m in net.modules() if isinstance(m, own)):
        layer.train()
        layer.eps = eps or layer.eps
    with torch.no_grad():
        return [net(X).argmax(1) for X in images]


def share(predicted: list[Tensor], labels: list[Tensor]) -> float:
    return (torch.cat(predicted) == torch.cat(labels)).double().mean().item()


def misjudged(net: nn.Module, images: list[Tensor], labels: list[Tensor]) -> dict[str, float]:
    """For each slip, in words, the accuracy that it gives."""
    right = predictions(net, images)
    mistakes = {
        "the running statistics were used": share(predictions(net, images, ()), labels),
        "it is the mean over batches; the last batch may be smaller": fmean(
            share([p], [y]) for p, y in zip(right, labels, strict=True)
        ),
        "it is as if all batches were one: normalize each batch by its own statistics": share(
            predictions(net, [torch.cat(images)]), labels
        ),
        "it is as if eps were 1e-5: use each layer's own eps": share(predictions(net, images, eps=1e-5), labels),
        "that is the accuracy on the first batch alone": share(right[:1], labels[:1]),
    }
    kinds = [kind for kind in LENET_NORMS if any(isinstance(m, kind) for m in net.modules())]
    for some in (some for n in range(1, len(kinds)) for some in combinations(kinds, n)):
        those, others = (" and ".join(map(_name, them)) for them in (some, [k for k in kinds if k not in some]))
        slip = f"only {those} used the batch's statistics; this net has {others}, too"
        mistakes[slip] = share(predictions(net, images, some), labels)
    if any(isinstance(m, nn.InstanceNorm2d) for m in net.modules()):
        slip = "InstanceNorm2d worked as in training, too: only BN may"
        mistakes[slip] = share(predictions(net, images, (*LENET_NORMS, nn.InstanceNorm2d)), labels)
    return mistakes


def _name(kind: type) -> str:
    return "d2lnorm.BatchNorm" if kind is BatchNorm else kind.__name__
