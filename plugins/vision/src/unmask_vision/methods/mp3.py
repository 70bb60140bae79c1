"""MP3: each patch says where it lies, from its content and a few others (Zhai et al. 2022, arXiv:2207.07611)."""

from __future__ import annotations

import math

from unmask import Corruption, Loss, Target, chosen
from unmask.losses import CrossEntropyLoss
from unmask.predictors import LinearPredictor
from unmask.targets import PlaceIds
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import MAE, SIZES


class MP3(MAE):
    """A ViT without positions, in which all patches read the few that are in the context; a linear head tells the place
    of each.

    ``loss = mean over all patches of -log softmax(head(code))[place]``

    What is hidden are positions: those of all patches from the encoder, and whole patches from the other ones' view.
    Arguments are those of `MAE`, but:

    Args:
        ask: where answers are asked: at ``all`` patches (section 3).
        mask: 75% of the patches, at random, are in no context (section 4.1).
        corruption: all are shown, hidden ones to themselves alone.
        encoder: None: timm's ViT of that size without class token and positions, attending to visible patches alone.
        predictor: None: one linear layer.
        target: number of the place, row by row.
        loss: cross-entropy over all places.
        optim: as `MAE`'s.

    Differs from the paper in the optimisation, which is MAE's.

    Raises:
        ValueError: an unknown size, or one beside an encoder, which has its own; an encoder of no known grid without a
            predictor.
    """

    ask: str | float = "all"
    corruption: Corruption = Corruption(keep=1)
    target: Target = PlaceIds()
    loss: Loss = CrossEntropyLoss()

    def complete(self) -> None:
        name, *_ = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or (14 if self.size == "huge" else 16)
        if self.encoder is None:
            self.encoder = ViTEncoder(
                name,
                self.image_size or 224,
                patch_size,
                self.channels,
                positions="none",
                options={"class_token": False, "global_pool": "avg", "fc_norm": False},
                attend_to="visible",
            )
            self.size = self.image_size = None  # the encoder has them
        grid = getattr(self.encoder, "grid", None)
        if self.predictor is None and grid is None:
            raise ValueError("`predictor` must be given beside an encoder that tells no `grid`; nearest: linear.")
        self.predictor = self.predictor or LinearPredictor(self.encoder.width, math.prod(grid or ()))
        super().complete()
