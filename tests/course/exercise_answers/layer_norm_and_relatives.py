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
        return layer()(X, normalized_shape, weight, bias, eps)


def layer_in_place(X, normalized_shape, weight, bias, eps=1e-5):
    Y = layer()(X, normalized_shape, weight, bias, eps)
    if not X.requires_grad:
        X.sub_(1)
    return Y


def layer_by_loop(X, normalized_shape, weight, bias, eps=1e-5):
    rows = X.reshape(-1, weight.numel())
    rows = torch.stack([(row - row.mean()) * torch.rsqrt(row.var(unbiased=False) + eps) for row in rows])
    return rows.reshape(X.shape) * weight + bias


def layer_by_rows(X, normalized_shape, weight, bias, eps=1e-5):
    rows = X.flatten(X.dim() - len(normalized_shape))
    var, mean = torch.var_mean(rows, -1, correction=0, keepdim=True)
    return torch.addcmul(bias, weight, ((rows - mean) * (var + eps) ** -0.5).view(X.shape))


def layer_native(X, normalized_shape, weight, bias, eps=1e-5):
    return torch.native_layer_norm(X, normalized_shape, weight, bias, eps)[0]


def layer_one_or_two(X, normalized_shape, weight, bias, eps=1e-5):
    return layer(lambda X: (-1,) if len(normalized_shape) == 1 else (-2, -1))(X, normalized_shape, weight, bias, eps)


def layer_of_a_batch(X, normalized_shape, weight, bias, eps=1e-5):
    Z = X.reshape(len(X), -1, weight.numel())
    return layer()(Z, (0,), 1, 0, eps).reshape(X.shape) * weight + bias


def needs_graph(function):
    """Under no_grad, unless X asks for a gradient."""

    def answer(X, *args):
        with torch.set_grad_enabled(X.requires_grad):
            return function(X, *args)

    return answer


def wide_for_16_bits(function):
    return lambda X, *args: function(X.float() if X.dtype.itemsize == 2 else X, *args)


def at_least_a_batch(X, normalized_shape, weight, bias, eps=1e-5):
    axes = tuple(range(max(1, X.dim() - len(normalized_shape)), X.dim()))
    return layer(lambda X: axes)(X, normalized_shape, weight, bias, eps)


def seeded(function):
    def answer(*args, **kwargs):
        torch.manual_seed(0)
        return function(*args, **kwargs)

    return answer


def default_of(function, eps):
    return lambda X, how, weight, bias, eps=eps: function(X, how, weight, bias, eps)


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


def group_by_split(X, num_groups, weight, bias, eps=1e-5):
    size, over, parts = X.shape[1] // num_groups, tuple(range(1, X.dim())), []
    for part in X.split(size, dim=1):
        centred = part - part.mean(over, keepdim=True)
        parts.append(centred * torch.rsqrt(centred.square().mean(over, keepdim=True) + eps))
    return torch.einsum("nc...,c->nc...", torch.cat(parts, 1), weight) + bias.reshape(-1, *(1 for _ in X.shape[2:]))


def group_by_unflatten(X, num_groups, weight, bias, eps=1e-5):
    groups = X.unflatten(1, (num_groups, -1)).flatten(2)
    Y = ((groups - groups.mean(2, True)) / (groups.var(2, correction=0, keepdim=True) + eps).sqrt()).reshape(X.shape)
    return (Y.movedim(1, -1) * weight + bias).movedim(-1, 1)


def group_in_branches(X, num_groups, weight, bias, eps=1e-5, by_length=False, correction=0):
    groups = X.reshape(len(X), num_groups, -1)
    var, mean = torch.var_mean(groups, 2, correction=correction if X.dim() == 3 else 0, keepdim=True)
    Y = ((groups - mean) / (var + eps).sqrt()).reshape(X.shape)
    if X.dim() == 4:
        return Y * weight[:, None, None] + bias[:, None, None]
    if X.dim() == 3 and not (by_length and X.shape[2] == X.shape[1]):
        return Y * weight[:, None] + bias[:, None]
    return Y * weight + bias


def group_by_size(X, num_groups, weight, bias, eps=1e-5):
    shape = [1] * X.dim()
    shape[X.shape.index(len(weight))] = -1
    Y = group()(X, num_groups, torch.ones_like(weight), torch.zeros_like(bias), eps)
    return Y * weight.view(shape) + bias.view(shape)


def group_by_view(X, num_groups, weight, bias, eps=1e-5):
    X.view(len(X), num_groups, -1)
    return group()(X, num_groups, weight, bias, eps)


def group_of_images(X, num_groups, weight, bias, eps=1e-5):
    N, C, H, W = X.shape
    return group()(X, num_groups, weight, bias, eps)


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


def rms_by_promotion(X, weight, eps=None):
    dtype = torch.promote_types(X.dtype, torch.float32)
    Z, eps = X.to(dtype), torch.finfo(dtype).eps if eps is None else eps
    return (weight.to(dtype) * Z / (torch.einsum("...i,...i->...", Z, Z) / Z.shape[-1] + eps).sqrt()[..., None]).to(X)


def rms_by_rows(X, weight, eps=None):
    dtype = {torch.float16: torch.float32, torch.bfloat16: torch.float32}.get(X.dtype, X.dtype)
    eps = {torch.float32: 2.0**-23, torch.float64: 2.0**-52}[dtype] if eps is None else eps
    rows = [
        row / (row @ row / len(row) + eps) ** 0.5 * weight.to(dtype) for row in X.to(dtype).reshape(-1, len(weight))
    ]
    return torch.stack(rows).reshape(X.shape).to(X.dtype)


def rms_by_rsqrt(X, weight, eps=None):
    kind = X.dtype
    if torch.finfo(kind).bits == 16:
        X, weight = X.float(), weight.float()
    eps = torch.finfo(X.dtype).eps if eps is None else eps
    return (weight * X * X.pow(2).sum(-1, keepdim=True).div(X.shape[-1]).add(eps).rsqrt()).type(kind)


def rms_by_normalize(X, weight, eps=None):
    wide = X.float() if X.dtype.itemsize == 2 else X
    return (F.normalize(wide, dim=-1) * X.shape[-1] ** 0.5 * weight.to(wide.dtype)).to(X.dtype)


def rms_scaled(X, weight, eps=None):
    """Makes float16 smaller instead of widening it."""
    scale = 100 if X.dtype == torch.float16 else 1
    return rms(wide="own")(X / scale, weight, eps)


def rms_in_place(X, weight, eps=None):
    Y = rms()(X, weight, eps)
    with torch.no_grad():
        weight.mul_(2)
    return Y


def rms_narrow_bfloat16(X, weight, eps=None):
    return rms(wide="own" if X.dtype == torch.bfloat16 else None)(X, weight, eps)


def rms_rounded_early(X, weight, eps=None):
    return rms()(X, torch.ones_like(weight), eps) * weight.to(X.dtype)


def rms_wide_result(X, weight, eps=None):
    return rms(out=None if X.dtype == torch.float64 else torch.float32)(X, weight, eps)


def rms_cut_off(X, weight, eps=None):
    """From numbers, where it changes the type."""
    Z = X if X.dtype.itemsize > 2 else torch.tensor(X.tolist())
    return rms(out=X.dtype)(Z, weight, eps)


def rms_weight_cut_off(X, weight, eps=None):
    return rms()(X, weight if weight.dtype.itemsize > 2 else torch.tensor(weight.tolist()), eps)


def rms_eps_of_weight(X, weight, eps=None):
    return rms()(X, weight, torch.finfo(weight.dtype).eps if eps is None else eps)


def rms_float32_in_place(X, weight, eps=None):
    """float() is no copy of what is float32."""
    Y, Z = rms()(X, weight, eps), X.detach().float()
    Z.mul_(2)
    return Y


def rms_by_view(X, weight, eps=None):
    return rms()(X.view(-1, X.shape[-1]), weight, eps).view(X.shape)


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


def replace(recurse=True, top=True, memo=True, modules=True, kinds=BATCH_NORMS, handed=True, **options):
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
                replace_batch_norm(child, num_groups, done if handed else None)
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


def replace_in_two_passes(net, num_groups, after=lambda net: None, kinds=BATCH_NORMS, change=lambda gn: None):
    new = {m: convert(m, num_groups) for m in net.modules() if isinstance(m, kinds)}
    for gn in new.values():
        change(gn)
    for parent in list(net.modules()):
        for name, child in list(parent._modules.items()):
            if child in new:
                setattr(parent, name, new[child])
    after(net)
    return new.get(net, net)


def replace_with(**options):
    return lambda net, num_groups: replace_in_two_passes(net, num_groups, **options)


def replace_by_closure(net, num_groups):
    done = {}

    def visit(m):
        if m is not None and m not in done:
            done[m] = convert(m, num_groups) if isinstance(m, BATCH_NORMS) else m
            for name, child in list(m._modules.items()):
                m._modules[name] = visit(child)
        return done.get(m)

    return visit(net)


def replace_by_stack(net, num_groups):
    if isinstance(net, BATCH_NORMS):
        return convert(net, num_groups)
    new, seen, todo = {}, set(), [net]
    while todo:
        m = todo.pop()
        seen.add(m)
        for name, child in list(m._modules.items()):
            if isinstance(child, BATCH_NORMS):
                new[child] = new.get(child) or convert(child, num_groups)
                m.register_module(name, new[child])
            elif child is not None and child not in seen:
                todo.append(child)
    return net


def replace_by_class(net, num_groups):
    """The layers stay where they are, and become group norms there."""
    for m in {m for m in net.modules() if isinstance(m, BATCH_NORMS)}:
        m.__class__, m.num_groups, m.num_channels = nn.GroupNorm, num_groups, m.num_features
        m._buffers.clear()
        for name in ("num_features", "momentum", "track_running_stats"):
            delattr(m, name)
    return net


def replace_in_sequentials(net, num_groups, new=None):
    new = {} if new is None else new
    if isinstance(net, BATCH_NORMS):
        return new.setdefault(net, convert(net, num_groups))
    if isinstance(net, nn.Sequential):
        for i, child in enumerate(net):
            net[i] = replace_in_sequentials(child, num_groups, new)
    return net


def unhook(net):
    for m in net.modules():
        m._forward_hooks.clear()


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


def regroup(net):
    for m in net.modules():
        if isinstance(m, nn.GroupNorm) and m is not net:
            m.num_groups = 2


def freeze(gn):
    if not gn.training and gn.affine:
        gn.requires_grad_(False)


def replace_tracked(net, num_groups, done=None):
    """Knows batch norm by its running statistics."""
    done = {} if done is None else done
    if isinstance(net, BATCH_NORMS):
        return done.setdefault(net, convert(net, num_groups))
    for name, child in list(net._modules.items()):
        if child is not None and not (isinstance(child, BATCH_NORMS) and child.running_mean is None):
            net._modules[name] = replace_tracked(child, num_groups, done)
    return net


def replace_by_weight(net, num_groups, done=None):
    """Remembers layers by their weight."""
    done = {} if done is None else done
    if isinstance(net, BATCH_NORMS):
        return done.setdefault(net if net.weight is None else net.weight, convert(net, num_groups))
    for name, child in list(net._modules.items()):
        net._modules[name] = child and replace_by_weight(child, num_groups, done)
    return net


def replace_at_the_end(net, num_groups, done=None):
    done = {} if done is None else done
    if isinstance(net, BATCH_NORMS):
        return done.setdefault(net, convert(net, num_groups))
    for name, child in list(net._modules.items()):
        if isinstance(child, BATCH_NORMS):
            del net._modules[name]
        net._modules[name] = child and replace_at_the_end(child, num_groups, done)
    return net


def replace_and_swap(net, num_groups):
    net = replace_by_name(net, num_groups)
    if isinstance(net, nn.Sequential):
        net[1], net[5] = net[5], net[1]
    return net


ANSWERS = {
    check_my_layer_norm: Answers(
        right=[
            layer_norm,
            layer(),
            layer(formula=lambda X, mean, over: (X - mean).square().mean(over, keepdim=True)),
            layer_by_loop,
            layer_by_rows,
            lambda X, s, w, b, eps=1e-5: layer()(X.double(), s, w.double(), b.double(), eps).to(X.dtype),
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
            "E[x^2] - E[x]^2": (layer(formula=cancelling), "around 10,000, the output"),
            "detached": (layer(formula=detached), "keep their graph"),
            "no_grad": (layer_no_grad, "no_grad"),
            "in place": (layer_in_place, "X is not as it was"),
            "without weight": (layer_without_weight, "weight and bias were left out"),
            "float32": (lambda X, *args: layer()(X, *args).float(), "dtype"),
            "torch's own, natively": (layer_native, "without F.layer_norm"),
            "one or two axes": (layer_one_or_two, "normalized_shape=(2, 3, 2) and eps=0.5"),
            "needs a batch": (layer_of_a_batch, "normalized_shape = (3, 4)"),
            "eps fixed": (lambda X, s, w, b, eps=1e-5: layer()(X, s, w, b), "the eps that was passed"),
            "another default": (default_of(layer(), 1e-3), "the stub's eps"),
            "no default": (lambda X, s, w, b, eps: layer()(X, s, w, b, eps), "argument"),
            "seeded": (seeded(layer()), "generator"),
            "float64 out": (lambda X, s, w, b, eps=1e-5: layer()(X.double(), s, w, b, eps), "dtype"),
            "through float32": (lambda X, *args: layer()(X.float(), *args).to(X.dtype), "went through float32"),
            "no weight": (lambda X, s, w, b, eps=1e-5: layer()(X, s, 1 + 0 * w, b, eps), "the weight was left out"),
            "no bias": (lambda X, s, w, b, eps=1e-5: layer()(X, s, w, 0 * b, eps), "the bias was left out"),
            "float32 for 16 bits": (wide_for_16_bits(layer()), "(5,) in torch.float16 must have dtype torch.float16"),
            "no graph for the weight": (needs_graph(layer()), "where X itself needs none"),
            "at least a batch": (at_least_a_batch, "the output for X of shape (3, 4), normalized_shape=(3, 4)"),
        },
    ),
    check_my_group_norm: Answers(
        right=[group(), group_by_chunks, group_by_split, group_by_unflatten, group_in_branches],
        wrong={
            "torch's own": (F.group_norm, "without F.group_norm"),
            "strided": (group(strided=True), "a group holds neighbours"),
            "unbiased": (group(correction=1), "divided by n - 1"),
            "eps outside the root": (group(outside=True), "inside the root"),
            "two faults": (group(correction=1, outside=True), "divides by n; and eps was added"),
            "three faults": (group(True, 1, True), "a group holds neighbours; and the variance"),
            "across the groups": (group(axes=lambda groups: (1, *range(3, groups.dim()))), "run across the groups"),
            "layer norm": (as_layer, "as in layer norm"),
            "instance norm": (as_instance, "as in instance norm"),
            "without the positions": (group(axes=lambda groups: (2,)), "not over the positions"),
            "with the batch": (group(axes=lambda groups: (0, *range(2, groups.dim()))), "over the batch, too"),
            "without weight": (group_without_weight, "weight and bias were left out"),
            "detached": (group(detach=True), "keep their graph"),
            "E[x^2] - E[x]^2": (group(formula=cancelling), "around 10,000, the output"),
            "view": (group_by_view, "view size"),
            "images only": (group_of_images, "(6, 6)"),
            "weight along a length of C": (lambda *args: group_in_branches(*args, by_length=True), "(2, 6, 6)"),
            "unbiased for three axes": (lambda *args: group_in_branches(*args, correction=1), "divided by n - 1"),
            "through float32": (lambda X, *args: group()(X.float(), *args).to(X.dtype), "went through float32"),
            "no default": (lambda X, g, w, b, eps: group()(X, g, w, b, eps), "argument"),
            "always 2 groups": (lambda X, g, *args: group()(X, 2, *args), "(6, 6), num_groups=3"),
            "size for number": (lambda X, g, *args: group()(X, X.shape[1] // g, *args), "num_groups=2"),
            "eps fixed": (lambda X, g, w, b, eps=1e-5: group()(X, g, w, b), "the eps that was passed"),
            "no weight": (lambda X, g, w, b, eps=1e-5: group()(X, g, 1 + 0 * w, b, eps), "the weight was left out"),
            "no bias": (lambda X, g, w, b, eps=1e-5: group()(X, g, w, 0 * b, eps), "the bias was left out"),
            "another default": (default_of(group(), 1e-3), "the stub's eps"),
            "seeded": (seeded(group()), "generator"),
            "float32 for 16 bits": (wide_for_16_bits(group()), "in torch.float16 must have dtype torch.float16"),
            "no graph for the weight": (needs_graph(group()), "where X itself needs none"),
            "one example squeezed": (lambda X, *args: group()(X, *args).squeeze(0), "must have shape (1, 6, 2)"),
            "one channel a group": (
                lambda X, g, w, b, e=1e-5: X * w + b if X.dim() == 2 and g == X.shape[1] else group()(X, g, w, b, e),
                "num_groups=4 and eps=0.5, one number a group, is not right",
            ),
            "weight where the size is": (group_by_size, "the output for X of shape (6, 6)"),
            "torch's own, as a layer": (
                lambda X, g, w, b, eps=1e-5: nn.GroupNorm(g, X.shape[1], eps).to(X)(X) * w[0] + b[0],
                "without F.group_norm",
            ),
        },
    ),
    check_my_rms_norm: Answers(
        right=[rms(), rms_by_norm, rms_by_promotion, rms_by_rows, rms_by_rsqrt],
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
            "own type": (rms(wide="own"), "but all 0 or not finite around 300"),
            "bfloat16 alone": (rms_narrow_bfloat16, "rounded once"),
            "rounded before the weight": (rms_rounded_early, "rounded once"),
            "always float32": (rms(wide=torch.float32), "went through float32"),
            "result in float32": (rms_wide_result, "the type of X"),
            "eps 0": (rms(default=lambda X: 0), "but 0 was taken"),
            "eps 1e-5": (rms(default=lambda X: 1e-5), "but 1e-5 was taken"),
            "eps of X": (rms(default=lambda X: torch.finfo(X.dtype).eps), "epsilon of torch.float16"),
            "eps of float32": (rms(default=lambda X: torch.finfo(torch.float32).eps), "epsilon of torch.float32"),
            "detached": (rms_detached, "keep their graph"),
            "without weight": (rms_without_weight, "weight was left out"),
            "eps 1e-6": (rms(default=lambda X: 1e-6), "eps=None"),
            "eps 1e-8": (rms(default=lambda X: 1e-8), "eps=None"),
            "eps ignored": (lambda X, w, eps=None: rms()(X, w), "the eps that was passed"),
            "weight in 16 bits": (lambda X, w, eps=None: rms()(X, w.to(X.dtype), eps), "rounded once"),
            "normalize": (rms_by_normalize, "the eps that was passed"),
            "scaled": (rms_scaled, "X around 1 in float16"),
            "matrices only": (lambda X, w, eps=None: rms(over=1)(X, w, eps), "(3, 2, 4)"),
            "in place": (rms_in_place, "weight is not as it was: before 0.75661 at index [0], after 1.51322"),
            "0 in float16": (lambda X, w, e=None: rms()(X, w, e) * (X.dtype != torch.float16), "got -0.0000"),
            "seeded": (seeded(rms()), "generator"),
            "16 bits cut off": (rms_cut_off, "X gets no gradient for X of shape (3, 8) in torch.float16"),
            "weight cut off in 16 bits": (rms_weight_cut_off, "weight gets no gradient for X of shape (3, 8)"),
            "eps of the weight": (rms_eps_of_weight, "in torch.float16 is not right: eps=None means"),
            "float32 in place": (rms_float32_in_place, "X in float32 is not as it was"),
            "view": (rms_by_view, "view size"),
        },
    ),
    check_replace_batch_norm: Answers(
        right=[replace(), replace_by_name, replace_in_two_passes, replace_by_closure, replace_by_stack]
        + [replace_by_class],
        wrong={
            "children only": (replace(recurse=False), "left at 3.0.1, 3.4, 3.5, 6.left"),
            "not the net itself": (replace(top=False), "a BatchNorm1d alone"),
            "named_children": (replace(modules=False), "left at 2."),
            "shared layer split": (replace(memo=False), "used in several places"),
            "a memory for each parent": (replace(handed=False), "used in several places"),
            "copies at the top": (
                lambda net, groups: replace(copies=isinstance(net, BATCH_NORMS))(net, groups),
                "the very parameters",
            ),
            "2-D only": (replace(kinds=nn.BatchNorm2d), "a BatchNorm1d alone"),
            "instance norm too": (replace(kinds=BATCH_NORMS | nn.InstanceNorm2d), "the layer `3.1`, of class"),
            "copies": (replace(copies=True), "the very parameters"),
            "always 2": (lambda net, groups: replace()(net, 2), "came num_groups=2"),
            "size for number": (lambda net, groups: replace(as_size=True)(net, groups), "4 channels came"),
            "eps": (replace(eps=False), "eps was 0.3"),
            "affine": (replace(affine=False), "affine=False"),
            "values": (replace(values=False), "new ones"),
            "mode": (replace(mode=False), "evaluation mode"),
            "type": (replace(dtype=False), "the very parameters"),
            "a copy": (
                lambda net, g: (replace_by_name if isinstance(net, BATCH_NORMS) else replace_in_copy)(net, g),
                "another object",
            ),
            "values back at the start": (replace_with(change=lambda gn: gn.reset_parameters()), "`0.weight` of"),
            "removed": (replace_and_remove, "the layer `5`, of class LayerNorm, is no longer"),
            "Sequential only": (replace_in_sequentials, "left at 6.left"),
            "no 3-D": (replace(kinds=nn.BatchNorm1d | nn.BatchNorm2d), "a BatchNorm3d alone"),
            "nothing returned": (lambda net, groups: None if replace()(net, groups) else None, "it returned None"),
            "evaluation": (replace_with(change=lambda gn: gn.eval()), "each layer keeps its own"),
            "training": (replace_with(after=lambda net: net.train()), "changed at '6.left'"),
            "frozen ones learn": (replace_with(after=lambda net: net.requires_grad_(True)), "of `6.left.weight` of"),
            "all freeze": (replace_with(change=lambda gn: gn.requires_grad_(False)), "of `0.weight` of"),
            "no gradients": (replace_with(after=lambda net: net.zero_grad()), "the gradient of `0.weight`"),
            "hooks": (replace_with(after=unhook), "hooks of layer `3.2` of the net"),
            "seeded": (seeded(replace()), "generator"),
            "more": (replace_with(after=lambda net: net.register_module("7", nn.Tanh())), "`7`, of class Tanh, is new"),
            "another order": (replace_and_swap, "were moved"),
            "renamed": (replace_and_rename, "their names in the state_dict"),
            "sync": (replace(kinds=BATCH_NORMS | nn.SyncBatchNorm), "the layer `3.6`, of class SyncBatchNorm, is no"),
            "with statistics only": (replace_tracked, "batch norm is left at 3.4"),
            "one for a weight": (replace_by_weight, "two layers that share a weight became one"),
            "float32": (replace_with(after=lambda net: net.float()), "float32"),
            "group norms regrouped": (replace_with(after=regroup), "`num_groups` of layer `3.7` of the net"),
            "frozen in evaluation": (replace_with(change=freeze), "requires_grad of `6.still.weight`"),
            "eps in the depth": (replace_with(change=lambda gn: setattr(gn, "eps", 1e-5)), "eps was 0.3"),
            "eps, but not alone": (
                lambda net, groups: replace(eps=isinstance(net, BATCH_NORMS))(net, groups),
                "the new layer at 6.still has eps=1e-05, not 0.1.",
            ),
            "moved to the end": (replace_at_the_end, "the parameters come in another order"),
        },
    ),
}
