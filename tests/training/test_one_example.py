"""A batch of one example, which batch norm cannot be trained on: found before training where it can be known."""

import re

import pytest
import torch
from small_runs import Untouched, net, tiny
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SubsetRandomSampler, TensorDataset

from d2lnorm import Batches, BatchNorm, train

X, Y = tiny(33).dataset.tensors  # 33 = 2 * 16 + 1
DATA = TensorDataset(X, Y)
LAST = "the last of the 3 batches of train_iter holds 1 example"


class Pairs:
    """As iterators are that people write: a data set, a batch size and a length."""

    def __init__(self, batch_size, **more):
        self.dataset, self.batch_size = DATA, batch_size
        self.__dict__.update(more)

    def __len__(self):
        return 3

    def __iter__(self):
        return iter(Batches(X, Y, self.batch_size))


class Whole(Dataset):
    """Examples that the loader's own function makes into a batch."""

    def __len__(self):
        return 33

    def __getitem__(self, i):
        assert torch.rand(1) >= 0  # a random augmentation
        return {"picture": X[i], "label": Y[i]}


def collate(rows):
    return torch.stack([r["picture"] for r in rows]), torch.stack([r["label"] for r in rows])


KNOWN = {
    "Batches": (Batches(X, Y, 16, shuffle=True), LAST),
    "DataLoader": (DataLoader(DATA, 16, shuffle=True), LAST),
    "DataLoader of dicts": (DataLoader(Whole(), 16, collate_fn=collate), LAST),
    "DataLoader of a part": (DataLoader(DATA, 4, sampler=SubsetRandomSampler(range(9))), LAST),
    "another iterator": (Pairs(16), LAST),
    "single examples": (Batches(X[:3], Y[:3], 1), LAST),
    "single examples, none dropped": (DataLoader(TensorDataset(X[:3], Y[:3]), 1, drop_last=True), LAST),
    "one batch": (Batches(X[:1], Y[:1], 16), "the only batch of train_iter holds 1 example"),
    "a list": ([(X, Y), (X[:16], Y[:16]), (X[:1], Y[:1])], LAST),
    "a tuple": (((X, Y), (X[:1], Y[:1]), (X[:16], Y[:16])), "batch 2 of train_iter holds 1 example"),
}


@pytest.mark.parametrize(("batches", "words"), KNOWN.values(), ids=KNOWN)
def test_it_is_found_before_training(batches, words):
    model = net().eval()  # in evaluation mode it would be taken
    model[2].train()
    with Untouched(model), pytest.raises(ValueError, match=f"^{re.escape(words)}, and the net refuses it: ") as caught:
        train(model, batches, tiny(), 2, 0.1)
    assert "another batch size" in str(caught.value)
    assert "drop_last=True" in str(caught.value)
    assert "Expected more than 1 value per channel when training" in str(caught.value.__cause__)
    assert not hasattr(caught.value, "history")


def test_the_book_s_layer_refuses_it_too():
    model = nn.Sequential(nn.Linear(4, 3), BatchNorm(3, 2))
    with Untouched(model), pytest.raises(ValueError, match=LAST) as caught:
        train(model, Batches(X, Y, 16), tiny(), 2, 0.1)
    assert "the variance of 1 value(s) cannot normalize" in str(caught.value.__cause__)


FINE = {
    "17 + 16": Batches(X, Y, 17),
    "none left": Batches(X, Y, 11),
    "left out": DataLoader(DATA, 16, drop_last=True),
    "a part": DataLoader(DATA, 16, sampler=SubsetRandomSampler(range(32))),
}


@pytest.mark.parametrize("batches", FINE.values(), ids=FINE)
def test_other_sizes_train(batches):
    assert len(train(net(), batches, tiny(), 1, 0.1)) == 1


@pytest.mark.parametrize("norm", [lambda: nn.LayerNorm(3), lambda: nn.BatchNorm1d(3).eval(), nn.Identity])
def test_a_net_that_takes_one_example_is_trained_as_ever_and_its_hooks_see_training_only(norm):
    """The trial leaves no trace: neither in random numbers nor in what hooks and layers count."""

    class Counting(nn.Dropout):
        calls = 0

        def forward(self, X):
            self.calls += 1
            return super().forward(X)

    class Frozen(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)
            self[1].eval()
            return self

    results = []
    for batches in Pairs(16), Pairs(16, drop_last=1):  # whose size is known, and not
        torch.manual_seed(0)
        model, seen = Frozen(nn.Linear(4, 3), norm(), Counting(0.5)), []
        model.register_forward_hook(lambda m, args, output, seen=seen: seen.append(len(output)))
        model[0].register_forward_pre_hook(lambda m, args, seen=seen: seen.append(len(args[0])))
        torch.manual_seed(0)
        results.append((train(model, batches, [(X, Y)], 1, 0.1).loss, seen, model[2].calls, torch.rand(1)))
    assert results[0] == results[1]
    assert results[0][1] == [16, 16, 16, 16, 1, 1, 33, 33]


def test_another_error_of_the_net_is_not_put_down_to_the_one_example():
    class Picky(nn.Linear):
        def forward(self, X):
            raise ValueError("I take pictures only")

    with pytest.raises(ValueError, match="^I take pictures only") as caught:
        train(Picky(4, 3), Batches(X, Y, 16), tiny(), 1, 0.1)
    assert "in batch 1 of epoch 1" in caught.value.__notes__


def test_a_net_that_cannot_be_copied_or_is_lazy_is_trained_until_it_refuses():
    copied = net()
    copied.kept = (torch.ones(1, requires_grad=True) * 2,)  # deepcopy refuses it
    lazy = nn.Sequential(nn.LazyLinear(8), nn.BatchNorm1d(8), nn.Linear(8, 3))
    for model in copied, lazy:
        with pytest.raises(ValueError, match="^batch 3 of epoch 1 holds 1 example") as caught:
            train(model, Batches(X, Y, 16), tiny(), 1, 0.1, init_weights=lambda module: None)
        assert len(caught.value.history) == 0


UNKNOWN = {
    "its own batches": DataLoader(DATA, batch_sampler=BatchSampler(range(33), 16, False)),
    "a length of its own": Pairs(16, drop_last=True),
}


@pytest.mark.parametrize("batches", UNKNOWN.values(), ids=UNKNOWN)
def test_where_it_cannot_be_known_the_batch_and_the_remedy_are_named(batches):
    words = "^batch 3 of epoch 1 holds 1 example, and the net refuses it .Expected more than 1 value"
    with pytest.raises(ValueError, match=words) as caught:
        train(net(), batches, tiny(), 2, 0.1)
    assert "drop_last=True" in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)
    assert len(caught.value.history) == 0


def test_an_error_for_several_examples_stays_the_net_s_own():
    class Picky(nn.Linear):
        def forward(self, X):
            if len(X) == 2:
                raise ValueError("two are too many")
            return super().forward(X)

    with pytest.raises(ValueError, match="^two are too many") as caught:
        train(Picky(4, 3), [(X, Y), (X[:2], Y[:2])], tiny(), 1, 0.1)
    assert "in batch 2 of epoch 1" in caught.value.__notes__
