"""A pre-norm transformer trunk on fused attention (Dosovitskiy et al. 2020, section 3.1).

Parameter names are timm's (``blocks.0.attn.qkv.weight``), so weights exchange without a table.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.nn.attention import attend


class Attention(nn.Module):
    """Multi-head self-attention.

    Raises:
        ValueError: ``width`` is not a multiple of ``num_heads``.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"`width` must be a multiple of `num_heads` ({num_heads}), but is {width}.")
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """``x`` ``[B, N, D]``; keys where ``valid`` ``[B, N]`` is False are not attended to. A ``valid`` of four sides
        is what `attend` takes: who may attend to whom, or what is added to the scores."""
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.num_heads, width // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # 3 x [B, H, N, D / H]
        x = attend(q, k, v, valid[:, None, None, :] if valid is not None and valid.ndim == 2 else valid)
        return self.proj(x.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, hidden_width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden_width)
        self.fc2 = nn.Linear(hidden_width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention, then an MLP, each on normalised input and added to it; or each added to it and then normalised.

    Args:
        width: D.
        num_heads: attention heads; must divide ``width``.
        mlp_ratio: hidden width of the MLP over ``width``.
        drop_path_ratio: chance that a sample skips each of the two branches (stochastic depth,
            Huang et al. 2016), in [0, 1).
        norm_eps: added to the variances in the norms.
        norm_first: a norm comes before each branch (ViT); false: after each sum (BERT).
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path_ratio: float = 0.0,
        norm_eps: float = 1e-6,
        norm_first: bool = True,
    ) -> None:
        super().__init__()
        self.norm_first = norm_first
        self.norm1 = nn.LayerNorm(width, eps=norm_eps)
        self.attn = Attention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=norm_eps)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.drop_path_ratio = drop_path_ratio

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        if not self.norm_first:
            x = self.norm1(x + self._drop_path(self.attn(x, valid)))
            return self.norm2(x + self._drop_path(self.mlp(x)))
        x = x + self._drop_path(self.attn(self.norm1(x), valid))
        return x + self._drop_path(self.mlp(self.norm2(x)))

    def _drop_path(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path_ratio == 0:
            return branch
        kept = 1 - self.drop_path_ratio
        keep = torch.empty(len(branch), 1, 1, device=branch.device, dtype=branch.dtype).bernoulli_(kept)
        return branch * (keep / kept)


class Transformer(nn.Module):
    """A stack of `Block` and a final norm; ``[B, N, D]`` in and out.

    Linear layers are Xavier-uniform with zero biases (MAE's and ViT's initialisation).

    Args:
        width: D.
        depth: number of blocks.
        num_heads: attention heads; must divide ``width``.
        mlp_ratio: hidden width of the MLPs over ``width``.
        drop_path_ratio: stochastic depth of the last block; it grows linearly from 0 at the first.
        norm_eps: added to the variances in all norms. ViT and MAE: 1e-6.
    """

    def __init__(
        self,
        width: int,
        depth: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path_ratio: float = 0.0,
        norm_eps: float = 1e-6,
    ) -> None:
        super().__init__()
        ratios = torch.linspace(0, drop_path_ratio, depth).tolist()
        self.blocks = nn.ModuleList(Block(width, num_heads, mlp_ratio, ratio, norm_eps) for ratio in ratios)
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.apply(xavier)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            x = block(x, valid)
        return self.norm(x)


def xavier(module: nn.Module) -> None:
    """Xavier-uniform weight and zero bias, for linear layers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
