"""Measure how long a page's script works at each move of a hand on an explorable, in a headless Chromium."""

import statistics
import sys

from playwright.sync_api import Browser

from browser import NoBrowser, chromium
from d2lnorm.course import explorables

# What the hand moves, from where to where, and the state in which most is drawn.
MOVES = {
    "one_batch": ("gamma", -3, 3, {"values": [1, 2, 4, 5, 8, 9, 11, 15]}),
    "which_values": ("change", -3, 3, {"norm": "BN"}),
    "running_mean": ("momentum", 0, 1, {"steps": 100}),
    "depth": ("gain", 0.1, 3, {"depth": 30, "batch_norm": True, "skip": True}),
    "push_one_output": ("pull", -1, 1, {"values": [1, 2, 4, 5, 8, 9, 11, 15]}),
    "dropout": ("p", 0, 0.95, {"draws": 1000}),
}
LIMIT = {"depth": 100}  # milliseconds; of the others: 8
MEASURE = """async ([name, key, low, high, moves, state]) => {
  const { shared, modules, states, style } = parts, text = shared + modules[name], heard = {};
  const { default: widget } = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  document.body.innerHTML = `<style>${style}</style><div></div>`;
  const now = { ...states[name], ...state }, model = { get: key => now[key], save_changes() {}, off() {} };
  model.on = (event, hear) => { heard[event] = hear };
  const end = widget.render({ el: document.querySelector("div"), model }), times = [];
  for (let i = 0; i <= moves; i++) {
    const start = performance.now();
    now[key] = low + (high - low) * i / moves;
    heard[`change:${key}`]();
    await Promise.resolve(); // what was put off until here is drawn
    times.push(performance.now() - start);
    await new Promise(requestAnimationFrame);
  }
  end();
  return times;
}"""


def rows(browser: Browser, moves: int = 60) -> list[tuple[str, float, float, int]]:
    """Return for each explorable its name, the median and the largest milliseconds of script a move, and the limit."""
    found, page = [], browser.new_page()
    page.evaluate("text => { parts = JSON.parse(text) }", explorables.parts())
    for name, (key, low, high, state) in MOVES.items():
        times = page.evaluate(MEASURE, [name, key, low, high, moves, state])
        found.append((name, statistics.median(times), max(times), LIMIT.get(name, 8)))
    page.close()
    return found


def main() -> None:
    """Print the table."""
    print("explorables: milliseconds of script a move")
    try:
        with chromium() as browser:
            for name, median, most, limit in rows(browser):
                print(f"{name:<16} median {median:6.1f}   most {most:6.1f}   median < {limit}")
    except NoBrowser as missing:
        print(missing, file=sys.stderr)


if __name__ == "__main__":
    main()
