"""The comparison of the grid rejects every known-wrong layer, and passes the same code without the slip."""

import itertools

import pytest
import torch
from layer_mutants import BATCH_SLIPS, OTHER_SLIPS, mutant
from layer_oracle import assert_as_accurate, assert_drop_in, fill, make_input
from torch import nn

CASES = {  # constructor arguments and input shapes, as in the grid
    "BatchNorm2d": [
        ((3,), k, shape)
        for k in ({}, {"momentum": None}, {"momentum": 0.3, "eps": 2.0}, {"affine": False}, {"bias": False})
        for shape in ((2, 3, 1, 1), (4, 3, 5, 2), (1, 3, 2, 2))
    ],
    "LayerNorm": [
        (args, k, shape)
        for k in ({}, {"eps": 2.0}, {"bias": False})
        for args, shape in (((10,), (2, 10)), (([5, 4],), (3, 5, 4)))
    ],
    "GroupNorm": [
        (args, k, shape)
        for k in ({}, {"eps": 2.0}, {"affine": False})
        for args, shape in (((2, 6), (3, 6)), ((3, 6), (2, 6, 5)))
    ],
    "RMSNorm": [
        (args, k, shape) for k in ({}, {"eps": 2.0}) for args, shape in (((10,), (2, 10)), (([5, 4],), (3, 5, 4)))
    ],
}
SLIPS = [("BatchNorm2d", slip) for slip in sorted(BATCH_SLIPS)]
SLIPS += [(name, slip) for name, slips in OTHER_SLIPS.items() for slip in slips]


def compare(name, slip):
    """The suite's own checks, for one class; they raise AssertionError, or what the class itself raises."""
    make, real = mutant(name, slip), getattr(nn, name)
    types = [torch.float64, torch.float32]
    if name in ("BatchNorm2d", "LayerNorm"):
        types += [torch.bfloat16]
    for (args, kwargs, shape), dtype in itertools.product(CASES[name], types):
        inputs = [make_input(shape, dtype, seed=seed) for seed in range(3)]
        assert_drop_in(make(*args, **kwargs, dtype=dtype), real(*args, **kwargs, dtype=dtype), inputs)
    (args, kwargs, shape), *_ = CASES[name]
    theirs = real(*args, **kwargs)
    fill(theirs)
    ours = make(*args, **kwargs)
    ours.load_state_dict(theirs.state_dict())
    far = 1e4 + torch.randn((16, *shape[1:]), generator=torch.Generator().manual_seed(0))
    if name == "BatchNorm2d":
        assert_as_accurate(ours, theirs, far)


@pytest.mark.parametrize("name", CASES)
def test_the_textbook_passes(name):
    compare(name, None)


REJECTED = []


@pytest.mark.parametrize(("name", "slip"), SLIPS)
def test_the_slip_is_rejected(name, slip):
    with pytest.raises((AssertionError, RuntimeError, KeyError, AttributeError)) as rejection:
        compare(name, slip)
    REJECTED.append((name, slip, str(rejection.value).splitlines()[0]))


def test_every_mutant_was_rejected(capsys):
    if len(REJECTED) != len(SLIPS):  # only a part of this file was selected
        for name, slip in SLIPS:
            if (name, slip) not in [r[:2] for r in REJECTED]:
                test_the_slip_is_rejected(name, slip)
    assert {r[:2] for r in REJECTED} == set(SLIPS)
    with capsys.disabled():
        print(f"\n[layers] mutants: {len(SLIPS)} tried, {len({r[:2] for r in REJECTED})} rejected")
