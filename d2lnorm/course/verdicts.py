"""Claim, run, verdict: the one form in which the course shows what a statement is worth."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from html import escape

__all__ = ["Verdict", "error_of", "verdict"]

WORDS = {True: "Right.", False: "Wrong.", None: "It depends."}


@dataclass(frozen=True)
class Verdict:
    """What `verdict` returns; Jupyter shows it as a table, `print` as text."""

    claim: str
    run: str
    verdict: str
    cause: str

    def _rows(self) -> dict[str, str]:
        return {"Claim": self.claim, "Run": self.run, "Verdict": self.verdict, "Cause": self.cause}

    def __repr__(self) -> str:
        return "\n".join(
            textwrap.fill(text, 96, initial_indent=f"{name:<9}", subsequent_indent=" " * 9)
            for name, text in self._rows().items()
        )

    def _repr_html_(self) -> str:
        left = 'style="text-align: left; vertical-align: top"'
        rows = (
            f'<tr><th scope="row" {left}>{name}</th><td {left}>{escape(text)}</td></tr>'
            for name, text in self._rows().items()
        )
        return f"<table>{''.join(rows)}</table>"


def verdict(*, claim: str, run: str, holds: bool | None, truth: str, cause: str) -> Verdict:
    """Return a claim beside what running it gave, to be shown as a cell's last expression.

    Args:
        claim: what is said, in words.
        run: what the cell found, with its computed numbers formatted in.
        holds: the outcome, computed by the cell: True, False, or None for "it depends".
        truth: what is true instead (or why it is).
        cause: how one arrives at the claim: what one would have to do wrong, or leave out.

    Raises:
        TypeError: holds is neither a bool nor None.
        ValueError: a text is empty.
    """
    if holds is not None and not isinstance(holds, bool):
        raise TypeError(f"holds must be True, False or None, but is {holds!r} of type {type(holds).__name__}")
    for name, text in {"claim": claim, "run": run, "truth": truth, "cause": cause}.items():
        if not text.strip():
            raise ValueError(f"{name} must say something, but is empty")
    return Verdict(claim, run, f"{WORDS[holds]} {truth}", cause)


def error_of(function: Callable, *args: object, **kwargs: object) -> Exception:
    """Return the exception that `function(*args, **kwargs)` raises.

    Raises:
        AssertionError: it raised none.
    """
    try:
        result = function(*args, **kwargs)
    except Exception as error:
        return error
    raise AssertionError(f"expected an error, but got {result!r}")
