"""What the checks ask of a residual block that skips its branch for some examples of a batch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from d2lnorm.course.exercises.common.calls import expect_outcomes
from d2lnorm.course.exercises.common.draws import expect_flow, expect_scaled, survivors
from d2lnorm.course.exercises.common.feedback import expect, expect_close
from d2lnorm.course.exercises.common.layers import called, expect_part
from d2lnorm.course.exercises.common.nets import Watched
from d2lnorm.course.exercises.common.traces import kept

__all__ = ["expect_few", "expect_paths"]


def expect_paths(answer: Callable, X: Tensor, p: float) -> None:
    branch, what = Watched().to(X.dtype), "the output in training"
    net, added = answer(branch, p), 3 * X + 1
    expect_part(net, branch, "branch")
    evaluated, following = called(net, X, False), called(net, X, True)
    branch.seen.clear()
    Y = called(net, X, True)
    wrong = {"the branch is scaled; there it is not": X + (1 - p) * added}
    wrong["the branch is divided by 1 - p; there it is not scaled"] = X + added / (1 - p)
    expect_close(evaluated, X + added, "the output in evaluation", wrong)
    survivors(Y, evaluated, what)
    expect(not (Y == 0).any(), "the shortcut was dropped, too: x always passes.")
    factors = ((Y - X) / added).detach().flatten(1)
    elements = factors.abs() > 1e-4
    own = (factors[elements] - factors.max()).abs() < 1e-3
    expect(bool(own.all()), "some examples do not get what they should: x, or x plus a multiple of their own f(x).")
    expect(bool((elements == elements[:, :1]).all()), "single elements were dropped; drop an example's whole branch.")
    keep = elements[:, 0]
    expect(len(keep.unique()) == 2, "all were skipped or none, as if they shared one draw: draw for each example.")
    expect_scaled(Y, keep, added * elements.view(X.shape), p, what, plus=X)
    expect(not torch.equal(Y, following), "two calls in training skipped the same examples: draw anew in each.")
    shape = next((tuple(x.shape) for x in branch.seen if x.dim() != X.dim()), None)
    expect(shape is None, f"the branch must get a batch, here of {X.dim()} axes, but got a tensor of shape {shape}.")
    n, rows, wanted = int(keep.sum()), sum(map(len, branch.seen)), "the branch must see these only"
    expect(rows == n, f"{n} of {len(X)} examples survived; {wanted}, but its calls got {rows} examples in all.")
    x, weight = X.clone().requires_grad_(), branch.requires_grad_().eval().weight
    with kept(net=net):  # someone froze the branch
        Y = net(x)
    m = (((Y - X) / added).abs() > 1e-4).to(X.dtype) / (1 - p)
    leaves = {"the branch's weight": weight, "X": x}
    expect_flow(Y, x + m * (weight * x + 1), leaves, "training")
    expect_flow(net.eval()(x), x + weight * x + 1, leaves, "evaluation")


def expect_few(answer: Callable) -> None:
    """See two examples, of which one survives, both or none; p of 0 and 1; 16 bits; a branch that gives X itself."""
    X, branch, other = torch.ones(2, 3), Watched(), Watched()
    block, small, same = answer(branch, 1.0), answer(other, 0.5).train(), answer(nn.Identity(), 0.0)
    expect_close(block.train()(X), X, "the output at p = 1")
    expect(not branch.seen, "the branch was called at p = 1, although no example survived.")
    x = X.clone().requires_grad_()
    expect_flow(block(x), 1 * x, {"X": x}, "training at p = 1")
    expect_close(block.eval()(X), 5 * X, "the output at p = 1 in evaluation")
    expect_close(answer(Watched(), 0.0).train()(X), 5 * X, "the output at p = 0")
    with torch.no_grad():
        rows = [tuple(small(X)[:, 0].tolist()) for _ in range(40)]
    expect(all(map(len, other.seen)), "by chance no example survived, and the branch was called on an empty batch.")
    odd = next((tuple(t.shape) for t in other.seen if t.dim() != 2), None)
    expect(odd is None, f"of two examples, (2, 3), one survived: the branch must get (1, 3), but got {odd}.")
    odd_rows = [row for row in rows if any(min(abs(v - 1), abs(v - 9)) > 0.01 for v in row)]
    calls = "all calls, under no_grad," if len(odd_rows) == len(rows) else f"{len(odd_rows)} of {len(rows)} calls"
    asked = "two examples with x = 1 and f(x) = 4, in training at p = 0.5, must each become 1 or 9"
    expect(not odd_rows, f"{asked}, but in {calls} they became others, first {odd_rows[:1]}.")
    expect_outcomes(rows, 1, "examples")
    for training, what in ((False, "in evaluation"), (True, "in training at p = 0")):
        expect_close(called(same, X, training), 2 * X, f"the output {what}, with nn.Identity() as the branch,")
        half = called(answer(Watched().half(), 0.0), X.half(), training)
        expect_close(half, 5 * X.half(), f"the output {what}, of float16 inputs,")
    survived = called(answer(Watched().half(), 0.5), torch.ones(40, 3).half(), True)
    expect(survived.dtype == torch.float16, f"the output at p = 0.5 must be float16, as X is, but is {survived.dtype}.")
