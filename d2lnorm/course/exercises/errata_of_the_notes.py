"""Checks of the appendix's exercises: a printed number against a computed one, tensors that saving would lose."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import torch
from torch import nn

from d2lnorm.course.exercises.common.feedback import NotYet, described, exercise, expect
from d2lnorm.course.exercises.common.traces import kept

__all__ = ["check_agrees", "check_unsaved"]


@exercise
def check_agrees(agrees: Callable) -> str:
    """Check `agrees(printed, computed)` with one to four decimals, whole numbers, powers of ten, signs and ties."""
    tie = "exactly half a unit away still agrees, above and below"
    rounded = tie + "; in floats {1} - {0} is {2}, a little more"
    large = "in 1.2e+03 the last digit stands for 100"
    cases = {
        ("0.814", 0.81368): (True, ""),
        ("1.717", 1.7290): (False, ""),
        ("0.814", 0.8146): (False, ""),
        ("0.814", 0.8134): (False, ""),
        ("0.814", 0.814509): (False, ""),
        ("0.000", 0.0004): (True, ""),
        ("0.8", 0.814): (True, "how close is close enough depends on how many digits are printed"),
        ("0.8000", 0.8004): (False, "zeros at the end are printed digits, too: 0.8000 has four decimals"),
        ("12", 12.3): (True, "without a point, the last digit counts ones"),
        ("12", 12.6): (False, "without a point, the last digit counts ones"),
        ("120", 123.0): (False, "without a point, the last digit counts ones"),
        ("4.5e-05", 4.54e-05): (True, ""),
        ("4.5e-05", 4.58e-05): (False, ""),
        ("4.50e-05", 4.54e-05): (False, "in 4.50e-05 the last digit stands for 0.0000001"),
        ("1.2e+03", 1240.0): (True, large),
        ("1.2e+03", 1260.0): (False, large),
        ("-1.4", -1.4084): (True, ""),
        ("-1.4", -1.3584): (True, ""),
        ("-1.419", -1.4084): (False, ""),
        ("-1.4", -1.7): (False, ""),
        ("-1.4", 1.4): (False, "the signs differ"),
        # Ties that floats hold exactly, beside even and odd digits
        ("12", 12.5): (True, tie),
        ("13", 12.5): (True, tie),
        ("14", 13.5): (True, tie),
        ("13", 13.5): (True, tie),
        ("-2", -2.5): (True, tie),
        ("-3", -2.5): (True, tie),
        ("0.2", 0.25): (True, tie),
        ("0.3", 0.25): (True, tie),
        ("0.12", 0.125): (True, rounded),
        ("0.7", 0.75): (True, rounded),
        ("1234.5", 1234.56): (False, "the difference is more than 0.05; large numbers get no wider margin"),
        ("20241127", 20241127.0): (True, "they are equal (a float32 could not tell this number from its neighbours)"),
    }
    for (printed, computed), (right, hint) in cases.items():
        got = agrees(printed, computed)
        truth = str(getattr(got, "dtype", "")) in {"bool", "torch.bool"} and getattr(got, "ndim", 1) == 0
        expect(isinstance(got, bool) or truth, f"the answer must be True or False, but is {described(got)}.")
        words = f"agrees({printed!r}, {computed}) must be {right}, but is {bool(got)}"
        hint = hint.format(printed, computed, computed - float(printed))
        expect(bool(got) is right, f"{words}: {hint or _away(printed, computed)}.")
    return "any number of digits, zeros at the end, whole numbers, powers of ten, signs, ties."


def _away(printed: str, computed: float) -> str:
    """Say how far the computed number lies from the printed one, beside half a unit of the last digit."""
    away = abs(Decimal(repr(computed)) - Decimal(printed))
    half = Decimal(5).scaleb(int(Decimal(printed).as_tuple().exponent) - 1)
    than = "less" if away < half else "more"
    return f"the difference, {float(away):g}, is {than} than half a unit of the last digit, {float(half):g}"


# Why a name belongs into the list, in the order in which they are told, and why not
PLAIN = "a plain attribute"
LOST = {
    "moving_mean": f"{PLAIN}; its values equal those of moving_var, which is another tensor",
    "scratch": "a buffer with persistent=False, of type bool",
    "Count": f"{PLAIN}: the int64 tensor 0, without dimensions",
    "_table": f"{PLAIN}: its name begins with _, it has two dimensions and requires a gradient",
    "gamma": f"{PLAIN} that was set on an nn.BatchNorm1d; the state_dict has '1.gamma', but not this one",
    "extra": f"{PLAIN} of the net itself: a tensor without elements",
}
OTHERS = dict.fromkeys(("gamma", "moving_var", "weight", "bias"), "the state_dict has it") | {
    "momentum": "a number, no tensor",
    "history": "an array of NumPy, no tensor",
    "_flat_weights": "a list, no tensor",
    "caches": "a dict, no tensor",
    "grad": "a gradient is no attribute of a module",
}


class _Forgetful(nn.Module):
    """Holds a parameter, buffers, a buffer that is not saved, plain tensors, and what is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(2))
        self.register_buffer("moving_var", torch.ones(2))
        self.register_buffer("scratch", torch.ones(2).bool(), persistent=False)
        self.moving_mean, self.momentum, self.history = torch.ones(2), 0.9, np.zeros(2)  # moving_var has these values
        self.caches = {"X": torch.ones(2)}
        self.Count, self._table = torch.tensor(0), torch.zeros(2, 3, requires_grad=True)


@exercise
def check_unsaved(unsaved: Callable) -> str:
    """Check `unsaved(net)` on a layer alone, on nets with layers in layers, and on a net that loses nothing."""
    lost = ["Count", "_table", "moving_mean", "scratch"]
    _expect_names(unsaved, _Forgetful(), lost, "a layer alone")
    norm = nn.BatchNorm1d(2)
    norm.gamma = torch.zeros(2)
    inner = nn.Sequential(nn.ReLU(), nn.ModuleDict({"a": _Forgetful()}), norm)
    fillers = [nn.Identity() for _ in range(7)]  # so that names begin with 10
    net = nn.Sequential(nn.Linear(3, 2).requires_grad_(False), _Forgetful().eval(), inner, *fillers, _Forgetful())
    net.extra = torch.zeros(0)
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    names = [f"{path}.{name}" for path in ("1", "2.1.a", "10") for name in lost] + ["2.2.gamma", "extra"]
    _expect_names(unsaved, net, names, "a net of layers")
    without = nn.BatchNorm1d(2, track_running_stats=False)  # its running_mean is a buffer that is None
    _expect_names(
        unsaved,
        nn.Sequential(nn.BatchNorm1d(2), without, nn.LSTM(2, 2), nn.Linear(2, 2, bias=False)),
        [],
        "a net that loses nothing",
    )
    return "plain attributes and buffers that are not saved, in layers of layers, and nothing else."


def _expect_names(unsaved: Callable, net: nn.Module, expected: list[str], where: str) -> None:
    """Expect these names, in order, and the net as it was; say what is missing or too many, and what it is."""
    plain = [(path, m, dict(vars(m))) for path, m in net.named_modules()]
    tensors = {_quoted(path, key): t for path, _, own in plain for key, t in own.items() if isinstance(t, torch.Tensor)}
    saved = set(net.state_dict())
    with kept(net=net, generator=True, **tensors):
        got = unsaved(net)
        for path, module, own in plain:
            for key in (key for key, t in own.items() if isinstance(t, torch.Tensor)):
                now = "is a buffer or parameter" if hasattr(module, key) else "is gone"
                expect(key in vars(module), f"{_quoted(path, key)} was {PLAIN} before the call; after it, it {now}.")
                same = vars(module)[key] is own[key]
                expect(
                    same, f"{_quoted(path, key)} is another tensor than before the call: the net must stay as it is."
                )
    new = sorted(saved ^ set(net.state_dict()))
    expect(
        not new,
        f"the call changed the net: its state_dict {'now has' if set(new) - saved else 'no longer has'} {_few(new)}.",
    )
    expect(isinstance(got, list), f"for {where} the answer must be a list, but is {described(got)}.")
    texts = all(isinstance(name, str) for name in got)
    expect(texts, f"for {where} names are asked for, as texts, but the list holds {described(got[0]) if got else ''}.")
    for name in sorted(set(expected) - set(got), key=lambda name: ([*LOST].index(name.split(".")[-1]), name)):
        raise NotYet(f"for {where} the list {_lack(name, expected, got)}. It is {_few(got)}.")
    for name in sorted(set(got) - set(expected)):
        path, _, last = name.rpartition(".")
        why = OTHERS.get(last, "no attribute of this name is a tensor")
        owner: Any = dict(net.named_modules()).get(path)
        why = (
            f"a {'buffer' if last in owner._buffers else 'parameter'} that is None, no tensor"
            if getattr(owner, last or " ", why) is None
            else why
        )
        raise NotYet(f"for {where} the list should not have {name!r} ({why}). It is {_few(got)}.")
    expect(len(got) == len(expected), f"for {where} a name stands there twice: {_few(sorted(got))}.")
    expect(
        got == sorted(expected), f"for {where} the names must be in the order of Python's sorted(), not {_few(got)}."
    )


def _quoted(path: str, name: str) -> str:
    return f"`{name}` of {f'module {path!r}' if path else 'the net itself'}"


def _lack(name: str, expected: list[str], got: list[str]) -> str:
    """Say what the list lacks with a name: all names of its module, all plain attributes of it, or this one alone."""
    path, _, last = name.rpartition(".")
    others = {other for other in expected if other.rpartition(".")[0] == path} - {name}
    listed = {other.split(".")[-1] for other in others & set(got)}
    if others and not listed:
        return f"has none of the {len(others) + 1} names of {f'module {path!r}' if path else 'the net itself'}"
    alone = not others or listed - {"scratch"}
    return f"lacks {name!r} ({LOST[last] if alone or last == 'scratch' else PLAIN})"


def _few(names: list[str]) -> str:
    return f"{names}" if len(names) < 7 else f"[{', '.join(map(repr, names[:6]))}, ...]"
