"""Answers to the exercises of notebook 07."""

import copy
import math
from bisect import bisect_left

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F

from d2lnorm import BatchNorm, evaluate_accuracy, lenet
from d2lnorm.course.exercises.lenet_fashion_mnist import (
    check_accuracy_with_batch_statistics,
    check_epochs_to_reach,
    check_fair_pair,
    check_train_epoch,
)
from exercise_answers import Answers

BN = nn.BatchNorm1d, nn.BatchNorm2d, BatchNorm


def fair_pair(seed):
    nets = []
    for norm in ("torch", None):
        torch.manual_seed(seed)
        nets.append(lenet(norm))
    return tuple(nets)


def seeded_once(seed):
    torch.manual_seed(seed)
    return lenet("torch"), lenet(None)


def copied_weights(seed):
    torch.manual_seed(seed)
    with_bn, without = lenet("torch"), lenet(None)
    own = [m for m in with_bn if isinstance(m, nn.Conv2d | nn.Linear)]
    for a, b in zip(own, (m for m in without if isinstance(m, nn.Conv2d | nn.Linear)), strict=True):
        b.load_state_dict(a.state_dict())
    return with_bn, without


def copied_state(seed):
    torch.manual_seed(seed)
    with_bn, without = [lenet("torch"), lenet(None)]
    state = {k: v.clone() for k, v in with_bn.state_dict().items() if "running" not in k and "num_batches" not in k}
    kept = [t for t in state.values() if t.dim() > 1]
    for layer, weight in zip((m for m in without if hasattr(m, "weight")), kept, strict=True):
        layer.weight.data = weight
    own = [m.bias for m in with_bn if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer, bias in zip((m for m in without if hasattr(m, "weight")), own, strict=True):
        layer.bias.data.copy_(bias.data)
    return [with_bn, without]


def forked(seed):
    def make(norm):
        with torch.random.fork_rng():
            torch.manual_seed(seed + 5)
            return lenet(norm)

    return make("torch"), make(None)


def only_weights(seed, shares=(), norm="torch"):
    torch.manual_seed(seed)
    with_bn, without = lenet(norm), lenet(None)
    pairs = zip(*([m for m in n if isinstance(m, nn.Conv2d | nn.Linear)] for n in (with_bn, without)), strict=True)
    for number, (a, b) in enumerate(pairs):
        if number in shares:
            b.weight, b.bias = a.weight, a.bias
        else:
            b.weight.data = a.weight.data.clone()
            if shares:
                b.bias.data = a.bias.data.clone()
    return with_bn, without


def copied(seed):
    net = fair_pair(seed)[0]
    return net, copy.deepcopy(net)


def shared(seed):
    torch.manual_seed(seed)
    net = lenet("torch")
    return net, nn.Sequential(*(m for m in net if not isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)))


def by_own_norms(seed, affine=True, frozen=False):
    """Drawn anew from a generator, with BN layers of its own making."""
    generator = torch.Generator().manual_seed(seed)
    kinds = {4: nn.BatchNorm2d, 2: nn.BatchNorm1d}
    with_bn, without = lenet(lambda C, num_dims: kinds[num_dims](C, affine=affine)), lenet(None)
    layers = ([m for m in net if isinstance(m, nn.Conv2d | nn.Linear)] for net in (with_bn, without))
    for a, b in zip(*layers, strict=True):
        nn.init.xavier_uniform_(a.weight, generator=generator)
        nn.init.normal_(a.bias, generator=generator)
        b.weight, b.bias = (nn.Parameter(t.detach().clone(), requires_grad=not frozen) for t in (a.weight, a.bias))
    return with_bn, without


def rebuilt(seed, change):
    return tuple(nn.Sequential(*change([*net])) for net in fair_pair(seed))


def layers_of(net):
    return [m for m in net if isinstance(m, nn.Conv2d | nn.Linear)]


def used_again(which):
    """What was made once is in every pair."""
    net, last = lenet(None), nn.Linear(84, 10)
    norms = {n: nn.BatchNorm2d(n) if n < 20 else nn.BatchNorm1d(n) for n in (6, 16, 120, 84)}

    def pair(seed):
        with_bn, without = fair_pair(seed)
        if which == "net":
            net.load_state_dict(without.state_dict())
            without = net
        elif which == "last":
            last.load_state_dict(without[-1].state_dict())
            without[-1] = last
        else:
            torch.manual_seed(seed)
            with_bn = lenet(lambda n, num_dims: norms[n])
        return with_bn, without

    return pair


def constant(seed):
    pair = fair_pair(seed)
    for layer in (m for net in pair for m in layers_of(net)):
        nn.init.constant_(layer.weight, seed + 1.0)
    return pair


def copied_but(seed, kind=nn.Linear):
    torch.manual_seed(seed)
    pair = lenet("torch"), lenet(None)
    for a, b in zip(*map(layers_of, pair), strict=True):
        if not isinstance(b, kind):
            b.load_state_dict(a.state_dict())
    return pair


def norm_after_sigmoid(layers):
    for i, m in enumerate(layers[:-1]):
        if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d):
            layers[i : i + 2] = layers[i + 1], m
    return [*dict.fromkeys(layers)]


def train_epoch(net, batches, optimizer, *, zero=True, train=True, mean="examples"):
    if train:
        net.train()
    total, count, losses = 0.0, 0, []
    for X, y in batches:
        loss = F.cross_entropy(net(X), y)
        if zero:
            optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() if mean != "graph" else loss)
        total, count = total + losses[-1] * len(y), count + len(y)
    means = {"batches": sum(losses) / len(losses), "last": losses[-1]}
    return means.get(mean, total / count)


def by_parts(net, batches, optimizer, *, put_back=False):
    was = net.training
    net.train()
    each = []
    for X, y in batches:
        logp = net(X).log_softmax(-1)
        losses = -logp[torch.arange(len(y)), y]
        optimizer.zero_grad(set_to_none=True)
        losses.mean().backward()
        optimizer.step()
        each += [losses.detach()]
    net.train(was if put_back else True)
    return torch.cat(each).mean()


def by_hand(net, batches, optimizer):
    for p in net.train().parameters():
        p.grad = None
    total = 0.0
    for X, y in batches:
        loss = F.cross_entropy(net(X), y)
        loss.backward()
        total += loss.item() * len(y)
        with torch.no_grad():
            for p in net.parameters():
                p -= 0 if p.grad is None else 0.5 * p.grad
                p.grad = None
    return total / sum(len(y) for _, y in batches)


def before_the_steps(net, batches, optimizer):
    net.train()
    X, y = (torch.cat(t) for t in zip(*batches, strict=True))
    loss = F.cross_entropy(net(X), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def after_the_steps(net, batches, optimizer):
    train_epoch(net, batches, optimizer)
    with torch.no_grad():
        return sum(F.cross_entropy(net(X), y).item() * len(y) for X, y in batches) / sum(len(y) for _, y in batches)


def with_closure(net, batches, optimizer):
    losses, sizes = [], []

    def step():
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(net(X), y)
        loss.backward()
        return loss

    net.train()
    for batch in batches:
        X, y = batch
        losses.append(optimizer.step(step).item())
        sizes.append(len(X))
    return np.average(losses, weights=sizes)


def prepared(prepare, train=True):
    """An epoch after something that should not have been done."""

    def epoch(net, batches, optimizer):
        for part in (*net.modules(), *net.parameters(), optimizer):
            prepare(part)
        return train_epoch(net, batches, optimizer, train=train)

    return epoch


def without_dropout(net, batches, optimizer, deep=False):
    """The dropout layers are off, or those in a part of the net."""
    net.train()
    for path, m in net.named_modules():
        if isinstance(m, nn.Dropout) and ("." in path or not deep):
            m.eval()
    return train_epoch(net, batches, optimizer, train=False)


def zeroed_after(net, batches, optimizer):
    """What .grad held before goes into the first step."""
    optimizer.register_step_post_hook(lambda *_: optimizer.zero_grad())
    return train_epoch(net, batches, optimizer, zero=False)


def late(net, batches, optimizer):
    """The first batch in evaluation mode."""
    train_epoch(net.eval(), batches[:1], optimizer, train=False)
    return train_epoch(net, batches[1:], optimizer)


def no_steps(net, batches, optimizer):
    net.train()
    return sum(F.cross_entropy(net(X), y).item() * len(y) for X, y in batches) / 10


def own_statistics(net, batches):
    copied = copy.deepcopy(net)
    for m in copied.modules():
        if isinstance(m, BN):
            m.train()
    with torch.no_grad():
        right = [(copied(X).argmax(1) == y).float() for X, y in batches]
    return torch.cat(right).mean().item()


def untracked(net, batches):
    copied = copy.deepcopy(net)
    for m in copied.modules():
        if isinstance(m, BatchNorm):
            m.register_forward_pre_hook(lambda m, _: m.train() and None)
        elif isinstance(m, BN):
            m.running_mean = m.running_var = None  # torch then takes the batch's own, in either mode
    return evaluate_accuracy(copied, batches)


def traces(net, batches):
    for m in net.modules():
        if isinstance(m, BN):
            m.train()
    with torch.no_grad():
        right = [(net(X).argmax(1) == y).float() for X, y in batches]
    net.eval()
    return torch.cat(right).mean().item()


def switched(net, batches, *, kinds=BN, deep=True, twin=True, grad=False, mean=False):
    net = (copy.deepcopy(net) if twin else net).eval()
    for m in net.modules() if deep else net.children():
        if isinstance(m, kinds):
            m.train()
    right, total, shares = 0, 0, []
    with torch.set_grad_enabled(grad):
        for X, y in batches:
            hits = int((net(X).argmax(1) == y).sum())
            right, total = right + hits, total + len(y)
            shares.append(hits / len(y))
    return sum(shares) / len(shares) if mean else right / total


def put_back(net, batches, *, momentum=True, counter=True, modes=True):
    state, was = copy.deepcopy(net.state_dict()), {m: m.training for m in net.modules()}
    bns = [m for m in net.eval().modules() if isinstance(m, BN)]
    momenta = [m.momentum for m in bns]
    for m in bns:
        m.training, m.momentum = True, float(isinstance(m, BatchNorm))
    with torch.no_grad():
        hits = torch.cat([net(X).max(dim=1).indices == y for X, y in batches])
    for m, value in zip(bns, momenta, strict=True):
        m.momentum = value if momentum is True else momentum
    if counter:
        net.load_state_dict(state)
    for m, mode in was.items():
        m.training = mode if modes else net.training
    if not modes:
        net.train(False)
    return np.float64(hits.numpy().mean())


def by_hook(net, batches, eps=None, twin=True):
    def own(m, inputs, _):
        weight, bias = m.parameters()
        return F.batch_norm(
            inputs[0], None, None, weight.flatten(), bias.flatten(), True, 0.0, m.eps if eps is None else eps
        )

    net = copy.deepcopy(net).eval() if twin else net
    for m in net.modules():
        if isinstance(m, BN):
            m.register_forward_hook(own)
    return evaluate_accuracy(net, batches)


def half_put_back(net, batches):
    """Knows the names of torch's statistics alone."""
    state = {k: v.clone() for k, v in net.state_dict().items() if "moving" not in k}
    modes = {m: m.training for m in net.modules()}
    accuracy = switched(net, batches, twin=False)
    net.load_state_dict(state, strict=False)
    for m, mode in modes.items():
        m.training = mode
    return accuracy


def by_functional_call(net, batches):
    modes, hits = {m: m.training for m in net.modules()}, []
    for m in net.modules():
        m.training = isinstance(m, BN)
    for X, y in batches:
        state = {k: v.detach().clone() for k, v in net.state_dict().items()}
        hits += (functional_call(net, state, (X,)).argmax(1) == y).tolist()
    for m, mode in modes.items():
        m.training = mode
    return float(np.mean(hits))


def training_but(kind, p=None):
    """A copy wholly in training mode, but for the layers of one kind."""

    def accuracy(net, batches):
        twin = copy.deepcopy(net).train()
        for m in twin.modules():
            if isinstance(m, kind):
                m.eval() if p is None else setattr(m, "p", p)
        with torch.no_grad():
            return torch.cat([(twin(X).argmax(1) == y).float() for X, y in batches]).mean().item()

    return accuracy


def held_still(net, batches, thaw=True):
    """No gradients while it predicts, by the parameters' flags."""
    net.requires_grad_(False)
    accuracy = put_back(net, batches)
    if thaw:
        net.requires_grad_(True)
    return accuracy


def by_function(net, batches):
    twin = copy.deepcopy(net)
    for m in twin.modules():
        m.training = isinstance(m, nn.modules.batchnorm._BatchNorm | BatchNorm)
    return torch.stack([h for X, y in batches for h in (twin(X).detach().argmax(-1) == y)]).float().mean()


def first(rule=lambda a, t: a >= t, default=None):
    return lambda accuracies, target: next((e for e, a in enumerate(accuracies, 1) if rule(a, target)), default)


def loop(accuracies, target):
    epoch = 0
    while epoch < len(accuracies):
        epoch += 1
        if not accuracies[epoch - 1] < target:
            return np.int64(epoch)
    return None


def by_numpy(accuracies, target):
    hits = np.flatnonzero(np.array(accuracies) >= target)
    return hits[0] + 1 if hits.size else None


def by_torch(accuracies, target):
    hits = (torch.tensor(accuracies, dtype=torch.float64) >= target).nonzero()
    return hits[0, 0] + 1 if len(hits) else None


def emptied(accuracies, target):
    epoch = 0
    while accuracies:
        epoch += 1
        if accuracies.pop(0) >= target:
            return epoch
    return None


def bisected(accuracies, target):
    index = bisect_left(accuracies, target)
    return index + 1 if index < len(accuracies) else None


ANSWERS = {
    check_epochs_to_reach: Answers(
        right=[
            first(),
            lambda accuracies, target: min((e for e, a in enumerate(accuracies, 1) if a >= target), default=None),
            loop,
            by_numpy,
            by_torch,
        ],
        wrong={
            "in percent": (first(lambda a, t: int(100 * a) >= int(100 * t)), "where the accuracy is below 0.8999"),
            "rounded": (first(lambda a, t: round(a, 2) >= t), "where the accuracy is below 0.85"),
            "nearly": (first(lambda a, t: a >= t - 0.005), "where the accuracy is below 0.85"),
            "false for none": (first(default=False), "you return False"),
            "no end": (lambda accs, t: next(e for e, a in enumerate(accs, 1) if a >= t), "StopIteration"),
            "bisect": (bisected, "but you return"),
            "emptied": (emptied, "accuracies is not as it was"),
            "the best": (
                lambda accs, t: accs.index(max(accs)) + 1 if accs and max(accs) >= t else None,
                "the first that",
            ),
            "nearest": (lambda accs, t: min(range(len(accs)), key=lambda i: abs(accs[i] - t), default=-1) + 1, "epoch"),
            "how many": (lambda accs, t: sum(a >= t for a in accs) or None, "but you return"),
            "how many below": (
                lambda accs, t: sum(a < t for a in accs) + 1 if accs and max(accs) >= t else None,
                "but",
            ),
            "the accuracy": (lambda accs, t: next((a for a in accs if a >= t), None), "but you return"),
            "none is -1": (first(default=-1), "answer is None"),
            "none is infinite": (first(default=math.inf), "is None"),
            "stays above": (
                lambda accs, t: next((e for e in range(1, len(accs) + 1) if min(accs[e - 1 :]) >= t), None),
                "the answer is epoch",
            ),
            "text": (lambda accs, t: f"epoch {loop(accs, t)}", "must be a number"),
            "all of them": (lambda accs, t: [e for e, a in enumerate(accs, 1) if a >= t], "must be a number"),
            "always": (lambda accs, t: 2, "is"),
            "counted from 0": (
                lambda accs, t: next((e for e, a in enumerate(accs) if a >= t), None),
                "number 1, not 0",
            ),
            "the last": (
                lambda accs, t: max((e for e, a in enumerate(accs, 1) if a >= t), default=None),
                "the first that",
            ),
            "more than": (first(lambda a, t: a > t), "reaching it is"),
            "never": (lambda accs, t: next((e for e, a in enumerate(accs, 1) if a >= t), len(accs)), "answer is None"),
        },
    ),
    check_fair_pair: Answers(
        right=[by_own_norms, fair_pair, copied_weights, copied_state, forked, lambda seed: list(fair_pair(seed + 1))],
        wrong={
            "frozen": (lambda seed: by_own_norms(seed, frozen=True), "the net without BN can train 0 numbers"),
            "no gamma": (lambda seed: by_own_norms(seed, affine=False), "the net with BN can train 44426 numbers"),
            "norm after the sigmoid": (lambda seed: rebuilt(seed, norm_after_sigmoid), "gives other logits"),
            "no sigmoids": (
                lambda seed: rebuilt(seed, lambda net: [m for m in net if not isinstance(m, nn.Sigmoid)]),
                "gives other logits",
            ),
            "not from the seed": (lambda seed: copied_weights(torch.seed()), "the same seed must give"),
            "last digit": (lambda seed: fair_pair(seed % 10), "must be drawn from the seed"),
            "seeded once": (seeded_once, "5 layers differ between the two nets. Where does the second"),
            "shared": (shared, "share parameters"),
            "biases not": (only_weights, "the biases of 5 of the 5 layers differ"),
            "shares all but the first": (lambda seed: only_weights(seed, shares=range(1, 5)), "share parameters"),
            "shares the last": (lambda seed: only_weights(seed, shares=[4]), "share parameters"),
            "a copy with BN": (copied, "have 4 and 4"),
            "layer norm": (lambda seed: (fair_pair(seed)[1],) * 2, "have 0 and 0"),
            "remembered": (
                lambda seed, nets={}: nets.setdefault(seed, fair_pair(seed)),
                "same tensor 0.weight in the net with",
            ),  # noqa: B006
            "one net without": (
                used_again("net"),
                "two calls return the same tensor 0.weight in the net without BN",
            ),
            "one last layer": (
                used_again("last"),
                "two calls return the same tensor 11.weight in the net without BN",
            ),
            "the same norms": (
                used_again("norms"),
                "two calls return the same tensor 1.weight in the net with BN",
            ),
            "constant": (constant, "all units of a layer start alike"),
            "convolutions copied": (
                copied_but,
                "weights of 3 of the 5 layers (of Linear(in_features=256, out_features=120, bias=True), Linear(",
            ),
            "the book's norm": (
                lambda seed: (lenet(), lenet(None)),
                "expected nets with 4 and 0 nn.BatchNorm layers, but yours have 0 and 0",
            ),
            "three": (lambda seed: (*fair_pair(seed), None), "return two nets"),
            "nothing": (lambda seed: None, "not None"),
            "states": (lambda seed: [net.state_dict() for net in fair_pair(seed)], "return two nets"),
            "seed only for the first": (
                lambda seed: (fair_pair(seed)[0], lenet(None)),
                "Where does the second net's seed come from?",
            ),
            "the last layer missing": (
                lambda seed: tuple(net[:-1] for net in fair_pair(seed)),
                "the net with BN has 4 convolutions and linear layers, LeNet 5",
            ),
            "seed ignored": (lambda seed: fair_pair(0), "must be drawn from the seed"),
            "swapped": (lambda seed: fair_pair(seed)[::-1], "have 0 and 4"),
            "one net": (lambda seed: lenet("torch"), "return two nets"),
        },
    ),
    check_train_epoch: Answers(
        right=[
            train_epoch,
            with_closure,
            by_parts,
            lambda *a: by_parts(*a, put_back=True),
            lambda *a: np.float32(train_epoch(*a)),
            lambda net, batches, optimizer: train_epoch(net, iter(batches), optimizer),
        ],
        wrong={
            "children": (
                prepared(lambda m: [child.train() for child in getattr(m, "children", list)()], train=False),
                "during net(X), `net.training` was False: the whole net, not only its layers",
            ),
            "only BN": (
                prepared(lambda m: isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) and m.train(), train=False),
                "dropout was off, while BN worked as in training",
            ),
            "unfrozen": (prepared(lambda p: hasattr(p, "requires_grad_") and p.requires_grad_(True)), "(frozen)"),
            "momentum forgotten": (
                prepared(lambda o: hasattr(o, "state") and o.state.clear()),
                "as if the optimizer were new",
            ),
            "fresh statistics": (
                prepared(lambda m: hasattr(m, "reset_running_stats") and m.reset_running_stats()),
                "as if the running statistics were new",
            ),
            "seeded": (
                prepared(lambda _: torch.manual_seed(0)),
                "random generator was seeded or moved: leave it to dropout",
            ),
            "always float32": (
                lambda net, batches, o: train_epoch(net, [(X.float(), y) for X, y in batches], o),
                "Input type",
            ),
            "flat": (lambda net, batches, o: train_epoch(net, [(X.flatten(1), y) for X, y in batches], o), "conv2d"),
            "gradients of X": (
                lambda net, batches, o: train_epoch(net, [(X.requires_grad_(), y) for X, y in batches], o),
                "batches[0][0] is not as it was",
            ),
            "dropout off": (without_dropout, "dropout was off, while BN worked as in training"),
            "dropout in parts off": (
                lambda *a: without_dropout(*a, deep=True),
                "during net(X), layer 'head.3' was in evaluation mode: the whole net must",
            ),
            "late": (late, "net(X) ran 2 times in training mode and optimizer.step() 3 times"),
            "a copy": (lambda net, batches, o: train_epoch(copy.deepcopy(net), batches, o), "on `net` itself"),
            "steps by hand": (by_hand, "for 3 batches net(X) ran 3 times and optimizer.step() 0 times: each"),
            "one step": (before_the_steps, "net(X) ran 1 time and optimizer.step() 1 time: each must run once"),
            "loss afterwards": (after_the_steps, "for 3 batches net(X) ran 6 times and optimizer.step() 3 times"),
            "first batch only": (lambda net, batches, o: train_epoch(net, batches[:1], o), "net(X) ran 1 time and"),
            "zeroed after": (zeroed_after, "the first step used gradients that `.grad` held before the call"),
            "zeroed once": (
                lambda *a: (a[2].zero_grad(), train_epoch(*a, zero=False))[1],
                "gradients of earlier batches are still in it",
            ),
            "none of one": (
                lambda net, batches, o: train_epoch(net, [b for b in batches if len(b[1]) > 1], o),
                "the epoch, whose last batch holds one example, 0.bias is not right: for 3 batches net(X) ran 2 times",
            ),
            "backwards": (
                lambda net, batches, o: train_epoch(net, batches[::-1], o),
                "as if the batches came in reverse",
            ),
            "twice": (lambda *a: (train_epoch(*a), train_epoch(*a))[0], "ran 6 times and optimizer.step() 6 times"),
            "nothing": (lambda *a: train_epoch(*a) and None, "the mean loss must be a number"),
            "the sum": (
                lambda net, batches, o: train_epoch(net, batches, o) * sum(len(y) for _, y in batches),
                "loss is",
            ),
            "bits": (lambda *a: train_epoch(*a) / math.log(2), "the mean loss is not right"),
            "no zero_grad": (lambda *a: train_epoch(*a, zero=False), "zero_grad"),
            "left in evaluation mode": (lambda *a: train_epoch(*a, train=False), "evaluation mode"),
            "mean over batches": (lambda *a: train_epoch(*a, mean="batches"), "weighs the small last batch"),
            "last loss": (lambda *a: train_epoch(*a, mean="last"), "last batch's loss"),
            "graph kept": (lambda *a: train_epoch(*a, mean="graph"), "still holds the graph"),
            "no steps": (no_steps, "optimizer.step()"),
        },
    ),
    check_accuracy_with_batch_statistics: Answers(
        right=[
            by_hook,
            by_functional_call,
            switched,
            untracked,
            put_back,
            by_function,
            lambda *a: switched(*a, grad=True),
        ],
        wrong={
            "default eps": (lambda *a: by_hook(*a, eps=1e-5), "as if eps were 1e-5: use each layer's own eps"),
            "hooks left": (lambda *a: by_hook(*a, twin=False), "hooks of layer"),
            "dropout layers off": (training_but(nn.Dropout), "the net's own forward drops by the net's mode"),
            "dropout layers at 0": (
                training_but(nn.Dropout, p=0.0),
                "and the net's own forward drops by the net's mode",
            ),
            "all thawed": (held_still, "requires_grad of"),
            "all frozen": (lambda *a: held_still(*a, thaw=False), "requires_grad of"),
            "gradients cleared": (lambda *a: (switched(*a), a[0].zero_grad())[0], "the gradient of"),
            "float32": (
                lambda net, batches: switched(net.float(), [(X.float(), y) for X, y in batches]),
                "of net is not as it was",
            ),
            "one large batch": (
                lambda net, batches: switched(net, [[torch.cat(t) for t in zip(*batches, strict=True)]]),
                "as if all batches were one: normalize each batch by its own statistics",
            ),
            "running statistics": (evaluate_accuracy, "the running statistics were used"),
            "dropout on": (training_but(()), "dropout was active"),
            "dropout as it came": (own_statistics, "Here a dropout layer comes in training mode, and"),
            "traces left": (traces, "mode of layer 'head.3' of net is not as it was"),
            "mode left": (lambda *a: (switched(*a), a[0].train())[0], "mode of net is not as it was"),
            "top level": (lambda *a: switched(*a, deep=False), "the running statistics were used"),
            "1d": (lambda *a: switched(*a, kinds=nn.BatchNorm1d), "only BatchNorm1d used the batch's statistics; this"),
            "2d": (lambda *a: switched(*a, kinds=nn.BatchNorm2d), "only BatchNorm2d used the batch's statistics; this"),
            "torch's": (
                lambda *a: switched(*a, kinds=BN[:2]),
                "only BatchNorm1d and BatchNorm2d used the batch's statistics; this net has d2lnorm.BatchNorm, too",
            ),
            "by name": (
                lambda *a: switched(*a, kinds=(*BN, nn.InstanceNorm2d)),
                "InstanceNorm2d worked as in training, too",
            ),
            "moving statistics left": (half_put_back, "moving_mean of net is not as it was"),
            "mean over batches": (lambda *a: switched(*a, mean=True), "the mean over batches"),
            "momentum left": (lambda *a: put_back(*a, momentum=0.0), "`momentum` of layer"),
            "counter left": (lambda *a: put_back(*a, counter=False), "num_batches_tracked"),
            "modes of layers lost": (lambda *a: put_back(*a, modes=False), "the mode of layer"),
            "always 1": (lambda net, batches: 1.0, "the accuracy is not right"),
            "a count": (lambda net, batches: switched(net, batches) * sum(len(y) for _, y in batches), "is not right"),
            "percent": (lambda *a: 100 * switched(*a), "the accuracy is not right"),
            "one batch": (lambda net, batches: switched(net, batches[:1]), "the accuracy on the first batch alone"),
        },
    ),
}
