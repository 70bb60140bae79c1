"""FLIP: codes of half-hidden images are near to those of their texts (Li et al. 2022, arXiv:2212.00794)."""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from unmask import MADE, Corruption, Embedder, EncoderByPart, MaskSampler, Method, Optimization, TokenizerByPart
from unmask.masks import MaskByPart, NoMask, RandomMask
from unmask.terms import Contrast


class FLIP(Method):
    """Each modality has an encoder of its own; nothing is predicted, and hiding makes large batches cheap.

    ``loss = (CE(s, own) + CE(s^T, own)) / 2``, ``s = scale * cos(image code, text code)`` over the pairs of a batch

    Args:
        tokenizer: parts ``image`` and ``text``.
        encoder: an encoder of each, such as ``vision.vit`` and ``text.transformer``.
        mask: half of the image's patches at random, no text (section 3.1).
        width: that both codes are projected to. Paper, base size: 512.
        pools: of image and text codes: ``mean`` of what was seen, or ``cls``, the first prefix token. Paper: the
            mean of visible patches, and a token of the text.
        temperature: that the learned scale begins at the inverse of. Paper, at batches of 32,768: 0.01.
        used: whose encoder is used once training is done: ``image`` or ``text``.
        corruption: hidden patches are dropped.
        optim: AdamW: rate 4e-6 per 256 samples, decay 0.2.

    A run at ``mask.masks.image`` ``nothing`` for a short while closes the gap to what is used (section 3.1, unmasked
    tuning).

    Raises:
        ValueError: a number outside its range, parts of other names, or no tokenizer or encoder.
    """

    tokenizer: TokenizerByPart = MADE
    encoder: EncoderByPart = MADE
    mask: MaskSampler = MaskByPart({"image": RandomMask(ratio=0.5), "text": NoMask()})
    width: int = 512
    pools: tuple[Literal["mean", "cls"], Literal["mean", "cls"]] = ("mean", "cls")
    temperature: float = 0.07
    used: Literal["image", "text"] = "image"
    predictor: None = field(init=False, default=None)  # type: ignore[assignment]
    target: None = field(init=False, default=None)  # type: ignore[assignment]
    loss: None = field(init=False, default=None)  # type: ignore[assignment]
    corruption: Corruption = Corruption(drop=1)
    optim: Optimization = Optimization(base_lr=4e-6, weight_decay=0.2, betas=(0.9, 0.95), warmup_epochs=1)

    encoder_options = ()

    def complete(self) -> None:
        for name, part in (("tokenizer", self.tokenizer), ("encoder", self.encoder)):
            if part is None:
                raise ValueError(f"`{name}` must be given, with parts `image` and `text`, but is None.")
        if self.used not in ("image", "text"):
            raise ValueError(f"`used` must be 'image' or 'text', but is {self.used!r}.")
        contrast = Contrast("image", "text", self.width, self.pools, self.temperature)
        self.terms = {"contrast": contrast, **self.terms}

    @property
    def embedder(self) -> Embedder:
        """The encoder of one part, which sees it whole."""
        return Embedder(self.tokenizer.one(self.used), self.encoder.encoders[self.used])
