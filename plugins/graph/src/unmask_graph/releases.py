"""GraphMAE as its authors released it (Hou et al. 2022), on DGL or on PyG, with its decoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from unmask import MaskedModel
from unmask.api import Map, Release, State
from unmask_graph.encoders.gat import GATEncoder
from unmask_graph.encoders.gin import GINEncoder
from unmask_graph.predictors.gat_decoder import GATDecoder
from unmask_graph.predictors.gin_decoder import GINDecoder

CONVOLUTION = {"lin.weight": "fc.weight", "att_src": "attn_l", "att_dst": "attn_r", "bias": "bias"}
"""Of a layer of attention: ours (PyG's), and those of the code on DGL."""
NETWORK = {"nn.0.": "linears.0.", "nn.1.": "norms.0.", "nn.2.": "activations.0.", "nn.3.": "linears.1."}
"""Of a GIN's small network."""


class GraphMAERelease(Release):
    """Checkpoints of THUDM/GraphMAE: GATs and GINs, the mask token, and the decoder where it is of the same kind.

    The released code adds self-loops to the data of GINs, which is ``epsilon`` 1 here; its own epsilon is 0 and not
    read.
    """

    repository = "THUDM/GraphMAE"
    ignored = r".*\.eps"
    encoders: ClassVar[tuple[type, ...]] = (GATEncoder, GINEncoder)

    def refusal(self, model: MaskedModel) -> str | None:
        if isinstance(model.encoder, self.encoders):
            return None
        return (
            f"The names of {self.repository} are for GATEncoder or GINEncoder, but here is "
            f"{type(model.encoder).__name__}; nearest: `safetensors`."
        )

    def map(self, model: MaskedModel) -> Map:
        attention = isinstance(model.encoder, GATEncoder)
        same = isinstance(model.predictor, GATDecoder if attention else GINDecoder)

        def forward(name: str, tensor: Tensor) -> State:
            if name == "encoder.mask_token":
                return {"enc_mask_token": tensor[None]}
            if found := re.fullmatch(r"encoder\.layers\.(\d+)\.(.*)", name):
                theirs = _attention(found[2]) if attention else _network(found[2])
                layers = "gat_layers" if attention else "layers"
                return {f"encoder.{layers}.{found[1]}.{theirs}": tensor} if theirs else {}
            if same and name == "predictor.remask.project.weight":
                return {"encoder_to_decoder.weight": tensor}
            if same and name.startswith(("predictor.answers.conv.", "predictor.conv.")):
                return _decoders(name, tensor)
            return {}

        return forward

    def agree(self, weights: State, settings: Mapping[str, Any], model: MaskedModel) -> list[str]:
        if any(".conv.res." in name for name in model.encoder.state_dict()):
            raise ValueError(
                f"`residual` of the config's encoder must be false for weights of {self.repository}, which adds a "
                "layer's input as it is, but is true."
            )
        if learned := [name for name in weights if "res_fc." in name]:
            raise ValueError(
                f"The weights must be trained with `residual` false, but `{learned[0]}` is there: no encoder here adds "
                "the features to the first layer's sum."
            )
        return []

    def plain(self, weights: State) -> State:
        """As the code on DGL names them: that on PyG has one activation for all layers but the last."""
        layers = {found[1] for name in weights if (found := re.match(r"encoder\.gat_layers\.(\d+)\.lin\.", name))}
        last, out = max(layers, key=int, default=""), State()
        for name, tensor in weights.items():
            if layers and name == "encoder.activation.weight":
                out |= {f"encoder.gat_layers.{number}.activation.weight": tensor for number in layers - {last}}
            elif layers and name == "encoder.last_activation.weight":
                out[f"encoder.gat_layers.{last}.activation.weight"] = tensor
            else:
                for ours, theirs in CONVOLUTION.items():
                    name = name.replace(f".{ours}", f".{theirs}") if "gat_layers." in name else name
                out[re.sub(r"((?:encoder|decoder)\.layers\.\d+)\.nn\.", r"\1.apply_func.", name)] = tensor
        return out


def _attention(name: str) -> str:
    """Of a GAT's layer; empty where they have no such tensor."""
    name = name.replace("after.0.", "norm.").replace("after.1.", "activation.")
    return CONVOLUTION.get(name.removeprefix("conv."), "") if name.startswith("conv.") else name


def _network(name: str) -> str:
    """Of a GIN's layer."""
    for ours, theirs in NETWORK.items():
        if name.startswith(f"conv.{ours}"):
            return "apply_func.mlp." + theirs + name.removeprefix(f"conv.{ours}")
    if name == "conv.eps":
        return ""
    return name.replace("after.0.", "apply_func.norm.").replace("after.1.", "apply_func.act.")


def _decoders(name: str, tensor: Tensor) -> State:
    if name.startswith("predictor.answers.conv."):
        theirs = CONVOLUTION.get(name.removeprefix("predictor.answers.conv."))
        return {f"decoder.gat_layers.0.{theirs}": tensor} if theirs else {}
    name = name.removeprefix("predictor.conv.")
    pairs = NETWORK.items()
    start = "decoder.layers.0.apply_func."
    return {start + theirs + name.removeprefix(ours): tensor for ours, theirs in pairs if name.startswith(ours)}
