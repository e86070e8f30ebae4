"""What the usual mistakes in layer norm and group norm give."""

from itertools import product

from torch import Tensor

__all__ = ["EPS", "NO_EPS", "NO_SCALE", "OUTSIDE", "UNBIASED", "grouped_wrong", "normalized_over"]

EPS = 0.5  # large, so that its place shows
UNBIASED = "the variance was divided by n - 1, but the normalization divides by n"
OUTSIDE = "eps was added to the standard deviation, but it belongs to the variance, inside the root"
NO_SCALE = "weight and bias were left out"
NO_EPS = "the eps that was passed was not used"
ACROSS = "the statistics run across the groups; they belong within each, over the axes after (N, G)"
STRIDED = "channels far from each other were grouped, but a group holds neighbours"


def normalized_over(X: Tensor, axes: tuple, unbiased=False, outside=False, eps: float = EPS) -> Tensor:
    """X normalized over these axes, perhaps with a slip."""
    mean, var = X.mean(axes, keepdim=True), X.var(axes, keepdim=True, correction=int(unbiased))
    return (X - mean) / (var.sqrt() + eps if outside else (var + eps).sqrt())


def grouped_wrong(X: Tensor, num_groups: int, weight: Tensor, bias: Tensor) -> dict[str, Tensor]:
    """For each mistake in group norm, in words, what it gives; groups, variance and eps may all be wrong at once."""
    (N, C, *positions), d, G = X.shape, X.dim(), num_groups
    w, b = (t.view(C, *(1 for _ in positions)) for t in (weight, bias))
    near, far = (X.reshape(N, *split, *positions) for split in ((G, C // G), (C // G, G)))
    axes, across, mistakes = tuple(range(2, d + 1)), (1, *range(3, d + 1)), {}
    ways = {"": (near, axes), STRIDED: (far, across), ACROSS: (near, across)}
    for (way, (grouped, over)), unbiased, outside in product(ways.items(), (False, True), (False, True)):
        slips = filter(None, (way, UNBIASED * unbiased, OUTSIDE * outside))
        mistakes["; and ".join(slips)] = w * normalized_over(grouped, over, unbiased, outside).reshape(X.shape) + b
    wrong = {
        "all channels were taken together, as in layer norm": (X, tuple(range(1, d))),
        "the statistics were taken over the batch, too": (near, (0, *axes)),
    }
    if positions:
        wrong["each channel was taken alone, as in instance norm"] = (X, tuple(range(2, d)))
        wrong["the statistics were taken over the group's channels, but not over the positions"] = (near, (2,))
    for words, (t, over) in wrong.items():
        mistakes[words] = w * normalized_over(t, over).reshape(X.shape) + b
    hat = normalized_over(near, axes).reshape(X.shape)
    mistakes |= {NO_SCALE: hat, "the weight was left out": hat + b, "the bias was left out": w * hat}
    mistakes[NO_EPS] = w * normalized_over(near, axes, eps=1e-5).reshape(X.shape) + b
    if N == C and not positions:
        mistakes["weight and bias lie along the batch, not along the channels"] = weight[:, None] * hat + bias[:, None]
    return mistakes
