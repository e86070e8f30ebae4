"""What training, evaluation and recomputed statistics take for a batch, and for a right answer."""

from collections import namedtuple

import pytest
import torch
from small_runs import KEEP, Untouched, assert_same, net, tiny

from d2lnorm import evaluate_accuracy, recompute_running_statistics, train

X, Y = tiny().dataset.tensors
NOTHING = (X[:0], Y[:0])
READERS = {
    "train_iter": lambda model, batches: train(model, batches, [(X, Y)], 1, 0.1, **KEEP),
    "data_iter": lambda model, batches: evaluate_accuracy(model, batches),
    "recompute": lambda model, batches: recompute_running_statistics(model, batches),
}


@pytest.fixture(params=READERS)
def reader(request):
    return request.param, READERS[request.param]


NO_PAIRS = {
    "a tensor of two rows": (torch.ones(2, 4), "a tensor of shape (2, 4)"),
    "a dict of two": ({"X": X, "y": Y}, "a dict"),
    "three": ((X, Y, Y), "a tuple of 3 (Tensor, Tensor, Tensor)"),
    "one": ([X], "a list of 1 (Tensor)"),
    "lists of images": ((list(X), Y), "a tuple of 2 (list, Tensor)"),
    "arrays": ((X.numpy(), Y.numpy()), "a tuple of 2 (ndarray, ndarray)"),
    "many images": (list(X), "a list of 40 (Tensor, Tensor, Tensor, Tensor, ...)"),
    "text": ("Xy", "a str"),
}


@pytest.mark.parametrize(("batch", "words"), NO_PAIRS.values(), ids=NO_PAIRS)
def test_what_is_no_pair_of_tensors_is_named_and_never_unpacked(reader, batch, words):
    name, read = reader
    name = "data_iter" if name == "recompute" else name
    with pytest.raises(TypeError) as caught:
        read(net(), [(X, Y), batch])
    assert f"batch 2 of {name} must be a pair (X, y) of tensors, but is {words}" in str(caught.value)


@pytest.mark.parametrize("read", [READERS["train_iter"], READERS["data_iter"]], ids=["train", "evaluate"])
@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((X, list(Y)), "must be a pair (X, y) of tensors, but is a tuple of 2 (Tensor, list)"),
        ((X, Y[:1]), "X and y must be equally long, but have 40 and 1 examples"),  # `==` would broadcast it
        ((X[0], Y[0]), "y must have an axis of examples, but is one number"),
        ((X[0, 0], Y), "X must have an axis of examples, but is one number"),
    ],
)
def test_labels_that_belong_to_no_examples_are_refused(read, batch, words):
    with pytest.raises((TypeError, ValueError)) as caught:
        read(net(), [(X, Y), batch])
    assert "batch 2 of " in str(caught.value)
    assert words in str(caught.value)


def test_tuples_lists_and_named_tuples_are_pairs(reader):
    for pair in (X, Y), [X, Y], namedtuple("Batch", "images labels")(X, Y):
        reader[1](net(), [pair])


def test_the_test_iterator_is_read_like_the_others():
    with pytest.raises(TypeError, match="batch 1 of data_iter must be a pair") as caught:
        train(net(), [(X, Y)], [X], 1, 0.1)
    assert "while test_iter was evaluated after epoch 1" in caught.value.__notes__


def test_batches_without_examples_change_nothing():
    full, holes = [(X, Y), (X[:9], Y[:9])], [NOTHING, (X, Y), NOTHING, (X[:9], Y[:9]), NOTHING]
    models, rows = [], []
    for batches in full, holes:
        models.append(net())
        history = train(models[-1], batches, batches, 3, 0.1, **KEEP)
        rows.append((history.loss, history.train_acc, history.test_acc, history.stopped))
        recompute_running_statistics(models[-1], batches)
    assert rows[0] == rows[1]
    assert_same(*models)


def test_a_schedule_is_not_stepped_for_a_batch_without_examples():
    rates = []

    def schedule(optimizer, total_steps):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rates.append(step) or 1.0)

    train(net(), [(X, Y), NOTHING], [(X, Y)], 2, 0.1, schedule=schedule)
    assert rates == [0, 1, 2]


@pytest.mark.parametrize(
    ("batches", "words"), [([NOTHING], "all 1 batches are empty"), (iter([]), "no batch comes")], ids=["empty", "none"]
)
@pytest.mark.parametrize("read", [READERS["data_iter"], READERS["recompute"]], ids=["evaluate", "recompute"])
def test_no_example_is_an_error_that_changes_nothing(read, batches, words):
    model = net()
    model(X)  # statistics that could be lost
    with Untouched(model), pytest.raises(ValueError, match=f"data_iter yields no example: {words}"):
        read(model, batches)


def test_no_example_to_learn_from_is_an_error():
    """Also in the second epoch, when an iterator with a length has been used up by the first."""
    with pytest.raises(ValueError, match="train_iter yields no example: all 2 batches are empty"):
        train(net(), [NOTHING, NOTHING], [(X, Y)], 1, 0.1)

    class Once(list):
        def __iter__(self):
            while self.left:
                yield self.left.pop()

    once = Once([(X, Y)])
    once.left = [(X, Y)]
    with pytest.raises(ValueError, match="no batch comes .an iterator can be used up only once") as caught:
        train(net(), once, [(X, Y)], 2, 0.1)
    assert len(caught.value.history) == 1


def test_recomputing_needs_no_labels():
    models = net(), net()
    recompute_running_statistics(models[0], [(X, None), (X[:9], "whatever")])
    recompute_running_statistics(models[1], [(X, Y), (X[:9], Y[:9])])
    assert_same(*models)
