"""What a training run leaves behind: one row of numbers per epoch, as a table and as a figure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["History"]


@dataclass(repr=False)
class History:
    """The course of one training run; entry i of each list belongs to epoch i + 1.

    Attributes:
        loss: mean training loss over the epoch, in nats per label.
        train_acc: share of right answers, in [0, 1], while the epoch ran (the weights change meanwhile).
        test_acc: share of right answers on the test set after the epoch.
        seconds: wall-clock time of the epoch, its evaluation included.
        stopped: why training ended before its last epoch; empty if it did not.
    """

    loss: list[float] = field(default_factory=list)
    train_acc: list[float] = field(default_factory=list)
    test_acc: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    stopped: str = ""

    def append(self, loss: float, train_acc: float, test_acc: float, seconds: float) -> None:
        """Add an epoch's row."""
        self.loss.append(loss)
        self.train_acc.append(train_acc)
        self.test_acc.append(test_acc)
        self.seconds.append(seconds)

    def __len__(self) -> int:
        """The number of finished epochs."""
        return len(self.loss)

    def __repr__(self) -> str:
        lines = [f"{'epoch':>5}  {'loss':>7}  {'train acc':>9}  {'test acc':>8}  {'seconds':>7}"]
        rows = zip(self.loss, self.train_acc, self.test_acc, self.seconds, strict=True)
        for epoch, (loss, train_acc, test_acc, seconds) in enumerate(rows, start=1):
            number = f"{loss:7.4f}" if abs(loss) < 100 else f"{loss:7.2g}"
            lines.append(f"{epoch:5d}  {number}  {train_acc:9.4f}  {test_acc:8.4f}  {seconds:7.2f}")
        return "\n".join(lines + [self.stopped] * bool(self.stopped))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the three curves over the epochs and return the axes (new ones if none are given)."""
        from d2lnorm.course.plotting import line, new_axes

        ax = new_axes() if ax is None else ax
        epochs = range(1, len(self) + 1)
        line(ax, epochs, self.loss, 0, label="training loss (nats)")
        line(ax, epochs, self.train_acc, 1, label="training accuracy")
        line(ax, epochs, self.test_acc, 2, label="test accuracy")
        ax.set(xlabel="epoch", ylabel="loss (nats), accuracy", ylim=(0, None))
        ax.locator_params(axis="x", integer=True)
        ax.legend()
        return ax
