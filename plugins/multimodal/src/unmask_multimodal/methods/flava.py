"""FLAVA: image, text and both together name what is hidden, in one model (Singh et al. 2021, arXiv:2112.04482)."""

from __future__ import annotations

from unmask import (
    MADE,
    Corruption,
    CorruptionByPart,
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
from unmask.losses import CrossEntropyLoss
from unmask.masks import BlockMask, MaskByPart, RandomMask
from unmask.predictors import TransformedPredictor
from unmask.targets import ClusterIds, ValueTarget
from unmask.terms import Contrast, Matching
from unmask_multimodal.encoders import JointEncoder


class FLAVA(Method):
    """An encoder for each part and a trunk over both; ids of patches and words are asked of the trunk and before it.

    ``loss = joint image + joint text + image + text + contrast + matching``, each a mean cross-entropy, all weights 1:
    of hidden patches and words by the trunk's codes, of the same by each part's own codes, of pairs by whole images and
    texts, and of right against wrong pairs by the trunk's own token, with both parts masked.

    Args:
        tokenizer: parts ``image`` and ``text``.
        encoder: whole encoders of both and a trunk with a token of its own. Paper: ViT-B/16 of 12 layers each and 6
            layers of 768, rows projected and taken before the encoders' last norms.
        num_image_ids: how many ids patches have. Paper: 8,192.
        num_words: size of the vocabulary. Paper: 30,522.
        mask: 40% of the patches in blocks, 15% of the words (section 3.1).
        corruption: hidden patches and words are shown as mask tokens. Paper: words 80% so, 10% as random ones, 10% as
            they are, which a recipe says with the text plugin's ``text.vocabulary``.
        target: ids of the patches by clusters of pixels, those of words as they are.
        image_ids: the target of patches, where ``target`` is not given: another's codes, or ids that the data gives.
        predictor: a head of each part.
        loss: cross-entropy (appendix).
        width: that codes of whole images and texts are projected to. Paper: 768; released: 768.
        temperature: that the learned scale begins at the inverse of.
        alone: whether each part's own codes are asked as well.
        hard: whether wrong pairs are likely ones by the contrast, as in ALBEF, instead of any.
        optim: AdamW: rate 1e-3 at batch 8,192, betas (0.9, 0.999), decay 0.1, 10,000 warm-up steps.

    Differs from the paper in that every batch holds pairs: there, batches of images alone and of texts alone come in
    turn, and only those are asked before the trunk. Samples that lack a part are padding here. transformers counts, in
    a batch with wrong pairs, joint and contrastive losses over right ones; here wrong pairs are made of right ones, and
    counted by the matching alone. Ids of patches are clusters of pixels; there those of DALL-E's tokenizer.

    Raises:
        ValueError: a number outside its range, or no tokenizer or encoder.
    """

    tokenizer: TokenizerByPart = MADE
    encoder: JointEncoder = MADE
    num_image_ids: int = 8192
    num_words: int = 30_522
    mask: MaskSampler = MaskByPart({"image": BlockMask(ratio=0.4), "text": RandomMask(ratio=0.15)})
    corruption: Corruption = CorruptionByPart({"image": Corruption(token=1), "text": Corruption(token=1)})
    image_ids: Target | None = None
    target: Target = MADE
    predictor: Predictor = MADE
    loss: Loss = LossByPart({"image": CrossEntropyLoss(), "text": CrossEntropyLoss()})
    width: int = 768
    temperature: float = 0.07
    alone: bool = True
    hard: bool = False
    optim: Optimization = Optimization(base_lr=3.125e-5, weight_decay=0.1, betas=(0.9, 0.999), warmup_steps=10_000)

    encoder_options = ()

    def complete(self) -> None:
        for name, part in (("tokenizer", self.tokenizer), ("encoder", self.encoder)):
            if part is None:
                raise ValueError(f"`{name}` must be given, with parts `image` and `text`, but is None.")
        ids = {"image": self.num_image_ids, "text": self.num_words}
        self.target = self.target or TargetByPart(
            {"image": self.image_ids or ClusterIds(self.num_image_ids, "image"), "text": ValueTarget()}
        )
        self.predictor = self.predictor or PredictorByPart(
            {name: TransformedPredictor(self.encoder.width, count) for name, count in ids.items()}
        )
        if self.alone:
            own = {
                name: Objective(
                    predictor=PredictorByPart({name: TransformedPredictor(self.encoder.encoders[name].width, count)}),
                    layer=self.encoder.own_layers,
                    part=name,
                )
                for name, count in ids.items()
            }
            self.objectives = {**own, **self.objectives}
        contrast = Contrast("image", "text", self.width, ("cls", "cls"), self.temperature, whole=True, bias=True)
        matching = Matching("image", "text", hides=True, pools="trunk", hard="contrast" if self.hard else None)
        self.terms = {"contrast": contrast, "matching": matching, **self.terms}
