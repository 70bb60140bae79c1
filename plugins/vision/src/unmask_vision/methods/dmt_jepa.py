"""DMT-JEPA: I-JEPA, whose targets are made of alike codes around each patch (Mo et al. 2024, arXiv:2405.17995)."""

from __future__ import annotations

from unmask import Predictor, Target
from unmask.predictors import NeighbourPredictor
from unmask.targets import NeighbourTeacher
from unmask_vision.methods.ijepa import IJEPA


class DMTJEPA(IJEPA):
    """I-JEPA; on both sides a code is read anew from those of its 3 x 3 neighbours that are most like it.

    ``loss = mean over target places of smooth-L1(predictor(head(codes)), slow head(layer-norm(teacher's codes)))``

    Arguments are those of `IJEPA`, and:

    Args:
        num_neighbours: that a code is made of, itself among them, in [1, 9] (ours).
        head_depth: blocks of cross-attention; 0: I-JEPA.
        head_heads: attention heads of the head; must divide the encoder's width.
        predictor: that reads the new codes; None: I-JEPA's.

    Differs from the released code in that neighbours end at the border (there the grid wraps around), and in the head
    of the context: there it reads all context patches, here the near ones among them, as for targets.

    Raises:
        ValueError: as `IJEPA`; a number outside its range.
    """

    num_neighbours: int = 4
    head_depth: int = 2
    head_heads: int = 4
    target: Target = NeighbourTeacher()

    def complete(self) -> None:
        super().complete()
        inner: Predictor = self.predictor
        if not isinstance(inner, NeighbourPredictor):
            options = self.num_neighbours, self.head_depth, self.head_heads
            self.predictor = NeighbourPredictor(inner, self.encoder.width, *options)
