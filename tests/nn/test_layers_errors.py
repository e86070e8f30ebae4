"""Bad input: ours raises the type of exception that torch.nn raises, with a message that says something."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import d2lnorm

BATCH = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm"]
INSTANCE = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"]
GOOD = {  # constructor arguments and the shape of an input that fits
    "BatchNorm1d": ((3,), (2, 3)),
    "BatchNorm2d": ((3,), (2, 3, 4, 4)),
    "BatchNorm3d": ((3,), (2, 3, 2, 2, 2)),
    "InstanceNorm1d": ((3,), (2, 3, 4)),
    "InstanceNorm2d": ((3,), (2, 3, 4, 4)),
    "InstanceNorm3d": ((3,), (2, 3, 2, 2, 2)),
    "GroupNorm": ((3, 6), (2, 6, 4)),
    "LayerNorm": ((5,), (2, 4, 5)),
    "RMSNorm": ((5,), (2, 4, 5)),
    "Dropout": ((), (4,)),
    "SyncBatchNorm": ((3,), (2, 3, 4)),
}
SHAPES = [
    (),
    (3,),
    (6,),
    (2, 3),
    (1, 3),
    (2, 4),
    (2, 3, 4),
    (2, 5, 4),
    (3, 1),
    (2, 3, 1),
    (1, 3, 1),
    (2, 3, 4, 5),
]
SHAPES += [
    (2, 5, 4, 5),
    (1, 3, 1, 1),
    (2, 3, 1, 1),
    (2, 3, 2, 2, 2),
    (2, 5, 2, 2, 2),
    (1, 3, 1, 1, 1),
    (0, 3),
]
SHAPES += [
    (0, 3, 4),
    (2, 3, 0),
    (0, 3, 4, 4),
    (2, 0, 4, 4),
    (2, 3, 0, 4),
    (0, 0, 0, 0),
    (2, 0),
    (2, 0, 4),
    (1, 0),
]
SHAPES += [
    (2, 6),
    (1, 6),
    (1, 6, 1),
    (2, 6, 0),
    (0, 6, 4),
    (2, 12),
    (2, 4, 0),
    (5,),
    (0, 5),
    (2, 3, 4, 4, 4, 4),
]
NAN = float("nan")


def outcome(result, library):
    """The type of the exception and its message, or the shape and type of what came out."""
    try:
        Y = result(library)
    except Exception as error:
        return type(error), str(error)
    return (tuple(Y.shape), Y.dtype), "no error"


def assert_same_outcome(name, args, kwargs, X, training=True):
    """The constructor and then the layer do the same in both libraries; X is None: the constructor alone."""

    def result(library):
        layer = getattr(library, name)(*args, **kwargs)
        return torch.zeros(0) if X is None else layer.train(training)(X)

    with warnings.catch_warnings():  # warnings are compared below
        warnings.simplefilter("ignore")
        (expected, their_message), (actual, our_message) = outcome(result, nn), outcome(result, d2lnorm)
    case = f"{name}{args} {kwargs} {getattr(X, 'shape', X)} {getattr(X, 'dtype', '')} training={training}"
    assert actual == expected, f"{case}: {our_message!r} instead of {their_message!r}"
    assert our_message, f"{case}: an error without a message"


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("training", [True, False])
def test_every_shape(name, training):
    args, _ = GOOD[name]
    # torch.nn's group norm refuses an input without channels or positions since 2.14
    lenient = name == "GroupNorm" and torch.__version__ < "2.14"
    shapes = [s for s in SHAPES if not (lenient and 0 in s[1:])]
    variants = [{}]
    if name in BATCH + INSTANCE:
        variants = [
            {"affine": a, "track_running_stats": t, "bias": b}
            for a in (True, False) for t in (True, False) for b in (True, False)
        ]  # fmt: skip
    elif name in ("LayerNorm", "RMSNorm"):
        variants = [{}, {"elementwise_affine": False}]
    elif name == "GroupNorm":
        variants = [{}, {"affine": False}]
        for groups in (1, 6):
            for shape in shapes:
                assert_same_outcome(name, (groups, 6), {}, torch.ones(shape), training)
    for kwargs in variants:
        for shape in shapes:
            assert_same_outcome(name, args, kwargs, torch.ones(shape), training)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("training", [True, False])
def test_every_type(name, training):
    args, shape = GOOD[name]
    types = [
        torch.float64,
        torch.float32,
        torch.bfloat16,
        torch.float16,
        torch.int64,
        torch.uint8,
        torch.bool,
    ]
    affine = "elementwise_affine" if name in ("LayerNorm", "RMSNorm") else "affine"
    for dtype in [*types, torch.complex64]:
        X = torch.ones(shape).to(dtype)
        if name == "Dropout" and dtype.is_complex and torch.__version__ < "2.15":
            continue  # torch.nn's takes complex numbers since then
        assert_same_outcome(name, args, {}, X, training)
        if name == "Dropout":
            continue
        for parameters in types[:4]:
            assert_same_outcome(name, args, {"dtype": parameters}, X, training)
            assert_same_outcome(name, args, {affine: False, "dtype": parameters}, X, training)
        if name in INSTANCE:
            assert_same_outcome(name, args, {"affine": True, "track_running_stats": True}, X, training)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("training", [True, False])
def test_no_tensor(name, training):
    args, _ = GOOD[name]
    for X in ([1.0, 2.0], 3.0, "a"):
        assert_same_outcome(name, args, {}, X, training)


ODD_NUMBERS = ["a", None, 1j, [0.1], True, np.float32(0.3), np.float64(0.3), np.int64(1), torch.tensor(0.3)]
ODD_NUMBERS += [torch.tensor([0.3, 0.3]), torch.tensor(0.3, requires_grad=True)]
BAD_EPS = [0, 0.0, -1e-5, -1.0, NAN, *ODD_NUMBERS]
BAD_ARGUMENTS = [
    *((n, (v,), {}) for n in BATCH + INSTANCE for v in (-1, 2.5, "a", None, [3], True)),
    *((n, (v,), {"affine": True}) for n in INSTANCE for v in (-1, 2.5, "a", None)),
    *((n, (v,), {"affine": False}) for n in BATCH for v in (-1, 2.5, "a", None)),
    *((n, (3,), {"eps": e}) for n in BATCH + INSTANCE for e in BAD_EPS),
    *((n, (3,), {"momentum": m, "track_running_stats": True}) for n in BATCH for m in ("a", -1.0, 2.0, True)),
    *(
        (n, (3,), {"momentum": m, "track_running_stats": t})
        for n in ("BatchNorm2d", "InstanceNorm2d")
        for m in ODD_NUMBERS
        for t in (True, False)
    ),
    *((n, (np.int64(3),), {}) for n in BATCH + INSTANCE),
    *(("GroupNorm", a, {}) for a in [(np.int64(2), 6), (2, np.int64(6)), (True, 6), (torch.tensor(2), 6)]),
    *(
        (n, (v,), {})
        for n in ("LayerNorm", "RMSNorm")
        for v in (np.int64(5), np.array([4, 5]), [np.int32(5)], [np.float32(5)], [torch.tensor(5)], [True], range(5, 6))
    ),
    *((n, (3,), {"dtype": torch.int64}) for n in BATCH),
    *((n, (3,), {"dtype": "a"}) for n in BATCH),
    *((n, (3,), {"device": "nowhere"}) for n in BATCH),
    *((n, (3, 1e-5, 0.1, True, True, None, None, False), {}) for n in BATCH + INSTANCE),  # bias is keyword-only
    *((n, (3,), {"surprise": 1}) for n in GOOD),
    *((n, (), {}) for n in GOOD),
    *(
        ("GroupNorm", a, {})
        for a in [
            (0, 6),
            (4, 6),
            (3, 0),
            (-3, 6),
            ("a", 6),
            (3, -6),
            (2.0, 6),
            (3, 6.0),
            (3, None),
            (3,),
            (6, 6),
        ]
    ),
    *(("GroupNorm", (3, 6), {"eps": e}) for e in BAD_EPS),
    *(
        (n, (v,), k)
        for n in ("LayerNorm", "RMSNorm")
        for v in [
            [],
            (),
            (4, 5),
            (3,),
            -1,
            2.5,
            "a",
            None,
            (0,),
            True,
            torch.Size([5]),
            torch.tensor(5),
            [5.0],
        ]
        for k in ({}, {"elementwise_affine": False})
    ),
    *((n, (5,), {"eps": e}) for n in ("LayerNorm", "RMSNorm") for e in BAD_EPS),
    ("RMSNorm", (5,), {"bias": False}),
    *(("Dropout", (p,), {}) for p in (-0.1, 1.1, 0, 1, 0.0, 1.0, True, "a", None, NAN, torch.tensor(0.5))),
]


@pytest.mark.parametrize("training", [True, False])
def test_every_constructor_argument(training):
    for name, args, kwargs in BAD_ARGUMENTS:
        assert_same_outcome(name, args, kwargs, None, training)
        assert_same_outcome(name, args, kwargs, torch.ones(GOOD[name][1]), training)


def test_a_wrong_number_of_channels_warns_without_parameters():
    for name in INSTANCE:
        X = torch.ones(2, 5, *GOOD[name][1][2:])
        for library in (nn, d2lnorm):
            layer = getattr(library, name)(3)
            with pytest.warns(UserWarning, match="num_features"):
                layer(X)


def test_state_dict_of_another_layer_is_refused_alike():
    pairs = [
        (lambda m: m.BatchNorm2d(3), nn.BatchNorm2d(4)),
        (lambda m: m.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)),
        (lambda m: m.BatchNorm2d(3, track_running_stats=False), nn.BatchNorm2d(3)),
        (lambda m: m.InstanceNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True)),
        (lambda m: m.LayerNorm(3), nn.LayerNorm(4)),
        (lambda m: m.GroupNorm(1, 3, bias=False), nn.GroupNorm(1, 3)),
    ]
    for make, other in pairs:
        for library in (nn, d2lnorm):
            layer = make(library)
            with pytest.raises(RuntimeError, match="Error"):
                layer.load_state_dict(other.state_dict())


def test_a_failed_step_leaves_the_layer_as_it_was():
    layer = d2lnorm.BatchNorm2d(3)
    with pytest.raises(ValueError, match="more than 1 value"):
        layer(torch.ones(1, 3, 1, 1))
    assert layer.num_batches_tracked == 0  # torch.nn has counted to 1 by then


X, V, W = torch.ones(2, 6, 4), torch.ones(6), torch.ones(4)
CALLS = [
    *(("layer_norm", (X, [4], w, b)) for w in (None, W, V, torch.ones(1, 4), W.double()) for b in (None, W, V)),
    *(("layer_norm", (X, shape)) for shape in ([], [6], [6, 4], [2, 6, 4], [1, 2, 6, 4], 4, ["a"], None)),
    *(("rms_norm", (X, [4], w)) for w in (None, W, V, torch.ones(1, 4), W.double())),
    *(("rms_norm", (X, shape)) for shape in ([], [6], [6, 4], [2, 6, 4], [1, 2, 6, 4], 4, ["a"], None)),
    *(("group_norm", (X, G, w, b)) for G in (1, 4, 6, 0, -3, 2.0, "a") for w in (None, V, W) for b in (None, V, W)),
    *(("instance_norm", (X, m, m, w, w)) for m in (None, V.clone(), W) for w in (None, V, W, V.double())),
    *(("instance_norm", (X, V.clone(), V.clone(), w, w, False)) for w in (None, V, W)),
    *(("instance_norm", (X, W, W, None, None, False)) for _ in range(1)),
    *(("instance_norm", (X, None, None, None, None, on)) for on in (True, False)),
    *(("instance_norm", (X, V.clone(), None, None, None, on)) for on in (True, False)),
    *(("instance_norm", (torch.ones(2, 6, 1), None, None, None, None, on)) for on in (True, False)),
    *(("dropout", (X, p, on)) for p in (-0.1, 1.1, NAN, "a", None) for on in (True, False)),
    *(("dropout", (x, 0.5, on)) for x in ([1.0], 1.0, None) for on in (True, False)),
]


def test_functions():
    for name, args in CALLS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected, actual = (
                outcome(lambda library, name=name, args=args: getattr(library, name)(*args), m) for m in (F, d2lnorm)
            )
        what = [getattr(a, "shape", a) for a in args]
        assert actual[0] == expected[0], f"{name}{what}: {actual[1]!r} instead of {expected[1]!r}"


def test_only_one_of_the_running_statistics():
    for missing in ("running_mean", "running_var"):
        for training in (True, False):
            for track in (True, False):

                def result(library, missing=missing, training=training, track=track):
                    layer = library.BatchNorm2d(3)
                    setattr(layer, missing, None)
                    layer.track_running_stats = track
                    return layer.train(training)(torch.randn(2, 3, 4, 4))

                expected, actual = outcome(result, nn), outcome(result, d2lnorm)
                assert actual[0] == expected[0], f"{missing} {training} {track}: {actual} instead of {expected}"


def test_states_from_old_versions():
    full = nn.InstanceNorm2d(3, track_running_stats=True).state_dict()
    old = {k: v for k, v in full.items() if k != "num_batches_tracked"}  # no version: before torch 0.4.0
    for library in (nn, d2lnorm):
        with pytest.raises(RuntimeError, match="Unexpected running stats.*track_running_stats=True"):
            library.InstanceNorm2d(3).load_state_dict(dict(old), strict=False)
        layer = library.BatchNorm2d(3, affine=False, device="meta")
        layer.load_state_dict(dict(old), assign=True)
        assert layer.num_batches_tracked.device.type == "cpu"
        layer(torch.ones(2, 3, 4, 4))
        assert layer.num_batches_tracked == 1
