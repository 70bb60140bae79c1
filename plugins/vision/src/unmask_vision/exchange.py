"""Weights to and from transformers' layouts: ViTMAE, ViT and SwinV2 masked image models.

Names are those of transformers 5. The maps only rename, split, join and reorder, so they serve
gradients as well as weights.
"""

from __future__ import annotations

import re
from typing import Any, cast

import torch
from torch import Tensor

from unmask import Grid, MaskedModel
from unmask.nn import sincos
from unmask_vision.encoders import SwinV2Encoder

State = dict[str, Tensor]

BLOCK = [  # inside a transformer block: ours (timm's), transformers'
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
    ("attn.proj.", "attention.o_proj."),
]
VIT = [
    ("encoder.vit.patch_embed.proj.", "vit.embeddings.patch_embeddings.projection."),
    ("encoder.vit.cls_token", "vit.embeddings.cls_token"),
    ("encoder.vit.pos_embed", "vit.embeddings.position_embeddings"),
    ("encoder.mask_token", "vit.embeddings.mask_token"),
    ("encoder.vit.blocks.", "vit.layers."),
    ("encoder.vit.norm.", "vit.layernorm."),
    *BLOCK,
]
MAE_DECODER = [
    ("predictor.mask_token", "decoder.mask_token"),
    ("predictor.embed.", "decoder.decoder_embed."),
    ("predictor.trunk.blocks.", "decoder.decoder_layers."),
    ("predictor.trunk.norm.", "decoder.decoder_norm."),
    ("predictor.head.", "decoder.decoder_pred."),
]
SWIN = [
    ("encoder.mask_token", "swinv2.embeddings.mask_token"),
    ("encoder.swin.patch_embed.proj.", "swinv2.embeddings.patch_embeddings.projection."),
    ("encoder.swin.patch_embed.norm.", "swinv2.embeddings.norm."),
    ("encoder.swin.layers.", "swinv2.encoder.layers."),
    ("encoder.swin.norm.", "swinv2.layernorm."),
    ("attn.logit_scale", "attention.self.logit_scale"),
    ("attn.cpb_mlp.", "attention.self.continuous_position_bias_mlp."),
    ("attn.proj.", "attention.output.dense."),
    ("attn.q_bias", "attention.self.query.bias"),
    ("attn.v_bias", "attention.self.value.bias"),
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
]
MIM_HEAD = [("predictor.head.", "decoder.0.")]


def to_transformers(model: MaskedModel, state: State | None = None) -> State:
    """Weights of an `MAE` or `SimMIM` as a state dict of ``ViTMAEForPreTraining``,
    ``ViTForMaskedImageModeling`` or ``Swinv2ForMaskedImageModeling``.

    Args:
        model: tells which, and the sizes.
        state: ``model.state_dict()``, or gradients by the same names; None: the former.
    """
    swin, mae = isinstance(model.encoder, SwinV2Encoder), hasattr(model.predictor, "mask_token")
    out: State = {}
    for name, tensor in (model.state_dict() if state is None else state).items():
        if name.startswith("predictor.head.") and not mae:
            tensor = _head_order(model, tensor)
        new = _rename(name, SWIN + MIM_HEAD if swin else VIT + (MAE_DECODER if mae else MIM_HEAD))
        if swin:
            new = re.sub(r"layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", new)
        if "attn.qkv." not in new:
            out[new] = tensor
            continue
        keys = ("attention.self.query.", "attention.self.key.", "attention.self.value.")
        keys = keys if swin else ("attention.q_proj.", "attention.k_proj.", "attention.v_proj.")
        for key, part in zip(keys, tensor.chunk(3), strict=True):
            out[new.replace("attn.qkv.", key)] = part
    if mae and state is None:
        out["decoder.decoder_pos_embed"] = _decoder_positions(model)
    return out


def from_transformers(model: MaskedModel, state: State) -> State:
    """The reverse of `to_transformers`: a state dict that ``model`` loads strictly.

    Raises:
        ValueError: tensors are missing, or fixed decoder positions differ from this model's.
    """
    own = model.state_dict()
    # Where each of their tensors goes is read off the forward map, applied to numbered places.
    numbered, offset = {}, 0
    for name, tensor in own.items():
        numbered[name] = torch.arange(offset, offset + tensor.numel()).view(tensor.shape)
        offset += tensor.numel()
    flat = torch.empty(offset)
    for name, places in to_transformers(model, numbered).items():
        if name not in state:
            raise ValueError(f"The state dict must have {name!r}, but has not.")
        flat[places.flatten()] = state[name].float().flatten()
    theirs = state.get("decoder.decoder_pos_embed")
    if theirs is not None and not torch.allclose(theirs, _decoder_positions(model), atol=1e-5):
        raise ValueError("`decoder.decoder_pos_embed` must hold sine-cosine positions, but holds others.")
    return {name: flat[numbered[name]].to(tensor.dtype) for name, tensor in own.items()}


def _rename(name: str, rules: list[tuple[str, str]]) -> str:
    for ours, theirs in rules:
        name = name.replace(ours, theirs)
    return name


def _head_order(model: MaskedModel, tensor: Tensor) -> Tensor:
    """Outputs of a linear head from our order (patch row, patch column, row, column, channel) to pixel
    shuffle's (channel, row, column), as a 1x1 convolution."""
    tokenizer: Any = model.tokenizer
    p, channels = tokenizer.patch_size, tokenizer.channels
    k: int = getattr(model.predictor, "downsampling", 1)
    tail = tensor.shape[1:]
    ordered = tensor.view(k, k, p, p, channels, -1).permute(4, 0, 2, 1, 3, 5)
    return ordered.reshape(-1, *tail, *([1, 1] if tail else []))


def _decoder_positions(model: MaskedModel) -> Tensor:
    """Sine-cosine positions of the decoder with a zero row for the class token: ``[1, 1 + N, W]``."""
    encoder, predictor = cast(Any, model.encoder), cast(Any, model.predictor)
    rows, columns = encoder.grid
    table = sincos(Grid((rows, columns)), rows * columns, predictor.width)
    return torch.cat([torch.zeros(1, table.shape[1]), table])[None]
