"""ELECTRA's generator: a narrow masked language model on the encoder's embeddings (Clark et al. 2020, section 3.2)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unmask import KEPT, Corruption, Draws, Encoder, Mask, Schedule, Shown, Step, Term, Tokens
from unmask.api import inside
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.heads.vocabulary import VocabularyHead, sample
from unmask_text.losses import VocabularyLoss


class Replacement(Corruption):
    """Hidden tokens are replaced by those that a generator draws; the encoder reads all tokens as they are then.

    Left for terms: ``generator``, the generator's loss. No gradient passes through the drawn tokens. Tokens that it
    guesses rightly are the document's own.

    Args:
        inner: how hidden tokens are shown to the generator.
        encoder: of the generator; None: as the model's own, narrower.
        ratio: width of a narrower one as a share of the model's encoder, in (0, 1].
    """

    def __init__(self, inner: VocabularyCorruption, encoder: Encoder | None = None, ratio: float = 1 / 3) -> None:
        super().__init__(token=1)  # who shows hidden tokens without a generator shows [MASK]
        self.inner = inner
        self.ratio = ratio
        self.given = encoder
        self.generator: Any = None

    def start(self, model: Any) -> None:
        if self.generator is None:  # it shares the embeddings of this very encoder
            encoder, self.given = self.given or narrower(model.encoder, self.ratio), None
            self.generator = Generator(encoder, model.encoder)

    def forward(self, tokens: Tokens, mask: Mask) -> Shown:
        hinted = self.inner(tokens, mask).mask
        fill: Generator = self.generator
        guess = fill.predictor(fill.encoder(tokens, hinted), tokens.places, hinted)
        loss = fill.loss(guess, hinted.asked.gather(tokens.values)).total
        streams = mask.streams().named("generator").over(tokens)
        drawn = sample(guess, Draws(hinted.asked.gather(streams.keys)))
        filled = hinted.asked.scatter(drawn[..., None], tokens.values[..., None])[..., 0]
        shown = replace(mask, show=torch.full_like(mask.hidden, KEPT, dtype=torch.int8))
        return Shown(replace(tokens, values=filled), shown, {"generator": loss})


class GeneratorLoss(Term):
    """What the generator of a `Replacement` learns: ``mean over hidden tokens of -log p(token)``.

    Args:
        weight: at least 0, or a schedule of it.

    Raises:
        ValueError: a weight below 0.
    """

    def __init__(self, weight: float | Schedule = 1.0) -> None:
        super().__init__(weight)

    def forward(self, step: Step, model: Any) -> Tensor:
        assert step.given is not None
        loss: Tensor = step.given.shown.made["generator"]
        return loss


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
