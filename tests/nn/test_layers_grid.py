"""Every layer beside its torch.nn namesake, over constructor arguments, shapes, types, modes and layouts."""

import itertools

import coverage
import pytest
import torch
from layer_oracle import assert_drop_in, make_input
from torch import nn

import d2lnorm

# (type of the input, type of the parameters): all pairs that torch.nn takes on the CPU
TYPES = [
    (torch.float64, torch.float64),
    (torch.float32, torch.float32),
    (torch.bfloat16, torch.bfloat16),
    (torch.float16, torch.float16),
    (torch.bfloat16, torch.float32),
    (torch.float16, torch.float32),
]
AFFINE = [{}, {"bias": False}, {"affine": False}]
STATISTICS = [
    {},
    {"momentum": None},
    {"momentum": 1.0},
    {"momentum": 0.0},
    {"track_running_stats": False},
    {"momentum": 0.3, "eps": 2.0},  # eps comparable to the variance
]
BATCH = [a | s for a, s in itertools.product(AFFINE, STATISTICS)]
INSTANCE = [
    {"affine": True, "track_running_stats": True} | a | s
    for a, s in itertools.product(AFFINE, [s for s in STATISTICS if s != {"momentum": 1.0}])
] + [{}, {"eps": 2.0}]
GROUP = [a | e for a, e in itertools.product(AFFINE, [{}, {"eps": 2.0}, {"eps": 1e-3}])]
LAYER = [
    a | e
    for a, e in itertools.product(
        [{}, {"bias": False}, {"elementwise_affine": False}], [{}, {"eps": 2.0}, {"eps": 1e-3}]
    )
]
RMS = [a | e for a, e in itertools.product([{}, {"elementwise_affine": False}], [{}, {"eps": 2.0}, {"eps": 1e-3}])]
FLAT, IMAGE = ["contiguous", "transposed", "sliced"], ["contiguous", "channels_last", "transposed"]
# name, constructors' arguments, then (shape, first constructor arguments), layouts
GRID = [
    ("BatchNorm1d", BATCH, [((2, 3), (3,)), ((5, 4), (4,)), ((2, 3, 2), (3,)), ((1, 2, 5), (2,))], FLAT),
    ("BatchNorm2d", BATCH, [((2, 3, 1, 1), (3,)), ((4, 3, 5, 2), (3,)), ((1, 2, 2, 2), (2,))], IMAGE),
    ("BatchNorm3d", BATCH, [((2, 3, 2, 1, 3), (3,)), ((1, 2, 1, 2, 1), (2,))], IMAGE),
    ("SyncBatchNorm", BATCH, [((5, 4), (4,)), ((4, 3, 5, 2), (3,))], FLAT),  # without other processes
    ("InstanceNorm1d", INSTANCE, [((2, 3, 4), (3,)), ((1, 2, 2), (2,)), ((3, 5), (3,))], FLAT),
    ("InstanceNorm2d", INSTANCE, [((2, 3, 4, 2), (3,)), ((3, 1, 2), (3,))], FLAT),
    ("InstanceNorm2d", INSTANCE[:3], [((3, 2, 4, 3), (2,))], IMAGE),
    ("InstanceNorm3d", INSTANCE, [((2, 3, 1, 2, 2), (3,)), ((2, 1, 2, 3), (2,))], FLAT),
    ("GroupNorm", GROUP, [((3, 6), (2, 6)), ((2, 6, 5), (3, 6)), ((2, 4, 3), (4, 4))], FLAT),
    ("GroupNorm", GROUP, [((2, 6, 3, 2), (1, 6)), ((2, 6, 3, 2), (2, 6)), ((1, 4, 2, 2, 2), (2, 4))], IMAGE),
    ("LayerNorm", LAYER, [((10,), (10,)), ((2, 10), (10,)), ((3, 5, 4), (4,)), ((3, 5, 4), ([5, 4],))], FLAT),
    ("LayerNorm", LAYER, [((2, 3, 4, 2), ([3, 4, 2],)), ((2, 3, 4, 2), (2,))], IMAGE),
    ("RMSNorm", RMS, [((10,), (10,)), ((2, 10), (10,)), ((3, 5, 4), (4,)), ((3, 5, 4), ([5, 4],))], FLAT),
    ("RMSNorm", RMS, [((2, 3, 4, 2), ([3, 4, 2],)), ((2, 3, 4, 2), (2,))], IMAGE),
]
ROWS = [(name, k, shapes, layouts) for name, kwargs, shapes, layouts in GRID for k in kwargs]


@pytest.fixture(scope="module", autouse=True)
def untraced():
    """Coverage rests: these tests would take half as long again, and others reach the same lines."""
    resting = []
    while running := coverage.Coverage.current():  # with pytest-xdist there are two, one in the other
        running.stop()
        resting.append(running)
    yield
    for each in reversed(resting):
        each.start()


def points(shapes, layouts):
    """The cases of a row; a vector has one layout."""
    for (shape, args), types, layout in itertools.product(shapes, TYPES, layouts):
        if layout == "contiguous" or len(shape) > 1:
            yield shape, args, types, layout


def label(value):
    return "-".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None


@pytest.mark.parametrize(("name", "kwargs", "shapes", "layouts"), ROWS, ids=label)
def test_drop_in(name, kwargs, shapes, layouts):
    for shape, args, (dtype, parameters), layout in points(shapes, layouts):
        ours = getattr(d2lnorm, name)(*args, **kwargs, dtype=parameters)
        theirs = getattr(nn, name)(*args, **kwargs, dtype=parameters)
        inputs = [make_input(shape, dtype, layout, seed) for seed in range(3)]
        try:
            assert_drop_in(ours, theirs, inputs)
        except AssertionError as error:
            raise AssertionError(f"{name}{args} {kwargs} {shape} {dtype} {parameters} {layout}: {error}") from error


def test_grid_covers_every_drop_in(tell):
    names = {name for name, *_ in GRID}
    assert names == {n for n in d2lnorm.__all__ if hasattr(nn, n)} - {"Dropout"}
    size = sum(1 for _, _, shapes, layouts in ROWS for _ in points(shapes, layouts))
    assert size > 5000
    tell(f"layers, grid: {size} cases, each trained for 3 steps and evaluated beside torch.nn")
