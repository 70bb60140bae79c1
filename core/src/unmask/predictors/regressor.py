"""Regressor: codes of hidden places are regressed from the visible ones, and a decoder reads those alone (CAE, Chen et
al. 2022, arXiv:2202.03026, section 3.1)."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from unmask.nn import Transformer, sincos
from unmask.nn.transformer import xavier
from unmask.parts import Predictor
from unmask.predictors.cross_attention import CrossAttentionPredictor
from unmask.structures import Latent, Mask, Prediction, Tokens


class RegressorPredictor(Predictor):
    """Two predictors in a row, so that the encoder need not do the work of a decoder.

    The regressor's mask tokens, each told where it lies, read the codes that the encoder made and each other; what
    comes of them are codes in the encoder's own space, `Prediction.latents`. The decoder lets them read each other,
    told again where they lie, and answers. It knows nothing of the visible places but what the regressor made of them.

    Args:
        encoder_width: D, width of the codes.
        target_width: T, width of an answer.
        width: of both trunks.
        depth: blocks of the regressor, of cross-attention and an MLP.
        decoder_depth: blocks of the decoder, of self-attention and an MLP.
        num_heads: attention heads of both; must divide ``width``.

    Differs from the paper in positions, which are added once and not in each block, and in two linear layers, which
    take codes to ``width`` and back.

    Raises:
        ValueError: packed tokens.
    """

    def __init__(
        self,
        encoder_width: int,
        target_width: int,
        width: int = 768,
        depth: int = 4,
        decoder_depth: int = 4,
        num_heads: int = 12,
    ) -> None:
        super().__init__()
        self.width = width
        self.regressor = CrossAttentionPredictor(
            encoder_width,
            encoder_width,
            width,
            depth,
            num_heads,
            mlp_width=4 * width,
            dropout=0.0,
            part=None,
            memory=None,
            queries="asked",
            self_attention="none",
            norm_first=True,
            memory_norm=True,
            memory_positions=True,
            memory_queries=True,
            activation="gelu",
        )
        self.embed = nn.Linear(encoder_width, width)
        self.trunk = Transformer(width, decoder_depth, num_heads)
        self.head = nn.Linear(width, target_width)
        self.embed.apply(xavier)
        self.head.apply(xavier)

    def forward(self, latent: Latent, places: Tokens, mask: Mask) -> Prediction:
        asked = mask.asked
        # The regressor: codes of the asked places, of visible patches alone; class and register tokens are not read.
        regressed = self.regressor(replace(latent, prefix=None), places, mask).values  # [B, (G,) M, D]

        # The decoder: these codes alone, told where they lie; groups become samples of their own.
        table = sincos(places.layout, mask.hidden.shape[1], self.width, mask.hidden.device)
        positions = asked.gather(table.to(regressed.dtype).expand(len(mask.hidden), -1, -1))
        x = (self.embed(regressed) + positions).flatten(0, -3)  # [B * G, M, W]
        x = self.trunk(x, None if asked.valid is None else asked.valid.flatten(0, -2))
        return Prediction(self.head(x).reshape(*asked.index.shape, -1), asked, latents=regressed)
