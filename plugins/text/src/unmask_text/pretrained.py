"""Continued pretraining: an encoder with its head, read from a folder (Gururangan et al. 2020, arXiv:2004.10964)."""

from __future__ import annotations

from transformers import AutoModelForMaskedLM

from unmask import MaskedModel
from unmask_text.exchange import from_transformers


def load_masked_lm(model: MaskedModel, path: str) -> None:
    """Loads encoder and vocabulary head from the masked language model at ``path`` into ``model``.

    Raises:
        ValueError: the weights at ``path`` have no head, or do not fit.
    """
    theirs, report = AutoModelForMaskedLM.from_pretrained(path, output_loading_info=True, trust_remote_code=False)
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(
            f"`pretrained` must be a masked language model with its head, but {path!r} lacks {missing[0]!r}; to go on "
            "from an encoder alone, give `encoder` a path instead."
        )
    model.load_state_dict(from_transformers(model, theirs.state_dict()), strict=False)
    model.encoder.source = path  # type: ignore[assignment]
