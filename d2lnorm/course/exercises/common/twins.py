"""Layers that must be as their twins in torch: state, outputs and gradients, in both modes; parameters that learn."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.common.feedback import described, expect, expect_close
from d2lnorm.course.exercises.common.traces import forbidden, kept

__all__ = ["BOOKS", "expect_learning", "expect_state", "expect_twin", "learning", "tolerance"]

BOOKS = "momentum was taken in the book's convention, the weight of the old value; PyTorch's weighs the new"


def expect_state(layer: Any, twin: nn.Module) -> None:
    """Expect a new layer whose state_dict has the keys, shapes, types and values of its twin in torch."""
    expect(isinstance(layer, nn.Module), f"it must be an nn.Module, but is a {type(layer).__name__}.")
    got, wanted = layer.state_dict(), twin.state_dict()
    missing = [k for k in wanted if k not in got]
    plain = [k for k in missing if isinstance(getattr(layer, k, None), Tensor)]
    hint = ": a tensor that is a plain attribute is no part of it; see register_buffer" if plain else ""
    expect(not missing, f"the state_dict lacks {', '.join(plain or missing)}{hint}.")
    expect(set(got) == set(wanted), f"the state_dict must have the keys {list(wanted)}, but has {list(got)}.")
    for k, t in wanted.items():
        same = got[k].shape == t.shape and got[k].dtype == t.dtype
        asked = f"{k} must have shape {tuple(t.shape)} and type {t.dtype}, as in PyTorch"
        expect(same, f"{asked}, but has shape {tuple(got[k].shape)} and type {got[k].dtype}.")
    learned = sorted(name for name, _ in layer.named_parameters())
    more = [name for name in learned if name not in ("weight", "bias")]
    expect(not more, f"the parameters must be weight and bias alone; yours also has {', '.join(more)}.")
    expect(len(learned) == 2, f"weight and bias must be parameters; yours are {', '.join(learned) or 'none'}.")
    for k, t in wanted.items():
        wrong = got[k][got[k] != t].tolist()
        start = f"in a new layer {k} must be {t.max():g}, as in PyTorch, but it starts with"
        expect(not wrong, f"{start} {', '.join(f'{x:g}' for x in wrong)}.")


def expect_twin(layer: Any, twin: nn.BatchNorm1d, X: Tensor) -> None:
    """Expect output, state and gradients as of the twin, in the mode in which both are."""
    axes, like, tight = [0, *range(2, X.dim())], [1, -1] + [1] * (X.dim() - 2), tolerance(X)
    twin.load_state_dict(layer.state_dict())  # what was rounded in the last batch is no matter in this one
    old, usual = copy.deepcopy(twin.state_dict()), (twin.eps, twin.momentum) == (1e-5, 0.1)
    count = old["num_batches_tracked"].item()
    made = "eps and momentum left at their defaults" if usual else f"eps={twin.eps:g}, momentum={twin.momentum}"
    before = f" and {count} batches before this one"
    made += before if twin.momentum is None or not count else ""
    where = f"in {'training' if twin.training else 'evaluation'} mode, for {described(X)}, {made}"
    where += "" if torch.is_grad_enabled() else ", under no_grad"
    x, x_twin = (X.clone().requires_grad_(torch.is_grad_enabled()) for _ in range(2))
    asked = "without using nn.BatchNorm1d or F.batch_norm"
    with forbidden("batch_norm", "native_batch_norm", asked=asked), kept(generator=True, **{"the input": x}):
        Y = layer(x)
    right = twin(x_twin)
    m = 1 / (count + 1) if twin.momentum is None else twin.momentum
    mean, biased, unbiased = X.mean(axes), X.var(axes, correction=0), X.var(axes)
    old_mean, old_var, w, b = (old[k] for k in ("running_mean", "running_var", "weight", "bias"))
    (by, var), (other, others) = ((mean, biased), (old_mean, old_var))[:: 1 if twin.training else -1]

    def scaled(mean: Tensor, std: Tensor) -> Tensor:
        return w.view(like) * (X - mean.view(like)) / std.view(like) + b.view(like)

    used = "evaluation mode, with the running ones" if twin.training else "training mode, with the batch's own"
    wrong = {
        "it was normalized with the unbiased variance": scaled(mean, (unbiased + twin.eps).sqrt()),
        "eps belongs inside the square root": scaled(by, var.sqrt() + twin.eps),
        f"it was normalized as in {used}": scaled(other, (others + twin.eps).sqrt()),
    }
    expect_close(Y, right.detach(), f"the output {where},", wrong, **tight)
    for k, t in layer.state_dict().items():
        moves = twin.training and k not in ("weight", "bias")
        expect(moves or torch.equal(t, old[k]), f"{k} must stay as it is in a call {where}.")
    expect(layer.training == twin.training, f"a call {where}, changed the layer's mode.")
    wrong = {} if usual else {BOOKS: m * old_mean + (1 - m) * mean}  # with the usual arguments the defaults are wrong
    expect_close(layer.running_mean, twin.get_buffer("running_mean"), f"running_mean {where},", wrong, **tight)
    wrong = {} if usual else {BOOKS: m * old_var + (1 - m) * unbiased}
    wrong |= {"the biased variance went in; PyTorch stores the unbiased one": (1 - m) * old_var + m * biased}
    expect_close(layer.running_var, twin.get_buffer("running_var"), f"running_var {where},", wrong)
    counted = "num_batches_tracked, which must grow by 1 with each batch in training,"
    expect_close(layer.num_batches_tracked, twin.get_buffer("num_batches_tracked"), counted)
    free = not (layer.running_mean.requires_grad or layer.running_var.requires_grad)
    expect(free, "the running statistics keep the autograd graph, so copy.deepcopy(layer) fails: detach them.")
    if not torch.is_grad_enabled():
        return
    expect(Y.requires_grad, f"the output {where}, has no gradient, so that nothing could learn.")
    out, twins = torch.randn(X.shape).to(X), (x_twin, twin.weight, twin.bias)
    ours = torch.autograd.grad((Y * out).sum(), (x, layer.weight, layer.bias), allow_unused=True)
    theirs = torch.autograd.grad((right * out).sum(), twins)
    lost = "it misses the way through mean and variance: compute these with gradients recorded"
    wrong = {lost: out * w.view(like) / (var.view(like) + twin.eps).sqrt()}
    for got, gradient, of in zip(ours, theirs, ("the input", "weight", "bias"), strict=True):
        expect_close(got, gradient, f"the gradient of {of} {where},", wrong, **tight)


def tolerance(X: Tensor) -> dict[str, float]:
    """In float64, so tight that numbers rounded to float32 on the way are seen."""
    return {"rtol": 1e-9, "atol": 1e-9} if X.dtype == torch.float64 else {}


def learning(net: nn.Module) -> dict[str, tuple[nn.Parameter, bool]]:
    """Return each parameter, by its name, and whether it learns."""
    return {name: (p, p.requires_grad) for name, p in net.named_parameters()}


def expect_learning(net: nn.Module, before: dict[str, tuple[nn.Parameter, bool]]) -> None:
    """Expect of the net's parameters that they are the same objects, and learn, as they did."""
    now = learning(net)
    for name, (old, learned) in before.items():
        p, learns = now.get(name, (None, False))
        expect(p is old, f"{name} was replaced by another object; an optimizer would go on changing the old one.")
        said = f"requires_grad of {name} was {learned} and is now {learns}"
        expect(learns == learned, f"{said}; leave every parameter's requires_grad as it was.")
