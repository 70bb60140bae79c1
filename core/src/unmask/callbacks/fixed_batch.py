"""A few held-out samples of a run, collated: what its callbacks look at again and again."""

from __future__ import annotations

from itertools import islice
from typing import Any

import lightning as L


def fixed_batch(trainer: L.Trainer, num_samples: int, spread: bool = True) -> Any:
    """Samples of the validation set (the training set, when there is no other), in the run's precision.

    Taken from the data set, not from its loader, whose workers and order belong to the run. The same in
    each epoch and on each device, on the CPU.

    Args:
        trainer: that fits.
        num_samples: how many, at least 1; fewer where there are no more.
        spread: over the set evenly, which may be sorted by class; else, and of a stream, the first ones.
    """
    if trainer.enable_validation and trainer.val_dataloaders is None:  # the fit has not loaded it yet
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
    loader: Any = trainer.val_dataloaders if trainer.enable_validation else trainer.train_dataloader
    while isinstance(loader, dict | list | tuple):
        loader = next(iter(loader.values() if isinstance(loader, dict) else loader))
    dataset = loader.dataset
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__"):
        count = min(num_samples, len(dataset))
        samples = [dataset[i * len(dataset) // count if spread else i] for i in range(count)]
    else:
        samples = list(islice(dataset, num_samples))
    return trainer.precision_plugin.convert_input(loader.collate_fn(samples))
