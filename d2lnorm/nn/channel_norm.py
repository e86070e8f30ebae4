"""What the drop-in batch and instance norm share: constructor, parameters, running statistics, state."""

from typing import Any

import torch
from torch import Tensor

from d2lnorm.nn.scaled import Scaled

__all__ = ["ChannelNorm", "moving_average"]


class ChannelNorm(Scaled):
    """Parameters and buffers of a layer that normalizes channels, named, shaped and saved as in `torch.nn`.

    Args:
        num_features: C, the number of channels.
        eps: added to the variance, in the units of the input squared.
        momentum: the weight of the *new* value in the running statistics (the book's is the old one's:
            1 - momentum). None: batch norm takes the plain average over all batches so far; instance norm, as in
            `torch.nn`, then never moves its statistics.
        affine: whether there are parameters, `weight` (ones, (C,)) and `bias` (zeros, (C,)).
        track_running_stats: whether there are the buffers `running_mean` and `running_var`, of shape (C,), and
            the integer `num_batches_tracked`.
        device, dtype: of parameters and buffers.
        bias: False leaves out `bias`.

    Raises:
        RuntimeError, TypeError: num_features is negative, or no integer.
    """

    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init_subclass__(cls) -> None:
        """Let `help` show the arguments with each of the layers."""
        super().__init_subclass__()
        if cls.__doc__ and ChannelNorm.__doc__:  # `python -OO` has none
            cls.__doc__ += "\n\n" + ChannelNorm.__doc__.partition("\n\n")[2]

    _version = 2  # the format of the saved state: since 2 it holds num_batches_tracked

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self._add_parameters(num_features, device, dtype, weight=affine, bias=affine and bias)
        tracked = track_running_stats
        for name in ("running_mean", "running_var"):
            self.register_buffer(name, torch.empty(num_features, device=device, dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", torch.tensor(0, device=device) if tracked else None)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget what was seen: mean 0, variance 1, no batches."""
        start = ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0))
        for t, value in start if self.track_running_stats else ():
            if t is not None:
                t.fill_(value)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and `reset_running_stats`."""
        self.reset_running_stats()
        super().reset_parameters()

    def _check_input_dim(self, input: Tensor) -> None:
        """Raise ValueError unless the input has as many axes as the layer takes."""
        raise NotImplementedError

    def _check_axes(self, input: Tensor, *allowed: int) -> None:
        if input.dim() not in allowed:
            wanted = " or ".join(f"{n}D" for n in allowed)
            raise ValueError(f"expected {wanted} input (got {input.dim()}D input, of shape {tuple(input.shape)})")

    def _load_from_state_dict(self, state_dict: dict, prefix: str, local_metadata: dict, *args: Any) -> None:
        """Accept a state saved before there was `num_batches_tracked`, which then keeps its value."""
        if (local_metadata.get("version") or 0) < 2 and self.track_running_stats:
            counter = self.num_batches_tracked
            none = counter is None or counter.is_meta  # there is no value to keep
            state_dict.setdefault(prefix + "num_batches_tracked", torch.tensor(0) if none else counter)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


def moving_average(old: Tensor, new: Tensor, momentum: float | Tensor) -> Tensor:
    """Return `momentum old + (1 - momentum) new`, shaped and typed like `old`, without autograd graph.

    Args:
        old, new: as many elements each; computed in the type of `new`.
        momentum: the book's, the weight of the old value. `torch.nn`'s is the weight of the new value, so
            momentum_book = 1 - momentum_torch.
    """
    with torch.no_grad():
        new = new.reshape(old.shape)
        return (momentum * old.to(new.dtype) + (1 - momentum) * new).to(old.dtype)
