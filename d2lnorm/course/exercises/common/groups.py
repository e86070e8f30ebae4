"""What the checks ask of parameter groups."""

from torch import nn

from d2lnorm.course.exercises.common.feedback import described, expect
from d2lnorm.course.exercises.common.nets import BATCH_NORMS

__all__ = ["expect_sorted"]


def expect_sorted(groups: list[list[int]], net: nn.Module, what: str) -> None:
    """Expect each parameter of the net, here its id, in the right one of the two groups."""
    decayed, exempt = groups
    ids, given = decayed + exempt, {id(p) for p in net.parameters()}
    for one, of in ((decayed, "first"), (exempt, "second")):
        expect(len(one) == len(set(one)), f"for {what}: a parameter is twice in the {of} group; it must be there once.")
    both = f"for {what}: a parameter is in both groups; the optimizer refuses that."
    expect(len(ids) == len(set(ids)), both)
    expect(given >= set(ids), f"for {what}: the groups hold things, or copies, that are not the net's own parameters.")
    for name, p in net.named_parameters():
        path, _, last = name.rpartition(".")
        owner = net.get_submodule(path)
        itself = not path and [*net.children()] != []
        of = f"for {what}: {name}, of {'the net itself' if itself else described(owner)},"
        lost = "so it would never be trained" if p.requires_grad else "for it is frozen; but it may be thawed later"
        expect(id(p) in ids, f"{of} is in no group, {lost}.")
        norm = isinstance(owner, (*BATCH_NORMS, nn.LayerNorm)) or "bias" in last
        expect(id(p) in (exempt if norm else decayed), f"{of} {'must not' if norm else 'must'} decay.")
