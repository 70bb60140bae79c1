"""Options of ``unmask fit`` that change how blocks run, not what they compute: less memory, quicker steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.utilities import rank_zero_only

from unmask.support.atomic import written_whole
from unmask.support.errors import UserError
from unmask.training.activations import checkpoint_activations
from unmask.training.blocks import blocks_of
from unmask.training.compile_report import Counts, report, start_counting
from unmask.training.compiling import Backend, Compiled, How, check_backend, compile_parts
from unmask.training.in_place import as_it_was


def add_options(parser: Any) -> None:
    """``--checkpoint_activations``, ``--compile`` and ``--compile_backend``."""
    parser.add_argument(
        "--checkpoint_activations",
        type=bool,
        default=False,
        help="Keep blocks' inputs alone for the backward pass, which computes the rest again.",
    )
    parser.add_argument(
        "--compile", type=bool | How, default=False, help="true or `regional`: block by block; `whole`: by encoder."
    )
    parser.add_argument("--compile_backend", type=Backend, default="inductor", help="aot_eager needs no compiler.")


def check_options(config: Any, model: Any) -> None:
    """Before there is a run folder.

    Raises:
        UserError: activation checkpointing of a model without blocks.
    """
    if config.checkpoint_activations and not blocks_of(model):
        raise UserError(
            f"`checkpoint_activations` must be false for {type(model).__name__}, which has no repeated layers."
        )


def callbacks_for(config: Any, folder: Path, writes: bool) -> list[L.Callback]:
    """What does as the options of a run say; nothing where none is chosen."""
    how: How | None = "regional" if config.compile is True else config.compile or None
    if how is None and not config.checkpoint_activations:
        return []
    return [BlockOptions(config.checkpoint_activations, how, config.compile_backend, folder if writes else None)]


class BlockOptions(L.Callback):
    """Compiles parts of the model and checkpoints its activations while it is fitted, and says so.

    Args:
        activations: whether to checkpoint them: see `unmask.training.activations`.
        how: what to compile, as `unmask.training.compiling.compile_parts` has it; None: nothing.
        backend: likewise.
        folder: where to write ``compile.txt``; None: nowhere.
    """

    def __init__(
        self,
        activations: bool = False,
        how: How | None = None,
        backend: Backend = "inductor",
        folder: Path | None = None,
    ) -> None:
        self.activations, self.how, self.backend, self.folder = activations, how, backend, folder
        self.compiled: Compiled | None = None
        self._told = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        tell = rank_zero_only(print)
        if self.how is not None:
            check_backend(self.backend, trainer.strategy.root_device)
            start_counting()
            self.compiled = compile_parts(pl_module, self.how, self.backend)
            left = f"; left as they are: {_listed(self.compiled.left)}" if self.compiled.left else ""
            tell(f"Compiling ({self.how}, {self.backend}): {_listed(self.compiled.parts)}{left}.", flush=True)
        if self.activations:  # around what is compiled
            count = checkpoint_activations(pl_module)
            tell(f"Activation checkpointing: {count} blocks keep their inputs alone.", flush=True)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.compiled is None or not trainer.is_global_zero:
            return
        text, told = report(self.compiled, str(self.how), self.backend), ""
        if self.folder is not None:
            told = f"; {self.folder / 'compile.txt'} says more"
            with written_whole(self.folder / "compile.txt", sync=False) as part:
                part.write_text(text, encoding="utf-8")
        if not self._told:
            print(f"Compiled: {Counts(self.compiled).line}{told}.", flush=True)
            self._told = True

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            as_it_was(pl_module)


def _listed(parts: dict[str, str]) -> str:
    return ", ".join(f"{name} ({what})" for name, what in parts.items())
