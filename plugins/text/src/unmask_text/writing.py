"""Writing with a masked diffusion model: whole texts, or the [MASK] places of given ones."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from unmask import MaskedModel, Places, Tokens
from unmask import Sequence as Line
from unmask.decode import ORDERS, Order, Score, decode
from unmask.noise import Process
from unmask_text.heads.vocabulary import VocabularyHead

MASK = "[MASK]"
SAMPLERS = ("first-hitting", "ancestral", "cosine", "linear")
"""How many tokens are written in a step: see `write`."""


def denoiser(model: MaskedModel) -> Score:
    """What the model says about places of documents, for `decode`: never [MASK].

    Raises:
        ValueError: a model without a vocabulary head, such as one that drops hidden tokens.
    """
    head, encoder = model.predictor, cast(Any, model.embedder.encoder)
    if not isinstance(head, VocabularyHead):
        raise ValueError(
            f"`model` must have a vocabulary head to write, such as `text.mdlm`, but is {type(model).__name__}."
        )

    @torch.no_grad()
    def denoise(ids: Tensor, document: Tensor, place: Tensor) -> Tensor:
        asked, row = document.unique(return_inverse=True)  # documents that are done need no codes
        codes = encoder(Tokens(ids[asked], Line())).values[row, place]  # [M, D]
        scores = head.answer(codes, Places(place)).logits()  # [M, V]
        return scores.index_fill(1, torch.tensor(encoder.mask_id, device=scores.device), float("-inf"))

    return denoise


def write(
    model: MaskedModel,
    ids: Tensor,
    sampler: str = "first-hitting",
    num_steps: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
    order: Order = "random",
    choice_noise: float = 0.0,
) -> Tensor:
    """Fills the [MASK] places of documents.

    Args:
        model: an `MDLM`, in evaluation mode.
        ids: ``[B, N]`` with the encoder's ``mask_id`` where something is to be written.
        sampler: how many tokens are written in a step: ``first-hitting``, one of each document; ``ancestral``,
            each with the probability of the model's noise process; ``cosine`` or ``linear``, as many as that schedule
            says.
        num_steps: of all samplers but the first.
        temperature: above 0.
        seed: of the random numbers.
        order: which tokens come first, see `unmask.decode.decode`. In ``random`` order, the first two samplers draw
            from the model's own distribution.
        choice_noise: of orders by probability or margin, at least 0.

    Raises:
        ValueError: an unknown sampler or order, a number out of range, or documents longer than the model was made for.
    """
    if order not in ORDERS:
        raise ValueError(f"`order` must be one of {', '.join(ORDERS)}, but is {order!r}.")
    if sampler not in SAMPLERS:
        raise ValueError(f"`sampler` must be one of {', '.join(SAMPLERS)}, but is {sampler!r}.")
    encoder = cast(Any, model.embedder.encoder)
    longest = encoder.model.config.max_position_embeddings - 2  # rotary models would read on
    if ids.shape[1] > longest:
        raise ValueError(
            f"A text must have at most {longest} tokens, the model's `max_length` less special tokens, "
            f"but has {ids.shape[1]}."
        )
    process = getattr(model.mask, "process", Process())
    schedule = {"first-hitting": 1, "ancestral": process}.get(sampler, sampler)
    return decode(
        denoiser(model),
        ids,
        ids == encoder.mask_id,
        steps=num_steps,
        schedule=cast(Any, schedule),
        order=order,
        temperature=temperature,
        choice_noise=choice_noise,
        generator=torch.Generator(ids.device).manual_seed(seed),
    )


def encode(text: str, vocabulary: Any, mask_id: int) -> list[int]:
    """Ids of a text in which ``[MASK]`` stands for one unknown token."""
    ids: list[int] = []
    for number, part in enumerate(text.split(MASK)):
        if number:
            ids.append(mask_id)
        ids += vocabulary.tokenizer.encode(part, add_special_tokens=False).ids
    return ids
