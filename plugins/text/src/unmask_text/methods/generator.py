"""ELECTRA's generator: a narrow masked language model on the encoder's embeddings (Clark et al. 2020, section 3.2)."""

from __future__ import annotations

import copy

from torch import nn

from unmask import Encoder
from unmask.api import inside
from unmask_text.encoders import TransformersEncoder
from unmask_text.heads.vocabulary import VocabularyHead
from unmask_text.losses import VocabularyLoss


class Generator(nn.Module):
    """A masked language model whose embeddings are another encoder's."""

    def __init__(self, encoder: Encoder, other: TransformersEncoder) -> None:
        super().__init__()
        if not isinstance(encoder, TransformersEncoder):
            raise ValueError(f"`generator` must be a `text.transformer`, but is a {type(encoder).__name__}.")
        if encoder.embedding.shape != other.embedding.shape:
            raise ValueError(
                f"`generator` must have embeddings {tuple(other.embedding.shape)}, which the encoder shares with it, "
                f"but has {tuple(encoder.embedding.shape)}."
            )
        encoder.model.embeddings = other.model.embeddings
        self.encoder = encoder
        self.predictor = VocabularyHead.matching(encoder)
        self.predictor.tie(other.embedding)
        self.loss = VocabularyLoss()


def narrower(encoder: TransformersEncoder, ratio: float) -> TransformersEncoder:
    """A fresh encoder of the same kind and depth with a share of its attention heads, and as much narrower."""
    inside("(0, 1]", generator_ratio=ratio)
    settings = copy.deepcopy(encoder.model.config.to_dict())
    if settings["model_type"] != "electra":
        raise ValueError(
            "`encoder` must be of model_type electra, whose embeddings need not be as wide as it is, but is "
            f"{settings['model_type']}; or give `generator`."
        )
    num_heads = max(round(settings["num_attention_heads"] * ratio), 1)
    share = num_heads / settings["num_attention_heads"]
    for name in ("hidden_size", "intermediate_size"):
        settings[name] = round(settings[name] * share)
    settings["num_attention_heads"] = num_heads
    return TransformersEncoder(settings, cls_id=encoder.cls_id, sep_id=encoder.sep_id, mask_id=encoder.mask_id)
