"""Cluster head: cosines of a projected code with an embedding of each cluster (HuBERT, Hsu et al. 2021, equation 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Latent, Mask, Prediction, Predictor, Tokens


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
        ValueError: a temperature not above 0; when called, codes of the visible places only.
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
        codes = self.proj(asked.gather(latent.values)).unflatten(-1, (num_codebooks, -1))  # [B, M, C, W]
        with torch.autocast(codes.device.type, enabled=False):  # bfloat16 is too coarse over a temperature
            embeddings = F.normalize(self.embeddings.float(), dim=-1)
            cosines = torch.einsum("bmcw,ckw->bcmk", F.normalize(codes.float(), dim=-1), embeddings)
            scores = (cosines / self.temperature).masked_fill(self.padding[:, None], float("-inf"))  # [B, C, M, K]
        if num_codebooks == 1:
            return Prediction(scores[:, 0], asked)
        return Prediction(scores, asked.repeated(num_codebooks))
