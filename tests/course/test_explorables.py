"""The explorables: their numbers against torch's, and what the hand, the keyboard and a link do to them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from d2lnorm.course import explorables
from d2lnorm.course.explorables.widgets import source

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
    batches, line, size = [], [], state["batch_size"]
    for t in range(state["steps"]):
        now = state["drift"] * (t + 1)
        X = torch.tensor(draws[t * 64 : t * 64 + size], dtype=torch.float64)[:, None] + now
        norm(X)
        true(torch.tensor([[now - 1], [now + 1]], dtype=torch.float64))  # a batch whose mean is the true one
        batches.append(X.mean())
        line.append(norm.running_mean[0].clone())
    mean, smooth = norm.running_mean[0], true.running_mean[0]
    kept = {
        "running": mean,
        "running_var": norm.running_var[0],
        "line": torch.stack(line),
        "batches": torch.stack(batches),
    }
    return kept | {"lag": smooth - now, "noise": mean - smooth}


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
