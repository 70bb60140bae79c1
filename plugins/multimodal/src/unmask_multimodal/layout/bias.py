"""Layout bias: attention knows how far apart two rows are in the text and on the page (LayoutLMv3, Huang et al. 2022;
buckets of T5, Raffel et al. 2019)."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unmask import Grid
from unmask_multimodal.encoders.trunks import Bias, Stream


class LayoutBias(Bias):
    """``(b[order] + b_x[left] + b_y[bottom]) / sqrt(D / H)``: one number per head and bucket of a signed distance.

    Order counts a part's rows, its class token among them, so words and patches are both counted from 0. Coordinates
    are thousandths of the page: boxes of words, those of patches from their grid, and 1 and 999 for a class token.
    Half of the buckets are for each sign; of those, half are single distances and half grow with the logarithm.

    Args:
        width: D of the trunk.
        num_heads: H of the trunk.
        num_buckets: of order, an even number of at least 4. Paper: 32.
        max_distance: of order, above which all share a bucket. Paper: 128.
        num_box_buckets: of coordinates. Paper: 64.
        max_box_distance: of coordinates. Paper: 256.

    transformers' model has the same numbers but gives them no gradient; here they are learned.

    Raises:
        ValueError: too few buckets, or a distance within the single ones; when called, a part that lies nowhere on the
            page.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        num_buckets: int = 32,
        max_distance: int = 128,
        num_box_buckets: int = 64,
        max_box_distance: int = 256,
    ) -> None:
        super().__init__()
        for count, distance in ((num_buckets, max_distance), (num_box_buckets, max_box_distance)):
            if count < 4 or count % 2 or distance <= count // 4:
                raise ValueError(
                    f"`num_buckets` must be even, at least 4 and below 4 times the distance {distance}, but is {count}."
                )
        self.scale = (width // num_heads) ** -0.5
        self.max_distance, self.max_box_distance = max_distance, max_box_distance
        self.order = nn.Embedding(num_buckets, num_heads)
        self.x, self.y = (nn.Embedding(num_box_buckets, num_heads) for _ in range(2))
        for table in (self.order, self.x, self.y):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, streams: Mapping[str, Stream]) -> Tensor:
        places = [_places(name, one) for name, one in streams.items()]
        order, left, bottom = torch.cat(places, dim=1).unbind(-1)  # [B, L] each
        total = self._of(order, self.order, self.max_distance)
        total = total + self._of(left, self.x, self.max_box_distance)
        total = total + self._of(bottom, self.y, self.max_box_distance)
        return (total * self.scale).permute(0, 3, 1, 2)  # [B, H, L, L]

    @staticmethod
    def _of(at: Tensor, table: nn.Embedding, farthest: int) -> Tensor:
        return table(buckets(at[:, None, :] - at[:, :, None], table.num_embeddings, farthest))


def buckets(distance: Tensor, count: int, farthest: int) -> Tensor:
    """The bucket of each signed distance (int64), in [0, ``count``)."""
    count //= 2
    size, single = distance.abs(), count // 2
    grown = (size.float().clamp(min=1) / single).log() / math.log(farthest / single) * (count - single)
    large = (single + grown.long()).clamp(max=count - 1)
    return (distance > 0).long() * count + torch.where(size < single, size, large)


def _places(name: str, stream: Stream) -> Tensor:
    """Order, left and bottom of each row ``[B, L, 3]`` int64."""
    places, seen, num_prefix = stream.places, stream.seen, stream.num_prefix
    batch, device = len(stream.rows), stream.rows.device
    if places.positions is not None and places.positions.shape[-1] == 4:
        corners = (places.positions[..., [0, 3]] * 1000).round().long()  # [B, N, 2]
    elif isinstance(places.layout, Grid) and len(places.layout.shape) == 2:
        rows, columns = places.layout.shape
        left = torch.arange(columns, device=device) * 1000 // columns
        bottom = torch.arange(1, rows + 1, device=device) * 1000 // rows
        corners = torch.stack([left.repeat(rows), bottom.repeat_interleave(columns)], dim=-1).expand(batch, -1, -1)
    else:
        raise ValueError(f"Part `{name}` must have boxes or lie on a grid of two sides, but lies on a {places.layout}.")
    order = torch.arange(corners.shape[1], device=device).expand(batch, -1)[..., None] + num_prefix
    found = torch.cat([order, corners], dim=-1)
    found = found if seen is None else seen.gather(found)
    own = torch.tensor([1, 999], device=device).expand(batch, num_prefix, -1)
    numbers = torch.arange(num_prefix, device=device).expand(batch, -1)[..., None]
    return torch.cat([torch.cat([numbers, own], dim=-1), found], dim=1)
