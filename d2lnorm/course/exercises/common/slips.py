"""What formulas give where a usual mistake is made."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["lacking", "normalized", "sigmoid_chain", "textbook", "wide"]

# What goes wrong in batch norm; `textbook` can do each of these
UNBIASED = "the batch was normalized with the unbiased variance; divide by n, not by n - 1"
OUTSIDE = "eps was added outside the root"
NO_EPS = "it is as with eps near 0, but another was passed: add that to each variance"
NO_ROOT = "it was divided by the variance; take its root"
ONE_PASS = "the variance is E[x²] - E[x]², which cancels in float32 when the mean is 1e4; take the deviations first"
CONSTANT_VAR = "the variance was taken as a constant, but it depends on X"
CONSTANT = "mean and variance were treated as constants (no_grad or detach), so their part of the gradient is lost"
FORGOTTEN = "each sample was normalized by itself: the batch axis was forgotten"
ORDER = "bias was added before weight was applied"
IN_PLACE = "X was changed in place"
VERSIONS = {  # what a version does that is wrong in this way
    UNBIASED: "divides the variance by n - 1 instead of n",
    OUTSIDE: "adds eps outside the root",
    ONE_PASS: "computes the variance as E[x²] - E[x]²",
    CONSTANT: "takes its statistics under no_grad",
    FORGOTTEN: "forgets the batch axis",
    ORDER: "adds beta before gamma is applied",
    IN_PLACE: "changes X in place: it takes off the mean there",
}


def wide(t: Tensor, X: Tensor) -> Tensor:
    """Give a tensor of shape (C,) the axes that it needs beside X of shape (N, C, *)."""
    return t.view([1, -1] + [1] * (X.dim() - 2))


def textbook(X: Tensor, gamma: Tensor, beta: Tensor, eps: float, slip: str = "") -> Tensor:
    """Batch norm in training by its formulas, with one slip; with none it is right."""
    given, X, inner = X, X.clone(), list(range(2, X.dim()))
    axes = inner or [1] if slip == FORGOTTEN else [0, *inner]
    mean = X.mean(axes, keepdim=True)
    var = X.var(axes, correction=int(slip == UNBIASED), keepdim=True)
    if slip == ONE_PASS:
        var = X.square().mean(axes, keepdim=True) - mean.square()
    mean = mean.detach() if slip == CONSTANT else mean
    var = var.detach() if slip in (CONSTANT, CONSTANT_VAR) else var
    roots = {OUTSIDE: lambda: var.sqrt() + eps, NO_EPS: lambda: (var + 1e-5).sqrt(), NO_ROOT: lambda: var + eps}
    X_hat = (X - mean) / roots.get(slip, lambda: (var + eps).sqrt())()
    if slip == IN_PLACE:
        given.data.copy_((X - mean).detach())
    gamma, beta = (wide(gamma, X), wide(beta, X)) if gamma.dim() else (gamma, beta)
    return (X_hat + beta) * gamma if slip == ORDER else X_hat * gamma + beta


def lacking(dY: Tensor, Y: Tensor, dX: Tensor, sums: Tensor, given: Tensor, eps: float) -> dict[str, Tensor]:
    """What dX is where a part of batch norm's backward pass is missing, or is wrong.

    sums: what dgamma and dbeta must be; given: gamma, beta and var, as they were given.
    """
    (dgamma, dbeta), (gamma, beta, var) = ([wide(t, Y) for t in rows] for rows in (sums, given))
    n, root = Y.numel() // Y.shape[1], (var + eps).sqrt()
    mean, along, scale = dbeta / n, dgamma / n * (Y - beta) / gamma, gamma / root
    samples = "n was the number of samples; it must be that times the number of pixels"
    return {
        "it lacks what comes through the mean and through the variance": scale * dY,
        "only the mean was taken off; the part along x-hat is missing": scale * (dY - mean),
        samples: scale * (dY - (mean + along) * n / len(Y)),
        "the sums were taken; it needs the means of h and of h times x-hat": scale * (dY - (mean + along) * n),
        OUTSIDE: dX * root / (var.sqrt() + eps),
        NO_EPS: dX * root / var.sqrt(),
        "gamma is missing in h": dX / gamma,
    }


def normalized(X: Tensor, axes: tuple, gamma: Tensor, beta: Tensor, correction: int = 0) -> Tensor:
    """Batch norm with the statistics over these axes."""
    mean, var = X.mean(dim=axes, keepdim=True), X.var(dim=axes, keepdim=True, correction=correction)
    return gamma * (X - mean) / (var + 1e-5).sqrt() + beta


def sigmoid_chain(x: float, weights: list[float]) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradients of a chain of sigmoids by their pre-activations, and what each usual mistake gives."""
    slopes, h = [], x
    for w in weights:
        h = 1 / (1 + math.exp(-w * h))
        slopes.append(h * (1 - h))

    def back(factors: Sequence[float]) -> Tensor:
        """`factors[k]` lies between pre-activation k and the slope after it."""
        gradients = [slopes[-1]]
        for slope, factor in zip(slopes[-2::-1], factors[::-1], strict=True):
            gradients.insert(0, gradients[0] * factor * slope)
        return torch.tensor(gradients, dtype=torch.float64)

    right, own = back(weights[1:]), torch.tensor(slopes, dtype=torch.float64)
    forward = torch.cumprod(own * torch.tensor([1.0, *weights[1:]], dtype=torch.float64), 0)
    return right, {
        "these are the sigmoids' own slopes; the gradient multiplies them on its way back": own,
        "the weights are missing; the way back passes them, too": back([1] * (len(weights) - 1)),
        "from a_(k+1) to a_k the factor is w_(k+1), not w_k": back(weights[:-1]),
        "the order is turned round; the gradient by the first pre-activation comes first": right.flip(0),
        "you multiplied from the first layer on; the gradient starts at the output": forward,
        "the slope of the last sigmoid is missing": right / slopes[-1],
        "these are the derivatives by h_k; each still lacks the slope of its own sigmoid": right / own,
        "one weight too many: w_k leads on to h_(k-1), past a_k": right * torch.tensor(weights, dtype=torch.float64),
    }
