"""`Normalize` in forward mode and for many inputs at once, as `torch.func` and vectorized Jacobians want it."""

import torch
from torch import Tensor

from d2lnorm.nn.normalize_function import Normalize
from d2lnorm.nn.sums import centred, count, inverse_root, statistics

__all__ = ["NormalizeTransformed"]


class NormalizeTransformed(Normalize):
    """`Normalize` with rules for `torch.func.jvp` and `torch.func.vmap`.

    These are two classes because `torch.compile` takes no `Function` with a `jvp`. All that `torch.func` composes
    works as for `torch.nn`, but for forward mode inside forward mode, `jacfwd(jacfwd(f))`: there torch takes the
    inner derivative of any `Function` for a constant. Use `torch.func.hessian`.
    """

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        Normalize.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs[:2])  # X and weight

    @staticmethod
    def jvp(ctx, dX: Tensor | None, dw: Tensor | None, db: Tensor | None, *_) -> tuple[Tensor | None, ...]:
        """dy = w r (dx - mean(dx) - xhat mean(xhat dx)) + xhat dw + db, for small changes dx, dw and db."""
        X, weight = ctx.saved_tensors
        axes, n = ctx.axes, count(X, ctx.axes)
        mean, var = statistics(X, axes, n)  # anew: who differentiates this has to see how they depend on X
        r = inverse_root(var, ctx.eps)
        xhat = centred(X, mean, axes, n)[0] * r
        dY = torch.zeros_like(X)
        if dX is not None:
            dX = centred(dX, dX.sum(axes, keepdim=True) / n, axes, n)[0]
            dY = r * (dX - xhat * ((xhat * dX).sum(axes, keepdim=True) / n))
        dY = dY if weight is None else weight * dY
        dY = dY if dw is None else dY + xhat * dw
        return dY if db is None else dY + db, None, None

    @staticmethod
    def vmap(info, in_dims, X, weight, bias, axes, eps) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        """Many normalizations at once: one more axis in front, over which no statistics are taken."""
        X, weight, bias = (
            t if t is None else t.unsqueeze(0) if d is None else t.movedim(d, 0)
            for t, d in zip((X, weight, bias), in_dims, strict=False)
        )  # fmt: skip
        X = X.expand(info.batch_size, *X.shape[1:]).contiguous()
        return NormalizeTransformed.apply(X, weight, bias, tuple(a + 1 for a in axes), eps), (0, 0, 0)
