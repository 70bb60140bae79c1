"""A head on codes: a norm and a linear layer, as MAE puts on pooled codes (He et al. 2021, appendix A.1 and A.2)."""

from __future__ import annotations

from torch import Tensor, nn

from unmask import seeds


class Head(nn.Sequential):
    """LayerNorm, then linear; or a hidden layer with GELU between: ``[..., D]`` to ``[..., C]``.

    The last layer is truncated normal(0.01) with zero bias, so that training begins at even odds
    (MAE's linear probing; its fine-tuning code has 2e-5).

    Differs from MAE in keeping the encoder's own last norm, and in normalising per sample also on a frozen
    encoder, where MAE normalises each feature over the batch, which needs large batches.

    Args:
        width: D, at least 1.
        num_outputs: C, at least 1.
        kind: ``linear`` or ``mlp``.
        seed: of the initialisation, which uses no other random number.
    """

    def __init__(self, width: int, num_outputs: int, kind: str = "linear", seed: int = 0) -> None:
        with seeds.seeded(seed, "head"):
            hidden = [nn.Linear(width, width), nn.GELU()] if kind == "mlp" else []
            last = nn.Linear(width, num_outputs)
            super().__init__(nn.LayerNorm(width), *hidden, last)
            nn.init.trunc_normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)

    def forward(self, codes: Tensor) -> Tensor:
        """Answers ``[..., C]`` for codes ``[..., D]``."""
        answers: Tensor = super().forward(codes)
        return answers


def pooled_width(width: int, pool: str) -> int:
    """How wide pooled codes of ``width`` are, see `unmask.structures.Latent.pool`."""
    return 2 * width if pool == "mean+max" else width
