"""SLURM's signal before a job's time is over: the run is saved where it stands, and queued again.

Lightning does both in the moment that the signal comes, in the midst of a step, and each process in another one. So
its answer is kept until the step is done, and all processes answer after the same step.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.plugins.environments import SLURMEnvironment

from unmask.support.errors import complain


class Requeues(L.Callback):
    """Lets Lightning write ``hpc_ckpt_N.ckpt`` into the run folder and call ``scontrol requeue``, but after a step.

    Of those checkpoints the newest stays. The run goes on until SLURM ends it by SIGTERM, which saves once more: where
    it could not be queued again, no time is lost. The next start goes on with ``--ckpt_path last``, from whichever
    checkpoint is newer.
    """

    def __init__(self) -> None:
        self.asked: tuple[Any, Any] | None = None
        self._answer: Any = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        connector = trainer._signal_connector
        environment = trainer._accelerator_connector.cluster_environment
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            # Lightning installs it with its other handlers; there is no public way to say when it may answer.
            self._answer = connector._slurm_sigusr_handler_fn
            connector._slurm_sigusr_handler_fn = self._ask  # type: ignore[assignment,method-assign]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._answer is None or trainer.fit_loop._should_accumulate():
            return
        asked = self.asked is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if not asked:
            return
        signum, frame = self.asked or (None, None)
        self.asked = None
        folder = Path(trainer.default_root_dir)
        before = list(folder.glob("hpc_ckpt_*.ckpt"))
        self._answer(signum, frame)
        if trainer.is_global_zero:
            for path in before:
                path.unlink(missing_ok=True)
            complain(
                f"SLURM ends this job soon: saved after step {trainer.global_step:,}, and queued again; `--ckpt_path "
                "last` goes on from there."
            )

    def _ask(self, signum: Any, frame: Any) -> None:
        self.asked = (signum, frame)
