"""Checks for the notebook "Why normalize?"."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.common.calibration import HINTS, calibration_nets, expect_same_parts, put_back
from d2lnorm.course.exercises.common.feedback import described, exercise, expect, expect_close, number, randn
from d2lnorm.course.exercises.common.layers import expect_normalized
from d2lnorm.course.exercises.common.nets import heard, listening_nets
from d2lnorm.course.exercises.common.slips import sigmoid_chain
from d2lnorm.course.exercises.common.traces import forbidden, untouched

__all__ = ["check_calibrate", "check_chain_gradients", "check_dead_share", "check_output_statistics"]


@exercise
def check_dead_share(dead_share: Callable[[Tensor], float]) -> str:
    """Test `dead_share(X)`: the share of channels without a positive value, for (N, C) and (N, C, H, W)."""
    cases = [_activations(19, 9), _activations(23, 4, 3, 2)]  # no two of the shares below are the same
    cases += [_activations(9, 9).double() ** 5, _activations(5, 1, 3, 4).double()]  # in float32 a tiny one would be 0
    for X in (*cases, torch.ones(3, 4), torch.zeros(3, 4, 1, 1)):
        with untouched(X=X):
            got = dead_share(X)
        values = X.movedim(1, 0).flatten(1)  # (C, n): all that a channel gets
        dead, C = int((values <= 0).all(1).sum()), len(values)
        what = f"the share for {described(X)}, with {dead} of its {C} channels dead,"
        mistakes = {
            "this counts values, but a channel is dead only if all of its values are 0 or less": values <= 0,
            "a ReLU passes no gradient at exactly 0 either, so a 0 keeps no channel alive": (values < 0).all(1),
            "a channel is dead only if every value is 0 or less; one is not enough": (values <= 0).any(1),
            "a channel with a single positive value is not dead, even if its mean is negative": values.mean(1) <= 0,
            "a channel with a positive pixel is not dead, even if the mean of its pixels is negative": (
                X.reshape(*X.shape[:2], -1).mean(2) <= 0
            ).all(0),
            "a positive value keeps a channel alive, however small it is": (values < 1e-9).all(1),
            "in 4-D input a channel has a value for each pixel, and one positive pixel keeps it alive": (X <= 0).all(0),
            "look at all images together; a channel that is alive in one of them is not dead": (
                (X <= 0).reshape(*X.shape[:2], -1).all(2)
            ),
            "this is the share of living channels": (values > 0).any(1),
        }
        expect_close(got, dead / C, what, {name: slip.double().mean().item() for name, slip in mistakes.items()})
    return "right for vectors and for images, zeros and lonely pixels included."


def _activations(channels: int, images: int, *pixels: int) -> Tensor:
    """Pre-activations: of seven channels two are dead, one has one positive value, one a tiny one."""
    rows = -randn(channels, images, *pixels, seed=channels, dtype=torch.float32).abs()
    flat = rows.view(channels, -1)
    flat[1::7, -1], flat[2::7, ::2], flat[3::7, 1] = 0.1, 0.0, 1e-15
    flat[4::7, 2:], flat[5::7, :2], flat[6::7] = 3.0, 2.0, 0.5
    return rows.movedim(0, 1).contiguous()


@exercise
def check_chain_gradients(chain_gradients: Callable[[float, Sequence[float]], Sequence[float]]) -> str:
    """Test `chain_gradients(x, weights)`: the derivative of a sigmoid chain's output by each pre-activation."""
    uses = 0

    class Counted(float):
        """A weight that counts how often it is multiplied."""

        def __mul__(self, other: float) -> float:
            nonlocal uses
            uses += 1
            return float(self) * other

        __rmul__ = __mul__

    long = [Counted((-1) ** k * (2 + k % 3)) for k in range(20)]
    cases: list[tuple[float, list]] = [(0.7, [1.5, -2.0, 3.0, 0.5]), (-1.7, [0.5, 2.5, -1.0, 4.0]), (0, [2])]
    cases += [(-1.0, [-1.5, 3.0]), (0.3, [1.0, 0.0, 2.0]), (1.0, [2.0, -20.0, 3.0])]  # the last saturates
    for x, weights in (*cases, (0.3, long)):
        what = f"for x = {x}, weights = {weights if len(weights) < 5 else f'a list of {len(weights)} numbers'},"
        right, mistakes = sigmoid_chain(x, [float(w) for w in weights])
        with untouched(weights=weights), forbidden("any", asked="plain Python, no autograd"):
            got = chain_gradients(x, weights)
        came = f"a {type(got).__name__} of {len(got)}" if isinstance(got, list | tuple) else described(got)
        many = isinstance(got, Sequence) and len(got) == len(weights)
        expect(many, f"for {len(weights)} weights return a list of {len(weights)} numbers, not {came}.")
        numbers = [number(g, f"element {k} of the list") for k, g in enumerate(got)]
        gradients = torch.tensor(numbers, dtype=torch.float64)
        k = int((gradients - right).abs().argmax())
        told = f"the derivative by a_{k + 1} was expected to be {right[k]:.6g}, but is {gradients[k]:.6g}"
        expect_close(gradients, right, f"{what} the list", {**mistakes, told: gradients}, atol=1e-9)
        far = max(map(abs, weights)) > 9  # then a right sigmoid by tanh has fewer digits
        exact = torch.allclose(gradients, right, rtol=1e-6 if far else 1e-10, atol=0)
        cure = "use the exact slopes, in Python's floats, unrounded"
        expect(exact, f"{what} the list is right to a few digits only: {cure}.")
    passes = f"a pass forth and a pass back need {2 * len(long) - 1}"
    expect(uses <= 5 * len(long), f"for 20 weights it multiplied at least {uses} times by a weight; {passes}.")
    return "chains of one to twenty sigmoids, with mixed weights."


@exercise
def check_output_statistics(output_statistics: Callable[[nn.Module, Tensor], dict]) -> str:
    """Test `output_statistics(net, X)`: mean and deviation of each layer's output, the net left as it was."""
    for what, net, X in listening_nets(torch.Generator().manual_seed(1)):
        right, *modes = (heard(m, X) for m in (net, copy.deepcopy(net).eval(), copy.deepcopy(net).train()))
        layers = {
            f"layer {name!r} of {what}" if name else f"the net itself, {what},": m for name, m in net.named_modules()
        }
        before = {of: (set(vars(m)), len(m._forward_hooks)) for of, m in layers.items()}
        with untouched(**{what: net, f"X for {what}": X}):
            got = output_statistics(net, X)
            for of, (_, hooks) in before.items():
                same = len(layers[of]._forward_hooks) >= hooks
                expect(same, f"{of} had a hook before the call, which is gone; remove only your own.")
        for of, (attributes, _) in before.items():
            more = sorted(set(vars(layers[of])) ^ attributes)
            expect(not more, f"{of} is not as it was: its {', '.join(more)} was set or deleted.")
        expect(isinstance(got, dict), f"return a dictionary, not {described(got)}.")
        containers = [key for key, m in net.named_modules() if key in got and key not in right]
        all_and_more = not set(right) - set(got) and bool(containers)
        expect(not all_and_more, f"leave out containers like {containers}; a layer is a module without children.")
        keys = f"as `named_modules` has them, not {str([*got])[:200]}"
        expect(set(got) == set(right), f"for {what} the keys must be {list(right)}, {keys}.")
        names = dict(zip((name for name, _ in net.named_modules()), layers, strict=True))
        for name in right:
            _compare(names[name].removesuffix(","), got[name], right[name], [mode[name][1] for mode in modes])
    return "each layer's mean and deviation, an in-place ReLU among them, and the net is as it was."


def _compare(where: str, pair: Any, layer: tuple[Tensor, Tensor, Tensor], modes: list[Tensor]) -> None:
    two = isinstance(pair, tuple | list) and len(pair) == 2
    expect(two, f"the value for {where} must be a pair (mean, std), but is {described(pair)}.")
    hanging = any(isinstance(t, Tensor) and t.requires_grad for t in pair)
    expect(not hanging, f"the numbers for {where} still hang on the graph, and keep it alive; use `.item()`.")
    got = torch.tensor(
        [number(t, f"the {what} for {where}") for t, what in zip(pair, ("mean", "std"), strict=True)],
        dtype=torch.float64,
    )
    entered, out, late = layer
    truth, what = _mean_and_std(out), f"(mean, std) of {where}"
    mistakes = {
        "the two were exchanged; the mean comes first": truth.flip(0),
        "these are the numbers of its input, not of its output": _mean_and_std(entered),
        "its variance was divided by n - 1; use correction=0": _mean_and_std(out, correction=1),
        "this is the variance; take its root": torch.stack([out.mean(), out.var(correction=0)]),
        "take all values at once, not each unit's deviation": torch.stack(
            [out.mean(), out.std(0, correction=0).mean()]
        ),
        "the layer after it works in place and has since changed this output; take the numbers in the hook": (
            _mean_and_std(late)
        ),
        "these are evaluation mode's numbers, but the layer is in training mode": _mean_and_std(modes[0]),
        "these are training mode's numbers, but the layer is in evaluation mode": _mean_and_std(modes[1]),
    }
    if not any(torch.allclose(got, slip.double(), rtol=1e-4) for slip in mistakes.values()):
        for name, of, right in zip(("mean", "std"), got.tolist(), truth.tolist(), strict=True):
            expect_close(of, right, f"the {name} of {where}, in {out.dtype},")
    expect_close(got, truth.double(), what, mistakes)
    exact = out.dtype == torch.float32 or torch.allclose(got, truth, rtol=1e-9, atol=1e-9)
    expect(exact, f"{what} is right to a few digits only: compute in the net's own dtype, float64, unrounded.")


def _mean_and_std(x: Tensor, correction: int = 0) -> Tensor:
    return torch.stack([x.mean(), x.std(correction=correction)])


@exercise
def check_calibrate(calibrate: Callable[[nn.Sequential, Tensor], object]) -> str:
    """Test `calibrate(net, X)`: each unit of each linear layer then has mean 0 and deviation 1 over the batch."""
    for what, net, X in calibration_nets(torch.Generator().manual_seed(2)):
        start, layers, parameters = copy.deepcopy(net), [*net], [*net.parameters()]
        with untouched(**{what: net, f"X for {what}": X}):
            expect(
                calibrate(net, X) is None, "it must return nothing: the net that was passed is to be changed in place."
            )
            expect_same_parts(net, layers, parameters, start)
            done = copy.deepcopy(net)
            put_back(net, start)  # all but the weights and biases of linear layers must be as it was
        hint = HINTS.get(what, "Was it measured on what the layers before it, each as it is now, put out?")
        for i in (i for i, layer in enumerate(done) if isinstance(layer, nn.Linear)):
            where = f"layer {i} of {what}"
            w, w0 = (changed.get_parameter(f"{i}.weight") for changed in (done, start))
            with torch.no_grad():
                a, ratio = done[: i + 1](X.clone()), w / w0
                std = a.std(0, correction=0)
            frozen = f", though requires_grad of its weight is {w.requires_grad}" * (not w.requires_grad)
            far = f"it puts out a standard deviation of {std[(std - 1).abs().argmax()]:.3g}, which must be 1{frozen}"
            same = f"the weights of layer {i} of the net that was passed, {what}, are unchanged"
            expect(not torch.equal(w, w0), f"{same}; {far}. Change them in place.")
            expect_normalized(a.mean(0), std, a, where, hint if i else "")
            one = torch.allclose(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-3) and bool((ratio > 0).all())
            kept = "LSUV keeps the weights that were there, each unit's divided by one positive number"
            expect(one, f"{kept}; in {where} others were put in.")
    return "each unit of each linear layer has mean 0 and standard deviation 1, and can be trained."
