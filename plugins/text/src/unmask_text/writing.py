"""Writing with a masked diffusion model: whole texts, or the [MASK] places of given ones."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from unmask import MaskedModel, Places, Tokens
from unmask import Sequence as Line
from unmask_text.heads.vocabulary import VocabularyHead
from unmask_text.sampling import Denoise, ancestral, first_hitting

MASK = "[MASK]"
SAMPLERS = ("first-hitting", "ancestral")


def denoiser(model: MaskedModel) -> Denoise:
    """What the model says about masked places, for a sampler.

    Raises:
        ValueError: a model without a vocabulary head, such as one that drops hidden tokens.
    """
    head, encoder = model.predictor, model.embedder.encoder
    if not isinstance(head, VocabularyHead):
        raise ValueError(
            f"`model` must have a vocabulary head to write, such as `text.mdlm`, but is {type(model).__name__}."
        )

    @torch.no_grad()
    def denoise(ids: Tensor, document: Tensor, place: Tensor) -> Tensor:
        asked, row = document.unique(return_inverse=True)  # documents that are done need no codes
        codes = encoder(Tokens(ids[asked], Line())).values[row, place]  # [M, D]
        return head.answer(codes, Places(place)).logits()

    return denoise


def write(
    model: MaskedModel,
    ids: Tensor,
    sampler: str = "first-hitting",
    num_steps: int = 128,
    temperature: float = 1.0,
    seed: int = 0,
) -> Tensor:
    """Fills the [MASK] places of documents.

    Args:
        model: an `MDLM`, in evaluation mode.
        ids: ``[B, N]`` with the encoder's ``mask_id`` where something is to be written.
        sampler: ``first-hitting`` or ``ancestral``.
        num_steps: of the ancestral sampler.
        temperature: above 0.
        seed: of the random numbers.

    Raises:
        ValueError: an unknown sampler, a number out of range, or documents longer than the model was made for.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"`sampler` must be one of {', '.join(SAMPLERS)}, but is {sampler!r}.")
    longest = cast(Any, model.embedder.encoder).model.config.max_position_embeddings - 2  # rotary models would read on
    if ids.shape[1] > longest:
        raise ValueError(
            f"A text must have at most {longest} tokens, the model's `max_length` less special tokens, "
            f"but has {ids.shape[1]}."
        )
    mask_id: Any = model.embedder.encoder.mask_id
    generator = torch.Generator(ids.device).manual_seed(seed)
    options: dict[str, Any] = {"temperature": temperature, "generator": generator}
    if sampler == "ancestral":
        return ancestral(denoiser(model), ids, mask_id, num_steps, **options)
    return first_hitting(denoiser(model), ids, mask_id, **options)


def encode(text: str, vocabulary: Any, mask_id: int) -> list[int]:
    """Ids of a text in which ``[MASK]`` stands for one unknown token."""
    ids: list[int] = []
    for number, part in enumerate(text.split(MASK)):
        if number:
            ids.append(mask_id)
        ids += vocabulary.tokenizer.encode(part, add_special_tokens=False).ids
    return ids
