"""How long each notebook runs, as the README's table says, and so in which order they are best executed."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
ROW = re.compile(r"^\|[^|]*\(notebooks/(?P<name>[^)]+\.ipynb)\).*\|(?P<time>[^|]+)\|\s*$", re.MULTILINE)
TIME = re.compile(r"\s*(?:[\d.]+ to )?(?P<number>[\d.]+) (?P<unit>second|minute)s?\s*")


def seconds(readme: Path = README) -> dict[str, float]:
    """Return each notebook's seconds on two idle cores, the longer where the table has a range; {} without a table."""
    try:
        rows = ROW.finditer(readme.read_text(encoding="utf-8"))
    except OSError:
        return {}
    times = {row["name"]: TIME.fullmatch(row["time"]) for row in rows}
    return {name: float(t["number"]) * {"second": 1, "minute": 60}[t["unit"]] for name, t in times.items() if t}


def quick_first(notebooks: list[Path], times: dict[str, float]) -> list[Path]:
    """Return the notebooks, the quick ones first, equally quick ones by name, unknown ones last."""
    return sorted(notebooks, key=lambda path: (times.get(path.name, float("inf")), path.name))


def estimate(notebooks: list[Path], times: dict[str, float]) -> str:
    """Say in words how long these notebooks take; empty where the table knows none of them."""
    total = sum(times.get(path.name, 0) for path in notebooks)
    unknown = sum(path.name not in times for path in notebooks)
    if not total:
        return ""
    amount = f"{total / 60:.0f} minutes" if total >= 90 else f"{max(total, 1):.0f} seconds"
    more = f", and for {unknown} of them an unknown time more" if unknown else ""
    return f"about {amount} on two cores with nothing else to do{more}"
