"""UNITER: words and regions in one stream, of which one part is masked at a time (Chen et al. 2019,
arXiv:1909.11740)."""

from __future__ import annotations

from unmask import (
    MADE,
    Corruption,
    Loss,
    LossByPart,
    MaskSampler,
    Method,
    Objective,
    Optimization,
    Predictor,
    PredictorByPart,
    Target,
    TargetByPart,
    TokenizerByPart,
)
from unmask.losses import CrossEntropyLoss, MSELoss
from unmask.masks import RandomMask
from unmask.predictors import TransformedPredictor
from unmask.targets import GivenTarget, ValueTarget
from unmask.terms import Matching, Transport
from unmask_multimodal.encoders import JointEncoder, JointTrunk, WordStem
from unmask_multimodal.masks import OnePartMask
from unmask_multimodal.regions import DistributionLoss, RegionEncoder, TiedFeatures

SCORES = "region_scores"
"""Key of a batch: shares of classes of each region, as a detector gave them."""


class UNITER(Method):
    """In a step either words or regions are masked, and told by the other part, which is whole.

    ``loss = words``, or ``(features + classes) / 2`` of regions, and in each step ``matching / 2``: cross-entropy,
    squared distance, divergence from a detector's shares of classes; and cross-entropy of right and wrong pairs, with
    0.1 times the cost of transport between words and regions of right pairs less that of wrong ones.

    Args:
        tokenizer: parts ``text`` and ``regions`` (``multimodal.regions``).
        width: D. Paper, base: 768.
        depth: blocks. Paper: 12.
        num_heads: of their attention. Paper: 12.
        num_words: size of the vocabulary. Paper: 28,996.
        max_length: of texts, class token and separator counted.
        feature_width: of regions. Paper: 2,048.
        num_classes: of regions; 0: shares of classes are not asked. Paper: 1,601.
        transport_weight: of the transport's costs within the matching, at least 0; 0: it is left out. Paper: 0.1.
        mask: 15% of the words, or 15% of the regions, of all samples of a step alike (section 3.2).
        encoder: None: BERT's embeddings, features and boxes embedded together, and BERT's blocks.
        corruption: words as mask tokens (paper: 80% so, 10% random, 10% kept, which a recipe says), regions as a
            learned vector.
        target: words and features as they are.
        predictor: BERT's head on the words with the table of embeddings, and one on the regions with the matrix that
            embeds them.
        loss: see above; that of features counts 1/2.
        optim: AdamW: rate 5e-5, betas (0.9, 0.98), decay 0.01. Gradients are clipped at 5, the trainer's
            ``gradient_clip_val``.

    Differs from the paper in its tasks: there one is drawn for each batch, 2:2:1:1 of words, matching, features and
    classes. Here words and regions are drawn 1:1, both region tasks are asked together with half the weight, and
    matching in each step with half the weight: the same in the mean. Each pair is read once right and once wrong, where
    the paper tosses a coin.

    Raises:
        ValueError: a number out of range, or no tokenizer.
    """

    tokenizer: TokenizerByPart = MADE
    width: int | None = None
    depth: int | None = None
    num_heads: int | None = None
    num_words: int = 28_996
    max_length: int = 512
    feature_width: int = 2048
    num_classes: int = 1601
    transport_weight: float = 0.1
    mask: MaskSampler = OnePartMask({"text": RandomMask(ratio=0.15), "regions": RandomMask(ratio=0.15)}, together=True)
    corruption: Corruption = Corruption(token=1)
    target: Target = TargetByPart({"text": ValueTarget(), "regions": ValueTarget()})
    predictor: Predictor = MADE
    loss: Loss = LossByPart({"text": CrossEntropyLoss(), "regions": MSELoss()}, {"regions": 0.5})
    optim: Optimization = Optimization(base_lr=5e-5, weight_decay=0.01, betas=(0.9, 0.98), warmup_steps=20_000)

    encoder_options = ("width", "depth", "num_heads")

    def complete(self) -> None:
        if self.tokenizer is None:
            raise ValueError("`tokenizer` must be given, with parts `text` and `regions`, but is None.")
        self.encoder = self.encoder or self._made()
        width, encoders = self.encoder.width, dict(self.encoder.encoders)  # type: ignore[arg-type]
        words, features = TransformedPredictor(width, self.num_words), TiedFeatures(width, self.feature_width)
        table = getattr(encoders["text"], "embedding", None)
        if table is not None and table.shape == words.head.weight.shape:
            words.tie(table)
        matrix = getattr(encoders["regions"], "features", None)
        if matrix is not None and matrix.weight.shape == features.table.shape:
            features.tie(matrix.weight)
        self.predictor = self.predictor or PredictorByPart({"text": words, "regions": features})
        if self.num_classes:
            classes = Objective(
                predictor=TransformedPredictor(width, self.num_classes),
                target=GivenTarget(SCORES),
                loss=DistributionLoss(),
                weight=0.5,
                part="regions",
            )
            self.objectives = {"classes": classes, **self.objectives}
        transport = Transport("text", "regions", weight=self.transport_weight) if self.transport_weight else None
        matching = Matching("text", "regions", pools="first", transport=transport, weight=0.5)
        self.terms = {"matching": matching, **self.terms}

    def _made(self) -> JointEncoder:
        width, num_heads = self.width or 768, self.num_heads or 12
        regions = RegionEncoder(width, self.feature_width, box_numbers=7, mix="sum", mask_token=True)
        trunk = JointTrunk(width, self.depth or 12, num_heads, norm_eps=1e-12, norm_first=False)
        return JointEncoder({"text": WordStem(width, self.num_words, self.max_length), "regions": regions}, trunk)
