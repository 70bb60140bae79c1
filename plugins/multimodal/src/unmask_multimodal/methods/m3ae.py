"""M3AE: words told by the image, patches by the text, and pairs from strangers (Chen et al. 2022, arXiv:2209.07098)."""

from __future__ import annotations

from unmask import (
    MADE,
    Corruption,
    CorruptionByPart,
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
from unmask.losses import MSELoss
from unmask.masks import RandomMask
from unmask.predictors import AtLayer, TransformerPredictor
from unmask.targets import ValueTarget
from unmask.terms import Matching
from unmask_multimodal.encoders import JointEncoder
from unmask_multimodal.masks import OnePartMask


class M3AE(Method):
    """Image and text have encoders of their own, and meet in layers of cross-attention.

    ``loss = MSE of hidden patches, from a middle layer + CE of hidden words, from the last + matching``

    Of each sample one part is masked and the other whole. Patches are low-level and words abstract, so the image is
    rebuilt from the codes after half of the layers of the trunk.

    Args:
        tokenizer: of two parts, ``image`` and ``text``.
        encoder: `JointEncoder` of both, with a `CrossTrunk` of 6 layers in the order of BERT (section 3.1).
        words: predictor of hidden words, such as ``text.vocabulary``; one that has ``tie`` shares the embeddings.
        word_target: what a word is, such as ``text.tokens``.
        word_loss: compares words, such as ``text.vocabulary``.
        patch_width: numbers of a patch.
        layer: of the trunk, whose codes the image is rebuilt from; None: the middle one (release: 3 of 6).
        decoder_width: of the image's decoder (release: 384).
        decoder_depth: its blocks (release: 4).
        decoder_heads: its attention heads (release: 6).
        matching_weight: of telling pairs from strangers; 0: it is left out (release: 1).
        pools: how text and image are pooled for that: ``cls`` or ``mean``.
        mask: 75% of the patches, or 15% of the words (section 3.2).
        corruption: None: hidden patches are dropped, hidden words shown as [MASK]. Paper: 80% of them, 10% as random
            words, 10% as they are: give ``by-part`` with a corruption of the text's own.
        target: pixels, normalised per patch.
        loss: squared error of patches.
        optim: AdamW: rate 1e-5, decay 0.01, warm-up of a tenth. The paper has 5 times the rate in heads and trunk.

    Raises:
        ValueError: parts of other names, something that must be given and is not, or a layer that there is not.

    Differs from the release in that one pass has both kinds of masked samples, each sample being one of them by a coin,
    in place of two passes; and in how pairs are drawn, see `Matching`.
    """

    tokenizer: TokenizerByPart = MADE
    encoder: JointEncoder = MADE
    words: Predictor = MADE
    word_target: Target = MADE
    word_loss: Loss = MADE
    patch_width: int = 768
    layer: int | None = None
    decoder_width: int = 384
    decoder_depth: int = 4
    decoder_heads: int = 6
    matching_weight: float = 1.0
    pools: tuple[str, str] = ("cls", "cls")
    mask: MaskSampler = OnePartMask({"image": RandomMask(0.75), "text": RandomMask(0.15)})
    target: Target = ValueTarget(normalize=True)
    loss: Loss = MSELoss()
    corruption: Corruption = MADE
    optim: Optimization = Optimization(base_lr=1e-5, weight_decay=0.01, warmup_epochs=1)

    encoder_options = ()

    def complete(self) -> None:
        for name in ("tokenizer", "encoder", "words", "word_target", "word_loss"):
            if getattr(self, name) is None:
                raise ValueError(f"`{name}` must be given, but is None.")
        if set(self.tokenizer.tokenizers) != {"image", "text"} or set(self.encoder.encoders) != {"image", "text"}:
            raise ValueError(
                "`tokenizer` and `encoder` must have the parts image and text, but have "
                f"{', '.join(self.tokenizer.tokenizers)} and {', '.join(self.encoder.encoders)}."
            )
        depth = self.encoder.trunk.num_layers
        layer = max(depth // 2, 1) if self.layer is None else self.layer
        if not 1 <= layer <= depth:
            raise ValueError(f"`layer` must be in [1, {depth}], the layers of the trunk, but is {layer}.")
        self.corruption = self.corruption or CorruptionByPart(
            {"image": Corruption(drop=1), "text": Corruption(token=1)}
        )
        self._know_the_vocabulary()
        image = TransformerPredictor(
            self.encoder.width, self.patch_width, self.decoder_width, self.decoder_depth, self.decoder_heads
        )
        patches = AtLayer(image, self.encoder.own_layers + layer)
        self.predictor = self.predictor or PredictorByPart({"image": patches, "text": self.words})
        self.target = TargetByPart({"image": self.target, "text": self.word_target})
        self.loss = LossByPart({"image": self.loss, "text": self.word_loss})
        if self.matching_weight:
            matching = Matching("text", "image", pools=self.pools, weight=self.matching_weight)  # type: ignore[arg-type]
            self.terms = {"matching": matching, **self.terms}
        self.words = self.word_target = self.word_loss = MADE  # the parts have them

    def _know_the_vocabulary(self) -> None:
        """Heads and corruptions of text may need the encoder's table of embeddings, or its size."""
        table = getattr(self.encoder.encoders["text"], "embedding", None)
        shown = getattr(self.corruption, "corruptions", {})
        if table is None:
            return
        tie = getattr(self.words, "tie", None)
        if tie is not None:
            tie(table)
        if "text" in shown and hasattr(shown["text"], "of"):
            shown["text"] = shown["text"].of(len(table))
