"""ELECTRA's generator: a narrow masked language model on the encoder's embeddings (Clark et al. 2020, section 3.2)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unmask import KEPT, Corruption, Draws, Encoder, Mask, Shown, Step, Term, Tokens
from unmask.api import inside
from unmask_text.corruption import VocabularyCorruption
from unmask_text.encoders import TransformersEncoder
from unmask_text.heads.vocabulary import VocabularyHead, sample
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


class GeneratorCorruption(Corruption):
    """Hidden tokens are shown to the encoder as what a generator guesses, drawn from its softmax.

    The generator's loss has a gradient, the drawn tokens have none. ``Shown.made`` holds two by-products: ``guess``,
    the generator's answers at hidden places, and ``guess_loss``, how far off they are.

    Args:
        corruption: how hidden tokens are shown to the generator.
        generator: of the model, whose weights it stays with.
    """

    def __init__(self, corruption: VocabularyCorruption, generator: Generator) -> None:
        # Its shares are those of what the generator is shown; the encoder reads drawn tokens as any others.
        super().__init__(corruption.drop, corruption.token, corruption.random, corruption.keep + corruption.swap)
        self.corruption = corruption
        self._generator = (generator,)  # not a part of this part: its weights have one name

    def forward(self, tokens: Tokens, mask: Mask) -> Shown:
        """The documents with drawn tokens at hidden places."""
        (generator,) = self._generator
        given = self.corruption(tokens, mask)
        latent = generator.encoder(given.tokens, given.mask)
        guess = generator.predictor(latent, tokens.places, given.mask)  # values [M, E]
        guess_loss = generator.loss(guess, given.mask.asked.gather(tokens.values))

        streams = mask.streams().named("generator").over(tokens)
        asked = given.mask.asked
        drawn = sample(guess, Draws(asked.gather(streams.keys), streams.seed))  # [M]
        filled = asked.scatter(drawn[..., None], tokens.values[..., None])[..., 0]  # [T]
        made = given.made | {"guess": guess, "guess_loss": guess_loss}
        show = torch.full_like(mask.hidden, KEPT, dtype=torch.int8)
        return Shown(replace(tokens, values=filled), replace(mask, show=show), made)


class GeneratorTerm(Term):
    """The loss of the generator: ``mean over hidden tokens of -log p_generator(token)``."""

    def forward(self, step: Step, model: Any) -> Tensor:
        assert step.given is not None
        total: Tensor = step.given.shown.made["guess_loss"].total
        return total


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
