"""Verdicts, tables, spreads and bands: what the notebooks show their findings with."""

import pytest
import torch
from bs4 import BeautifulSoup
from matplotlib import pyplot as plt

from d2lnorm import Batches
from d2lnorm.course.plotting import COLORS, band, new_axes
from d2lnorm.course.spread import spread
from d2lnorm.course.tables import table
from d2lnorm.course.verdicts import error_of, verdict

TEXTS = {"claim": "1 < 0 & so on", "run": "1 < 0 is False", "truth": "It is not.", "cause": "A sign was lost."}


@pytest.mark.parametrize(("holds", "word"), [(True, "Right."), (False, "Wrong."), (None, "It depends.")])
def test_a_verdict_shows_four_lines_as_text_and_as_html(holds, word):
    v = verdict(**TEXTS, holds=holds)
    assert repr(v).splitlines() == [
        "Claim    1 < 0 & so on",
        "Run      1 < 0 is False",
        f"Verdict  {word} It is not.",
        "Cause    A sign was lost.",
    ]
    page = BeautifulSoup(v._repr_html_(), "html.parser")
    assert [th.text for th in page.select("th[scope=row]")] == ["Claim", "Run", "Verdict", "Cause"]
    assert [td.text for td in page.select("td")] == ["1 < 0 & so on", "1 < 0 is False", f"{word} It is not.", v.cause]


def test_a_long_verdict_is_wrapped_under_its_text():
    lines = repr(verdict(**TEXTS | {"run": "so many words " * 20}, holds=False)).splitlines()
    assert max(map(len, lines)) <= 96
    assert len(lines) > 6
    assert lines[2].startswith(" " * 9)
    assert not lines[2].startswith(" " * 10)


def test_a_verdict_needs_a_computed_truth_value_and_words():
    with pytest.raises(TypeError, match="holds must be True, False or None, but is 1 of type int"):
        verdict(**TEXTS, holds=1)
    with pytest.raises(ValueError, match="cause must say something"):
        verdict(**TEXTS | {"cause": " "}, holds=True)


def test_error_of():
    error = error_of(int, "x", base=10)
    assert isinstance(error, ValueError)
    with pytest.raises(AssertionError, match="expected an error, but got 7"):
        error_of(int, "7")


def test_a_table_shows_every_cell_whole():
    long = "all of it, " * 30 + "really"
    t = table([{"layer": "BatchNorm1d", "says <b>": long}, {"layer": "LayerNorm", "says <b>": 2}])
    page = BeautifulSoup(t._repr_html_(), "html.parser")
    assert [th.text for th in page.select("th")] == ["layer", "says <b>"]
    assert [td.text for td in page.select("td")] == ["BatchNorm1d", long, "LayerNorm", "2"]
    assert all("text-align: left" in cell["style"] for cell in page.select("th, td"))
    assert long in repr(t)
    assert repr(t).splitlines()[0].split() == ["layer", "says", "<b>"]


def test_a_table_wants_rows_of_one_kind():
    with pytest.raises(ValueError, match="at least one row"):
        table([])
    with pytest.raises(ValueError, match=r"every row must have the columns \['a'\], but one has \['b'\]"):
        table([{"a": 1}, {"b": 2}])


def test_spread():
    assert spread([0.25, 0.5, 0.75]) == "0.500 (0.250 to 0.750)"
    assert spread([10, 20], digits=0) == "15 (10 to 20)"
    with pytest.raises(ValueError, match="values is empty"):
        spread([])


def test_a_band_is_the_mean_between_lowest_and_highest():
    ax = new_axes()
    drawn = band(ax, [1, 2], [[0.0, 4.0], [1.0, 6.0], [2.0, 8.0]], 1, label="runs")
    assert list(drawn.get_ydata()) == [1.0, 6.0]
    assert drawn.get_color() == COLORS[1]
    edges = {tuple(p) for p in ax.collections[0].get_paths()[0].vertices.tolist()}
    assert {(1.0, 0.0), (1.0, 2.0), (2.0, 4.0), (2.0, 8.0)} <= edges
    with pytest.raises(ValueError, match="must have the 3 values of x, but they have 2"):
        band(ax, [1, 2, 3], [[0.0, 1.0]], 0)
    plt.close(ax.figure)


def test_first_examples():
    all_of_them = Batches(torch.arange(10.0), torch.arange(10), 4, shuffle=True)
    few = all_of_them.first(6, batch_size=5)
    assert few.batch_size == 5
    assert few.shuffle
    assert sorted(y for _, ys in few for y in ys.tolist()) == list(range(6))
    assert all_of_them.first(6).batch_size == 4
    for wrong in (0, 11):
        with pytest.raises(ValueError, match=f"between 1 and 10, but is {wrong}"):
            all_of_them.first(wrong)
    with pytest.raises(ValueError, match="batch_size"):
        all_of_them.first(5, batch_size=0)
