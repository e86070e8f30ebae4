"""A net whose batch norm is to be swapped, and what the checks ask of the layers that come in."""

import torch
from torch import nn

from d2lnorm.course.exercises.common.feedback import expect, randn

__all__ = ["expect_in_place", "some_net"]


def some_net() -> nn.Sequential:
    """A float64 net with batch norm at several depths, of two kinds, one layer in three places, two with one weight."""
    shared, conv, pool = nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1), nn.AdaptiveAvgPool2d(1)
    conv.register_module("later", None)  # a child may be None
    tied, others = nn.BatchNorm2d(6, track_running_stats=False), (nn.SyncBatchNorm(6), nn.GroupNorm(1, 6))
    norms = nn.InstanceNorm2d(6, affine=True), tied, nn.BatchNorm2d(6), *others
    norms[2].weight = tied.weight
    body = nn.Sequential(nn.Sequential(conv, nn.BatchNorm2d(6)), norms[0], pool, nn.Flatten(), *norms[1:])
    branch = nn.Module()  # no Sequential, and one of its layers is frozen
    branch.left, branch.right = nn.BatchNorm1d(6).eval().requires_grad_(False), nn.ModuleList([shared])
    branch.still = nn.BatchNorm1d(6, eps=0.1).eval()
    net = nn.Sequential(shared, nn.ReLU(), shared, body, nn.BatchNorm1d(6, affine=False), nn.LayerNorm(6), branch)
    for seed, p in enumerate(net.double().parameters()):
        p.data = 1 + 0.5 * randn(*p.shape, seed=seed)
        p.grad = torch.ones_like(p) if p.requires_grad else None
    pool.register_forward_hook(lambda *_: None)  # the student's own
    return net


def expect_in_place(net: nn.Module, old: dict[str, nn.Module], sizes: dict[str, dict], groups: int) -> None:
    """Expect one new layer for each old batch norm, in all its places: `old` and `sizes` hold it for each."""
    now = {place: net.get_submodule(place) for place in old}
    pairs = {(id(old[place]), id(now[place])) for place in old}
    split = "a layer used in several places became several layers: replace it once."
    expect(len(pairs) == len({before for before, _ in pairs}), split)
    merged = "two layers that share a weight became one layer: each old layer has its own new one."
    expect(len(pairs) == len({after for _, after in pairs}), merged)
    for place, gn in now.items():
        right = {"num_groups": groups, **sizes[place]}
        got = {name: getattr(gn, name, None) for name in right}
        odd = [f"{name}={got[name]}, not {value}" for name, value in right.items() if got[name] != value]
        expect(not odd, f"the new layer at {place} has {', '.join(odd)}.")
