"""Re-mask: what the encoder made of hidden nodes is taken away before decoding (GraphMAE, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask import Latent, Mask, Places
from unmask_graph.nn.dropout import dropout, share


class Remask(nn.Module):
    """``z[i] = 0`` at hidden nodes, ``W code[i]`` elsewhere: a decoder must rebuild nodes from their neighbours.

    Args:
        encoder_width: D, width of the codes.
        width: D', width of what the decoder is given.
        dropout: of what it is given, in [0, 1).
    """

    def __init__(self, encoder_width: int, width: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.Linear(encoder_width, width, bias=False)
        self.dropout = share("dropout", dropout)

    def forward(self, latent: Latent, mask: Mask) -> Tensor:
        """What the decoder is given, ``[T, D']``; nothing is computed where it is zero."""
        codes = latent.values if latent.seen is not None else mask.visible.gather(latent.values)  # [K, D]
        shown = dropout(self.project(codes), self.dropout, self.training)
        return scattered(shown, mask.visible, len(mask.hidden))


def scattered(values: Tensor, places: Places, num_nodes: int) -> Tensor:
    """``[T, D']`` with ``values`` ``[K, D']`` at ``places`` and zeros elsewhere."""
    return torch.zeros(num_nodes, values.shape[1], dtype=values.dtype, device=values.device).index_copy(
        0, places.index, values
    )
