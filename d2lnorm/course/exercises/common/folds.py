"""What the checks ask of a layer into which a batch norm was folded."""

from torch import Tensor, float64, nn

from d2lnorm.course.exercises.common.feedback import expect, expect_close

__all__ = ["expect_equal", "expect_parameters", "wrong_scales"]


def expect_parameters(layer: nn.Module) -> None:
    expect(layer.bias is not None, "the folded layer needs a bias, even if the old one had none.")
    own = isinstance(layer.weight, nn.Parameter) and isinstance(layer.bias, nn.Parameter)
    expect(own, "weight and bias of the folded layer must be parameters: wrap them in nn.Parameter.")


def wrong_scales(bn: nn.BatchNorm1d | nn.BatchNorm2d) -> dict[str, Tensor]:
    gamma, var, eps = bn.weight, bn.get_buffer("running_var"), bn.eps
    return {
        "eps is missing under the root": gamma / var.sqrt(),
        "eps must be that of bn": gamma / (var + 1e-5).sqrt(),
        "eps belongs under the root, not beside it": gamma / (var.sqrt() + eps),
        "it was divided by the variance, not by its root": gamma / (var + eps),
        "gamma is missing": 1 / (var + eps).sqrt(),
    }


def expect_equal(got: Tensor, right: Tensor, what: str, mistakes: dict | None = None) -> None:
    """Expect equal numbers, up to the rounding errors of their own type."""
    precise = 1e-9 if right.dtype == float64 else 1e-4
    mistakes = (mistakes or {}) | {"its digits are only those of float32": right.float()}
    expect_close(got, right, what, mistakes, rtol=precise, atol=precise / 10)
