"""How a function, and what it uses, gets from a notebook into a worker process."""

import math
import os
import pickle
from types import CodeType

import torch
from torch import Tensor

__all__ = ["hand_over"]

LARGE = 1 << 20  # bytes; a smaller tensor is pickled as ever


def hand_over(things: object, folder: str) -> None:
    """Pickle `things` by cloudpickle into the file `job` of `folder`; large tensors into files of their own there.

    Those are mapped into memory by each process that unpickles, not copied: pages that it writes to become its own.
    """
    from joblib.externals.loky.backend import reduction

    with open(f"{folder}/job", "wb") as file:
        reduction.dump(things, file, {Tensor: lambda t: _to_file(t, folder), CodeType: _with_its_place})


def _to_file(t: Tensor, folder: str) -> tuple:
    if t.nbytes < LARGE or t.device.type != "cpu" or t.layout != torch.strided or t.requires_grad:
        return t.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    path = f"{folder}/tensor{len(os.listdir(folder))}"
    t.contiguous().flatten().view(torch.uint8).numpy().tofile(path)
    return _mapped, (path, t.dtype, t.shape)


def _mapped(path: str, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    return torch.from_file(path, shared=False, size=math.prod(shape), dtype=dtype, device="cpu").view(shape)


def _with_its_place(code: CodeType) -> tuple:
    """As cloudpickle does, which leaves out the file that a traceback and a warning name."""
    from cloudpickle import CloudPickler  # joblib brings it

    return _placed, (code.co_filename, *CloudPickler.dispatch_table[CodeType](code))


def _placed(file: str, make: type, args: tuple) -> CodeType:
    return make(*args).replace(co_filename=file)
