"""LXMERT: words and regions, each by blocks of its own and then by blocks across (Tan & Bansal 2019,
arXiv:1908.07490)."""

from __future__ import annotations

from typing import Any

from unmask import (
    MADE,
    Corruption,
    Encoder,
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
from unmask.losses import CrossEntropyLoss, SmoothL1Loss
from unmask.masks import MaskByPart, RandomMask
from unmask.predictors import TransformedPredictor
from unmask.targets import GivenTarget, LabelTarget, ValueTarget
from unmask.terms import Matching
from unmask_multimodal.encoders import CrossTrunk, JointEncoder
from unmask_multimodal.regions import AnswerHead, OverAllPlaces

CONFIDENCE, CLASSES, ATTRIBUTES, ANSWER = "region_confidence", "region_classes", "region_attributes", "answer"
"""Keys of a batch."""


class LXMERT(Method):
    """Hidden words are named; of hidden regions the class, the attribute and the features are asked at once.

    ``loss = words + features + classes + attributes + matching + question``: cross-entropies, and a smooth L1 distance
    of features. Each loss of regions counts as the detector was sure, is meaned over all regions, and multiplied by
    1 / 0.15. The class token of the words tells whether both belong together, and answers a question.

    Args:
        tokenizer: parts ``text`` and ``regions`` (``multimodal.regions``).
        text: encoder of the words with a class token. Paper: 9 layers of BERT, 768 wide.
        regions: encoder of the regions, as wide. Paper: ``multimodal.regions`` of 5 layers.
        depth: layers across, each with one cross-attention for both directions. Paper: 5.
        num_heads: of their attention. Paper: 12.
        mlp_ratio: hidden width of their MLPs over the width.
        num_words: size of the vocabulary. Paper: 30,522.
        num_classes: of regions; 0: they are not asked. Paper: 1,600.
        num_attributes: of regions; 0: they are not asked. Paper: 400.
        num_answers: to questions; 0: they are not asked. Paper: 9,500, in later epochs.
        feature_width: of regions. Paper: 2,048.
        mask: 15% of the words and of the regions (section 3.1).
        encoder: None: made of ``text``, ``regions`` and ``depth``.
        corruption: shown as mask tokens. Paper: 80% so, 10% as another, 10% as they are, which a recipe says by part.
        target: words and features as they are.
        predictor: BERT's head on the words, its matrix that of the embeddings where ``text`` has such a table, and a
            head of one hidden layer on the regions, which classes and attributes share.
        loss: see above.
        optim: AdamW: rate 1e-4 at batch 256, decay 0.01.

    Differs from the paper in that each sample is read once right and once with another's regions, instead of one of
    both by a coin; in random regions, which come from the same picture; and in questions, which are asked from the
    start.

    Raises:
        ValueError: neither encoders of the parts nor an encoder, a number out of range, or no tokenizer.
    """

    tokenizer: TokenizerByPart = MADE
    text: Encoder | None = None
    regions: Encoder | None = None
    depth: int = 5
    num_heads: int = 12
    mlp_ratio: float = 4.0
    num_words: int = 30_522
    num_classes: int = 1600
    num_attributes: int = 400
    num_answers: int = 9500
    feature_width: int = 2048
    mask: MaskSampler = MaskByPart({"text": RandomMask(ratio=0.15), "regions": RandomMask(ratio=0.15)})
    corruption: Corruption = Corruption(token=1)
    target: Target = TargetByPart({"text": ValueTarget(), "regions": ValueTarget()})
    predictor: Predictor = MADE
    loss: Loss = LossByPart({"text": CrossEntropyLoss(), "regions": OverAllPlaces(SmoothL1Loss())})
    optim: Optimization = Optimization(base_lr=1e-4, weight_decay=0.01, betas=(0.9, 0.999), warmup_epochs=1)

    encoder_options = ("text", "regions")

    def complete(self) -> None:
        if self.tokenizer is None:
            raise ValueError("`tokenizer` must be given, with parts `text` and `regions`, but is None.")
        self.encoder = self.encoder or self._made()
        width = self.encoder.width
        regions = TransformedPredictor(width, self.feature_width)
        words = TransformedPredictor(width, self.num_words)
        encoders: Any = self.encoder.encoders
        table = getattr(encoders["text"], "embedding", None)
        if table is not None and table.shape == words.head.weight.shape:
            words.tie(table)
        self.predictor = self.predictor or PredictorByPart({"text": words, "regions": regions})
        asked = {}
        for name, key, count in (
            ("classes", CLASSES, self.num_classes),
            ("attributes", ATTRIBUTES, self.num_attributes),
        ):
            if count:
                asked[name] = Objective(
                    predictor=TransformedPredictor(width, count),
                    target=GivenTarget(key),
                    loss=OverAllPlaces(CrossEntropyLoss(), CONFIDENCE),
                    part="regions",
                )
        if self.num_answers:
            asked["question"] = Objective(
                ask="sample",
                predictor=AnswerHead(width, self.num_answers),
                target=LabelTarget(ANSWER),
                loss=CrossEntropyLoss(),
                part="text",
            )
        self.objectives = {**asked, **self.objectives}
        self.terms = {"matching": Matching("text", "regions", hides=True, pools="first"), **self.terms}

    def __post_init__(self) -> None:
        super().__post_init__()
        regions = dict(getattr(self.predictor, "predictors", {})).get(
            "regions"
        )  # its hidden layer is that of all answers
        for name in ("classes", "attributes"):
            head = getattr(self.objectives[name], "predictor", None) if name in self.objectives else None
            if isinstance(head, TransformedPredictor) and isinstance(regions, TransformedPredictor):
                head.dense, head.norm = regions.dense, regions.norm

    def _made(self) -> JointEncoder:
        if self.text is None or self.regions is None:
            raise ValueError(
                "`text` and `regions`, encoders of both parts, must be given where `encoder` is not, but are "
                f"{self.text} and {self.regions}."
            )
        trunk = CrossTrunk(
            self.regions.width, self.depth, self.num_heads, self.mlp_ratio, order="cross-self", shared=True
        )
        return JointEncoder({"text": self.text, "regions": self.regions}, trunk)
