"""A notebook's function, run at the same time by several processes that `torchrun` starts."""

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exc
from typing import Any

import torch
from torch import distributed

from d2lnorm.training.handed_over import hand_over

__all__ = ["run_in_processes"]

SILENCE = timedelta(minutes=5)  # so long does a process wait for another one, on a busy machine too
LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def run_in_processes(number: int, function: Callable[..., Any], **arguments: Any) -> list:
    """Call `function(**arguments)` in each of `number` processes under torchrun; return their values, by rank.

    When the function begins, the processes form a group (`torch.distributed.init_process_group`): nccl where each
    has a GPU, gloo elsewhere. Each computes on one thread. What they print is printed when all have ended.

    Raises:
        RuntimeError: the function raised in a process, whose traceback is told; the others have been ended. Or
            this machine lets no local socket be opened; nothing has been started then.
    """
    _check_sockets()
    with TemporaryDirectory() as folder:
        hand_over((function, arguments), folder)
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
        ours = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        if sys.platform in LOOPBACK:
            ours["GLOO_SOCKET_IFNAME"] = LOOPBACK[sys.platform]  # whatever network there is, or none
        log = Path(folder, "log")
        with open(log, "w") as file:
            torchrun = subprocess.Popen(
                [*command, "-m", __name__, folder], env=os.environ | ours, stdout=file, stderr=subprocess.STDOUT
            )
            try:
                status = torchrun.wait()
            except BaseException:  # Ctrl-C: torchrun ends its processes
                torchrun.terminate()
                torchrun.wait(timeout=60)
                raise
        said = log.read_text()
        errors = sorted(Path(folder).glob("error*"), key=lambda path: path.stat().st_mtime_ns)
        if errors:
            rank = errors[0].name.removeprefix("error")
            raise RuntimeError(f"process {rank} of {number} has failed:\n{errors[0].read_text()}")
        if status:
            raise RuntimeError(f"torchrun ended with status {status}:\n{said}")
        print(said, end="")
        return [pickle.loads(Path(folder, f"value{rank}").read_bytes()) for rank in range(number)]


def _check_sockets() -> None:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=10).close()
    except OSError as error:
        raise RuntimeError(
            f"torchrun's processes talk to each other over local sockets, and this machine opens none ({error}); "
            "a sandbox or a firewall may forbid it"
        ) from error


def _work(folder: str) -> None:
    """What each process does."""
    function, arguments = pickle.loads(Path(folder, "job").read_bytes())
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    gpus = torch.cuda.device_count() >= size
    if gpus:
        torch.cuda.set_device(rank)
    distributed.init_process_group("nccl" if gpus else "gloo", timeout=SILENCE)
    try:
        value = function(**arguments)
        part = Path(folder, f"part{rank}")
        part.write_bytes(pickle.dumps(value))
        part.replace(Path(folder, f"value{rank}"))
    except BaseException:
        Path(folder, f"error{rank}").write_text(format_exc())
        raise
    finally:
        distributed.destroy_process_group()


if __name__ == "__main__":
    _work(sys.argv[1])
