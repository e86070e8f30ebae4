"""The book's LeNet, with the normalization as an argument."""

from collections.abc import Callable

from torch import nn

from d2lnorm.batch_norm import BatchNorm

__all__ = ["lenet"]

Norm = Callable[[int, int], nn.Module]


def lenet(norm: str | Norm | None = "scratch") -> nn.Sequential:
    """Return LeNet for images of shape (N, 1, 28, 28), as one flat `nn.Sequential` with 10 logits at its end.

    Args:
        norm: what follows each of the two convolutions and the first two linear layers, before the sigmoid:
            "scratch" for `d2lnorm.BatchNorm`, "torch" for `nn.BatchNorm2d` and `nn.BatchNorm1d`, None for
            nothing (the net is then shorter by four layers), or a function
            `(num_features, num_dims) -> nn.Module`, where num_dims is 4 after a convolution and 2 after a
            linear layer.

    Raises:
        ValueError: norm is another string.

    Source: Dive into Deep Learning, section "Batch Normalization" (unpadded first convolution).
    """
    named = {"scratch": BatchNorm, "torch": _torch_batch_norm, None: None}
    if not callable(norm):
        if norm not in named:
            raise ValueError(f'norm must be "scratch", "torch", None or a function, but is {norm!r}')
        norm = named[norm]

    def normalized(layer: nn.Module, num_features: int, num_dims: int) -> list[nn.Module]:
        return [layer, *([norm(num_features, num_dims)] if norm else []), nn.Sigmoid()]

    return nn.Sequential(
        *normalized(nn.Conv2d(1, 6, kernel_size=5), 6, 4),
        nn.AvgPool2d(kernel_size=2, stride=2),
        *normalized(nn.Conv2d(6, 16, kernel_size=5), 16, 4),
        nn.AvgPool2d(kernel_size=2, stride=2),
        nn.Flatten(),
        *normalized(nn.Linear(16 * 4 * 4, 120), 120, 2),
        *normalized(nn.Linear(120, 84), 84, 2),
        nn.Linear(84, 10),
    )


def _torch_batch_norm(num_features: int, num_dims: int) -> nn.Module:
    return (nn.BatchNorm1d if num_dims == 2 else nn.BatchNorm2d)(num_features)
