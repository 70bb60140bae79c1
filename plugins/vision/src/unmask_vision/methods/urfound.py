"""UrFound: fine pixels and the words of experts, from one code (Yu et al. 2024, arXiv:2408.05618)."""

from __future__ import annotations

from dataclasses import field

from unmask import MADE, Target, chosen
from unmask.predictors import TransformerPredictor
from unmask_vision.encoders import ViTEncoder
from unmask_vision.methods.mae import MAE, SIZES
from unmask_vision.report import ReportTerm
from unmask_vision.resized import ResizedTokenizer
from unmask_vision.targets import FineTarget
from unmask_vision.tokenizer import PatchTokenizer


class UrFound(MAE):
    """MAE on images of half the size, whose decoder predicts the patches of the whole one, and words from the codes.

    ``loss = MSE of hidden patches at twice the resolution + report_weight * loss of a language model on hidden words``

    Arguments are those of `MAE`, but:

    Args:
        image_size: side of the squares that the encoder sees, in pixels; None: 224. Images come ``scale`` times larger.
        scale: how many times larger images are than what the encoder sees, at least 1.
        reports: words about each class, by the class numbers of the batch; none: no words are asked for.
        report_weight: at least 0.
        report_width: of the language model.
        report_depth: its blocks.
        report_heads: its attention heads.
        report_ratio: share of a report's words to hide, in (0, 1].
        predictor: None: the decoder of 768 x 4 x 6 (width, blocks, heads).
        target: None: normalised pixels of patches of the images as they come.

    Differs from the paper in the language model, trained here from the start, of words split at spaces (there BERT),
    and in the share of hidden words, which is ours.

    Raises:
        ValueError: as `MAE` and `ReportTerm`.
    """

    image_size: int | None = None
    scale: int = 2
    reports: list[str] = field(default_factory=list)
    report_weight: float = 1.0
    report_width: int = 768
    report_depth: int = 12
    report_heads: int = 12
    report_ratio: float = 0.5
    target: Target = MADE

    def complete(self) -> None:
        if self.scale < 1:
            raise ValueError(f"`scale` must be at least 1, but is {self.scale}.")
        name, *_ = chosen("size", self.size or "base", SIZES)
        patch_size = self.patch_size or 16
        size = self.image_size or 224
        if isinstance(self.encoder, ViTEncoder):  # which has a size of its own
            size = self.encoder.grid[0] * patch_size
        if self.tokenizer is None:
            self.tokenizer = ResizedTokenizer(PatchTokenizer(patch_size, self.channels), size)
        self.encoder = self.encoder or ViTEncoder(name, size, patch_size, self.channels, positions="sincos")
        self.target = self.target or FineTarget(PatchTokenizer(self.scale * patch_size, self.channels))
        width = (self.scale * patch_size) ** 2 * self.channels
        self.predictor = self.predictor or TransformerPredictor(self.encoder.width, width, 768, 4, 6)
        if self.reports:
            report = ReportTerm(
                self.reports,
                self.report_ratio,
                self.report_width,
                self.report_depth,
                self.report_heads,
                self.report_weight,
            )
            self.terms = {"report": report, **self.terms}
        super().complete()
