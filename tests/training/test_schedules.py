"""Schedules that end before the training does."""

import re
from functools import partial

import pytest
import torch
from small_runs import net, tiny
from torch.optim.lr_scheduler import OneCycleLR

from d2lnorm import train

X, Y = tiny().dataset.tensors
ONE_CYCLE = partial(OneCycleLR, max_lr=0.1)
WORDS = "A schedule must be made with the total_steps that it is given, and train_iter must yield as many batches as"


class Trouble(Exception):
    pass


class Short(torch.optim.lr_scheduler.LambdaLR):
    def step(self):
        if self.last_epoch == 7:
            raise Trouble
        super().step()


def test_a_schedule_made_for_fewer_steps_says_which_step_it_could_not_take():
    def short(optimizer, total_steps):
        return ONE_CYCLE(optimizer, total_steps=total_steps - 2)

    with pytest.raises(ValueError, match=f"^the schedule cannot take step 8 of 9: .*{re.escape(WORDS)}") as caught:
        train(net(), tiny(), tiny(), 3, 0.1, schedule=short)
    assert len(caught.value.history) == 2
    assert "in batch 2 of epoch 3" in caught.value.__notes__
    assert isinstance(caught.value.__cause__, ValueError)


def test_more_batches_than_the_length_says_end_a_schedule_too():
    class More(list):
        def __len__(self):
            return 1

    more = More([(X, Y), (X, Y)])
    with pytest.raises(ValueError, match=f"^the schedule cannot take step 4 of 3: .*{re.escape(WORDS)}") as caught:
        train(net(), more, tiny(), 3, 0.1, schedule=ONE_CYCLE)
    assert len(caught.value.history) == 1
    assert len(train(net(), more, tiny(), 3, 0.1)) == 3  # without a schedule they do no harm


def test_a_schedule_s_own_error_is_left_as_it_is():
    def short(optimizer, total_steps):
        return Short(optimizer, lambda step: 1.0)

    with pytest.raises(Trouble) as caught:
        train(net(), tiny(), tiny(), 3, 0.1, schedule=short)
    assert len(caught.value.history) == 2


def test_a_schedule_takes_every_step_that_it_was_made_for():
    seen = []

    def schedule(optimizer, total_steps):
        seen.append(ONE_CYCLE(optimizer, total_steps=total_steps))
        return seen[0]

    assert len(train(net(), tiny(), tiny(), 3, 0.1, schedule=schedule)) == 3
    assert seen[0].last_epoch == 9
