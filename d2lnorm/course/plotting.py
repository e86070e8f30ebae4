"""One look for every figure of the course: size, line styles, a palette safe for colour-blind readers."""

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO
from statistics import fmean

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

__all__ = ["COLORS", "band", "figure", "line", "new_axes", "show"]

# Okabe and Ito's palette, the yellow left out (too light on white), blue and vermilion first.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))  # for prints without colour
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
WIDTH, HEIGHT = 4.4, 3.2  # inches, of one panel
WIDEST = 10.2  # inches, of a figure: more would shrink its letters on pages and slides
PIXELS = 100  # an inch, on screen


def new_axes() -> Axes:
    """Return the axes of a new figure with one panel."""
    return figure(1)[0]


def figure(columns: int = 1, rows: int = 1, **subplots) -> list[Axes]:
    """Return the axes, row by row, of a new figure with `rows` x `columns` panels of the course's size.

    Three panels and more in a row share the width of a page.

    Keyword arguments go to `matplotlib.pyplot.subplots` (`sharey=True`, say).
    """
    size = min(WIDTH * columns, WIDEST), HEIGHT * rows
    fig, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **subplots)
    for ax in axes.flat:
        ax.grid(alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    return list(axes.flat)


def line(ax: Axes, x: Sequence[float], y: Sequence[float], number: int, **plot) -> Line2D:
    """Draw a line in the `number`-th colour, style and marker (each wraps around) and return it."""
    look = {
        "color": COLORS[number % len(COLORS)],
        "linestyle": STYLES[number % len(STYLES)],
        "marker": MARKERS[number % len(MARKERS)],
        "markersize": 4,
    }
    return ax.plot(x, y, **(look | plot))[0]


def band(ax: Axes, x: Sequence[float], runs: Sequence[Sequence[float]], number: int, **plot) -> Line2D:
    """Draw the mean of several runs as a `line`, on a band from the lowest run to the highest, and return the line.

    Raises:
        ValueError: the runs differ in length from x.
    """
    points = list(zip(*runs, strict=True))
    if len(points) != len(x):
        raise ValueError(f"every run must have the {len(x)} values of x, but they have {len(points)}")
    low, high = [min(p) for p in points], [max(p) for p in points]
    ax.fill_between(x, low, high, color=COLORS[number % len(COLORS)], alpha=0.2, linewidth=0)
    return line(ax, x, [fmean(p) for p in points], number, **plot)


def show(ax: Axes, alt: str) -> None:
    """Display the figure that `ax` belongs to as a PNG, once, with `alt` as its text for those who cannot see it.

    The PNG is made here, so a library that switches Jupyter to SVG (d2l's plots do) changes nothing. It needs
    IPython, which every notebook has.

    Raises:
        ValueError: alt is empty.
    """
    if not alt.strip():
        raise ValueError("alt must say in words what the figure shows, but is empty")
    from IPython.display import display
    from PIL import Image

    figure, full, png = ax.figure, BytesIO(), BytesIO()
    assert isinstance(figure, Figure)  # no part of a larger one
    figure.savefig(full, format="png", dpi=1.5 * PIXELS)  # sharp on dense screens, shown at PIXELS an inch
    plt.close(figure)
    Image.open(full).convert("RGB").quantize(256).save(png, format="png", optimize=True)  # a third of the bytes
    width, height = (round(inches * PIXELS) for inches in figure.get_size_inches())
    data = {"image/png": b64encode(png.getvalue()).decode(), "text/plain": f"Figure: {alt}"}
    display(data, raw=True, metadata={"image/png": {"alt": alt, "width": width, "height": height}})
