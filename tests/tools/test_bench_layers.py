"""The bench script runs and gives the rows that it promises; how long they take is no test's business."""

import torch

import bench_layers


def test_rows(monkeypatch, capsys):
    threads = torch.get_num_threads()
    monkeypatch.setattr(bench_layers, "SHAPES", [(4, 3, 8, 8)])
    bench_layers.main(["--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + 3 + 3
    assert "ratio" in lines[1]
    assert torch.get_num_threads() == threads
