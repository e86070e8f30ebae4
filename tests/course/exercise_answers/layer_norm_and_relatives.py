"""Answers for notebook 05."""

import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm import layer_norm
from d2lnorm.course.exercises.layer_norm_and_relatives import (
    check_my_group_norm,
    check_my_layer_norm,
    check_my_rms_norm,
    check_replace_batch_norm,
)
from exercise_answers import Answers


def layer(axes=None, correction=0, outside=False, formula=None):
    def my_layer_norm(X, normalized_shape, weight, bias, eps=1e-5):
        over = tuple(range(-len(normalized_shape), 0)) if axes is None else axes(X)
        mean = X.mean(over, keepdim=True)
        var = formula(X, mean, over) if formula else X.var(over, correction=correction, keepdim=True)
        return weight * (X - mean) / (var.sqrt() + eps if outside else (var + eps).sqrt()) + bias

    return my_layer_norm


def cancelling(X, mean, over):
    return (X * X).mean(over, keepdim=True) - mean * mean


def detached(X, mean, over):
    return X.detach().var(over, correction=0, keepdim=True)


def layer_no_grad(X, normalized_shape, weight, bias, eps=1e-5):
    with torch.no_grad():
        return F.layer_norm(X, normalized_shape, weight, bias, eps)


def layer_in_place(X, normalized_shape, weight, bias, eps=1e-5):
    Y = layer()(X, normalized_shape, weight, bias, eps)
    if not X.requires_grad:
        X.sub_(1)
    return Y


def layer_without_weight(X, normalized_shape, weight, bias, eps=1e-5):
    return layer()(X, normalized_shape, torch.ones_like(weight), torch.zeros_like(bias), eps)


def group(strided=False, correction=0, outside=False, axes=None, detach=False, formula=None):
    def my_group_norm(X, num_groups, weight, bias, eps=1e-5):
        N, C, *positions = X.shape
        split = (C // num_groups, num_groups) if strided else (num_groups, C // num_groups)
        groups = X.reshape(N, *split, *positions)
        over = (1 if strided else 2, *range(3, groups.dim())) if axes is None else axes(groups)
        stats = groups.detach() if detach else groups
        mean = stats.mean(over, keepdim=True)
        var = formula(stats, mean, over) if formula else stats.var(over, correction=correction, keepdim=True)
        Y = ((groups - mean) / (var.sqrt() + eps if outside else (var + eps).sqrt())).reshape(X.shape)
        shape = (C, *(1 for _ in positions))
        return weight.view(shape) * Y + bias.view(shape)

    return my_group_norm


def group_by_chunks(X, num_groups, weight, bias, eps=1e-5):
    chunks = [F.layer_norm(chunk, chunk.shape[1:], eps=eps) for chunk in X.chunk(num_groups, dim=1)]
    shape = (1, -1, *(1 for _ in X.shape[2:]))
    return torch.cat(chunks, dim=1) * weight.reshape(shape) + bias.reshape(shape)


def as_layer(X, num_groups, weight, bias, eps=1e-5):
    return group()(X, 1, weight, bias, eps)


def as_instance(X, num_groups, weight, bias, eps=1e-5):
    return group()(X, X.shape[1], weight, bias, eps)


def group_without_weight(X, num_groups, weight, bias, eps=1e-5):
    return group()(X, num_groups, torch.ones_like(weight), torch.zeros_like(bias), eps)


def rms(wide=None, default=None, centre=False, outside=False, over=-1, out=None, total=False):
    def my_rms_norm(X, weight, eps=None):
        dtype = wide or (torch.float32 if X.dtype.itemsize == 2 else X.dtype)
        dtype = X.dtype if dtype == "own" else dtype
        eps = (default(X) if default else torch.finfo(dtype).eps) if eps is None else eps
        Z = X.to(dtype)
        Z = Z - Z.mean(over, keepdim=True) if centre else Z
        square = (Z**2).sum(over, keepdim=True) if total else (Z**2).mean(over, keepdim=True)
        root = square.sqrt() + eps if outside else (square + eps).sqrt()
        return (Z / root * weight.to(dtype)).to(out or X.dtype)

    return my_rms_norm


def rms_detached(X, weight, eps=None):
    Y = rms()(X, weight, eps)
    return Y if eps is None else weight * X / (X.detach().square().mean(-1, keepdim=True) + eps).sqrt()


def rms_by_torch(X, weight, eps=None):
    wide = X.float() if X.dtype.itemsize == 2 else X
    return F.rms_norm(wide, X.shape[-1:], weight.to(wide.dtype), eps).to(X.dtype)


def rms_by_norm(X, weight, eps=None):
    wide = X if X.dtype in (torch.float32, torch.float64) else X.to(torch.float32)
    eps = torch.finfo(wide.dtype).eps if eps is None else eps
    size = torch.linalg.vector_norm(wide, dim=-1, keepdim=True) ** 2 / X.shape[-1]
    return (wide / torch.sqrt(size + eps) * weight.to(wide)).to(X.dtype)


def rms_narrow_bfloat16(X, weight, eps=None):
    return rms(wide="own" if X.dtype == torch.bfloat16 else None)(X, weight, eps)


def rms_rounded_early(X, weight, eps=None):
    return rms()(X, torch.ones_like(weight), eps) * weight.to(X.dtype)


def rms_wide_result(X, weight, eps=None):
    return rms(out=None if X.dtype == torch.float64 else torch.float32)(X, weight, eps)


def rms_without_weight(X, weight, eps=None):
    return rms()(X, torch.ones_like(weight), eps)


BATCH_NORMS = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def convert(bn, groups, eps=True, affine=True, values=True, mode=True, dtype=True, copies=False, as_size=False):
    gn = nn.GroupNorm(
        bn.num_features // groups if as_size else groups,
        bn.num_features,
        eps=bn.eps if eps else 1e-5,
        affine=bn.affine if affine else True,
        dtype=bn.weight.dtype if dtype and bn.affine else None,
    )
    if values and bn.affine and dtype and not copies:
        gn.weight, gn.bias = bn.weight, bn.bias
    elif values and bn.affine:
        with torch.no_grad():
            gn.weight.copy_(bn.weight)
            gn.bias.copy_(bn.bias)
    return gn.train(bn.training) if mode else gn


def replace(recurse=True, top=True, memo=True, modules=True, kinds=BATCH_NORMS, **options):
    def replace_batch_norm(net, num_groups, done=None):
        done = {} if done is None else done
        if top and isinstance(net, kinds):
            return convert(net, num_groups, **options)
        for name, child in list(net._modules.items() if modules else net.named_children()):
            if isinstance(child, kinds):
                if child not in done or not memo:
                    done[child] = convert(child, num_groups, **options)
                net._modules[name] = done[child]
            elif child is not None and recurse:
                replace_batch_norm(child, num_groups, done)
        return net

    return replace_batch_norm


def replace_by_name(net, num_groups):
    """Another style: all names first, then the parents."""
    if isinstance(net, BATCH_NORMS):
        return convert(net, num_groups)
    new = {}
    for name, module in list(net.named_modules(remove_duplicate=False)):
        if isinstance(module, BATCH_NORMS):
            parent, _, last = name.rpartition(".")
            net.get_submodule(parent).add_module(last, new.setdefault(module, convert(module, num_groups)))
    return net


def replace_in_copy(net, num_groups):
    import copy

    return replace_by_name(copy.deepcopy(net), num_groups)


def replace_and_remove(net, num_groups):
    net = replace_by_name(net, num_groups)
    if isinstance(net, nn.Sequential):
        net[5] = nn.Identity()
    return net


def replace_and_rename(net, num_groups):
    net = replace_by_name(net, num_groups)
    if isinstance(net, nn.Sequential):
        net[3][0].norm = net[3][0]._modules.pop("1")
    return net


ANSWERS = {
    check_my_layer_norm: Answers(
        right=[
            layer_norm,
            layer(),
            layer(formula=lambda X, mean, over: (X - mean).square().mean(over, keepdim=True)),
        ],
        wrong={
            "torch's own": (F.layer_norm, "without F.layer_norm"),
            "a layer of torch": (
                lambda X, s, w, b, eps=1e-5: nn.LayerNorm(s, eps).to(X)(X) * w + b,
                "without F.layer_norm",
            ),
            "unbiased": (layer(correction=1), "divided by n - 1"),
            "eps outside the root": (layer(outside=True), "inside the root"),
            "two faults": (layer(correction=1, outside=True), "divides by n; and eps was added"),
            "over the batch": (layer(lambda X: (0,)), "over the first axis, the batch"),
            "over everything": (layer(lambda X: tuple(range(X.dim()))), "over the whole tensor"),
            "over all axes but the first": (layer(lambda X: tuple(range(1, X.dim()))), "all axes but the first"),
            "the last axis alone": (layer(lambda X: (-1,)), "only the last axis"),
            "E[x^2] - E[x]^2": (layer(formula=cancelling), "cancels"),
            "detached": (layer(formula=detached), "keep their graph"),
            "no_grad": (layer_no_grad, "no_grad"),
            "in place": (layer_in_place, "X is not as it was"),
            "without weight": (layer_without_weight, "weight and bias were left out"),
            "float32": (lambda X, *args: layer()(X, *args).float(), "dtype"),
        },
    ),
    check_my_group_norm: Answers(
        right=[group(), group_by_chunks],
        wrong={
            "torch's own": (F.group_norm, "without F.group_norm"),
            "strided": (group(strided=True), "a group holds neighbours"),
            "unbiased": (group(correction=1), "divided by n - 1"),
            "eps outside the root": (group(outside=True), "inside the root"),
            "two faults": (group(correction=1, outside=True), "divides by n; and eps was added"),
            "three faults": (group(True, 1, True), "(N, G, C // G, ...); and the variance"),
            "across the groups": (group(axes=lambda groups: (1, *range(3, groups.dim()))), "run across the groups"),
            "layer norm": (as_layer, "as in layer norm"),
            "instance norm": (as_instance, "as in instance norm"),
            "without the positions": (group(axes=lambda groups: (2,)), "not over the positions"),
            "with the batch": (group(axes=lambda groups: (0, *range(2, groups.dim()))), "over the batch, too"),
            "without weight": (group_without_weight, "weight and bias were left out"),
            "detached": (group(detach=True), "keep their graph"),
            "E[x^2] - E[x]^2": (group(formula=cancelling), "cancels"),
        },
    ),
    check_my_rms_norm: Answers(
        right=[rms(), rms_by_norm],
        wrong={
            "torch's own": (rms_by_torch, "without F.rms_norm"),
            "eps or": (lambda X, w, eps=None: rms()(X, w, eps or None), "eps=0.0"),
            "all axes but the first": (
                lambda X, w, e=None: rms(over=tuple(range(min(1, X.dim() - 1), X.dim())))(X, w, e),
                "(3, 2, 4)",
            ),
            "mean subtracted": (rms(centre=True), "subtracts nothing"),
            "eps outside the root": (rms(outside=True), "belongs inside"),
            "over the batch": (rms(over=0), "over the first axis"),
            "over everything": (rms(over=(0, 1)), "over the whole tensor"),
            "sum": (rms(total=True), "not divided by their number"),
            "own type": (rms(wide="own"), "overflowed"),
            "bfloat16 alone": (rms_narrow_bfloat16, "twice"),
            "rounded before the weight": (rms_rounded_early, "twice"),
            "always float32": (rms(wide=torch.float32), "went through float32"),
            "result in float32": (rms_wide_result, "the type of X"),
            "eps 0": (rms(default=lambda X: 0), "but 0 was taken"),
            "eps 1e-5": (rms(default=lambda X: 1e-5), "but 1e-5 was taken"),
            "eps of X": (rms(default=lambda X: torch.finfo(X.dtype).eps), "epsilon of torch.float16"),
            "eps of float32": (rms(default=lambda X: torch.finfo(torch.float32).eps), "epsilon of torch.float32"),
            "detached": (rms_detached, "keep their graph"),
            "without weight": (rms_without_weight, "weight was left out"),
        },
    ),
    check_replace_batch_norm: Answers(
        right=[replace(), replace_by_name],
        wrong={
            "children only": (replace(recurse=False), "left at 3.0.1."),
            "not the net itself": (replace(top=False), "is itself a BatchNorm1d"),
            "named_children": (replace(modules=False), "left at 2."),
            "shared layer split": (replace(memo=False), "a life of its own"),
            "2-D only": (replace(kinds=nn.BatchNorm2d), "is itself a BatchNorm1d"),
            "instance norm too": (replace(kinds=BATCH_NORMS | nn.InstanceNorm2d), "other layers than batch norm"),
            "copies": (replace(copies=True), "the very parameters"),
            "always 2": (lambda net, groups: replace()(net, 2), "must get num_groups"),
            "size for number": (lambda net, groups: replace(as_size=True)(net, groups), "num_groups"),
            "eps": (replace(eps=False), "eps was 0.3"),
            "affine": (replace(affine=False), "affine=False"),
            "values": (replace(values=False), "it starts anew"),
            "mode": (replace(mode=False), "evaluation mode"),
            "type": (replace(dtype=False), "keep the type"),
            "a copy": (replace_in_copy, "another object"),
            "removed": (replace_and_remove, "other layers than batch norm were changed"),
            "renamed": (replace_and_rename, "the keys of the state_dict"),
        },
    ),
}
