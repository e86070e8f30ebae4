"""What ends a training early reaches the caller, and nothing that was finished is lost."""

import os
import pickle
import subprocess
import sys

import pytest
from small_runs import net, tiny
from torch import nn

from d2lnorm import Batches, evaluate_accuracy, train

X, Y = tiny().dataset.tensors


class Trouble(Exception):
    pass


class Failing(Batches):
    """Batches of which the second of the third epoch raises `error`."""

    def __init__(self, error):
        super().__init__(X, Y, 16)
        self.error, self.epochs = error, 0

    def to(self, device):
        return self

    def __iter__(self):
        for i, batch in enumerate(super().__iter__()):
            if self.epochs == 2 and i == 1:
                raise self.error
            yield batch
        self.epochs += 1


class FailingNet(nn.Sequential):
    """A net that raises `error` in its call number `at`, in training (3 batches an epoch) or in evaluation."""

    def __init__(self, error, at, training):
        super().__init__(*net())
        self.error, self.at, self.when, self.calls = error, at, training, 0

    def forward(self, X):
        self.calls += self.training == self.when
        if self.calls == self.at:
            raise self.error
        return super().forward(X)


def fail(error, epoch):
    def after_epoch(model, history):
        if len(history) == epoch:
            raise error

    return after_epoch


ENDS = {  # ways in which training ends after 2 of 5 epochs: the net, other arguments, where it was
    "batches": lambda error: (net(), {"train_iter": Failing(error)}, None),
    "net": lambda error: (FailingNet(error, 8, True), {}, "in batch 2 of epoch 3"),
    "evaluation": lambda error: (FailingNet(error, 7, False), {}, "while test_iter was evaluated after epoch 3"),
    "after_epoch": lambda error: (net(), {"after_epoch": fail(error, 2)}, None),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, Trouble, SystemExit])
def test_an_error_goes_on_to_the_caller_with_the_finished_epochs(kind, end, capsys):
    model, change, place = end(kind())
    arguments = {"train_iter": tiny(), "test_iter": tiny(), "num_epochs": 5, "lr": 0.1} | change
    with pytest.raises(kind) as caught:
        train(model, **arguments)
    history, notes = caught.value.history, caught.value.__notes__
    assert len(history) == len(history.loss) == len(history.test_acc) == 2
    what = "Ctrl-C" if kind is KeyboardInterrupt else kind.__name__
    assert history.stopped == f"stopped by {what} after 2 of 5 epochs; the weights are those of that moment"
    assert history.stopped in repr(history)
    assert capsys.readouterr().out == (f"{history.stopped}\n" if what == "Ctrl-C" else "")
    assert notes[-1].startswith("2 of 5 epochs are finished. ")
    assert f"`except {kind.__name__} as stop: stop.history`" in notes[-1]
    assert "`import sys; sys.last_value.history`" in notes[-1]
    assert notes[:-1] == ([place] if place and kind is Trouble else [])
    assert not any(m.training for m in model.modules())
    model.at = None
    assert evaluate_accuracy(model, tiny()) > 0
    assert pickle.loads(pickle.dumps(history)).loss == history.loss  # as it comes out of a pool's worker


def test_a_loop_over_seeds_ends_with_the_training_that_was_stopped():
    started = []

    def stop(model, history):
        raise KeyboardInterrupt

    def run_all():
        for seed in range(3):
            started.append(seed)
            train(net(), tiny(), tiny(), 3, 0.1, after_epoch=stop)

    with pytest.raises(KeyboardInterrupt):
        run_all()
    assert started == [0]


def test_stopped_before_the_first_row_there_is_an_empty_history():
    def stop(module):
        raise KeyboardInterrupt

    model = net()
    with pytest.raises(KeyboardInterrupt) as caught:
        train(model, tiny(), tiny(), 3, 0.1, init_weights=stop)
    assert len(caught.value.history) == 0
    assert not model.training


def test_an_error_that_takes_no_attributes_is_still_that_error():
    class Closed(Exception):
        def __setattr__(self, name, value):
            raise AttributeError(name)

    model = net()
    with pytest.raises(Closed):
        train(model, tiny(), tiny(), 3, 0.1, after_epoch=fail(Closed(), 1))
    assert not model.training


CELLS = (
    """
from small_runs import net, tiny
from d2lnorm import train

def stop(model, history):
    raise KeyboardInterrupt

train(net(), tiny(), tiny(), 3, 0.1, after_epoch=stop)
""",
    "import sys; print('rows:', len(sys.last_value.history))",
)


def test_the_notebook_s_next_cell_finds_the_history(tmp_path):
    """In a process of its own: a shell leaves hooks and files behind."""
    code = (
        f"from IPython.core.interactiveshell import InteractiveShell as S; s = S(); [s.run_cell(c) for c in {CELLS!r}]"
    )
    places = {"PYTHONPATH": os.pathsep.join(sys.path), "IPYTHONDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **places})
    assert "1 of 3 epochs are finished" in done.stdout  # the note, below the traceback
    assert "rows: 1" in done.stdout, done.stderr


def test_an_error_in_the_loss_says_in_which_batch():
    parts = [(X, Y), (X, Y + 1)]  # four classes, and three logits
    with pytest.raises(IndexError) as caught:
        train(net(), parts, parts, 3, 0.1)
    assert "in batch 2 of epoch 1" in caught.value.__notes__
