"""Which model of transformers computes what an encoder of ours does, and how it is configured."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, cast

from timm.models.eva import Eva
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import nn

from unmask import MaskedModel
from unmask.predictors import LinearPredictor, TransformerPredictor
from unmask_vision.encoders import SwinV2Encoder, ViTEncoder
from unmask_vision.predictors import SwinPredictor
from unmask_vision.tokenizer import PatchTokenizer

_BLOCK = r"blocks\.\d+\.(norm[12]\.(weight|bias)|attn\.(qkv|proj)\.(weight|bias)|mlp\.fc[12]\.(weight|bias)"
_COMMON = r"patch_embed\.proj\.(weight|bias)|norm\.(weight|bias)"
HELD = {
    "ViTModel": rf"cls_token|pos_embed|{_COMMON}|{_BLOCK})",
    "IJepaModel": rf"pos_embed|{_COMMON}|{_BLOCK})",
    "BeitModel": rf"cls_token|shared_rel_pos\.relative_position_bias_table|{_COMMON}|{_BLOCK}|ls[12]\.gamma|"
    r"attn\.rel_pos\.relative_position_bias_table)",
}
"""Tensors of timm's trunk that each has a place for."""


@dataclass(frozen=True)
class Peer:
    """A model of transformers.

    Args:
        name: of its class.
        config: of its config's class.
        sizes: arguments of the config.
    """

    name: str
    config: str
    sizes: dict[str, Any]


def encoder_peer(model: MaskedModel) -> Peer | str:
    """The model that holds the encoder alone; or why there is none."""
    encoder, tokenizer = model.embedder.encoder, model.embedder.tokenizer
    if not isinstance(tokenizer, PatchTokenizer) or not isinstance(encoder, ViTEncoder | SwinV2Encoder):
        whose = type(tokenizer if isinstance(encoder, ViTEncoder | SwinV2Encoder) else encoder).__name__
        return f"transformers' layouts are for ViTEncoder and SwinV2Encoder on PatchTokenizer, but here is {whose}"
    if isinstance(encoder, SwinV2Encoder):
        swin: Any = encoder.swin
        if not isinstance(swin, SwinTransformerV2):
            return f"transformers has no model like timm's {type(swin).__name__}"
        return Peer("Swinv2Model", "Swinv2Config", _swin_sizes(encoder, tokenizer))

    vit: Any = encoder.vit
    if isinstance(vit, Eva):
        return f"transformers has no model like timm's {encoder.timm_model[0]}, which turns its positions (rotary)"
    relative = isinstance(vit, VisionTransformerRelPos)
    if relative and vit.cls_token is None:
        return "transformers' BeitModel, the one with relative position biases, needs a class token; this ViT has none"
    name = "BeitModel" if relative else "ViTModel" if vit.cls_token is not None else "IJepaModel"
    homeless = [key for key in vit.state_dict() if not re.fullmatch(HELD[name], key)]
    if homeless:
        return f"transformers' {name} has no place for `{homeless[0]}`" + (
            f" and {len(homeless) - 1} more" if len(homeless) > 1 else ""
        )
    if isinstance(vit.norm, nn.Identity):
        return f"transformers' {name} norms its codes, but this ViT does not"
    num_places = encoder.grid[0] * encoder.grid[1] + (vit.cls_token is not None)
    if not relative and (vit.pos_embed is None or vit.pos_embed.shape[1] != num_places):
        return f"transformers' {name} needs a table of {num_places} positions, but this ViT has another or none"
    if relative and vit.blocks[0].attn.qkv.bias is None:
        return "transformers' BeitModel has biases of queries and values, but this ViT has none (`qkv_bias`)"
    sizes = _vit_sizes(encoder, tokenizer) | (_beit_sizes(encoder) if relative else {})
    return Peer(name, name.replace("Model", "Config"), sizes)


def pretraining_peer(model: MaskedModel) -> Peer | str:
    """The model that holds encoder and predictor; or why there is none."""
    alone = encoder_peer(model)
    if isinstance(alone, str):
        return alone
    predictor: Any = model.predictor
    rows, columns = cast(Any, model.encoder).grid
    if rows != columns:
        return (
            f"transformers' pretraining models take square images only, but these lie on {rows} x {columns} patches; "
            "nearest: `vision.transformers`, the encoder alone"
        )
    if model.embedder.encoder is not model.encoder:
        return f"transformers has no pretraining model like {type(model).__name__}; nearest: `vision.transformers`"
    if alone.name == "ViTModel" and isinstance(predictor, TransformerPredictor):
        block: Any = predictor.trunk.blocks[0]
        sizes = alone.sizes | {
            "decoder_hidden_size": predictor.width,
            "decoder_num_hidden_layers": len(predictor.trunk.blocks),
            "decoder_num_attention_heads": block.attn.num_heads,
            "decoder_intermediate_size": block.mlp.fc1.out_features,
            "mask_ratio": model.mask.ratio if isinstance(model.mask.ratio, float) else 0.75,
            "norm_pix_loss": bool(getattr(model.target, "normalize", False)),
        }
        return Peer("ViTMAEForPreTraining", "ViTMAEConfig", sizes)
    if alone.name == "ViTModel" and isinstance(predictor, LinearPredictor) and _has_mask_token(model):
        sizes = alone.sizes | {"encoder_stride": cast(PatchTokenizer, model.tokenizer).patch_size}
        return Peer("ViTForMaskedImageModeling", "ViTConfig", sizes)
    if alone.name == "Swinv2Model" and isinstance(predictor, SwinPredictor):
        return Peer("Swinv2ForMaskedImageModeling", "Swinv2Config", alone.sizes)
    return (
        f"transformers has no pretraining model of {alone.name.removesuffix('Model')} with a "
        f"{type(predictor).__name__} like this; nearest: `vision.transformers`, the encoder alone"
    )


def _has_mask_token(model: MaskedModel) -> bool:
    return getattr(model.encoder, "mask_token", None) is not None


def _common_sizes(grid: tuple[int, int], tokenizer: PatchTokenizer, norm: Any) -> dict[str, Any]:
    p = tokenizer.patch_size
    side = grid[0] * p if grid[0] == grid[1] else [grid[0] * p, grid[1] * p]
    return {"image_size": side, "patch_size": p, "num_channels": tokenizer.channels, "layer_norm_eps": norm.eps}


def _vit_sizes(encoder: ViTEncoder, tokenizer: PatchTokenizer) -> dict[str, Any]:
    vit: Any = encoder.vit
    block = vit.blocks[0]
    return _common_sizes(encoder.grid, tokenizer, vit.norm) | {
        "hidden_size": encoder.width,
        "num_hidden_layers": len(vit.blocks),
        "num_attention_heads": block.attn.num_heads,
        "intermediate_size": block.mlp.fc1.out_features,
        "hidden_act": "gelu",
        "qkv_bias": block.attn.qkv.bias is not None,
    }


def _beit_sizes(encoder: ViTEncoder) -> dict[str, Any]:
    vit: Any = encoder.vit
    scales = hasattr(vit.blocks[0].ls1, "gamma")
    return {
        "use_shared_relative_position_bias": vit.shared_rel_pos is not None,
        "use_relative_position_bias": vit.shared_rel_pos is None,
        "use_mask_token": encoder.mask_token is not None,
        "use_mean_pooling": False,  # or its codes would not be normed
        "layer_scale_init_value": 0.1 if scales else 0,
        "drop_path_rate": 0.0,
    }


def _swin_sizes(encoder: SwinV2Encoder, tokenizer: PatchTokenizer) -> dict[str, Any]:
    swin: Any = encoder.swin
    stages = [stage.blocks for stage in swin.layers]
    return _common_sizes(encoder.grid, tokenizer, swin.norm) | {
        "embed_dim": swin.embed_dim,
        "depths": [len(blocks) for blocks in stages],
        "num_heads": [blocks[0].attn.num_heads for blocks in stages],
        "window_size": stages[0][0].window_size[0],
        "pretrained_window_sizes": [blocks[0].attn.pretrained_window_size[0] for blocks in stages],
        "mlp_ratio": stages[0][0].mlp.fc1.out_features / swin.embed_dim,
        "hidden_act": "gelu",
        "encoder_stride": tokenizer.patch_size * 2 ** (len(stages) - 1),
        "drop_path_rate": 0.0,
    }
