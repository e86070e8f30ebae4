"""Answers to the exercises of the appendix."""

import math
from decimal import Decimal

import torch

from d2lnorm.course.exercises.errata_of_the_notes import check_agrees, check_unsaved
from exercise_answers import Answers


def agrees(printed, computed):
    unit = Decimal(1).scaleb(Decimal(printed).as_tuple().exponent)
    return abs(Decimal(computed) - Decimal(printed)) <= unit / 2


def agrees_by_text(printed, computed):
    digits, _, power = printed.partition("e")
    unit = 10.0 ** (int(power or 0) - len(digits.partition(".")[2]))
    return abs(computed - float(printed)) <= unit / 2


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


ANSWERS = {
    check_agrees: Answers(
        right=[agrees, agrees_by_text],
        wrong={
            "a whole unit": (agrees_within_a_unit, "half a unit of the last printed digit"),
            "digits cut off": (agrees_cut_off, "agrees('0.814', 0.81368) must be True"),
            "three decimals always": (agrees_three_decimals, "how many digits are printed"),
            "zeros at the end": (agrees_without_trailing_zeros, "zeros at the end are printed digits"),
            "powers of ten": (agrees_without_powers, "the last digit stands for 0.000001"),
            "signs": (agrees_without_sign, "the signs differ"),
            "a number": (lambda printed, computed: 1, "must be True or False"),
        },
    ),
    check_unsaved: Answers(
        right=[unsaved, unsaved_by_sets],
        wrong={
            "plain attributes only": (unsaved_plain_only, "persistent=False is not saved"),
            "buffers only": (unsaved_buffers_only, "Plain attributes stand in vars(module)"),
            "the top level only": (unsaved_top_level, "for a net of layers the list lacks"),
            "everything": (unsaved_everything, "What the state_dict holds is saved"),
            "short names": (unsaved_short_names, "for a net of layers the list lacks 1.moving_mean"),
            "tensors": (unsaved_tensors, "names are asked for"),
            "not sorted": (lambda net: unsaved(net)[::-1], "must be sorted"),
            "the net changed": (unsaved_registers, "the net was changed"),
            "a set": (lambda net: set(unsaved(net)), "must be a list"),
        },
    ),
}
