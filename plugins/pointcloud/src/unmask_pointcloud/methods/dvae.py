"""Point-BERT's first stage: a discrete autoencoder whose codes name patches (Yu et al. 2022, arXiv:2111.14819)."""

from __future__ import annotations

import math
from dataclasses import field
from typing import Any

import torch
from torch import Tensor

from unmask import (
    Answer,
    Candidates,
    Corruption,
    Cosine,
    Draws,
    Given,
    Latent,
    LossValue,
    Mask,
    MaskSampler,
    Method,
    Optimization,
    Prediction,
    Schedule,
    Step,
    at,
    streams_of,
)
from unmask_pointcloud.encoders.dvae import DVAEEncoder
from unmask_pointcloud.layout import Points
from unmask_pointcloud.losses import ChamferLoss
from unmask_pointcloud.predictors.folding import FoldingDecoder
from unmask_pointcloud.targets.points import PointTarget
from unmask_pointcloud.tokenizer import PointTokenizer


class DVAE(Method):
    """Each patch is told by one code of a book; a decoder rebuilds its points from the codes.

    ``loss = mean over patches of Chamfer-L1(coarse) + Chamfer-L1(fine) + weight * KL(uniform || use of the codes)``

    In training a code is drawn (Gumbel softmax), at a falling temperature; otherwise it is the one of the highest
    score. Nothing is hidden, all patches are asked for. The use of the codes is the mean softmax over the patches of a
    cloud, as in the release (equation 4 of the paper has the divergence per patch).

    Args:
        num_patches: of a cloud. 64 for clouds of 1,024 points (section 4.1).
        patch_size: points of a patch, a multiple of 4 (section 4.1).
        channels: numbers of a point beside its coordinates.
        num_codes: entries of the book (section 4.1).
        width: of an entry. Release: 256.
        hidden_width: h of all networks. Release: 128.
        score_scale: of the codes' scores before training, see `DVAEEncoder`. Release: 1; short runs need more.
        temperature: of the Gumbel softmax, above 0. Release: 1 to 0.0625 in 100,000 steps.
        kl_weight: at least 0. Release: 0 for 10,000 steps, then to 0.1 in 100,000.
        tokenizer: None: patches of those numbers.
        optim: AdamW of the release: rate 5e-4 at batch 64, decay 5e-4, 10 warm-up epochs.

    Differs from the release in that validation draws no codes, and in the warm-up, which begins at 0.

    Raises:
        ValueError: a number outside its range, or clouds of fewer points than patches.
    """

    num_patches: int = 64
    patch_size: int = 32
    channels: int = 0
    num_codes: int = 8192
    width: int = 256
    hidden_width: int = 128
    score_scale: float = 1.0
    temperature: float | Schedule = Cosine(start=1.0, end=0.0625, over=100_000)
    kl_weight: float | Schedule = Cosine(start=0.0, end=0.1, over=100_000, delay=10_000)
    mask: MaskSampler = field(init=False)
    encoder: DVAEEncoder = field(init=False)
    predictor: FoldingDecoder = field(init=False)
    target: PointTarget = field(init=False, default_factory=PointTarget)
    loss: ChamferLoss = field(init=False, default_factory=lambda: ChamferLoss(norm=1))
    corruption: Corruption = field(init=False, default_factory=lambda: Corruption(keep=1))
    optim: Optimization = Optimization(
        base_lr=2e-3, weight_decay=5e-4, betas=(0.9, 0.999), warmup_epochs=10, min_lr=4e-6
    )

    def complete(self) -> None:
        for name, value, fits in (
            ("temperature", self.temperature, isinstance(self.temperature, Schedule) or self.temperature > 0),
            ("kl_weight", self.kl_weight, isinstance(self.kl_weight, Schedule) or self.kl_weight >= 0),
        ):
            if not fits:
                raise ValueError(
                    f"`{name}` must be {'above' if name == 'temperature' else 'at least'} 0, but is {value}."
                )
        self.tokenizer = self.tokenizer or PointTokenizer(self.num_patches, self.patch_size, self.channels)
        self.mask = Nothing()
        self.encoder = DVAEEncoder(self.num_codes, self.width, self.channels, self.hidden_width, self.score_scale)
        self.predictor = FoldingDecoder(self.width, self.patch_size, self.width, self.hidden_width)

    def step(self, batch: Any, seed: int | None = None) -> Step:
        """Name every patch, rebuild it. Codes are drawn from streams keyed by ``seed``."""
        tokens = self.tokenizer(batch)  # values [B, G, k, 3 + C]
        draws = streams_of(batch, tokens, seed)
        mask = self.mask(tokens, self.progress, draws)  # hides nothing
        given = Given(batch, self.corruption(tokens, mask), self.progress)
        target = self.target(tokens, mask)  # [B, G, 3 k]

        # One code of the book for each patch: drawn in training, else the likeliest.
        scores = self.encoder.scores(tokens).float()  # [B, G, V]
        latent = Latent(self._entries(scores, draws))  # values [B, G, D]

        # Its points, few and then all.
        coarse, fine = self.predictor.points(latent, tokens.places)
        prediction = Prediction(fine.flatten(2), mask.asked)
        fine_loss = self.loss(prediction, target)
        coarse_loss = self.loss.per_token(coarse.flatten(2), target, None)  # [B, G]
        divergence = from_uniform(scores)
        total = fine_loss.total + coarse_loss.mean() + at(self.kl_weight, self.progress) * divergence
        if self._trainer is not None and self.training:
            self.log("train/kl", divergence.detach(), sync_dist=True, batch_size=tokens.num_samples)
        loss = LossValue(total, fine_loss.per_token + coarse_loss.detach())
        return self.summed(tokens, latent, given, {"": Answer(mask, prediction, target, loss)})

    def _entries(self, scores: Tensor, draws: Draws) -> Tensor:
        """Entries of the book ``[B, G, D]``: in training mixed by a Gumbel softmax (Jang et al. 2017, equation 2)."""
        book = self.encoder.book
        if not self.training:
            return book[scores.argmax(-1)]
        noise = draws.named("codes").gumbel(*scores.shape[1:])
        noisy = (scores + noise) / at(self.temperature, self.progress)
        return noisy.softmax(-1) @ book


def from_uniform(scores: Tensor) -> Tensor:
    """``KL(uniform || mean softmax over the patches of a cloud)``, the mean over clouds; of ``[B, G, V]``."""
    used = scores.log_softmax(-1).logsumexp(1) - math.log(scores.shape[1])  # [B, V]
    return -used.mean() - math.log(scores.shape[2])


class Nothing(MaskSampler):
    """Hides nothing and asks everywhere: an autoencoder's mask."""

    layouts = (Points,)

    def sample(self, among: Candidates, draws: Draws) -> Mask:
        valid = among.valid
        num_places = valid.shape[1] if bool(valid.all()) else None
        return Mask(torch.zeros_like(valid), predict=valid, num_hidden=0, num_predict=num_places)
