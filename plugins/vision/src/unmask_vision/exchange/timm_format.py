"""Encoders in the folders that `timm.create_model` reads."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from torch import Tensor

from unmask import MaskedModel
from unmask.api import Export, Format, State
from unmask_vision.encoders import CNNEncoder, SwinV2Encoder, ViTEncoder
from unmask_vision.exchange.pixels import caution, codes, normalized, preprocessing, random_images
from unmask_vision.tokenizer import PatchTokenizer

SIZES = ("img_size", "patch_size", "embed_dim", "depth", "depths", "num_heads", "window_size")
"""Arguments of timm's models that are taken from a foreign ``config.json``: what decides on the heads."""
TOLERANCE = 1e-4
"""Largest difference between timm's codes and ours, over the largest: timm embeds patches by a convolution, which
rounds in another order."""


class Timm(Format):
    """A folder for ``timm.create_model("local-dir:FOLDER", pretrained=True)``: the trunk under timm's own names, and
    how it was made. Its codes are those of the encoder's own timm module, bit for bit."""

    def refusal(self, model: MaskedModel) -> str | None:
        embedder = model.embedder
        encoder = embedder.encoder
        ours = isinstance(encoder, ViTEncoder | SwinV2Encoder | CNNEncoder)
        if isinstance(encoder, CNNEncoder) and not encoder.whole:
            return "timm's layout is for whole models, but here `stride` cuts one off; nearest: `safetensors`."
        if ours and isinstance(embedder.tokenizer, PatchTokenizer):
            return None
        return (
            "timm's layout is for ViTEncoder, SwinV2Encoder and CNNEncoder on PatchTokenizer, but here is "
            f"{type(embedder.tokenizer if ours else embedder.encoder).__name__}; nearest: `safetensors`."
        )

    def save(self, export: Export, out: Path) -> str:
        model = export.model
        encoder: Any = model.embedder.encoder
        trunk, (name, arguments) = _trunk(encoder), encoder.timm_model
        mean, std = preprocessing(model)
        about = {
            "input_size": list(random_images(model).shape[1:]), "num_classes": 0,
            "fixed_input_size": not isinstance(encoder, CNNEncoder),
            "mean": mean, "std": std, "crop_pct": 1.0, "interpolation": "bicubic",
        }  # fmt: skip
        save_for_hf(
            trunk,
            str(out),
            model_config={"architecture": name, "num_classes": 0, "pretrained_cfg": about},
            model_args={**arguments, "num_classes": 0},
            safe_serialization=True,
        )
        read = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
        pixels = normalized(model, images := random_images(model))
        with torch.no_grad():
            before, after = _features(trunk, pixels), _features(read, pixels)
            own = codes(model, images)
        if isinstance(encoder, CNNEncoder):
            before, after = (encoder.as_codes(one) for one in (before, after))
        if not torch.equal(before, after):
            raise ValueError(f"timm's {name} made anew must equal the trunk bit for bit, but differs.")
        difference = ((after.reshape(own.shape) - own).abs().max() / own.abs().max()).item()
        if not difference <= TOLERANCE:
            raise ValueError(
                f"timm's {name} must compute the encoder's codes, but differs by {difference:.2g} of them."
            )
        return f"timm's {name} made anew: bit-equal to the trunk, and within {difference:.2g} of the codes' largest."

    def usage(self, export: Export, out: Path) -> str:
        return (
            "import timm\n\n"
            f'model = timm.create_model("local-dir:{out}", pretrained=True)\n'
            "preprocessing = timm.data.resolve_model_data_config(model)  # mean, std, size"
        )

    def load(self, weights: State, model: MaskedModel) -> State:
        own = model.encoder.state_dict()
        prefix = f"{_names(model.encoder)}."
        return {f"encoder.{prefix}{n}" if prefix + n in own else n: tensor for n, tensor in weights.items()}

    def unheld(self, model: MaskedModel) -> set[str]:
        return {"mask_token"}

    def check(self, source: Path, model: MaskedModel) -> list[str]:
        try:
            config = json.loads((source / "config.json").read_text("utf-8"))
            name, arguments = config["architecture"], config.get("model_args") or {}
            about = config.get("pretrained_cfg") or {}
            if name not in timm.list_models():
                return []
            with torch.device("meta"):
                theirs = timm.create_model(name, **{key: arguments[key] for key in SIZES if key in arguments})
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError):
            return []  # no folder of timm's, or of a model that this timm has not: the tensors alone must tell
        heads, own = _heads(theirs), _heads(_trunk(model.encoder))
        if len(heads) == len(own) and heads != own:
            raise ValueError(
                f"`num_heads` of the config's encoder must be {sorted(set(heads))}, as `{source / 'config.json'}` "
                f"says, but is {sorted(set(own))}."
            )
        return caution(model, about.get("mean"), about.get("std"))


def _trunk(encoder: Any) -> Any:
    return getattr(encoder, _names(encoder))


def _names(encoder: Any) -> str:
    """What the encoder calls timm's module."""
    return "swin" if isinstance(encoder, SwinV2Encoder) else "net" if isinstance(encoder, CNNEncoder) else "vit"


def _heads(trunk: Any) -> list[int]:
    """Attention heads of each block: no tensor's shape tells them."""
    return [module.num_heads for module in trunk.modules() if isinstance(getattr(module, "num_heads", None), int)]


def _features(trunk: Any, pixels: Tensor) -> Tensor:
    """As timm computes them, on fused attention, which the encoder turns off where another way is quicker."""
    trunk = copy.deepcopy(trunk)
    for module in trunk.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = True
    return trunk.eval().forward_features(pixels)
