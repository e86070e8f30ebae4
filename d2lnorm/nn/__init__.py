"""Layers that stand in for those of the same name in `torch.nn`, and the functions around which they are built.

Each has its namesake's arguments, parameters, buffers, `state_dict`, results, errors and `repr`, on all types and
layouts, for autograd in every mode, `torch.func`, `torch.compile`, `torch.export`, `torch.jit.trace` and autocast.
What can still be told apart, and what to do:

- Tools that ask for the class pass these layers by, without a word. In place of `torch.optim.swa_utils.update_bn` use
  `d2lnorm.recompute_running_statistics`; of `nn.SyncBatchNorm.convert_sync_batchnorm`, that of `d2lnorm.SyncBatchNorm`;
  of `torch.func.replace_all_batch_norm_modules_`, layers made with `track_running_stats=False`; of groups without
  weight decay made with `isinstance`, `p.dim() < 2`. `torch.ao.quantization.fuse_modules` refuses them: use
  `d2lnorm.fold_batch_norm`; in place of `torch.fx.symbolic_trace`, use `torch.export`.
- `torch.jit.script` does not take them: use `torch.jit.trace`, or `torch.export`.
- Nested tensors must have the layout `torch.jagged`; another is a TypeError.
- With eps = 0 a constant input gives the bias, where `torch.nn`'s layer norm gives NaN.
- The |x| that share their statistics must add up to less than 3.4e38, float32's largest number; `torch.nn` sums in
  float64 here and there.
"""

from d2lnorm.nn.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from d2lnorm.nn.dropout import Dropout, dropout
from d2lnorm.nn.fold import fold_batch_norm
from d2lnorm.nn.group_norm import GroupNorm, group_norm
from d2lnorm.nn.instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d, instance_norm
from d2lnorm.nn.layer_norm import LayerNorm, layer_norm
from d2lnorm.nn.normalize import Normalize, normalize
from d2lnorm.nn.rms_norm import RMSNorm, rms_norm
from d2lnorm.nn.sync_batch_norm import SyncBatchNorm

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Dropout",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "Normalize",
    "RMSNorm",
    "SyncBatchNorm",
    "dropout",
    "fold_batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "normalize",
    "rms_norm",
]
