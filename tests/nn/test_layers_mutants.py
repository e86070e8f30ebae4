"""The comparison of the grid rejects every known-wrong layer, and passes the same code without the slip."""

import itertools
from unittest import mock

import pytest
import test_fold
import test_layers_tools
import test_running_statistics
import torch
from layer_mutants import BATCH_SLIPS, OTHER_SLIPS, TOOL_SLIPS, folded, mutant, recomputed
from layer_oracle import assert_as_accurate, assert_drop_in, fill, make_input
from torch import nn

import d2lnorm

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
    "LayerNorm by hand": [
        (args, k, shape) for k in ({}, {"eps": 2.0}) for args, shape in (((10,), (2, 10)), (([5, 4],), (3, 5, 4)))
    ],
    "InstanceNorm2d": [
        ((3, 1e-5, momentum, True, True), k, shape)
        for momentum in (0.1, None)
        for k in ({}, {"bias": False})
        for shape in ((2, 3, 4, 2), (1, 3, 2, 2))
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
SLIPS += [(name, slip) for name, slips in (OTHER_SLIPS | TOOL_SLIPS).items() for slip in slips]


def compare(name, slip):
    """The suite's own checks, for one class or function; they raise AssertionError."""
    if name == "fold_batch_norm":
        with mock.patch.object(test_fold, name, folded(slip)):
            return test_fold.test_equals_the_pair("conv2d", bias=True)
    if name == "recompute_running_statistics":
        with mock.patch.object(test_running_statistics, name, recomputed(slip)):
            return test_running_statistics.test_the_plain_average(d2lnorm.BatchNorm2d(3), spoiled=False)
    if name == "Dropout":
        with mock.patch.object(d2lnorm, name, mutant(name, slip)):
            return test_layers_tools.test_dropout_draws_what_torch_draws(0.3, torch.float32, inplace=False)
    return compare_layers(name, slip)


def compare_layers(name, slip):
    make, real = mutant(name, slip), getattr(nn, name.split()[0])
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


@pytest.mark.parametrize("name", [*CASES, "Dropout", *TOOL_SLIPS])
def test_the_textbook_passes(name):
    compare(name, None)


REJECTED = []


@pytest.mark.parametrize(("name", "slip"), SLIPS)
def test_the_slip_is_rejected(name, slip):
    with pytest.raises(AssertionError) as rejection:  # any other exception would be a mutant that cannot run
        compare(name, slip)
    REJECTED.append((name, slip, str(rejection.value).splitlines()[0]))


def test_every_mutant_was_rejected(tell):
    if len(REJECTED) != len(SLIPS):  # only a part of this file was selected
        for name, slip in SLIPS:
            if (name, slip) not in [r[:2] for r in REJECTED]:
                test_the_slip_is_rejected(name, slip)
    assert {r[:2] for r in REJECTED} == set(SLIPS)
    tell(f"layers, mutants: {len(SLIPS)} tried, {len({r[:2] for r in REJECTED})} rejected")
