"""Fashion-MNIST in memory, as iterators that stand in for PyTorch's DataLoader."""

import hashlib
import math
import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from d2lnorm.data.fashion_mnist import FILES, FetchError, fetch_fashion_mnist, raw_folder, verdict

__all__ = ["LABELS", "Batches", "load_fashion_mnist"]

# What the class numbers 0 to 9 mean, in the book's words.
LABELS = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class Batches:
    """The batches of a data set that is wholly in memory: `for X, y in batches`, `len(batches)`.

    Like a DataLoader it starts anew with each `for`, and its last batch may be smaller. With `shuffle` the
    order of each epoch is one `torch.randperm` from torch's default generator, so `torch.manual_seed` repeats
    it; and it is drawn on the CPU, so that it is the same on every device. A batch is a copy: who changes it in place
    does not change the data set.

    Args:
        X: (N, ...), the examples.
        y: (N, ...), their labels, on the same device.
        batch_size: examples a batch, at least 1.
        shuffle: whether each epoch has a new order.

    Attributes: `dataset`, a `TensorDataset` of X and y; `batch_size`; `shuffle`.

    Raises:
        TypeError: X or y is no tensor.
        ValueError: batch_size is no positive integer, or X and y differ in their length or device.
    """

    def __init__(self, X: Tensor, y: Tensor, batch_size: int, shuffle: bool = False) -> None:
        _check_batch_size(batch_size)
        for name, t in (("X", X), ("y", y)):
            if not isinstance(t, Tensor):
                raise TypeError(f"{name} must be a tensor, but is of type {type(t).__name__}; see torch.as_tensor")
            if t.dim() == 0:
                raise ValueError(f"{name} must have an axis of examples, but is one number")
        if X.device != y.device:
            raise ValueError(f"X and y must be on the same device, but are on {X.device} and {y.device}")
        if len(X) != len(y):
            raise ValueError(f"X and y must be equally long, but have {len(X)} and {len(y)} examples")
        self.dataset, self.batch_size, self.shuffle = TensorDataset(X, y), batch_size, shuffle

    def __len__(self) -> int:
        """The number of batches in an epoch."""
        return math.ceil(len(self.dataset) / self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        X, y = self.dataset.tensors
        if self.shuffle:  # a device named, lest `torch.set_default_device` choose it
            order = torch.randperm(len(X), device="cpu").to(X.device)
        for start in range(0, len(X), self.batch_size):
            part = slice(start, start + self.batch_size)
            if self.shuffle:
                yield X.index_select(0, order[part]), y.index_select(0, order[part])
            else:
                yield X[part].clone(), y[part].clone()

    def to(self, device: torch.device | str) -> "Batches":
        """Return the same batches with the data on `device`; there a step waits for no copy."""
        X, y = (t.to(device) for t in self.dataset.tensors)
        return Batches(X, y, self.batch_size, self.shuffle)

    def first(self, examples: int, batch_size: int | None = None) -> "Batches":
        """Return the batches of the first `examples` examples, for experiments that need not see them all.

        Raises:
            ValueError: there are not as many, or batch_size (None: the same) is no positive integer.
        """
        if not 1 <= examples <= len(self.dataset):
            raise ValueError(f"examples must lie between 1 and {len(self.dataset)}, but is {examples}")
        X, y = (t[:examples] for t in self.dataset.tensors)
        return Batches(X, y, self.batch_size if batch_size is None else batch_size, self.shuffle)

    def __repr__(self) -> str:
        X, _ = self.dataset.tensors
        examples = f"{len(X):,} examples of shape {tuple(X.shape[1:])} on {X.device}"
        order = "shuffled each epoch" if self.shuffle else "in order"
        return f"Batches({examples}, {self.batch_size} a batch, {order})"


def load_fashion_mnist(batch_size: int, root: str | os.PathLike | None = None) -> tuple[Batches, Batches]:
    """Return `(train_iter, test_iter)` over Fashion-MNIST's 60,000 and 10,000 images, held in memory.

    Images are float32 of shape (N, 1, 28, 28) in [0, 1] (the bytes divided by 255, bit for bit torchvision's
    `ToTensor`), labels int64 of shape (N,), numbers into `LABELS`. Both take 220 MB. The training batches are
    shuffled anew in each epoch, the test batches are not.

    The files are fetched on first use, and verified on each: what is trained on is what was hashed.

    Args:
        batch_size: examples a batch, at least 1.
        root: the folder that holds `FashionMNIST/raw/`; None: see `raw_folder`.

    Raises:
        ValueError: batch_size is no positive integer; nothing has been read then.
        FetchError: the files are missing or wrong, and no source has them.
    """
    _check_batch_size(batch_size)
    files = _read_verified(root)
    train, test = (
        (_idx(files[f"{part}-images-idx3-ubyte"]), _idx(files[f"{part}-labels-idx1-ubyte"]))
        for part in ("train", "t10k")
    )

    def batches(images: Tensor, labels: Tensor, shuffle: bool) -> Batches:
        return Batches(images.unsqueeze(1).float().div_(255), labels.long(), batch_size, shuffle)

    return batches(*train, shuffle=True), batches(*test, shuffle=False)


def _read_verified(root: str | os.PathLike | None) -> dict[str, np.ndarray]:
    """Read each file once and hash the very bytes that are returned; fetch where one is not right."""
    raw = raw_folder(root)
    for _ in range(2):
        try:
            files = {name: np.fromfile(raw / name, dtype=np.uint8) for name in FILES}
        except OSError:
            files = {}
        if files and not any(verdict(n, c.size, hashlib.sha256(c.data).hexdigest()) for n, c in files.items()):
            return files
        fetch_fashion_mnist(root)  # says what is wrong, and returns only when nothing is any more
    raise FetchError(f"Fashion-MNIST's files in {raw.resolve()} changed while they were read; try again")


def _idx(content: np.ndarray) -> Tensor:
    """Return what an IDX file of bytes holds, as uint8, without copying.

    Its header: two zero bytes, the type (8: unsigned bytes), the number of axes; then each axis's length as a
    big-endian int32.
    """
    axes = int(content[3])
    shape = content[4 : 4 + 4 * axes].view(">i4").tolist()
    return torch.from_numpy(content[4 + 4 * axes :]).view(shape)


def _check_batch_size(batch_size: int) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, but is {batch_size!r}")
