"""Training by several processes that `torchrun` has started: each takes its share of every batch.

With P processes and a batch of n labels, process p minimizes P / n times the loss summed over its share.
`DistributedDataParallel` averages the P gradients, and the average is the gradient of the whole batch's mean loss,
whatever the shares' sizes.
"""

import atexit
import os
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

__all__ = ["OneProcess", "Processes", "processes"]


class OneProcess:
    """What `train` asks, answered for the usual case: a single process, which does everything itself."""

    rank, size = 0, 1

    def start_alike(self, net: nn.Module) -> nn.Module:
        """Return what `train` calls in the place of `net`; every process has the same weights then."""
        return net

    def epoch(self, batches: Iterable) -> Iterator:
        """Yield the batches of an epoch, the same in every process."""
        return iter(batches)

    def share(self, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return this process's part of a batch; it may be empty."""
        return X, y

    def loss(self, y_hat: Tensor, y: Tensor, labels: int) -> Tensor:
        """Return what this process minimizes for its share; `labels` are those of the whole batch."""
        return F.cross_entropy(y_hat, y)

    def total(self, t: Tensor) -> Tensor:
        """Return the sum over all processes."""
        return t

    def agree(self, net: nn.Module) -> None:
        """Give every process the buffers of the first: running statistics differ without synchronization."""


class Processes(OneProcess):
    """The same for the processes of torch.distributed's group."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.rank, self.size = device, distributed.get_rank(), distributed.get_world_size()

    def start_alike(self, net: nn.Module) -> nn.Module:
        return DistributedDataParallel(net)  # it sends the first process's weights and buffers to all

    def epoch(self, batches: Iterable) -> Iterator:
        state = torch.get_rng_state().to(self.device)
        distributed.broadcast(state, 0)
        torch.set_rng_state(state.cpu())
        for number, batch in enumerate(batches):
            if number == 0 and self.rank > 0:  # the order is drawn; what is drawn in the net may differ from now on
                torch.manual_seed(int(torch.randint(2**60, ())) + self.rank)
            yield batch

    def share(self, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return X.tensor_split(self.size)[self.rank], y.tensor_split(self.size)[self.rank]

    def loss(self, y_hat: Tensor, y: Tensor, labels: int) -> Tensor:
        return F.cross_entropy(y_hat, y, reduction="sum") * (self.size / labels)

    def total(self, t: Tensor) -> Tensor:
        distributed.all_reduce(t)
        return t

    def agree(self, net: nn.Module) -> None:
        for t in net.buffers():
            distributed.broadcast(t, 0)


def processes(device: torch.device) -> OneProcess:
    """Return who takes part: the processes that torchrun has started, or those of a group that the caller has made."""
    if not distributed.is_available():
        return OneProcess()
    if (
        not distributed.is_initialized()
        and distributed.is_torchelastic_launched()
        and int(os.environ["WORLD_SIZE"]) > 1
    ):
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(distributed.destroy_process_group)  # without it a process can end by a crash
    alone = not distributed.is_initialized() or distributed.get_world_size() == 1
    return OneProcess() if alone else Processes(device)
