"""A transformer that is told where tokens lie before every block (Point-MAE, Pang et al. 2022, code)."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from unmask.nn import Transformer, xavier


class PositionedTransformer(Transformer):
    """``x = block(x + positions)`` for each block, then a norm. Arguments as `unmask.nn.Transformer`."""

    def forward(  # type: ignore[override]
        self, x: Tensor, positions: Tensor, valid: Tensor | None = None, depth: int | None = None
    ) -> Tensor:
        """``[B, N, D]`` in and out.

        Args:
            x: tokens.
            positions: ``[B, N, D]``, added before every block.
            valid: ``[B, N]`` bool, False at padding, which is not attended to.
            depth: blocks to run, without the norm; None: all, and the norm.
        """
        *_, x = self.each(x, positions, valid, depth)
        return self.norm(x) if depth is None else x

    def each(
        self, x: Tensor, positions: Tensor, valid: Tensor | None = None, depth: int | None = None
    ) -> Iterator[Tensor]:
        """What comes out of each block, without the norm; arguments as `forward`."""
        for block in self.blocks[:depth]:
            x = block(x + positions, valid)
            yield x


SPREAD = 3.0
"""Of the first layer's weights and biases; for centres in the unit sphere."""


def centre_embedding(width: int) -> nn.Sequential:
    """Centres ``[..., 3]`` to codes of where they lie ``[..., D]`` (Point-BERT, section 3.1: two layers, GELU).

    The first layer begins wide, weights normal(3) and biases even in [-3, 3]: each hidden unit tells two sides of some
    plane through the unit sphere apart, so places a tenth apart have different codes from the first step on. With the
    papers' normal(0.02) all places begin alike: after a minute or two on one core, a linear SVM found less in the codes
    than in those of an untrained encoder.
    """
    first, second = nn.Linear(3, 128), nn.Linear(128, width)
    nn.init.normal_(first.weight, std=SPREAD)
    nn.init.uniform_(first.bias, -SPREAD, SPREAD)
    xavier(second)
    return nn.Sequential(first, nn.GELU(), second)
