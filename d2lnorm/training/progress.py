"""The bar that shows how far a training or an experiment has come."""

import os
from typing import Any

__all__ = ["progress"]


def progress(total: int, unit: str, shown: bool = True) -> Any:
    """Return a tqdm bar over `total` units that is gone at the end; TQDM_DISABLE=1 keeps it quiet.

    That is tqdm's own switch, which its notebook bar overlooks.
    """
    from tqdm.auto import tqdm

    quiet = os.environ.get("TQDM_DISABLE", "0") != "0"
    return tqdm(total=total, unit=unit, leave=False, disable=quiet or not shown)
