"""The comparison that every layer test uses: a layer of ours beside its torch.nn namesake."""

import copy
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn

HALF = torch.float16, torch.bfloat16
LARGEST_G = 3.0  # no gradient that `run` passes on is larger


def fill(module: nn.Module, seed: int = 0) -> None:
    """Give parameters and running statistics values that hide nothing (ones and zeros would)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, t in [*module.named_parameters(), *module.named_buffers()]:
            if t.is_floating_point():
                random = torch.randn(t.shape, generator=generator, dtype=torch.float64)
                t.copy_(random.abs() + 0.5 if name.endswith(("weight", "running_var")) else random)


def make_input(shape: Sequence[int], dtype: torch.dtype, layout: str = "contiguous", seed: int = 0) -> Tensor:
    """A leaf of the wanted layout, with neighbours at least 2 apart, and a scale for each channel.

    Signs alternate along every axis, so that no group of two values or more has a tiny variance, whose
    inverse would magnify rounding; `assert_as_accurate` is for such inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    X = 1 + torch.randn(tuple(shape), generator=generator, dtype=torch.float64).abs()
    for axis, size in enumerate(shape):
        sign = 1 - 2 * (torch.arange(size) % 2)
        X = X * sign.view([-1] + [1] * (len(shape) - axis - 1))
    if len(shape) > 1:
        scale = torch.linspace(0.5, 2, shape[1], dtype=torch.float64).view([1, -1] + [1] * (len(shape) - 2))
        X = X * scale + 2 * scale
    X = X.to(dtype)
    if layout == "channels_last":
        X = X.to(memory_format={4: torch.channels_last, 5: torch.channels_last_3d}[len(shape)])
    elif layout == "transposed":
        X = X.transpose(0, -1).contiguous().transpose(0, -1)
    elif layout == "sliced":
        X = torch.stack([X, X + 1], -1)[..., 0]
    return X.detach().requires_grad_()


def assert_same(
    actual: Tensor | None,
    expected: Tensor | None,
    what: str,
    dtype: torch.dtype | None = None,
    terms: float = 0.0,
) -> None:
    """Equal but for rounding in `dtype` (None: that of `expected`), the type of the layer's input.

    float32 and float64: sums of up to a few hundred terms, each of which rounds once; 100 machine epsilons
    of the largest value are ample. 16 bits: torch.nn rounds some intermediate results to 16 bits, as batch
    norm's mean and 1 / sigma: half an epsilon each, times |x| / sigma < 4 in our inputs, and once more for
    the result: 4 epsilons of the largest value, or of `terms`, the largest term of a sum that cancels. That
    leaves room for errors of ours, which `assert_accurate_16_bit` rules out.
    """
    if expected is None or actual is None:
        assert actual is expected, f"{what}: {actual} instead of {expected}"
        return
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype} instead of {expected.dtype}"
    assert actual.shape == expected.shape, f"{what}: {actual.shape} instead of {expected.shape}"
    if not expected.is_floating_point():
        assert torch.equal(actual, expected), f"{what}: {actual} instead of {expected}"
    elif expected.numel() > 0:
        dtype = dtype or expected.dtype
        roundings = 4 if dtype in HALF else 100
        atol = roundings * torch.finfo(dtype).eps * max(1.0, terms, expected.detach().abs().max().item())
        _assert_close(actual, expected, 0.0, atol, what)


def _assert_close(actual: Tensor, expected: Tensor, rtol: float, atol: float, what: str) -> None:
    torch.testing.assert_close(actual.detach(), expected.detach(), rtol=rtol, atol=atol, msg=lambda m: f"{what}: {m}")


def assert_accurate_16_bit(ours: nn.Module, X: Tensor) -> None:
    """Our results for a 16-bit X are those of float64, rounded once to 16 bits; `ours` is left as it was.

    Half an epsilon, relatively, for that rounding; 100 float32 epsilons of the largest value for the rest.
    """
    ours, exact = copy.deepcopy(ours), copy.deepcopy(ours).double()
    for mode in ("evaluation", "training"):  # the first of them changes no statistic
        for layer in (ours, exact):
            layer.train(mode == "training")
        (Y, grads), (Y64, grads64) = run(ours, X), run(exact, X.detach().double(), g_type=X.dtype)
        results = [Y, *grads, *ours.buffers()]
        truths = [Y64, *grads64, *exact.buffers()]
        for k, (a, e) in enumerate(zip(results, truths, strict=True)):
            if a is not None and a.is_floating_point():
                half_step = torch.finfo(a.dtype).eps / 2
                atol = 100 * torch.finfo(torch.float32).eps * max(1.0, e.detach().abs().max().item())
                _assert_close(a.double(), e, half_step, atol, f"{mode}: result {k} in 16 bits")


def assert_same_layout(actual: Tensor, expected: Tensor, what: str) -> None:
    assert actual.is_contiguous() == expected.is_contiguous(), f"{what}: contiguous or not"
    if expected.dim() in (4, 5):
        last = torch.channels_last if expected.dim() == 4 else torch.channels_last_3d
        same = actual.is_contiguous(memory_format=last) == expected.is_contiguous(memory_format=last)
        assert same, f"{what}: channels last or not"


def run(module: nn.Module, X: Tensor, g_type: torch.dtype | None = None) -> tuple[Tensor, list[Tensor | None]]:
    """The output, and the gradients of the input and all parameters for a random gradient of the output."""
    X = X.detach().requires_grad_()  # keeps the layout
    module.zero_grad()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")  # torch's RMSNorm
        Y = module(X)
    g = torch.randn(Y.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    g = g.clamp(-LARGEST_G, LARGEST_G)
    Y.backward(g.to(g_type or Y.dtype).to(Y.dtype))
    return Y, [X.grad, *(p.grad for p in module.parameters())]


def assert_step(ours: nn.Module, theirs: nn.Module, X: Tensor, what: str) -> None:
    """Output, its layout, all gradients and all buffers agree for one input."""
    before = X.detach().clone()
    (actual, actual_grads), (expected, expected_grads) = run(ours, X), run(theirs, X)
    assert torch.equal(X.detach(), before), f"{what}: the input was changed"
    assert_same(actual, expected, f"{what}: output", X.dtype)
    assert_same_layout(actual, expected, f"{what}: output")
    names = ["input", *(name for name, _ in theirs.named_parameters())]
    assert len(actual_grads) == len(expected_grads), f"{what}: other parameters"
    for name, a, e in zip(names, actual_grads, expected_grads, strict=True):
        assert_same(a, e, f"{what}: gradient of {name}", X.dtype, terms=LARGEST_G if X.dtype in HALF else 0.0)
    buffers = dict(ours.named_buffers())
    for name, e in theirs.named_buffers():
        assert_same(buffers[name], e, f"{what}: buffer {name}", X.dtype)
        assert not buffers[name].requires_grad, f"{what}: buffer {name} holds on to the graph"


def assert_drop_in(ours: nn.Module, theirs: nn.Module, inputs: Sequence[Tensor]) -> None:
    """New `ours` cannot be told from new `theirs`: at the start, in training, evaluation, saving, loading, copying."""
    dtype = inputs[0].dtype
    assert str(ours) == str(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict()), "other state_dict keys"
    for key, value in theirs.state_dict().items():  # before `fill` hides what a new layer starts with
        _assert_close(ours.state_dict()[key], value, 0.0, 0.0, f"{key} of a new layer")
    assert ours.training == theirs.training
    fill(theirs)
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    for name, p in theirs.named_parameters():
        assert ours.get_parameter(name).requires_grad == p.requires_grad
    if dtype in HALF:
        assert_accurate_16_bit(ours, inputs[0])
    for k, X in enumerate(inputs):
        assert_step(ours.train(), theirs.train(), X, f"training step {k}")
    mine = copy.deepcopy(ours)  # fails where a buffer holds on to the graph of the last step
    with torch.no_grad():  # training without gradients is still training
        assert_same(ours(inputs[0]), theirs(inputs[0]), "training under no_grad", dtype)
    assert_step(ours.eval(), theirs.eval(), inputs[0], "evaluation")
    saved = theirs.state_dict()
    assert list(ours.state_dict()) == list(saved), "other state_dict keys after training"
    for key, value in ours.state_dict().items():
        assert_same(value, saved[key], f"state {key}", dtype)
    # what ours saved, theirs loads, and the other way round; a copy is a layer of its own
    other = copy.deepcopy(theirs)
    fill(other, seed=1)
    other.load_state_dict(ours.state_dict())
    assert_same(ours(inputs[-1]), other(inputs[-1]), "their layer with our state", dtype)
    fill(mine.eval(), seed=2)
    mine.load_state_dict(saved)
    assert_same(mine(inputs[-1]), theirs(inputs[-1]), "our layer with their state", dtype)


def assert_as_accurate(ours: nn.Module, theirs: nn.Module, X: Tensor) -> None:
    """Output and gradients are as near to float64's as theirs are, up to a factor of 2 and some rounding."""
    exact = copy.deepcopy(theirs).double()
    (actual, actual_grads), (expected, expected_grads) = run(ours, X), run(theirs, X)
    truth, truth_grads = run(exact, X.detach().double())
    for name, a, e, t in zip(
        ["output", "input", *(n for n, _ in theirs.named_parameters())],
        [actual, *actual_grads],
        [expected, *expected_grads],
        [truth, *truth_grads],
        strict=True,
    ):
        ours_off, theirs_off = ((v.double() - t).abs().max().item() for v in (a, e))
        rounding = 20 * torch.finfo(torch.float32).eps * max(1.0, t.abs().max().item())
        assert ours_off <= 2 * theirs_off + rounding, f"{name}: off by {ours_off}, torch.nn by {theirs_off}"
