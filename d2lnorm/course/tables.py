"""Reference tables, filled by running code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame

__all__ = ["Table", "table"]


class Table:
    """What `table` returns; Jupyter shows it as a table, `print` as text. `frame` is the pandas.DataFrame."""

    def __init__(self, frame: DataFrame) -> None:
        self.frame = frame

    def __repr__(self) -> str:
        return self.frame.to_string(index=False, justify="left")

    def _repr_html_(self) -> str:
        import pandas as pd

        with pd.option_context("display.max_colwidth", None):
            html = self.frame.to_html(index=False, border=0)
        for tag in ("th", "td"):  # JupyterLab would put both to the right
            html = html.replace(f"<{tag}>", f'<{tag} style="text-align: left; vertical-align: top">')
        return html


def table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Return a table with a row for each mapping, whose keys name the columns; every cell is shown whole.

    Numbers are best formatted by the caller (`f"{x:.4f}"`), who knows which digits mean something.

    Raises:
        ValueError: no rows, or rows that differ in their columns.
    """
    import pandas as pd

    if not rows:
        raise ValueError("a table needs at least one row, but got none")
    for row in rows:
        if list(row) != list(rows[0]):
            raise ValueError(f"every row must have the columns {list(rows[0])}, but one has {list(row)}")
    return Table(pd.DataFrame([{name: str(value) for name, value in row.items()} for row in rows]))
