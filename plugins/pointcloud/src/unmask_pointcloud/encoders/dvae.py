"""Point-BERT's tokenizer: which of its codes each patch of a cloud is (Yu et al. 2022, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask import Encoder, Latent, Mask, Tokens
from unmask_pointcloud.nn.dgcnn import DGCNN
from unmask_pointcloud.nn.patch_net import PatchNet


class DVAEEncoder(Encoder):
    """A PointNet on each patch, a DGCNN on its neighbours, a score for each code of a learned book.

    `forward` gives the expected entry of the book, ``softmax(scores) @ book`` ``[B, G, D]``; `scores` and `ids` what
    the stages of Point-BERT use. It sees every patch whatever a mask says: there is none in this stage.

    Args:
        num_codes: entries of the book; a multiple of 4. Section 4.1: 8192.
        width: D, of an entry and of the PointNet's codes. Release: 256.
        channels: numbers of a point beside its coordinates.
        hidden_width: h of `PatchNet` and `DGCNN`. Release: 128.
        score_scale: of the scores before training, above 0. They are normalised, so at 1, as in the release, the
            Gumbel noise of `DVAE` drowns them until the norm's weights have grown, in thousands of steps; short runs
            begin with more.

    Raises:
        ValueError: a number outside its range; in `forward`, a mask that hides something, or clouds of fewer points
            than patches.
    """

    num_layers = 1

    def __init__(
        self,
        num_codes: int = 8192,
        width: int = 256,
        channels: int = 0,
        hidden_width: int = 128,
        score_scale: float = 1.0,
    ) -> None:
        super().__init__()
        if score_scale <= 0:
            raise ValueError(f"`score_scale` must be above 0, but is {score_scale}.")
        for name, value, step in (("num_codes", num_codes, 4), ("width", width, 4), ("hidden_width", hidden_width, 2)):
            if value < step or value % step:
                near = max(round(value / step), 1) * step
                raise ValueError(f"`{name}` must be a multiple of {step}, but is {value}; nearest: {near}.")
        self.width = width
        self.num_codes = num_codes
        self.channels = channels
        self.patch_net = PatchNet(3 + channels, width, hidden_width)
        self.graph = DGCNN(width, num_codes, hidden_width)
        nn.init.constant_(self.graph.norm.weight, score_scale)
        self.book = nn.Parameter(torch.randn(num_codes, width))

    def forward(self, tokens: Tokens, mask: Mask | None = None, layer: int | None = None) -> Latent:
        self.depth(layer)
        if mask is not None and bool(mask.hidden.any()):
            raise ValueError("DVAEEncoder must see every patch, but the mask hides some.")
        return Latent(self.scores(tokens).softmax(-1) @ self.book)

    def scores(self, tokens: Tokens) -> Tensor:
        """Of each code at each patch, before the softmax: ``[B, G, num_codes]``."""
        if tokens.valid is not None:
            raise ValueError(
                f"`num_patches` must be at most {int(tokens.valid.sum(1).min())}, the points of the smallest cloud, "
                f"for a dVAE, but is {tokens.values.shape[1]}."
            )
        assert tokens.positions is not None
        scores: Tensor = self.graph(self.patch_net(tokens.values), tokens.positions)
        return scores

    def ids(self, tokens: Tokens) -> Tensor:
        """The code of the highest score at each patch: int64 ``[B, G]``."""
        return self.scores(tokens).argmax(-1)
