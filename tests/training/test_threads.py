"""Training alone uses one thread of the CPU, unless the user chose, and gives the others back."""

import pytest
import torch
from small_runs import net, tiny

from d2lnorm import train
from d2lnorm.training.threads import one_thread


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_while_training(error=None):
    seen = []

    def note(model, history):
        seen.append(torch.get_num_threads())
        if error:
            raise error

    train(net(), tiny(), tiny(), 2, 0.1, after_epoch=note)
    return seen


def test_training_takes_one_and_gives_them_back():
    assert threads_while_training() == [1, 1]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_they_are_given_back_after_an_error(error):
    with pytest.raises(error):
        threads_while_training(error)
    assert torch.get_num_threads() == 2


def test_who_chose_keeps_what_was_chosen(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert threads_while_training() == [2, 2]
    with one_thread(unless_chosen=False):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
