"""timm's Swin transformer V2 as an encoder that is shown mask tokens (SimMIM, Xie et al. 2021, section 4.1)."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from unmask import Encoder, Latent, Mask, Tokens
from unmask.api import nearest
from unmask_vision.encoders.patches import embed_patches, replace_hidden
from unmask_vision.encoders.positions import grid_of


class SwinV2Encoder(Encoder):
    """Any ``swinv2_*`` model of timm, without its head; ``swin`` is timm's own module.

    Shifted windows need every place, so hidden tokens cannot be dropped. The codes are those of the
    last stage, 8 times coarser than the patches on each side: ``[B, N / 64, D]``; `SwinPredictor`
    brings answers back to the patches. Tokens may lie on any grid: windows stay as large as they are.

    Args:
        name: timm model name, ``swinv2_*``.
        image_size: of the images in pixels: the side of squares, or (height, width); None: the model's own.
        channels: colour channels of the images.
        pretrained: load timm's pretrained weights, by its own mechanism.
        drop_path_ratio: stochastic depth, in [0, 1).
        options: further arguments of `timm.create_model`, such as ``embed_dim`` or ``depths``.

    Raises:
        ValueError: a name that timm does not have, or a mask whose hidden places are to be dropped.
    """

    def __init__(
        self,
        name: str = "swinv2_base_window8_256",
        image_size: int | tuple[int, int] | None = None,
        channels: int = 3,
        pretrained: bool = False,
        drop_path_ratio: float = 0.0,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        known = timm.list_models("swinv2_*")
        if name.split(".")[0] not in known:
            near = ", ".join(nearest(name, known)) or known[0]
            raise ValueError(f"`name` must be a `swinv2_*` model of timm, but is {name!r}; nearest: {near}.")
        size: dict[str, Any] = {} if image_size is None else {"img_size": image_size}
        swin: Any = timm.create_model(
            name,
            pretrained,
            in_chans=channels,
            num_classes=0,
            drop_path_rate=drop_path_ratio,
            **size,
            **(options or {}),
        )
        self.swin = swin
        self.timm_model = name.split(".")[0], {"in_chans": channels, **size, **(options or {})}  # makes its like
        self.width: int = swin.num_features
        self.num_layers = len(swin.layers)
        self.grid: tuple[int, int] = tuple(swin.patch_embed.grid_size)
        self._windows = [tuple(stage.blocks[0].window_size) for stage in swin.layers]
        self._laid_out = self.grid
        self.mask_token = nn.Parameter(torch.zeros(1, 1, swin.embed_dim))
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        grid = grid_of(tokens)
        swin: Any = self.swin
        if grid != self._laid_out:
            self._lay_out(grid)
        x = embed_patches(swin.patch_embed, tokens.values)  # [B, N, D0]
        if mask is not None:
            if mask.show is None:
                raise ValueError(
                    "`drop` of the corruption must be 0 for SwinV2Encoder, whose windows need every place, but is 1."
                )
            x = replace_hidden(x, mask, self.mask_token)
        x = swin.layers[: self.depth(layer)](x.unflatten(1, grid))  # [B, rows / 8, columns / 8, D]
        return Latent((swin.norm(x) if layer is None else x).flatten(1, 2))

    def _lay_out(self, grid: tuple[int, int]) -> None:
        """Prepares the windows for a grid; no weight depends on it."""
        for number, (stage, window) in enumerate(zip(self.swin.layers, self._windows, strict=True)):
            halved = 2 ** max(number - 1, 0)  # a stage but the first begins by merging
            stage.set_input_size(tuple(-(-side // halved) for side in grid), window)
        self._laid_out = grid
