"""What the book's `batch_norm` and `BatchNorm` refuse, in words; nothing is computed here."""

from torch import Tensor

__all__ = ["check_arguments", "check_constants", "check_layer", "shape"]


def shape(t: Tensor) -> str:
    """The shape as the messages give it: "shape (4, 3)"."""
    return f"shape {tuple(t.shape)}"


def check_constants(eps: float, momentum: float) -> None:
    """Raise ValueError unless eps > 0 and 0 <= momentum <= 1."""
    if not eps > 0:
        raise ValueError(f"eps must be greater than 0, but is {eps}")
    if not 0 <= momentum <= 1:
        raise ValueError(f"momentum must lie in [0, 1] (the weight of the old value), but is {momentum}")


def check_layer(num_features: int, num_dims: int, eps: float, momentum: float) -> None:
    """Raise ValueError unless these are arguments for `BatchNorm`."""
    if num_dims not in (2, 4):
        raise ValueError(f"num_dims must be 2, for (N, C), or 4, for (N, C, H, W), but is {num_dims}")
    if num_features < 1:
        raise ValueError(f"num_features must be at least 1, but is {num_features}")
    check_constants(eps, momentum)


def check_arguments(
    X: Tensor, gamma: Tensor, beta: Tensor, moving_mean: Tensor, moving_var: Tensor,
    eps: float, momentum: float, training: bool,
) -> None:  # fmt: skip
    """Raise TypeError or ValueError unless these are arguments for `batch_norm`."""
    check_constants(eps, momentum)
    if not X.is_floating_point():
        raise TypeError(f"X must be floating point, but is {X.dtype}; convert it with X.float()")
    if X.dim() not in (2, 4):
        raise ValueError(f"X must have shape (N, C) or (N, C, H, W), but has {shape(X)}")
    C = X.shape[1]
    parameters = {"gamma": gamma, "beta": beta, "moving_mean": moving_mean, "moving_var": moving_var}
    for name, t in parameters.items():
        if tuple(t.shape) not in ((C,), (1, C), (1, C, 1, 1)):
            raise ValueError(
                f"{name} must have one element for each of the {C} channels of X ({shape(X)}): "
                f"shape ({C},), (1, {C}) or (1, {C}, 1, 1), but it has {shape(t)}"
            )
    if training and X.numel() <= C:
        raise ValueError(
            f"training needs more than one value per channel, but X has {shape(X)}: "
            f"the variance of {X.numel() // max(C, 1)} value(s) cannot normalize"
        )
