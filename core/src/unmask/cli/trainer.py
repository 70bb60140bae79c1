"""The trainer of the commands: Lightning's, told in the words of a command line."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.accelerators import Accelerator, AcceleratorRegistry
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.profilers import Profiler
from lightning.pytorch.strategies import Strategy, StrategyRegistry

from unmask.cli.precision import Precision
from unmask.configs.names import class_names, no_class
from unmask.runs.fsdp2 import WORD, like
from unmask.support.nearest import nearest, quoted
from unmask.training.external_callbacks import only


class Trainer(L.Trainer):
    """Lightning's trainer, with these differences.

    Args:
        accelerator: a word of Lightning's, or a class; a class path is taken for one.
        strategy: likewise; ``fsdp2`` shards the model over all processes, see `unmask.runs.fsdp2`.
        precision: ``auto``, which `unmask.cli.precision.settle` has replaced by then, or one of Lightning's.
        sync_batchnorm: whether the statistics of BatchNorm are those of all processes, see
            `unmask.training.batch_norm`; on CPUs too.
        callbacks: as Lightning's.
        profiler: a word of Lightning's, or a class.
        external_callbacks: installed packages whose callbacks to take: names of distributions, or ``all``; see
            `unmask.training.external_callbacks`.

    Raises:
        ValueError: a word that is neither; the message names the nearest.
    """

    def __init__(
        self,
        *,
        accelerator: Accelerator | str = "auto",  # the class first: any text is a `str`
        strategy: Strategy | str = "auto",
        precision: Precision | None = None,
        sync_batchnorm: bool = True,
        callbacks: list[Callback] | Callback | None = None,
        profiler: Profiler | str | None = None,
        external_callbacks: list[str] | str | None = None,
        **kwargs: Any,
    ) -> None:
        check_words(accelerator, strategy)
        _check_word("profiler", profiler, ["simple", "advanced", "pytorch", "xla"], Profiler)
        self.sync_batchnorm = sync_batchnorm  # which `MaskedModel` does, before it is wrapped or sharded
        asked = external_callbacks.split(",") if isinstance(external_callbacks, str) else external_callbacks or []
        beside = [callbacks] if isinstance(callbacks, Callback) else callbacks or []
        with only([name.strip() for name in asked], beside, "`--trainer.external_callbacks NAME` takes them"):
            super().__init__(
                accelerator=accelerator,
                strategy=like(strategy),
                precision=precision,  # type: ignore[arg-type]
                callbacks=callbacks,
                profiler=profiler,
                **kwargs,
            )


def check_words(accelerator: Any, strategy: Any) -> None:
    """Refuses what is no accelerator, and what is no strategy.

    Raises:
        ValueError: a word that Lightning does not know; names the nearest.
    """
    _check_word("accelerator", accelerator, ["auto", "gpu", *AcceleratorRegistry.available_accelerators()], Accelerator)
    _check_word("strategy", strategy, ["auto", WORD, *StrategyRegistry.available_strategies()], Strategy)


def _check_word(name: str, given: Any, words: list[str], base: type) -> None:
    """Lightning's own messages name no nearest choice."""
    if not isinstance(given, str) or given in words:
        return
    if "." in given:
        raise ValueError(f"`trainer.{name}`: {no_class(base, given)}")
    classes = class_names(base)
    near = nearest(given, [*words, *classes]) or words[:6]
    raise ValueError(
        f"`trainer.{name}` must be a word or class of Lightning's, or a class path, but is `{given}`; "
        f"nearest: {quoted(near)}."
    )
