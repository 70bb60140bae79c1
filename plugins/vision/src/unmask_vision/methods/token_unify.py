"""TokenUnify: hidden blocks of a volume, the next one, and all that follow are predicted (Chen et al. 2024,
arXiv:2405.16847)."""

from __future__ import annotations

from unmask import MADE, Loss, MaskSampler, Method, Objective, Optimization, Schedule, Target, Turns
from unmask.api import at_least
from unmask.losses import MSELoss
from unmask.masks import PrefixMask, RandomMask, SeveralMasks
from unmask.predictors import TransformerPredictor
from unmask.targets import ValueTarget
from unmask_vision.cubes import CubeTokenizer
from unmask_vision.encoders import ScanEncoder


class TokenUnify(Method):
    """Selective scans encode the blocks of a volume that are shown; a decoder predicts the voxels of others: those that
    are hidden at random, the one after a prefix, and all after it.

    ``loss = random_weight * MSE(hidden) + next_weight * MSE(next) + following_weight * MSE(all that follow)``

    Both views of a volume have an encoding of their own. The prefix ends at a place that is drawn for each volume, so
    its losses are, in the mean, those over all prefixes.

    Args:
        cube_size: sides of a block in voxels, depth first: the released code's (4, 16, 16).
        channels: of the volumes.
        width: of the encoder, a multiple of 6; None: 384 (ours).
        depth: its blocks; None: 24 (ours).
        decoder_width: of the decoder, a multiple of 6 (ours).
        decoder_depth: its blocks.
        decoder_heads: its attention heads.
        mask_ratio: share of the blocks that the random view hides (ours).
        random_weight: at least 0, or a schedule. All three count 1 in the released code's joint mode.
        next_weight: likewise.
        following_weight: likewise.
        turn_epochs: epochs that each of the three counts alone, one after the other, in place of weights; the released
            code's alternating mode, of two: 100. None: all in every step.
        mask: None: views of those rules, named ``random`` and ``prefix``.
        encoder: None: scans of those sizes, from both ends of what is shown.
        predictor: None: a transformer of those sizes, which both views share.
        target: voxels.
        loss: squared error.
        tokenizer: None: blocks of voxels in [0, 1].
        optim: AdamW: base rate 1.5e-4, betas (0.9, 0.95), decay 0.05, no warm-up, as in the released script.

    Differs from the released code in the encoder, there convolutions with scans at four scales; in the decoder; in that
    hidden blocks are left out, where those after a prefix are filled with zeros or noise there; and in that all blocks
    after a prefix are asked for, where the whole volume is there.

    Raises:
        ValueError: an unfit width, a weight below 0, weights beside turns.
    """

    ask_of = "random"

    cube_size: int | tuple[int, int, int] = (4, 16, 16)
    channels: int = 1
    width: int | None = None
    depth: int | None = None
    decoder_width: int = 192
    decoder_depth: int = 4
    decoder_heads: int = 8
    mask_ratio: float = 0.75
    random_weight: float | Schedule = 1.0
    next_weight: float | Schedule = 1.0
    following_weight: float | Schedule = 1.0
    turn_epochs: int | None = None
    mask: MaskSampler = MADE
    target: Target = ValueTarget()
    loss: Loss = MSELoss()
    optim: Optimization = Optimization()

    encoder_options = ("width", "depth")

    def complete(self) -> None:
        tokenizer = self.tokenizer or CubeTokenizer(self.cube_size, self.channels)
        self.tokenizer = tokenizer
        if self.encoder is None:
            sides = (self.cube_size,) * 3 if isinstance(self.cube_size, int) else self.cube_size
            self.encoder = ScanEncoder(self.width or 384, self.depth or 24, sides, self.channels)
        if self.predictor is None:
            values = CubeTokenizer(self.cube_size, self.channels).num_values
            sizes = (self.decoder_width, self.decoder_depth, self.decoder_heads)
            self.predictor = TransformerPredictor(self.encoder.width, values, *sizes)
        self.mask = self.mask or SeveralMasks({"random": RandomMask(self.mask_ratio), "prefix": PrefixMask()})
        self.loss_weight, of_next, of_following = self._weights()
        self.objectives = {
            "next": Objective("first", part="prefix", weight=of_next),
            "following": Objective("hidden", part="prefix", weight=of_following),
            **self.objectives,
        }

    def _weights(self) -> list[float | Schedule]:
        weights = [self.random_weight, self.next_weight, self.following_weight]
        if self.turn_epochs is None:
            return weights
        at_least(1, turn_epochs=self.turn_epochs)
        if weights != [1, 1, 1]:
            raise ValueError(
                "`random_weight`, `next_weight` and `following_weight` must be left at 1 where `turn_epochs` is given, "
                f"but are {weights}; nearest: `turn_epochs` null."
            )
        return [Turns(number, 3, self.turn_epochs) for number in range(3)]
