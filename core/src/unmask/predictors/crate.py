"""CRATE predictor: white-box decoder blocks on codes of all places (CRATE-MAE, Pai et al. 2024, arXiv:2404.02446)."""

from __future__ import annotations

from torch import nn

from unmask.nn.crate import CRATEDecoderBlock
from unmask.nn.positions import sincos
from unmask.nn.transformer import xavier
from unmask.parts import Predictor
from unmask.structures import Latent, Mask, Prediction, Tokens
from unmask.support.checks import at_least


class CRATEPredictor(Predictor):
    """Undoes an encoder of `CRATEBlock`, block by block; answers are read at the asked places.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        width: of the blocks; None: ``encoder_width``.
        depth: blocks, as many as the encoder's in the paper.
        num_heads: subspaces; must divide ``width``.

    Raises:
        ValueError: the encoder has no code at hidden places.
    """

    def __init__(
        self, encoder_width: int, target_width: int, width: int | None = None, depth: int = 12, num_heads: int = 12
    ) -> None:
        super().__init__()
        at_least(1, depth=depth)
        self.width = width or encoder_width
        self.embed = nn.Identity() if self.width == encoder_width else nn.Linear(encoder_width, self.width)
        self.blocks = nn.ModuleList(CRATEDecoderBlock(self.width, num_heads) for _ in range(depth))
        self.norm = nn.LayerNorm(self.width, eps=1e-6)
        self.head = nn.Linear(self.width, target_width)
        self.embed.apply(xavier)
        self.blocks.apply(xavier)
        self.head.apply(xavier)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        if latent.seen is not None or latent.values.shape[:-1] != mask.hidden.shape:
            raise ValueError(
                "CRATEPredictor needs a code at every place; use a corruption with `drop` 0, such as `token` 1."
            )
        x = self.embed(latent.values)
        x = x + sincos(places.layout, x.shape[1], self.width, x.device).to(x.dtype)
        for block in self.blocks:
            x = block(x, mask.valid)
        return Prediction(self.head(mask.asked.gather(self.norm(x))), mask.asked)
