"""Cross-attention predictor: one view is rebuilt from the codes of another (SiamMAE, Gupta et al. 2023; CropMAE, Eymael
et al. 2024, arXiv:2403.17823)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.nn import sincos
from unmask.nn.transformer import xavier
from unmask.parts import Predictor
from unmask.structures import Latent, Mask, Prediction, Tokens


class CrossAttentionPredictor(Predictor):
    """Codes of the view's visible places and a mask token at each hidden one, with positions, attend to the memory.

    The memory is what the encoder made of the other part, projected, without positions.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        width: of the blocks. Paper, small size: 256, as are the next two.
        depth: blocks.
        num_heads: attention heads; must divide ``width``.
        mlp_width: hidden width of the blocks' MLPs, whatever the width.
        dropout: of each sublayer and of the attention, in [0, 1).
        part: the view that is rebuilt, by its name.
        memory: the part that it is rebuilt from.

    Raises:
        ValueError: when called, codes without parts of these names.
    """

    joint = True

    def __init__(
        self,
        encoder_width: int,
        target_width: int,
        width: int = 256,
        depth: int = 4,
        num_heads: int = 8,
        mlp_width: int = 2048,
        dropout: float = 0.1,
        part: str = "local",
        memory: str = "whole",
    ) -> None:
        super().__init__()
        self.width = width
        self.part = part
        self.memory = memory
        self.embed = nn.Linear(encoder_width, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(CrossBlock(width, num_heads, mlp_width, dropout) for _ in range(depth))
        self.head = nn.Linear(width, target_width)
        nn.init.normal_(self.mask_token, std=0.02)
        self.embed.apply(xavier)
        self.head.apply(xavier)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        parts = latent.parts or {}
        for name in (self.part, self.memory):
            if name not in parts or mask.parts is None:
                have = ", ".join(parts) or "none"
                raise ValueError(f"The codes must have parts `{self.part}` and `{self.memory}`, but have {have}.")
        view, memory, own = parts[self.part], parts[self.memory], mask.part(self.part)
        hidden = own.hidden

        # The whole view: codes where they were made, mask tokens elsewhere.
        table = sincos(places.part(self.part).layout, hidden.shape[1], self.width, hidden.device)
        codes = self.embed(view.values)  # [B, K, W]
        x = self.mask_token.to(codes.dtype).expand(*hidden.shape, -1)
        x = (codes if view.seen is None else view.seen.scatter(codes, x)) + table.to(codes.dtype)  # [B, N, W]
        num_prefix = 0
        valid = own.valid
        if view.prefix is not None:
            num_prefix = view.prefix.shape[1]
            x = torch.cat([self.embed(view.prefix), x], dim=1)
            valid = None if valid is None else F.pad(valid, (num_prefix, 0), value=True)

        # It attends to the other view, and then to itself.
        given = self.embed(memory.values)  # [B, K', W]
        real = memory.seen.valid if memory.seen is not None else mask.part(self.memory).valid
        if memory.prefix is not None:
            given = torch.cat([self.embed(memory.prefix), given], dim=1)
            real = None if real is None else F.pad(real, (memory.prefix.shape[1], 0), value=True)
        for block in self.blocks:
            x = block(x, given, valid, real)

        answers = own.asked.gather(self.head(x[:, num_prefix:]))
        return Prediction.join({self.part: Prediction(answers, own.asked)})


class CrossBlock(nn.Module):
    """Cross-attention, an MLP and self-attention, each added to its input and then normed.

    The sublayers of torch's `nn.TransformerDecoderLayer`, under its names, in another order.
    """

    def __init__(self, width: int, num_heads: int, mlp_width: int, dropout: float) -> None:
        super().__init__()
        self.multihead_attn = nn.MultiheadAttention(width, num_heads, dropout, batch_first=True)
        self.linear1 = nn.Linear(width, mlp_width)
        self.linear2 = nn.Linear(mlp_width, width)
        self.self_attn = nn.MultiheadAttention(width, num_heads, dropout, batch_first=True)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, valid: Tensor | None = None, real: Tensor | None = None) -> Tensor:
        """``x`` ``[B, N, W]`` after reading ``memory`` ``[B, K, W]``; places where a mask is False are not read."""
        read, _ = self.multihead_attn(x, memory, memory, None if real is None else ~real, need_weights=False)
        x = self.norm2(x + self.dropout(read))
        x = self.norm3(x + self.dropout(self.linear2(self.dropout(F.relu(self.linear1(x))))))
        read, _ = self.self_attn(x, x, x, None if valid is None else ~valid, need_weights=False)
        return self.norm1(x + self.dropout(read))
