"""timm's vision transformers as encoders that embed and compute only what they are shown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import timm
import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from torch import Tensor, nn

from unmask import FILLED, Encoder, Grid, Latent, Mask, Places, Tokens
from unmask.api import nearest
from unmask.nn import plain_is_quicker, sincos
from unmask_vision.encoders.patches import embed_patches, init_like_mae, replace_hidden
from unmask_vision.encoders.positions import bias_of, grid_of, refit, resample_table, rotary_of


class ViTEncoder(Encoder):
    """Any ``vit_*`` model of timm, without its head; ``vit`` is timm's own module.

    Dropped tokens are left out before anything is computed: with 75% hidden, about a quarter of the
    cost remains. ``vit.state_dict()`` loads strictly into the timm model of the same name and options
    (``num_classes=0``).

    Tokens of another grid than the one that positions were made for are taken too, as those of larger images: tables of
    positions are resampled to it, as `unmask_vision.encoders.positions` says.

    Args:
        name: timm model name, ``vit_*``; those with a convolutional stem (``vit_*_r50_*``) are
            refused, since each of their tokens sees its neighbours' pixels.
        image_size: of the images in pixels: the side of squares, or (height, width); None: the model's own.
        patch_size: side of a patch in pixels; None: the model's own.
        channels: colour channels of the images.
        positions: ``timm``: the model's own (learned, rotary or relative); ``sincos``: fixed 2-D
            sine-cosine, a class token's being zero (MAE), or ``none``; both for models with a position table.
        mask_token: whether hidden places may be shown as a learned token, for corruptions that do
            not drop them.
        added_token: whether a learned token is added at hidden places that have other values, before the first block
            (A2MIM, Li et al. 2022, section 4.2).
        pretrained: load timm's pretrained weights, by its own mechanism.
        drop_path_ratio: stochastic depth, in [0, 1).
        attend_to: ``all`` places that are shown, or the ``visible`` ones alone: then hidden places that are shown read
            the visible ones, and nobody reads them (MP3).
        options: further arguments of `timm.create_model`, such as ``embed_dim`` or ``depth``.

    Raises:
        ValueError: a name that timm does not have, a convolutional stem, ``sincos`` for a model
            without a position table, tokens of another patch size, or of another grid where each block has positions
            of its own.
    """

    def __init__(
        self,
        name: str = "vit_base_patch16_224",
        image_size: int | tuple[int, int] | None = None,
        patch_size: int | None = None,
        channels: int = 3,
        positions: str = "timm",
        mask_token: bool = False,
        pretrained: bool = False,
        drop_path_ratio: float = 0.0,
        options: dict[str, Any] | None = None,
        attend_to: Literal["all", "visible"] = "all",
        added_token: bool = False,
    ) -> None:
        super().__init__()
        if attend_to not in ("all", "visible"):
            raise ValueError(f"`attend_to` must be 'all' or 'visible', but is {attend_to!r}.")
        given = {"img_size": image_size, "patch_size": patch_size}
        given = {key: value for key, value in given.items() if value is not None}
        vit = _create(
            name,
            pretrained,
            in_chans=channels,
            num_classes=0,
            drop_path_rate=drop_path_ratio,
            **given,
            **(options or {}),
        )
        for head in ("fc_norm", "attn_pool"):  # timm's pooling head, which pretraining does not use
            if getattr(vit, head, None) is not None:
                getattr(vit, head).requires_grad_(False)
        self.vit = vit
        self.timm_model = name.split(".")[0], {"in_chans": channels, **given, **(options or {})}  # makes its like
        self.width: int = vit.embed_dim
        self.num_layers = len(vit.blocks)
        self._fusable: list[Any] = [module for module in vit.modules() if getattr(module, "fused_attn", False)]
        self.grid: tuple[int, int] = tuple(vit.patch_embed.grid_size)
        if positions not in ("timm", "sincos", "none"):
            raise ValueError(f"`positions` must be 'timm', 'sincos' or 'none', but is {positions!r}.")
        if attend_to == "visible" and isinstance(vit, VisionTransformerRelPos):
            raise ValueError(
                f"`attend_to` must be 'all' for {name}, whose attention takes relative positions, but is 'visible'; "
                "nearest: a model with a position table, such as vit_base_patch16_224."
            )
        self.attend_to = attend_to
        if not pretrained:
            init_like_mae(vit)
        if positions != "timm":
            self._fix_positions(name, positions)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.width)) if mask_token else None
        if self.mask_token is not None:
            nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.added_token = nn.Parameter(torch.zeros(1, 1, self.width)) if added_token else None

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        self.depth(layer)  # refuses one that is not there
        return self.codes_of(tokens, mask, [layer])[0]

    def codes_of(self, tokens: Tokens, mask: Mask | None, layers: Sequence[int | None]) -> list[Latent]:
        grid = grid_of(tokens)
        vit: Any = self.vit
        seen = None if mask is None else mask.seen
        prefix_position, positions = self._positions(grid)  # [1, P, D], [1, N, D]

        # Embed what is shown, and only that.
        values = tokens.values if seen is None else seen.gather(tokens.values)
        x = embed_patches(vit.patch_embed, values)  # [B, K, D]
        if mask is not None and mask.show is not None:
            here = mask if seen is None else mask.at(seen)
            x = replace_hidden(x, here, self.mask_token)
            if self.added_token is not None:
                x = x + (here.hidden & (here.show == FILLED))[..., None] * self.added_token.to(x.dtype)
        x = x + _at(positions, seen, x.shape[0])  # not `len`, which a traced program would fix

        # Class and register tokens go first.
        prefix = [token for token in (vit.cls_token, getattr(vit, "reg_token", None)) if token is not None]
        if prefix:
            x = torch.cat([(torch.cat(prefix, 1) + prefix_position).expand(x.shape[0], -1, -1).to(x.dtype), x], dim=1)

        unread = mask.hidden if mask is not None and self.attend_to == "visible" and seen is None else None
        num_prefix = x.shape[1] - values.shape[1]
        states = self._blocks(x, grid, seen, layers, unread)
        return [Latent(x[:, num_prefix:], seen, x[:, :num_prefix] if prefix else None) for x in states]

    def attention(self, tokens: Tokens, layer: int | None = None) -> Tensor:
        """Weights of one layer ``[B, heads, P + N, P + N]``, which fused attention never makes."""
        self.depth(layer)  # refuses one that is not there
        vit: Any = self.vit
        told: list[Tensor] = []
        block = vit.blocks[(layer or self.num_layers) - 1].attn
        hook = block.attn_drop.register_forward_pre_hook(lambda _, given: told.append(given[0]))
        fused, fusable = block.fused_attn, self._fusable
        self._fusable = [module for module in fusable if module is not block]
        block.fused_attn = False
        try:
            with torch.compiler.set_stance("force_eager"):
                self.codes_of(tokens, None, [layer])
        finally:
            hook.remove()
            block.fused_attn, self._fusable = fused, fusable
        return told[0]

    def refit(self, name: str, tensor: Tensor) -> Tensor | None:
        return refit(name, tensor, self.state_dict()[name], self.grid)

    def _positions(self, grid: tuple[int, int]) -> tuple[Tensor | float, Tensor | float]:
        """Position codes of the prefix tokens and of the grid; zeros where the model adds none."""
        table = getattr(self.vit, "pos_embed", None)
        if table is None:
            return 0.0, 0.0
        num_prefix = table.shape[1] - self.grid[0] * self.grid[1]
        if grid != self.grid:
            table = resample_table(table, self.grid, grid, num_prefix)
        num_places = grid[0] * grid[1]
        return (table[:, :-num_places] if table.shape[1] > num_places else 0.0), table[:, -num_places:]

    def _blocks(
        self,
        x: Tensor,
        grid: tuple[int, int],
        seen: Places | None,
        layers: Sequence[int | None],
        unread: Tensor | None = None,
    ) -> list[Tensor]:
        """What timm's blocks make, given the positions that attention needs for the places seen, at each layer."""
        vit: Any = self.vit
        num_prefix = vit.num_prefix_tokens
        real = None  # [B, 1, 1, P + K], where short rows were filled up or places are not read
        if unread is not None:
            real = F.pad(~unread, (num_prefix, 0), value=True)[:, None, None, :]
        if seen is not None and seen.valid is not None:
            ones = seen.valid.new_ones(len(x), num_prefix)
            real = torch.cat([ones, seen.valid], dim=1)[:, None, None, :]
        plain = real is None and plain_is_quicker(x)  # timm's plain attention takes no bool masks
        for module in self._fusable:
            module.fused_attn = not plain

        depths = [0 if layer == 0 else self.depth(layer) for layer in layers]
        given = self._given_to_blocks(x, grid, seen, real)
        x = vit.norm_pre(x) if not isinstance(vit, VisionTransformerRelPos) else x
        states = {0: x}
        for number, block in enumerate(vit.blocks[: max(depths)], start=1):
            x = block(x, **given(number))
            if number in depths:
                states[number] = x
        return [
            vit.norm(states[depth]) if layer is None else states[depth]
            for layer, depth in zip(layers, depths, strict=True)
        ]

    def _given_to_blocks(
        self, x: Tensor, grid: tuple[int, int], seen: Places | None, real: Tensor | None
    ) -> Callable[[int], dict[str, Any]]:
        """What each block takes besides the tokens, by its number."""
        vit: Any = self.vit
        if isinstance(vit, VisionTransformerRelPos):
            bias = bias_of(vit.shared_rel_pos, grid) if vit.shared_rel_pos is not None else None  # [1, H, N, N]
            if bias is None and grid != self.grid:
                raise ValueError(
                    f"The tokens must lie on the encoder's {Grid(self.grid)}, for each of its blocks has positions of "
                    f"its own, but lie on {Grid(grid)}; `unmask import --resize_positions` makes a model for them."
                )
            if seen is not None:
                if bias is None:
                    raise ValueError(
                        "Hidden tokens cannot be dropped for a model with a position bias per block; "
                        "use a `vit_srelpos_*` model, whose bias is shared, or a corruption with `drop` 0."
                    )
                bias = _pairs(bias, seen, vit.num_prefix_tokens)
                bias = bias if real is None else bias.masked_fill(~real, float("-inf"))
            return lambda number: {"shared_rel_pos": bias}
        if isinstance(vit, Eva):
            rope = rotary_of(vit.rope, grid) if vit.rope is not None else None

            def turned(number: int) -> dict[str, Any]:
                turn = rope[number - 1] if rope is not None and vit.rope_mixed else rope  # [(H,) N, R]
                if turn is not None and seen is not None:
                    turn = turn[..., seen.index, :]  # [(H,) B, K, R]
                    turn = turn.transpose(0, 1) if turn.ndim == 4 else turn[:, None]  # [B, H or 1, K, R]
                return {"rope": turn, "attn_mask": real}

            return turned
        return lambda number: {"attn_mask": real}

    def _fix_positions(self, name: str, positions: str) -> None:
        table = getattr(self.vit, "pos_embed", None)
        if table is None:
            raise ValueError(
                f"`positions` must be 'timm' for {name}, which has no position table, but is {positions!r}."
            )
        with torch.no_grad():
            table.zero_()
            if positions == "sincos":
                codes = sincos(Grid(self.grid), self.grid[0] * self.grid[1], self.width)
                table[:, -len(codes) :] = codes
        table.requires_grad_(False)


def _create(name: str, pretrained: bool, **options: Any) -> Any:
    """A timm model that this encoder can run, or a plain error."""
    known = timm.list_models("vit_*")
    if name.split(".")[0] not in known:
        near = ", ".join(nearest(name, known)) or known[0]
        raise ValueError(f"`name` must be a `vit_*` model of timm, but is {name!r}; nearest: {near}.")
    try:
        vit = timm.create_model(name, pretrained=pretrained, **options)
    except TypeError as error:
        found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        choices = nearest(found[1], inspect.signature(VisionTransformer).parameters) if found else []
        hint = f"; nearest: {', '.join(choices)}" if choices else ""
        raise ValueError(f"`options` do not fit timm's {name}: {error}{hint}.") from error
    if type(vit.patch_embed) is not PatchEmbed or not isinstance(
        vit, VisionTransformer | VisionTransformerRelPos | Eva
    ):
        raise ValueError(
            f"`name` must be a model that embeds each patch by itself, but {name!r} has a convolutional stem, "
            "through which hidden pixels would leak; nearest: vit_base_patch16_224."
        )
    return vit


def _at(table: Tensor | float, seen: Places | None, batch: int) -> Tensor | float:
    """Rows of a ``[1, N, D]`` table at the places seen."""
    if isinstance(table, float) or seen is None:
        return table
    return seen.gather(table.expand(batch, -1, -1))


def _pairs(bias: Tensor, seen: Places, num_prefix: int) -> Tensor:
    """Position bias between the places seen, prefix included: ``[1, H, P + N, P + N]`` to ``[B, H, P + K, P + K]``."""
    prefix = torch.arange(num_prefix, device=bias.device).expand(len(seen.index), -1)
    index = torch.cat([prefix, seen.index + num_prefix], dim=1)  # [B, P + K]
    return bias[0][:, index[:, :, None], index[:, None, :]].transpose(0, 1)
