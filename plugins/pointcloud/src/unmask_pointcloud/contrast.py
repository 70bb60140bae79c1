"""Momentum contrast of whole clouds (MoCo, He et al. 2020; as Point-BERT, section 3.3, uses it on mixed clouds)."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask import Encoder, Mask, Tokens
from unmask.api import at_least, inside


class MomentumContrast(nn.Module):
    """A slowly following copy of encoder and head, and a queue of what it said of earlier clouds.

    ``q = head(class code of a mixed cloud)``, ``k = slow head(slow class code of a cloud)``, both of length 1; q must
    find the two k that it is mixed of among those of its batch and of the queue.

    Args:
        encoder: with a class token; copied.
        width: of q and k. Release: 512.
        queue_size: keys remembered, at least 1. Section 4.1: 16,384.
        momentum: of the copy, in [0, 1]: 0.999.
        temperature: above 0: 0.07.

    On several devices the queue holds the keys of the first alone.

    Raises:
        ValueError: a number outside its range.
    """

    queue: Tensor
    end: Tensor

    def __init__(
        self,
        encoder: Encoder,
        width: int = 512,
        queue_size: int = 16_384,
        momentum: float = 0.999,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        at_least(1, queue_size=queue_size)
        inside("[0, 1]", momentum=momentum)
        if temperature <= 0:
            raise ValueError(f"`temperature` must be above 0, but is {temperature}.")
        self.momentum = momentum
        self.temperature = temperature
        self.head = nn.Sequential(nn.Linear(encoder.width, width), nn.GELU(), nn.Linear(width, width))
        self.slow_head = copy.deepcopy(self.head).requires_grad_(False)
        self.slow_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, width), dim=1))
        self.register_buffer("end", torch.zeros((), dtype=torch.long))

    def queries(self, class_code: Tensor) -> Tensor:
        """``[B, W]`` of class codes ``[B, D]``."""
        return F.normalize(self.head(class_code).float(), dim=1)

    @torch.no_grad()
    def keys(self, tokens: Tokens, mask: Mask) -> Tensor:
        """``[B, W]`` of clouds, parts of which are hidden as well."""
        latent = self.slow_encoder(tokens, mask)
        assert latent.prefix is not None
        return F.normalize(self.slow_head(latent.prefix[:, 0]).float(), dim=1)

    def loss(self, queries: Tensor, keys: Tensor, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        """``mean(share * CE(q, k[first]) + (1 - share) * CE(q, k[second]))`` over the batch.

        Args:
            queries: ``[B, W]``.
            keys: ``[B, W]``.
            first: int64 ``[B]``, which cloud has the ``share`` of a mixed one.
            second: int64 ``[B]``, which has the rest.
            share: ``[B]`` in [0, 1].
        """
        with torch.autocast(queries.device.type, enabled=False):  # bfloat16 is too coarse over a temperature
            scores = queries @ torch.cat([keys, self.queue]).mT / self.temperature  # [B, B + queue]
        loss = share * F.cross_entropy(scores, first, reduction="none")
        return (loss + (1 - share) * F.cross_entropy(scores, second, reduction="none")).mean()

    @torch.no_grad()
    def remember(self, keys: Tensor) -> None:
        """Put keys ``[B, W]`` in the place of the oldest."""
        keys = keys[-len(self.queue) :]
        places = (self.end + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue.index_copy_(0, places, keys)
        self.end.copy_((self.end + len(keys)) % len(self.queue))

    @torch.no_grad()
    def follow(self, encoder: Encoder) -> None:
        """``slow = m * slow + (1 - m) * quick`` for parameters; batch norm keeps statistics of its own, as released."""
        for slow, quick in ((self.slow_encoder, encoder), (self.slow_head, self.head)):
            torch._foreach_lerp_(list(slow.parameters()), list(quick.parameters()), 1 - self.momentum)
