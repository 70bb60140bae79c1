"""Point-patch mixing: patches of two clouds are named, and the two are told (Point-BERT, Yu et al. 2022, section 3.3;
the contrast is MoCo's, He et al. 2020)."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Mask, Progress, Schedule, Step, Term, Tokens
from unmask.api import at_least, inside
from unmask_pointcloud.layout import Points
from unmask_pointcloud.targets.codes import CodeTarget


class PatchMixing(Term):
    """``CE(hidden patches of mixtures) + contrast``: a mixture has each patch, with its centre, of one cloud or of that
    at the batch's other end.

    ``q = head(class code of a mixture)``, ``k = slow head(slow class code of a cloud, parts of it hidden as well)``,
    both of length 1; q must find the two k that it is mixed of, in their shares, among those of its batch and of a
    queue of earlier ones. Encoder and head of k follow slowly: ``slow = m * slow + (1 - m) * quick``, after each
    optimiser step; batch norm keeps statistics of its own, as released. On several devices the queue holds the keys of
    the first alone.

    Args:
        width: of q and k, at least 1. Release: 512.
        queue_size: keys remembered, at least 1. Section 4.1: 16,384.
        momentum: m, in [0, 1]. Section 4.1.
        temperature: above 0. Section 4.1.
        weight: at least 0, or a schedule of it.

    Raises:
        ValueError: a number outside its range; in `start`, an encoder without a class token, or another target than
            `CodeTarget`, whose codes name the patches.
    """

    queue: Tensor
    end: Tensor

    def __init__(
        self,
        width: int = 512,
        queue_size: int = 16_384,
        momentum: float = 0.999,
        temperature: float = 0.07,
        weight: float | Schedule = 1.0,
    ) -> None:
        super().__init__(weight)
        at_least(1, width=width, queue_size=queue_size)
        inside("[0, 1]", momentum=momentum)
        if temperature <= 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        self.width = width
        self.momentum = momentum
        self.temperature = temperature
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, width), dim=1))
        self.register_buffer("end", torch.zeros((), dtype=torch.long))
        self._keys: Tensor | None = None  # of the last step

    def start(self, model: Any) -> None:
        if getattr(model.encoder, "cls_token", None) is None:
            raise ValueError("`class_token` of the encoder must be true, as mixtures are told by it.")
        if not isinstance(model.target, CodeTarget):
            raise ValueError(f"`target` must be a CodeTarget, whose codes name the patches, but is {model.target!r}.")
        if not hasattr(self, "head"):  # else it begins again, with an encoder of other weights
            width = model.encoder.width
            self.head = nn.Sequential(nn.Linear(width, self.width), nn.GELU(), nn.Linear(self.width, self.width))
        self.slow_head = copy.deepcopy(self.head).requires_grad_(False)
        self.slow_encoder = copy.deepcopy(model.encoder).requires_grad_(False)

    def forward(self, step: Step, model: Any) -> Tensor:
        assert step.given is not None
        tokens, ids = step.tokens, step.given.shown.made["ids"]  # [B, G]
        draws = step.mask.streams()
        lots = draws.named("mixture")
        share = lots.uniform()  # [B]
        kept = lots.uniform(ids.shape[1]) < share[:, None]  # [B, G]
        mixture, names = mixed(tokens, kept), torch.where(kept, ids, ids.flip(0))

        # Its hidden patches are named as a cloud's are.
        shown = model.corruption(mixture, model.mask(mixture, model.progress, draws.named("mixed")))
        latent = model.encoder(shown.tokens, shown.mask)
        prediction = model.predictor(latent, mixture.places, shown.mask)
        named = model.loss(prediction, shown.mask.asked.gather(names)).total

        # Which two it is of, among this batch's clouds and earlier ones.
        own = torch.arange(len(ids), device=ids.device)
        unseen = model.corruption(tokens, model.mask(tokens, model.progress, draws.named("keys"))).mask
        self._keys = self.keys(tokens, unseen)
        queries = F.normalize(self.head(latent.prefix[:, 0]).float(), dim=1)
        return named + self.contrast(queries, self._keys, own, own.flip(0), share)

    @torch.no_grad()
    def keys(self, tokens: Tokens, mask: Mask) -> Tensor:
        """``[B, W]`` of clouds, parts of which are hidden."""
        latent = self.slow_encoder(tokens, mask)
        return F.normalize(self.slow_head(latent.prefix[:, 0]).float(), dim=1)

    def contrast(self, queries: Tensor, keys: Tensor, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        """``mean(share * CE(q, k[first]) + (1 - share) * CE(q, k[second]))`` over the batch.

        Args:
            queries: ``[B, W]``.
            keys: ``[B, W]``.
            first: int64 ``[B]``, which cloud has the ``share`` of a mixture.
            second: int64 ``[B]``, which has the rest.
            share: ``[B]`` in [0, 1].
        """
        with torch.autocast(queries.device.type, enabled=False):  # bfloat16 is too coarse over a temperature
            scores = queries @ torch.cat([keys, self.queue]).mT / self.temperature  # [B, B + queue]
        loss = share * F.cross_entropy(scores, first, reduction="none")
        return (loss + (1 - share) * F.cross_entropy(scores, second, reduction="none")).mean()

    @torch.no_grad()
    def observe(self, step: Step, model: Any) -> None:
        """Keys of the step take the place of the oldest."""
        assert self._keys is not None
        keys = self._keys[-len(self.queue) :]
        places = (self.end + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue.index_copy_(0, places, keys)
        self.end.copy_((self.end + len(keys)) % len(self.queue))

    @torch.no_grad()
    def update(self, model: Any, progress: Progress) -> dict[str, float]:
        for slow, quick in ((self.slow_encoder, model.encoder), (self.slow_head, self.head)):
            torch._foreach_lerp_(list(slow.parameters()), list(quick.parameters()), 1 - self.momentum)
        return {}


def mixed(tokens: Tokens, own: Tensor) -> Tokens:
    """Each cloud with those patches of the cloud at the batch's other end where ``own`` ``[B, G]`` is False."""
    assert tokens.positions is not None
    values = torch.where(own[..., None, None], tokens.values, tokens.values.flip(0))
    centres = torch.where(own[..., None], tokens.positions, tokens.positions.flip(0))
    return replace(tokens, values=values, layout=Points(centres), positions=centres)
