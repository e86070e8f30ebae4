"""Known-wrong layers. Each is the textbook with one slip; the suite's comparison has to reject every one.

With no slip at all (None) the same code has to pass, or a rejection would prove nothing.
"""

import copy

import torch
from torch import nn

import d2lnorm

BATCH_SLIPS = {
    "unbiased variance in the normalization",
    "biased running variance",
    "eps outside the root",
    "E[x^2] - E[x]^2",
    "statistics computed under no_grad",
    "running statistics keep the graph",
    "plain attributes instead of buffers",
    "momentum the wrong way round",
    "mode taken from is_grad_enabled",
    "batch axis forgotten for images",
    "momentum None is 0.1",
    "running mean not moved",
    "statistics moved in evaluation too",
    "statistics of the batch in evaluation",
    "weight forgotten",
    "bias added before the weight",
    "no_grad freezes the statistics",
    "counter not counted",
    "parameters named gamma and beta",
    "16 bits computed in 16 bits",
    "running variance starts at 0",
    "weight starts at 0",
    "counter starts at 1",
}


class TextbookBatchNorm(d2lnorm.BatchNorm2d):
    """`BatchNorm2d` with the formulas written out under autograd, and one slip (or None)."""

    def __init__(self, *args, slip=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.slip = slip
        if slip == "plain attributes instead of buffers" and self.track_running_stats:
            mean, var = self.running_mean, self.running_var
            del self.running_mean, self.running_var
            self.running_mean, self.running_var = mean, var
        if slip == "parameters named gamma and beta" and self.affine:
            self.gamma, self.weight = self.weight, None
        if slip == "running variance starts at 0" and self.track_running_stats:
            self.running_var.zero_()
        if slip == "weight starts at 0" and self.affine:
            nn.init.zeros_(self.weight)
        if slip == "counter starts at 1" and self.track_running_stats:
            self.num_batches_tracked.fill_(1)

    def __repr__(self):
        return super().__repr__().replace("TextbookBatchNorm", "BatchNorm2d")

    def forward(self, X):
        slip, axes, dtype = self.slip, (0, 2, 3), X.dtype
        training = self.training or self.running_mean is None
        if slip == "mode taken from is_grad_enabled":
            training = torch.is_grad_enabled() or self.running_mean is None
        if slip == "statistics of the batch in evaluation":
            training = True
        if slip == "batch axis forgotten for images":
            axes = (2, 3)
        if slip != "16 bits computed in 16 bits":
            X = X.double() if X.dtype == torch.float64 else X.float()
        if slip == "statistics moved in evaluation too" and not self.training and self.track_running_stats:
            self.move(X.mean(axes).detach(), X.var(axes).detach())
        if training:
            mean = X.mean(axes, keepdim=True)
            mean = mean + (X - mean).mean(axes, keepdim=True)  # what rounding has left of the mean
            var = (X - mean).square().mean(axes, keepdim=True)
            n = X.numel() // var.numel()
            if slip == "E[x^2] - E[x]^2":
                var = X.square().mean(axes, keepdim=True) - mean.square()
            if slip == "statistics computed under no_grad":
                mean, var = mean.detach(), var.detach()
            if self.training and self.track_running_stats and (
                torch.is_grad_enabled() or slip != "no_grad freezes the statistics"
            ):  # fmt: skip
                self.move(mean, var * (1 if slip == "biased running variance" else n / max(n - 1, 1)))
            if slip == "unbiased variance in the normalization":
                var = var * n / max(n - 1, 1)
        else:
            mean, var = (t.view(1, -1, 1, 1).to(X.dtype) for t in (self.running_mean, self.running_var))
        root = torch.sqrt(var) + self.eps if slip == "eps outside the root" else torch.sqrt(var + self.eps)
        Y = (X - mean) / root
        weight, bias = (
            t if t is None else t.view(1, -1, 1, 1).to(X.dtype)
            for t in (self.gamma if hasattr(self, "gamma") else self.weight, self.bias)
        )  # fmt: skip
        if slip == "bias added before the weight" and bias is not None:
            return ((Y + bias) * weight).to(dtype)
        Y = Y if weight is None or slip == "weight forgotten" else Y * weight
        return (Y if bias is None else Y + bias).to(dtype)

    def move(self, mean, var):
        slip = self.slip
        if slip != "counter not counted":
            self.num_batches_tracked.add_(1)
        m = self.momentum
        if m is None:
            m = 0.1 if slip == "momentum None is 0.1" else 1 / self.num_batches_tracked.item()
        m = 1 - m if slip == "momentum the wrong way round" else m
        if mean.numel() != self.num_features:  # the forgotten batch axis
            mean, var = mean.mean(0), var.mean(0)
        old_mean, old_var = self.running_mean.to(mean.dtype), self.running_var.to(var.dtype)
        mean, var = (1 - m) * old_mean + m * mean.flatten(), (1 - m) * old_var + m * var.flatten()
        if slip == "running statistics keep the graph":
            self.running_mean, self.running_var = mean.to(self.running_mean), var.to(self.running_var)
            return
        with torch.no_grad():
            if slip != "running mean not moved":
                self.running_mean.copy_(mean)
            self.running_var.copy_(var)


def textbook(name, slip):
    """`layer_norm` and its relatives with a slip, as the forward of a layer of ours."""

    def layer_norm(self, X):
        first = X.dim() - len(self.normalized_shape)
        axes = tuple(range(first, X.dim()))
        axes = axes[-1:] if slip == "only the last axis" else axes
        axes = (0, *axes) if slip == "the batch axis too" and first > 0 else axes
        Xc = X.double() if X.dtype == torch.float64 else X.float()
        mean = Xc.mean(axes, keepdim=True)
        var = Xc.var(axes, correction=1 if slip == "unbiased variance" else 0, keepdim=True)
        if slip == "statistics without gradient":
            mean, var = mean.detach(), var.detach()
        root = torch.sqrt(var) + self.eps if slip == "eps outside the root" else torch.sqrt(var + self.eps)
        Y = (Xc - mean) / root
        Y = Y if self.weight is None else Y * self.weight
        Y = Y if self.bias is None or slip == "no bias" else Y + self.bias
        return Y.to(X.dtype)

    def group_norm(self, X):
        N, C, G = X.shape[0], X.shape[1], self.num_groups
        Xg = (
            X.reshape(N, C // G, G, -1).transpose(1, 2) if slip == "every G-th channel" else X.reshape(N, G, C // G, -1)
        )
        axes = (0, 2, 3) if slip == "the batch axis too" else (2,) if slip == "positions apart" else (2, 3)
        mean = Xg.mean(axes, keepdim=True)
        var = Xg.var(axes, correction=1 if slip == "unbiased variance" else 0, keepdim=True)
        Y = (Xg - mean) / torch.sqrt(var + self.eps)
        Y = (Y.transpose(1, 2) if slip == "every G-th channel" else Y).reshape(X.shape)
        shape = [1, -1] + [1] * (X.dim() - 2)
        Y = Y if self.weight is None else Y * self.weight.view(shape)
        return Y if self.bias is None else Y + self.bias.view(shape)

    def rms_norm(self, X):
        axes = tuple(range(X.dim() - len(self.normalized_shape), X.dim()))
        if slip == "mean taken off":
            X = X - X.mean(axes, keepdim=True)
        eps = (1e-5 if slip == "eps of layer norm" else torch.finfo(X.dtype).eps) if self.eps is None else self.eps
        square = X.square().sum(axes, keepdim=True) if slip == "sum, not mean" else X.square().mean(axes, keepdim=True)
        root = torch.sqrt(square) + eps if slip == "eps outside the root" else torch.sqrt(square + eps)
        return X / root if self.weight is None else X / root * self.weight

    def layer_norm_by_hand(self, X):
        Y = ByHand.apply(X.double(), self.weight, self.normalized_shape, self.eps, slip).to(X.dtype)
        return Y if self.bias is None else Y + self.bias

    def instance_norm(self, X):
        training = self.training or not self.track_running_stats
        axes = (0, 2, 3) if slip == "statistics over the batch" else (2, 3)
        if training:
            mean = X.mean(axes, keepdim=True)
            var = X.var(axes, correction=1 if slip == "unbiased variance" else 0, keepdim=True)
        else:
            mean, var = self.running_mean.view(1, -1, 1, 1), self.running_var.view(1, -1, 1, 1)
        if training and self.track_running_stats:
            m, n = self.momentum or 0.0, X[0, 0].numel()
            if slip == "momentum None is the plain average" and self.momentum is None:
                self.num_batches_tracked.add_(1)
                m = 1 / self.num_batches_tracked.item()
            unbiased = 1 if slip == "biased running variance" else n / (n - 1)
            with torch.no_grad():
                step = (t[0] if slip == "only the first example moves them" else t.mean(0) for t in (mean, var))
                for t, new, factor in zip((self.running_mean, self.running_var), step, (1, unbiased), strict=True):
                    t.copy_((1 - m) * t + m * new.flatten() * factor)
        Y = (X - mean) / torch.sqrt(var + self.eps)
        Y = Y if self.weight is None else Y * self.weight.view(1, -1, 1, 1)
        return Y if self.bias is None else Y + self.bias.view(1, -1, 1, 1)

    def dropout(self, X):
        if not self.training and slip != "dropped in evaluation too":
            return X * (1 - self.p) if slip == "scaled in evaluation" else X
        keep = self.p if slip == "p and 1 - p swapped" else 1 - self.p
        mask = torch.empty_like(X).bernoulli_(keep)
        return X * (mask if slip in ("no 1 / (1 - p)", "scaled in evaluation") else mask.div_(1 - self.p))

    return {
        "LayerNorm": layer_norm,
        "LayerNorm by hand": layer_norm_by_hand,
        "GroupNorm": group_norm,
        "RMSNorm": rms_norm,
        "InstanceNorm2d": instance_norm,
        "Dropout": dropout,
    }[name]


class ByHand(torch.autograd.Function):
    """w xhat over the last axes with its gradient by hand, dL/dx = r (h - mean(h) - xhat mean(h xhat)), h = w g."""

    @staticmethod
    def forward(ctx, X, weight, normalized_shape, eps, slip):
        axes = tuple(range(X.dim() - len(normalized_shape), X.dim()))
        r = 1 / torch.sqrt(X.var(axes, correction=0, keepdim=True) + eps)
        xhat = (X - X.mean(axes, keepdim=True)) * r
        ctx.save_for_backward(xhat, r, weight)
        ctx.axes, ctx.slip = axes, slip
        return xhat.clone() if weight is None else xhat * weight.double()

    @staticmethod
    def backward(ctx, g):
        (xhat, r, weight), axes, slip = ctx.saved_tensors, ctx.axes, ctx.slip
        w = 1.0 if weight is None else weight.double()
        h = g if slip == "weight not inside the means" else w * g
        dX = h
        if slip != "mean(h) dropped":
            dX = dX - h.mean(axes, keepdim=True)
        if slip != "xhat mean(h xhat) dropped":
            dX = dX - xhat * (h * xhat).mean(axes, keepdim=True)
        dX = r * dX * (w if slip == "weight not inside the means" else 1.0)
        return dX, None if weight is None else (g * xhat).sum_to_size(weight.shape).to(weight.dtype), None, None, None


def folded(slip):
    """`fold_batch_norm` with a slip."""

    def fold_batch_norm(layer, bn):
        wrong = copy.deepcopy(bn)
        if slip == "eps forgotten":
            wrong.eps = 0.0
        fold = d2lnorm.fold_batch_norm(layer, wrong)
        if slip == "the layer's bias not scaled" and layer.bias is not None:
            with torch.no_grad():
                scale = fold.weight.abs().sum() / layer.weight.abs().sum()
                fold.bias.add_((1 - scale) * layer.bias)
        return fold

    return fold_batch_norm


def recomputed(slip):
    """`recompute_running_statistics` with a slip."""

    def recompute_running_statistics(net, data_iter):
        if slip is None:
            return d2lnorm.recompute_running_statistics(net, data_iter)
        if slip == "the first batch forgotten":
            return d2lnorm.recompute_running_statistics(net, data_iter[1:])
        with torch.no_grad():  # "with the momentum of training"
            for X, _ in data_iter:
                net.train()(X)
        return None

    return recompute_running_statistics


TOOL_SLIPS = {
    "fold_batch_norm": ["eps forgotten", "the layer's bias not scaled"],
    "recompute_running_statistics": ["the first batch forgotten", "with the momentum of training"],
}


OTHER_SLIPS = {
    "LayerNorm": [
        "only the last axis",
        "the batch axis too",
        "unbiased variance",
        "statistics without gradient",
        "eps outside the root",
        "no bias",
    ],
    "LayerNorm by hand": ["mean(h) dropped", "xhat mean(h xhat) dropped", "weight not inside the means"],
    "InstanceNorm2d": [
        "statistics over the batch",
        "unbiased variance",
        "biased running variance",
        "only the first example moves them",
        "momentum None is the plain average",
    ],
    "Dropout": ["no 1 / (1 - p)", "p and 1 - p swapped", "scaled in evaluation", "dropped in evaluation too"],
    "GroupNorm": ["every G-th channel", "the batch axis too", "positions apart", "unbiased variance"],
    "RMSNorm": ["mean taken off", "eps of layer norm", "sum, not mean", "eps outside the root"],
}


def mutant(name, slip):
    """A class like `torch.nn`'s `name` with this slip, or none."""
    if name == "BatchNorm2d":
        return lambda *args, **kwargs: TextbookBatchNorm(*args, slip=slip, **kwargs)
    real = name.split()[0]
    return type(real, (getattr(d2lnorm, real),), {"forward": textbook(name, slip)})
