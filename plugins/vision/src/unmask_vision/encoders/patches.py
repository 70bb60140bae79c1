"""What timm's image encoders share: a patch embedding on cut patches, and hidden places shown as stand-ins."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from timm.layers import PatchEmbed
from torch import Tensor, nn

from unmask import RANDOM, TOKEN, Mask


def embed_patches(embed: PatchEmbed, patches: Tensor) -> Tensor:
    """timm's patch convolution as a linear layer on patches that are cut already: ``[B, K, D]``.

    Raises:
        ValueError: patches of another size or number of channels than the encoder's.
    """
    weight = embed.proj.weight.permute(0, 2, 3, 1).flatten(1)  # [D, p * p * C]
    if patches.shape[-1] != weight.shape[1]:
        _, channels, height, width = embed.proj.weight.shape
        raise ValueError(
            f"A token must have {height}x{width}x{channels} = {weight.shape[1]} values, as the encoder's "
            f"`patch_size` and `channels` say, but has {patches.shape[-1]}."
        )
    return embed.norm(F.linear(patches, weight, embed.proj.bias))


def replace_hidden(x: Tensor, mask: Mask, mask_token: Tensor | None) -> Tensor:
    """Embedded patches ``[B, N, D]`` with stand-ins at hidden places, as ``mask.show`` says.

    Raises:
        ValueError: the encoder has no mask token, and one is asked for.
    """
    assert mask.show is not None
    covered = mask.hidden & (mask.show == TOKEN)  # [B, N]
    if mask_token is None and bool(covered.any()):
        raise ValueError("`mask_token` of the encoder must be true for a corruption that shows tokens, but is false.")
    shown = x if mask_token is None else x.where(~covered[..., None], mask_token.to(x.dtype))
    if mask.donor is not None:
        stand_in = x.gather(1, mask.donor[..., None].expand(-1, -1, x.shape[-1]))
        shown = shown.where(~(mask.hidden & (mask.show == RANDOM))[..., None], stand_in)
    return shown


def init_like_mae(model: Any) -> None:
    """Xavier-uniform linear layers, patch projection likewise on its flattened weight, tokens
    normal(0.02) (MAE, He et al. 2021, appendix A.1 and reference code)."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    weight = model.patch_embed.proj.weight
    nn.init.xavier_uniform_(weight.view(len(weight), -1))
    for name in ("cls_token", "reg_token"):
        token = getattr(model, name, None)
        if token is not None:
            nn.init.normal_(token, std=0.02)
