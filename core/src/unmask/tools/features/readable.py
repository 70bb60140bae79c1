"""Do batches of the data have what the model's tokenizer reads? Looked at on one sample."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

import lightning as L
import torch

from unmask.agreements import Agreement
from unmask.data import MaskedDataModule
from unmask.model import MaskedModel
from unmask.tools.features.samples import some
from unmask.tools.features.vectors import evaluating


class BatchKeys(Agreement):
    """Batches of the data must have what the model's tokenizer reads, as those of another modality have not. The
    refusal names what is missing and what there is."""

    between = ("data", "model.tokenizer")
    otherwise = "refused"
    reads_data = True

    @torch.no_grad()
    def check(self, model: L.LightningModule, data: L.LightningDataModule) -> str | None:
        if not isinstance(model, MaskedModel) or not isinstance(data, MaskedDataModule):
            return None
        tokenizer = model.tokenizer
        device = next((x.device for x in chain(tokenizer.parameters(), tokenizer.buffers())), torch.device("cpu"))
        try:
            split = next(name for name, part in data.splits._asdict().items() if part is not None and len(part))
            batch, _ = some(data, split, 1, device)
        except Exception:  # what cannot be read is told by who reads it
            return None
        try:
            with evaluating(tokenizer):
                tokenizer(batch)
        except KeyError as error:
            missing = error.args[0] if error.args else None
            if not isinstance(batch, Mapping) or missing in batch:
                return None
            raise ValueError(
                f"`data` must have `{missing}` in its batches, which {type(tokenizer).__name__} of the model reads, "
                f"but those of {type(data).__name__} have {', '.join(f'`{name}`' for name in batch)}; give data of the "
                "model's modality."
            ) from None
        except Exception:  # training meets the same mistake, and says more about it
            return None
        return None
