"""FSFM: MAE on faces that hides one part of them whole, and whose codes tell of the whole face (Wang et al. 2024,
arXiv:2412.12032)."""

from __future__ import annotations

from unmask import MADE, MaskSampler, Schedule
from unmask.masks import RegionMask
from unmask.predictors import TransformerPredictor
from unmask.terms import WholeCosine
from unmask_vision.methods.mae import MAE
from unmask_vision.regions import RegionTokenizer


class FSFM(MAE):
    """MAE that hides one part of a face whole and of all other parts the same share; what is visible also tells what a
    slow copy makes of the whole face.

    ``loss = MAE's loss + region_weight * the same at the part that is hidden whole + whole_weight * -cos(p, z)``

    Batches have a map of the face's parts, ``regions`` ``[B, H, W]``, as `DrawnFacesData` makes it. Arguments are those
    of `MAE`, but:

    Args:
        region_weight: of the loss at that part, at least 0 (release: 0.007).
        whole_weight: of the cosine, at least 0, or a schedule of it (release: 0.1).
        hidden_width: of the cosine's head and predictor, at least 1.
        whole_depth: blocks of the decoder that the codes pass through before, at least 0 (release: 2, from memory).
        mask: None: 75% of the patches; brows, eyes, nose, mouth, outline or hair are hidden whole.
        tokenizer: None: patches with the parts that they hold; normalised by ImageNet's mean and standard deviation
            when in colour.

    Differs from the released code in head and predictor, which have no norm between their layers, and as `RegionMask`.

    Raises:
        ValueError: as `MAE`; a weight below 0.
    """

    region_weight: float = 0.007
    whole_weight: float | Schedule = 0.1
    hidden_width: int = 4096
    whole_depth: int = 2
    mask: MaskSampler = MADE

    def complete(self) -> None:
        self.tokenizer = self.tokenizer or RegionTokenizer(self._patch_size, self.channels)
        self.mask = self.mask or RegionMask(0.75, [0, 1, 2, 3, 4, 5], self.region_weight)
        super().complete()
        width = self.encoder.width
        decoder = TransformerPredictor(width, width, width, self.whole_depth, 4) if self.whole_depth else None
        whole = WholeCosine(decoder, self.hidden_width, weight=self.whole_weight)
        self.terms = {"whole": whole, **self.terms}
