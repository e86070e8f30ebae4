"""What else one does with a layer: copy, pickle, save, compile or export it, call its function."""

import copy
import inspect
import io
import pickle
from shutil import which

import pytest
import torch
import torch.nn.functional as F
from layer_oracle import assert_drop_in, assert_same, assert_step, fill, make_input, run
from torch import nn

import d2lnorm


def error_of(function, *args):
    try:
        function(*args)
    except Exception as error:
        return error
    return None


DROP_INS = sorted(n for n in d2lnorm.__all__ if hasattr(nn, n))
EXAMPLES = {  # constructor arguments and the shape of an input
    "BatchNorm1d": ((3,), (4, 3, 5)),
    "BatchNorm2d": ((3,), (4, 3, 5, 2)),
    "BatchNorm3d": ((3,), (4, 3, 2, 2, 2)),
    "Dropout": ((0.5,), (4, 3)),
    "GroupNorm": ((2, 6), (2, 6, 4)),
    "InstanceNorm1d": ((3, 1e-5, 0.1, True, True), (4, 3, 5)),
    "InstanceNorm2d": ((3, 1e-5, 0.1, True, True), (4, 3, 5, 2)),
    "InstanceNorm3d": ((3, 1e-5, 0.1, True, True), (4, 3, 2, 2, 2)),
    "LayerNorm": (([5, 2],), (4, 3, 5, 2)),
    "RMSNorm": (([5, 2],), (4, 3, 5, 2)),
    "SyncBatchNorm": ((3,), (4, 3, 5)),
}


def make(name, library=d2lnorm, **kwargs):
    args, _ = EXAMPLES[name]
    layer = getattr(library, name)(*args, **kwargs)
    fill(layer)
    return layer


@pytest.mark.parametrize("name", DROP_INS)
def test_signatures(name):
    ours, theirs = (inspect.signature(getattr(m, name).__init__).parameters.values() for m in (d2lnorm, nn))
    assert [(p.name, p.default, p.kind) for p in ours] == [(p.name, p.default, p.kind) for p in theirs]
    forward, their_forward = (inspect.signature(getattr(m, name).forward) for m in (d2lnorm, nn))
    assert list(forward.parameters) == list(their_forward.parameters)


@pytest.mark.parametrize("name", ["layer_norm", "instance_norm", "group_norm", "rms_norm", "dropout"])
def test_functions_have_the_signatures_of_functional(name):
    ours, theirs = (inspect.signature(getattr(m, name)).parameters.values() for m in (d2lnorm, F))
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


def test_help_gives_the_arguments():
    for name in ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"):
        text = inspect.getdoc(getattr(d2lnorm, name))
        assert f"drop-in for `nn.{name}`.\n\nArgs:\n    num_features:" in text
        assert text.count("Args:") == 1


@pytest.mark.parametrize("name", DROP_INS)
def test_attributes_and_repr(name):
    ours, theirs = make(name), make(name, nn)
    assert repr(ours) == repr(theirs)
    public = {k for k in vars(theirs) if not k.startswith("_")}
    for key in public:
        assert getattr(ours, key) == getattr(theirs, key), key
    assert [k for k, _ in ours.named_parameters()] == [k for k, _ in theirs.named_parameters()]
    assert [k for k, _ in ours.named_buffers()] == [k for k, _ in theirs.named_buffers()]
    assert ours.state_dict()._metadata == theirs.state_dict()._metadata
    for reset in ("reset_parameters", "reset_running_stats"):
        assert hasattr(ours, reset) == hasattr(theirs, reset)
        if hasattr(ours, reset):
            getattr(ours, reset)(), getattr(theirs, reset)()
            for a, e in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
                assert torch.equal(a, e)


@pytest.mark.parametrize("name", DROP_INS)
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_after_a_training_step(name, duplicate):
    layer = make(name)
    X = make_input(EXAMPLES[name][1], torch.float32)
    layer(X).sum().backward()
    other = duplicate(layer)
    before = {k: v.clone() for k, v in layer.state_dict().items()}
    assert_same(other.eval()(X), copy.copy(layer).eval()(X), "the copy")
    other.train()(X + 1)
    for key, value in layer.state_dict().items():
        assert torch.equal(value, before[key]), "the copy shares its state"


@pytest.mark.parametrize("name", DROP_INS)
def test_saved_files_load_into_the_namesake(name):
    for source, target in ((nn, d2lnorm), (d2lnorm, nn)):
        layer = make(name, source)
        X = make_input(EXAMPLES[name][1], torch.float32)
        layer(X)
        file = io.BytesIO()
        torch.save(layer.state_dict(), file)
        file.seek(0)
        other = getattr(target, name)(*EXAMPLES[name][0])
        other.load_state_dict(torch.load(file, weights_only=True))
        assert_same(other.eval()(X), layer.eval()(X), "the loaded layer")


def test_a_state_from_before_there_was_a_counter():
    old = {k: v for k, v in make("BatchNorm2d", nn).state_dict().items() if k != "num_batches_tracked"}
    for library in (nn, d2lnorm):
        layer = library.BatchNorm2d(3)
        layer.num_batches_tracked.fill_(7)
        layer.load_state_dict(old)  # no version: a file of torch before 0.4.1
        assert layer.num_batches_tracked == 7


def test_conversions_reach_parameters_and_buffers():
    layer = make("BatchNorm2d").double()
    assert {t.dtype for t in layer.state_dict().values()} == {torch.float64, torch.int64}
    meta = d2lnorm.BatchNorm2d(3, device="meta")
    assert all(t.is_meta for t in meta.state_dict().values())
    assert layer.to("meta").running_mean.is_meta


@pytest.mark.parametrize("track", [True, False])
def test_switching_track_running_stats_off_and_on(track):
    ours, theirs = (
        d2lnorm.BatchNorm2d(3, track_running_stats=track),
        nn.BatchNorm2d(3, track_running_stats=track),
    )
    X = make_input((4, 3, 5, 2), torch.float32)
    for switch in (True, False, True):
        for layer in (ours, theirs):
            layer.track_running_stats = switch
        assert_step(ours.train(), theirs.train(), X, "training")
        assert_step(ours.eval(), theirs.eval(), X, "evaluation")


def test_momentum_none_without_counter_and_statistics_set_to_none():
    X = make_input((4, 3, 5, 2), torch.float32)
    for attribute in ("num_batches_tracked", "running_mean"):
        for momentum in (None, 0.1):
            pair = [m.BatchNorm2d(3, momentum=momentum) for m in (d2lnorm, nn)]
            for layer in pair:
                setattr(layer, attribute, None)
                if attribute == "running_mean":
                    layer.running_var = None
            assert_step(*pair, X, f"{attribute} is None")


NEEDS_A_COMPILER = pytest.mark.skipif(which("c++") is None, reason="inductor needs a C++ compiler: install g++")


@pytest.mark.filterwarnings("ignore:.torch.jit.script")  # from inside of torch before 2.14
@pytest.mark.parametrize("mode", [pytest.param(True, marks=NEEDS_A_COMPILER), False])
def test_compile(mode):
    """A net of all layers, compiled as one graph, gives the output, gradients and buffers of torch.nn's."""
    names = ["BatchNorm2d", "GroupNorm", "InstanceNorm2d", "LayerNorm", "RMSNorm", "Dropout"]
    arguments = [(6,), (2, 6), (6, 1e-5, 0.1, True, True), (4,), (4,), (0.0,)]
    ours, theirs = (
        nn.Sequential(*(getattr(m, n)(*a) for n, a in zip(names, arguments, strict=True))) for m in (d2lnorm, nn)
    )
    fill(theirs.double())
    ours.double().load_state_dict(theirs.state_dict())
    backend = "inductor" if mode else "aot_eager"
    compiled = torch.compile(ours.train(mode), fullgraph=True, backend=backend)
    theirs.train(mode)
    X = make_input((3, 6, 5, 4), torch.float64)
    (Y, grads), (expected, expected_grads) = run(compiled, X), run(theirs, X)
    # The five layers pass on each other's rounding; float64 leaves room between that and any error
    for a, e in zip([Y, *grads], [expected, *expected_grads], strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)
    for a, e in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert_same(a, e, "buffer")


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name", DROP_INS)
def test_export(name, mode):
    layer = make(name).train(mode)
    X = make_input(EXAMPLES[name][1], torch.float32).detach()
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(copy.deepcopy(layer), (X,), dynamic_shapes=({0: batch},)).module()
    other = torch.cat([X, X + 1])
    torch.manual_seed(0)
    expected = layer(other)
    torch.manual_seed(0)
    assert_same(program(other), expected, "exported")
    for a, e in zip(program.state_dict().values(), layer.state_dict().values(), strict=True):
        assert_same(a, e, "state of the exported program")


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.torch.jit")  # torch wants other tools
@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("name", [n for n in DROP_INS if n != "Dropout"])
def test_traced_and_saved(name, mode):
    layer = make(name).train(mode)
    X, file = make_input(EXAMPLES[name][1], torch.float32).detach(), io.BytesIO()
    torch.jit.save(torch.jit.trace(copy.deepcopy(layer), X, check_trace=False), file)
    file.seek(0)
    loaded, state = torch.jit.load(file), copy.deepcopy(layer.state_dict())
    loaded.load_state_dict(state)
    assert_same(loaded(X + 1), layer(X + 1), "the loaded trace")
    for key, value in loaded.state_dict().items():
        if key != "num_batches_tracked":  # a trace of torch.nn's layer counts no batches either
            assert_same(value, layer.state_dict()[key], f"state {key} of the trace")


@pytest.mark.parametrize(("name", "args"), [("LayerNorm", (6,)), ("RMSNorm", (6,)), ("Dropout", (0.5,))])
def test_sequences_of_several_lengths(name, args):
    parts = [torch.randn(n, 6, generator=torch.Generator().manual_seed(n)) for n in (2, 3)]
    nested = torch.nested.nested_tensor(parts, layout=torch.jagged)
    ours, theirs = getattr(d2lnorm, name)(*args), getattr(nn, name)(*args)
    if name == "Dropout":
        X, Y = torch.cat(parts), ours(nested).values()
        assert torch.equal(Y[Y != 0], 2 * X[Y != 0])
        assert 0 < (Y == 0).sum() < Y.numel()
        ours.eval(), theirs.eval()
    leaves = [nested.detach().clone().requires_grad_() for _ in range(2)]
    results = [layer(leaf) for layer, leaf in zip((ours, theirs), leaves, strict=True)]
    for Y in results:
        Y.values().sin().sum().backward()
    torch.testing.assert_close(*(Y.values() for Y in results))
    torch.testing.assert_close(*(leaf.grad.values() for leaf in leaves))


def test_the_older_nested_layout_is_refused_in_words():
    with pytest.warns(UserWarning, match="nested"):
        nested = torch.nested.nested_tensor([torch.ones(2, 6), torch.ones(3, 6)])
    for layer in (d2lnorm.LayerNorm(6), d2lnorm.RMSNorm(6), d2lnorm.Dropout()):
        with pytest.raises(TypeError, match="layout=torch.jagged"):
            layer(nested)


def test_compiled_cumulative_average_counts():
    ours, theirs = (m.BatchNorm1d(3, momentum=None) for m in (d2lnorm, nn))
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    for seed in range(3):
        X = make_input((4, 3), torch.float32, seed=seed)
        assert_same(compiled(X), theirs(X), "output")
    assert_same(ours.running_var, theirs.running_var, "running_var")


EMPTY = {
    "BatchNorm1d": [(0, 3), (2, 3, 0)],
    "BatchNorm2d": [(0, 3, 2, 2), (2, 3, 0, 2)],
    "BatchNorm3d": [(0, 3, 2, 2, 2)],
    "InstanceNorm1d": [(2, 3, 0)],
    "InstanceNorm2d": [(2, 3, 0, 2)],
    "InstanceNorm3d": [(2, 3, 0, 2, 2)],
    "GroupNorm": [(0, 6, 4)],
    "LayerNorm": [(0, 3, 5, 2)],
    "RMSNorm": [(0, 3, 5, 2)],
    "SyncBatchNorm": [(0, 3, 2)],
}


@pytest.mark.parametrize("name", EMPTY)
def test_inputs_without_elements(name):
    for shape in EMPTY[name]:
        for library in (nn, d2lnorm):
            assert make(name, library)(torch.ones(shape)).shape == shape
        assert_drop_in(make(name), make(name, nn), [torch.ones(shape) for _ in range(2)])


@pytest.mark.parametrize("library", [F, d2lnorm])
def test_functions(library):
    X = make_input((3, 4, 5), torch.float64)
    g = torch.Generator().manual_seed(0)
    w, b, m, v = (torch.rand(4, generator=g, dtype=torch.float64) + 0.5 for _ in range(4))
    W = torch.rand(5, generator=g, dtype=torch.float64)
    mean, var = X.mean(2, keepdim=True), X.var(2, correction=0, keepdim=True)
    expected = (X - mean) / torch.sqrt(var + 0.1)
    affine = expected * w.view(1, 4, 1) + b.view(1, 4, 1)
    close = torch.testing.assert_close
    close(library.layer_norm(X, [5], eps=0.1), expected)
    close(library.layer_norm(X, [5], None, W, 0.1), expected + W)
    close(library.instance_norm(X, None, None, w, b, eps=0.1), affine)
    close(library.group_norm(X, 4, w, b, 0.1), affine)
    close(library.group_norm(X, 4, None, b, 0.1), expected + b.view(1, 4, 1))
    close(library.rms_norm(X, [5], W, 0.1), X / torch.sqrt(X.square().mean(2, keepdim=True) + 0.1) * W)
    running_mean, running_var = m.clone(), v.clone()
    library.instance_norm(X, running_mean, running_var, momentum=0.3)
    close(running_mean, 0.7 * m + 0.3 * X.mean(2).mean(0).detach())
    close(running_var, 0.7 * v + 0.3 * X.var(2, correction=1).mean(0).detach())
    given = library.instance_norm(X, m, v, w, b, use_input_stats=False, eps=0.1)
    m, v, w, b = (t.view(1, 4, 1) for t in (m, v, w, b))
    close(given, (X - m) / torch.sqrt(v + 0.1) * w + b)


# Dropout


@pytest.mark.parametrize("p", [0, 0.0, 0.3, 0.5, 0.9, 1, 1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.complex64])
@pytest.mark.parametrize("inplace", [False, True])
def test_dropout_draws_what_torch_draws(p, dtype, inplace):
    if dtype.is_complex and isinstance(error_of(nn.Dropout(), torch.ones(1, dtype=dtype)), NotImplementedError):
        pytest.skip("this torch's own dropout takes no complex numbers: since 2.15 it does")
    results = []
    for library in (nn, d2lnorm):
        torch.manual_seed(3)
        leaf = torch.randn(40, 5).to(dtype).requires_grad_()
        X = leaf.clone()
        layer = library.Dropout(p, inplace)
        Y = layer(X)
        Y.backward(torch.ones_like(Y))
        results.append((Y, leaf.grad, Y is X, layer.eval()(X) is X))
    (expected, grad, same, off), (actual, our_grad, our_same, our_off) = results
    assert torch.equal(actual, expected)
    assert torch.equal(our_grad, grad)
    assert (our_same, our_off) == (same, off)


def test_dropout_keeps_the_layout_and_spoils_nothing_in_place():
    X = make_input((2, 3, 4, 5), torch.float32, "channels_last")
    assert d2lnorm.Dropout()(X).is_contiguous(memory_format=torch.channels_last)
    for library in (nn, d2lnorm):
        with pytest.raises(RuntimeError, match="leaf"):
            library.Dropout(inplace=True)(X)
    infinite = torch.tensor([float("inf"), float("nan"), 1.0])
    assert d2lnorm.dropout(infinite, 1.0).isnan().tolist() == [True, True, False]


@pytest.mark.filterwarnings("ignore:.torch.jit.script")  # from inside of torch before 2.14
@pytest.mark.parametrize("backend", [pytest.param("inductor", marks=NEEDS_A_COMPILER), "aot_eager"])
def test_dropout_compiled(backend):
    """The compiler draws other numbers than torch does, for torch.nn too: but zeros and doubles all the same."""
    X = torch.arange(1.0, 1001).requires_grad_()
    compiled = torch.compile(d2lnorm.Dropout(0.5), fullgraph=True, backend=backend)
    torch.manual_seed(0)
    Y = compiled(X)
    kept = Y != 0
    assert 400 < kept.sum() < 600  # 500, with a standard deviation of 16
    assert torch.equal(Y[kept], 2 * X[kept])
    Y.sum().backward()
    assert torch.equal(X.grad, 2.0 * kept)
    assert not torch.equal(compiled(X) != 0, kept)


def test_dropout_keeps_the_mean():
    torch.manual_seed(0)
    X = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    mean = torch.stack([d2lnorm.dropout(X, 0.5) for _ in range(4000)]).mean(0)
    # the mean of 4000 draws of 0 or 2x has a standard deviation of x / sqrt(4000) = 0.016 x
    torch.testing.assert_close(mean, X, rtol=0.07, atol=0)
