"""Audio-MAE as its authors released it (Huang et al. 2022): encoder, and the global decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from unmask import Grid, MaskedModel
from unmask.api import Map, Release, State
from unmask.nn import sincos
from unmask.predictors import TransformerPredictor
from unmask_audio.encoders.vit import POSITIONS, SpectrogramViT
from unmask_audio.tokenizer import SpectrogramTokenizer

HEADS = {192: 3, 384: 6, 768: 12, 1024: 16}
"""Attention heads by width."""
DECODER = {"mask_token": "mask_token", "embed.": "decoder_embed.", "head.": "decoder_pred."}
BLOCK = {"norm1", "norm2", "attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"}
"""Layers of a block; those of the local decoder have more."""


class AudioMAERelease(Release):
    """Checkpoints of facebookresearch/AudioMAE: of pretraining, or of a fine-tuned encoder, which has no last norm (it
    norms the mean of codes, ``fc_norm``), so ``--min_matched`` must be below 1.

    Its decoder is taken where it is the same: global, and with positions as `TransformerPredictor` has them. That of
    the released weights is local, of Swin transformer blocks that `LocalDecoder` has not.
    """

    repository = "facebookresearch/AudioMAE"
    ignored = "pos_embed|decoder_pos_embed"

    def refusal(self, model: MaskedModel) -> str | None:
        if isinstance(model.encoder, SpectrogramViT) and isinstance(model.tokenizer, SpectrogramTokenizer):
            return None
        return (
            f"The names of {self.repository} are for SpectrogramViT on SpectrogramTokenizer, but here is "
            f"{type(model.encoder).__name__} on {type(model.tokenizer).__name__}; nearest: `safetensors`."
        )

    def map(self, model: MaskedModel) -> Map:
        same, patch = isinstance(model.predictor, TransformerPredictor), _tokenizer(model).patch

        def forward(name: str, tensor: Tensor) -> State:
            if name == "encoder.embed.weight":
                fits = tensor.shape[1] == patch[0] * patch[1]
                return {"patch_embed.proj.weight": tensor.view(-1, 1, *patch) if fits else tensor}
            if name in ("encoder.embed.bias", "encoder.cls_token"):
                return {name.replace("encoder.embed", "patch_embed.proj").removeprefix("encoder."): tensor}
            if name.startswith("encoder.trunk."):
                return {name.removeprefix("encoder.trunk."): tensor}
            if not same or not name.startswith("predictor."):
                return {}
            name = name.removeprefix("predictor.")
            if name.startswith("trunk."):
                return {"decoder_" + name.removeprefix("trunk."): tensor}
            return {
                theirs + name.removeprefix(ours): tensor for ours, theirs in DECODER.items() if name.startswith(ours)
            }

        return forward

    def load(self, weights: State, model: MaskedModel) -> State:
        if _is_our_decoder(weights, model):
            return super().load(weights, model)
        other = {name: x for name, x in weights.items() if name == "mask_token" or name.startswith("decoder_")}
        found = super().load({name: x for name, x in weights.items() if name not in other}, model)
        return found | {name: x for name, x in other.items() if name != "decoder_pos_embed"}

    def agree(self, weights: State, settings: Mapping[str, Any], model: MaskedModel) -> list[str]:
        encoder = model.encoder
        assert isinstance(encoder, SpectrogramViT)
        told: list[str] = []
        heads = cast(Any, encoder.trunk.blocks[0]).attn.num_heads
        if heads != HEADS.get(encoder.width, heads):
            told.append(
                f"Models of {self.repository} of width {encoder.width} have {HEADS[encoder.width]} attention heads, "
                f"but the config's encoder has {heads}: its codes are others than theirs."
            )
        told += _positions(weights, model)
        theirs, own = settings.get("args.norm_pix_loss"), getattr(model.target, "normalize", None)
        if "decoder_embed.weight" in weights and not _is_our_decoder(weights, model):
            told.append("The decoder was left out: its blocks or its positions are others than the predictor's.")
        elif "decoder_embed.weight" in weights and None not in (theirs, own) and bool(theirs) != own:
            told.append(
                f"The decoder was trained with `norm_pix_loss` {theirs}, but `normalize` of the config's target is "
                f"{own}."
            )
        return told


def _tokenizer(model: MaskedModel) -> SpectrogramTokenizer:
    tokenizer = model.tokenizer
    assert isinstance(tokenizer, SpectrogramTokenizer)  # `refusal` has seen to it
    return tokenizer


def _is_our_decoder(weights: State, model: MaskedModel) -> bool:
    """Whether what the weights hold of a decoder computes what the predictor does; values are looked at if any."""
    start = "decoder_blocks.0."
    layers = {name.removeprefix(start).rpartition(".")[0] for name in weights if name.startswith(start)}
    if layers - BLOCK or not isinstance(model.predictor, TransformerPredictor):
        return False
    table = weights.get("decoder_pos_embed")
    if table is None or table.is_meta:
        return True
    return "sincos" in _kinds(table, model)


def _positions(weights: State, model: MaskedModel) -> list[str]:
    """Compares the encoder's fixed positions with those that the weights were trained with.

    Raises:
        ValueError: the encoder has the other kind.
    """
    encoder = model.encoder
    if "pos_embed" not in weights or not isinstance(encoder, SpectrogramViT):
        return []
    table, tokenizer = weights["pos_embed"], _tokenizer(model)
    kinds = _kinds(table, model)
    if not kinds:
        return [
            "`pos_embed` holds no sine-cosine positions, but the encoder's are fixed: its codes are others than theirs."
        ]
    if encoder.positions not in kinds:
        raise ValueError(
            f"`positions` of the config's encoder must be `{kinds[0]}`, as the weights were trained with, but is "
            f"`{encoder.positions}`."
        )
    frames = (table.shape[1] - 1) // (tokenizer.frontend.width // tokenizer.patch[1]) * tokenizer.patch[0]
    if "sincos" not in kinds and tokenizer.num_frames not in (None, frames):
        return [
            f"The weights were trained on {frames} frames, but `num_frames` of the config's tokenizer is "
            f"{tokenizer.num_frames}: swapped positions of another length are others."
        ]
    return []


def _kinds(table: Tensor, model: MaskedModel) -> list[str]:
    """Which of `POSITIONS` a table ``[1, 1 + N, D]`` has, of N patches in time by frequency."""
    tokenizer = _tokenizer(model)
    columns = tokenizer.frontend.width // tokenizer.patch[1]
    num_places, width = table.shape[1] - 1, table.shape[2]
    if num_places % columns or width % 4:
        return []
    shape = (num_places // columns, columns)
    tables = {kind: sincos(Grid(shape if kind == "sincos" else shape[::-1]), num_places, width) for kind in POSITIONS}
    return [kind for kind, own in tables.items() if torch.allclose(table[0, 1:].float(), own, atol=1e-4)]
