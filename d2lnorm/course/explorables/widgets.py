"""The explorables as Jupyter widgets: a class, with its state as typed traits, for each ES module beside this file."""

import random
from math import isfinite
from pathlib import Path
from typing import Any

import anywidget
from traitlets import Bool, Enum, Float, Int, List, TraitError, TraitType, default

__all__ = ["Depth", "Dropout", "Explorable", "OneBatch", "PushOneOutput", "RunningMean", "WhichValues", "source"]


def source(name: str) -> str:
    """Return the text of a file in this folder."""
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


class Numbers(List):
    """A trait that takes any sequence of finite numbers, a tensor or an array too, and keeps a list of floats."""

    def validate(self, obj: Any, value: Any) -> list[float]:
        try:
            numbers = [float(x) for x in (value.tolist() if hasattr(value, "tolist") else value)]
        except (TypeError, ValueError):
            raise TraitError(f"{self.name} should be a sequence of numbers, but is {value!r}") from None
        if odd := [x for x in numbers if not isfinite(x)]:
            raise TraitError(f"{self.name} should be finite numbers, but one is {odd[0]}")
        if not self._minlen <= len(numbers) <= self._maxlen:
            most = f"{self._minlen} to {self._maxlen}" if self._minlen < self._maxlen else self._minlen
            raise TraitError(f"{self.name} should be {most} numbers, but there are {len(numbers)}")
        return numbers


class Explorable(anywidget.AnyWidget):
    """A picture that answers the hand. Its traits are its state: set them, or read back what the hand did.

    Args:
        state: a value for each trait that is not to have its default.

    Raises:
        TypeError: there is no trait of this name.
        traitlets.TraitError: a value is not of its trait's type, such as text for a number.
    """

    names: list[str]  # of the traits that are the state

    def __init__(self, **state: Any) -> None:
        if unknown := [name for name in state if name not in self.names]:
            raise TypeError(f"{type(self).__name__} takes {', '.join(self.names)}, not {', '.join(unknown)}")
        super().__init__(**state)

    def state(self) -> dict[str, Any]:
        """Return the value of each trait."""
        return {name: getattr(self, name) for name in self.names}

    def __init_subclass__(cls, module: str = "", **options: Any) -> None:
        if module:  # add_traits makes subclasses, too
            cls._esm = source("shared.js") + source(f"{module}.js")
            cls._css = source("explorable.css")
            cls.names = [name for name, trait in vars(cls).items() if isinstance(trait, TraitType)]
        super().__init_subclass__(**options)


class OneBatch(Explorable, module="one_batch"):
    """One channel of a batch: which outputs of batch norm move with a value?"""

    values = Numbers(default_value=[1.0, 2.0, 4.0, 5.0, 8.0], maxlen=8).tag(sync=True)
    gamma = Float(1.0).tag(sync=True)
    beta = Float(0.0).tag(sync=True)
    eps = Enum([1e-5, 0.1, 1], 1e-5).tag(sync=True)
    training = Bool(True).tag(sync=True)
    running_mean = Float(3.0).tag(sync=True)
    running_var = Float(4.0).tag(sync=True)


class WhichValues(Explorable, module="which_values"):
    """A block (3, 4, 2, 2) of images: which cells share their statistics?"""

    norm = Enum(["BN", "LN", "GN", "IN", "RMS"], "BN").tag(sync=True)
    groups = Enum([1, 2, 4], 2).tag(sync=True)
    values = Numbers(minlen=48, maxlen=48).tag(sync=True)
    cell = Int(1).tag(sync=True)
    change = Float(0.0).tag(sync=True)

    @default("values")
    def _values(self) -> list[float]:
        draw = random.Random(0)
        return [round(draw.gauss(0, 1), 1) for _ in range(48)]


class RunningMean(Explorable, module="running_mean"):
    """A stream of batches: what does the running mean follow, and how late?"""

    momentum = Float(0.1, allow_none=True).tag(sync=True)
    batch_size = Int(8).tag(sync=True)
    drift = Float(0.03).tag(sync=True)
    steps = Int(40).tag(sync=True)
    seed = Int(0).tag(sync=True)


class Depth(Explorable, module="depth"):
    """A deep net: how large are values and gradients, layer by layer?"""

    depth = Int(20).tag(sync=True)
    gain = Float(1.0).tag(sync=True)
    activation = Enum(["relu", "tanh", "sigmoid", "none"], "tanh").tag(sync=True)
    batch_norm = Bool(False).tag(sync=True)
    skip = Bool(False).tag(sync=True)
    seed = Int(3).tag(sync=True)


class PushOneOutput(Explorable, module="push_one_output"):
    """Batch norm's backward pass: what reaches the inputs when one output is pulled?"""

    values = Numbers(default_value=[1.0, 2.0, 4.0, 5.0, 8.0], minlen=2, maxlen=8).tag(sync=True)
    output = Int(2).tag(sync=True)
    pull = Float(1.0).tag(sync=True)
    gamma = Float(1.0).tag(sync=True)
    spread = Float(1.0).tag(sync=True)


class Dropout(Explorable, module="dropout"):
    """Dropout of a few values, drawn again and again: what is the mean of many draws?"""

    values = Numbers(default_value=[1.0, 2.0, -1.0, 0.5, 3.0], minlen=1, maxlen=8).tag(sync=True)
    p = Float(0.5).tag(sync=True)
    training = Bool(True).tag(sync=True)
    draws = Int(1).tag(sync=True)
    seed = Int(12).tag(sync=True)
