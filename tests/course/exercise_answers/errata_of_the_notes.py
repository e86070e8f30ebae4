"""Answers to the exercises of the appendix."""

import math
from decimal import ROUND_HALF_DOWN, ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from functools import partial

import numpy as np
import torch

from d2lnorm.course.exercises.errata_of_the_notes import check_agrees, check_unsaved
from exercise_answers import Answers


def agrees(printed, computed):
    unit = Decimal(1).scaleb(Decimal(printed).as_tuple().exponent)
    return abs(Decimal(computed) - Decimal(printed)) <= unit / 2


def agrees_by_text(printed, computed):
    digits, _, power = printed.partition("e")
    unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return abs(computed - float(printed)) <= unit / 2 * (1 + 1e-9)


def agrees_within_a_unit(printed, computed):
    return abs(Decimal(computed) - Decimal(printed)) <= Decimal(1).scaleb(Decimal(printed).as_tuple().exponent)


def agrees_cut_off(printed, computed):
    scale = 10 ** -Decimal(printed).as_tuple().exponent
    return math.floor(abs(computed) * scale) == abs(int(Decimal(printed) * scale))


def agrees_three_decimals(printed, computed):
    return abs(float(printed) - computed) <= 0.0005


def agrees_without_trailing_zeros(printed, computed):
    return agrees(str(float(printed)) if "e" not in printed and "." in printed else printed, computed)


def agrees_without_powers(printed, computed):
    decimals = len(printed.partition(".")[2].partition("e")[0])
    return abs(computed - float(printed)) <= 0.5 * 10**-decimals


def agrees_without_sign(printed, computed):
    return agrees(printed.lstrip("-"), abs(computed))


def exponent(printed):
    return Decimal(printed).as_tuple().exponent


def agrees_fractions(printed, computed):
    return np.bool_(2 * abs(Fraction(printed) - Fraction(computed)) <= Fraction(10) ** exponent(printed))


def agrees_either_way(printed, computed):
    """Rounded up or down, one of the two is what was printed."""
    with localcontext() as context:
        context.prec = 100
        unit = Decimal(1).scaleb(exponent(printed))
        ways = {Decimal(computed).quantize(unit, way) for way in (ROUND_HALF_UP, ROUND_HALF_DOWN)}
        return Decimal(printed) in ways


def agrees_between(printed, computed):
    """Shortest text of the float; a 0-d tensor."""
    half = Decimal(5).scaleb(exponent(printed) - 1)
    return torch.tensor(Decimal(printed) - half <= Decimal(repr(computed)) <= Decimal(printed) + half)


class Agrees:
    def __call__(self, printed, computed):
        return not abs(float(printed) - computed) > 0.5 * 10.0 ** exponent(printed) + 1e-12


def away(printed, computed):
    """How many units the computed number lies above the printed one."""
    return (Fraction(computed) - Fraction(printed)) / Fraction(10) ** exponent(printed)


def agrees_quantized(printed, computed, way=None):
    return Decimal(computed).quantize(Decimal(1).scaleb(exponent(printed)), way) == Decimal(printed)


AGREES = {
    "rounded": (lambda p, x: round(x, -exponent(p)) == float(p), "half a unit away"),
    "to even": (agrees_quantized, "half a unit away"),
    "ties up": (partial(agrees_quantized, way=ROUND_HALF_UP), "half a unit away"),
    "ties down": (partial(agrees_quantized, way=ROUND_HALF_DOWN), "half a unit away"),
    "less than half": (lambda p, x: abs(away(p, x)) < Fraction(1, 2), "half a unit away"),
    "half open": (lambda p, x: -1 <= 2 * away(p, x) < 1, "half a unit away"),
    "open below": (lambda p, x: -1 < 2 * away(p, x) <= 1, "half a unit away"),
    "formatted": (lambda p, x: f"{x:.{max(0, -exponent(p))}f}" == p, "4e-07, is less than half a unit"),
    "no large units": (lambda p, x: 2 * abs(Fraction(x) - Fraction(p)) <= Fraction(10) ** min(0, exponent(p)), "100"),
    "np.isclose": (lambda p, x: bool(np.isclose(x, float(p), atol=0.5 * 10.0 ** exponent(p))), "no wider margin"),
    "relative": (lambda p, x: math.isclose(float(p), x, rel_tol=1e-3), "must be"),
    "float32": (lambda p, x: abs(float(np.float32(x)) - float(p)) <= 0.5 * 10.0 ** exponent(p) + 1e-12, "float32"),
    "floats": (lambda p, x: abs(float(p) - x) <= 0.5 * 10.0 ** exponent(p), "agrees('0.12', 0.125) must be True"),
    "a millionth more": (
        lambda p, x: abs(float(p) - x) <= 0.5 * 10.0 ** exponent(p) + 1e-6,
        "8e-07, is more than half a unit",
    ),
    "above only": (lambda p, x: 0 <= away(p, x) <= Fraction(1, 2), "0.00032, is less than half a unit"),
    "no absolute value": (
        lambda p, x: away(p, x) <= Fraction(1, 2),
        "0.8134) must be False, but is True: the difference, 0.0006",
    ),
    "a minus is a digit": (
        lambda p, x: abs(away(p, x)) <= Fraction(1, 2) * (10 if p[0] == "-" and "." in p else 1),
        "agrees('-1.4', -1.7) must be False, but is True: the difference, 0.3, is more than",
    ),
    "a hundredth more": (lambda p, x: abs(away(p, x)) <= Fraction(51, 100), "0.000509, is more than half a unit"),
    "relative to zero": (
        lambda p, x: float(p) != 0 and abs(away(p, x)) <= Fraction(1, 2),
        "agrees('0.000', 0.0004) must be True",
    ),
    "ones are exact": (lambda p, x: abs(away(p, x)) <= Fraction(1, 2) * ("." in p), "counts ones"),
    "None": (lambda p, x: abs(away(p, x)) <= Fraction(1, 2) or None, "True or False, but is None"),
    "text": (lambda p, x: "yes" if abs(away(p, x)) <= Fraction(1, 2) else "no", "but is 'yes'"),
}


def unsaved(net):
    held = [name for name, _ in net.named_buffers()]
    for path, module in net.named_modules():
        plain = [name for name, value in vars(module).items() if isinstance(value, torch.Tensor)]
        held += [f"{path}.{name}" if path else name for name in plain]
    return sorted(set(held) - set(net.state_dict()))


def unsaved_by_sets(net):
    saved, lost = set(net.state_dict()), set()
    for path, module in net.named_modules():
        for name in {*vars(module), *module._buffers}:
            whole = ".".join(filter(None, (path, name)))
            if isinstance(getattr(module, name), torch.Tensor) and whole not in saved:
                lost.add(whole)
    return sorted(lost)


def tensors_of(module):
    return [*vars(module).items(), *module.named_buffers(recurse=False)]


def unsaved_by_recursion(net, path="", saved=None):
    saved = net.state_dict() if saved is None else saved
    lost = [path + name for name, value in tensors_of(net) if torch.is_tensor(value) and path + name not in saved]
    for name, child in net.named_children():
        lost += unsaved_by_recursion(child, f"{path}{name}.", saved)
    return sorted(lost)


def unsaved_by_dir(net):
    names = set()
    for path, module in net.named_modules():
        found = [name for name in dir(module) if isinstance(getattr(module, name, None), torch.Tensor)]
        names.update(f"{path}.{name}".lstrip(".") for name in found)
    return sorted(names.difference(net.state_dict()))


def unsaved_by_private_set(net):
    names = []
    for path, module in net.named_modules():
        plain = {name for name, value in vars(module).items() if isinstance(value, torch.Tensor)}
        names += [".".join([path, name] if path else [name]) for name in plain | module._non_persistent_buffers_set]
    names.sort()
    return names


class Unsaved:
    """Modules on a stack."""

    def __call__(self, net):
        todo, held = [("", net)], []
        while todo:
            path, module = todo.pop()
            held += [path + name for name, value in tensors_of(module) if isinstance(value, torch.Tensor)]
            todo += [(f"{path}{name}.", child) for name, child in module.named_children()]
        return sorted({*held} - {*net.state_dict()})


def held(net, fits=lambda value: True, modules=lambda net: net.named_modules(), kinds=torch.Tensor, less=True):
    """The names of the attributes whose values fit."""
    names = {
        f"{path}.{name}" if path else name
        for path, module in modules(net)
        for name, value in tensors_of(module)
        if isinstance(value, kinds) and fits(value)
    }
    return sorted(names - set(net.state_dict()) if less else names)


COUNT = "lacks 'Count' (a plain attribute: the int64 tensor 0, without"
ITSELF, DEEP = "none of the 4 names of the net itself. It is []", "none of the 4 names of module '2.1.a'."
EXTRA = "lacks 'extra' (a plain attribute of the net itself: a tensor without"
SLIPS = {
    "floats only": ({"fits": lambda t: t.is_floating_point()}, "persistent=False, of type bool"),
    "no whole numbers": ({"fits": lambda t: t.dtype != torch.int64}, COUNT),
    "without gradient": ({"fits": lambda t: not t.requires_grad}, "it has two dimensions and requires a gradient"),
    "vectors": ({"fits": lambda t: t.dim() == 1}, COUNT),
    "with dimensions": ({"fits": lambda t: t.dim() > 0}, COUNT),
    "with numbers": ({"fits": lambda t: t.numel() > 0}, EXTRA),
    "no zeros": ({"fits": lambda t: bool(t.any())}, COUNT),
    "children": ({"modules": lambda net: net.named_children()}, ITSELF),
    "two levels": ({"modules": lambda net: [("", net), *net.named_children()]}, DEEP),
    "three levels": ({"modules": lambda net: [(p, m) for p, m in net.named_modules() if p.count(".") < 2]}, DEEP),
    "not the net itself": ({"modules": lambda net: [(p, m) for p, m in net.named_modules() if p]}, ITSELF),
    "leaves": ({"modules": lambda net: [(p, m) for p, m in net.named_modules() if not [*m.children()]]}, EXTRA),
    "own classes": (
        {"modules": lambda net: [(p, m) for p, m in net.named_modules() if "torch" not in type(m).__module__]},
        "'2.2.gamma' (a plain attribute that was set on an nn.BatchNorm1d",
    ),
    "numbers, too": ({"kinds": (torch.Tensor, float)}, "a number, no tensor"),
    "arrays, too": ({"kinds": (torch.Tensor, np.ndarray)}, "an array of NumPy"),
}


def unsaved_by_value(net):
    """A tensor whose values are saved elsewhere is not lost, it says."""
    saved = [*net.state_dict().values()]
    return held(net, lambda t: not any(t.shape == s.shape and torch.equal(t, s) for s in saved))


def unsaved_by_last_name(net):
    last = {name.split(".")[-1] for name in net.state_dict()}
    return [name for name in held(net, less=False) if name.split(".")[-1] not in last]


def unsaved_with_dots(net):
    names = {f"{path}.{name}" for path, m in net.named_modules() for name, t in tensors_of(m) if torch.is_tensor(t)}
    return sorted(names - set(net.state_dict()))


def unsaved_none(net):
    """Buffers that are None."""
    buffers = [f"{path}.{name}" if path else name for path, m in net.named_modules() for name in m._buffers]
    return sorted({*held(net), *buffers} - set(net.state_dict()))


def unsaved_gradients(net):
    return sorted([*held(net), *(f"{name}.grad" for name, p in net.named_parameters() if p.grad is not None)])


def unsaved_in_evaluation(net):
    return held(net.eval())


def by_numbers(name):
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]


def unsaved_plain_only(net):
    return [name for name in unsaved(net) if "scratch" not in name]


def unsaved_buffers_only(net):
    return sorted({name for name, _ in net.named_buffers()} - set(net.state_dict()))


def unsaved_top_level(net):
    return [name for name in unsaved(net) if "." not in name]


def unsaved_everything(net):
    return sorted({*unsaved(net), *net.state_dict()})


def unsaved_short_names(net):
    return sorted({name.split(".")[-1] for name in unsaved(net)})


def unsaved_tensors(net):
    return [torch.zeros(2) for _ in unsaved(net)]


def unsaved_registers(net):
    names = unsaved(net)
    for module in net.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor):
                delattr(module, name)
                module.register_buffer(name, value)
    return names


def unsaved_then(change):
    """Something done to each tensor that is a plain attribute, or to its module."""

    def answer(net):
        names = unsaved(net)
        for module in net.modules():
            for name, value in list(vars(module).items()):
                if isinstance(value, torch.Tensor):
                    change(module, name, value)
        return names

    return answer


def unsaved_by_kind(kind):
    """None among the parameters, or dicts, count."""

    def answer(net):
        names = {*unsaved(net)}
        for path, module in net.named_modules():
            if kind is None:
                found = [name for name, p in module._parameters.items() if p is None]
            else:
                found = [name for name, v in vars(module).items() if isinstance(v, kind) and name[0] != "_"]
            names |= {f"{path}.{name}".lstrip(".") for name in found}
        return sorted(names)

    return answer


ANSWERS = {
    check_agrees: Answers(
        right=[agrees, agrees_by_text, agrees_fractions, agrees_either_way, agrees_between, Agrees()],
        wrong={
            "a whole unit": (agrees_within_a_unit, "0.0006, is more than half a unit of the last digit, 0.0005"),
            "digits cut off": (agrees_cut_off, "0.00032, is less than half a unit of the last digit, 0.0005"),
            "three decimals always": (agrees_three_decimals, "how many digits are printed"),
            "zeros at the end": (agrees_without_trailing_zeros, "zeros at the end are printed digits"),
            "powers of ten": (agrees_without_powers, "8e-07, is more than half a unit of the last digit, 5e-07"),
            "signs": (agrees_without_sign, "the signs differ"),
            "a number": (lambda printed, computed: 1, "must be True or False"),
        }
        | AGREES,
    ),
    check_unsaved: Answers(
        right=[unsaved, unsaved_by_sets, unsaved_by_recursion, unsaved_by_dir, unsaved_by_private_set, Unsaved()],
        wrong={
            "plain attributes only": (unsaved_plain_only, "lacks 'scratch' (a buffer with persistent=False"),
            "buffers only": (unsaved_buffers_only, "lacks 'moving_mean' (a plain attribute). It"),
            "the top level only": (unsaved_top_level, "the list has none of the 4 names of module '1'."),
            "everything": (unsaved_everything, "the state_dict has it"),
            "short names": (unsaved_short_names, "none of the 4 names of module '1'. It is ['Count'"),
            "tensors": (unsaved_tensors, "names are asked for"),
            "not sorted": (lambda net: unsaved(net)[::-1], "in the order of"),
            "the net changed": (
                unsaved_registers,
                "`moving_mean` of the net itself was a plain attribute before the call; after it, it is a buffer",
            ),
            "a set": (lambda net: set(unsaved(net)), "must be a list"),
            "values saved elsewhere": (unsaved_by_value, "equal those of moving_var, which is another tensor"),
            "last names": (unsaved_by_last_name, "the state_dict has '1.gamma', but not this one"),
            "a dot first": (unsaved_with_dots, "none of the 4 names of the net itself. It is ['.Count'"),
            "None": (unsaved_none, "a buffer that is None"),
            "gradients": (unsaved_gradients, "a gradient is no attribute"),
            "in evaluation": (unsaved_in_evaluation, "the mode of net"),
            "10 after 2": (lambda net: sorted(unsaved(net), key=by_numbers), "in the order of"),
            "small and capital letters": (lambda net: sorted(unsaved(net), key=str.lower), "in the order of"),
            "twice": (lambda net: sorted(2 * unsaved(net)), "twice"),
            "all made persistent": (
                unsaved_then(lambda m, name, t: m._non_persistent_buffers_set.clear()),
                "the call changed the net: its state_dict now has ['scratch']",
            ),
            "detached": (
                unsaved_then(lambda m, name, t: setattr(m, name, t.detach())),
                "`moving_mean` of the net itself is another tensor",
            ),
            "gradients off": (
                unsaved_then(lambda m, name, t: t.requires_grad_(False)),
                "requires_grad of `_table` of the net itself is not as it was",
            ),
            "deleted": (unsaved_then(lambda m, name, t: delattr(m, name)), "after it, it is gone"),
            "no bias": (unsaved_by_kind(None), "'3.bias' (a parameter that is None, no tensor)"),
            "dicts": (unsaved_by_kind(dict), "'caches' (a dict, no tensor)"),
            "never empty": (lambda net: unsaved(net) or [""], "should not have ''"),
            "no _": (
                lambda net: [name for name in unsaved(net) if "_table" not in name],
                "lacks '_table' (a plain attribute: its name begins with _",
            ),
        }
        | {slip: (partial(held, **given), words) for slip, (given, words) in SLIPS.items()},
    ),
}
