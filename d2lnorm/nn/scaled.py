"""The learnable scale and shift that follow a normalization."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["Scaled"]


class Scaled(nn.Module):
    """A layer with the parameters `weight` and `bias`, or with one of them, or none; all of one shape."""

    weight: Tensor | None

    def _add_parameters(
        self,
        shape: int | Sequence[int],
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        **wanted: bool,
    ) -> None:
        """Register each name, as a parameter without values yet, or as None if it is not wanted."""
        for name, there in wanted.items():
            parameter = nn.Parameter(torch.empty(shape, device=device, dtype=dtype)) if there else None
            self.register_parameter(name, parameter)

    def reset_parameters(self) -> None:
        """Weight 1 and bias 0, where they are."""
        for name, value in (("weight", 1), ("bias", 0)):
            if getattr(self, name, None) is not None:
                nn.init.constant_(getattr(self, name), value)
