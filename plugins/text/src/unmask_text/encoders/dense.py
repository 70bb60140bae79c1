"""The encoder on padded documents, as other libraries run it: what programs are traced from, and exports checked by."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unmask import Tokens
from unmask.api import Program

if TYPE_CHECKING:
    from unmask_text.encoders.transformer import TransformersEncoder

LENGTHS = (1, 2, 9, 24)
"""Of the documents that a program is checked with, besides those of the data."""
NOTE = (
    "`ids` are the class token, the document's tokens and the separator of each document, then padding on the right, "
    "as the tokenizer of `unmask export --format text.transformers` writes them; `attention_mask` is 0 at padding, 1 "
    "elsewhere."
)


class DenseEncoder(nn.Module):
    """``ids [B, N]`` and ``attention_mask [B, N]`` to ``[B, D]``, or to codes ``[B, N, D]``, those of padding zero.

    Pooling leaves class token and separator out, as everywhere.

    Args:
        encoder: whose model is copied, with transformers' own attention.
        pool: as in `Latent.pool`; None: all codes.
    """

    def __init__(self, encoder: TransformersEncoder, pool: str | None = None) -> None:
        super().__init__()
        self.model = copy.deepcopy(encoder.model)
        if encoder.reads_rows:
            self.model.set_attn_implementation("sdpa" if self.model._supports_sdpa else "eager")
        self.pad_id = self.model.config.pad_token_id or 0
        self.pool = pool

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        real = batch["attention_mask"] != 0  # [B, N]
        ids = batch["ids"].masked_fill(~real, self.pad_id)  # from which RoBERTa counts positions
        codes = self.model(input_ids=ids, attention_mask=real.long()).last_hidden_state  # [B, N, D]
        if self.pool is None:
            return codes * real[..., None]
        if self.pool == "cls":
            return codes[:, 0]
        place = torch.arange(codes.shape[1], device=codes.device)
        inner = ((place > 0) & (place < real.sum(1, keepdim=True) - 1))[..., None]  # [B, N, 1]
        mean = codes.masked_fill(~inner, 0).sum(1) / inner.sum(1)
        largest = codes.masked_fill(~inner, float("-inf")).amax(1)
        return {"mean": mean, "max": largest, "mean+max": torch.cat([mean, largest], dim=-1)}[self.pool]


def program_of(encoder: TransformersEncoder, tokens: Tokens, pool: str | None) -> Program:
    """The program of an encoder, checked with packed ``tokens`` and with documents made up here."""
    samples = [tokens, made_up(encoder, LENGTHS)]
    longest = encoder.max_length
    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", min=3, max=longest)}
    return Program(
        DenseEncoder(encoder, pool).eval(),
        batches=[padded_documents(encoder, one) for one in reversed(samples)],
        expected=[_codes(encoder, one, pool) for one in reversed(samples)],
        sizes=dict.fromkeys(("ids", "attention_mask"), sizes),
        note=NOTE,
    )


def made_up(encoder: TransformersEncoder, lengths: tuple[int, ...], num_ids: int | None = None) -> Tokens:
    """Packed documents of random ids (below ``num_ids``) that the encoder has places for; the same in every call."""
    longest = (encoder.max_length or 2**16) - 2
    sizes = torch.tensor([min(length, longest) for length in lengths])
    special = torch.tensor([encoder.cls_id, encoder.sep_id, encoder.mask_id, encoder.model.config.pad_token_id or 0])
    ordinary = torch.ones(len(encoder.embedding), dtype=torch.bool).index_fill(0, special, False)
    ordinary = ordinary[:num_ids].nonzero().flatten()
    drawn = torch.randint(len(ordinary), (int(sizes.sum()),), generator=torch.Generator().manual_seed(0))
    return Tokens(ordinary[drawn], None, offsets=nn.functional.pad(sizes.cumsum(0), (1, 0)))  # type: ignore[arg-type]


def padded_documents(encoder: TransformersEncoder, tokens: Tokens) -> dict[str, Tensor]:
    """Packed documents between their special tokens, as ``ids`` and ``attention_mask`` ``[B, N]``."""
    assert tokens.offsets is not None
    cls, sep = tokens.values.new_tensor([encoder.cls_id]), tokens.values.new_tensor([encoder.sep_id])
    rows = [torch.cat([cls, ids, sep]) for ids in tokens.values.split(tokens.offsets.diff().tolist())]
    pad = encoder.model.config.pad_token_id or 0
    return {
        "ids": nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=pad),
        "attention_mask": nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True),
    }


@torch.no_grad()
def _codes(encoder: TransformersEncoder, tokens: Tokens, pool: str | None) -> Tensor:
    """What the encoder itself computes of them, in the form that the program answers in."""
    latent = encoder(tokens)
    if pool is not None:
        return latent.pool(pool, tokens)
    assert tokens.offsets is not None
    parts = zip(latent.prefix, latent.values.split(tokens.offsets.diff().tolist()), strict=True)
    return nn.utils.rnn.pad_sequence([torch.cat([two[:1], part, two[1:]]) for two, part in parts], batch_first=True)
