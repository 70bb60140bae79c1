"""LayoutLMv3: words and patches of a page in one transformer (Huang et al. 2022, arXiv:2204.08387)."""

from __future__ import annotations

from unmask import (
    MADE,
    Corruption,
    Encoder,
    Loss,
    LossByPart,
    MaskSampler,
    Method,
    Optimization,
    Predictor,
    PredictorByPart,
    Target,
    TargetByPart,
    TokenizerByPart,
)
from unmask.losses import CrossEntropyLoss
from unmask.masks import BlockMask, MaskByPart, SpanMask
from unmask.predictors import TransformedPredictor
from unmask.targets import ClusterIds, ValueTarget
from unmask.terms import Alignment
from unmask_multimodal.encoders import JointEncoder, JointTrunk
from unmask_multimodal.layout import LayoutBias, LayoutStem


class LayoutLMv3(Method):
    """Words with boxes and patches of their picture, both half hidden, are named from all that is left.

    ``loss = words + patches + alignment``: cross-entropies of hidden words and of ids of hidden patches, and of a
    binary question at each word that is not hidden: is its patch?

    Args:
        tokenizer: parts ``text``, by ``multimodal.boxes``, and ``image``.
        image: stem of the picture, an encoder without layers, such as ``vision.vit`` of depth 0 with a norm at its end
            (``pre_norm``) and a mask token. Only needed without ``encoder``.
        depth: blocks of the trunk, which is as wide as the stem. Paper, base: 12 of 768.
        num_heads: of its attention. Paper: 12.
        num_words: size of the vocabulary. Paper: 50,265.
        num_image_ids: how many ids patches have. Paper: 8,192.
        max_length: words of the longest page. Paper: 512.
        mask: 30% of the words in spans of Poisson(3), 40% of the patches in blocks (section 3.3).
        encoder: None: a layout stem, the stem of the picture, and blocks with norms after sums and relative biases.
        corruption: hidden words and patches are shown as mask tokens, in one pass.
        target: words as they are, and ids of patches.
        image_ids: ids of patches, where ``target`` is not given: None: clusters of pixels.
        predictor: a head of each part.
        loss: cross-entropy.
        optim: AdamW: rate 1e-4 at batch 2,048, betas (0.9, 0.98), decay 0.01 (shares and rates from memory: the release
            has no pretraining code).

    Differs from the paper in the ids of patches, which are clusters of pixels unless given, there those of DiT's
    tokenizer; in the alignment, where the centre of a word's box tells its patch; and in spans, which may merge.
    transformers has no pretraining heads to compare with.

    Raises:
        ValueError: neither a stem of the picture nor an encoder, or both.
    """

    tokenizer: TokenizerByPart = MADE
    image: Encoder | None = None
    depth: int = 12
    num_heads: int = 12
    num_words: int = 50_265
    num_image_ids: int = 8192
    max_length: int = 512
    mask: MaskSampler = MaskByPart({"text": SpanMask(ratio=0.3, poisson=3.0), "image": BlockMask(ratio=0.4)})
    corruption: Corruption = Corruption(token=1)
    image_ids: Target | None = None
    target: Target = MADE
    predictor: Predictor = MADE
    loss: Loss = LossByPart({"text": CrossEntropyLoss(), "image": CrossEntropyLoss()})
    optim: Optimization = Optimization(base_lr=1.25e-5, weight_decay=0.01, betas=(0.9, 0.98), warmup_steps=24_000)

    encoder_options = ("image",)

    def complete(self) -> None:
        if self.tokenizer is None:
            raise ValueError("`tokenizer` must be given, with parts `text` and `image`, but is None.")
        self.encoder = self.encoder or self._made()
        self.target = self.target or TargetByPart(
            {"text": ValueTarget(), "image": self.image_ids or ClusterIds(self.num_image_ids, "image")}
        )
        width = self.encoder.width
        self.predictor = self.predictor or PredictorByPart(
            {
                "text": TransformedPredictor(width, self.num_words, norm_eps=1e-5),
                "image": TransformedPredictor(width, self.num_image_ids, norm_eps=1e-5),
            }
        )
        self.terms = {"alignment": Alignment("text", "image"), **self.terms}

    def _made(self) -> JointEncoder:
        if self.image is None:
            raise ValueError("`image` must be given where `encoder` is not, a stem such as `vision.vit`, but is None.")
        width = self.image.width
        trunk = JointTrunk(
            width,
            self.depth,
            self.num_heads,
            norm_eps=1e-5,
            norm_first=False,
            entry_norm=True,
            bias=LayoutBias(width, self.num_heads),
        )
        text = LayoutStem(width, self.num_words, self.max_length)
        return JointEncoder({"text": text, "image": self.image}, trunk)
