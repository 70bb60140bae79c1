"""Masked decoder: [MASK] tokens enter behind the encoder, in a shallow decoder (MAE-LM, Meng et al. 2023,
arXiv:2302.02060, section 3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from unmask import Latent, Mask, Predictor, Tokens
from unmask.api import at_least
from unmask_text.encoders import TransformersEncoder
from unmask_text.encoders.packing import packed, padded
from unmask_text.heads.vocabulary import VocabularyHead, VocabularyPrediction


class MaskedDecoder(Predictor):
    """The codes of visible tokens and a learned one for hidden tokens, each with its position, through a few layers.

    Args:
        head: what answers from the decoder's codes.
        config: settings of transformers for the decoder, such as ``{"model_type": "bert", "hidden_size": 256}``; as
            wide as the codes. See `matching`.

    Raises:
        ValueError: a model that cannot read packed documents; in `forward`, codes without class token and separator.
    """

    def __init__(self, head: VocabularyHead, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.encoder = TransformersEncoder({**config, **_without_vocabulary(config)}, cls_id=0, sep_id=0, mask_id=0)
        if not self.encoder.reads_rows:
            raise ValueError(
                "`config` must be of a model that takes positions and transformers' attention interface (BERT, "
                f"RoBERTa, ModernBERT, ELECTRA) for MaskedDecoder, but is of a {type(self.encoder.model).__name__}."
            )
        self.encoder.model.set_input_embeddings(nn.Identity())  # codes come in, not ids
        self.mask_code = nn.Parameter(torch.empty(self.encoder.width))
        nn.init.normal_(self.mask_code, std=0.02)
        self.head = head

    @classmethod
    def matching(cls, encoder: TransformersEncoder, num_layers: int = 2) -> MaskedDecoder:
        """A decoder of the encoder's kind and width, for a method to give as its default.

        Raises:
            ValueError: ``num_layers`` below 1.
        """
        at_least(1, decoder_layers=num_layers)
        settings = encoder.model.config.to_dict()
        settings = {name: value for name, value in settings.items() if name != "layer_types"}  # one for each layer
        return cls(VocabularyHead.matching(encoder), settings | {"num_hidden_layers": num_layers})

    def tie(self, table: nn.Parameter) -> None:
        """Shares the table of the input embeddings with the head."""
        self.head.tie(table)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> VocabularyPrediction:
        if latent.prefix is None or latent.prefix.shape[1] < 2:
            raise ValueError("MaskedDecoder needs codes of a class token and of a separator, but there are none.")
        flat, flat_mask = packed(places, mask)
        assert flat.offsets is not None
        assert flat_mask is not None
        codes = latent.values  # [K, D]
        if places.offsets is None:
            real = mask.valid if latent.seen is None else latent.seen.valid
            codes = codes.flatten(0, 1) if real is None else codes[real]
        if latent.seen is not None:
            everywhere = self.mask_code.to(codes.dtype).expand(len(flat_mask.hidden), -1)
            codes = everywhere.index_copy(0, flat_mask.visible.index, codes)  # [T, D]

        lengths = flat.offsets.diff()
        place = torch.arange(len(codes), device=codes.device) - flat.offsets[:-1].repeat_interleave(lengths)
        cls, sep = latent.prefix.unbind(1)
        read, prefix = self.encoder.read(codes, place, lengths, lengths, cls, sep)  # [T, D]
        if places.offsets is None:
            read = padded(read, mask.hidden.shape, mask.valid)
        return self.head(Latent(read, prefix=prefix), places, mask)


def _without_vocabulary(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a model that is given codes: padding is all its vocabulary, and embeddings are as wide as it is."""
    settings: dict[str, Any] = {"vocab_size": (config.get("pad_token_id") or 0) + 1}
    if "embedding_size" in config:
        settings["embedding_size"] = config["hidden_size"]
    return settings
