"""Six pictures that answer the hand: in a notebook with a kernel, on a page or a slide without."""

import json
from html import escape
from typing import Any
from urllib.parse import urlencode

from d2lnorm.course.explorables.widgets import Depth as depth
from d2lnorm.course.explorables.widgets import Dropout as dropout
from d2lnorm.course.explorables.widgets import OneBatch as one_batch
from d2lnorm.course.explorables.widgets import PushOneOutput as push_one_output
from d2lnorm.course.explorables.widgets import RunningMean as running_mean
from d2lnorm.course.explorables.widgets import WhichValues as which_values
from d2lnorm.course.explorables.widgets import source

__all__ = ["depth", "dropout", "element", "one_batch", "push_one_output", "running_mean", "script", "which_values"]

CLASSES = {
    "one_batch": one_batch,
    "which_values": which_values,
    "running_mean": running_mean,
    "depth": depth,
    "push_one_output": push_one_output,
    "dropout": dropout,
}


def element(name: str, *, linked: bool = False, **state: Any) -> str:
    """Return the HTML of a place for an explorable, which `script` fills: on a page, on a slide, without a kernel.

    Args:
        name: the explorable's.
        linked: whether it has the anchor that links lead to, `#one_batch?values=1,2,9`, and shows such a link.
        state: what differs from the usual state, in Python or as in a link: values=[1, 2, 9] or values="1,2,9".

    Raises:
        ValueError: there is no explorable of this name.
    """
    if name not in CLASSES:
        raise ValueError(f"there is no explorable {name!r}, only {', '.join(CLASSES)}")
    words = {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in state.items()}
    words = {key: str(word).lower() if isinstance(word, bool | None) else word for key, word in words.items()}
    anchor = f'id="{name}" ' if linked else ""
    return f'<div {anchor}data-explorable="{name}" data-state="{escape(urlencode(words, safe=","))}"></div>'


def parts() -> str:
    """Return as JSON all that explorables are made of: the modules, what they share, and their usual states."""
    found = {
        "shared": source("shared.js"),
        "style": source("explorable.css"),
        "modules": {name: source(f"{name}.js") for name in CLASSES},
        "states": {name: cls().state() for name, cls in CLASSES.items()},
    }
    return json.dumps(found, ensure_ascii=False).replace("</", "<\\/")  # which would end a page's script


def script() -> str:
    """Return the script that puts an explorable into each `element` of a page. It needs no kernel and no network."""
    return f"{{\nconst EXPLORABLES = {parts()};\n{source('loader.js')}}}\n"
