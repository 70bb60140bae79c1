"""Weights under transformers' names: ViT, ViTMAE, I-JEPA, BEiT and SwinV2.

Names are those of transformers 5. The maps only rename, split, join and reorder, so they serve
gradients as well as weights, and are turned round by following numbered places through them.
"""

from __future__ import annotations

import re
from typing import Any, cast

import torch
from torch import Tensor

from unmask import Grid, MaskedModel
from unmask.api import Map, State, backwards
from unmask.nn import sincos
from unmask_vision.encoders import SwinV2Encoder

VIT = [  # ours (timm's), transformers'
    ("encoder.vit.patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    ("encoder.vit.cls_token", "embeddings.cls_token"),
    ("encoder.vit.pos_embed", "embeddings.position_embeddings"),
    ("encoder.mask_token", "embeddings.mask_token"),
    ("encoder.vit.blocks.", "layers."),
    ("encoder.vit.norm.", "layernorm."),
    ("encoder.vit.shared_rel_pos.", "shared_position_bias."),  # here and below: BEiT's
    ("attn.rel_pos.", "relative_position_bias."),
    ("ls1.gamma", "lambda_1"),
    ("ls2.gamma", "lambda_2"),
]
SWIN = [
    ("encoder.swin.patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    ("encoder.swin.patch_embed.norm.", "embeddings.norm."),
    ("encoder.mask_token", "embeddings.mask_token"),
    ("encoder.swin.layers.", "encoder.layers."),
    ("encoder.swin.norm.", "layernorm."),
    ("attn.logit_scale", "attention.self.logit_scale"),
    ("attn.cpb_mlp.", "attention.self.continuous_position_bias_mlp."),
    ("attn.proj.", "attention.output.dense."),
    ("attn.q_bias", "attention.self.query.bias"),
    ("attn.v_bias", "attention.self.value.bias"),
    ("mlp.fc1.", "intermediate.dense."),
    ("mlp.fc2.", "output.dense."),
]
BLOCK = [
    ("norm1.", "layernorm_before."),
    ("norm2.", "layernorm_after."),
    ("attn.proj.", "attention.o_proj."),
]
MAE_DECODER = [
    ("predictor.mask_token", "decoder.mask_token"),
    ("predictor.embed.", "decoder.decoder_embed."),
    ("predictor.trunk.blocks.", "decoder.decoder_layers."),
    ("predictor.trunk.norm.", "decoder.decoder_norm."),
    ("predictor.head.", "decoder.decoder_pred."),
]
MIM_HEAD = [("predictor.head.", "decoder.0.")]
STORED = [  # in files, as transformers 4 had them and 5 still writes them; in a model of transformers 5
    (r"(^|\.)encoder\.layer\.", r"\1layers."),
    (r"^decoder\.decoder_encoder\.layer\.", "decoder.decoder_layers."),
    (r"attention\.attention\.(?=query|key|value)", "attention."),
    (r"attention\.query\.", "attention.q_proj."),
    (r"attention\.key\.", "attention.k_proj."),
    (r"attention\.value\.", "attention.v_proj."),
    (r"attention\.output\.dense\.", "attention.o_proj."),
    (r"(\d)\.intermediate\.dense\.", r"\1.mlp.fc1."),
    (r"(\d)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"encoder\.relative_position_bias\.", "shared_position_bias."),
    (r"attention\.attention\.relative_position_bias\.", "relative_position_bias."),
]
DECODER_POSITIONS = "decoder.decoder_pos_embed"


def encoder_map(model: MaskedModel, *, beit: bool = False) -> Map:
    """Names of an encoder alone, such as ``ViTModel``'s; BEiT's keys have no bias, which softmax would not notice."""
    swin = isinstance(model.encoder, SwinV2Encoder)

    def forward(name: str, tensor: Tensor) -> State:
        return _encoder_tensor(name, tensor, swin, beit)

    return forward


def pretraining_map(model: MaskedModel) -> Map:
    """Names of an encoder and its predictor, such as ``ViTMAEForPreTraining``'s."""
    swin, mae = isinstance(model.encoder, SwinV2Encoder), hasattr(model.predictor, "mask_token")
    prefix = "swinv2." if swin else "vit."

    def forward(name: str, tensor: Tensor) -> State:
        if not name.startswith("predictor."):
            return {prefix + new: part for new, part in _encoder_tensor(name, tensor, swin, False).items()}
        if not mae:
            return {_rename(name, MIM_HEAD): head_order(model, tensor)}
        return _split(_rename(name, [*MAE_DECODER, *BLOCK]), tensor, swin=False, beit=False)

    return forward


def to_transformers(model: MaskedModel, state: State | None = None) -> State:
    """Weights of an `MAE` or `SimMIM` as a state dict of ``ViTMAEForPreTraining``,
    ``ViTForMaskedImageModeling`` or ``Swinv2ForMaskedImageModeling``.

    Args:
        model: tells which, and the sizes.
        state: ``model.state_dict()``, or gradients by the same names; None: the former.
    """
    given = model.state_dict() if state is None else state
    forward = pretraining_map(model)
    out: State = {}
    for name, tensor in given.items():
        out |= forward(name, tensor)
    if state is None and hasattr(model.predictor, "mask_token"):
        out[DECODER_POSITIONS] = decoder_positions(model)
    return out


def from_transformers(model: MaskedModel, state: State) -> State:
    """The reverse of `to_transformers`: a state dict that ``model`` loads strictly.

    Raises:
        ValueError: tensors are missing, or fixed decoder positions differ from this model's.
    """
    own = model.state_dict()
    found = backwards(own, pretraining_map(model), state)
    check_decoder_positions(model, state)
    lacking = [name for name in own if name not in found]
    if lacking:
        raise ValueError(f"The state dict must have what {lacking[0]!r} is made of, but has not.")
    return {name: found[name].to(tensor.dtype) for name, tensor in own.items()}


def as_in_models(stored: State) -> State:
    """ViTs' tensors, read from a file of transformers, under the names that its models have; SwinV2's are the same."""
    out: State = {}
    for name, tensor in stored.items():
        new = name
        for pattern, replacement in STORED:
            new = re.sub(pattern, replacement, new)
        if not new.endswith("relative_position_index"):  # which older files keep, and sizes tell
            out[new] = tensor
    return out


def decoder_positions(model: MaskedModel) -> Tensor:
    """Sine-cosine positions of the decoder with a zero row for the class token: ``[1, 1 + N, W]``."""
    encoder, predictor = cast(Any, model.encoder), cast(Any, model.predictor)
    rows, columns = encoder.grid
    table = sincos(Grid((rows, columns)), rows * columns, predictor.width)
    return torch.cat([torch.zeros(1, table.shape[1]), table])[None]


def check_decoder_positions(model: MaskedModel, state: State) -> None:
    """Refuses decoder positions other than ours, which are fixed.

    Raises:
        ValueError: they differ.
    """
    theirs = state.get(DECODER_POSITIONS)
    if theirs is None or theirs.device.type == "meta":
        return
    own = decoder_positions(model)
    if theirs.shape != own.shape or not torch.allclose(theirs.float(), own, atol=1e-5):
        raise ValueError(f"`{DECODER_POSITIONS}` must hold sine-cosine positions, but holds others.")


def _encoder_tensor(name: str, tensor: Tensor, swin: bool, beit: bool) -> State:
    if not swin:
        return _split(_rename(name, [*VIT, *BLOCK]), tensor, swin, beit)
    new = _rename(name, [*SWIN, *BLOCK])
    new = re.sub(r"layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", new)
    return _split(new, tensor, swin, beit)


def _split(name: str, tensor: Tensor, swin: bool, beit: bool) -> State:
    """Queries, keys and values by themselves."""
    if "attn.qkv." not in name:
        return {name: tensor}
    keys = ("attention.self.query.", "attention.self.key.", "attention.self.value.")
    keys = keys if swin else ("attention.q_proj.", "attention.k_proj.", "attention.v_proj.")
    parts = zip(keys, tensor.chunk(3), strict=True)
    return {
        name.replace("attn.qkv.", key): part
        for key, part in parts
        if not (beit and key == "attention.k_proj." and name.endswith(".bias"))
    }


def _rename(name: str, rules: list[tuple[str, str]]) -> str:
    for ours, theirs in rules:
        name = name.replace(ours, theirs)
    return name


def head_order(model: MaskedModel, tensor: Tensor) -> Tensor:
    """Outputs of a linear head from our order (patch row, patch column, row, column, channel) to pixel
    shuffle's (channel, row, column), as a 1x1 convolution."""
    tokenizer: Any = model.tokenizer
    p, channels = tokenizer.patch_size, tokenizer.channels
    k: int = getattr(model.predictor, "downsampling", 1)
    tail = tensor.shape[1:]
    ordered = tensor.view(k, k, p, p, channels, -1).permute(4, 0, 2, 1, 3, 5)
    return ordered.reshape(-1, *tail, *([1, 1] if tail else []))
