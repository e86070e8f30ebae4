"""What training and evaluation count as a right answer, and what an evaluation leaves to its surroundings."""

import copy
import re

import pytest
import torch
from small_runs import KEEP, net, tiny, weights
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from d2lnorm import evaluate_accuracy, train

X, Y = tiny().dataset.tensors
PIXELS, PIXEL_LABELS = torch.randn(2, 1, 4, 5), torch.randint(3, (2, 4, 5))
BAD_LABELS = {  # labels, and the shape of the logits
    "(N, 1)": (Y[:, None], (40, 3)),
    "one-hot": (F.one_hot(Y, 3), (40, 3)),
    "one-hot, as many as classes": (F.one_hot(Y[:3], 3), (3, 3)),
    "probabilities": (F.one_hot(Y, 3).float(), (40, 3)),  # cross-entropy takes them
}


@pytest.mark.parametrize(("y", "logits"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_of_another_shape_are_refused_before_anything_is_learnt(y, logits):
    model, batches = net(), [(X[: len(y)], y)]
    shapes = f"labels of shape {tuple(y.shape)} do not fit the net's output of shape {logits}"
    words = f"^{re.escape(shapes)}: expected are class numbers"
    with pytest.raises(ValueError, match=words):
        evaluate_accuracy(model, batches)
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(ValueError, match=words):
        train(model, batches, [(X, Y)], 1, 0.1, "cpu", **KEEP)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("labels", [PIXEL_LABELS[:, 0], PIXEL_LABELS[:, :, :1], PIXEL_LABELS[:, None]])
def test_labels_of_pixels_have_the_shape_of_the_picture(labels):
    with pytest.raises(ValueError, match=r"one for each pixel, \(N, H, W\) for logits \(N, C, H, W\)"):
        evaluate_accuracy(nn.Conv2d(1, 3, 1), [(PIXELS, labels)])


@pytest.mark.parametrize(
    ("output", "error"),
    [(lambda X: (X, X), TypeError), (lambda X: X[:, 0], ValueError), (lambda X: X[0, 0], ValueError)],
)
def test_a_net_without_logits_is_told_so(output, error):
    class Net(nn.Module):
        def forward(self, X):
            return output(X)

    with pytest.raises(error, match="the net must return a tensor of logits|do not fit the net's output"):
        evaluate_accuracy(Net(), [(X, Y)])


def test_a_label_for_each_pixel_by_hand():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 1))
    reference = copy.deepcopy(model)
    parts = [(PIXELS, PIXEL_LABELS), (PIXELS[:1], PIXEL_LABELS[:1])]
    history = train(model, parts, parts, 1, 0.5, "cpu", **KEEP)
    optimizer, losses, right = torch.optim.SGD(reference.parameters(), lr=0.5), [], []
    for pixels, labels in parts:
        logits = reference(pixels)
        each = -logits.log_softmax(1).gather(1, labels[:, None])
        optimizer.zero_grad()
        each.mean().backward()
        optimizer.step()
        losses += each.flatten().tolist()
        right += (logits.argmax(1) == labels).flatten().tolist()
    for a, b in zip(weights(model), weights(reference), strict=True):
        assert_close(a, b)
    assert len(losses) == 60
    assert history.loss == pytest.approx([sum(losses) / 60], rel=1e-5)
    assert history.train_acc == [sum(right) / 60]
    correct = [(reference(pixels).argmax(1) == labels).sum().item() for pixels, labels in parts]
    assert history.test_acc == [sum(correct) / 60]


def test_what_a_hook_keeps_of_an_evaluation_can_be_used_in_autograd():
    model, kept, scale = net(), [], torch.ones(3, requires_grad=True)
    model.register_forward_hook(lambda module, args, output: kept.append(output))
    evaluate_accuracy(model, [(X, Y)])
    assert not kept[0].requires_grad  # and no graph was kept alive
    (kept[0] * scale).sum().backward()
    assert_close(scale.grad, kept[0].sum(0))


def test_a_net_of_buffers_is_evaluated_where_they_are():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("w", torch.ones(3, device="meta"))

        def forward(self, X):
            assert X.device == self.w.device
            raise NotImplementedError

    with pytest.raises(NotImplementedError):
        evaluate_accuracy(Fixed(), [(torch.eye(3), torch.arange(3))])


def test_evaluation_is_right_and_leaves_the_modes():
    data = tiny(shuffle=False)
    model = net()
    model[1].eval()
    model[2].train()
    before = weights(model)
    accuracy = evaluate_accuracy(model, data)
    assert [m.training for m in model] == [True, False, True, True]
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
    X, y = data.dataset.tensors
    with torch.no_grad():
        assert accuracy == (copy.deepcopy(model).eval()(X).argmax(1) == y).double().mean().item()


def test_evaluation_of_nothing_is_an_error_and_a_failing_net_keeps_its_mode():
    model = net()
    with pytest.raises(ValueError, match="data_iter yields no example"):
        evaluate_accuracy(model, [])
    with pytest.raises(RuntimeError):
        evaluate_accuracy(model, [(torch.ones(2, 5), torch.zeros(2))])
    assert model.training


def test_a_net_without_parameters_can_be_evaluated():
    X = torch.eye(3)
    assert evaluate_accuracy(nn.Identity(), [(X, torch.tensor([0, 1, 1]))]) == pytest.approx(2 / 3)
