"""The bench script still runs; how long things take is no test's business."""

import IPython.display
import pytest
import torch
from d2l import torch as d2l
from torch.utils.data import DataLoader, TensorDataset

import bench
import bench_explorables
import d2lnorm
from d2lnorm.course import explorables


@pytest.fixture
def quick(monkeypatch):
    """Each side is called once, for real, on six small batches; but Python is not started anew."""
    g = torch.Generator().manual_seed(0)
    X, y = torch.rand(96, 1, 28, 28, generator=g), torch.randint(10, (96,), generator=g)
    parts = TensorDataset(X, y), TensorDataset(X[:32], y[:32])

    def ours(batch_size):
        return tuple(d2lnorm.Batches(*part.tensors, batch_size) for part in parts)

    def books(batch_size):
        return tuple(DataLoader(part, batch_size) for part in parts)

    def interleaved(sides, rounds):
        for side in sides.values():
            side()
        return {name: 2.0 + n for n, name in enumerate(sides)}

    monkeypatch.setattr(d2lnorm, "load_fashion_mnist", ours)
    monkeypatch.setattr(d2l, "load_data_fashion_mnist", books)
    for name in ("display", "clear_output"):  # which the script switches off
        monkeypatch.setattr(IPython.display, name, getattr(IPython.display, name))
    monkeypatch.setattr(bench, "interleaved", interleaved)
    monkeypatch.setattr(bench, "BATCH", 16)
    monkeypatch.setattr(bench.subprocess, "run", lambda command, **options: compile(command[-1], "<code>", "exec"))


@pytest.mark.parametrize(("rows", "count"), [(bench.start_rows, 2), (bench.step_rows, 1), (bench.epoch_rows, 3)])
def test_rows_hold_what_was_measured_two_times_and_the_limit(quick, capsys, rows, count):
    found = rows()
    assert len(found) == count
    bench.print_rows(found)
    for (what, first, second, limit), line in zip(found, capsys.readouterr().out.splitlines(), strict=True):
        assert line.startswith(what)
        assert f" {first / second:.2f} " in line
        assert line.endswith(limit)


def test_accuracies_of_both_recipes_are_printed(quick, capsys):
    bench.accuracy_table()
    _, head, *recipes = capsys.readouterr().out.splitlines()
    assert head.startswith("recipe, 6 epochs")
    assert [line[:3] for line in recipes] == ["SGD", "mom"]
    assert all(line.count("0.") >= 6 for line in recipes)


def test_sides_are_called_in_turn_after_a_call_to_warm_up():
    calls = []
    seconds = bench.interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3)
    assert calls == ["a", "b"] * 4
    assert seconds.keys() == {"a", "b"}


def test_each_explorable_is_measured_as_a_hand_moves_it(browser):
    found = bench_explorables.rows(browser, moves=3)
    assert [name for name, *_ in found] == list(explorables.CLASSES)
    assert all(0 <= median <= most > 0 for _, median, most, _ in found)
