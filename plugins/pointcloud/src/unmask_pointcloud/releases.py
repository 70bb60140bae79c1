"""Point-MAE, Point-BERT and its dVAE as their authors released them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from unmask import MaskedModel
from unmask.api import Map, Release, State
from unmask_pointcloud.encoders import DVAEEncoder, PointTransformer
from unmask_pointcloud.predictors import FoldingDecoder, PointDecoder

NORM_EPS = 1e-5
"""Of the norms in both repositories."""
NUM_HEADS = {384: 6}
"""By width, of the transformers of both."""

PATCH_NET = [  # ours, theirs: convolutions of one point, where we have linear layers
    (r"patch_net\.fc1\.", "encoder.first_conv.0."),
    (r"patch_net\.norm1\.", "encoder.first_conv.1."),
    (r"patch_net\.fc2\.", "encoder.first_conv.3."),
    (r"patch_net\.fc3\.", "encoder.second_conv.0."),
    (r"patch_net\.norm2\.", "encoder.second_conv.1."),
    (r"patch_net\.fc4\.", "encoder.second_conv.3."),
]
TRANSFORMER = [
    *PATCH_NET,
    (r"^embed\.", "reduce_dim."),
    (r"centres\.", "pos_embed."),
    (r"trunk\.blocks\.", "blocks.blocks."),
    (r"trunk\.norm\.", "norm."),
    (r"cls_position", "cls_pos"),
]
GRAPH = [
    (r"embed\.", "input_trans."),
    (r"edges\.(\d)\.", lambda found: f"layer{int(found[1]) + 1}.0."),
    (r"norms\.(\d)\.", lambda found: f"layer{int(found[1]) + 1}.1."),
    (r"joint\.", "layer5.0."),
    (r"norm\.", "layer5.1."),
]
DECODER = [
    (r"centres\.", "decoder_pos_embed."),
    (r"trunk\.", "MAE_decoder."),
    (r"head\.", "increase_dim.0."),
]
OUTPUTS = {"predictor.head.": "lm_head.", "terms.mixing.head.": "cls_head."}


class _PointTransformers(Release):
    """What both share: transformers whose keys, queries and values have no biases, and how they are told apart."""

    encoders: ClassVar[tuple[type, ...]] = (PointTransformer,)
    inner: ClassVar[str] = ""
    """What names of the encoder begin with; a fine-tuned one has none of it."""

    def refusal(self, model: MaskedModel) -> str | None:
        if isinstance(model.encoder, self.encoders):
            return None
        kinds = " or ".join(kind.__name__ for kind in self.encoders)
        return (
            f"The names of {self.repository} are for {kinds}, but here is {type(model.encoder).__name__}; "
            "nearest: `safetensors`."
        )

    def load(self, weights: State, model: MaskedModel) -> State:
        found = super().load(weights, model)
        own = model.state_dict()
        biases = {name.replace("qkv.weight", "qkv.bias") for name in found if name.endswith("attn.qkv.weight")}
        found |= {name: torch.zeros_like(own[name]) for name in biases & set(own) - set(found)}
        left = {name: name.removeprefix(self.inner) for name in found if name not in own}  # as it is in the file
        return {left[name] if left.get(name) in weights else name: tensor for name, tensor in found.items()}

    def agree(self, weights: State, settings: Mapping[str, Any], model: MaskedModel) -> list[str]:
        told: list[str] = []
        encoder: Any = model.encoder
        if not isinstance(encoder, PointTransformer):
            return told
        own = cast(Any, encoder.trunk.blocks[0]).attn.num_heads
        if own != NUM_HEADS.get(encoder.width, own):
            told.append(
                f"Models of {self.repository} of width {encoder.width} have {NUM_HEADS[encoder.width]} attention "
                f"heads, but the config's encoder has {own}: its codes are others than theirs."
            )
        parts = [("encoder", encoder)]
        parts += [("predictor", model.predictor)] if "MAE_decoder.norm.weight" in weights else []
        for what, part in parts:
            eps = part.trunk.norm.eps if isinstance(part, PointTransformer | PointDecoder) else NORM_EPS
            if eps != NORM_EPS:
                told.append(
                    f"Norms of {self.repository} add {NORM_EPS} to variances, but `norm_eps` of the config's {what} is "
                    f"{eps}: its numbers differ a little from theirs."
                )
        return told

    def plain(self, weights: State) -> State:
        if any(name.startswith(self.inner) for name in weights):
            return weights
        bare = {name: self.inner + name for name in weights}  # of a fine-tuned encoder
        return {bare[name]: tensor for name, tensor in weights.items()}


class PointMAERelease(_PointTransformers):
    """Checkpoints of Pang-Yatian/Point-MAE: of pretraining with the decoder, or of a fine-tuned encoder."""

    repository = "Pang-Yatian/Point-MAE"
    inner = "MAE_encoder."

    def map(self, model: MaskedModel) -> Map:
        same = isinstance(model.predictor, PointDecoder)

        def forward(name: str, tensor: Tensor) -> State:
            if name.endswith("attn.qkv.bias"):
                return {}
            if name.startswith("encoder."):
                return _convolved(self.inner, name.removeprefix("encoder."), TRANSFORMER, tensor)
            if same and name.startswith("predictor."):
                return _convolved("", name.removeprefix("predictor."), DECODER, tensor)
            return {}

        return forward


class PointBERTRelease(_PointTransformers):
    """Checkpoints of Julie-tang00/Point-BERT: of its dVAE; of pretraining with dVAE, heads, queue and slow encoder; or
    of a fine-tuned encoder."""

    repository = "Julie-tang00/Point-BERT"
    encoders = (PointTransformer, DVAEEncoder)
    inner = "transformer_q."

    def map(self, model: MaskedModel) -> Map:
        if isinstance(model.encoder, DVAEEncoder):
            return _dvae_map(model)

        def forward(name: str, tensor: Tensor) -> State:
            if name.endswith("attn.qkv.bias"):
                return {}
            if name.startswith("target.dvae."):
                return _dvaes("dvae.", name.removeprefix("target.dvae."), tensor)
            for ours, theirs in OUTPUTS.items():
                if name.startswith(ours):
                    return {self.inner + theirs + name.removeprefix(ours): tensor}
            if name.startswith("terms.mixing.slow_head."):
                return {"transformer_k.cls_head." + name.removeprefix("terms.mixing.slow_head."): tensor}
            if name.startswith("terms.mixing.slow_encoder."):
                return _convolved(
                    "transformer_k.", name.removeprefix("terms.mixing.slow_encoder."), TRANSFORMER, tensor
                )
            if name.startswith("encoder."):
                return _convolved(self.inner, name.removeprefix("encoder."), TRANSFORMER, tensor)
            if name == "terms.mixing.queue":
                return {"queue": tensor.mT}  # a key in each column
            return {"queue_ptr": tensor.view(-1)} if name == "terms.mixing.end" else {}

        return forward

    def plain(self, weights: State) -> State:
        return weights if "codebook" in weights else super().plain(weights)

    def load(self, weights: State, model: MaskedModel) -> State:
        found, own = super().load(weights, model), model.state_dict()
        dvae = [name for name in own if name.startswith("target.dvae.")]
        if dvae and all(name in found and found[name].shape == own[name].shape for name in dvae):
            found["target.taken"] = torch.tensor(True)  # or a first stage would be trained
        return found


def _dvae_map(model: MaskedModel) -> Map:
    folding = isinstance(model.predictor, FoldingDecoder)

    def forward(name: str, tensor: Tensor) -> State:
        if name.startswith("encoder."):
            return _dvaes("", name.removeprefix("encoder."), tensor)
        if not folding or not name.startswith("predictor."):
            return {}
        name = name.removeprefix("predictor.")
        if name.startswith("graph."):
            return _convolved("dgcnn_2.", name.removeprefix("graph."), GRAPH, tensor)
        return _convolved("decoder.", name, [(r"^coarse\.", "mlp."), (r"^fine\.", "final_conv.")], tensor)

    return forward


def _dvaes(prefix: str, name: str, tensor: Tensor) -> State:
    if name.startswith("graph."):
        return _convolved(f"{prefix}dgcnn_1.", name.removeprefix("graph."), GRAPH, tensor)
    return _convolved(prefix, name, [*PATCH_NET, (r"^book$", "codebook")], tensor)


def _convolved(prefix: str, name: str, rules: list[Any], tensor: Tensor) -> State:
    """A tensor by its name there; a linear layer's has more dimensions where they have a convolution of size 1."""
    for ours, theirs in rules:
        name = re.sub(ours, theirs, name, count=1)
    sides = 2 if re.search(r"layer[1-4]\.0\.weight$", name) else 1
    one = r"(_conv\.\d|increase_dim\.0|layer5\.0|layer[1-4]\.0|input_trans)\.weight$"
    if tensor.ndim == 2 and re.search(one, name):
        return {prefix + name: tensor.view(*tensor.shape, *[1] * sides)}
    return {prefix + name: tensor}
