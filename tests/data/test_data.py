"""The iterators on small tensors, and Fashion-MNIST itself against torchvision's own reading of it."""

import subprocess
import sys

import pytest
import torch
from torch import nn

import d2lnorm
from d2lnorm import LABELS, Batches, FetchError, load_fashion_mnist
from d2lnorm.data import batches as data
from d2lnorm.data.fashion_mnist import raw_folder

X, Y = torch.arange(20.0).reshape(10, 1, 2), torch.arange(10)


@pytest.fixture(scope="module")
def iters():
    return load_fashion_mnist(256)


def labels(batches):
    return torch.cat([y for _, y in batches]).tolist()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4, 2]), (5, [5, 5]), (10, [10]), (99, [10]), (1, [1] * 10)])
def test_the_batches_are_a_data_loader_s(batch_size, sizes, shuffle):
    ours = Batches(X, Y, batch_size, shuffle)
    oracle = torch.utils.data.DataLoader(ours.dataset, batch_size, shuffle)
    assert [len(y) for _, y in ours] == [len(y) for _, y in oracle] == sizes
    assert len(ours) == len(oracle) == len(sizes)
    assert (ours.batch_size, len(ours.dataset)) == (oracle.batch_size, len(oracle.dataset))
    for x, y in ours:
        torch.testing.assert_close(x, X[y], rtol=0, atol=0)  # each example keeps its label


def test_in_order_every_epoch_is_the_same():
    batches = Batches(X, Y, 4)
    assert labels(batches) == labels(batches) == list(range(10))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [4, 10, 99])
def test_who_changes_a_batch_in_place_does_not_change_the_data(batch_size, shuffle):
    images, numbers = X.clone(), Y.clone()
    batches = Batches(images, numbers, batch_size, shuffle)
    for some in batches, batches.first(9), batches.to("cpu"):
        for x, y in some:
            x -= x.mean()
            y += 1
    assert torch.equal(images, X)
    assert torch.equal(numbers, Y)


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_empty_data_set_has_no_batch(shuffle):
    batches = Batches(X[:0], Y[:0], 4, shuffle)
    assert len(batches) == len(list(batches)) == 0


def test_an_expanded_data_set_has_batches_as_any_other():
    batches = Batches(torch.ones(1, 2).expand(10, 2), torch.ones(1).expand(10), 4)
    for x, y in batches:
        x[0] = 5
        assert x.sum() == 10 + 2 * (len(y) - 1)


def test_shuffled_each_epoch_has_a_new_order_with_every_example_once():
    batches = Batches(X, Y, 4, shuffle=True)
    torch.manual_seed(0)
    epochs = [labels(batches) for _ in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    torch.manual_seed(0)
    assert [labels(batches) for _ in range(4)] == epochs


def test_an_epoch_draws_one_permutation_from_torch_s_generator():
    torch.manual_seed(3)
    order = torch.randperm(10).tolist()
    after = torch.rand(1)
    torch.manual_seed(3)
    assert labels(Batches(X, Y, 4, shuffle=True)) == order
    assert torch.rand(1) == after
    torch.manual_seed(3)
    labels(Batches(X, Y, 4))  # in order: nothing is drawn
    assert torch.randperm(10).tolist() == order


def test_two_loops_at_once_do_not_disturb_each_other():
    batches = Batches(X, Y, 4, shuffle=True)
    pairs = list(zip(batches, batches, strict=True))
    for which in 0, 1:
        assert sorted(torch.cat([pair[which][1] for pair in pairs]).tolist()) == list(range(10))


def test_to_keeps_everything_else():
    batches = Batches(X, Y, 4, shuffle=True).to("meta")
    assert (batches.batch_size, batches.shuffle, len(batches)) == (4, True, 3)
    torch.manual_seed(0)
    assert all(x.device.type == y.device.type == "meta" for x, y in batches)
    after = torch.rand(1)
    torch.manual_seed(0)
    labels(Batches(X, Y, 4, shuffle=True))
    assert torch.rand(1) == after  # the order comes from the CPU's generator


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_order_on_a_gpu_is_the_cpu_s():
    batches = Batches(X, Y, 4, shuffle=True)
    torch.manual_seed(0)
    order = labels(batches)
    torch.manual_seed(0)
    assert labels(batches.to("cuda")) == order


def test_repr_says_what_it_is():
    assert repr(Batches(X, Y, 4)) == "Batches(10 examples of shape (1, 2) on cpu, 4 a batch, in order)"
    assert "shuffled each epoch" in repr(Batches(X, Y, 4, shuffle=True))


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, "256", None, True])
def test_a_bad_batch_size_is_refused_before_anything_is_read(batch_size, monkeypatch):
    monkeypatch.setattr(data, "_read_verified", lambda root: pytest.fail("it was read"))
    for call in (lambda: load_fashion_mnist(batch_size), lambda: Batches(X, Y, batch_size)):
        with pytest.raises(ValueError, match=f"batch_size must be a positive integer, but is {batch_size!r}"):
            call()


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="X and y must be equally long, but have 10 and 9 examples"):
        Batches(X, Y[:9], 4)


@pytest.mark.parametrize(
    ("x", "y", "error", "words"),
    [
        (X, Y.tolist(), TypeError, "y must be a tensor, but is of type list"),
        (X.numpy(), Y, TypeError, "X must be a tensor, but is of type ndarray"),
        (X, None, TypeError, "y must be a tensor, but is of type NoneType"),
        (X, Y[3], ValueError, "y must have an axis of examples, but is one number"),
        (X, Y.to("meta"), ValueError, "X and y must be on the same device, but are on cpu and meta"),
    ],
)
def test_what_cannot_be_a_data_set_is_refused_when_it_is_made(x, y, error, words):
    with pytest.raises(error, match=words):
        Batches(x, y, 4)


# Fashion-MNIST itself. The files are in data/ (make data), or the first test fetches them.


@pytest.mark.parametrize("train", [True, False])
def test_images_and_labels_are_torchvision_s_to_the_bit(iters, train):
    from torchvision.datasets import FashionMNIST
    from torchvision.transforms import ToTensor

    oracle = FashionMNIST(raw_folder().parents[1], train=train, transform=ToTensor())
    images, targets = iters[0 if train else 1].dataset.tensors
    assert images.dtype == torch.float32
    assert targets.dtype == torch.int64
    assert images.shape == ((60_000 if train else 10_000), 1, 28, 28)
    assert torch.equal(targets, oracle.targets)
    seen = torch.zeros(256, dtype=torch.bool)
    for i in range(300):
        assert torch.equal(images[i], oracle[i][0])  # bit by bit
        seen[oracle.data[i].flatten().long()] = True
    assert seen.all()  # each of the 256 values a byte can have was among those, so the rest follows from:
    assert torch.equal(images.mul(255).round().byte().squeeze(1), oracle.data)


def test_the_real_iterators(iters):
    train_iter, test_iter = iters
    assert (len(train_iter), len(test_iter)) == (235, 40)
    assert (train_iter.shuffle, test_iter.shuffle) == (True, False)
    x, y = next(iter(train_iter))
    assert (x.shape, y.shape) == ((256, 1, 28, 28), (256,))
    for batches in iters:
        counts = torch.bincount(batches.dataset.tensors[1], minlength=len(LABELS))
        assert (counts == len(batches.dataset) // 10).all()


def test_the_labels_are_the_book_s(d2l):
    assert list(LABELS) == d2l.get_fashion_mnist_labels(range(10))


@pytest.mark.filterwarnings("ignore:`set_matplotlib_formats` is deprecated:DeprecationWarning")  # d2l calls it
def test_d2l_accepts_the_iterators(iters, d2l, capsys):
    few = [Batches(*(t[:1280] for t in batches.dataset.tensors), 128, batches.shuffle) for batches in iters]
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    torch.manual_seed(0)
    d2l.train_ch6(net, *few, num_epochs=2, lr=0.1, device=torch.device("cpu"))
    d2l.plt.close("all")
    assert "test acc" in capsys.readouterr().out
    accuracy = d2l.evaluate_accuracy_gpu(net, few[1])
    assert 0.5 < accuracy <= 1
    assert accuracy == pytest.approx(d2lnorm.evaluate_accuracy(net, few[1]))


@pytest.fixture(scope="module")
def d2l():
    import matplotlib

    matplotlib.use("Agg")
    from d2l import torch

    return torch


def test_a_wrong_file_is_replaced_before_it_is_trained_on(iters, tmp_path, monkeypatch, capfd):
    from d2lnorm.data import fashion_mnist

    raw = raw_folder(tmp_path)
    raw.mkdir(parents=True)
    for file in raw_folder().iterdir():
        (raw / file.name).symlink_to(file)
    wrong = raw / "t10k-labels-idx1-ubyte"
    content = wrong.read_bytes()
    wrong.unlink()
    wrong.write_bytes(content[:-1] + b"\0")  # one label changed
    with monkeypatch.context() as patch:
        patch.setattr(fashion_mnist, "SOURCES", [("the real folder", _real_folder)])
        _, test_iter = load_fashion_mnist(256, tmp_path)
    assert torch.equal(test_iter.dataset.tensors[1], iters[1].dataset.tensors[1])
    assert "t10k-labels-idx1-ubyte is corrupted" in capfd.readouterr().err
    wrong.unlink()
    monkeypatch.setattr(fashion_mnist, "SOURCES", [])
    with pytest.raises(FetchError, match="t10k-labels-idx1-ubyte is missing"):
        load_fashion_mnist(256, tmp_path)


def _real_folder(names, scratch):
    return ((name, raw_folder() / name) for name in names)


def test_files_that_change_under_the_reader_are_not_trained_on(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "fetch_fashion_mnist", lambda root: None)  # "they are right", but they are not there
    with pytest.raises(FetchError, match="changed while they were read"):
        load_fashion_mnist(256, tmp_path)


def test_importing_the_package_imports_nothing_heavy():
    code = (
        "import sys, torch; before = set(sys.modules); import d2lnorm; new = set(sys.modules) - before; "
        "print({m.split('.')[0] for m in new} & {'torchvision', 'matplotlib', 'd2l', 'tqdm', 'IPython', 'pandas'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
