"""Answers to the exercises of notebook 08."""

import copy
import math

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_linear_bn_eval

import d2lnorm
from d2lnorm.course.exercises.choosing_a_norm import (
    check_fold_into_conv_after,
    check_fold_into_linear,
    check_gradient_change,
)
from exercise_answers import Answers


def set_to(layer, weight, bias):
    layer = copy.deepcopy(layer)
    layer.weight = nn.Parameter(weight.detach())
    layer.bias = None if bias is None else nn.Parameter(bias.detach())
    return layer


def bias_of(layer):
    return torch.zeros_like(layer.weight.flatten(1)[:, 0]) if layer.bias is None else layer.bias


def linear_fold(
    scale=lambda bn: bn.weight / (bn.running_var + bn.eps).sqrt(),
    shift=lambda s, b, mu, beta: s * (b - mu) + beta,
    over=1,
):
    def fold(linear, bn):
        s = scale(bn)
        bias = shift(s, bias_of(linear), bn.running_mean, bn.bias)
        return set_to(linear, s.unsqueeze(over) * linear.weight, bias)

    return fold


def linear_in_place(linear, bn):
    with torch.no_grad():
        s = bn.weight / (bn.running_var + bn.eps).sqrt()
        linear.bias = nn.Parameter(s * (bias_of(linear) - bn.running_mean) + bn.bias)
        linear.weight.mul_(s[:, None])
    return linear


def linear_by_probing(linear, bn):
    """The affine map read off from its values at zero and at the unit vectors."""
    like = {"dtype": linear.weight.dtype}
    folded = nn.Linear(linear.in_features, linear.out_features, **like)
    with torch.no_grad():
        points = torch.cat([torch.zeros(1, linear.in_features, **like), torch.eye(linear.in_features, **like)])
        at_zero, *rest = bn(linear(points))
        folded.bias.copy_(at_zero)
        folded.weight.copy_((torch.stack(rest) - at_zero).T)
    return folded


def linear_row_by_row(linear, bn):
    new = nn.Linear(linear.in_features, linear.out_features).to(linear.weight.dtype)
    for row in range(linear.out_features):
        s = bn.weight[row] / torch.sqrt(bn.running_var[row] + bn.eps)
        new.weight.data[row] = s * linear.weight.data[row]
        own = 0 if linear.bias is None else linear.bias.data[row]
        new.bias.data[row] = s * (own - bn.running_mean[row]) + bn.bias[row]
    return new


def linear_by_numpy(linear, bn):
    """A subclass, made by way of numpy."""
    new = type("Folded", (nn.Linear,), {})(linear.in_features, linear.out_features, dtype=linear.weight.dtype)
    tensors = linear.weight, bias_of(linear), bn.weight, bn.running_var, bn.running_mean, bn.bias
    W, b, gamma, var, mu, beta = (t.detach().numpy() for t in tensors)
    s = gamma / np.sqrt(var + bn.eps)
    new.load_state_dict({"weight": torch.tensor(np.diag(s) @ W), "bias": torch.tensor(s * (b - mu) + beta)})
    return new


def linear_without_parameters(linear, bn):
    folded, right = copy.deepcopy(linear), linear_fold()(linear, bn)
    del folded.weight, folded.bias
    folded.weight, folded.bias = right.weight * 1, right.bias * 1
    return folded


def after(mistake, fold):
    """Something that should not have been done, and then the right fold."""

    def folded(first, second):
        mistake(first, second)
        return fold(first, second)

    return folded


def remembered(fold, known):
    return lambda *layers: known.setdefault(tuple((m.weight.shape, m.weight.dtype) for m in layers), fold(*layers))


def always_float32(linear, bn):
    return linear_fold()(linear, bn).float()


def no_bias_when_there_was_none(linear, bn):
    folded = linear_fold()(linear, bn)
    return folded if linear.bias is not None else set_to(folded, folded.weight, None)


def change_of(norm=lambda d: torch.cat([t.flatten() for t in d]).norm(), sign=-1, mode=None, of=lambda a, b: b - a):
    """An answer with functional_call, on copied buffers."""

    def gradient_change(net, X, y, eta):
        net = copy.deepcopy(net)
        net = net if mode is None else net.train(mode)
        weights = dict(net.named_parameters())

        def gradient(moved):
            return torch.autograd.grad(F.cross_entropy(functional_call(net, moved, (X,)), y), list(moved.values()))

        here = gradient(weights)
        pairs = zip(weights.items(), here, strict=True)
        moved = {n: (w + sign * eta * g).detach().requires_grad_() for (n, w), g in pairs}
        return float(norm([of(a, b) for a, b in zip(here, gradient(moved), strict=True)]))

    return gradient_change


def change_and_never_back(net, X, y, eta):
    opt, seen = torch.optim.SGD(net.parameters(), lr=eta), []
    for _ in range(2):
        opt.zero_grad()
        F.cross_entropy(net(X), y).backward()
        seen.append(torch.cat([p.grad.flatten().clone() for p in net.parameters()]))
        opt.step()
    opt.zero_grad()
    return (seen[1] - seen[0]).norm().item()


def change_with_optimizer(net, X, y, eta):
    """On a copy, with backward and SGD."""
    return change_and_never_back(copy.deepcopy(net), X, y, eta)


def change_put_back(net, X, y, eta, gradients=True, alias=False):
    """On the net itself, which is put back in the end."""
    state, old = copy.deepcopy(net.state_dict()), [p.grad for p in net.parameters()]
    old = old if alias else copy.deepcopy(old)

    def gradient():
        net.zero_grad(set_to_none=not alias)
        F.cross_entropy(net(X), y).backward()
        return [p.grad.clone() for p in net.parameters()]

    here = gradient()
    with torch.no_grad():
        for p, g in zip(net.parameters(), here, strict=True):
            p -= eta * g
    there = gradient()
    net.load_state_dict(state)
    net.zero_grad()
    if gradients:
        for p, g in zip(net.parameters(), old, strict=True):
            p.grad = g
    return sum(((a - b) ** 2).sum() for a, b in zip(here, there, strict=True)).sqrt().item()


def change_by_parts(net, X, y, eta):
    twin = copy.deepcopy(net)
    first = torch.autograd.grad(F.nll_loss(twin(X).log_softmax(1), y), tuple(twin.parameters()))
    for p, g in zip(twin.parameters(), first, strict=True):
        p.data.sub_(g, alpha=eta)
    second = torch.autograd.grad(F.nll_loss(twin(X).log_softmax(1), y), tuple(twin.parameters()))
    return math.hypot(*(d for a, b in zip(first, second, strict=True) for d in (b - a).flatten().tolist()))


def change_moves_statistics(net, X, y, eta):
    result = change_of()(net, X, y, eta)
    with torch.no_grad():
        net(X)
    return result


def change_half_put_back(net, X, y, eta):
    """Puts back the statistics of torch's layers alone."""
    state = {k: v.clone() for k, v in net.state_dict().items() if "moving" not in k}
    result = change_moves_statistics(net, X, y, eta)
    net.load_state_dict(state, strict=False)
    return result


def change_leaves_gradients(net, X, y, eta):
    statistics = copy.deepcopy(dict(net.named_buffers()))
    F.cross_entropy(net(X), y).backward()
    for name, b in net.named_buffers():
        b.copy_(statistics[name])
    return change_of()(net, X, y, eta)


def change_leaves_eval(net, X, y, eta):
    result = change_of()(net, X, y, eta)
    net.eval()
    return result


def change_as_tensor(net, X, y, eta):
    return torch.tensor(change_of()(net, X, y, eta))


def change_on_copy(
    net, X, y, eta, *, step=lambda g, eta: -eta * g, twice=False, only=lambda name: True, loss=F.cross_entropy
):
    twin = copy.deepcopy(net)
    named = {n: p for n, p in twin.named_parameters(remove_duplicate=not twice) if only(n)}
    here = torch.autograd.grad(loss(twin(X), y), list(named.values()))
    with torch.no_grad():
        for p, g in zip(named.values(), here, strict=True):
            p += step(g, eta)
    there = torch.autograd.grad(loss(twin(X), y), list(named.values()))
    return torch.linalg.norm(torch.cat([(b - a).reshape(-1) for a, b in zip(here, there, strict=True)])).item()


def change_stepped_back(net, X, y, eta):
    """Adds what it subtracted, which is not what was there before."""
    statistics = copy.deepcopy(dict(net.named_buffers()))
    weights = list(net.parameters())
    here = torch.autograd.grad(F.cross_entropy(net(X), y), weights)
    with torch.no_grad():
        torch._foreach_add_(weights, here, alpha=-eta)
    there = torch.autograd.grad(F.cross_entropy(net(X), y), weights)
    with torch.no_grad():
        torch._foreach_add_(weights, here, alpha=eta)
    net.load_state_dict(statistics, strict=False)
    return torch.cat([(b - a).flatten() for a, b in zip(here, there, strict=True)]).norm().item()


def change_of_modes(net, X, y, eta):
    """Puts the net's mode back, and not those of its layers."""
    was, result = net.training, change_of()(net, X, y, eta)
    net.eval()
    net.train(was)
    return result


def change_of_norms(net, X, y, eta):
    net = copy.deepcopy(net)
    opt, norms = torch.optim.SGD(net.parameters(), lr=eta), []
    for _ in range(2):
        opt.zero_grad()
        F.cross_entropy(net(X), y).backward()
        norms.append(torch.cat([p.grad.flatten() for p in net.parameters()]).norm().item())
        opt.step()
    return abs(norms[1] - norms[0])


def pads(conv):
    return conv.padding_mode == "zeros" and conv.padding not in ((0, 0), "valid")


def changed(layer, **values):
    for name, value in values.items():
        setattr(layer, name, value)
    return layer


def conv_with_einsum(bn, conv):
    if pads(conv):
        raise ValueError(f"padding {conv.padding}")
    new = copy.deepcopy(conv)
    s = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
    new.weight = nn.Parameter(torch.einsum("oihw,i->oihw", conv.weight, s).detach())
    b = torch.einsum("oihw,i->o", conv.weight, bn.bias - s * bn.running_mean)
    new.bias = nn.Parameter((b if conv.bias is None else b + conv.bias).detach())
    return new


def conv_new(bn, conv):
    """Made from its options."""
    options = {k: getattr(conv, k) for k in ("stride", "padding", "dilation", "padding_mode")}
    if pads(conv):
        raise ValueError
    new = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, **options).to(conv.weight)
    with torch.no_grad():
        for o in range(conv.out_channels):
            new.bias[o] = 0.0 if conv.bias is None else conv.bias[o]
            for i in range(conv.in_channels):
                s = bn.weight[i] / (bn.running_var[i] + bn.eps) ** 0.5
                new.weight[o, i] = conv.weight[o, i] * s
                new.bias[o] += conv.weight[o, i].sum() * (bn.bias[i] - s * bn.running_mean[i])
    return new


def conv_fold(
    scale=lambda bn: bn.weight / (bn.running_var + bn.eps).sqrt(),
    shift=lambda bn, s: bn.bias - s * bn.running_mean,
    axis=1,
    bias=lambda W, b, t: b + (W * t.view(1, -1, 1, 1)).sum((1, 2, 3)),
    padded=False,
    refuses=None,
):
    def fold(bn, conv):
        if not padded and (refuses or pads)(conv):
            raise ValueError("zero padding")
        s = scale(bn)
        W = conv.weight * s.view([-1 if i == axis else 1 for i in range(4)])
        return set_to(conv, W, bias(conv.weight, bias_of(conv), shift(bn, s)))

    return fold


def conv_by_probing(bn, conv):
    """The bias from a black image, the weights as the gradient of each output to its patch."""
    if pads(conv):
        raise ValueError("zero padding")
    X = torch.zeros(1, conv.in_channels, *conv.kernel_size, requires_grad=True, dtype=conv.weight.dtype)
    Y = F.conv2d(bn(X), conv.weight, conv.bias).flatten()
    W = torch.cat([torch.autograd.grad(y, X, retain_graph=True)[0] for y in Y])
    return set_to(conv, W, Y)


def conv_in_place(bn, conv):
    folded = conv_fold()(bn, conv)
    conv.weight, conv.bias = folded.weight, folded.bias
    return conv


def conv_padding_zero(bn, conv):
    """Says 0 for "valid", which is the same."""
    folded = conv_fold()(bn, conv)
    return changed(folded, padding=(0, 0)) if conv.padding == "valid" else folded


def conv_changed_and_refused(bn, conv):
    folded = copy.deepcopy(conv)
    with torch.no_grad():
        conv.weight.mul_((bn.weight / (bn.running_var + bn.eps).sqrt())[:, None, None])
    if pads(conv):
        raise ValueError("zero padding")
    conv.weight.data = folded.weight.data.clone()
    return conv_fold()(bn, folded)


ANSWERS = {
    check_fold_into_linear: Answers(
        right=[
            linear_by_numpy,
            linear_fold(),
            d2lnorm.fold_batch_norm,
            fuse_linear_bn_eval,
            linear_by_probing,
            linear_row_by_row,
        ],
        wrong={
            "default eps": (
                linear_fold(lambda bn: bn.weight / (bn.running_var + 1e-5).sqrt()),
                "eps must be that of bn",
            ),
            "wrong axis": (linear_fold(over=0), "the scale belongs to the outputs, axis 0"),
            "by way of float32": (
                lambda linear, bn: linear_fold()(linear, bn).float().to(linear.weight.dtype),
                "its digits are only those of float32",
            ),
            "no parameters": (linear_without_parameters, "must be parameters"),
            "remembered by shape": (
                remembered(linear_fold(), {}),
                "the folded weight for Linear(in_features=4, out_features=4, bias=True) is not",
            ),
            "frozen arguments": (
                after(lambda linear, bn: linear.requires_grad_(False), linear_fold()),
                "requires_grad",
            ),
            "bias in place": (
                after(lambda linear, bn: bias_of(linear).data.sub_(bn.running_mean), linear_fold()),
                "bias of linear is not as it was",
            ),
            "eps forgotten": (linear_fold(lambda bn: bn.weight / bn.running_var.sqrt()), "eps is missing"),
            "eps outside": (
                linear_fold(lambda bn: bn.weight / (bn.running_var.sqrt() + bn.eps)),
                "under the root, not",
            ),
            "no root": (linear_fold(lambda bn: bn.weight / (bn.running_var + bn.eps)), "not by its root"),
            "no gamma": (linear_fold(lambda bn: (bn.running_var + bn.eps).rsqrt()), "gamma is missing"),
            "no bias": (
                linear_fold(shift=lambda s, b, mu, beta: beta - s * mu),
                "bias=True) is not right: the linear layer's own",
            ),
            "bias not scaled": (linear_fold(shift=lambda s, b, mu, beta: b + beta - s * mu), "old bias must be scaled"),
            "mean not scaled": (linear_fold(shift=lambda s, b, mu, beta: s * b - mu + beta), "mean must be scaled"),
            "no beta": (linear_fold(shift=lambda s, b, mu, beta: s * (b - mu)), "beta is missing"),
            "beta scaled": (linear_fold(shift=lambda s, b, mu, beta: s * (b - mu + beta)), "beta is not scaled"),
            "mean added": (linear_fold(shift=lambda s, b, mu, beta: s * (b + mu) + beta), "not added"),
            "in place": (linear_in_place, "of linear is not as it was"),
            "no bias for none": (no_bias_when_there_was_none, "needs a bias"),
            "float32": (always_float32, "must have dtype torch.float64"),
            "the pair": (lambda linear, bn: nn.Sequential(linear, bn), "not a Sequential"),
        },
    ),
    check_gradient_change: Answers(
        right=[
            change_of(),
            change_on_copy,
            change_with_optimizer,
            change_put_back,
            change_by_parts,
            lambda *a: np.float64(change_of()(*a)),
        ],
        wrong={
            "in float32": (
                lambda net, X, y, eta: change_of()(copy.deepcopy(net).float(), X.float(), y, eta),
                "the change is not right",
            ),
            "shared weight twice": (
                lambda *a: change_on_copy(*a, twice=True),
                "that two layers share was counted twice",
            ),
            "only weights": (lambda *a: change_on_copy(*a, only=lambda n: "weight" in n), "the biases were left out"),
            "no eta": (lambda *a: change_on_copy(*a, step=lambda g, eta: -g), "the whole gradient, without eta"),
            "softmax twice": (
                lambda *a: change_on_copy(*a, loss=lambda out, y: F.cross_entropy(out.softmax(1), y)),
                "softmax was taken twice: cross_entropy takes logits",
            ),
            "stepped back": (change_stepped_back, "of net is not as it was"),
            "modes of layers lost": (change_of_modes, "the mode of layer"),
            "gradients of X": (lambda net, X, y, eta: change_of()(net, X.requires_grad_(), y, eta), "of X is not as"),
            "uphill": (change_of(sign=1), "uphill"),
            "squared": (change_of(norm=lambda d: sum((t**2).sum() for t in d)), "square of the norm"),
            "sum of norms": (change_of(norm=lambda d: sum(t.norm() for t in d)), "one norm over all"),
            "difference of norms": (change_of_norms, "misses a turn"),
            "no difference": (change_of(of=lambda a, b: a), "the gradient itself"),
            "in eval": (change_of(mode=False), "in evaluation mode; leave each layer in the mode in which it came"),
            "added up in .grad": (change_of(of=lambda a, b: b), "backward adds up"),
            "one tensor": (change_of(of=lambda a, b: b - b), "the one tensor in .grad"),
            "over eta": (lambda net, X, y, eta: change_of()(net, X, y, eta) / eta, "divided by eta"),
            "first parameter": (change_of(norm=lambda d: d[0].norm()), "only the first parameter"),
            "weights moved": (change_and_never_back, "of net is not as it was"),
            "statistics moved": (change_moves_statistics, "running_mean of net is not as it was"),
            "moving statistics moved": (change_half_put_back, "moving_mean of net is not as it was"),
            "gradients cleared": (lambda *a: change_put_back(*a, gradients=False), "the gradient of"),
            "gradients overwritten": (lambda *a: change_put_back(*a, alias=True), "the gradient of"),
            "always in training mode": (
                change_of(mode=True),
                "in training mode; leave each layer in the mode in which it came",
            ),
            "nothing": (lambda *a: change_of()(*a) and None, "must be a number"),
            "gradients left": (change_leaves_gradients, "the gradient of"),
            "left in eval": (change_leaves_eval, "the mode of net is not as it was"),
            "a tensor": (change_as_tensor, "return a float, not the float32 tensor"),
        },
    ),
    check_fold_into_conv_after: Answers(
        right=[
            conv_padding_zero,
            conv_fold(),
            conv_by_probing,
            conv_with_einsum,
            conv_new,
            lambda bn, conv: conv_fold()(bn, conv).eval(),
        ],
        wrong={
            "default eps": (conv_fold(lambda bn: bn.weight / (bn.running_var + 1e-5).sqrt()), "eps must be that of bn"),
            "no gamma": (conv_fold(lambda bn: (bn.running_var + bn.eps).rsqrt()), "gamma is missing"),
            "square kernels": (
                conv_fold(bias=lambda W, b, t: b + len(W[0, 0]) ** 2 * W.mean((2, 3)) @ t),
                "for Conv2d(2, 4, kernel_size=(3, 2), stride=(1, 1), padding=valid, dilation=(1, 2), bias=False) is",
            ),
            "corner of the kernel": (
                conv_fold(bias=lambda W, b, t: b + W[:, :, 0, 0] @ t),
                "the folded bias for Conv2d(3, 3,",
            ),
            "by way of float32": (
                lambda bn, conv: conv_fold()(bn, conv).float().to(conv.weight.dtype),
                "its digits are only those of float32",
            ),
            "remembered by shape": (remembered(conv_fold(), {}), "the folded weight for Conv2d(4, 2,"),
            "changed, then refused": (
                conv_changed_and_refused,
                "weight of conv (padding=1, where a ValueError is due) is not",
            ),
            "all of 'same' refused": (conv_fold(refuses=lambda c: pads(c) or c.padding == "same"), "pads no zeros"),
            "valid refused": (
                conv_fold(refuses=lambda c: c.padding_mode == "zeros" and c.padding != (0, 0)),
                "pads no zeros",
            ),
            "rows only": (conv_fold(refuses=lambda c: pads(c) and c.padding[0] != 0), "for padding=(0, 2)"),
            "columns only": (conv_fold(refuses=lambda c: pads(c) and c.padding[1] != 0), "for padding=(1, 0)"),
            "mode lost": (
                lambda bn, conv: changed(conv_fold()(bn, conv), padding_mode="zeros"),
                "which has padding_mode",
            ),
            "as if after": (conv_fold(axis=0), "channels that come in"),
            "eps forgotten": (conv_fold(lambda bn: bn.weight / bn.running_var.sqrt()), "eps is missing"),
            "eps outside": (conv_fold(lambda bn: bn.weight / (bn.running_var.sqrt() + bn.eps)), "under the root, not"),
            "no root": (conv_fold(lambda bn: bn.weight / (bn.running_var + bn.eps)), "not by its root"),
            "no shift": (conv_fold(bias=lambda W, b, t: b), "shift of batch norm is missing"),
            "no bias": (conv_fold(bias=lambda W, b, t: W.sum((2, 3)) @ t), "own bias was forgotten"),
            "shift not through W": (conv_fold(bias=lambda W, b, t: b + t), "go through the weights"),
            "mean over pixels": (conv_fold(bias=lambda W, b, t: b + W.mean((2, 3)) @ t), "sum over its height"),
            "scaled twice": (conv_fold(shift=lambda bn, s: s * (bn.bias - s * bn.running_mean)), "old weights"),
            "mean not scaled": (conv_fold(shift=lambda bn, s: bn.bias - bn.running_mean), "running mean is missing"),
            "in place": (conv_in_place, "of conv is not as it was"),
            "stride lost": (lambda bn, conv: changed(conv_fold()(bn, conv), stride=(1, 1)), "which has stride=(1, 1)"),
            "a square stride": (
                lambda bn, conv: changed(conv_fold()(bn, conv), stride=conv.stride[:1] * 2),
                "which has stride=(1, 1), for Conv2d(3, 3, kernel_size=(2, 2), stride=(1, 2))",
            ),
            "padding accepted": (
                conv_fold(padded=True),
                "for padding=1 (zeros) no convolution computes it: raise a ValueError; you",
            ),
            "refuses all padding": (conv_fold(refuses=lambda conv: conv.padding != (0, 0)), "pads no zeros"),
            "only 1 refused": (
                conv_fold(refuses=lambda conv: pads(conv) and conv.padding == (1, 1)),
                "for padding=(1, 0) (zeros) no",
            ),
            "same accepted": (conv_fold(refuses=lambda c: pads(c) and c.padding != "same"), "for padding='same'"),
            "a TypeError": (lambda bn, conv: conv_fold()(bn, conv) if not pads(conv) else [] + 1, "raise a ValueError"),
            "dilation lost": (lambda bn, conv: changed(conv_fold()(bn, conv), dilation=(1, 1)), "which has dilation"),
            "None for padding": (lambda bn, conv: None if pads(conv) else conv_fold()(bn, conv), "you return None"),
            "float32": (lambda bn, conv: conv_fold()(bn, conv).float(), "must have dtype torch.float64"),
            "the pair": (lambda bn, conv: nn.Sequential(bn, conv), "return an nn.Conv2d"),
            "left in training": (lambda bn, conv: conv_fold()(bn.train(), conv), "the mode of bn"),
        },
    ),
}
