"""Checks of the appendix's exercises: a printed number against a computed one, tensors that saving would lose."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.feedback import exercise, expect

__all__ = ["check_agrees", "check_unsaved"]


@exercise
def check_agrees(agrees: Callable) -> str:
    """Check `agrees(printed, computed)` with one to four decimals, whole numbers, powers of ten and signs."""
    cases = {
        ("0.814", 0.81368): (True, ""),
        ("1.717", 1.7290): (False, ""),
        ("0.814", 0.8146): (False, "the difference must not exceed half a unit of the last printed digit"),
        ("0.814", 0.8134): (False, "do not cut digits off: 0.8134 rounds to 0.813"),
        ("0.8", 0.814): (True, "how close is close enough depends on how many digits are printed"),
        ("0.8000", 0.8004): (False, "zeros at the end are printed digits, too: 0.8000 has four decimals"),
        ("12", 12.3): (True, "without a point, the last digit counts ones"),
        ("12", 12.6): (False, "without a point, the last digit counts ones"),
        ("4.5e-05", 4.54e-05): (True, "in 4.5e-05 the last digit stands for 0.000001"),
        ("4.5e-05", 4.58e-05): (False, "in 4.5e-05 the last digit stands for 0.000001"),
        ("-1.4", -1.4084): (True, "a sign changes nothing"),
        ("-1.419", -1.4084): (False, "a sign changes nothing"),
        ("-1.4", 1.4): (False, "the signs differ"),
    }
    for (printed, computed), (right, hint) in cases.items():
        got = agrees(printed, computed)
        expect(isinstance(got, bool), f"the answer must be True or False, but is a {type(got).__name__}.")
        words = f"agrees({printed!r}, {computed}) must be {right}, but is {got}"
        expect(got is right, f"{words}{': ' * bool(hint)}{hint}.")
    return "any number of digits, zeros at the end, whole numbers, powers of ten, signs."


class _Forgetful(nn.Module):
    """Holds a parameter, a buffer, a buffer that is not saved, a plain tensor, and what is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(2))
        self.register_buffer("moving_var", torch.ones(2))
        self.register_buffer("scratch", torch.ones(2), persistent=False)
        self.moving_mean, self.momentum, self.name = torch.zeros(2), 0.9, "norm"


@exercise
def check_unsaved(unsaved: Callable) -> str:
    """Check `unsaved(net)` on a layer alone, on nets with layers in layers, and on a net that loses nothing."""
    layer = _Forgetful()
    _expect_names(unsaved(layer), ["moving_mean", "scratch"], "a layer alone")
    net = nn.Sequential(nn.Linear(3, 2), _Forgetful(), nn.Sequential(nn.ReLU(), _Forgetful()))
    net.extra = torch.zeros(1)
    before = copy.deepcopy(net.state_dict())
    expected = [f"{path}.{name}" for path in ("1", "2.1") for name in ("moving_mean", "scratch")] + ["extra"]
    _expect_names(unsaved(net), expected, "a net of layers")
    after = net.state_dict()
    same = list(after) == list(before) and all(map(torch.equal, after.values(), before.values()))
    expect(same, "the net was changed; look at it, and leave it as it is.")
    _expect_names(unsaved(nn.Sequential(nn.BatchNorm1d(2), nn.LSTM(2, 2))), [], "a net that loses nothing")
    return "plain attributes and buffers that are not saved, in layers of layers, and nothing else."


def _expect_names(got: object, expected: list[str], where: str) -> None:
    """Expect these names, in order; say which are missing or too many."""
    expect(isinstance(got, list), f"for {where} the answer must be a list, but is a {type(got).__name__}.")
    assert isinstance(got, list)
    expect(not any(isinstance(name, Tensor) for name in got), "names are asked for, not the tensors.")
    missing, extra = sorted(set(expected) - set(got)), sorted(set(got) - set(expected))
    hint = ""
    if any(name.endswith("moving_mean") or name == "extra" for name in missing):
        hint = " Plain attributes stand in vars(module)."
    elif missing:
        hint = " A buffer with persistent=False is not saved."
    elif any(name.endswith(("gamma", "moving_var", "weight")) for name in extra):
        hint = " What the state_dict holds is saved."
    expect(not missing, f"for {where} the list lacks {', '.join(missing)}.{hint}")
    expect(not extra, f"for {where} the list should not have {', '.join(map(str, extra))}.{hint}")
    expect(got == sorted(expected), f"for {where} the names must be sorted, each once.")
