"""The order and the estimate of `make run` come from the README's table."""

from pathlib import Path

from tiny_notebooks import ROOT

import timetable


def test_the_table_has_every_notebook_and_the_quick_ones_come_first():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    times = timetable.seconds()
    assert times.keys() == {path.name for path in notebooks}
    ordered = timetable.quick_first(notebooks, times)
    assert [path.name[:2] for path in ordered[:3]] == ["00", "02", "11"]
    assert ordered[-1].name.startswith("07")
    assert [times[path.name] for path in ordered] == sorted(times.values())


def test_a_range_counts_with_its_longer_time_and_an_unknown_notebook_comes_last(tmp_path):
    table = tmp_path / "README.md"
    table.write_text(
        "| [7](notebooks/07_a.ipynb) | learn | 5 to 7 minutes |\n"
        "| [8](notebooks/08_b.ipynb) | x | 1.5 minutes |\n"
        "| [0](notebooks/00_c.ipynb) | y | 15 seconds |\n"
        "| [1](02.ipynb) | z | soon |"
    )
    times = timetable.seconds(table)
    assert times == {"07_a.ipynb": 420, "08_b.ipynb": 90, "00_c.ipynb": 15}
    mine, *known = [Path("x") / name for name in ("0_mine.ipynb", *times)]
    assert timetable.quick_first([mine, *known], times) == [known[2], known[1], known[0], mine]
    assert timetable.estimate(known, times) == "about 9 minutes on two cores with nothing else to do"
    assert timetable.estimate(known[2:], times) == "about 15 seconds on two cores with nothing else to do"
    assert timetable.estimate([mine, known[2]], times).endswith(", and for 1 of them an unknown time more")
    assert timetable.estimate([mine], times) == ""
    assert timetable.seconds(tmp_path / "none.md") == {}
