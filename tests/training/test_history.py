"""The history as a table and as a figure, and the course's plots."""

from base64 import b64decode

import matplotlib.pyplot as plt
import pytest

from d2lnorm import History
from d2lnorm.course.plotting import COLORS, figure, line, new_axes, show


def test_history_prints_as_a_table():
    history = History()
    history.append(0.73331, 0.7352, 0.7431, 4.0)
    history.append(1.5e30, 0.1, 0.1, 12.25)
    assert repr(history).splitlines() == [
        "epoch     loss  train acc  test acc  seconds",
        "    1   0.7333     0.7352    0.7431     4.00",
        "    2  1.5e+30     0.1000    0.1000    12.25",
    ]


def test_history_plots_with_one_call():
    history = History()
    history.append(0.7, 0.7, 0.6, 4.0)
    history.append(0.5, 0.8, 0.7, 4.0)
    ax = history.plot()
    assert ax.get_xlabel() == "epoch"
    assert ax.get_ylabel() == "loss (nats), accuracy"
    assert [list(l.get_ydata()) for l in ax.lines] == [[0.7, 0.5], [0.7, 0.8], [0.6, 0.7]]
    assert len({l.get_color() for l in ax.lines}) == len({str(l.get_linestyle()) for l in ax.lines}) == 3
    other = new_axes()
    assert history.plot(other) is other


def test_figures_have_one_size_a_panel_and_lines_repeat_their_looks():
    axes = figure(2, rows=2, sharex=True)
    assert len(axes) == 4
    assert tuple(axes[0].figure.get_size_inches()) == pytest.approx((8.8, 6.4))
    assert tuple(figure(3)[0].figure.get_size_inches()) == pytest.approx((10.2, 3.2))
    assert line(axes[0], [1], [1], len(COLORS)).get_color() == COLORS[0]


def test_show_displays_a_png_with_its_text_and_closes_the_figure(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    ax = new_axes()
    show(ax, "an empty panel")
    ((data,), options) = shown[0]
    assert options == {"raw": True, "metadata": {"image/png": {"alt": "an empty panel", "width": 440, "height": 320}}}
    assert b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert data["text/plain"] == "Figure: an empty panel"
    assert ax.figure.number not in plt.get_fignums()
    with pytest.raises(ValueError, match="alt must say in words what the figure shows"):
        show(ax, " ")
