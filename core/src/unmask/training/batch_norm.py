"""BatchNorm on several devices: whose statistics count is said before training."""

from __future__ import annotations

import lightning as L
from lightning.pytorch.utilities import rank_zero_only
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from unmask.support.errors import UserError


class BatchNormNote(L.Callback):
    """Says in one line that BatchNorm's statistics are each device's own, where they are.

    Raises:
        UserError: ``sync_batchnorm`` on a CPU, where torch cannot do it.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.world_size == 1:
            return
        norms = [part for part in pl_module.modules() if isinstance(part, _BatchNorm)]
        own = [part for part in norms if not isinstance(part, nn.SyncBatchNorm)]
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if on_cpu and len(own) < len(norms):
            raise UserError("`trainer.sync_batchnorm` must be false on a CPU: torch can do it on GPUs only.")
        if own:
            advice = "" if on_cpu else "; `--trainer.sync_batchnorm true` shares them"
            rank_zero_only(print)(
                f"The statistics of {len(own)} BatchNorm layers are each device's own, and checkpoints hold those of "
                f"the first one{advice}.",
                flush=True,
            )
