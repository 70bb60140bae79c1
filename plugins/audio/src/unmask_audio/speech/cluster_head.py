"""Cluster head: cosines of a projected code with an embedding of each cluster (HuBERT, Hsu et al. 2021, equation 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Latent, Mask, Places, Prediction, Predictor, Tokens


class ClusterHead(Predictor):
    """``cos(A code, e_k) / temperature`` for each cluster k.

    Answers are ``[B, M, K]``, of several codebooks ``[B, C, M, K]``: each has a projection A of its own, and asks at
    the same places, as a group; the smaller ones are filled up with clusters of score -inf.

    Args:
        encoder_width: D, width of the codes.
        num_clusters: of each codebook.
        width: of the embeddings. Release, base size: 256.
        temperature: above 0. Paper: 0.1.

    Raises:
        ValueError: a temperature not above 0; in `forward`, codes of the visible places only, or other groups of asked
            places than codebooks.
    """

    padding: Tensor

    def __init__(
        self, encoder_width: int, num_clusters: Sequence[int], width: int = 256, temperature: float = 0.1
    ) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        self.temperature = temperature
        self.proj = nn.Linear(encoder_width, len(num_clusters) * width)
        self.embeddings = nn.Parameter(torch.rand(len(num_clusters), max(num_clusters), width))  # as the release does
        padding = torch.arange(max(num_clusters)) >= torch.tensor(num_clusters)[:, None]
        self.register_buffer("padding", padding, persistent=False)  # [C, K]

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if latent.seen is not None:
            raise ValueError("ClusterHead needs a code at every place, but `corruption` drops the hidden ones.")
        asked, num_codebooks = mask.asked, len(self.embeddings)
        grouped = asked.index.ndim == 3
        if (asked.index.shape[1] if grouped else 1) != num_codebooks:
            raise ValueError(f"Each of the {num_codebooks} codebooks must have a group of asked places, but has not.")
        places_asked = Places(asked.index[:, 0]) if grouped else asked  # the same in every group
        codes = self.proj(places_asked.gather(latent.values)).unflatten(-1, (num_codebooks, -1))  # [B, M, C, W]
        with torch.autocast(codes.device.type, enabled=False):  # bfloat16 is too coarse over a temperature
            embeddings = F.normalize(self.embeddings.float(), dim=-1)
            cosines = torch.einsum("bmcw,ckw->bcmk", F.normalize(codes.float(), dim=-1), embeddings)
            scores = (cosines / self.temperature).masked_fill(self.padding[:, None], float("-inf"))  # [B, C, M, K]
        return Prediction(scores if grouped else scores[:, 0], asked)
