"""What an answer leaves behind, and what it uses that it was asked not to use."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from d2lnorm.course.exercises.common.feedback import NotYet, described, expect

__all__ = ["forbidden", "kept", "untouched", "without_numpy"]

NOTHING = object()
CHANGES = "that changes later random numbers of the notebook"
HOOKS = "_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks"


@contextmanager
def kept(*, generator: bool = False, **things: Any) -> Iterator[None]:
    """Raise `NotYet` if, at the end, one of the named things is not as it was at the beginning.

    Looks at tensors (values, `.grad`, `requires_grad`), at nets (parameters, buffers, keys, the mode of each layer,
    hooks, plain attributes, and the attributes of its classes), and into lists, tuples and dicts. With `generator`, at
    torch's global generator, too.
    """
    before = {name: _parts(thing) for name, thing in things.items()}
    state = torch.get_rng_state()
    yield
    for name, thing in things.items():
        after = _parts(thing)
        for part in before[name] | after:
            what, old, new = part.format(name), before[name].get(part, NOTHING), after.get(part, NOTHING)
            if _same(old, new):
                continue
            was, now = _brief(old, new), _brief(new, old)
            expect(old is not NOTHING, f"{what} was not there before the call; after it, it is {now}.")
            expect(new is not NOTHING, f"{what} was {was} before the call; after it, it is gone.")
            raise NotYet(f"{what} is not as it was: before {was}, after {now}.")
    same = not generator or torch.equal(state, torch.get_rng_state())
    expect(same, f"the call seeded torch's global generator or drew from it: {CHANGES}.")


@contextmanager
def untouched(**things: Any) -> Iterator[None]:
    """Expect that the things, torch's generator, the gradients' mode and the default dtype are left as they are."""
    gradients, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    with kept(generator=True, **things):
        yield
    switched = "on" if torch.is_grad_enabled() else "off"
    same = gradients == torch.is_grad_enabled()
    expect(same, f"the call left gradients switched {switched}; `with torch.no_grad():` ends by itself.")
    now = torch.get_default_dtype()
    expect(dtype == now, f"the call left {now} as torch's default dtype, which was {dtype}.")


def _parts(thing: Any, path: str = "{}") -> dict[str, Any]:
    """Return all that can be changed in a thing, by a name in which {} stands for the thing's own."""
    if isinstance(thing, Tensor):
        grad = None if thing.grad is None else thing.grad.detach().clone()
        return {
            path: thing.detach().clone(),
            f"the gradient of {path}": grad,
            f"requires_grad of {path}": thing.requires_grad,
        }
    if isinstance(thing, nn.Module):
        parts: dict[str, Any] = {}
        for name, layer in thing.named_modules():
            of = f"layer {name!r} of {path}" if name else path
            parts[f"the mode of {of}"] = "training" if layer.training else "evaluation"
            parts[f"the class of {of}"] = type(layer).__name__
            parts |= {f"the number of hooks of {of}": sum(len(getattr(layer, hooks, ())) for hooks in HOOKS)}
            for key, value in vars(layer).items():
                if (
                    not key.startswith("_")
                    and key != "training"
                    and isinstance(value, str | int | float | tuple | None)
                ):
                    parts[f"`{key}` of {of}"] = value
            for key, value in vars(type(layer)).items():
                if not key.startswith("__"):
                    parts[f"`{key}` of the class {type(layer).__name__}, for all nets,"] = id(value)
        for name, tensor in (*thing.named_parameters(), *thing.named_buffers()):
            parts |= _parts(tensor, f"{name} of {path}")
        return parts
    if isinstance(thing, dict | list | tuple):
        items = thing.items() if isinstance(thing, dict) else enumerate(thing)
        parts = {f"the length of {path}": len(thing)}
        for key, value in items:
            parts |= _parts(value, f"{path}[{key!r}]")
        return parts
    return {path: thing}


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, Tensor) and isinstance(new, Tensor):
        alike = old.dtype == new.dtype and old.shape == new.shape
        return alike and torch.allclose(old, new, rtol=0, atol=0, equal_nan=True)
    return type(old) is type(new) and bool(old == new)


def _brief(value: Any, other: Any) -> str:
    """Say what a value is; of a tensor of the same type and shape as the other, the first number that differs."""
    if not (isinstance(value, Tensor) and isinstance(other, Tensor)):
        return described(value)
    if value.dtype != other.dtype or value.shape != other.shape or value.dim() == 0:
        return described(value)
    differ = (value != other) & ~(value.isnan() & other.isnan())
    index = [int(i) for i in differ.nonzero()[0]]
    numbers = value[tuple(index)].item(), other[tuple(index)].item()
    digits = next((d for d in range(6, 17) if len({f"{x:.{d}g}" for x in numbers}) > 1), 17)
    return f"{numbers[0]:.{digits}g} at index {index}"


class _Watch(TorchFunctionMode):
    def __init__(self, names: set[str]) -> None:
        super().__init__()
        self.names, self.seen = names, ""

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in self.names or "any" in self.names:
            self.seen = self.seen or name
        return func(*args, **(kwargs or {}))


@contextmanager
def forbidden(*names: str, asked: str) -> Iterator[None]:
    """Raise `NotYet` if a function of torch of one of these names is called: "layer_norm", "backward"; "any": any.

    A layer of `torch.nn` calls the function of its name: "batch_norm" finds `nn.BatchNorm2d`, too. `asked` is what the
    exercise says: "write it without F.batch_norm".
    """
    with _Watch(set(names)) as watch:
        yield
    expect(not watch.seen, f"it calls torch's `{watch.seen}`, but the exercise says: {asked}.")


@contextmanager
def without_numpy(asked: str) -> Iterator[None]:
    """Raise `NotYet` if a function of NumPy is called: np.array, np.mean."""
    owners, before = set(), sys.getprofile()

    def look(frame: FrameType, event: str, function: Any) -> None:
        owner = function.__module__ if event == "c_call" else frame.f_globals.get("__name__")
        owners.add(str(owner).partition(".")[0])

    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
    expect("numpy" not in owners, f"it calls NumPy, but the exercise says: {asked}.")
