"""The explorables: their numbers against torch's, and what the hand, the keyboard and a link do to them."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from traitlets import TraitError

from d2lnorm.course import explorables
from d2lnorm.course.explorables.widgets import source
from hand import drag, in_view, numbers, sentence, touch
from npm_packages import unpack

NAMES = list(explorables.CLASSES)
STATES = 200
COMPUTE = """async ({text, states, draws}) => {
  const { compute } = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  return states.map(state => compute(state, draws));
}"""


def draw(g, *shape):
    return torch.randn(*shape, generator=g, dtype=torch.float64)


def among(g, *options):
    return options[int(torch.randint(len(options), (), generator=g))]


def between(g, low, high):
    return low + (high - low) * torch.rand((), generator=g, dtype=torch.float64).item()


def values(g, least=1, most=8):
    return (among(g, 0, 5, -300) + among(g, 1, 0.1, 30) * draw(g, among(g, *range(least, most + 1)))).tolist()


def column(numbers):
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def a_batch(g):
    state = {"values": values(g), "gamma": between(g, -3, 3), "beta": between(g, -3, 3), "eps": among(g, 1e-5, 0.1, 1)}
    running = {"running_mean": between(g, -9, 9), "running_var": between(g, 0.1, 9)}
    return state | running | {"training": among(g, True, False)}


def one_batch(state, draws):
    X, n = column(state["values"]), len(state["values"])
    if state["training"] and n == 1:
        with pytest.raises(ValueError, match="Expected more than 1 value per channel"):
            F.batch_norm(X, None, None, training=True)
        return {"refused": str}
    norm = nn.BatchNorm1d(1, eps=state["eps"], dtype=torch.float64).train(state["training"])
    with torch.no_grad():
        for name in ("running_mean", "running_var"):
            getattr(norm, name).fill_(state[name])
        norm.weight.fill_(1)
        X_hat = norm(X)
        Y = X_hat * state["gamma"] + state["beta"]
    return {"mean": X.mean(), "var": X.var(correction=0), "X_hat": X_hat[:, 0], "Y": Y[:, 0]}


def a_block(g):
    norm, groups = among(g, "BN", "LN", "GN", "IN", "RMS"), among(g, 1, 2, 4)
    state = {"norm": norm, "groups": groups, "values": draw(g, 48).tolist(), "cell": among(g, *range(1, 49))}
    return state | {"change": among(g, 0.0, between(g, -3, 3))}


def which_values(state, draws):
    norms = {
        "BN": nn.BatchNorm2d(4, affine=False, track_running_stats=False),
        "LN": nn.LayerNorm((4, 2, 2), elementwise_affine=False),
        "GN": nn.GroupNorm(state["groups"], 4, affine=False),
        "IN": nn.InstanceNorm2d(4),
        "RMS": nn.RMSNorm((4, 2, 2), eps=1e-5, elementwise_affine=False),
    }
    norm, before = norms[state["norm"]], torch.tensor(state["values"], dtype=torch.float64)
    X = before.clone()
    X[state["cell"] - 1] += state["change"]
    X.requires_grad_()
    Y = norm(X.view(3, 4, 2, 2)).flatten()
    (gradient,) = torch.autograd.grad(Y[state["cell"] - 1], X)
    shares, X = gradient != 0, X.detach()
    changed = (Y - norm(before.view(3, 4, 2, 2)).flatten()).abs() > 1e-9
    its = X[shares]
    statistics = {
        "count": shares.sum(),
        "mean": its.mean(),
        "var": its.var(correction=0),
        "square": its.square().mean(),
    }
    return statistics | {"X": X, "Y": Y.detach(), "shares": shares, "changed": changed}


def a_stream(g):
    size, steps = among(g, 2, 3, 17, 64), among(g, 1, 2, 30, 100)
    return {"momentum": among(g, None, 0.0, 1.0, between(g, 0, 1)), "batch_size": size, "steps": steps} | {
        "drift": between(g, -0.1, 0.1),
        "seed": 0,
    }


def running_mean(state, draws):
    norm, true = (nn.BatchNorm1d(1, momentum=state["momentum"], dtype=torch.float64) for _ in range(2))
    weights = nn.BatchNorm1d(state["steps"], momentum=state["momentum"], dtype=torch.float64)
    batches, line, smooth, typical, size = [], [], [], [], state["batch_size"]
    for t in range(state["steps"]):
        now = 1 + state["drift"] * (t + 1)
        X = torch.tensor(draws[t * 64 : t * 64 + size], dtype=torch.float64)[:, None] + now
        norm(X)
        true(torch.tensor([[now - 1], [now + 1]], dtype=torch.float64))  # a batch whose mean is the true one
        weights(F.one_hot(torch.tensor([t, t]), state["steps"]).double())  # channel t: what batch t counts in the end
        batches.append(X.mean())
        line.append(norm.running_mean[0].clone())
        smooth.append(true.running_mean[0].clone())
        typical.append(weights.running_mean.square().sum().div(size).sqrt())  # the values have variance 1
    mean = norm.running_mean[0]
    kept = {
        "running": mean,
        "running_var": norm.running_var[0],
        "line": torch.stack(line),
        "batches": torch.stack(batches),
        "smooth": torch.stack(smooth),
        "typical": torch.stack(typical),
    }
    return kept | {"lag": smooth[-1] - now, "noise": mean - smooth[-1]}


def a_net(g):
    state = {"depth": among(g, 1, 2, 5, 12, 30), "gain": between(g, 0.1, 3), "batch_norm": among(g, True, False)}
    return state | {"activation": among(g, "relu", "tanh", "sigmoid", "none"), "skip": among(g, True, False), "seed": 0}


def depth(state, draws):
    H, upstream = (torch.tensor(draws[k], dtype=torch.float64).view(64, 32) for k in ("inputs", "upstream"))
    weights = torch.tensor(draws["weights"], dtype=torch.float64).view(-1, 32, 32)
    act = {"relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "none": lambda z: z}[state["activation"]]
    layers, H = [], H.requires_grad_()
    for W in weights[: state["depth"]]:
        Z = H @ W * (state["gain"] / 32**0.5)
        A = act(F.batch_norm(Z, None, None, training=True) if state["batch_norm"] else Z)
        H = A + H if state["skip"] else A
        layers.append((H, A))
    gradients = torch.autograd.grad(H, [H for H, _ in layers], upstream)
    flat = {"tanh": lambda A: A.abs() > 0.97, "sigmoid": lambda A: (A < 0.03) | (A > 0.97)}
    return {
        "layers": [
            {
                "mean": H.mean(),
                "std": H.std(correction=0),
                "gradient": G.square().mean().sqrt(),
                "dead": (A == 0).all(0).double().mean(),
                "saturated": flat.get(state["activation"], torch.zeros_like)(A).double().mean(),
                "histogram": torch.histc(H.clamp(-2.999999, 2.999999), 20, -3, 3) / H.numel(),
            }
            for (H, A), G in zip([(H.detach(), A.detach()) for H, A in layers], gradients, strict=True)
        ]
    }


def a_pull(g):
    numbers = values(g, least=2)
    state = {"values": numbers, "output": among(g, *range(1, len(numbers) + 1))}
    return state | {"pull": between(g, -2, 2), "gamma": between(g, -3, 3), "spread": between(g, 0.2, 5)}


def push_one_output(state, draws):
    X = (column(state["values"]) * state["spread"]).requires_grad_()
    gamma = torch.tensor([state["gamma"]], dtype=torch.float64)
    Y = F.batch_norm(X, None, None, gamma, training=True)
    dX = torch.autograd.grad(Y[state["output"] - 1, 0], X, torch.tensor(state["pull"], dtype=torch.float64))[0][:, 0]
    X_hat = F.batch_norm(X.detach(), None, None, training=True)[:, 0]
    return {"dX": dX, "X_hat": X_hat, "sum": dX.sum(), "product": dX @ X_hat}


def a_dropout(g):
    p, n = among(g, 0.0, 0.95, between(g, 0, 0.95)), among(g, 1, 2, 100)
    return {"values": values(g), "p": p, "training": among(g, True, False), "draws": n, "seed": 0}


def dropout(state, draws):
    x, p, n = torch.tensor(state["values"], dtype=torch.float64), state["p"], state["draws"]
    kept = torch.tensor(draws, dtype=torch.float64)[: n * len(x)].view(n, len(x)) >= p
    drawn = torch.where(kept, x / (1 - p), 0)
    Y = drawn[-1] if state["training"] else F.dropout(x, p, training=False)
    two = torch.stack([x / (1 - p), x * 0]), torch.tensor([1 - p, p], dtype=torch.float64)  # what can come, how often
    formula = (two[1] @ two[0].square() - (two[1] @ two[0]).square()).clamp(0).sqrt()
    means = {"means": drawn.mean(0), "stds": drawn.std(0, correction=0), "formula": formula}
    return means | {"Y": Y, "mask": kept[-1]}


ORACLES = {
    "one_batch": (a_batch, one_batch, None),
    "which_values": (a_block, which_values, None),
    "running_mean": (a_stream, running_mean, lambda g: draw(g, 6400).tolist()),
    "depth": (a_net, depth, lambda g: {
        "inputs": draw(g, 64 * 32).tolist(),
        "upstream": draw(g, 64 * 32).tolist(),
        "weights": draw(g, 30 * 32 * 32).tolist(),
    }),
    "push_one_output": (a_pull, push_one_output, None),
    "dropout": (a_dropout, dropout, lambda g: torch.rand(800, generator=g, dtype=torch.float64).tolist()),
}  # fmt: skip


def compare(got, expected, where):
    for key, truth in expected.items():
        at = f"{where}: {key}"
        if truth is str:
            assert isinstance(got[key], str), at
        elif isinstance(truth, list):
            assert len(got[key]) == len(truth), at
            for one, other in zip(got[key], truth, strict=True):
                compare(one, other, at)
        else:
            mine = torch.tensor(got[key], dtype=truth.dtype)
            torch.testing.assert_close(mine, truth, rtol=1e-9, atol=1e-9, msg=lambda m, at=at: f"{at}: {m}")


@pytest.fixture(scope="module")
def blank(browser):
    page = browser.new_page()
    yield page
    page.close()


@pytest.mark.parametrize("name", NAMES)
def test_its_numbers_are_torch_s(name, blank):
    state_of, oracle, draws_of = ORACLES[name]
    g = torch.Generator().manual_seed(0)
    draws = draws_of(g) if draws_of else None
    states = [state_of(g) for _ in range(STATES)]
    text = source("shared.js") + source(f"{name}.js")
    found = blank.evaluate(COMPUTE, {"text": text, "states": states, "draws": draws})
    for state, got in zip(states, found, strict=True):
        compare(got, oracle(state, draws), state)


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Explorables</title>
<style>body {{ font: 16px sans-serif; color: {ink}; background: {paper}; margin: 8px }}</style>
<script>{script}</script><main><h1>Explorables</h1>{places}</main></html>"""
LIGHT, DARK = {"ink": "#1f2933", "paper": "#ffffff"}, {"ink": "#ced6dd", "paper": "#14181e"}


@pytest.fixture(scope="module")
def page_of(browser, tmp_path_factory):
    """Opens a page with explorables that are told by their names, or by HTML; whatever goes wrong there is an error."""
    folder, faults, contexts = tmp_path_factory.mktemp("explorables"), [], []

    def opened(*names, link="", colors=LIGHT, width=400, **options):
        places = "".join(n if n.startswith("<") else explorables.element(n, linked=True) for n in names)
        file = folder / "page.html"
        file.write_text(PAGE.format(script=explorables.script(), places=places, **colors), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(file.as_uri() + link)
        page.wait_for_function(f"document.querySelectorAll('.ready').length === {len(names)}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def test_a_drag_moves_all_outputs_in_training_and_one_in_evaluation(page_of):
    page = page_of("one_batch")
    handle = page.get_by_role("slider", name="value 2 of 5")
    assert in_view(page) == [1, 2, 4, 5, 8]
    drag(page, handle, right=60)
    assert in_view(page)[1] > 2.5
    assert sentence(page) == "You moved 1 of 5 values: 5 of 5 outputs moved."
    page.get_by_label("training").uncheck()
    Y = (numbers(page, "X") - 3) / 2  # by the usual running statistics
    torch.testing.assert_close(numbers(page, "Y"), Y, rtol=0, atol=0.0051)
    drag(page, handle, right=-30)
    assert sentence(page) == "You moved 1 of 5 values: 1 of 5 outputs moved."
    assert page.locator("path[fill='#D55E00']").count() == 1  # a mark of another shape, too, and its path
    assert "running ones, which stay: mean 3.000, var 4.000." in page.locator(".explorable").inner_text()


def test_two_values_give_minus_one_and_one_and_one_is_refused(page_of):
    page = page_of("one_batch")
    for _ in range(3):
        page.get_by_role("button", name="remove one").click()
    drag(page, page.get_by_role("slider", name="value 1 of 2"), right=-50)
    assert numbers(page, "Y").tolist() == [-1, 1]
    assert sentence(page).startswith("You moved 1 of 2 values: 0 of 2 outputs moved. Two values have X_hat -1 and 1")
    page.get_by_role("button", name="remove one").click()
    assert sentence(page).startswith("One value is refused in training")
    assert page.locator("td", has_text="–").count() == 2
    page.get_by_role("button", name="remove one").click()
    assert sentence(page).startswith("An empty batch")
    page.get_by_role("button", name="start again").click()
    assert in_view(page) == [1, 2, 4, 5, 8]
    page.get_by_label("gamma").fill("2")  # no value was moved
    assert sentence(page).startswith("4 of 5 outputs moved.")  # the one at 0 stays there


def test_keys_move_a_value_and_focus_is_seen(page_of):
    page = page_of("one_batch")
    handle = page.get_by_role("slider", name="value 1 of 5")
    page.keyboard.press("Tab")
    assert handle.evaluate("e => e === document.activeElement")
    ring = handle.locator(".ring")
    assert ring.evaluate("e => getComputedStyle(e).strokeWidth") == "2.5px"
    for key in ("ArrowRight", "ArrowUp", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert handle.get_attribute("aria-valuetext") == "1.2"
    assert in_view(page)[0] == 1.2
    assert sentence(page) == "You moved 1 of 5 values: 5 of 5 outputs moved."
    page.keyboard.press("Shift+ArrowRight")
    assert in_view(page)[0] == 2.2
    page.keyboard.press("Home")
    assert in_view(page)[0] < 0


AXIS = "() => [...document.querySelectorAll('svg text')].map(e => e.textContent).join(' ')"


def test_a_drag_does_not_change_the_scale_under_the_hand(page_of):
    page = page_of("one_batch")
    before = page.evaluate(AXIS)
    drag(page, page.get_by_role("slider", name="value 5 of 5"), right=20)
    assert in_view(page)[4] > 8.2
    assert page.evaluate(AXIS) == before
    drag(page, page.get_by_role("slider", name="value 5 of 5"), right=500)  # to the end of the axis, which then grows
    assert page.evaluate(AXIS) != before


def test_a_finger_moves_a_value(page_of):
    page = page_of("one_batch", has_touch=True, is_mobile=True)
    handle = page.get_by_role("slider", name="value 5 of 5")
    box = handle.bounding_box()
    assert min(box["width"], box["height"]) >= 44  # pixels, for a finger
    touch(page, handle, right=-60)
    page.wait_for_function("parseFloat(document.querySelector('tr td:last-child').innerText) < 7")
    assert in_view(page)[4] < 7


MARKED = """[...document.querySelectorAll("svg text")].filter(e => e.getAttribute("font-weight") == 700
  || /[↑↓]/.test(e.textContent)).map(e => parseInt(e.getAttribute("x")))"""


def test_a_cell_is_touched_and_changed(page_of):
    page = page_of("which_values")
    cells = page.locator("rect.touch")
    assert "Guess, then try." in sentence(page)
    assert page.evaluate(MARKED) == []  # the answer is not in view
    for norm, count, images in (("BN", 12, 3), ("LN", 16, 1), ("GN", 8, 1), ("IN", 4, 1), ("RMS", 16, 1)):
        page.get_by_label("norm").select_option(norm)
        cells.nth(17).click()
        page.get_by_role("slider", name="change it by").fill("1.5")
        assert f"{count} of 48 cells share the statistics" in sentence(page)
        assert f"{count} of 48 outputs change" in sentence(page)
        reached = page.evaluate(MARKED)
        assert len(reached) == 2 * count  # bold inputs that share, outputs with an arrow
        assert len({x // 110 for x in reached}) == images
    assert "image 2, channel 1, pixel 2" in page.locator(".explorable").inner_text()
    page.get_by_label("norm").select_option("RMS")
    for cell, change, count, words in (
        (41, 1, 15, "An input 0 stays 0"),  # in its image is one
        (41, -2.4, 1, "only the cell's sign changed"),
        (1, 1, 16, "/ root(mean square + eps); the mean is not subtracted."),
    ):
        page.get_by_role("slider", name="cell").fill(str(cell))
        page.get_by_role("slider", name="change it by").fill(str(change))
        assert f"{count} of 48 outputs change" in sentence(page)
        assert words in page.locator(".explorable").inner_text()
    for groups, norm in ((1, "layer norm"), (4, "instance norm")):
        page.get_by_label("norm").select_option("GN")
        page.get_by_label("groups").select_option(str(groups))
        assert f"it is {norm}." in page.locator(".explorable").inner_text()


def test_one_output_is_pulled(page_of):
    page = page_of("push_one_output")
    drag(page, page.get_by_role("slider", name="gradient of output 2"), down=100)
    assert sentence(page).startswith("You pull 1 output: the gradient reaches 5 of 5 inputs.")
    pull = float(page.get_by_role("slider", name="gradient of output 2").get_attribute("aria-valuetext"))
    assert pull < 0
    X = torch.tensor([[1.0], [2.0], [4.0], [5.0], [8.0]], dtype=torch.float64, requires_grad=True)
    (dX,) = torch.autograd.grad(F.batch_norm(X, None, None, training=True)[1], X, torch.tensor([pull]).double())
    shown = page.evaluate("[...document.querySelectorAll('text')].map(e => e.textContent)")
    for gradient in dX[:, 0].tolist():
        assert f"{gradient:.3f}".replace("-0.000", "0.000") in shown
    assert "gradients of X sum to 0.000: a number added" in page.locator(".explorable").inner_text()
    assert "Times X_hat they sum to 0.000: X stretched" in page.locator(".explorable").inner_text()
    page.locator("circle.touch").last.click()
    assert page.get_by_role("slider", name="gradient of output 5").count() == 1
    assert page.get_by_label("pull output").get_attribute("max") == "5"


def test_a_stream_is_stepped_and_played(page_of):
    page = page_of("running_mean", reduced_motion="reduce")
    page.get_by_role("slider", name="batches seen").fill("98")
    page.get_by_role("button", name="next batch").click()
    assert page.get_by_role("slider", name="batches seen").input_value() == "99"
    page.get_by_role("button", name="momentum=None").click()
    assert "the plain average of all batches" in sentence(page)
    assert page.get_by_label("momentum").get_attribute("aria-valuetext") == "None"
    assert page.get_by_label("momentum").is_disabled()
    page.get_by_role("button", name="momentum=0.1").click()
    page.get_by_label("momentum").fill("0.2")
    assert "the new batch counts 20 %" in sentence(page)
    page.get_by_role("slider", name="batches seen").fill("1")
    page.get_by_role("button", name="play").click()  # at once, for those who asked for less motion
    assert page.get_by_role("slider", name="batches seen").input_value() == "100"
    moving = page_of("running_mean")
    moving.get_by_role("slider", name="batches seen").fill("96")
    moving.get_by_role("button", name="play").click()
    order = moving.locator("button").all_inner_texts()
    assert order == ["next batch", "stop", "momentum=None", "other batches", "start again"]
    moving.wait_for_function("document.querySelector('input[type=range]').value == 100")
    moving.get_by_role("button", name="play").wait_for()  # it was "stop"


def test_a_net_gets_well_by_batch_norm(page_of):
    page = page_of('<div data-explorable="depth" data-state="depth=30&gain=3&activation=none"></div>')
    assert re.match(r"The last layer's standard deviation is 1\.\de\+14; .* Exploding", sentence(page)), sentence(page)
    page.get_by_label("batch norm").check()
    assert sentence(page).startswith("The last layer's standard deviation is 1; ")
    assert "Neither explodes (100 times) nor vanishes." in sentence(page)
    page.get_by_label("batch norm").uncheck()
    page.get_by_role("slider", name="gain").fill("0.5")
    assert re.match(r"The last layer's standard deviation is \d\.\de-10; .* Vanishing", sentence(page)), sentence(page)
    page.get_by_label("activation").select_option("tanh")
    page.get_by_role("slider", name="gain").fill("3")
    assert "Saturated: " in sentence(page)


def test_many_draws_near_the_value(page_of):
    page = page_of("dropout")
    for _ in range(10):
        page.get_by_role("button", name="draw 100 more").click()
    assert page.get_by_role("button", name="draw again").is_disabled()
    X, means, formula = (numbers(page, row) for row in ("X", "mean of 1000", "std of one draw"))
    assert (means - X).abs().max() < 4 * (formula / 1000**0.5).max()
    torch.testing.assert_close(numbers(page, "std of these draws"), formula, rtol=0.05, atol=0)
    torch.testing.assert_close(numbers(page, "std / root(1000)"), formula / 1000**0.5, rtol=0, atol=0.0051)
    page.get_by_label("training").uncheck()
    assert numbers(page, "Y").tolist() == X.tolist()
    assert page.get_by_role("button", name="other draws").is_disabled()


def test_a_link_carries_a_state_and_a_wrong_one_is_told(page_of):
    page = page_of("one_batch", "depth", link="#one_batch?values=1,2,9&gamma=2")
    batch = page.locator("#one_batch")
    assert numbers(page, "X").tolist() == [1, 2, 9]
    link = batch.get_by_role("link", name="Link to this state")
    assert "values=1,2,9&gamma=2&beta=0" in link.get_attribute("href")
    batch.get_by_role("button", name="remove one").click()
    assert "values=1,2&gamma=2" in link.get_attribute("href")
    link.click()
    page.reload()
    page.wait_for_function("document.querySelectorAll('.ready').length === 2")
    assert numbers(page, "X").tolist() == [1, 2]
    for link, words in {
        "values=1,,9": "values should be 0 to 8 numbers from -1000 to 1000, but is 1,NaN,9.",
        "values=one": "values should be 0 to 8 numbers from -1000 to 1000, but is NaN.",
        "gama=2": "There is no gama here, only values, gamma, beta, eps, training, running_mean, running_var.",
        "training=maybe": "training should be true or false, but is maybe.",
        "eps=": "eps should be one of 0.00001, 0.1, 1, but is empty.",
        "gamma=1e9": "gamma should be a number from -3 to 3, but is 1000000000.",
    }.items():
        page.evaluate("link => { location.hash = link }", f"#one_batch?{link}")
        page.wait_for_function(
            "words => document.querySelector('#one_batch .wrong')?.innerText.includes(words)", arg=words
        )
        assert in_view(page) == [1, 2, 4, 5, 8]  # the usual state


BAD = {
    "one_batch": {"values": [float("nan")], "gamma": None, "eps": "abc", "training": 3, "running_var": -1},
    "which_values": {"norm": "XN", "values": [], "cell": 49, "groups": 3, "change": float("inf")},
    "running_mean": {"momentum": 2, "batch_size": 1, "steps": 0.5, "drift": float("nan"), "seed": None},
    "depth": {"depth": 0, "gain": "", "activation": [], "batch_norm": None, "seed": 1e9},
    "push_one_output": {"values": [1], "output": 9, "pull": float("nan"), "gamma": 9, "spread": 0},
    "dropout": {"values": [], "p": 1, "draws": 0, "training": "yes", "seed": -1},
}
SET = """async ([name, state]) => {
  const { shared, modules, states } = parts, text = shared + modules[name];
  const { default: widget } = await import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const el = document.body.appendChild(document.createElement("div")), now = { ...states[name], ...state };
  const model = { get: key => now[key], on() {}, off() {}, save_changes() {}, set(key, v) { now[key] = v } };
  widget.render({ el, model });
  const said = el.innerText;
  el.remove();
  return said;
}"""


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_state_gets_a_sentence(name, page_of):
    page = page_of()
    page.evaluate("text => { parts = JSON.parse(text) }", explorables.parts())
    for key, value in BAD[name].items():
        said = page.evaluate(SET, [name, {key: value}]).strip()
        assert re.fullmatch(rf"{key} should be .*, but is .*\.", said), (key, value, said)
    if name == "push_one_output":
        assert "There is no output 7: the batch has 5 values." in page.evaluate(SET, [name, {"output": 7}])


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_everyone_can_use_them(width, colors, page_of, packages, screenshots):
    page = page_of(*NAMES, width=width, colors=colors)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.add_script_tag(path=unpack("axe-core-4.14.1") / "package" / "axe.min.js")
    found = page.evaluate("axe.run(document.body)")
    assert [f"{v['id']}: {v['nodes'][0]['html']}" for v in found["violations"]] == []
    heights = page.evaluate("[...document.querySelectorAll('svg text')].map(e => e.getBoundingClientRect().height)")
    assert min(height for height in heights if height) >= 12
    page.screenshot(path=screenshots / f"explorables-{width}-{colors['paper'][1:3]}.png", full_page=True)


def test_all_six_are_small(tell):
    sizes = {path.name: path.stat().st_size for path in Path(explorables.__file__).parent.glob("*.js")}
    lines = {name: len(source(name).splitlines()) for name in sizes}
    tell("explorables", *(f"{name:<20} {lines[name]:>4} lines {sizes[name]:>6,} bytes" for name in sorted(sizes)))
    assert max(count for name, count in lines.items() if name != "shared.js") <= 150
    assert lines["shared.js"] <= 200
    assert len(explorables.script().encode()) < 150_000


def test_their_state_is_typed_and_can_be_read_back():
    widget = explorables.one_batch(values=torch.arange(3), training=False)
    assert widget.values == [0, 1, 2]
    widget.values = [4, 5]
    assert widget.state()["values"] == [4, 5]
    with pytest.raises(TypeError, match="OneBatch takes values, gamma, .*, not valeus"):
        explorables.one_batch(valeus=[1])
    for values, words in {
        (1, float("nan")): "values should be finite numbers, but one is nan",
        tuple(range(9)): "values should be 0 to 8 numbers, but there are 9",
        "ab": "values should be a sequence of numbers, but is",
    }.items():
        with pytest.raises(TraitError, match=words):
            explorables.one_batch(values=values)
    with pytest.raises(TraitError, match="should be 48 numbers, but there are 2"):
        explorables.which_values(values=[1, 2])
    with pytest.raises(ValueError, match="no explorable 'one', only one_batch, which_values"):
        explorables.element("one")
