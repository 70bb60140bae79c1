"""Vision transformers as their authors released them: MAE, BEiT and data2vec, SimMIM, I-JEPA.

Names of blocks are timm's in all of them, so each table says only what is called otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from unmask import MaskedModel
from unmask.api import Map, Release, State
from unmask.predictors import LinearPredictor, TransformerPredictor
from unmask_vision.encoders import SwinV2Encoder, ViTEncoder
from unmask_vision.exchange.names import MIM_HEAD, head_order
from unmask_vision.exchange.released_settings import other_heads, other_target, positions_fit
from unmask_vision.predictors import SwinPredictor
from unmask_vision.tokenizer import PatchTokenizer

PREDICTOR = {"mask_token": "mask_token", "embed.": "{}embed.", "trunk.blocks.": "{}blocks.", "trunk.norm.": "{}norm."}


class _ViTs(Release):
    """What the four share: which models they are for."""

    encoders: ClassVar[tuple[type, ...]] = (ViTEncoder,)

    def refusal(self, model: MaskedModel) -> str | None:
        if isinstance(model.encoder, self.encoders) and isinstance(model.tokenizer, PatchTokenizer):
            return None
        kinds = " or ".join(kind.__name__ for kind in self.encoders)
        found = model.encoder if isinstance(model.tokenizer, PatchTokenizer) else model.tokenizer
        return (
            f"The names of {self.repository} are for {kinds} on PatchTokenizer, but here is {type(found).__name__}; "
            "nearest: `safetensors`."
        )

    def agree(self, weights: State, settings: Mapping[str, Any], model: MaskedModel) -> list[str]:
        return other_heads(self.repository, model.encoder) if isinstance(model.encoder, ViTEncoder) else []


class MAERelease(_ViTs):
    """Checkpoints of facebookresearch/mae: of pretraining with the decoder, or of a fine-tuned encoder.

    One that was fine-tuned on the mean of codes has ``fc_norm`` in place of ``norm``: it fits a ViT with the options
    ``global_pool: avg`` and ``fc_norm: true``.
    """

    repository = "facebookresearch/mae"
    ignored = "decoder_pos_embed"

    def map(self, model: MaskedModel) -> Map:
        same = _is_maes_decoder(model)

        def forward(name: str, tensor: Tensor) -> State:
            if name.startswith("encoder.vit."):
                return {name.removeprefix("encoder.vit."): tensor}
            if same and name.startswith("predictor."):
                return {_predictor_name(name, "decoder_", "decoder_pred."): tensor}
            return {}

        return forward

    def agree(self, weights: State, settings: Mapping[str, Any], model: MaskedModel) -> list[str]:
        told = super().agree(weights, settings, model)
        if _is_maes_decoder(model) and "decoder_pred.weight" in weights:
            positions_fit("decoder_pos_embed", weights, model, num_prefix=1)
            told += other_target(settings, model)
        return told


class BEiTRelease(_ViTs):
    """Checkpoints of microsoft/unilm/beit (the first BEiT) and of facebookresearch/data2vec_vision: the encoder."""

    repository = "microsoft/unilm/beit"
    ignored = r"(.*\.)?relative_position_index"

    def map(self, model: MaskedModel) -> Map:
        def forward(name: str, tensor: Tensor) -> State:
            return _beits(name, tensor) if name.startswith("encoder.") else {}

        return forward


class SimMIMRelease(_ViTs):
    """Checkpoints of microsoft/SimMIM's pretraining, with the head: ViTs, and Swin transformers of version 2."""

    repository = "microsoft/SimMIM"
    encoders = (ViTEncoder, SwinV2Encoder)
    ignored = r".*\.(relative_position_index|relative_coords_table|attn_mask)"

    def map(self, model: MaskedModel) -> Map:
        same = isinstance(model.predictor, LinearPredictor | SwinPredictor)

        def forward(name: str, tensor: Tensor) -> State:
            if same and name.startswith("predictor.head."):
                return {name.replace(*MIM_HEAD[0]): head_order(model, tensor)}
            if name.startswith("encoder.swin."):
                return {f"encoder.{key}": x for key, x in _swins(name, tensor).items()}
            if name.startswith("encoder."):
                return {f"encoder.{key}": x for key, x in _beits(name, tensor).items()}
            return {}

        return forward


class IJEPARelease(_ViTs):
    """Checkpoints of facebookresearch/ijepa: the encoder of the context, the predictor, and the target encoder.

    A method with a teacher takes all three. Others take one encoder: ``--prefix target_encoder`` or ``encoder``.
    """

    repository = "facebookresearch/ijepa"
    ignored = r"predictor\.predictor_pos_embed"

    def map(self, model: MaskedModel) -> Map:
        same = isinstance(model.predictor, TransformerPredictor)

        def forward(name: str, tensor: Tensor) -> State:
            for ours, theirs in (("encoder.vit.", "encoder."), ("target.teacher.vit.", "target_encoder.")):
                if name.startswith(ours):
                    return {theirs + name.removeprefix(ours): tensor}
            if same and name.startswith("predictor."):
                return {"predictor." + _predictor_name(name, "predictor_", "predictor_proj."): tensor}
            return {}

        return forward

    def plain(self, weights: State) -> State:
        names = {name: re.sub(r"^((?:target_)?encoder|predictor)\.module\.", r"\1.", name) for name in weights}
        if not any(name.startswith(("encoder.", "target_encoder.", "predictor.")) for name in names.values()):
            names = {name: "encoder." + name.removeprefix("module.") for name in weights}  # one of them by a prefix
        return {names[name]: tensor for name, tensor in weights.items()}

    def agree(self, weights: State, settings: Mapping[str, Any], model: MaskedModel) -> list[str]:
        weights, told = self.plain(weights), super().agree(weights, settings, model)
        if isinstance(model.predictor, TransformerPredictor) and "predictor.mask_token" in weights:
            positions_fit("predictor.predictor_pos_embed", weights, model, num_prefix=0)
        return told


def _is_maes_decoder(model: MaskedModel) -> bool:
    return isinstance(model.predictor, TransformerPredictor) and model.predictor.use_prefix


def _predictor_name(name: str, prefix: str, head: str) -> str:
    """Of a `TransformerPredictor`'s tensor in a repository that puts ``prefix`` before the names of its parts."""
    name = name.removeprefix("predictor.")
    for ours, theirs in PREDICTOR.items():
        if name.startswith(ours):
            return theirs.format(prefix) + name.removeprefix(ours)
    return name.replace("head.", head)


def _beits(name: str, tensor: Tensor) -> State:
    """A ViT's tensor under BEiT's names; its keys have no bias, which softmax would not notice."""
    name = name.removeprefix("encoder.").removeprefix("vit.")
    name = name.replace("shared_rel_pos.", "rel_pos_bias.").replace("attn.rel_pos.", "attn.")
    name = re.sub(r"ls([12])\.gamma", r"gamma_\1", name)
    if name.endswith("attn.qkv.bias"):
        query, _, value = tensor.chunk(3)
        return {name.replace("qkv.bias", "q_bias"): query, name.replace("qkv.bias", "v_bias"): value}
    return {name: tensor}


def _swins(name: str, tensor: Tensor) -> State:
    """A Swin transformer's tensor: its authors merge patches at the end of a stage, timm at the start of the next."""
    name = name.removeprefix("encoder.swin.")
    return {re.sub(r"layers\.(\d+)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name): tensor}
